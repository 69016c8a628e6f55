"""Keys in real Chromium: one step for each press, and the focus is always somewhere."""

from __future__ import annotations

import pytest

from tests.app.conftest import LAPTOP, focused_image, selected_count, wait_for

pytestmark = pytest.mark.browser

IMAGE = 1600

FOCUSED = """() => {
    const path = []
    for (let node = document.activeElement; node; node = node.shadowRoot?.activeElement) {
        path.push(node)
    }
    return path
}"""
DEEPEST = f"() => ({FOCUSED})().at(-1)"
VIEW = f"""() => ({FOCUSED})().map((node) => node.className.match?.(/view-([abcd])/)?.[1])
    .find(Boolean) || ''"""
RING = f"() => getComputedStyle(({DEEPEST})()).outlineStyle"


@pytest.fixture
def page(digits_server, open_page):
    page = open_page(digits_server.url, query=f"?image={IMAGE}")
    page.wait_for_selector(".bench[data-stage=ready]")
    page.wait_for_selector(".pc")
    page.wait_for_selector(".view-d svg")
    return page


def is_lost(page):
    return page.evaluate(f"() => ({DEEPEST})() === document.body")


def view_of_focus(page):
    return page.evaluate(VIEW)


def test_a_number_gives_the_keyboard_to_its_view_with_a_ring(page):
    for key, view in zip("1234", "abcd", strict=True):
        page.keyboard.press(key)
        wait_for(lambda view=view: view_of_focus(page) == view, what=f"view {view}")
        assert page.evaluate(f"() => ({DEEPEST})().classList.contains('view')")
        assert page.evaluate(RING) == "solid"
    page.keyboard.press("Tab")
    assert view_of_focus(page) == "d", "Tab goes on inside the view"
    assert not page.evaluate(f"() => ({DEEPEST})().classList.contains('view')")


def test_a_number_goes_to_a_view_that_another_one_hides(page):
    page.keyboard.press("1")
    wait_for(lambda: view_of_focus(page) == "a", what="the map")
    page.keyboard.press("f")
    wait_for(lambda: not page.locator(".view-c").is_visible(), what="the map alone")
    page.keyboard.press("3")
    wait_for(lambda: view_of_focus(page) == "c", what="view C")
    assert page.locator(".view-c").bounding_box()["width"] > LAPTOP[0] * 0.5
    page.keyboard.press("Escape")
    wait_for(lambda: page.locator(".view-a").is_visible(), what="all views")


def test_escape_closes_a_popover_and_nothing_else(page):
    total = selected_count(page)
    page.locator(".view-a .legend button").nth(3).click()
    chosen = wait_for(lambda: (n := selected_count(page)) < total and n, what="a class")
    page.locator(".view-b [data-id=info]").click()
    page.locator(".pop:popover-open").wait_for()
    page.keyboard.press("Escape")
    wait_for(lambda: not page.locator(".pop:popover-open").count(), what="the popover to close")
    page.wait_for_timeout(500)
    assert selected_count(page) == chosen, "the same press took the next step"
    page.keyboard.press("Escape")
    wait_for(lambda: selected_count(page) == total, what="the next press")


def test_escape_closes_a_dialog_and_nothing_else(page):
    total = selected_count(page)
    page.locator(".view-a .legend button").nth(3).click()
    chosen = wait_for(lambda: (n := selected_count(page)) < total and n, what="a class")
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    wait_for(lambda: not page.get_by_role("dialog").count(), what="the help to close")
    page.wait_for_timeout(500)
    assert selected_count(page) == chosen


def test_escape_takes_one_step_at_a_time(page):
    total = selected_count(page)
    page.locator(".view-a .legend button").nth(3).click()
    wait_for(lambda: selected_count(page) < total, what="a class")
    page.get_by_label("Which patterns").select_option("distinctive")
    page.wait_for_timeout(1_000)
    wait_for(lambda: opened(page), what="an open pattern")
    page.keyboard.press("Escape")
    wait_for(lambda: not page.locator(".pc.on").count(), what="the closed pattern")
    assert selected_count(page) < total
    page.keyboard.press("Escape")
    wait_for(lambda: selected_count(page) == total, what="all images")


def opened(page):
    """Return whether a pattern is open; a click may meet a list that is just drawn again."""
    if not page.locator(".pc.on").count():
        page.locator(".pc").first.click()
        page.wait_for_timeout(1_000)
    return page.locator(".pc.on").count()


def test_what_is_drawn_again_or_disabled_hands_the_focus_on(page):
    first = focused_image(page)
    page.locator(".film .th").nth(3).click()
    wait_for(lambda: focused_image(page) != first, what="the clicked picture")
    wait_for(lambda: not is_lost(page), what="the focus of the film strip")
    assert page.evaluate(f"() => Number(({DEEPEST})().dataset.image)") == focused_image(page)
    undo = page.locator("[data-act=undo]")
    undo.focus()
    for _ in range(8):
        if undo.is_disabled():
            break
        page.keyboard.press("Enter")
        page.wait_for_timeout(500)
    assert undo.is_disabled(), "otherwise nothing vanished"
    wait_for(lambda: not is_lost(page), what="another button of the bar")
    page.locator(".view-a .legend button").nth(2).focus()
    page.keyboard.press("Enter")
    page.wait_for_timeout(700)
    assert not is_lost(page)


def test_a_click_on_an_empty_place_takes_the_focus_away(page):
    page.locator("[data-act=invert]").evaluate("e => e.focus()")
    page.locator(".film .th.focus").focus()
    page.mouse.click(6, LAPTOP[1] - 8)
    page.wait_for_timeout(500)
    assert is_lost(page)


def test_a_list_that_was_used_leaves_the_keys_to_the_page(page):
    page.keyboard.press("3")
    wait_for(lambda: view_of_focus(page) == "c", what="view C")
    orders = page.get_by_label("Which patterns")
    orders.select_option("distinctive")
    orders.focus()
    page.keyboard.press("f")
    wait_for(lambda: not page.locator(".view-a").is_visible(), what="view C alone")
    assert orders.input_value() == "distinctive", "f is no letter for the list"
    page.keyboard.press("Escape")
    wait_for(lambda: page.locator(".view-a").is_visible(), what="all views")
