"""View C in real Chromium: the card of a filter, an open pattern, ablation, errors explained."""

from __future__ import annotations

import pytest

from tests.app.conftest import PHONE, focused_image, text_of, wait_for

pytestmark = pytest.mark.browser

IMAGE = 1600
REPLACE = "[data-action=ablate]"


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
    strip = page.locator(".strip").bounding_box()
    for part in (".sh", ".fc", ".hist", ".ablate-here"):
        assert is_inside(page.locator(f".strip {part}").bounding_box(), strip), part
    picture = page.locator(".strip .fi .th").first.bounding_box()
    box = page.locator(".strip .fi .bx").first.bounding_box()
    assert is_inside(box, picture)
    # The first layer sees 3 of 32 pixels; a patch at the border is cut.
    assert 0 < box["width"] <= picture["width"] * 3 / 32 + 2.5
    assert "sees 3 × 3 pixels" in text_of(page, ".strip .sees")
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
    assert "They look" in text_of(page, ".pc.on .said") or "Nothing" in text_of(page, ".said")
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
    page.locator(".pc.on").get_by_label("Which filters are replaced").select_option("telling")
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
    wait_for(lambda: "Clusters" in text_of(page, ".notes"), what="the comparison")
    assert text_of(page, ".notes").startswith("What finds the same errors without a pattern")
    options = cells.locator("option").all_inner_texts()
    assert len(options) > 5
    value = cells.locator("option").nth(1).get_attribute("value")
    cells.select_option(value)
    wait_for(lambda: cells.input_value() == value, what="the other errors")
    wait_for(
        lambda: page.locator(".pc .why").count() or page.locator(".all > .notice").is_visible(),
        what="an answer",
    )
    if page.locator(".all > .notice").is_visible():
        assert "Nothing is confirmed behind these errors" in text_of(page, ".all > .notice")
    choose(page, "general")
    page.locator(".notes").wait_for(state="hidden")
    assert cells.is_hidden()


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
