"""The page in real Chromium: a selection made anywhere is seen everywhere."""

from __future__ import annotations

import re

import pytest

from feature_store import queries
from tests.app.conftest import (
    LAPTOP,
    PHONE,
    WIDE,
    drag,
    focused_image,
    map_box,
    selected_count,
    text_of,
    wait_for,
)

pytestmark = pytest.mark.browser


ACTIVE_DRAG = """() => [...Bokeh.documents[0]._all_models.values()]
    .find((model) => model.type === "Figure").toolbar.active_drag.type"""


def address(page) -> str:
    """Return the page's address as the browser has it now."""
    return page.evaluate("location.href")


def wait_for_map(page) -> str:
    """Wait until the map has been drawn at its size, and return what it says of itself."""
    page.wait_for_selector(".view-a canvas")
    said = wait_for(lambda: "drawn" in text_of(page, ".map-n span"), what="the map")
    assert said
    page.wait_for_timeout(1_000)
    return text_of(page, ".map-n span")


def corner_to_corner(page, share=0.5):
    """Return the corners of the middle part of the map."""
    box = map_box(page)
    left = box["x"] + box["width"] * (1 - share) / 2
    top = box["y"] + box["height"] * (1 - share) / 2
    right, bottom = left + box["width"] * share, top + box["height"] * share
    return left, top, right, bottom


def lasso(page, share=0.6):
    left, top, right, bottom = corner_to_corner(page, share)
    drag(page, [(left, top), (right, top), (right, bottom), (left, bottom), (left, top + 4)])


def test_explore_fits_the_screen(digits_server, open_page):
    # Loaded on the largest and made smaller: what is drawn for more room must give way.
    page = open_page(digits_server.url, size=WIDE)
    page.wait_for_selector(".view-d svg")
    for size in (WIDE, LAPTOP, (1366, 660), (800, 720)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.wait_for_timeout(500)
        width, height = page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        )
        assert (width, height) == size
        for view in "abcd":
            box = page.locator(f".view-{view}").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= size[0]
            assert box["y"] + box["height"] <= size[1]


def test_laptop_has_the_drawn_arrangement(digits_server, open_page):
    page = open_page(digits_server.url)
    boxes = {view: page.locator(f".view-{view}").bounding_box() for view in "abcd"}
    assert {name: (box["x"], box["y"], box["width"]) for name, box in boxes.items()} == {
        "a": (6, 96, 392),
        "b": (404, 96, 476),
        "c": (886, 96, 474),
        "d": (6, 536, 874),
    }


def test_lasso_tap_undo_and_clear(digits_server, open_page):
    page = open_page(digits_server.url)
    total = selected_count(page)
    wait_for_map(page)
    lasso(page)
    chosen = wait_for(lambda: (n := selected_count(page)) < total and n, what="the lasso")
    assert "lasso on Map" in page.locator(".selbar .n small").inner_text()
    assert page.locator(".film .th").count() > 0
    page.keyboard.press("i")
    wait_for(lambda: selected_count(page) == total - chosen, what="the inverse")
    page.keyboard.press("z")
    wait_for(lambda: selected_count(page) == chosen, what="undo")
    page.keyboard.press("Shift+Z")
    wait_for(lambda: selected_count(page) == total - chosen, what="redo")
    page.keyboard.press("Escape")
    wait_for(lambda: selected_count(page) == total, what="all images")


def test_shift_adds_and_alt_takes_away(digits_server, open_page):
    page = open_page(digits_server.url)
    total = selected_count(page)
    wait_for_map(page)
    page.locator(".view-a [data-id=box]").click()
    wait_for(lambda: page.evaluate(ACTIVE_DRAG) == "BoxSelectTool", what="the box tool")
    left, top, right, bottom = corner_to_corner(page, 0.7)
    middle = (left + right) / 2
    drag(page, [(left, top), (middle, bottom)])
    first = wait_for(lambda: (n := selected_count(page)) < total and n, what="the box")
    page.keyboard.down("Shift")
    drag(page, [(middle, top), (right, bottom)])
    page.keyboard.up("Shift")
    both = wait_for(lambda: (n := selected_count(page)) > first and n, what="the sum")
    page.keyboard.down("Alt")
    drag(page, [(left, top), (middle, bottom)])
    page.keyboard.up("Alt")
    wait_for(lambda: selected_count(page) < both, what="the difference")


def test_focus_moves_by_key_tap_and_film_strip(digits_server, digits_store, open_page):
    def named(image):
        return f"image={queries.short_key(digits_store, image)}"

    page = open_page(digits_server.url)
    first = wait_for(lambda: focused_image(page), what="a focus")
    page.keyboard.press("ArrowRight")
    second = wait_for(lambda: (f := focused_image(page)) != first and f, what="the next image")
    wait_for(lambda: named(second) in address(page), what="the address")
    page.locator(".film .th").nth(6).click()
    wait_for(lambda: focused_image(page) != second, what="the clicked picture")
    wait_for(lambda: page.get_by_text(f"image {focused_image(page):,}").count() > 0, what="view B")
    wait_for(lambda: named(focused_image(page)) in address(page), what="the address")
    page.go_back()
    wait_for(lambda: focused_image(page) == second, what="Back")


def test_legend_and_simulation_select_a_class(digits_server, open_page):
    page = open_page(digits_server.url)
    total = selected_count(page)
    page.locator(".view-a .legend button").nth(3).click()
    wait_for(lambda: selected_count(page) < total, what="a class")
    assert "class three" in text_of(page, ".selbar .n small")
    page.locator(".view-d .smc").first.click()
    name = text_of(page, ".view-d .smc b")
    wait_for(lambda: f"class {name} on Sim" in text_of(page, ".selbar .n small"), what="class")
    assert "on" in page.locator(".view-d .smc").first.get_attribute("class").split()


def test_search_understands_ids_classes_and_filters(digits_server, open_page):
    page = open_page(digits_server.url)
    total = selected_count(page)
    page.keyboard.press("/")
    search = page.locator(".search input")
    wait_for(lambda: search.evaluate("e => e.matches(':focus')"), what="the search field")
    search.fill("wrong, confidence > 0.5")
    search.press("Enter")
    wait_for(lambda: 0 < selected_count(page) < total, what="the wrong ones")
    assert "search wrong" in text_of(page, ".selbar .n small").replace("confidence", "wrong")
    search.fill("image 1500")
    search.press("Enter")
    # It is not among the wrong ones: the strip does not hold it, view B does.
    wait_for(lambda: "image 1,500" in text_of(page, ".focus-label"), what="the image")
    wait_for(lambda: not search.evaluate("e => e.matches(':focus')"), what="the closed search")
    search.fill("<img src=x onerror=alert(1)>")
    search.press("Enter")
    said = wait_for(lambda: page.locator(".hint .none").all_inner_texts(), what="the reason")
    assert "<img" in said[0]
    search.press("Escape")
    # Keys are off while typing.
    search.fill("")
    search.press("i")
    assert search.input_value() == "i"


def test_colours_and_themes(digits_server, open_page):
    page = open_page(digits_server.url)
    for name in ("Predicted", "Correct", "Confidence"):
        page.get_by_role("radio", name=name, exact=True).click()
        wait_for(
            lambda name=name: (
                page.get_by_role("radio", name=name, exact=True).get_attribute("aria-checked")
                == "true"
            ),
            what=name,
        )
    page.wait_for_selector(".view-a .ramp")
    light = page.locator(".view-a").evaluate("e => getComputedStyle(e).backgroundColor")
    page.locator("#theme").click()
    wait_for(
        lambda: (
            page.locator(".view-a").evaluate("e => getComputedStyle(e).backgroundColor") != light
        ),
        what="the dark theme",
    )
    wait_for(lambda: "theme=dark" in address(page), what="the address")


@pytest.mark.parametrize(
    "forged", [f"?image=1417&foo={'9' * 4_301}", "?image=1417&theme=%FF&foo=%FF"]
)
def test_what_is_no_part_of_an_address_leaves_the_page_whole(digits_server, open_page, forged):
    """Python refuses numbers of so many digits, and Panel reads every part as text or number."""
    page = open_page(digits_server.url, query=forged)
    wait_for_map(page)
    wait_for(lambda: focused_image(page) == 1417, what="the image of the address")
    page.keyboard.press("ArrowRight")
    wait_for(lambda: focused_image(page) != 1417, what="the next image")


def test_maximise_help_and_about(digits_server, open_page):
    page = open_page(digits_server.url)
    page.keyboard.press("4")
    page.keyboard.press("f")
    wait_for(lambda: not page.locator(".view-a").is_visible(), what="D alone")
    assert page.locator(".view-d").bounding_box()["height"] > 500
    page.keyboard.press("Escape")
    wait_for(lambda: page.locator(".view-a").is_visible(), what="all four views")
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    wait_for(lambda: page.get_by_role("dialog").count() == 0, what="the help to close")
    page.get_by_role("button", name="About this store").click()
    page.get_by_text("Accuracy by split").wait_for()
    assert re.search(r"\d\d\.\d\d %", page.locator(".about").inner_text())
    page.get_by_role("button", name="Explore").click()
    page.wait_for_selector(".view-a canvas")


def test_hover_says_what_a_point_is(digits_server, open_page):
    page = open_page(digits_server.url)
    wait_for_map(page)
    left, top, right, bottom = corner_to_corner(page, 0.9)

    def look():
        for step in range(12):
            page.mouse.move(
                left + (right - left) * step / 12, top + (bottom - top) * (step % 5) / 5, steps=3
            )
            page.wait_for_timeout(150)
            if page.locator(".map-card .hov").is_visible():
                return page.locator(".map-card .hov").inner_text()
        return ""

    said = wait_for(look, what="the card")
    assert "true" in said
    assert "predicted" in said
    source = page.locator(".map-card img").get_attribute("src")
    assert source.startswith("thumb/")
    wait_for(
        lambda: page.locator(".map-card img").evaluate("e => e.complete && e.naturalWidth > 0"),
        what="the thumbnail",
    )


def test_zoom_draws_again_and_home_returns(digits_server, open_page):
    page = open_page(digits_server.url)
    drawn = wait_for_map(page)
    box = map_box(page)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for _ in range(4):
        page.mouse.wheel(0, -300)
        page.wait_for_timeout(250)
    wait_for(lambda: text_of(page, ".map-n span") != drawn, what="a closer look")
    page.locator(".view-a [data-id=home]").click()
    wait_for(lambda: text_of(page, ".map-n span") == drawn, what="the whole map")


@pytest.mark.parametrize("is_maximised", [False, True], ids=["tab", "maximised"])
@pytest.mark.parametrize("size", [PHONE, (360, 640)], ids=["phone", "small"])
def test_every_tool_of_the_map_is_within_reach_on_a_phone(
    digits_server, open_page, size, is_maximised
):
    page = open_page(digits_server.url, size=size)
    wait_for_map(page)
    if is_maximised:
        page.get_by_role("button", name="Maximise Map").click()
        page.wait_for_selector(".view-a .map-tools")
        page.wait_for_timeout(1_000)
    page.locator(".view-a .map-tools button").first.scroll_into_view_if_needed()
    box = map_box(page)
    tools = page.locator(".view-a .map-tools button").all()
    assert len(tools) == 8
    for tool in tools:
        place = tool.bounding_box()
        label = tool.get_attribute("aria-label")
        assert box["x"] <= place["x"], label
        assert place["x"] + place["width"] <= box["x"] + box["width"], label
        assert box["y"] <= place["y"], label
        assert place["y"] + place["height"] <= box["y"] + box["height"], label
    page.get_by_role("button", name="Show as table").click()
    page.wait_for_selector(".view-a .map-table table")


def test_phone_has_tabs(digits_server, open_page):
    page = open_page(digits_server.url, size=PHONE)
    assert page.locator(".view-a").is_visible()
    assert not page.locator(".view-b").is_visible()
    for view in "bcda":
        page.locator(f".tabs [data-view={view}]").click()
        page.locator(f".view-{view}").wait_for()
        wait_for(
            lambda view=view: sum(page.locator(f".view-{v}").is_visible() for v in "abcd") == 1,
            what=f"view {view} alone",
        )
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
