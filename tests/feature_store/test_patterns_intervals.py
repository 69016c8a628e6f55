"""The interval miner gives what brute force and DuckDB give, number by number."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from feature_store import Store, StoreWriter
from feature_store.patterns import mined
from feature_store.patterns.contiguous import StartLayer, contiguous_patterns
from feature_store.patterns.intervals import interval_patterns, winner_codes
from feature_store.patterns.mined import Population, choose_engine
from feature_store.patterns.tables import engine_of, mine, pattern_tables

Pattern = tuple[int, int, tuple[int, ...]]


def path_table(paths: np.ndarray, ids: np.ndarray | None = None) -> pa.Table:
    ids = np.arange(len(paths)) if ids is None else ids
    columns = {f"layer_{at:03d}": np.ascontiguousarray(c) for at, c in enumerate(paths.T)}
    return pa.table({"image_id": ids.astype(np.int32), **columns})


def random_paths(rng: np.random.Generator) -> np.ndarray:
    """Columns decided by the one before, hubs, constants, and silence in some or all images."""
    n_images, n_layers = int(rng.integers(0, 160)), int(rng.integers(1, 8))
    columns: list[np.ndarray] = []
    for _ in range(n_layers):
        width, kind = int(rng.integers(1, 7)), rng.integers(4)
        column = rng.integers(0, width, n_images)
        if kind == 0 and columns:
            column = (columns[-1] * 7 + 3) % width
        elif kind == 1:
            column = np.where(rng.random(n_images) < 0.8, 0, column)
        if rng.random() < 0.4:
            column = np.where(rng.random(n_images) < rng.choice([0.1, 0.6, 1.0]), -1, column)
        columns.append(column)
    return np.stack(columns, axis=1).astype(np.int32)


def brute_force(
    paths: np.ndarray, min_images: int, min_length: int
) -> dict[Pattern, frozenset[int]]:
    """Every window of every image; closed by asking all members for their neighbours."""
    n_layers = paths.shape[1]
    windows: dict[Pattern, set[int]] = {}
    for row, path in enumerate(paths.tolist()):
        for first in range(n_layers):
            for last in range(first + min_length - 1, n_layers):
                if -1 not in path[first : last + 1]:
                    key = first, last, tuple(path[first : last + 1])
                    windows.setdefault(key, set()).add(row)
    closed = {}
    for (first, last, items), rows in windows.items():
        beside = [side for side in (first - 1, last + 1) if 0 <= side < n_layers]
        seen = [set(paths[sorted(rows), side].tolist()) for side in beside]
        if len(rows) >= min_images and not any(len(s) == 1 and -1 not in s for s in seen):
            closed[first, last, items] = frozenset(rows)
    return closed


def found(starts: list[StartLayer], paths: np.ndarray) -> dict[Pattern, frozenset[int]]:
    """Items and members of every run, for ids that are row numbers."""
    result = {}
    for start in starts:
        for last, low, high in zip(start.last_layer, start.low, start.high, strict=True):
            members = start.order[low:high]
            windows = {tuple(w) for w in paths[members, start.first_layer : last + 1].tolist()}
            assert len(windows) == 1, "the members of a run share the window"
            key = start.first_layer, int(last), windows.pop()
            assert key not in result
            result[key] = frozenset(members.tolist())
    return result


def interval(paths: np.ndarray, min_images: int = 5, min_length: int = 2) -> list[StartLayer]:
    table = path_table(paths)
    return list(interval_patterns(table, min_images=min_images, min_length=min_length))


def assert_same(ours: list[StartLayer], duckdb: list[StartLayer]) -> None:
    assert len(ours) == len(duckdb)
    for one, other in zip(ours, duckdb, strict=True):
        for field in fields(StartLayer):
            left, right = getattr(one, field.name), getattr(other, field.name)
            np.testing.assert_array_equal(left, right, err_msg=field.name)
            assert np.asarray(left).dtype == np.asarray(right).dtype, field.name


@pytest.mark.parametrize("block", range(10))
def test_patterns_and_members_equal_brute_force(block: int) -> None:
    for seed in range(block * 1000, block * 1000 + 30):
        rng = np.random.default_rng(seed)
        paths = random_paths(rng)
        min_images, min_length = int(rng.integers(1, 7)), int(rng.integers(1, 4))
        starts = interval(paths, min_images, min_length)
        assert found(starts, paths) == brute_force(paths, min_images, min_length), f"seed {seed}"


@pytest.mark.parametrize("block", range(8))
def test_every_number_equals_duckdb(block: int) -> None:
    """With ids in any order, so that ties by id are told apart from ties by row."""
    for seed in range(block * 1000, block * 1000 + 10):
        rng = np.random.default_rng(seed)
        paths = random_paths(rng)
        ids = rng.permutation(10 * len(paths))[: len(paths)]
        limits = {"min_images": int(rng.integers(1, 7)), "min_length": int(rng.integers(1, 4))}
        table = path_table(paths, ids)
        duckdb = list(contiguous_patterns(table, threads=1, **limits))
        assert_same(list(interval_patterns(table, **limits)), duckdb)


EDGES = {
    "no images": np.ones((0, 3)),
    "fewer images than asked for": np.ones((4, 3)),
    "one image": np.array([[1, 2, 3]]),
    "one layer": np.ones((9, 1)),
    "no item at all": np.full((12, 4), -1),
    "identical images": np.tile(np.arange(6), (12, 1)),
    "distinct images": np.tile(np.arange(50)[:, None], (1, 4)),
    "constant column": np.stack([np.arange(90) % 3, np.full(90, 7), np.arange(90) % 4], axis=1),
    "silent column": np.stack([np.arange(90) % 3, np.full(90, -1), np.arange(90) % 4], axis=1),
    "silence around": np.array([[-1, 4, 2, -1]] * 6),
    "silence in one member": np.array([[4, 2, 9]] * 5 + [[4, 2, -1]]),
    "the last filter of 16 bits": np.array([[65_534, 3]] * 5 + [[65_533, 3]] * 5),
    "one filter more": np.array([[65_535, 3]] * 5 + [[-1, 3]] * 5),
    "more filters than 16 bits": np.array([[70_000, 3]] * 5 + [[4_464, 3]] * 5 + [[-1, 3]] * 5),
}


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("min_images", [1, 5])
def test_edges(name: str, min_images: int) -> None:
    paths = EDGES[name].astype(np.int32)
    ours = interval(paths, min_images)
    assert found(ours, paths) == brute_force(paths, min_images, 2)
    duckdb = contiguous_patterns(path_table(paths), min_images=min_images, threads=1)
    assert_same(ours, list(duckdb))


def test_identical_images_give_exactly_one_pattern() -> None:
    paths = EDGES["identical images"].astype(np.int32)
    assert found(interval(paths), paths) == {(0, 5, tuple(range(6))): frozenset(range(12))}


def test_permuting_the_images_changes_nothing_but_ids() -> None:
    rng = np.random.default_rng(8)
    paths = rng.integers(-1, 3, (120, 5)).astype(np.int32)
    order = rng.permutation(120)
    shuffled = found(interval(paths[order]), paths[order])
    back = {key: frozenset(order[list(members)].tolist()) for key, members in shuffled.items()}
    assert back == found(interval(paths), paths)


def test_more_images_asked_for_gives_a_subset() -> None:
    paths = np.random.default_rng(9).integers(-1, 3, (150, 5)).astype(np.int32)
    sets = [found(interval(paths, count), paths) for count in (3, 5, 9, 20)]
    assert all(more.items() >= fewer.items() for more, fewer in pairwise(sets))


def test_codes_keep_the_order_of_winners() -> None:
    assert winner_codes(np.array([-1, 0, 65_534], np.int32)).tolist() == [0, 1, 65_535]
    assert winner_codes(np.array([-1, 0, 65_534], np.int32)).dtype == np.uint16
    assert winner_codes(np.array([-1, 65_535], np.int32)).tolist() == [0, 65_536]
    assert winner_codes(np.array([-1, 127], np.int8)).tolist() == [0, 128]


def test_what_is_no_winner_is_refused() -> None:
    with pytest.raises(ValueError, match="got -2"):
        interval(np.array([[0, -2]] * 9, dtype=np.int32))


def test_thresholds_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        interval(np.ones((4, 3), dtype=np.int32), min_images=0)


def population(seed: int) -> Population:
    rng = np.random.default_rng(seed)
    paths = random_paths(rng)
    true, predicted = (rng.integers(0, 3, len(paths)).astype(np.int32) for _ in range(2))
    ids = np.sort(rng.permutation(3 * len(paths))[: len(paths)])
    return Population(
        paths=path_table(paths, ids),
        true_class=true,
        predicted_class=predicted,
        is_wrong=true != predicted,
        expected_wrong=np.full(len(paths), 0.5),
        n_classes=3,
    )


@pytest.mark.parametrize("seed", range(20))
def test_tables_equal_those_of_duckdb(seed: int) -> None:
    images = population(seed)
    tables = [pattern_tables(images, engine=engine) for engine in ("interval", "duckdb")]
    for name in tables[0]:
        ours, duckdb = (pa.concat_tables(list(made[name])) for made in tables)
        assert ours.equals(duckdb), name


def test_tables_of_a_store_equal_those_of_duckdb(tiny_store: Store) -> None:
    for path_set in ("paper", "mean", "balanced"):
        stored = tiny_store.arrow(f"SELECT * FROM patterns__{path_set}__patterns")
        made = mine(tiny_store, path_set, min_images=4, engine="interval")
        ours = pa.concat_tables(list(made["patterns"]))
        assert len(ours)
        assert ours.to_pylist() == stored.to_pylist()


@pytest.mark.parametrize(
    ("n_images", "n_layers", "want"),
    [(200_000, 20, "duckdb"), (200_001, 20, "interval"), (200_000, 21, "interval")],
)
def test_auto_leaves_what_is_large_to_the_interval_miner(n_images, n_layers, want) -> None:
    assert choose_engine("auto", n_images=n_images, n_layers=n_layers) == want
    for engine in ("duckdb", "interval"):
        assert choose_engine(engine, n_images=n_images, n_layers=n_layers) == engine


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ValueError, match="known: auto, duckdb, interval"):
        choose_engine("polars", n_images=1, n_layers=1)


def test_the_store_decides_by_its_own_size(tmp_path, rows, monkeypatch) -> None:
    with StoreWriter.open(tmp_path / "demo") as writer, writer.begin("paths") as generation:
        generation.write("paths/paper", rows("paths/paper", 9))
    with Store.open(tmp_path / "demo") as store:
        assert engine_of(store, "paper") == "duckdb"
        monkeypatch.setattr(mined, "DUCKDB_IMAGES", 8)
        assert engine_of(store, "paper") == "interval"
        assert engine_of(store, "paper", "duckdb") == "duckdb"


def test_the_stage_uses_and_records_the_engine_asked_for(tmp_path, workshop) -> None:
    asked = ("[mine]\n", '[mine]\nengine = "interval"\n')
    project = workshop.make(tmp_path, changes=(asked,))
    workshop.build(project)
    with Store.open(tmp_path / "stores" / "tiny") as store:
        assert store.info["mine"]["engine"] == "interval"
        ours = store.arrow("SELECT * FROM patterns__balanced__patterns")
        made = mine(store, "balanced", min_images=4, engine="duckdb")
        assert ours.to_pylist() == pa.concat_tables(list(made["patterns"])).to_pylist()
