"""Intervals, tests and measures behind every figure that a pattern shows; all vectorised."""

from __future__ import annotations

from functools import lru_cache
from math import erfc, lgamma
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


def tarone_family(least_p: ArrayLike, rate: float) -> NDArray[np.bool_]:
    """Mark the discrete tests that could become significant at all; the others need not count.

    A test whose smallest attainable tail is above the smallest limit it could meet fails whatever
    the data say. That tail follows from the margins alone (how many images a pattern has, how many
    errors there are), not from which images are the errors, so that leaving such tests out of the
    family keeps the false-discovery rate.

    Parameters
    ----------
    least_p : array_like of float, shape (n,)
        Smallest tail that each test could give, in [0, 1].
    rate : float
        Declared rate, in (0, 1).

    Returns
    -------
    ndarray of shape (n,), bool
        With the smallest K such that at most K tests can go below ``rate / K``: those tests.

    References
    ----------
    R. E. Tarone, "A modified Bonferroni method for discrete data", 1990.
    P. B. Gilbert, "A modified false discovery rate multiple-comparisons procedure for discrete
    data", 2005: Benjamini-Hochberg over Tarone's family.
    """
    least = np.asarray(least_p, dtype=np.float64)
    if not least.size:
        return np.zeros(0, dtype=bool)
    limits = rate / np.arange(1, least.size + 1)
    # From K to K + 1 the limit falls, so that the number of tests below it never grows: K exists.
    able = np.searchsorted(np.sort(least), limits, side="right")
    first = int(np.argmax(able <= np.arange(1, least.size + 1)))
    return np.asarray(least <= limits[first])


def lift_interval(
    hits: ArrayLike, drawn: ArrayLike, marked: ArrayLike, total: ArrayLike, *, z: float = Z_95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the interval of a lift: share marked among the drawn, over the share among all.

    The drawn are part of all, so the score interval is taken for the ratio of the share of the
    drawn to that of the rest, and turned into the lift, which grows with that ratio.

    Parameters
    ----------
    hits, drawn, marked, total : array_like of int
        Broadcast against each other; ``hits`` of ``drawn``, ``marked`` of ``total`` in all.
    z : float
        Half width in standard deviations; the default gives 95 %.

    Returns
    -------
    low, high : ndarray of float64, >= 0
        They hold the lift between them. 0 to infinity where nothing or everything is drawn, or
        nothing is marked: nothing is known.

    References
    ----------
    P. A. R. Koopman, "Confidence intervals for the ratio of two binomial proportions", 1984;
    O. Miettinen and M. Nurminen, "Comparative analysis of two rates", 1985.
    """
    k, n, m, size = np.broadcast_arrays(
        *(np.asarray(a, dtype=np.float64) for a in (hits, drawn, marked, total))
    )
    other, rest = m - k, size - n
    is_known = (n > 0) & (rest > 0) & (m > 0)
    n, rest = np.where(is_known, n, 1.0), np.where(is_known, rest, 1.0)
    bounds = []
    for limit in (z, -z):
        # The score falls while the ratio grows; logarithms of it between -30 and 30.
        below, above = np.full(k.shape, -30.0), np.full(k.shape, 30.0)
        for _ in range(60):
            middle = (below + above) / 2
            is_over = _ratio_score(np.exp(middle), k, n, other, rest) > limit
            below, above = np.where(is_over, middle, below), np.where(is_over, above, middle)
        ratio = np.exp((below + above) / 2)
        bounds.append(ratio * (n + rest) / (n * ratio + rest))
    return np.where(is_known, bounds[0], 0.0), np.where(is_known, bounds[1], np.inf)


def _ratio_score(
    ratio: NDArray[np.float64],
    k: NDArray[np.float64],
    n: NDArray[np.float64],
    other: NDArray[np.float64],
    rest: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Standardised distance of k / n from ``ratio`` times other / rest, were that ratio true."""
    a, c = (n + rest) * ratio, k + other
    b = n * ratio + k + rest + other * ratio
    # The likeliest share of the rest under that ratio; written to lose no digits where a is small.
    share = 2 * c / (b + np.sqrt(np.maximum(b * b - 4 * a * c, 0.0)))
    ours = np.minimum(ratio * share, 1.0)
    variance = ours * (1 - ours) / n + ratio**2 * share * (1 - share) / rest
    return np.asarray((k / n - ratio * other / rest) / np.sqrt(np.maximum(variance, 1e-300)))


def cliffs_delta(
    members: ArrayLike, rest: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compare two groups by how often a value of one is above a value of the other.

    Parameters
    ----------
    members, rest : array_like of float, shape (n, n_columns) and (m, n_columns)
        Finite values; each column is compared by itself. A column of 0 and 1 is a share.

    Returns
    -------
    delta : ndarray of shape (n_columns,), in [-1, 1]
        Chance that a member is above one of the rest, less the chance that it is below; for
        columns of 0 and 1 the difference of the shares. 0 where a group is empty.
    p : ndarray of shape (n_columns,), in [0, 1]
        Two-sided Mann-Whitney test by the normal approximation with ties.

    References
    ----------
    N. Cliff, "Dominance statistics: ordinal analyses to answer ordinal questions", 1993.
    """
    ours, theirs = np.asarray(members, dtype=np.float64), np.asarray(rest, dtype=np.float64)
    n, m = len(ours), len(theirs)
    delta, p = np.zeros(ours.shape[1]), np.ones(ours.shape[1])
    if not n or not m:
        return delta, p
    for column in range(ours.shape[1]):
        ordered = np.sort(theirs[:, column])
        below = np.searchsorted(ordered, ours[:, column], side="left")
        above = m - np.searchsorted(ordered, ours[:, column], side="right")
        delta[column] = float(np.sum(below - above)) / (n * m)
        _, ties = np.unique(
            np.concatenate([ours[:, column], ordered]), return_counts=True, equal_nan=False
        )
        size = n + m
        tied = float(np.sum(ties.astype(np.float64) ** 3 - ties)) / max(size * (size - 1), 1)
        deviation = np.sqrt(max((size + 1 - tied) / (3 * n * m), 0.0))
        if deviation > 0:
            p[column] = erfc(abs(delta[column]) / deviation / np.sqrt(2.0))
    return delta, p
