"""Which cells of a grid an outline crosses, and which lie inside it as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of a cell: what is nearer to its edge than this counts as crossing it.
_NEAR = 1e-6


def crossed_and_inside(
    corners: NDArray[np.float64], side: int, first_row: int, last_row: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which cells of some rows of a grid an outline crosses, and which it holds.

    Parameters
    ----------
    corners : ndarray of shape (n, 2), float64
        Corners of the closed outline, in cells from the lower left corner of the grid.
    side : int
        Cells of a row.
    first_row, last_row : int
        Rows that are asked for, both included.

    Returns
    -------
    crossed : ndarray of shape (n_rows, side), bool
        Cells that an edge of the outline touches: their points must be looked at one by one.
    inside : ndarray of shape (n_rows, side), bool
        Cells whose points are all inside, by the even-odd rule.
    """
    before = np.roll(corners, 1, axis=0)
    rises = (before[:, 1] <= corners[:, 1])[:, None]
    low, high = np.where(rises, before, corners), np.where(rises, corners, before)
    first = np.floor(low[:, 1] - _NEAR).clip(first_row, last_row + 1).astype(np.int64)
    last = np.floor(high[:, 1] + _NEAR).clip(first_row - 1, last_row).astype(np.int64)
    # One line for each row that an edge reaches.
    spans = np.maximum(last - first + 1, 0)
    edge = np.repeat(np.arange(len(corners)), spans)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(spans) - spans - first, spans)
    low, high = low[edge], high[edge]

    def at(y: NDArray[np.float64], level: NDArray[np.float64]) -> NDArray[np.float64]:
        """Find x of every edge at a height, within its ends; of a level one ``level``."""
        rise = high[:, 1] - low[:, 1]
        share = ((y - low[:, 1]) / np.where(rise > 0, rise, 1.0)).clip(0.0, 1.0)
        return np.where(rise > 0, low[:, 0] + share * (high[:, 0] - low[:, 0]), level)

    ends = at(row - _NEAR, low[:, 0]), at(row + 1 + _NEAR, high[:, 0])
    left = np.floor(np.minimum(*ends) - _NEAR).clip(0, side)
    right = np.floor(np.maximum(*ends) + _NEAR).clip(-1, side - 1)
    shape = last_row - first_row + 1, side
    crossed = _covered(shape, row - first_row, left, np.maximum(right + 1, left)) > 0
    middle = row + 0.5
    cuts = (low[:, 1] <= middle) & (middle < high[:, 1])
    # An edge is to the right of every cell whose middle lies before it.
    end = np.ceil(at(middle, low[:, 0]) - 0.5).clip(0, side)[cuts]
    inside = _covered(shape, row[cuts] - first_row, np.zeros_like(end), end) % 2 == 1
    return crossed, inside & ~crossed


def _covered(
    shape: tuple[int, int],
    row: NDArray[np.int64],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Count for every cell of some rows the spans of columns, their end left out, that hold it."""
    change = np.zeros((shape[0], shape[1] + 1), np.int64)
    np.add.at(change, (row, start.astype(np.int64)), 1)
    np.add.at(change, (row, end.astype(np.int64)), -1)
    return np.cumsum(change, axis=1)[:, :-1]
