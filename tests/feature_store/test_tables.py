"""The declarations themselves: complete, named as the schema has them, found by name."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from feature_store import TABLES, UnknownTableError
from feature_store.conform import sort_table
from feature_store.tables import STAGES, find_table, schema


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_declarations_are_complete(table):
    names = {column.name for column in table.columns}
    assert len(names) == len(table.columns)
    assert table.stage in STAGES
    assert table.note
    assert all(column.note for column in table.columns)
    assert all(not column.digits for column in table.columns[:-1])
    assert {key.removeprefix("-") for key in table.sort} <= names
    assert table.part_by is None or table.part_by == table.sort[0]
    for column in table.columns:
        assert column.low is None or column.high is None or column.low <= column.high


def test_wide_names():
    assert schema("scores", 3).names == ["image_id", "c0000", "c0001", "c0002"]
    assert schema("paths/paper", 2).names == ["image_id", "layer_000", "layer_001"]
    assert schema("activations/max/003", 1).names == ["image_id", "f0000"]
    assert schema("activations/max/003", 1, pa.float32()).field("f0000").type == pa.float32()
    assert schema("embeddings", 10_001).names[-1] == "e10000"
    assert schema("scores", 1).field("c0000").metadata[b"high"] == b"1"


def test_tables_are_found_by_name():
    assert find_table("activations/mean/012").name == "activations/<statistic>/<layer_index>"
    assert find_table("patterns/paper/patterns").stage == "mine"
    for name in ("activations/max", "paths/a/b", "paths/..", "Classes", "", "patterns/paper"):
        with pytest.raises(UnknownTableError, match="known: classes, images"):
            find_table(name)


def test_sorting_into_the_declared_order():
    table = pa.table(
        {
            "layer_index": np.array([1, 0, 0], np.int16),
            "filter_index": np.array([0, 2, 2], np.int32),
            "rank_score": np.array([1, 2, 3], np.float32),
        }
    )
    ordered = sort_table(find_table("patterns/paper/pattern_items"), table)
    assert ordered["rank_score"].to_pylist() == [3, 2, 1]
