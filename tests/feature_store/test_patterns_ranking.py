from __future__ import annotations

import numpy as np
import pytest

from feature_store.patterns.ranking import greedy_cover, rank_scores, without_twins


def random_members(rng: np.random.Generator, n_patterns: int = 40) -> list[np.ndarray]:
    pools = [rng.permutation(60)[:25] for _ in range(5)]
    return [
        rng.permutation(pools[rng.integers(5)])[: rng.integers(5, 25)].astype(np.int32)
        for _ in range(n_patterns)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_without_twins_equals_the_naive_rule(seed: int) -> None:
    members = random_members(np.random.default_rng(seed))
    limit = 3 + seed
    naive: list[int] = []
    for candidate, ids in enumerate(members):
        own = set(ids.tolist())
        others = [set(members[k].tolist()) for k in naive]
        if len(naive) < limit and all(len(own & o) / len(own | o) <= 0.5 for o in others):
            naive.append(candidate)
    assert without_twins(range(40), members.__getitem__, 60, limit=limit) == naive


@pytest.mark.parametrize("seed", range(20))
def test_greedy_cover_equals_the_naive_rule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    members = random_members(rng)
    bits = rng.normal(1.0, 1.0, 40)
    covered: set[int] = set()
    naive: list[int] = []
    while len(naive) < 12:
        gains = [
            -np.inf if i in naive else bits[i] * len(set(ids.tolist()) - covered)
            for i, ids in enumerate(members)
        ]
        best = int(np.argmax(gains))
        if gains[best] <= 0:
            break
        naive.append(best)
        covered |= set(members[best].tolist())
    support = np.array([len(ids) for ids in members])
    assert greedy_cover(bits, support, members.__getitem__, 60, limit=12) == naive


def test_rank_scores() -> None:
    count, labelled = np.array([5, 50, 50, 0]), np.array([5, 50, 60, 0])
    got = rank_scores(count, labelled, np.array([5, 50, 60, 9]), np.array([2, 2, 2, 4]))
    assert got[1] > got[2] > got[0] > got[3] == 0.0
    deeper = rank_scores(count, labelled, np.array([5, 50, 60, 9]), np.array([8, 8, 8, 8]))
    np.testing.assert_allclose(deeper[:3], 2 * got[:3])


def test_nothing_to_rank() -> None:
    assert without_twins([], lambda _: np.zeros(0, np.int32), 0, limit=5) == []
    nothing = np.zeros(0)
    assert greedy_cover(nothing, nothing, lambda _: np.zeros(0, np.int32), 0, limit=5) == []
