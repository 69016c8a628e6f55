"""Activations of a filter by class, against counting by hand."""

import numpy as np
import pytest

from feature_store import queries
from feature_store.errors import QueryError


@pytest.mark.parametrize("split", [None, "test", "train", "elsewhere"])
@pytest.mark.parametrize("layer", [0, 1, 3])
def test_every_image_is_in_one_bin_of_its_class(made, layer, split):
    found = queries.filter_histogram(made.store, layer, 2, split=split, bins=7)
    table = queries.image_table(made.store)
    values = made.activations[layer][:, 2].astype(np.float64)
    counts, silent = np.zeros((4, 7), int), np.zeros(4, int)
    by_class = [[], [], []]
    for image, true, place in zip(table.image_id, table.true_class, table.split, strict=True):
        if split is not None and table.splits[place] != split:
            continue
        if true >= 0:
            by_class[true].append(values[image])
        if values[image] == 0:
            silent[true] += 1
            continue
        at = next(i for i in range(7) if i == 6 or values[image] < found.edges[i + 1])
        counts[true, at] += 1
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_array_equal(found.silent, silent)
    assert found.n_images == counts.sum() + silent.sum()
    expected = [np.mean(part) if part else np.nan for part in by_class]
    np.testing.assert_allclose(found.means, expected)
    assert np.all(np.diff(found.edges) > 0)


@pytest.mark.parametrize(
    "wrong", [{"filter_index": 4}, {"filter_index": -1}, {"layer_index": 9}, {"statistic": "x"}]
)
def test_what_is_not_there_is_named(made, wrong):
    asked = {"layer_index": 0, "filter_index": 0} | wrong
    with pytest.raises(QueryError, match=r"no filter|statistic"):
        queries.filter_histogram(made.store, **asked)
