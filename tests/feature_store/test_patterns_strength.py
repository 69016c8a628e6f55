"""Members of a pattern by strength, against a loop over plain arrays."""

import numpy as np
import pytest

from feature_store import queries
from feature_store.patterns.strength import page_of


@pytest.mark.parametrize("path_set", ["paper", "balanced"])
def test_the_strongest_member_comes_first(digits_store, path_set):
    index = queries.pattern_index(digits_store, path_set)
    statistic = "max" if path_set == "paper" else "mean"
    reference = {
        (row["layer_index"], row["filter_index"]): row
        for row in digits_store.arrow(
            "select * from filter_statistics where statistic = ?", statistic
        ).to_pylist()
    }
    for pattern in np.linspace(0, len(index) - 1, 6).astype(int).tolist():
        members, strength = queries.members_by_strength(digits_store, path_set, pattern)
        assert sorted(members.tolist()) == sorted(index.members(pattern).tolist())
        assert np.all(np.diff(strength) <= 0)
        image = int(members[0])
        parts = []
        for layer, filter_index in index.items(pattern):
            value = queries.activations_of(digits_store, image, statistic=statistic)[layer]
            row = reference[layer, filter_index]
            parts.append((value[filter_index] - row["mean"]) / row["standard_deviation"])
        np.testing.assert_allclose(strength[0], np.mean(parts), rtol=1e-5)


def test_there_is_no_pattern_beyond_the_last(digits_store):
    with pytest.raises(IndexError, match="there is no pattern"):
        queries.members_by_strength(digits_store, "paper", 10**6)


def test_pages_show_selected_members_first():
    members = np.array([5, 3, 9, 1, 7], dtype=np.int32)
    assert page_of(members, None, start=0, count=2) == [5, 3]
    assert page_of(members, None, start=4, count=2) == [7]
    assert page_of(members, [1, 9, 100], start=0, count=3) == [9, 1, 5]
    assert page_of(members, [1, 9, 100], start=9, count=3) == []
