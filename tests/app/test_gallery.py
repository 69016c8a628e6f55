"""The gallery without a browser: which images, in which order, on which page."""

from __future__ import annotations

import numpy as np
import pytest

from app import orders, thumbnails
from app.components.selection_bar import SelectionBar
from app.state import SessionState
from app.views.gallery import PAGE, GalleryView


@pytest.fixture
def state(runtime):
    return SessionState(dict(runtime.splits), split="test", maximised="a")


@pytest.fixture
def by_address(monkeypatch):
    monkeypatch.setattr(thumbnails, "served_by_url", lambda: True)


@pytest.fixture
def view(runtime, state, by_address):
    made = GalleryView(runtime, state)
    state.param.trigger("maximised")
    return made


@pytest.fixture(scope="module")
def rows(digits_store):
    found = digits_store.sql(
        "SELECT image_id, split, confidence, margin, is_correct FROM images JOIN predictions "
        "USING (image_id)"
    ).fetchall()
    return {row[0]: row[1:] for row in found}


def head(view):
    return view._gallery.gallery_head


def send(view, **message):
    view._gallery._handle_msg(message)


def shown(view):
    return [item["id"] for item in view._gallery.gallery_items]


def all_pages(view):
    found = []
    for page in range(head(view)["last"] + 1):
        send(view, kind="page", value=page)
        assert len(shown(view)) <= PAGE
        found += shown(view)
    return found


KEYS = {
    "confidence": lambda row: row[1],
    "margin": lambda row: row[2],
    "errors": lambda row: (row[3], row[1] if row[3] else -row[1]),
    "id": lambda row: 0,
}


@pytest.mark.parametrize("order", KEYS)
def test_all_pages_hold_every_image_once_in_order(view, state, rows, order):
    chosen = sorted(i for i, row in rows.items() if row[0] == "test" and i % 2)
    state.select(chosen, "odd ones")
    send(view, kind="order", value=order)
    assert state.order == order
    expected = sorted(chosen, key=lambda i: (KEYS[order](rows[i]), i))
    assert all_pages(view) == expected
    assert head(view)["n"] == f"{len(chosen):,}"
    assert head(view)["of"] == "of 500 test images"


def test_without_a_selection_all_shown_images_are_there(view, rows):
    assert sorted(all_pages(view)) == sorted(i for i, row in rows.items() if row[0] == "test")


def test_flips_order_the_gallery_as_the_film_strip(view, state, runtime):
    bar = SelectionBar(runtime, state)
    for order in orders.strip_orders(runtime):
        send(view, kind="order", value=order)
        assert view.ids.tolist() == bar._order.tolist()
    assert any(order.startswith("flip:") for order in orders.strip_orders(runtime))


def test_a_picture_is_that_of_its_id(view, runtime):
    for item in view._gallery.gallery_items:
        assert item["url"] == f"thumb/{runtime.key}/{item['id']}.png"
        assert item["title"].startswith(f"image {item['id']:,}: ")
        row = runtime.images.row(item["id"])
        assert item["is_wrong"] == bool(runtime.images.is_wrong[row])


def test_a_tap_puts_the_image_under_test(view, state):
    target = shown(view)[7]
    send(view, kind="open", value=target)
    assert (state.focus, state.view, state.maximised) == (target, "b", "")
    assert state.selection.is_all, "the selection stays"


def test_the_page_follows_the_focus_and_is_turned_by_hand(view, state):
    far = int(view.ids[2 * PAGE + 3])
    state.set_focus(far)
    assert head(view)["page"] == 2
    assert far in shown(view)
    assert view._gallery.gallery_focus == far
    send(view, kind="page", value=0)
    assert head(view)["page"] == 0
    assert head(view)["range"] == f"1–{PAGE}"


def test_an_empty_selection_says_so(view, state):
    state.select(state.universe, "all there is")
    state.invert()
    assert shown(view) == []
    assert head(view)["headline"] == "No image is selected"
    assert (head(view)["n"], head(view)["last"]) == ("0", 0)


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "page", "value": 10**6},
        {"kind": "page", "value": -1},
        {"kind": "page", "value": "1"},
        {"kind": "order", "value": "name; drop"},
        {"kind": "order", "value": ["id"]},
        {"kind": "open", "value": 10**8},
        {"kind": "open", "value": None},
        {},
    ],
)
def test_what_no_page_of_ours_sends_changes_nothing(view, state, message):
    before = (shown(view), state.order, state.focus, state.maximised)
    send(view, **message)
    assert (shown(view), state.order, state.focus, state.maximised) == before


def test_a_hidden_gallery_costs_nothing_and_a_message_stays_small(runtime, monkeypatch):
    state = SessionState(dict(runtime.splits))
    view = GalleryView(runtime, state)
    state.select(np.arange(40), "some")
    assert view._gallery.gallery_items == []
    monkeypatch.setattr(thumbnails, "served_by_url", lambda: False)
    state.clear()
    state.maximised = "a"
    items = view._gallery.gallery_items
    assert len(items) == PAGE // 2
    assert all(item["url"].startswith("data:image/") for item in items)
