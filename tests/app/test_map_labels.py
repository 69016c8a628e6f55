"""Names of the classes on the map: none hides what stands there."""

from __future__ import annotations

import numpy as np
import pytest

from app.views.map_view import MapView

SIDE = 400

STAY = 4
"""Pixels by which a name may lie on what it should not: it is not drawn anew for so little."""


@pytest.fixture
def view(runtime, state):
    """Return a map at a known size, all images shown."""
    made = MapView(runtime, state)
    made.on_size(SIDE, SIDE)
    return made


def test_no_name_lies_on_the_note_of_a_changed_image(view, state):
    before = _names(view)
    text, (x, y) = next(iter(before.items()))
    up = view._view.unit_y
    state.changed_place = (x - 20 * view._view.unit_x, y + 5 * up)
    after = _names(view)
    assert after[text][0] == x
    assert after[text][1] >= y + 13 * up, "above what is written there"
    assert sum(after[one] != before[one] for one in before) < len(before), "others stay"
    state.changed_place = None
    assert _names(view) == before


def test_no_name_lies_on_the_ring_of_the_focus(view, state, runtime):
    view.on_move("in")
    text, (x, y) = next(iter(_names(view).items()))
    up = view._view.unit_y
    places = {int(i): view._index.place(int(i)) for i in runtime.images.ids}
    near = min(places, key=lambda i: np.hypot(places[i][0] - x, places[i][1] - y - 8 * up))
    state.set_focus(near)
    names = _names(view)
    for name, (at_x, at_y) in names.items():
        across, above = (np.array([at_x, at_y]) - places[near]) / (view._view.unit_x, up)
        over = abs(across) < 11 + 3.6 * len(name) and -26 + STAY < above < 11 - STAY
        assert not over, f"{name} hides the focus"
    assert text in names
    state.focus = None
    assert _names(view)[text] == (x, y)


def _names(view):
    return {text: (x, y) for x, y, text in view.plot.shown("labels")["places"]}
