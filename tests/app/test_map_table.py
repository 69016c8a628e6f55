"""The map as a table: its rows are those that a plain query finds, in the order it says."""

from __future__ import annotations

import pytest

from app.views import map_table
from app.views.map_view import MapView

ROWS = (
    "SELECT i.image_id AS id, c.class_name AS true, d.class_name AS predicted, p.confidence, "
    "p.loss, p.is_correct, i.split, m.x, m.y FROM images i JOIN predictions p USING (image_id) "
    "JOIN projections m USING (image_id) JOIN classes c ON c.class_index = i.true_class "
    "JOIN classes d ON d.class_index = p.predicted_class WHERE m.projection = 'tsne'"
)


@pytest.fixture(scope="module")
def stored(digits_store):
    return digits_store.arrow(ROWS).to_pylist()


@pytest.fixture
def view(runtime, state):
    made = MapView(runtime, state)
    made.on_size(400, 400)
    made._use_tool("table")
    return made


def table(view):
    return view._table.table


def send(view, **message):
    table(view)._handle_msg(message)


def all_ids(view):
    """Turn all pages and return the ids of their rows."""
    found = []
    for page in range(table(view).table_head["last"] + 1):
        send(view, kind="page", value=page)
        found += [row["id"] for row in table(view).table_rows]
    return found


def test_all_images_are_rows_the_least_confident_first(view, stored):
    expected = sorted(stored, key=lambda row: (row["confidence"], row["id"]))
    assert all_ids(view) == [row["id"] for row in expected]
    send(view, kind="page", value=1)
    head, rows = table(view).table_head, table(view).table_rows
    assert (head["n"], head["of"]) == (f"{len(stored):,}", f"of {len(stored):,} drawn")
    assert head["range"] == f"{map_table.PAGE + 1}–{2 * map_table.PAGE}"
    for row, wanted in zip(rows, expected[map_table.PAGE :], strict=False):
        assert row["cells"] == [
            f"{wanted['id']:,}", wanted["true"], wanted["predicted"],
            f"{wanted['confidence']:.2f}",
        ]  # fmt: skip
        assert row["is_wrong"] == (not wanted["is_correct"])


def test_every_heading_sorts_up_and_down(view, state, stored):
    state.colour_by = "predictions.loss"
    assert [one["key"] for one in table(view).table_head["columns"]][-1] == "predictions.loss"
    keys = {"id": "id", "true": "true", "predicted": "predicted", "predictions.loss": "loss"}
    for column, key in keys.items():
        send(view, kind="sort", value=column)
        ascending = sorted(stored, key=lambda row: (row[key], row["id"]))
        assert all_ids(view) == [row["id"] for row in ascending]
        send(view, kind="sort", value=column)
        assert table(view).table_head["down"]
        by_id = sorted(stored, key=lambda row: row["id"])
        down = sorted(by_id, key=lambda row: row[key], reverse=True)
        assert all_ids(view) == [row["id"] for row in down], "equal ones by id"


def test_a_selection_what_is_hidden_and_a_zoom_leave_rows_out(view, state, stored):
    state.hidden = frozenset({("true", "3")})
    kept = {row["id"] for row in stored if row["true"] != "three"}
    assert 0 < len(kept) < len(stored)
    assert set(all_ids(view)) == kept
    state.select([row["id"] for row in stored[::3]], "every third")
    kept &= {row["id"] for row in stored[::3]}
    assert set(all_ids(view)) == kept
    assert table(view).table_head["of"] == f"of {len(stored):,} selected and drawn"
    view.on_move("in")
    (x0, x1), (y0, y1) = view._view.x_range, view._view.y_range
    inside = {r["id"] for r in stored if x0 <= r["x"] <= x1 and y0 <= r["y"] <= y1}
    assert 0 < len(kept & inside) < len(kept)
    assert set(all_ids(view)) == kept & inside


@pytest.mark.parametrize(
    ("by", "said"),
    [
        ("correct", lambda row: "right" if row["is_correct"] else "wrong"),
        ("images.split", lambda row: row["split"]),
        ("true", None),
        ("confidence", None),
    ],
)
def test_the_column_that_colours_is_there_once(by, said, view, state, stored):
    state.colour_by = by
    by_id = {row["id"]: row for row in stored}
    assert len(table(view).table_head["columns"]) == (4 if said is None else 5)
    for row in table(view).table_rows:
        assert len(row["cells"]) == len(table(view).table_head["columns"])
        if said is not None:
            assert row["cells"][-1] == said(by_id[row["id"]])


def test_a_row_goes_to_the_testing_view_and_is_marked(view, state):
    row = table(view).table_rows[5]["id"]
    send(view, kind="open", value=row)
    assert (state.focus, state.view) == (row, "b")
    assert table(view).table_focus == row


def test_forged_messages_change_nothing(view, state):
    before = (all_ids(view), state.focus)
    for message in (
        {"kind": "page", "value": 10**6}, {"kind": "page", "value": "1"},
        {"kind": "sort", "value": "__class__"}, {"kind": "sort", "value": ["id"]},
        {"kind": "open", "value": 10**6}, {"kind": "open", "value": None}, {"kind": 3},
    ):  # fmt: skip
        send(view, **message)
    assert (all_ids(view), state.focus) == before
    send(view, kind="close")
    assert not table(view).table_open
    send(view, kind="open", value=before[0][0])
    assert state.focus == before[1], "a table that nobody sees does nothing"


def test_an_order_that_is_gone_is_that_by_confidence(view, state):
    state.colour_by = "predictions.loss"
    send(view, kind="sort", value="predictions.loss")
    state.colour_by = "true"
    assert table(view).table_head["sort"] == "confidence"
