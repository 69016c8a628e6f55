from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from feature_store.patterns.statistics import (
    benjamini_hochberg,
    class_entropy,
    hypergeometric_tail,
    wilson_interval,
)


def test_wilson_interval_equals_scipy() -> None:
    for total in (1, 5, 17, 400):
        for count in {0, 1, total // 3, total}:
            want = stats.binomtest(count, total).proportion_ci(method="wilson")
            low, high = wilson_interval(count, total)
            assert low == pytest.approx(want.low, abs=1e-12)
            assert high == pytest.approx(want.high, abs=1e-12)


def test_wilson_interval_without_trials_says_nothing() -> None:
    low, high = wilson_interval([0, 3], [0, 3])
    assert (low[0], high[0]) == (0.0, 1.0)
    assert high[1] == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_hypergeometric_tail_equals_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    total = int(rng.integers(1, 3000))
    drawn = rng.integers(0, total + 1, 200)
    marked = rng.integers(0, total + 1, 200)
    hits = rng.integers(0, np.minimum(drawn, marked) + 2)
    got = hypergeometric_tail(hits, drawn, marked, total)
    want = stats.hypergeom.sf(hits - 1, total, marked, drawn)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-300)


def test_hypergeometric_tail_by_counting_draws() -> None:
    from itertools import combinations

    total, marked, drawn = 8, 3, 4
    draws = list(combinations(range(total), drawn))
    for hits in range(5):
        share = sum(sum(i < marked for i in d) >= hits for d in draws) / len(draws)
        assert hypergeometric_tail(hits, drawn, marked, total) == pytest.approx(share)


def test_hypergeometric_tail_keeps_tiny_tails_and_shapes() -> None:
    got = hypergeometric_tail([[100], [0]], 300, [[233], [233]], 60_000)
    assert got.shape == (2, 1)
    assert 0 < got[0, 0] < 1e-100
    assert got[1, 0] == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_benjamini_hochberg_equals_scipy(seed: int) -> None:
    p = np.random.default_rng(seed).random(50) ** 3
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p))
    padded = stats.false_discovery_control(np.concatenate([p, np.ones(70)]))[:50]
    np.testing.assert_allclose(benjamini_hochberg(p, tests=120), padded)
    assert benjamini_hochberg([]).size == 0


def test_class_entropy() -> None:
    got = class_entropy([[7, 0, 0, 0], [2, 2, 2, 2], [1, 1, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(got, [0.0, 1.0, 0.5, 0.0])
