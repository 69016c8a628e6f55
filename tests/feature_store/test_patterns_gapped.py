"""Patterns that may skip layers, against brute force and against prefixspan."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from feature_store import Store, StoreWriter, TableMissingError
from feature_store.patterns.closed import closed_masks, closed_sets, superset_sums
from feature_store.patterns.gapped import (
    GappedPatterns,
    gapped_members,
    gapped_patterns_of_image,
    gapped_patterns_of_path,
    gapped_patterns_of_selection,
)
from feature_store.patterns.intervals import winner_codes

if TYPE_CHECKING:
    from pathlib import Path

Items = tuple[tuple[int, int], ...]


def random_paths(rng: np.random.Generator, n_layers: int | None = None) -> np.ndarray:
    """Columns decided by another one, hubs, constants, and silence in some or all images."""
    n_images = int(rng.integers(0, 60))
    columns: list[np.ndarray] = []
    for _ in range(n_layers or int(rng.integers(1, 7))):
        width, kind = int(rng.integers(1, 5)), rng.integers(4)
        column = rng.integers(0, width, n_images)
        if kind == 0 and columns:
            column = (columns[rng.integers(len(columns))] * 7 + 3) % width
        elif kind == 1:
            column = np.where(rng.random(n_images) < 0.8, 0, column)
        if rng.random() < 0.4:
            column = np.where(rng.random(n_images) < rng.choice([0.1, 0.6, 1.0]), -1, column)
        columns.append(column)
    return np.stack(columns, axis=1).astype(np.int32)


def members_of(paths: np.ndarray, items: Items) -> frozenset[int]:
    has = np.ones(len(paths), dtype=bool)
    for layer, filter_ in items:
        has &= paths[:, layer] == filter_
    return frozenset(np.flatnonzero(has).tolist())


def brute_force(
    paths: np.ndarray, min_images: int, min_length: int, of: list[int] | None = None
) -> dict[Items, frozenset[int]]:
    """Every subset of every path (or of one); closed by asking all members for another item."""
    found: dict[Items, frozenset[int]] = {}
    for path in paths.tolist() if of is None else [of]:
        items = [(layer, f) for layer, f in enumerate(path) if f >= 0]
        for length in range(min_length, len(items) + 1):
            for chosen in combinations(items, length):
                if chosen not in found:
                    found[chosen] = members_of(paths, chosen)
    return {
        items: members
        for items, members in found.items()
        if len(members) >= min_images and closure(paths, members) == items
    }


def closure(paths: np.ndarray, members: frozenset[int]) -> Items:
    shared = paths[sorted(members)]
    return tuple(
        (layer, int(column[0]))
        for layer, column in enumerate(shared.T)
        if column[0] >= 0 and (column == column[0]).all()
    )


def on_path(
    paths: np.ndarray, path: list[int], min_images: int, min_length: int
) -> dict[Items, int]:
    """Every subset of a path that no image need have; closed: no further item of the path."""
    items = [(layer, f) for layer, f in enumerate(path) if f >= 0]
    found = {}
    for length in range(min_length, len(items) + 1):
        for chosen in combinations(items, length):
            members = members_of(paths, chosen)
            if len(members) >= min_images and set(closure(paths, members)) & set(items) == set(
                chosen
            ):
                found[chosen] = len(members)
    return found


def write_store(
    root: Path,
    paths: np.ndarray,
    *,
    ids: np.ndarray | None = None,
    is_ok: np.ndarray | None = None,
    blocks: list[str] | None = None,
) -> Path:
    ids = (np.arange(len(paths)) if ids is None else ids).astype(np.int32)
    n = len(ids)
    status = ["ok"] * n if is_ok is None else np.where(is_ok, "ok", "undecodable").tolist()
    tables = {
        "classes": pa.table(
            {"class_index": pa.array([0, 1], pa.int16()), "class_name": ["a", "b"]}
        ),
        "images": pa.table(
            {
                "image_id": ids,
                "image_key": [f"key{i}" for i in ids],
                "split": ["train"] * n,
                "true_class": pa.array(ids % 2, pa.int16()),
                "source": [f"{i}.png" for i in ids],
                "encoded": pa.array([b"x"] * n, pa.binary()),
                "status": status,
            }
        ),
        "predictions": pa.table(
            {
                "image_id": ids,
                "status": ["ok"] * n,
                "predicted_class": pa.array(np.zeros(n), pa.int16()),
                "confidence": pa.array(np.full(n, 0.5), pa.float32()),
                "is_correct": ids % 2 == 0,
            }
        ),
        "paths/paper": pa.table(
            {
                "image_id": ids,
                **{f"layer_{at:03d}": np.ascontiguousarray(c) for at, c in enumerate(paths.T)},
            }
        ),
    }
    if blocks is not None:
        tables["layers"] = pa.table(
            {
                "layer_index": pa.array(range(len(blocks)), pa.int16()),
                "layer_name": blocks,
                "kind": ["linear" if name.startswith("fc") else "conv" for name in blocks],
                "filters": pa.array([9] * len(blocks), pa.int32()),
                "height": pa.array([4] * len(blocks), pa.int32()),
                "width": pa.array([4] * len(blocks), pa.int32()),
                "site": ["post_activation"] * len(blocks),
                "block": blocks,
            }
        )
    with StoreWriter.open(root) as writer, writer.begin("capture") as generation:
        for name, table in tables.items():
            generation.write(name, table)
    return root


def supports(answer: GappedPatterns) -> dict[Items, int]:
    got = {pattern.items: pattern.support for pattern in answer}
    assert len(got) == len(answer) == answer.n_found, "each once, and all shown"
    assert answer.is_complete
    assert [p.bits for p in answer] == sorted((p.bits for p in answer), reverse=True)
    return got


def sizes(patterns: dict[Items, frozenset[int]]) -> dict[Items, int]:
    return {items: len(members) for items, members in patterns.items()}


@pytest.mark.parametrize("block", range(10))
def test_closed_sets_equal_brute_force(block: int) -> None:
    for seed in range(block * 1000, block * 1000 + 30):
        rng = np.random.default_rng(seed)
        paths = random_paths(rng)
        min_images, min_length = int(rng.integers(1, 7)), int(rng.integers(1, 4))
        codes = [winner_codes(column) for column in paths.T]
        sets = closed_sets(codes, min_images=min_images, min_length=min_length)
        assert sets.is_complete
        got = {}
        for mask, row, support in zip(sets.masks, sets.first_rows, sets.support, strict=True):
            items = tuple(
                (layer, int(paths[row, layer]))
                for layer in range(paths.shape[1])
                if mask >> layer & 1
            )
            assert items not in got, "each closed set comes up once"
            got[items] = int(support)
        assert got == sizes(brute_force(paths, min_images, min_length)), f"seed {seed}"


def test_closed_sets_do_not_depend_on_how_many_are_grown_at_a_time(monkeypatch) -> None:
    paths = np.random.default_rng(1).integers(-1, 3, (400, 7)).astype(np.int32)
    codes = [winner_codes(column) for column in paths.T]
    at_once = closed_sets(codes, min_images=3, min_length=2)
    monkeypatch.setattr("feature_store.patterns.closed._ROWS_AT_ONCE", 50)
    few = closed_sets(codes, min_images=3, min_length=2)

    def keys(sets):
        rows = zip(sets.masks, paths[sets.first_rows], sets.support, strict=True)
        bits = np.arange(7)
        return sorted((int(m), tuple(p[m >> bits & 1 == 1]), int(s)) for m, p, s in rows)

    assert keys(few) == keys(at_once)
    assert len(few.masks) > 100


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_bits", [0, 1, 7])
def test_superset_sums_and_closed_masks_equal_brute_force(seed: int, n_bits: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 3, 1 << n_bits)
    sums = superset_sums(counts)
    masks = range(1 << n_bits)
    assert sums.tolist() == [sum(counts[o] for o in masks if o & m == m) for m in masks]
    assert closed_masks(sums).tolist() == [
        all(sums[m] > sums[m | 1 << bit] for bit in range(n_bits) if not m >> bit & 1)
        for m in masks
    ]


@pytest.mark.parametrize("seed", range(15))
def test_images_paths_and_selections_of_a_store_equal_brute_force(seed: int, tmp_path) -> None:
    rng = np.random.default_rng(seed)
    paths = random_paths(rng, n_layers=6)
    limits = {"min_images": int(rng.integers(1, 6)), "min_length": int(rng.integers(1, 4))}
    ids = np.sort(rng.permutation(3 * len(paths))[: len(paths)])
    with Store.open(write_store(tmp_path / "demo", paths, ids=ids)) as store:
        for row in rng.permutation(len(paths))[:8]:
            want = brute_force(paths, **limits, of=paths[row].tolist())
            answer = gapped_patterns_of_image(
                store, "paper", int(ids[row]), **limits, limit=10_000
            )
            assert supports(answer) == sizes(want)
            assert answer.n_images == len(paths)
            answer = gapped_patterns_of_path(store, "paper", paths[row], **limits, limit=10_000)
            assert supports(answer) == sizes(want)
        path = rng.integers(-1, 5, 6).tolist()
        answer = gapped_patterns_of_path(store, "paper", path, **limits, limit=10_000)
        assert supports(answer) == on_path(paths, path, **limits)
        chosen = rng.permutation(len(paths))[: len(paths) // 2]
        inside = brute_force(paths[np.sort(chosen)], **limits)
        asked = np.concatenate([ids[chosen], ids[chosen[:3]], [999_999]])
        answer = gapped_patterns_of_selection(
            store, "paper", asked, **limits, limit=10_000, timeout=None
        )
        assert supports(answer) == sizes(inside)
        assert answer.n_images == len(chosen)
        for items in list(inside)[:10]:
            everywhere = [int(ids[row]) for row in sorted(members_of(paths, items))]
            assert gapped_members(store, "paper", items).tolist() == everywhere
            within = gapped_members(store, "paper", items, selection=asked).tolist()
            assert within == [i for i in everywhere if i in set(ids[chosen].tolist())]


@pytest.mark.parametrize("seed", range(4))
def test_a_selection_of_everything_equals_prefixspan(seed: int, tmp_path) -> None:
    prefixspan = pytest.importorskip("prefixspan")
    rng = np.random.default_rng(seed)
    paths = rng.choice([-1, 0, 0, 0, 1, 1, 2], (150, 6)).astype(np.int32)
    paths[:, 4] = np.where(rng.random(150) < 0.7, paths[:, 1], paths[:, 4])
    sequences = [[(at, int(f)) for at, f in enumerate(path) if f >= 0] for path in paths]
    closed = prefixspan.PrefixSpan(sequences).frequent(5, closed=True)
    want = {tuple(items): support for support, items in closed if len(items) >= 2}
    with Store.open(write_store(tmp_path / "demo", paths)) as store:
        answer = gapped_patterns_of_selection(
            store, "paper", np.arange(150), limit=10_000, timeout=None
        )
        assert supports(answer) == want
    assert len(want) > 200


def test_bits_are_support_times_log2_lift(tmp_path) -> None:
    others = [[0, 7, 4], [2, 8, 5]] * 5
    paths = np.array([[1, 2, 3]] * 6 + [[1, 5, 3]] * 4 + others, dtype=np.int32)
    with Store.open(write_store(tmp_path / "demo", paths)) as store:
        of_image = gapped_patterns_of_image(store, "paper", 0)
        of_all = gapped_patterns_of_selection(store, "paper", range(20), min_images=6)
        inside = gapped_patterns_of_selection(store, "paper", range(10))
    pair = ((0, 1), (2, 3))
    want = 10 * np.log2((10 / 20) / (10 / 20 * 10 / 20))
    triple = (*pair[:1], (1, 2), *pair[1:])
    more = 6 * np.log2((6 / 20) / (10 / 20 * 10 / 20 * 6 / 20))
    for answer in (of_image, of_all):
        assert supports(answer) == {pair: 10, triple: 6}
        bits = {pattern.items: pattern.bits for pattern in answer}
        assert bits == {pair: pytest.approx(want), triple: pytest.approx(more)}
    # What everyone in a selection has tells nothing about them.
    assert {p.items: p.bits for p in inside} == {
        pair: pytest.approx(0),
        triple: pytest.approx(0),
    }


def test_images_that_were_not_mined_do_not_count(tmp_path) -> None:
    paths = np.tile(np.arange(4, dtype=np.int32), (12, 1))
    is_ok = np.arange(12) >= 5
    with Store.open(write_store(tmp_path / "demo", paths, is_ok=is_ok)) as store:
        assert supports(gapped_patterns_of_image(store, "paper", 7)) == {
            tuple(enumerate(range(4))): 7
        }
        assert not gapped_patterns_of_image(store, "paper", 0)
        assert not gapped_patterns_of_image(store, "paper", 99)
        assert gapped_patterns_of_selection(store, "paper", range(12)).n_images == 7
        assert gapped_members(store, "paper", [(2, 2)]).tolist() == list(range(5, 12))


def test_a_silent_path_has_no_pattern(tmp_path) -> None:
    paths = np.full((9, 4), -1, dtype=np.int32)
    with Store.open(write_store(tmp_path / "demo", paths)) as store:
        assert not gapped_patterns_of_image(store, "paper", 0)
        assert not gapped_patterns_of_path(store, "paper", [-1] * 4)
        assert not gapped_patterns_of_selection(store, "paper", range(9))
        assert not gapped_patterns_of_selection(store, "paper", [])


def test_the_answer_is_cut_at_its_limit_and_says_so(tmp_path) -> None:
    paths = np.random.default_rng(3).integers(0, 2, (200, 8)).astype(np.int32)
    with Store.open(write_store(tmp_path / "demo", paths)) as store:
        for ask, of in (
            (gapped_patterns_of_image, 3),
            (gapped_patterns_of_selection, np.arange(200)),
        ):
            everything = ask(store, "paper", of, limit=100_000)
            some = ask(store, "paper", of, limit=7)
            assert list(some) == list(everything[:7])
            assert some.n_found == everything.n_found == len(everything)
            assert some.is_complete


def test_a_search_that_was_stopped_says_so(tmp_path) -> None:
    paths = np.random.default_rng(3).integers(0, 2, (200, 8)).astype(np.int32)
    with Store.open(write_store(tmp_path / "demo", paths)) as store:
        full = gapped_patterns_of_selection(store, "paper", np.arange(200), limit=100_000)
        for stop in ({"max_found": 20}, {"timeout": 0.0}):
            part = gapped_patterns_of_selection(
                store, "paper", np.arange(200), limit=100_000, **stop
            )
            assert not part.is_complete
            assert part.n_found == len(part) < full.n_found
            assert set(part) <= set(full), "what was found is true"


DEEP = ["stem", *(f"stage{at // 3}" for at in range(24)), "fc1", "fc2"]


def test_a_deep_network_is_asked_by_its_blocks(tmp_path) -> None:
    """The last convolution of each block and the hidden linear layers; the answer names them."""
    rng = np.random.default_rng(4)
    paths = rng.integers(0, 2, (80, len(DEEP))).astype(np.int32)
    used = [0, *range(3, 25, 3), 25, 26]
    with Store.open(write_store(tmp_path / "demo", paths, blocks=DEEP)) as store:
        answer = gapped_patterns_of_image(store, "paper", 0, limit=10_000)
        assert answer.layers == tuple(used)
        assert answer.n_layers == len(DEEP)
        want = brute_force(paths[:, used], 5, 2, of=paths[0, used].tolist())
        named = {tuple((used[at], f) for at, f in items): len(m) for items, m in want.items()}
        assert supports(answer) == named
        inside = gapped_patterns_of_selection(store, "paper", range(40), min_images=15)
        assert inside.layers == tuple(used)
        chosen = gapped_patterns_of_image(store, "paper", 0, layers=[5, 1, 9], limit=10_000)
        assert chosen.layers == (1, 5, 9)
        cut = brute_force(paths[:, [1, 5, 9]], 5, 2, of=paths[0, [1, 5, 9]].tolist())
        assert sizes(cut) == {
            tuple(([1, 5, 9].index(layer), f) for layer, f in items): n
            for items, n in supports(chosen).items()
        }


def test_of_many_blocks_the_deepest_are_looked_at(tmp_path) -> None:
    blocks = [f"block{at}" for at in range(30)]
    paths = np.zeros((9, 30), dtype=np.int32)
    with Store.open(write_store(tmp_path / "demo", paths, blocks=blocks)) as store:
        answer = gapped_patterns_of_image(store, "paper", 0)
        assert answer.layers == tuple(range(10, 30))
        assert supports(answer) == {tuple((at, 0) for at in range(10, 30)): 9}


def test_blocks_that_say_nothing_give_layers_at_even_distances(tmp_path) -> None:
    paths = np.zeros((9, 39), dtype=np.int32)
    with Store.open(write_store(tmp_path / "demo", paths, blocks=["one"] * 39)) as store:
        assert gapped_patterns_of_image(store, "paper", 0).layers == tuple(range(0, 39, 2))


def test_wrong_questions_are_refused(tmp_path) -> None:
    paths = np.zeros((9, 30), dtype=np.int32)
    root = write_store(tmp_path / "demo", paths, blocks=["one"] * 30)
    with Store.open(root) as store:
        with pytest.raises(ValueError, match="at most 20 of 0 to 29"):
            gapped_patterns_of_image(store, "paper", 0, layers=range(21))
        with pytest.raises(ValueError, match="at most 20 of 0 to 29"):
            gapped_patterns_of_selection(store, "paper", [0], layers=[30])
        with pytest.raises(ValueError, match="30 layers"):
            gapped_patterns_of_path(store, "paper", [0] * 29)
        with pytest.raises(ValueError, match="at least 1"):
            gapped_patterns_of_image(store, "paper", 0, min_images=0)
        with pytest.raises(ValueError, match="at least 1"):
            gapped_patterns_of_selection(store, "paper", [0], min_length=0)
        for item in ((30, 0), (-1, 0), (0, -1)):
            with pytest.raises(ValueError, match="no item"):
                gapped_members(store, "paper", [item])
        with pytest.raises(TableMissingError):
            gapped_patterns_of_image(store, "mean", 0)
