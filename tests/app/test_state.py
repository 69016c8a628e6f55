"""Selection and focus: never mixed, always undone together."""

from __future__ import annotations

import numpy as np
import pytest

from app.history import UNDO_STEPS
from app.state import Region, Selection, SessionState


@pytest.fixture
def two_splits():
    ids = np.arange(20, dtype=np.int32)
    return SessionState({"": ids, "train": ids[:12], "test": ids[12:]})


def test_a_selection_is_sorted_unique_and_within_the_store(two_splits):
    two_splits.select([7, 3, 3, 99, -1], "lasso on Map")
    assert two_splits.selection.ids.tolist() == [3, 7]
    assert two_splits.selection.ids.dtype == np.int32
    assert 7 in two_splits.selection
    assert 8 not in two_splits.selection
    assert "7" not in two_splits.selection


def test_a_selection_is_added_to_and_taken_from(two_splits):
    outline = Region("tsne", ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)))
    two_splits.select([1, 2, 3], "first", how="add", region=outline)
    assert two_splits.selection.ids.tolist() == [1, 2, 3]
    assert two_splits.selection.region is outline
    two_splits.select([9, 3], "second", how="add", region=outline)
    assert two_splits.selection.ids.tolist() == [1, 2, 3, 9]
    assert (two_splits.selection.origin, two_splits.selection.region) == ("first + second", None)
    two_splits.select([2, 9, 9, 15], "third", how="subtract")
    assert two_splits.selection.ids.tolist() == [1, 3]
    two_splits.clear()
    two_splits.select([0, 19], "fourth", how="subtract")
    assert two_splits.selection.ids.tolist() == list(range(1, 19))
    assert two_splits.selection.origin == "all − fourth"


def test_nothing_selected_means_all(two_splits):
    assert two_splits.selection.is_all
    assert two_splits.selected_ids.tolist() == list(range(20))
    assert 5 in two_splits.selection


def test_focus_leaves_the_selection_alone(two_splits):
    two_splits.select([1, 2], "box on Map")
    two_splits.set_focus(9)
    assert two_splits.focus == 9
    assert two_splits.selection.ids.tolist() == [1, 2]
    two_splits.set_focus(400)
    assert two_splits.focus == 9


def test_invert_twice_is_nothing_done(two_splits):
    two_splits.select([1, 2], "box on Map")
    two_splits.invert()
    assert two_splits.selection.origin == "all but box on Map"
    assert len(two_splits.selection) == 18
    two_splits.invert()
    assert two_splits.selection.ids.tolist() == [1, 2]
    assert two_splits.selection.origin == "box on Map"


def test_undo_and_redo_cover_selection_focus_and_split(two_splits):
    two_splits.select([1, 2], "first")
    two_splits.set_focus(2)
    two_splits.show_split("test")
    assert two_splits.selection.is_all
    for _ in range(3):
        two_splits.undo()
    assert (two_splits.focus, two_splits.split, two_splits.selection.is_all) == (None, "", True)
    assert not two_splits.can_undo
    two_splits.undo()
    for _ in range(3):
        two_splits.redo()
    assert (two_splits.focus, two_splits.split) == (2, "test")
    assert not two_splits.can_redo


def test_undo_and_redo_cover_what_is_looked_at_in_the_network(two_splits):
    state = two_splits
    looked_at = ("filters", "pattern", "path_set", "errors", "pattern_order")
    seen = [[getattr(state, name) for name in looked_at]]
    for step in (
        lambda: state.choose_filters(((1, 2),)),
        lambda: state.choose_filters(((1, 2), (3, 4))),
        lambda: state.open_pattern(17),
        lambda: state.show_path_set("paper"),
        lambda: state.explain_errors((3, 5), "mean"),
        lambda: state.open_pattern(4),
    ):
        step()
        step()
        seen.append([getattr(state, name) for name in looked_at])
    assert seen[4] == [((1, 2), (3, 4)), None, "paper", None, ""]
    assert seen[5] == [((1, 2), (3, 4)), None, "mean", (3, 5), "errors"]
    for expected in reversed(seen[:-1]):
        state.undo()
        assert [getattr(state, name) for name in looked_at] == expected
    assert not state.can_undo, "asking for what is shown is no step"
    for expected in seen[1:]:
        state.redo()
        assert [getattr(state, name) for name in looked_at] == expected


def test_an_address_of_the_page_is_one_step(two_splits):
    asked = {"filters": ((0, 1),), "pattern": 3, "pattern_order": "filters", "view": "c"}
    two_splits.follow(asked, focus=13, split="test")
    two_splits.follow(asked, focus=13, split="test")
    assert (two_splits.focus, two_splits.split, two_splits.pattern) == (13, "test", 3)
    two_splits.undo()
    assert (two_splits.focus, two_splits.split, two_splits.pattern) == (None, "", None)
    assert (two_splits.view, two_splits.can_undo) == ("c", False)


def test_views_know_values_that_were_chosen_together(two_splits):
    seen = []
    two_splits.param.watch(lambda *_: seen.append(two_splits.is_returning), ["filters"])
    two_splits.choose_filters(((1, 2),))
    two_splits.undo()
    two_splits.redo()
    assert seen == [False, True, True]
    assert not two_splits.is_returning


def test_a_new_step_forgets_the_future(two_splits):
    two_splits.set_focus(1)
    two_splits.undo()
    two_splits.set_focus(2)
    assert not two_splits.can_redo


def test_undo_remembers_a_bounded_number_of_steps(two_splits):
    for step in range(UNDO_STEPS + 10):
        two_splits.set_focus(step % 20)
    undone = 0
    while two_splits.can_undo:
        two_splits.undo()
        undone += 1
    assert undone == UNDO_STEPS


def test_a_split_bounds_what_is_selected(two_splits):
    two_splits.show_split("test")
    two_splits.select([3, 13], "pattern 4")
    assert two_splits.selection.ids.tolist() == [13]
    # Images of another split only: showing nothing would be a lie.
    two_splits.select([3, 4], "pattern 5")
    assert two_splits.split == ""
    assert two_splits.selection.ids.tolist() == [3, 4]
    two_splits.show_split("no such split")
    assert two_splits.split == ""


def test_watchers_see_whole_steps(two_splits):
    seen = []
    two_splits.param.watch(
        lambda *_: seen.append((two_splits.focus, len(two_splits.selection))),
        ["focus", "selection", "split"],
    )
    two_splits.select([1, 2], "x", region=Region("tsne", ((0, 0), (1, 0), (1, 1))))
    two_splits.set_focus(1)
    two_splits.undo()
    two_splits.undo()
    assert seen == [(None, 2), (1, 2), (None, 2), (None, 0)]


def test_values_outside_the_lists_are_refused(two_splits):
    for name in ("colour_by", "simulation_measure", "maximised", "view", "page"):
        with pytest.raises(ValueError, match=name):
            two_splits.param.update(**{name: "<b>"})


def test_an_empty_selection_is_not_all():
    nothing = Selection(ids=np.zeros(0, np.int32))
    assert not nothing.is_all
    assert len(nothing) == 0
    assert 1 not in nothing


def test_a_selection_without_the_focus_moves_it_to_its_first_image():
    ids = np.arange(20, dtype=np.int32)
    state = SessionState({"": ids}, first=lambda ids: int(ids[-1]), focus=3)
    state.select([2, 3, 4], "search")
    assert state.focus == 3
    state.select([7, 8], "search")
    assert state.focus == 8
    state.invert()
    assert state.focus == 19
    state.undo()
    assert (state.focus, len(state.selection)) == (8, 2)
    state.clear()
    assert state.focus == 8
