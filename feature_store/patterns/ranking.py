"""Which patterns to show first: a few representatives, never thousands of near twins."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from feature_store.patterns.statistics import wilson_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

Members = Callable[[int], "NDArray[np.integer]"]
"""Gives the image ids of a pattern, each once."""

TWIN_JACCARD = 0.5
"""Patterns that share more than this part of their images show the same thing twice."""


def rank_scores(
    top_count: NDArray[np.int64],
    labelled: NDArray[np.int64],
    support: NDArray[np.int64],
    length: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Score patterns by how surely, how often and how deeply they single out a class.

    Parameters
    ----------
    top_count : ndarray of shape (n_patterns,)
        Members of the commonest class.
    labelled : ndarray of shape (n_patterns,)
        Members that have a class.
    support : ndarray of shape (n_patterns,)
        Members.
    length : ndarray of shape (n_patterns,)
        Layers.

    Returns
    -------
    ndarray of shape (n_patterns,), float64, >= 0
        Wilson lower bound of purity x log2(support) x sqrt(length). By purity, lift or length
        alone a third to a half of the first patterns would be noise.
    """
    low, _ = wilson_interval(top_count, labelled)
    low = np.where(labelled > 0, low, 0.0)
    return np.asarray(low * np.log2(np.maximum(support, 1)) * np.sqrt(length))


def without_twins(
    candidates: Iterable[int], members: Members, n_ids: int, *, limit: int
) -> list[int]:
    """Keep patterns in order, leaving out those that nearly repeat one already kept.

    Parameters
    ----------
    candidates : iterable of int
        Patterns, best first.
    members : callable
        Image ids of a pattern, within ``range(n_ids)``.
    n_ids : int
        One more than the largest image id.
    limit : int
        Stop after so many.

    Returns
    -------
    list of int
        The patterns kept: each shares at most half of the union of images with every other.
    """
    kept: list[int] = []
    shown = Shown(n_ids, limit)
    for candidate in candidates:
        if len(kept) >= limit:
            break
        ids = members(candidate)
        if shown.twin_of(ids) is None:
            shown.add(ids)
            kept.append(candidate)
    return kept


class Shown:
    """The images of the patterns that are shown already.

    Parameters
    ----------
    n_ids : int
        One more than the largest image id.
    limit : int
        Most patterns that are added.
    """

    def __init__(self, n_ids: int, limit: int) -> None:
        # One bit for each pattern in a row for each image: the overlaps with all of them are
        # column sums over the candidate's rows.
        self._is_in = np.zeros((n_ids, (max(limit, 0) + 7) // 8), dtype=np.uint8)
        self._sizes: list[int] = []

    def twin_of(self, ids: NDArray[np.integer]) -> int | None:
        """Return which pattern shares more than half of the union of images, the first added."""
        if not self._sizes:
            return None
        count = len(self._sizes)
        bits = np.unpackbits(self._is_in[ids], axis=1, count=count, bitorder="little")
        shared = bits.sum(axis=0, dtype=np.int64)
        union = np.asarray(self._sizes) + len(ids) - shared
        twins = np.flatnonzero(shared > TWIN_JACCARD * union)
        return int(twins[0]) if len(twins) else None

    def add(self, ids: NDArray[np.integer]) -> None:
        """Add a pattern by its images, each once."""
        byte, bit = divmod(len(self._sizes), 8)
        self._is_in[ids, byte] |= np.uint8(1 << bit)
        self._sizes.append(len(ids))


def greedy_cover(
    bits: NDArray[np.float64],
    support: NDArray[np.int64],
    members: Members,
    n_ids: int,
    *,
    limit: int,
) -> list[int]:
    """Choose patterns that together cover the most images, each weighed by its surprise.

    Parameters
    ----------
    bits : ndarray of shape (n_patterns,), float64
        log2 of support over what independent layers would give.
    support : ndarray of shape (n_patterns,)
        Members.
    members : callable
        Image ids of a pattern, within ``range(n_ids)``.
    n_ids : int
        One more than the largest image id.
    limit : int
        Stop after so many.

    Returns
    -------
    list of int
        At every step the pattern with the largest ``bits x images not covered before``; ends
        when nothing is gained. Ties go to the lowest pattern.
    """
    is_covered = np.zeros(n_ids, dtype=bool)
    # Gains only shrink while images get covered, so an old gain is an upper bound: only the head
    # of the heap is computed again.
    heap = [(-float(b) * int(n), i) for i, (b, n) in enumerate(zip(bits, support, strict=True))]
    heapq.heapify(heap)
    chosen: list[int] = []
    while heap and len(chosen) < limit:
        bound, pattern = heap[0]
        if bound >= 0:
            break
        ids = members(pattern)
        gain = float(bits[pattern]) * int(len(ids) - np.count_nonzero(is_covered[ids]))
        if gain < -bound:
            heapq.heapreplace(heap, (-gain, pattern))
            continue
        heapq.heappop(heap)
        chosen.append(pattern)
        is_covered[ids] = True
    return chosen
