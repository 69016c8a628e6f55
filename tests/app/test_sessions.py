"""A page that is closed leaves nothing in the process that served it."""

from __future__ import annotations

import json
import urllib.request

import pytest

from tests.app.conftest import (
    focused_image,
    map_box,
    selected_count,
    serve,
    text_of,
    wait_for,
)
from tests.app.test_page_browser import lasso, wait_for_map

pytestmark = pytest.mark.browser

IMAGE = 1600
STRANGERS = 4
SOON = ("--unused-session-lifetime", "3000", "--check-unused-sessions", "200")
WAIT_OF_THE_NEWS = 40.0


@pytest.fixture(scope="module")
def server(digits_path, tmp_path_factory):
    """Return a server that ends a session seconds after its page, and tells what it holds."""
    options = ("--plugins", "benchmarks._held", *SOON)
    log = tmp_path_factory.mktemp("sessions") / "log"
    with serve(digits_path, log=log, options=options) as server:
        yield server


def held(server):
    with urllib.request.urlopen(server.url.replace("/app", "/held")) as answer:
        return json.load(answer)


def use(page):
    """Select, tap the map, move a slider, open a pattern, look elsewhere and return."""
    page.bring_to_front()
    page.wait_for_selector(".bench[data-stage=ready]")
    page.wait_for_selector(".pc")
    wait_for_map(page)
    total, first = selected_count(page), focused_image(page)
    lasso(page)
    wait_for(lambda: selected_count(page) < total, what="the lasso")
    box = map_box(page)
    for step in range(2, 8):
        page.mouse.click(box["x"] + box["width"] * step / 10, box["y"] + box["height"] * step / 10)
        page.wait_for_timeout(300)
    wait_for(lambda: focused_image(page) != first, what="the tapped image")
    page.wait_for_selector(".bench[data-stage=ready]:not(.waiting)")
    page.locator(".sl[data-name=rotation] input[type=range]").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    wait_for(lambda: text_of(page, ".sl[data-name=rotation] .v") == "+5°", what="the slider")
    page.get_by_label("Which patterns").select_option("distinctive")
    wait_for(lambda: "Most distinctive" in text_of(page, ".bar h3"), what="the patterns")
    wait_for(lambda: is_open(page), what="an open pattern")
    page.locator("#theme").click()
    page.get_by_role("button", name="About this store").click()
    page.get_by_text("Accuracy by split").wait_for()
    page.get_by_role("button", name="Explore").click()
    page.wait_for_selector(".view-a canvas")


def is_open(page):
    """Return whether a pattern is open; a click may meet a list that is just drawn again."""
    if not page.locator(".pc.on").count():
        page.locator(".pc").first.click()
        page.wait_for_timeout(1_000)
    return page.locator(".pc.on").count()


@pytest.fixture(scope="module")
def strangers(server):
    """Ask for pages that nobody connects to; return how many states were alive at once."""
    seen = 0
    for _ in range(STRANGERS):
        with urllib.request.urlopen(server.url) as answer:
            assert answer.status == 200
        seen = max(seen, held(server)["alive"]["SessionState"])
    return seen


# Bokeh forgets pages that never connected only when their periodic callback would have been due:
# they are asked for first, and wait while the others are used.
@pytest.mark.usefixtures("strangers")
@pytest.mark.parametrize("pages", [2, pytest.param(6, marks=pytest.mark.accept)])
def test_a_used_page_leaves_nothing_when_it_is_closed(server, open_page, pages):
    opened = [open_page(server.url, query=f"?image={IMAGE + n}") for n in range(pages)]
    for page in opened:
        use(page)
    before = held(server)
    assert before["sessions"] >= pages
    assert min(before["alive"].values()) >= before["sessions"], "otherwise the count says nothing"
    for page in opened:
        page.close()
    nothing_is_left(server)
    assert "ERROR" not in server.log.read_text()


def test_a_page_that_never_connected_leaves_nothing_either(server, strangers):
    assert strangers, "otherwise the count says nothing"
    nothing_is_left(server)


def nothing_is_left(server):
    wait_for(lambda: held(server)["sessions"] == 0, what="the end of the sessions")
    # What was being computed for the last one ends first.
    wait_for(
        lambda: not any(held(server)["alive"].values()),
        seconds=WAIT_OF_THE_NEWS,
        what=f"nothing, but there is {held(server)['alive']}",
    )
