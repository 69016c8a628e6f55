"""Views B and C in real Chromium: what is operated is predicted again, drawn and linked."""

from __future__ import annotations

import pytest

from tests.app.conftest import PHONE, drag, focused_image, selected_count, text_of, wait_for

pytestmark = pytest.mark.browser

IMAGE = 1600


@pytest.fixture
def page(digits_server, open_page):
    """Return the page with one image under test, both views answered."""
    page = open_page(digits_server.url, query=f"?image={IMAGE}")
    page.wait_for_selector(".bench[data-stage=ready]")
    page.wait_for_selector(".pc")
    settle(page)
    return page


def settle(page):
    """Wait until what is drawn belongs to where the controls stand."""
    page.wait_for_timeout(120)
    page.wait_for_selector(".bench[data-stage=ready]:not(.waiting)")


def press(page, name, key, times):
    page.locator(f".sl[data-name={name}] input[type=range]").focus()
    for _ in range(times):
        page.keyboard.press(key)
    settle(page)


def value(page, name):
    return text_of(page, f".sl[data-name={name}] .v")


def pixels(page, kind):
    """Return what is drawn of a picture, to see that it changed."""
    return page.locator(f".im.{kind} canvas").first.evaluate("c => c.toDataURL()")


def test_a_change_is_made_drawn_and_taken_back(page):
    before = pixels(page, "changed")
    press(page, "rotation", "ArrowRight", 40)
    press(page, "hue", "ArrowRight", 30)
    assert (value(page, "rotation"), value(page, "hue")) == ("+40°", "+0.30")
    wait_for(lambda: " changes to " in text_of(page, ".spoken"), what="the verdict")
    assert pixels(page, "changed") != before
    page.locator("[data-action=reset]").click()
    wait_for(lambda: value(page, "rotation") == "0°", what="the reset")
    settle(page)
    wait_for(lambda: pixels(page, "changed") == before, what="the picture as it was")

    page.locator(".sl[data-name=brightness] .v").click()
    page.keyboard.type("1.5")
    page.keyboard.press("Enter")
    settle(page)
    assert value(page, "brightness") == "1.50"
    page.locator(".sl[data-name=brightness] .k").click()
    wait_for(lambda: value(page, "brightness") == "1.00", what="the reset by its name")

    box = page.locator(".sl[data-name=blur] input[type=range]").bounding_box()
    y = box["y"] + box["height"] / 2
    drag(page, [(box["x"] + 7, y), *((box["x"] + step, y) for step in range(15, 70, 5))])
    settle(page)
    shown = value(page, "blur")
    assert shown != "0.0 px"
    page.wait_for_timeout(700)
    assert value(page, "blur") == shown, "what comes back does not move the slider"


def test_flip_region_layer_and_class(page):
    before = pixels(page, "changed")
    page.locator("button[data-name=horizontal_flip]").click()
    settle(page)
    assert (
        page.locator("button[data-name=horizontal_flip]").get_attribute("aria-pressed") == "true"
    )
    wait_for(lambda: pixels(page, "changed") != before, what="the flipped picture")
    box = page.locator(".im.original").bounding_box()
    corners = [(0.2, 0.3), (0.5, 0.5), (0.7, 0.8)]
    drag(page, [(box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in corners])
    page.wait_for_selector(".gone")
    settle(page)
    page.locator(".gone button").click()
    wait_for(lambda: page.locator(".gone").count() == 0, what="the restored region")

    before = pixels(page, "evidence")
    layers = page.locator("select[aria-label='Explanation and layer of the evidence']")
    layers.select_option(index=layers.locator("option").count() - 3)
    settle(page)
    wait_for(lambda: pixels(page, "evidence") != before, what="the other layer")
    page.locator("select[aria-label='Class of the evidence']").select_option(label="four")
    captions = page.locator("figcaption b")
    wait_for(lambda: captions.nth(2).inner_text() == "Evidence for four", what="the class")
    assert page.locator(".lock").is_visible()


def test_filters_and_patterns_are_linked(page):
    box = page.locator("canvas.over").bounding_box()
    at = (box["x"] + box["width"] * 0.05, box["y"] + 14)
    page.mouse.move(*at)
    page.wait_for_selector(".tip:not([hidden])")
    assert "conv1" in text_of(page, ".tip")
    page.mouse.click(*at)
    page.wait_for_selector(".strip .th")
    assert "Strongest images of" in text_of(page, ".strip")
    page.get_by_role("button", name="Clear filter").click()
    page.wait_for_selector(".strip .th", state="detached")

    total = selected_count(page)
    # Without the filter, the list is another one: a card of the old list cannot be opened.
    wait_for(lambda: "Patterns of image" in text_of(page, ".bar h3"), what="the image's list")
    settle(page)
    page.wait_for_selector(".pc")
    page.locator(".pc").first.click()
    page.wait_for_selector(".pc.on")
    assert focused_image(page) == IMAGE, "opening a card leaves the focus"
    page.locator(".pc.on [data-action=select]").click()
    wait_for(lambda: selected_count(page) < total, what="the members")
    assert "pattern" in page.locator(".selbar .n small").inner_text()
    wait_for(lambda: "Over-represented" in text_of(page, ".bar h3"), what="the new list")
    page.locator(".pc.on .th:not(.focus)").first.click()
    wait_for(lambda: f"image {IMAGE:,}" not in text_of(page, ".focus-label"), what="the focus")
    settle(page)

    page.get_by_role("radio", name="mean", exact=True).click()
    page.wait_for_selector(".pc.on", state="detached")
    page.locator("canvas.over").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".tip:not([hidden])")
    page.keyboard.press("Enter")
    page.wait_for_selector(".strip .th")
    sizes = page.locator(".bench, .all").evaluate_all(
        "roots => roots.flatMap(r => [...r.querySelectorAll('*')])"
        ".filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))"
        ".map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 10.5


def test_phone_and_dark(digits_server, open_page):
    page = open_page(digits_server.url, size=PHONE, query=f"?image={IMAGE}&theme=dark")
    page.locator(".tabs button").nth(1).click()
    page.wait_for_selector(".bench[data-stage=ready]")
    settle(page)
    for part in page.locator(".im canvas").all():
        assert part.bounding_box()["width"] > 150
    press(page, "hue", "ArrowRight", 10)
    assert value(page, "hue") == "+0.10"
    page.locator(".tabs button").nth(2).click()
    page.wait_for_selector(".pc")
    dark = page.locator("canvas.marks").evaluate("c => c.toDataURL()")
    page.evaluate("document.body.click()")
    assert len(dark) > 2000, "the filters are drawn after the tab is shown"


def test_figures_never_look_newer_than_they_are(digits_server, open_page):
    """After a burst, what is drawn at rest is the answer to where the slider stands."""
    page = open_page(digits_server.url, query=f"?image={IMAGE}")
    page.wait_for_selector(".bench[data-stage=ready]")
    settle(page)
    press(page, "hue", "ArrowRight", 50)
    burst = (value(page, "hue"), page.locator(".scores .bars").inner_text())
    page.locator("[data-action=reset]").click()
    wait_for(lambda: value(page, "hue") == "0.00", what="the reset")
    settle(page)
    page.locator(".sl[data-name=hue] .v").click()
    page.keyboard.type("0.5")
    page.keyboard.press("Enter")
    settle(page)
    assert (value(page, "hue"), page.locator(".scores .bars").inner_text()) == burst
