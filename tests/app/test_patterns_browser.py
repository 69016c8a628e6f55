"""Pattern cards in real Chromium: skipped layers, mean evidence, the keyboard, what is too few."""

from __future__ import annotations

import re

import pytest

from tests.app.conftest import LAPTOP, PHONE, WIDE, text_of, wait_for

pytestmark = pytest.mark.browser

IMAGE = 1600
ACTIVE = """() => {
  let at = document.activeElement
  while (at && at.shadowRoot && at.shadowRoot.activeElement) at = at.shadowRoot.activeElement
  return { label: at.getAttribute("aria-label"), image: at.dataset.image, of: at.className }
}"""


# What is operated does not depend on the width; what is laid out does.
OPERATED = [LAPTOP, pytest.param(WIDE, marks=pytest.mark.accept)]


@pytest.fixture(params=[LAPTOP, WIDE], ids=["laptop", "wide"])
def page(request, digits_server, open_page):
    return ready(open_page(digits_server.url, query=f"?image={IMAGE}", size=request.param))


def ready(page):
    page.wait_for_selector(".bench[data-stage=ready]")
    page.wait_for_selector(".pc")
    return page


def skip_layers(page):
    page.locator("[data-action=skips]").click()
    page.locator(".all .note:visible").wait_for()
    page.locator(".pc .skip").first.wait_for()


def open_card(page, card):
    card.locator(".hd").click()
    page.locator(".pc.on .more .mean").first.wait_for()
    return page.locator(".pc.on")


def under_test(page):
    """Return the image that the test view names; the film strip holds those of one split."""
    found = re.search(r"image ([\d,]+)", text_of(page, ".focus-label"))
    return int(found[1].replace(",", "")) if found else None


def is_inside(inner, outer):
    return (
        inner["x"] >= outer["x"] - 1
        and inner["x"] + inner["width"] <= outer["x"] + outer["width"] + 1
    )


def test_a_pattern_that_skips_layers_is_opened_seen_and_replaced(page):
    skip_layers(page)
    assert "layers" in text_of(page, ".all .note")
    skipped = page.locator(".pc .skip").first
    assert re.match(r"skips \w+", skipped.get_attribute("title"))
    card = open_card(page, page.locator(".pc:has(.skip)").first)
    key = card.get_attribute("data-id")
    assert re.fullmatch(r"\d+\.\d+(-\d+\.\d+)+", key)
    # Asked of the browser: `page.url` stands still until something else is asked of the page.
    page.wait_for_function("key => location.href.includes(`pattern=${key}`)", arg=key)
    assert "train" in text_of(page, ".pc.on .said")
    page.locator("[data-action=evidence]").click()
    canvas = page.locator(".pc.on canvas.mean")
    canvas.wait_for()
    assert "Evidence in conv" in text_of(page, ".pc.on .where")
    is_coloured = (
        "(c) => c.width > 50 && c.getContext('2d').getImageData(0, 0, c.width, c.height)"
        ".data.some((v, i, all) => i % 4 === 0 && Math.abs(v - all[i + 2]) > 40)"
    )
    wait_for(lambda: canvas.evaluate(is_coloured), what="the evidence over the grey picture")
    page.locator(".pc.on [data-action=ablate]").click()
    page.locator(".pc.on .verdict").wait_for()
    box = page.locator(".pc.on").bounding_box()
    for part in (".more", ".abl", ".tg", ".acts", ".hd", ".ev"):
        assert is_inside(page.locator(f".pc.on {part}").bounding_box(), box), part
    page.reload()
    ready(page)
    page.locator(f'.pc.on[data-id="{key}"]').wait_for()


@pytest.mark.parametrize("page", OPERATED, indirect=True, ids=["laptop", "wide"])
def test_thumbnails_are_one_stop_and_arrows_move_between_them(page):
    page.get_by_label("Which patterns").select_option("distinctive")
    wait_for(lambda: "Most distinctive" in text_of(page, ".bar h3"), what="the patterns")
    page.locator(".pc .hd").nth(1).focus()
    page.keyboard.press("Tab")
    first = page.evaluate(ACTIVE)
    assert re.match(r"image [\d,]+: true \w+, predicted \w+ [01]\.\d\d", first["label"])
    strip = page.locator(".pc").nth(1).locator(".th")
    assert first["image"] == strip.first.get_attribute("data-image")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    third = page.evaluate(ACTIVE)
    assert third["image"] == strip.nth(2).get_attribute("data-image")
    page.keyboard.press("Home")
    assert page.evaluate(ACTIVE)["image"] == first["image"]
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(ACTIVE)["image"] == first["image"], "there is none before the first"
    page.keyboard.press("End")
    last = page.evaluate(ACTIVE)
    assert last["image"] == strip.last.get_attribute("data-image")
    assert under_test(page) == IMAGE, "arrows on a row do not move the image under test"
    page.keyboard.press("Enter")
    wait_for(lambda: under_test(page) == int(last["image"]), what="the image under test")
    wait_for(lambda: "focus" in page.evaluate(ACTIVE)["of"], what="the frame under the keyboard")
    assert page.evaluate(ACTIVE)["image"] == last["image"]
    assert page.locator(".pc.on").count() == 0, "it showed the image, it did not open the card"
    page.keyboard.press("Tab")
    assert "hd" in page.evaluate(ACTIVE)["of"], "the next card is the next stop"
    page.keyboard.press("Enter")
    page.locator(".pc.on").wait_for()


@pytest.mark.parametrize("page", OPERATED, indirect=True, ids=["laptop", "wide"])
def test_too_few_members_are_said_before_the_click(page):
    page.get_by_label("Which patterns").select_option("image")
    counts = page.locator(".pc .ev > span:first-child b")
    wait_for(lambda: counts.count(), what="the patterns")
    small = next(k for k in range(counts.count()) if int(counts.nth(k).inner_text()) < 10)
    card = open_card(page, page.locator(".pc").nth(small))
    note = card.locator(".few")
    assert "too few for a verdict" in note.inner_text()
    note.get_by_role("button", name="Use the selection").click()
    assert card.get_by_label("On which images").input_value() == "selection"
    assert note.is_hidden()
    card.get_by_label("On which images").select_option("members")
    assert "cannot tell" in note.inner_text()
    card.locator("[data-action=ablate]").click()
    card.locator(".verdict").wait_for()
    assert text_of(page, ".pc.on .verdict").startswith("cannot tell")


def test_what_finds_the_errors_without_a_pattern_takes_one_line(page):
    page.get_by_label("Which patterns").select_option("errors")
    summary = page.locator(".notes summary")
    wait_for(lambda: "clusters find" in summary.inner_text(), what="the comparison")
    wait_for(lambda: summary.bounding_box()["height"] < 30, what="one line")
    lines = page.locator(".notes li")
    assert not lines.first.is_visible()
    summary.click()
    assert "Clusters of the embedding" in lines.first.inner_text()
    assert lines.count() == 6


def test_a_pattern_that_skips_layers_fits_a_phone(digits_server, open_page):
    page = open_page(digits_server.url, size=PHONE, query=f"?image={IMAGE}&theme=dark")
    page.locator(".tabs button").nth(2).click()
    page.wait_for_selector(".pc")
    skip_layers(page)
    open_card(page, page.locator(".pc").first)
    page.locator("[data-action=evidence]").click()
    page.locator(".pc.on canvas.mean").wait_for()
    for part in (".more", ".abl", ".tg", ".hd"):
        inner = page.locator(f".pc.on {part}").bounding_box()
        assert is_inside(inner, {"x": 0, "width": PHONE[0]}), part


@pytest.mark.parametrize("size", [LAPTOP, PHONE])
def test_nothing_that_the_view_says_is_cut(digits_server, open_page, size):
    """Cards, head and filter card as wide as the view shows; skipped layers make long paths."""
    page = open_page(digits_server.url, size=size, query="?image=1500&paths=paper&filters=2-3")
    if size == PHONE:
        page.locator(".tabs button").nth(2).click()
    page.get_by_label("Which patterns").select_option("image")
    page.locator("[data-action=skips]").click()
    wait_for(lambda: page.locator(".skip").count(), what="patterns that skip layers")
    cut = """nodes => nodes.filter((n) => {
        const edge = n.closest(".all").getBoundingClientRect().right
        return n.scrollWidth > n.clientWidth + 1 || n.getBoundingClientRect().right > edge
    }).map((n) => n.className + ": " + n.textContent)"""
    looked = ".vt-cards :is(.what, .note, .sees, .path, .ev, .hist figcaption, .few)"
    assert page.locator(looked).count() > 8
    assert page.locator(looked).evaluate_all(cut) == []
    chips = page.locator(".pc .flt")
    assert chips.count() == chips.locator("visible=true").count() > 4
