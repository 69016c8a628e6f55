"""Winning filters: which filter of a layer stands for it in the path of an image.

Stored and live paths must agree to the last bit, so both are taken from activations rounded to
float16, which is what the store keeps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

NO_WINNER = -1
"""Stands in a path for a layer that is all zero."""

_ROWS = 8192
_FLOOR = 1e-8
_RELATIVE_FLOOR = 1e-6


def round_activations(values: ArrayLike, *, half: bool = True) -> NDArray[np.float32]:
    """Return activations as the store keeps them, in float32.

    A row that float16 cannot hold (beyond 65,504) stays in float32, so that no two filters tie at
    infinity; the store keeps a layer with such a row in float32.

    Parameters
    ----------
    values : array of shape (n, filters)
        Activations.
    half : bool
        False for a layer that the store keeps in float32.

    Returns
    -------
    ndarray of shape (n, filters), float32
    """
    exact = np.asarray(values, dtype=np.float32)
    if not half:
        return exact
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float16).astype(np.float32)
    overflowed = (np.isinf(rounded) & np.isfinite(exact)).any(axis=1)
    if overflowed.any():
        rounded[overflowed] = exact[overflowed]
    return rounded


def winners(values: ArrayLike, *, half: bool = True) -> NDArray[np.int32]:
    """Return the filter with the highest activation in every row.

    Parameters
    ----------
    values : array of shape (n, filters)
        Activations of one layer (maxima or means over space); rounded to float16 first.
    half : bool
        False for a layer that the store keeps in float32.

    Returns
    -------
    ndarray of shape (n,), int32
        Filter index; the lowest of equal ones; -1 where the row is all zero or not finite at all.
        NaN and infinities never win.
    """
    rounded = round_activations(values, half=half)
    return _highest(rounded, rounded)


def balanced_winners(
    values: ArrayLike, mean: ArrayLike, sd: ArrayLike, *, half: bool = True
) -> NDArray[np.int32]:
    """Return the filter that lies furthest above its own mean, in standard deviations.

    Parameters
    ----------
    values : array of shape (n, filters)
        Activations of one layer; rounded to float16 first.
    mean, sd : array of shape (filters,)
        Of each filter over the reference split, from the stored values.
    half : bool
        False for a layer that the store keeps in float32.

    Returns
    -------
    ndarray of shape (n,), int32
        As ``winners``. A filter that is constant on the reference split never wins.
    """
    rounded = round_activations(values, half=half)
    centre = np.asarray(mean, dtype=np.float64)
    spread = np.asarray(sd, dtype=np.float64)
    is_alive = spread > np.maximum(_FLOOR, _RELATIVE_FLOOR * np.abs(centre))
    is_alive &= np.isfinite(centre) & np.isfinite(spread)
    scale = np.where(is_alive, spread, 1.0)
    result = np.empty(len(rounded), dtype=np.int32)
    # Blocks of rows bound the memory of the float64 scores.
    for start in range(0, len(rounded), _ROWS):
        block = rounded[start : start + _ROWS]
        with np.errstate(invalid="ignore"):
            scores = (block - np.where(is_alive, centre, 0.0)) / scale
        scores[:, ~is_alive] = -np.inf
        result[start : start + _ROWS] = _highest(scores, block)
    return result


def _highest(scores: NDArray[np.floating], activations: NDArray[np.floating]) -> NDArray[np.int32]:
    usable = np.where(np.isfinite(scores), scores, -np.inf)
    best: NDArray[np.int32] = usable.argmax(axis=1).astype(np.int32)
    is_silent = ~activations.any(axis=1) | ~np.isfinite(usable).any(axis=1)
    best[is_silent] = NO_WINNER
    return best
