"""The shell in Chromium: a random network is named, a phone can search, no chart is covered."""

from __future__ import annotations

import pytest

from app.runtime import random_weights
from tests.app.conftest import PHONE, selected_count, serve, text_of, wait_for

SAID = "This network has random weights."
NAMED_NONE = {"provenance": {"capture": {"settings": {"model": {"weights": None}}}}}
FILES = {"weights": {"sha256": "aa"}}


def test_weights_are_random_when_nobody_gave_and_nobody_trained_them():
    trained = {**NAMED_NONE, "train": {"weights_sha256": "aa"}}
    given = {"provenance": {"capture": {"settings": {"model": {"weights": "vgg.safetensors"}}}}}
    assert random_weights(NAMED_NONE, FILES)
    assert not random_weights(trained, FILES)
    assert random_weights({**NAMED_NONE, "train": {"weights_sha256": "bb"}}, FILES)
    assert not random_weights(given, FILES)
    assert not random_weights({}, FILES), "a store that does not say is not accused"
    assert not random_weights({"provenance": {"capture": {}}}, {})


@pytest.mark.browser
def test_a_random_network_is_named_on_both_pages(tiny_path, open_page, tmp_path):
    with serve(tiny_path, log=tmp_path / "log") as server:
        page = open_page(server.url)
        page.get_by_text(SAID).wait_for()
        page.get_by_role("button", name="About this store").click()
        page.get_by_text("no: its weights are random").wait_for()


@pytest.mark.browser
def test_a_trained_network_is_not_called_random(digits_server, open_page):
    page = open_page(digits_server.url)
    page.wait_for_selector(".view-d svg")
    assert page.get_by_text(SAID).count() == 0


@pytest.mark.browser
def test_a_phone_can_search(digits_server, open_page):
    page = open_page(digits_server.url, size=PHONE)
    total = selected_count(page)
    assert not page.locator(".search").is_visible()
    page.get_by_role("button", name="Search").click()
    field = page.locator(".search input")
    field.fill("wrong, confidence > 0.5")
    assert page.locator(".search").bounding_box()["width"] > PHONE[0] / 2
    field.press("Enter")
    wait_for(lambda: 0 < selected_count(page) < total, what="the wrong ones")
    wait_for(lambda: not page.locator(".search").is_visible(), what="the header to return")
    assert page.locator(".header .phone").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]


@pytest.mark.browser
def test_a_phone_can_change_the_path_set(digits_server, open_page):
    page = open_page(digits_server.url, size=PHONE)
    page.locator(".tabs [data-view=c]").click()
    group = page.get_by_role("radiogroup", name="Path set")
    group.wait_for()
    group.get_by_role("radio", name="paper").click()
    chosen = group.get_by_role("radio", name="paper")
    wait_for(lambda: chosen.get_attribute("aria-checked") == "true", what="the path set")
    box = group.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE[0]
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]


@pytest.mark.browser
def test_the_table_of_the_simulation_lies_beside_its_chart(digits_server, open_page):
    page = open_page(digits_server.url)
    page.wait_for_selector(".view-d .over .pl svg")
    chart = page.locator(".view-d .over .pl").bounding_box()

    def is_read():
        # What is drawn anew under a pointer at rest says nothing until it moves.
        for share in (0.38, 0.4):
            page.mouse.move(
                chart["x"] + chart["width"] * share, chart["y"] + chart["height"] * 0.1
            )
        return page.locator(".view-d .read").is_visible()

    wait_for(is_read, what="the figures under the pointer")
    table = page.locator(".view-d .read").bounding_box()
    assert "°" in text_of(page, ".view-d .read")
    is_beside = (
        table["x"] >= chart["x"] + chart["width"] or table["x"] + table["width"] <= chart["x"]
    )
    is_off = (
        table["y"] >= chart["y"] + chart["height"] or table["y"] + table["height"] <= chart["y"]
    )
    assert is_beside or is_off
