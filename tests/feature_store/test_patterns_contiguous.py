from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest

from feature_store.patterns.contiguous import StartLayer, contiguous_patterns

Pattern = tuple[int, int, tuple[int, ...]]


def path_table(paths: np.ndarray, ids: np.ndarray | None = None) -> pa.Table:
    ids = np.arange(len(paths), dtype=np.int32) if ids is None else ids
    columns = {f"layer_{index:03d}": paths[:, index] for index in range(paths.shape[1])}
    return pa.table({"image_id": ids.astype(np.int32), **columns})


def as_sets(
    starts: list[StartLayer], paths: np.ndarray, ids: np.ndarray | None = None
) -> dict[Pattern, frozenset[int]]:
    ids = np.arange(len(paths)) if ids is None else ids
    row_of = {int(image): row for row, image in enumerate(ids)}
    found: dict[Pattern, frozenset[int]] = {}
    for start in starts:
        for last, low, high in zip(start.last_layer, start.low, start.high, strict=True):
            members = start.order[low:high]
            window = slice(start.first_layer, int(last) + 1)
            items = {tuple(int(v) for v in paths[row_of[int(i)], window]) for i in members}
            assert len(items) == 1, "the members of a run share the window"
            key = (start.first_layer, int(last), items.pop())
            assert key not in found
            found[key] = frozenset(int(i) for i in members)
    return found


def brute_force(
    paths: np.ndarray, min_images: int, min_length: int, ids: np.ndarray | None = None
) -> dict[Pattern, frozenset[int]]:
    """Every window of every image in a dict; closed by asking each member for its neighbours."""
    ids = np.arange(len(paths)) if ids is None else ids
    n_layers = paths.shape[1]
    windows: dict[Pattern, set[int]] = defaultdict(set)
    for row, path in enumerate(paths.tolist()):
        for first in range(n_layers):
            for last in range(first + min_length - 1, n_layers):
                if -1 not in path[first : last + 1]:
                    windows[first, last, tuple(path[first : last + 1])].add(row)
    closed = {}
    for (first, last, items), rows in windows.items():
        if len(rows) < min_images:
            continue
        sides = [side for side in (first - 1, last + 1) if 0 <= side < n_layers]
        extends = any({int(paths[row, side]) for row in rows} in EXTENDED for side in sides)
        if not extends:
            closed[first, last, items] = frozenset(int(ids[row]) for row in rows)
    return closed


class _OneFilter:
    """Holds every set that is exactly one filter (and not silence)."""

    def __contains__(self, winners: object) -> bool:
        return isinstance(winners, set) and len(winners) == 1 and -1 not in winners


EXTENDED = _OneFilter()


def random_paths(rng: np.random.Generator) -> np.ndarray:
    n_images, n_layers = int(rng.integers(0, 160)), int(rng.integers(1, 8))
    columns = []
    for _ in range(n_layers):
        width = int(rng.integers(1, 7))
        kind = rng.integers(4)
        if kind == 0 and columns:  # decided by the layer before: long closed patterns
            columns.append((columns[-1] * 7 + 3) % width)
        elif kind == 1:  # one hub
            columns.append(
                np.where(rng.random(n_images) < 0.8, 0, rng.integers(0, width, n_images))
            )
        else:
            columns.append(rng.integers(0, width, n_images))
        if rng.random() < 0.4:  # silent in some images, or in all
            columns[-1] = np.where(
                rng.random(n_images) < rng.choice([0.1, 0.6, 1.0]), -1, columns[-1]
            )
    return np.stack(columns, axis=1).astype(np.int32)


def mined(paths: np.ndarray, min_images: int = 5, min_length: int = 2) -> list[StartLayer]:
    return list(
        contiguous_patterns(
            path_table(paths), min_images=min_images, min_length=min_length, threads=1
        )
    )


@pytest.mark.parametrize("block", range(10))
def test_patterns_and_members_equal_brute_force(block: int) -> None:
    for seed in range(30):
        rng = np.random.default_rng(1000 * block + seed)
        paths = random_paths(rng)
        min_images, min_length = int(rng.integers(1, 7)), int(rng.integers(1, 4))
        ids = rng.permutation(10 * len(paths))[: len(paths)]
        starts = list(
            contiguous_patterns(
                path_table(paths, ids), min_images=min_images, min_length=min_length, threads=1
            )
        )
        want = brute_force(paths, min_images, min_length, ids)
        assert as_sets(starts, paths, ids) == want, f"seed {1000 * block + seed}"


def test_order_is_the_rank_by_suffix_then_image() -> None:
    paths = random_paths(np.random.default_rng(5))
    for start in mined(paths):
        keys = [(*paths[i, start.first_layer :], i) for i in start.order]
        assert keys == sorted(keys), "-1 sorts before every filter, ids break ties"
        assert sorted(start.order) == list(range(len(paths)))


def test_silence_next_to_a_pattern_is_no_extension() -> None:
    paths = np.array([[-1, 4, 2, -1]] * 6, dtype=np.int32)
    assert set(as_sets(mined(paths), paths)) == {(1, 2, (4, 2))}


def test_silence_in_some_members_does_not_extend() -> None:
    paths = np.array([[4, 2, 9]] * 5 + [[4, 2, -1]], dtype=np.int32)
    got = as_sets(mined(paths), paths)
    assert {key: len(members) for key, members in got.items()} == {
        (0, 1, (4, 2)): 6,
        (0, 2, (4, 2, 9)): 5,
    }


def test_fewer_images_than_asked_for() -> None:
    assert as_sets(mined(np.ones((4, 3), dtype=np.int32)), np.ones((4, 3))) == {}


def test_no_images() -> None:
    starts = mined(np.ones((0, 3), dtype=np.int32))
    assert [len(start.order) for start in starts] == [0, 0, 0]


def test_one_layer() -> None:
    assert as_sets(mined(np.ones((9, 1), dtype=np.int32)), np.ones((9, 1))) == {}


def test_constant_column_joins_its_neighbours() -> None:
    rng = np.random.default_rng(0)
    paths = np.stack([rng.integers(0, 3, 90), np.full(90, 7), rng.integers(0, 3, 90)], axis=1)
    got = as_sets(mined(paths), paths)
    assert got == brute_force(paths, 5, 2)
    assert all(7 in items for _, _, items in got)


def test_identical_images_give_exactly_one_pattern() -> None:
    paths = np.tile(np.arange(6, dtype=np.int32), (12, 1))
    assert as_sets(mined(paths), paths) == {(0, 5, tuple(range(6))): frozenset(range(12))}


def test_distinct_images_give_none() -> None:
    paths = np.tile(np.arange(50, dtype=np.int32)[:, None], (1, 4))
    assert as_sets(mined(paths), paths) == {}


def test_more_filters_than_sixteen_bits() -> None:
    paths = np.array([[70_000, 3]] * 5 + [[70_001, 3]] * 5, dtype=np.int32)
    assert set(as_sets(mined(paths), paths)) == {(0, 1, (70_000, 3)), (0, 1, (70_001, 3))}


def test_permuting_the_images_changes_nothing_but_ids() -> None:
    rng = np.random.default_rng(8)
    paths = rng.integers(0, 3, (120, 5)).astype(np.int32)
    shuffled = rng.permutation(120)
    got = as_sets(mined(paths[shuffled]), paths[shuffled])
    back = {key: frozenset(int(shuffled[i]) for i in members) for key, members in got.items()}
    assert back == as_sets(mined(paths), paths)


def test_more_images_asked_for_gives_a_subset() -> None:
    paths = np.random.default_rng(9).integers(0, 3, (150, 5)).astype(np.int32)
    found = [as_sets(mined(paths, n), paths) for n in (3, 5, 9, 20)]
    for more, fewer in itertools.pairwise(found):
        assert fewer.items() <= more.items()


def test_runs_that_start_at_one_layer_are_nested_or_apart() -> None:
    paths = np.random.default_rng(10).integers(0, 2, (80, 6)).astype(np.int32)
    for start in mined(paths):
        runs = list(zip(start.low, start.high, start.last_layer, strict=True))
        for a, (low, high, last) in enumerate(runs):
            for other_low, other_high, other_last in runs[a + 1 :]:
                nested = low <= other_low and other_high <= high and other_last > last
                assert nested or other_low >= high


def test_closed_patterns_equal_prefixspan() -> None:
    prefixspan = pytest.importorskip("prefixspan")
    paths = np.random.default_rng(11).integers(0, 3, (60, 4)).astype(np.int32)
    sequences = [[(layer, int(f)) for layer, f in enumerate(path)] for path in paths]
    closed = prefixspan.PrefixSpan(sequences).frequent(5, closed=True)
    contiguous = {
        (items[0][0], items[-1][0], tuple(f for _, f in items)): support
        for support, items in closed
        if len(items) >= 2 and items[-1][0] - items[0][0] == len(items) - 1
    }
    got = {key: len(members) for key, members in as_sets(mined(paths), paths).items()}
    # Closed among patterns with gaps is a stronger demand, so its contiguous ones are among ours.
    assert contiguous.items() <= got.items()
    assert contiguous


def test_thresholds_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        mined(np.ones((4, 3), dtype=np.int32), min_images=0)
