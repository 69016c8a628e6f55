"""Filters that tell members from the rest: numbers equal those written out, truth is found."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pytest

from feature_store import Store, StoreWriter
from feature_store.errors import TableMissingError
from feature_store.patterns.telling import (
    Moments,
    reference_means,
    standardised_difference,
    telling_filters,
    telling_filters_of,
)


def by_hand(members, others) -> float:
    """Cohen's d with both variances, of two lists."""
    inside = [x for x in map(float, members) if np.isfinite(x)]
    outside = [x for x in map(float, others) if np.isfinite(x)]
    if min(len(inside), len(outside)) < 2:
        return 0.0
    spread = (np.var(inside, ddof=1) + np.var(outside, ddof=1)) / 2
    return (np.mean(inside) - np.mean(outside)) / np.sqrt(spread)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_differences_equal_those_written_out(dtype) -> None:
    rng = np.random.default_rng(0)
    members = rng.gamma(1.0, 2.0, (30, 9)).astype(dtype)
    others = rng.gamma(1.5, 2.0, (200, 9)).astype(dtype)
    members[4, 2] = np.nan
    others[7, 3] = np.inf
    members[1:, 5] = np.nan
    got = standardised_difference(Moments.of(members), Moments.of(others))
    want = [by_hand(members[:, k], others[:, k]) for k in range(9)]
    np.testing.assert_allclose(got, want, rtol=1e-9)
    assert got[5] == 0


def test_constant_filters_are_told_by_their_means_alone() -> None:
    members = np.array([[0.1, 1, 0]] * 7, dtype=np.float32)
    others = np.array([[0.1, 2, 0]] * 11, dtype=np.float32)
    got = standardised_difference(Moments.of(members), Moments.of(others))
    assert got.tolist() == [0, -np.inf, 0]
    (only,) = telling_filters([members], [others])
    assert (only.layer_index, only.filter_index) == (0, 1)


def test_planted_filters_come_first_and_silence_tells_too() -> None:
    rng = np.random.default_rng(1)
    members = [rng.random((40, 16)), rng.random((40, 64))]
    others = [rng.random((400, 16)), rng.random((400, 64))]
    members[1][:, 33] += 3
    members[0][:, 7] += 2
    others[1][:, 12] += 1
    found = telling_filters(members, others, limit=3)
    places = [(each.layer_index, each.filter_index) for each in found]
    assert places == [(1, 33), (0, 7), (1, 12)]
    assert found[2].difference < 0
    assert found[0].member_mean == pytest.approx(members[1][:, 33].mean())
    assert found[0].other_mean == pytest.approx(others[1][:, 33].mean())
    assert telling_filters(members, others, limit=0) == ()
    assert telling_filters(members, others, limit=999)[:3] == found


def test_ties_go_to_the_lowest_index() -> None:
    rng = np.random.default_rng(2)
    inside, outside = rng.random((20, 1)) + 1, rng.random((50, 1))
    found = telling_filters([inside.repeat(4, axis=1)] * 2, [outside.repeat(4, axis=1)] * 2)
    places = [(each.layer_index, each.filter_index) for each in found]
    assert places == [(layer, index) for layer in range(2) for index in range(4)]


def test_two_sides_of_other_filters_are_refused() -> None:
    with pytest.raises(ValueError, match="same layers"):
        telling_filters([np.zeros((3, 4))], [np.zeros((3, 5))])


def test_vgg_16_with_ten_thousand_images_takes_well_under_a_second() -> None:
    rng = np.random.default_rng(3)
    widths = (64, 64, 128, 128, *[256] * 3, *[512] * 6)
    members = [rng.random((500, width), dtype=np.float32) for width in widths]
    others = [rng.random((9_500, width), dtype=np.float32) for width in widths]
    begin = time.process_time()
    assert len(telling_filters(members, others)) == 16
    assert time.process_time() - begin < 1


@pytest.fixture
def store(tmp_path):
    """Return a store of 60 images, two convolutions and a linear layer, and its activations."""
    rng = np.random.default_rng(4)
    values = [rng.random((60, width)).astype(np.float16) for width in (3, 5, 4)]
    values[0][:9, 2] += 2
    values[1][:9, 4] -= 1
    values[2][:9, 1] += 9
    values[0][3, 0] = np.nan
    root = tmp_path / "demo"
    ids = np.arange(60, dtype=np.int32) * 2
    with StoreWriter.open(root) as writer, writer.begin("capture") as generation:
        kinds, filters = ["conv", "conv", "linear"], [3, 5, 4]
        generation.write("layers", layer_table(kinds, filters))
        for layer, each in enumerate(values):
            columns = {f"f{index:04d}": each[:, index] for index in range(each.shape[1])}
            table = pa.table({"image_id": ids, **columns})
            generation.write(f"activations/mean/{layer:03d}", table)
        generation.write("filter_statistics", statistics_table(values))
    with Store.open(root) as opened:
        yield opened, ids, values


def layer_table(kinds, filters) -> pa.Table:
    count = len(kinds)
    return pa.table({
        "layer_index": np.arange(count, dtype=np.int16),
        "layer_name": [f"layer{index}" for index in range(count)],
        "kind": kinds,
        "filters": np.array(filters, dtype=np.int32),
        "height": np.ones(count, dtype=np.int32),
        "width": np.ones(count, dtype=np.int32),
        "site": ["output"] * count,
        "receptive_field": np.ones(count, dtype=np.int32),
        "stride": np.ones(count, dtype=np.int32),
        "block": ["block"] * count,
    })  # fmt: skip


def statistics_table(values) -> pa.Table:
    rows = [
        (layer, index, statistic, float(np.nanmean(each[:, index].astype(np.float64))) + add)
        for layer, each in enumerate(values)
        for index in range(each.shape[1])
        for statistic, add in (("max", 5.0), ("mean", 0.0))
    ]
    layer, index, statistic, mean = zip(*rows, strict=True)
    zeros = np.zeros(len(rows))
    return pa.table({
        "layer_index": np.array(layer, dtype=np.int16),
        "filter_index": np.array(index, dtype=np.int32),
        "statistic": list(statistic),
        "mean": np.array(mean),
        "standard_deviation": zeros,
        "minimum": zeros.astype(np.float32),
        "maximum": zeros.astype(np.float32),
    })  # fmt: skip


def test_a_store_says_what_its_arrays_say(store) -> None:
    opened, ids, values = store
    members = np.zeros(60, dtype=bool)
    members[:9] = True
    for layers in (None, [0, 1], [2], [1, 2, 1]):
        found = telling_filters_of(opened, [*ids[:9], 4, 999, 1], layers=layers, limit=99)
        chosen = sorted(set(layers or [0, 1]))
        want = telling_filters(
            [values[layer][members] for layer in chosen],
            [values[layer][~members] for layer in chosen],
            limit=99,
        )
        got = [(chosen.index(each.layer_index), each.filter_index) for each in found]
        assert got == [(each.layer_index, each.filter_index) for each in want]
        for a, b in zip(found, want, strict=True):
            assert a.difference == pytest.approx(b.difference, rel=1e-6)
            assert a.member_mean == pytest.approx(b.member_mean, rel=1e-6)
            assert a.other_mean == pytest.approx(b.other_mean, rel=1e-6)


def test_no_member_or_every_image_tells_nothing(store) -> None:
    opened, ids, _ = store
    for images in ([], [1], ids, ids[:1]):
        assert telling_filters_of(opened, images) == ()


def test_reference_means_are_those_of_the_spatial_mean(store) -> None:
    opened, _, values = store
    found = reference_means(opened, [1, 2])
    assert sorted(found) == [1, 2]
    for layer, means in found.items():
        want = values[layer].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(means, want, rtol=1e-6)
    assert reference_means(opened, []) == {}


def test_missing_tables_are_named(store) -> None:
    opened, ids, _ = store
    with pytest.raises(TableMissingError, match="activations/max"):
        telling_filters_of(opened, ids[:5], statistic="max")
    with pytest.raises(TableMissingError, match="activations/mean/007"):
        telling_filters_of(opened, ids[:5], layers=[7])
