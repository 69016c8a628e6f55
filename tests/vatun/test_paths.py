"""Winners follow the stored float16 values, and their ties and silences are settled."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vatun.paths import balanced_winners, round_activations, winners


def test_the_highest_wins_and_ties_go_to_the_lowest_index():
    found = winners([[0.1, 0.9, 0.3], [0.5, 0.2, 0.5], [-3, -1, -2]])
    assert found.tolist() == [1, 0, 1]
    assert found.dtype == np.int32


def test_values_equal_in_float16_tie():
    assert winners([[1.0, 1.0001]]).tolist() == [0]
    assert winners([[1.0, 1.0001]], half=False).tolist() == [1]


def test_an_all_zero_row_has_no_winner():
    assert winners([[0.0, 0.0], [0.0, 1.0], [1e-9, 0.0]]).tolist() == [-1, 1, -1]
    assert balanced_winners([[0.0, 0.0]], [0.5, 0.1], [0.1, 0.1]).tolist() == [-1]


def test_what_is_not_finite_never_wins():
    rows = [[np.nan, 1.0], [np.inf, 1.0], [-np.inf, -1.0], [np.nan, np.inf]]
    assert winners(rows).tolist() == [1, 1, 1, -1]
    assert balanced_winners(rows, [0.0, 0.0], [1.0, 1.0]).tolist() == [1, 1, 1, -1]


def test_a_value_beyond_float16_does_not_tie_at_infinity():
    assert winners([[70_000.0, 80_000.0], [1.0, 2.0]]).tolist() == [1, 1]
    assert np.isfinite(round_activations([[70_000.0]])).all()


def test_balanced_takes_the_furthest_above_its_own_mean():
    values = [[10.0, 1.0], [10.0, 0.4]]
    assert balanced_winners(values, [9.0, 0.5], [2.0, 0.1]).tolist() == [1, 0]


@pytest.mark.parametrize("spread", [0.0, 1e-12, np.nan])
def test_a_constant_filter_never_wins_balanced(spread):
    assert balanced_winners([[5.0, 0.1]], [1.0, 0.5], [spread, 1.0]).tolist() == [1]
    assert balanced_winners([[5.0, 0.1]], [1.0, 0.5], [spread, 0.0]).tolist() == [-1]


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.float32, (7, 5), elements=st.floats(-10, 10, width=32)),
    arrays(np.float64, 5, elements=st.floats(-1, 1)),
    arrays(np.float64, 5, elements=st.floats(0.01, 2)),
)
def test_winners_equal_a_loop_over_rows_and_filters(values, mean, sd):
    stored = values.astype(np.float16).astype(np.float64)
    for row, plain, balanced in zip(
        stored, winners(values), balanced_winners(values, mean, sd), strict=True
    ):
        scores = ((row - mean) / sd).tolist()
        is_silent = not row.any()
        assert plain == (-1 if is_silent else row.tolist().index(max(row)))
        assert balanced == (-1 if is_silent else scores.index(max(scores)))


def test_stored_float16_gives_the_same_winners_as_live_float32():
    values = np.random.default_rng(0).gamma(0.5, size=(500, 64)).astype(np.float32)
    mean, sd = values.mean(axis=0), values.std(axis=0)
    stored = values.astype(np.float16)
    assert (winners(values) == winners(stored)).all()
    assert (balanced_winners(values, mean, sd) == balanced_winners(stored, mean, sd)).all()


def test_more_rows_than_a_block_are_not_lost():
    values = np.random.default_rng(1).random((20_000, 3), dtype=np.float32)
    found = balanced_winners(values, [0.5] * 3, [1.0] * 3)
    assert (found == values.astype(np.float16).argmax(axis=1)).all()
