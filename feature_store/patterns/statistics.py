"""Intervals, tests and measures behind every figure that a pattern shows; all vectorised."""

from __future__ import annotations

from functools import lru_cache
from math import lgamma
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Z_95 = 1.959963984540054
"""Quantile of the standard normal distribution that leaves 2.5 % on each side."""


def wilson_interval(
    count: ArrayLike, total: ArrayLike, *, z: float = Z_95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the Wilson score interval of a share.

    Parameters
    ----------
    count, total : array_like of int
        Successes and trials, broadcast against each other; ``0 <= count <= total``.
    z : float
        Half width in standard deviations; the default gives 95 %.

    Returns
    -------
    low, high : ndarray of float64, in [0, 1]
        Without trials the interval is [0, 1]: nothing is known.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    successes, trials = np.broadcast_arrays(
        np.asarray(count, dtype=np.float64), np.asarray(total, dtype=np.float64)
    )
    n = np.maximum(trials, 1.0)
    share = successes / n
    centre = share + z * z / (2 * n)
    spread = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = np.clip((centre - spread) / scale, 0.0, 1.0)
    high = np.clip((centre + spread) / scale, 0.0, 1.0)
    return np.where(trials > 0, low, 0.0), np.where(trials > 0, high, 1.0)


_NEGLIGIBLE = 1e-13


@lru_cache(maxsize=8)
def _log_factorials(total: int) -> NDArray[np.float64]:
    table = np.fromiter((lgamma(value + 1.0) for value in range(total + 1)), np.float64, total + 1)
    table.flags.writeable = False
    return table


def hypergeometric_tail(
    hits: ArrayLike, drawn: ArrayLike, marked: ArrayLike, total: int
) -> NDArray[np.float64]:
    """Return the chance of at least ``hits`` marked images among ``drawn`` ones.

    ``total`` images hold ``marked`` marked ones; ``drawn`` are taken without replacement. Above
    the expectation the terms of the tail itself are summed, so that tiny tails stay precise.

    Parameters
    ----------
    hits, drawn, marked : array_like of int
        Broadcast against each other.
    total : int
        Size of the population, at least every ``drawn`` and ``marked``.

    Returns
    -------
    ndarray of float64, in [0, 1]
        Upper tail probability P(X >= hits).
    """
    shape = np.broadcast_shapes(np.shape(hits), np.shape(drawn), np.shape(marked))
    k, n, m = (
        np.broadcast_to(np.asarray(a, dtype=np.int64), shape).ravel()
        for a in (hits, drawn, marked)
    )
    low, high = np.maximum(0, n + m - total), np.minimum(n, m)
    tail = np.where(k <= low, 1.0, 0.0)
    inside = (k > low) & (k <= high)
    is_upper = k * (total + 2.0) > (n + 1.0) * (m + 1.0)
    for rows, upwards in ((inside & is_upper, True), (inside & ~is_upper, False)):
        start = k[rows] if upwards else k[rows] - 1
        part = _sum_of_terms(start, n[rows], m[rows], total, upwards=upwards)
        tail[rows] = part if upwards else 1.0 - part
    return np.clip(tail, 0.0, 1.0).reshape(shape)


def _sum_of_terms(
    start: NDArray[np.int64],
    n: NDArray[np.int64],
    m: NDArray[np.int64],
    total: int,
    *,
    upwards: bool,
) -> NDArray[np.float64]:
    """Sum hypergeometric terms from ``start`` away from the mode, where they only fall."""
    table = _log_factorials(int(total))

    def log_choose(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(table[a] - table[b] - table[a - b])

    everything = np.full_like(n, total)
    log_first = (
        log_choose(m, start) + log_choose(everything - m, n - start) - log_choose(everything, n)
    )
    sums, term, at = np.ones(n.size), np.ones(n.size), start.astype(np.float64)
    rows = np.arange(n.size)
    while rows.size:
        j, marked, drawn = at[rows], m[rows], n[rows]
        if upwards:
            ratio = (marked - j) * (drawn - j) / ((j + 1) * (total - marked - drawn + j + 1))
        else:
            ratio = j * (total - marked - drawn + j) / ((marked - j + 1) * (drawn - j + 1))
        term[rows] *= ratio
        sums[rows] += term[rows]
        at[rows] += 1.0 if upwards else -1.0
        # The terms fall ever faster: a row is done once the next one no longer matters.
        rows = rows[term[rows] > _NEGLIGIBLE * sums[rows]]
    return np.asarray(np.exp(np.minimum(log_first + np.log(sums), 0.0)))


def benjamini_hochberg(p_values: ArrayLike, *, tests: int | None = None) -> NDArray[np.float64]:
    """Return the false-discovery rates (q-values) of a family of tests.

    Parameters
    ----------
    p_values : array_like of float, shape (n,)
        Tail probabilities.
    tests : int, optional
        Size of the family when tests with p = 1 were left out; at least n.

    Returns
    -------
    ndarray of float64, shape (n,)
        Smallest rate at which each test is a discovery, in [0, 1].

    References
    ----------
    Y. Benjamini and Y. Hochberg, "Controlling the false discovery rate", 1995.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not p.size:
        return np.zeros(0)
    family = p.size if tests is None else max(tests, p.size)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * family / np.arange(1, p.size + 1)
    q = np.minimum.accumulate(scaled[::-1])[::-1]
    result = np.empty_like(p)
    result[order] = np.minimum(q, 1.0)
    return result


def class_entropy(counts: ArrayLike) -> NDArray[np.float64]:
    """Return the entropy of rows of class counts as a share of the largest possible.

    Parameters
    ----------
    counts : array_like of int, shape (..., n_classes)
        Images by class.

    Returns
    -------
    ndarray of float64, shape (...), in [0, 1]
        0 for one class alone (or no image), 1 for equal shares of every class.
    """
    table = np.asarray(counts, dtype=np.float64)
    share = table / np.maximum(table.sum(axis=-1, keepdims=True), 1.0)
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    total = np.abs((share * logs).sum(axis=-1))
    return np.asarray(total / np.log(max(table.shape[-1], 2)))
