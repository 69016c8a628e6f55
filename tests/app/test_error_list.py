"""Patterns behind one kind of error: which errors are offered, what the list says of them."""

import re
from dataclasses import replace

import numpy as np
import pytest

from app.layer_names import filter_name
from app.runtime import Runtime
from app.state import SessionState
from app.views import error_list
from feature_store import queries
from feature_store.patterns.enriched import FoundSlice, SliceCounts

NAMES = [f"layer {index}" for index in range(9)]


@pytest.fixture(scope="module")
def runtime(digits_store):
    return Runtime(digits_store)


@pytest.fixture
def state(runtime):
    return SessionState(dict(runtime.splits), split="test")


def test_the_kinds_of_errors_are_the_cells_of_the_confusion_matrix(runtime):
    matrix = queries.confusion_matrix(runtime.store, split="test")
    offered = error_list.offered(runtime, "test")
    counts = []
    for item in offered:
        true, predicted = map(int, item["value"].split("-"))
        assert true != predicted
        counts.append(int(matrix[true, predicted]))
        assert item["label"].endswith(f"({counts[-1]:,})")
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == matrix.sum() - np.trace(matrix)


def test_the_error_that_is_meant(runtime, state):
    first = error_list.offered(runtime, "test")[0]["value"]
    assert "-".join(map(str, error_list.chosen_cell(runtime, state))) == first
    table = runtime.images
    is_test = np.isin(table.ids, runtime.splits["test"])
    wrong = table.ids[np.flatnonzero(table.is_wrong & is_test)[-1]]
    state.focus = int(wrong)
    row = runtime.images.row(int(wrong))
    of_focus = (int(table.true_class[row]), int(table.predicted_class[row]))
    assert error_list.chosen_cell(runtime, state) == of_focus
    last = tuple(map(int, error_list.offered(runtime, "test")[-1]["value"].split("-")))
    state.errors = last
    assert error_list.chosen_cell(runtime, state) == last
    state.errors = (0, 0)
    assert error_list.chosen_cell(runtime, state) == of_focus, "no such error: it is passed over"


def test_nothing_is_said_in_words(runtime, state):
    cell = error_list.chosen_cell(runtime, state)
    found = error_list.find(runtime.store, "balanced", cell, "test")
    empty = replace(found, confirmed=(), reason=replace(found, confirmed=()).why_nothing())
    head = error_list.header(empty, "balanced")
    assert head["headline"] == "Nothing is confirmed behind these errors"
    assert "Path set balanced, convolutions only" in head["words"]
    assert head["cure"] == "Look in path set mean"
    assert "cure" not in error_list.header(empty, "mean")
    assert error_list.nothing("test")["headline"] == "There are no errors"


def test_a_confirmed_pattern_is_shown_by_the_half_that_did_not_choose_it(runtime, state):
    cell = error_list.chosen_cell(runtime, state)
    found = error_list.find(runtime.store, "balanced", cell, "test")
    counts = SliceCounts(n_members=9, n_member_errors=6, n_images=30, n_errors=8)
    members = queries.pattern_members(runtime.store, "balanced", 3)
    each = FoundSlice(
        key=3, label="pattern 3", p=1e-5, q=0.01, discovery=counts, confirmation_p=0.001,
        confirmation_q=0.002, confirmation=counts, twins=(4, 5),
        image_ids=tuple(members.tolist()),
    )  # fmt: skip
    found = replace(found, confirmed=(each,), reason="")
    assert "headline" not in error_list.header(found, "balanced")
    (card,) = error_list.items(
        found, runtime, "balanced", names=NAMES, modules=NAMES,
        selection=state.selection, focus=None, universe=state.universe,
    )  # fmt: skip
    assert (card["id"], card["count"], card["of"]) == (
        3,
        "6",
        " of its 9 nine images on this half",
    )
    assert card["lift"] == "2.5×"
    assert "6 of its 9 images of nine on this half are predicted three" in card["why"]
    assert "2 more patterns hold mostly the same errors" in card["why"]
    assert [image["id"] for image in card["images"]] == members[:16].tolist()


def test_other_ways_to_the_same_errors_stand_beside(runtime, state):
    cell = error_list.chosen_cell(runtime, state)
    found = error_list.find(runtime.store, "mean", cell, "test")
    lines = error_list.compare(runtime.store, found, NAMES)
    starts = ("Clusters of the embedding: ", "Single filters: ", "Pixels: ", "Predicted ")
    assert len(lines) == 7
    assert all(line.startswith(start) for line, start in zip(lines[1:5], starts, strict=True))
    assert "nearly how the error is defined" in lines[5]


def test_the_comparison_is_summed_up_in_one_line(runtime, state):
    cell = error_list.chosen_cell(runtime, state)
    found = error_list.find(runtime.store, "mean", cell, "test")
    first, *others = error_list.compare(runtime.store, found, NAMES)
    assert first.startswith(error_list.LEAD)
    said = re.findall(r"(clusters|filters|pixels)(?: find)? (none|[\d,]+ of [\d,]*\d)", first)
    assert [what for what, _ in said] == ["clusters", "filters", "pixels"]
    for (_, counts), line in zip(said, others, strict=False):
        assert counts in line or (counts == "none" and "none confirmed" in line)
    table = runtime.images
    is_test = np.isin(table.ids, runtime.splits["test"])
    true, predicted = cell
    of_class = is_test & (table.predicted_class == predicted)
    errors = int((of_class & (table.true_class == true)).sum())
    assert f"the prediction {errors:,} of {int(of_class.sum()):,}" in first
    assert first.startswith("Without a pattern: clusters find ")
    assert len(first) < 130


def test_filters_and_clusters_are_called_as_on_the_page():
    names = ["conv1_1", "conv1_2"]
    assert error_list._short("filter 9 of layer 1", names) == filter_name("conv1_2", 9)
    assert error_list._short("cluster 4 of 5 of the embedding", names) == "no. 4"
