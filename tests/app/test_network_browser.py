"""View C in real Chromium: the card of a filter, an open pattern, ablation, errors explained."""

from __future__ import annotations

import re

import pytest

from tests.app.conftest import PHONE, drag, focused_image, selected_count, text_of, wait_for

pytestmark = pytest.mark.browser

IMAGE = 1600
REPLACE = "[data-action=ablate]"
NOTICE = ".vt-cards .all > .notice"


@pytest.fixture
def page(digits_server, open_page):
    page = open_page(digits_server.url, query=f"?image={IMAGE}")
    page.wait_for_selector(".bench[data-stage=ready]")
    page.wait_for_selector(".pc")
    return page


def choose(page, order):
    page.get_by_label("Which patterns").select_option(order)


def open_pattern(page):
    choose(page, "distinctive")
    wait_for(lambda: "Most distinctive" in text_of(page, ".bar h3"), what="the patterns")
    page.locator(".pc").first.click()
    page.locator(".pc.on .more .mean").wait_for()


def is_inside(inner, outer):
    return (
        inner["x"] >= outer["x"] - 1
        and inner["x"] + inner["width"] <= outer["x"] + outer["width"] + 1
    )


def test_a_filter_shows_where_it_fires_and_for_which_classes(page):
    over = page.locator("canvas.over").bounding_box()
    page.mouse.click(over["x"] + over["width"] * 0.05, over["y"] + 14)
    page.locator(".strip .fi .th").first.wait_for()
    assert page.locator(".strip .fi").count() == 20
    strip = page.locator(".vt-cards .strip").bounding_box()
    for part in (".sh", ".fc", ".hist", ".ablate-here"):
        assert is_inside(page.locator(f".strip {part}").bounding_box(), strip), part
    picture = page.locator(".strip .fi .th").first.bounding_box()
    box = page.locator(".strip .fi .bx").first.bounding_box()
    assert is_inside(box, picture)
    # The first layer sees 3 of 32 pixels; a patch at the border is cut.
    assert 0 < box["width"] <= picture["width"] * 3 / 32 + 2.5
    assert "sees 3 × 3 pixels" in text_of(page, ".strip .sh")
    patch = page.locator(".strip .pt i").first
    assert "thumb/" in patch.evaluate("e => getComputedStyle(e).backgroundImage")
    words = page.locator(".hist svg").first.get_attribute("aria-label")
    assert "by true class; highest means:" in words
    assert page.locator(".hist rect").count() > 10
    page.locator(f".strip {REPLACE}").click()
    page.locator(".strip .verdict").wait_for()
    assert "1 filter by mean" in text_of(page, ".strip .verdict")


def test_an_open_pattern_pages_and_is_judged(page):
    open_pattern(page)
    assert "They look" in text_of(page, ".pc.on .said") or "Nothing" in text_of(
        page, ".pc.on .said"
    )
    first = page.locator(".pc.on .tg .th").first.get_attribute("title")
    after = page.get_by_label("Members after")
    if after.is_enabled():
        after.click()
        wait_for(
            lambda: page.locator(".pc.on .tg .th").first.get_attribute("title") != first,
            what="the next page",
        )
        assert text_of(page, ".pc.on .pager").strip().startswith("25 to ")
    page.locator(f".pc.on {REPLACE}").click()
    page.locator(".pc.on .verdict").wait_for()
    which = page.locator(".pc.on").get_by_label("Which filters are replaced")
    which.select_option("telling")
    assert page.locator(".pc.on .verdict").is_hidden(), "it is of its own filters"
    which.select_option("own")
    assert page.locator(".pc.on .verdict").is_visible()
    which.select_option("telling")
    page.locator(f".pc.on {REPLACE}").click()
    page.locator(".pc.on .verdict", has_text="16 filters by mean").wait_for()
    verdict = text_of(page, ".pc.on .verdict")
    assert verdict.startswith(("cause", "marker", "cannot tell"))
    assert "95 % interval" in verdict
    card = page.locator(".pc.on").bounding_box()
    assert is_inside(page.locator(".pc.on .abl").bounding_box(), card)
    assert focused_image(page) == IMAGE
    page.keyboard.press("Escape")
    page.locator(".pc.on").wait_for(state="detached")


def test_errors_are_explained_or_it_is_said_why_not(page):
    choose(page, "errors")
    cells = page.get_by_label("Which errors, true → predicted")
    cells.wait_for()
    wait_for(lambda: "clusters" in text_of(page, ".notes"), what="the comparison")
    assert text_of(page, ".notes").startswith("Without a pattern: ")
    options = cells.locator("option").all_inner_texts()
    assert len(options) > 5
    value = cells.locator("option").nth(1).get_attribute("value")
    cells.select_option(value)
    wait_for(lambda: cells.input_value() == value, what="the other errors")
    wait_for(
        lambda: page.locator(".pc .why").count() or page.locator(NOTICE).is_visible(),
        what="an answer",
    )
    if page.locator(NOTICE).is_visible():
        assert "Nothing is confirmed behind these errors" in text_of(page, NOTICE)
    choose(page, "general")
    page.locator(".notes").wait_for(state="hidden")
    assert cells.is_hidden()


def test_a_link_to_a_pattern_opens_where_a_phone_shows_it(digits_server, open_page):
    page = open_page(digits_server.url, size=PHONE, query="?pattern=0&paths=balanced")
    page.locator(".pc.on").wait_for()
    assert page.locator(".tabs button[aria-current]").inner_text() == "Network"
    page.locator(".tabs button").first.click()
    page.locator(".view-a canvas").first.wait_for()
    wait_for(lambda: "drawn" in text_of(page, ".map-n .drawn"), what="the map")
    assert page.locator(".pc.on").is_hidden()
    other = open_page(digits_server.url, size=PHONE, query=f"?image={IMAGE}")
    other.locator(".view-a canvas").first.wait_for()
    assert other.locator(".tabs button[aria-current]").inner_text() == "Map"


def test_an_open_pattern_fits_a_phone(digits_server, open_page):
    page = open_page(digits_server.url, size=PHONE, query=f"?image={IMAGE}&theme=dark")
    page.locator(".tabs button").nth(2).click()
    page.wait_for_selector(".pc")
    open_pattern(page)
    page.locator(f".pc.on {REPLACE}").click()
    page.locator(".pc.on .verdict").wait_for()
    for part in (".more", ".abl", ".tg"):
        inner = page.locator(f".pc.on {part}").bounding_box()
        assert is_inside(inner, {"x": 0, "width": PHONE[0]}), part


# The plot of all filters.


def marks(page):
    return page.locator("canvas.over").bounding_box()


def chosen(page):
    """Return how many filters the plot says are chosen."""
    label = page.locator("canvas.over").get_attribute("aria-label")
    found = re.search(r"; ([\d,]+) filters? chosen;", label)
    return int(found[1].replace(",", "")) if found else 0


def outline(box, left, top, right, bottom):
    """Return the corners of a rectangle inside a box, as shares of it."""
    shares = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top + 0.05)]
    return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in shares]


def test_a_mark_shows_the_strongest_images_of_its_filter(page):
    box = marks(page)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 30)
    page.locator(".tip .pic img").nth(3).wait_for()
    wait_for(
        lambda: page.locator(".tip .pic img").evaluate_all(
            "all => all.every(i => i.complete && i.naturalWidth > 0)"
        ),
        what="the pictures",
    )
    assert page.locator(".tip .pic").count() == 4
    assert text_of(page, ".tip .of") == "strongest of test"
    name = text_of(page, ".tip b")
    assert re.fullmatch(r"\S+ · \d+", name)
    tip = page.locator(".tip").bounding_box()
    assert is_inside(tip, box)
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] + 200)
    page.locator(".tip").wait_for(state="hidden")
    # What was seen once is kept: it is there at once, before the pointer could rest.
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 30)
    assert text_of(page, ".tip b") == name
    assert page.locator(".tip .pic").count() == 4


def test_the_keyboard_reaches_marks_and_their_images(page):
    over = page.locator("canvas.over")
    over.focus()
    over.press("ArrowRight")
    over.press("ArrowRight")
    page.locator(".tip .pic img").first.wait_for()
    said = text_of(page, ".units > .said")
    assert re.match(r"\S+, filter \d+, percentile \d+", said)
    over.press("Enter")
    wait_for(lambda: chosen(page) == 1, what="the filter")
    over.press("ArrowDown")
    over.press("Shift+Enter")
    wait_for(lambda: chosen(page) == 2, what="the second filter")
    page.keyboard.press("Escape")
    wait_for(lambda: chosen(page) == 0, what="none")


def test_a_lasso_chooses_adds_and_subtracts(page):
    box = marks(page)
    drag(page, outline(box, 0.3, 0.05, 0.45, 0.7))
    first = wait_for(lambda: chosen(page), what="the filters inside")
    assert first > 3
    page.locator(".strip .fi .th").first.wait_for()
    assert f"the last of {first} filters" in text_of(page, ".strip .sh")
    assert page.locator(".strip .flt").count() == 1
    page.keyboard.down("Shift")
    drag(page, outline(box, 0.6, 0.05, 0.7, 0.7))
    page.keyboard.up("Shift")
    both = wait_for(lambda: chosen(page) > first and chosen(page), what="more filters")
    page.keyboard.down("Alt")
    drag(page, outline(box, 0.6, 0.05, 0.7, 0.7))
    page.keyboard.up("Alt")
    wait_for(lambda: chosen(page) == first, what=f"{both - first} filters less")
    page.mouse.move(*outline(box, 0.1, 0.1, 0.2, 0.5)[0])
    page.mouse.down()
    page.mouse.move(*outline(box, 0.1, 0.1, 0.2, 0.5)[2], steps=5)
    page.keyboard.press("Escape")
    page.mouse.up()
    page.get_by_role("button", name=f"Clear {first} filters").click()
    wait_for(lambda: chosen(page) == 0, what="none")


def test_a_finger_scrolls_and_taps_but_draws_no_outline(digits_server, open_page):
    page = open_page(digits_server.url, size=PHONE, query=f"?image={IMAGE}")
    page.locator(".tabs button").nth(2).click()
    page.wait_for_selector(".pc")
    over = page.locator("canvas.over")
    assert over.evaluate("e => getComputedStyle(e).touchAction") == "manipulation"
    box = marks(page)
    for kind, x, y in [("down", 40, 20), ("move", 140, 20), ("move", 140, 80), ("up", 40, 80)]:
        over.dispatch_event(
            f"pointer{kind}",
            {
                "pointerId": 5, "pointerType": "touch", "button": 0, "bubbles": True,
                "clientX": box["x"] + x, "clientY": box["y"] + y,
            },
        )  # fmt: skip
    page.mouse.click(box["x"] + box["width"] * 0.05, box["y"] + 14)
    wait_for(lambda: chosen(page), what="the tap")
    assert chosen(page) == 1, "only the tap chose"


def test_the_selection_shades_by_choice(page):
    line = ".view-c .l .w"
    wait_for(lambda: "shade = its activation" in text_of(page, line), what="the shades")
    by_image = page.locator("canvas.marks").evaluate("c => c.toDataURL()")
    shade = page.get_by_role("radiogroup", name="Shade of the filters")
    assert shade.is_hidden()
    box = marks(page)
    page.mouse.click(box["x"] + box["width"] * 0.05, box["y"] + 14)
    page.get_by_role("button", name="Select these 20").click()
    shade.wait_for()
    wait_for(lambda: selected_count(page) == 20, what="the selection")
    shade.get_by_role("radio", name="Selection").click()
    said = "shade = mean percentile of 20 selected"
    wait_for(lambda: said in text_of(page, line), what="the shades of the selection")
    assert page.locator("canvas.marks").evaluate("c => c.toDataURL()") != by_image
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 30)
    said = "mean percentile of the selection"
    wait_for(lambda: said in text_of(page, ".tip"), what="the words of a mark")
    shade.get_by_role("radio", name="Image").click()
    wait_for(lambda: "shade = its activation" in text_of(page, line), what="the image again")


def test_a_link_opens_filters_errors_and_pattern(digits_server, open_page):
    query = f"?image={IMAGE}&paths=mean&filters=0-3,2-7&order=errors&errors=0-9&pattern=5"
    page = open_page(digits_server.url, query=query)
    page.locator(".pc, .vt-cards .notice:visible").first.wait_for()
    wait_for(lambda: chosen(page) == 2, what="the filters")
    assert page.locator(".strip .flt").count() == 2
    order = page.get_by_label("Which patterns")
    wait_for(lambda: order.input_value() == "errors", what="the order")
    options = page.get_by_label("Which errors, true → predicted").locator("option")
    known = options.evaluate_all("all => all.map(o => o.value)")
    if "0-9" in known:
        assert page.get_by_label("Which errors, true → predicted").input_value() == "0-9"
    mean = page.get_by_role("radiogroup", name="Path set").get_by_role("radio", name="mean")
    assert mean.get_attribute("aria-checked") == "true"
    assert focused_image(page) == IMAGE


def test_a_link_to_filters_that_are_not_there_says_so(digits_server, open_page):
    page = open_page(digits_server.url, query="?filters=0-3,0-99&order=nonsense")
    page.wait_for_selector(".pc")
    wait_for(lambda: chosen(page) == 1, what="the filter that is there")
    words = page.get_by_text("There is no filter 0-99.")
    assert words.is_visible()
    assert page.get_by_text("Patterns are not listed by nonsense.").is_visible()
