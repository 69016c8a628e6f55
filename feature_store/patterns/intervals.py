"""Closed contiguous patterns without a database: every pattern is a run of a sorted order.

Sorted by the winners from one layer on, the images of any pattern that starts there lie side by
side. The order of a layer is that of the next one, sorted stably by this layer's winners (a radix
sort from the last column to the first), so that one cheap sort a layer replaces all grouping: the
runs of a window are those of the window one layer shorter, cut where the new column changes.
Nothing is hashed and nothing is approximate. The answers are those of
``feature_store.patterns.contiguous``, number by number; each is the other's test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from feature_store.patterns.contiguous import (
    SILENT,
    StartLayer,
    check_thresholds,
    layer_columns,
    start_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

    Codes = NDArray[np.uint16] | NDArray[np.uint32]

SILENT_CODE = 0
"""Code of a silent layer; filter f has the code f + 1."""


def winner_codes(winners: NDArray[np.integer]) -> Codes:
    """Return the winners of a layer as unsigned numbers in the same order.

    Parameters
    ----------
    winners : ndarray of shape (n_images,), int
        Filter indices, -1 for a silent layer.

    Returns
    -------
    ndarray of shape (n_images,), uint16 or uint32
        Filter index + 1, 0 where silent. uint16, which numpy sorts by radix, up to 65,535
        filters; a layer with more is slower to sort and no less exact.

    Raises
    ------
    ValueError
        When a winner is below -1.
    """
    if not len(winners):
        return np.zeros(0, dtype=np.uint16)
    if winners.min() < SILENT:
        msg = f"a winner is a filter index or {SILENT}, got {winners.min()}"
        raise ValueError(msg)
    # Most filters that uint16 can tell apart beside silence.
    narrow = winners.max() < np.iinfo(np.uint16).max
    codes: Codes = winners.astype(np.uint16) if narrow else winners.astype(np.uint32)
    # -1 has wrapped to the largest number, and one more is 0.
    np.add(codes, 1, out=codes)
    return codes


def interval_patterns(
    paths: pa.Table, *, min_images: int = 5, min_length: int = 2
) -> Iterator[StartLayer]:
    """Mine the closed contiguous patterns of a path table.

    Parameters
    ----------
    paths : pyarrow.Table
        ``image_id`` and one int column ``layer_000``.. for each layer (filter index or -1).
    min_images : int
        A pattern has at least this many members.
    min_length : int
        A pattern spans at least this many layers.

    Yields
    ------
    StartLayer
        For each layer in order, also where nothing starts there. Beyond the table, one int32 and
        one uint16 for every image and layer are in memory.

    Raises
    ------
    ValueError
        When a threshold is below 1, or a winner below -1.
    """
    check_thresholds(min_images, min_length)
    ids = np.asarray(paths["image_id"].to_numpy(), dtype=np.int32)
    codes = [winner_codes(paths[name].to_numpy()) for name in layer_columns(paths)]
    orders = sorted_orders(codes, ids)
    for first, order in enumerate(orders):
        found = _runs_from(codes, order, first, min_images, min_length)
        yield start_layer(first, ids[order], found)


def sorted_orders(codes: list[Codes], ids: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    """Sort the images by their winners from each layer to the last one, then by id.

    Parameters
    ----------
    codes : list of ndarray of shape (n_images,)
        Winners of each layer, as ``winner_codes`` returns them.
    ids : ndarray of shape (n_images,), int32
        Image ids.

    Returns
    -------
    list of ndarray of shape (n_images,), int32
        For each layer, rows by position.
    """
    order = np.argsort(ids, kind="stable").astype(np.int32)
    orders = []
    for column in reversed(codes):
        order = order[np.argsort(column[order], kind="stable")]
        orders.append(order)
    return orders[::-1]


def _runs_from(
    codes: list[Codes], order: NDArray[np.int32], first: int, min_images: int, min_length: int
) -> list[tuple[int, NDArray[np.int32], NDArray[np.int32]]]:
    """Return last layer, low and high of the closed patterns that start at a layer."""
    # Row numbers of the width that numpy gathers with, of the images that are still in a run.
    rows = order.astype(np.intp)
    left = _Left.of(codes[first - 1][rows]) if first else None
    low = np.zeros(min(len(rows), 1), dtype=np.int32)
    size = np.full(len(low), len(rows), dtype=np.int32)
    found = []
    for last in range(first, len(codes)):
        values = codes[last][rows]
        starts, parent = _cut(values, size)
        heard = values[starts] != SILENT_CODE
        cut_size = np.diff(starts, append=len(rows)).astype(np.int32)
        if last - first >= min_length:
            # A window is closed to the right where this column cuts its run, or is silent in it.
            is_open = np.zeros(len(low), dtype=bool)
            is_open[parent] = heard & (cut_size == size[parent])
            found.append(_closed(last - 1, low, low + size, is_open, left))
        within = starts - (np.cumsum(size) - size)[parent]
        keep = heard & (cut_size >= min_images)
        rows = rows[np.repeat(keep, cut_size)]
        low = (low[parent] + within)[keep].astype(np.int32)
        size = cut_size[keep]
        # Anti-monotone: a longer window holds no frequent pattern where this one holds none.
        if not len(low):
            return found
    if len(codes) - first >= min_length:
        is_open = np.zeros(len(low), dtype=bool)
        found.append(_closed(len(codes) - 1, low, low + size, is_open, left))
    return found


def _cut(
    values: NDArray[np.generic], size: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut adjoining runs where their values change: start and former run of each piece."""
    is_start = np.empty(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=is_start[1:])
    ends = np.cumsum(size)
    is_start[ends - size] = True
    starts = np.flatnonzero(is_start)
    return starts, np.searchsorted(ends, starts, side="right")


@dataclass(frozen=True, kw_only=True)
class _Left:
    """The layer before a window, by position: its winners, and stretches of equal ones."""

    values: NDArray[np.generic]
    stretches: NDArray[np.int32]

    @classmethod
    def of(cls, values: NDArray[np.generic]) -> _Left:
        changes = np.ones(len(values), dtype=bool)
        np.not_equal(values[1:], values[:-1], out=changes[1:])
        return cls(values=values, stretches=np.cumsum(changes, dtype=np.int32))

    def extends(self, low: NDArray[np.int32], high: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether all members of a run have the same winner there, and one at all."""
        is_constant = self.stretches[low] == self.stretches[high - 1]
        return np.asarray(is_constant & (self.values[low] != SILENT_CODE))


def _closed(
    last: int,
    low: NDArray[np.int32],
    high: NDArray[np.int32],
    is_open: NDArray[np.bool_],
    left: _Left | None,
) -> tuple[int, NDArray[np.int32], NDArray[np.int32]]:
    """Leave out the runs that a neighbouring layer extends."""
    if left is not None:
        is_open = is_open | left.extends(low, high)
    return last, low[~is_open], high[~is_open]
