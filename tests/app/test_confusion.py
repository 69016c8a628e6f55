"""The confusion matrix without a browser, against loops over plain rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import app.views.confusion as module
from app.state import SessionState
from app.views import error_list
from app.views.confusion import ConfusionView, images_of, largest_errors, shown_classes
from feature_store import queries


@pytest.fixture
def state(runtime):
    return SessionState(dict(runtime.splits), split="test", maximised="a")


@pytest.fixture
def view(runtime, state):
    made = ConfusionView(runtime, state)
    state.param.trigger("maximised")
    return made


@pytest.fixture(scope="module")
def rows(digits_store):
    """Return (image_id, split, true_class, predicted_class) of every image."""
    return digits_store.sql(
        "SELECT image_id, split, true_class, predicted_class FROM images JOIN predictions "
        "USING (image_id) ORDER BY image_id"
    ).fetchall()


def data(view):
    return view._confusion.confusion_data


def send(view, **message):
    view._confusion._handle_msg(message)


def counted(rows, passes=lambda image_id, split: True):
    counts = np.zeros((10, 10), int)
    for image_id, split, true, predicted in rows:
        counts[true, predicted] += passes(image_id, split)
    return counts


def cell(rows, split, true, predicted):
    """Return the ids of a cell; None is any class."""
    return [
        image_id
        for image_id, where, t, p in rows
        if where == split and true in {None, t} and predicted in {None, p}
    ]


@pytest.mark.parametrize("split", ["", "train", "test"])
def test_cells_count_the_images_of_the_shown_split(view, state, rows, split):
    state.show_split(split)
    expected = counted(rows, lambda _, where: split in {"", where})
    assert data(view)["counts"] == expected.tolist()
    assert [each["n"] for each in data(view)["classes"]] == expected.sum(axis=1).tolist()
    wrong = expected.sum() - np.trace(expected)
    assert data(view)["extent"].startswith(f"{expected.sum():,} ")
    assert data(view)["extent"].endswith(f"{wrong:,} wrong")
    assert data(view)["selected"] == []


def test_a_selection_is_counted_in_its_cells(view, state, rows):
    chosen = {row[0] for row in rows if row[1] == "test" and row[0] % 3 == 0}
    state.select(sorted(chosen), "every third")
    expected = counted(rows, lambda image_id, _: image_id in chosen)
    assert data(view)["selected"] == expected.tolist()
    assert data(view)["extent"] == f"{len(chosen):,} of 500 test images"
    for line in data(view)["largest"]:
        assert line["k"] == expected[line["true"], line["predicted"]]


@pytest.mark.parametrize(
    ("true", "predicted", "origin"),
    [
        (9, 3, "nine taken for three"),
        (4, 4, "four predicted right"),
        (8, None, "class eight"),
        (None, 5, "predicted five"),
    ],
)
def test_a_click_selects_exactly_these_images(view, state, rows, true, predicted, origin):
    send(view, kind="select", true=true, predicted=predicted, how="")
    assert state.selection.ids.tolist() == cell(rows, "test", true, predicted)
    assert state.selection.origin == origin


def test_shift_adds_and_alt_takes_away(view, state, rows):
    nine, three = cell(rows, "test", 9, None), cell(rows, "test", 9, 3)
    eight = cell(rows, "test", 8, 1)
    send(view, kind="select", true=9, predicted=None, how="add")
    assert state.selection.ids.tolist() == nine, "nothing was selected: it replaces"
    send(view, kind="select", true=9, predicted=3, how="subtract")
    assert state.selection.ids.tolist() == sorted(set(nine) - set(three))
    send(view, kind="select", true=8, predicted=1, how="add")
    assert state.selection.ids.tolist() == sorted((set(nine) - set(three)) | set(eight))
    assert state.selection.origin == "class nine − nine taken for three + eight taken for one"
    state.clear()
    send(view, kind="select", true=9, predicted=3, how="subtract")
    assert len(state.selection.ids) == 500 - len(three)
    assert state.selection.origin == "all − nine taken for three"


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "select"},
        {"kind": "select", "true": 10, "predicted": 99},
        {"kind": "select", "true": "9", "predicted": [3]},
        {"kind": "select", "true": True},
        {"kind": "select", "true": 1e400, "predicted": -1},
        {"kind": "explain", "true": 3, "predicted": 3},
        {"kind": "explain", "true": 0, "predicted": None},
        {"kind": "search", "value": {"a": 1}},
        {"kind": None},
    ],
)
def test_what_no_page_of_ours_sends_changes_nothing(view, state, message):
    before = (state.selection, state.errors, state.maximised)
    send(view, **message)
    assert (state.selection, state.errors, state.maximised) == before


def test_the_patterns_behind_a_cell_are_asked_for(view, state, runtime):
    known = [(c.true_class, c.predicted_class) for c in error_list.cells(runtime.store, "test")]
    assert sorted(map(tuple, data(view)["explained"])) == sorted(known)
    send(view, kind="explain", true=9, predicted=3)
    assert state.errors == (9, 3)
    assert state.pattern_order == "errors"
    assert (state.maximised, state.view) == ("", "c")
    assert error_list.chosen_cell(runtime, state) == (9, 3)


def test_the_largest_errors_come_first(view, rows):
    counts = counted(rows, lambda _, split: split == "test")
    expected = sorted(
        ((t, p) for t in range(10) for p in range(10) if t != p and counts[t, p]),
        key=lambda cell: (-counts[cell], cell),
    )
    assert [(line["true"], line["predicted"]) for line in data(view)["largest"]] == expected[
        : module.MOST_ERRORS
    ]
    for line in data(view)["largest"]:
        assert line["share"] == line["n"] / counts[line["true"]].sum()


def test_the_largest_errors_of_a_selection_are_ordered_by_it(view, state, rows):
    assert data(view)["largest_selected"] == []
    chosen = {row[0] for row in rows if row[1] == "test" and row[0] % 3 == 0}
    state.select(sorted(chosen), "every third")
    counts = counted(rows, lambda image_id, _: image_id in chosen)
    totals = counted(rows, lambda _, split: split == "test")
    cells = ((t, p) for t in range(10) for p in range(10) if t != p and counts[t, p])
    expected = sorted(cells, key=lambda cell: (-counts[cell], cell))[: module.MOST_ERRORS]
    lines = data(view)["largest_selected"]
    assert [(line["true"], line["predicted"]) for line in lines] == expected
    assert [line["k"] for line in lines] == [counts[cell] for cell in expected]
    assert [line["n"] for line in lines] == [totals[cell] for cell in expected]


def test_nothing_is_computed_while_the_map_is_not_maximised(runtime, monkeypatch):
    state = SessionState(dict(runtime.splits))
    view = ConfusionView(runtime, state)
    asked = []
    real = queries.confusion_matrix
    monkeypatch.setattr(
        queries, "confusion_matrix", lambda *a, **k: asked.append(1) or real(*a, **k)
    )
    state.select([1, 2, 3], "test")
    assert data(view) == {}
    assert not asked
    state.maximised = "a"
    assert np.sum(data(view)["selected"]) == 3
    assert asked


def test_of_many_classes_the_most_confused_are_shown():
    generator = np.random.default_rng(4)
    counts = generator.integers(0, 3, (1000, 1000)) * (generator.random((1000, 1000)) < 0.01)
    counts[np.arange(1000), np.arange(1000)] = 50
    counts[700, 701] = counts[12, 990] = 500
    shown = shown_classes(counts)
    errors = [counts[k].sum() + counts[:, k].sum() - 2 * counts[k, k] for k in range(len(counts))]
    assert len(shown) == module.SHOWN_CLASSES
    assert shown.tolist() == sorted(shown.tolist())
    least = min(errors[k] for k in shown)
    assert all(errors[k] <= least for k in range(1000) if k not in set(shown.tolist()))
    assert {700, 701, 12, 990} <= set(shown.tolist())
    assert set(largest_errors(counts, 2)) == {(700, 701), (12, 990)}
    # Who looks for a class sees it with those it is confused with.
    partners = [k for k in range(1000) if k != 5 and counts[5, k] + counts[k, 5]]
    found = set(shown_classes(counts, [5]).tolist()) - {5}
    assert len(found & set(partners)) == min(len(partners), module.SHOWN_CLASSES - 1)


def test_a_search_chooses_the_classes(view, monkeypatch):
    monkeypatch.setattr(module, "MOST_CLASSES", 5)
    monkeypatch.setattr(module, "SHOWN_CLASSES", 4)
    send(view, kind="search", value="SEV")
    shown = data(view)
    assert "seven" in [each["name"] for each in shown["classes"]]
    assert shown["part"] == "4 of 10 classes, found"
    assert len(shown["counts"]) == len(shown["counts"][0]) == 4
    send(view, kind="search", value="")
    assert data(view)["part"] == "4 of 10 classes, the most confused"


def test_images_without_a_label_are_left_out_of_a_column(runtime, monkeypatch):
    table = runtime.images
    unlabelled = table.true_class.copy()
    unlabelled[::2] = -1
    monkeypatch.setitem(runtime.__dict__, "images", replace(table, true_class=unlabelled))
    ids, origin = images_of(runtime, table.ids, None, 5)
    expected = table.ids[(table.predicted_class == 5) & (unlabelled >= 0)]
    assert ids.tolist() == expected.tolist()
    assert origin == "predicted five"
