"""Closed sets of items where every image has at most one item a layer, found exactly.

Sets are reached by closing a closed set with one item more, and kept only where closing adds
nothing in a layer before that item's: each set then comes up once, and none has to be remembered.
Many sets are grown at a time, so that numpy has long arrays to work on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from feature_store.patterns.intervals import SILENT_CODE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from feature_store.patterns.intervals import Codes

    Integers = NDArray[np.int64]

_ROWS_AT_ONCE = 65_536
"""Members of the sets grown together; between two such steps the clock is looked at."""


@dataclass(frozen=True, kw_only=True)
class ClosedSets:
    """Closed sets, in no particular order.

    Parameters
    ----------
    masks : ndarray of shape (n_found,), int64
        Bit k is set where the set has an item in the k-th layer given.
    first_rows : ndarray of shape (n_found,), int64
        A member, whose path tells the items.
    support : ndarray of shape (n_found,), int64
        Members.
    is_complete : bool
        Whether the search came to its end.
    """

    masks: Integers
    first_rows: Integers
    support: Integers
    is_complete: bool


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Closed sets with their members, one after the other."""

    rows: Integers
    sizes: Integers
    masks: Integers

    @property
    def starts(self) -> Integers:
        return np.cumsum(self.sizes) - self.sizes

    def take(self, is_kept: NDArray[np.bool_]) -> _Batch:
        return _Batch(
            rows=self.rows[np.repeat(is_kept, self.sizes)],
            sizes=self.sizes[is_kept],
            masks=self.masks[is_kept],
        )

    def join(self, other: _Batch) -> _Batch:
        return _Batch(
            rows=np.concatenate([self.rows, other.rows]),
            sizes=np.concatenate([self.sizes, other.sizes]),
            masks=np.concatenate([self.masks, other.masks]),
        )

    def halves(self) -> tuple[_Batch, _Batch]:
        at = int(np.searchsorted(np.cumsum(self.sizes), len(self.rows) // 2))
        is_first = np.zeros(len(self.sizes), dtype=bool)
        is_first[: min(max(at, 1), len(self.sizes) - 1)] = True
        return self.take(is_first), self.take(~is_first)


@dataclass(kw_only=True)
class _Found:
    """What the search has found so far."""

    min_length: int
    masks: list[Integers] = field(default_factory=list)
    first_rows: list[Integers] = field(default_factory=list)
    support: list[Integers] = field(default_factory=list)
    count: int = 0

    def add(self, batch: _Batch) -> None:
        is_long = np.bitwise_count(batch.masks) >= self.min_length
        self.masks.append(batch.masks[is_long])
        self.first_rows.append(batch.rows[batch.starts[is_long]])
        self.support.append(batch.sizes[is_long])
        self.count += len(self.masks[-1])


def closed_sets(
    codes: Sequence[Codes],
    *,
    min_images: int,
    min_length: int,
    max_found: int | None = None,
    timeout: float | None = None,
) -> ClosedSets:
    """Find the closed sets of items that enough images have.

    Parameters
    ----------
    codes : sequence of ndarray of shape (n_images,)
        Winners of at most 62 layers, as ``winner_codes`` returns them.
    min_images : int
        Least number of members.
    min_length : int
        Least number of items.
    max_found : int, optional
        The search ends soon after so many sets.
    timeout : float, optional
        Deadline in seconds, looked at between steps of some milliseconds.

    Returns
    -------
    ClosedSets
        All of them, or those found until the cap or the deadline.

    References
    ----------
    T. Uno, T. Asai, Y. Uchida, H. Arimura (2004), An efficient algorithm for enumerating closed
    patterns in transaction databases: the prefix-preserving closure extension.
    """
    found = _Found(min_length=min_length)
    deadline = None if timeout is None else time.monotonic() + timeout
    n_images = len(codes[0]) if codes else 0
    stack: list[tuple[_Batch, int]] = []
    if n_images >= min_images:
        root = _Batch(
            rows=np.arange(n_images),
            sizes=np.array([n_images]),
            masks=np.zeros(1, dtype=np.int64),
        )
        root = _close(root, codes, range(len(codes)))
        found.add(root)
        stack.append((root, 0))
    is_complete = True
    while stack:
        is_full = max_found is not None and found.count >= max_found
        if is_full or (deadline is not None and time.monotonic() > deadline):
            is_complete = False
            break
        batch, layer = stack.pop()
        # A set with the fewest members allowed has no closed one above it.
        batch = batch.take(batch.sizes > min_images)
        if layer == len(codes) or not len(batch.sizes):
            continue
        if len(batch.rows) > _ROWS_AT_ONCE and len(batch.sizes) > 1:
            stack.extend((half, layer) for half in reversed(batch.halves()))
            continue
        grown = _grow(batch, codes, layer, min_images)
        found.add(grown)
        stack.append((batch.join(grown), layer + 1))
    nothing = np.zeros(0, dtype=np.int64)
    return ClosedSets(
        masks=np.concatenate([nothing, *found.masks]),
        first_rows=np.concatenate([nothing, *found.first_rows]),
        support=np.concatenate([nothing, *found.support]),
        is_complete=is_complete,
    )


def _grow(batch: _Batch, codes: Sequence[Codes], layer: int, min_images: int) -> _Batch:
    """Add each item of one layer to each set that has none there, and close."""
    parents = batch.take((batch.masks >> layer & 1) == 0)
    values = codes[layer][parents.rows]
    # At most as many sets as rows at once, so that their numbers are sorted by radix too.
    kind = np.uint16 if len(parents.sizes) <= _ROWS_AT_ONCE else np.uint32
    parent = np.repeat(np.arange(len(parents.sizes), dtype=kind), parents.sizes)
    order = np.argsort(values, kind="stable")
    order = order[np.argsort(parent[order], kind="stable")]
    values = values[order]
    is_start = np.ones(len(values), dtype=bool)
    is_start[1:] = (values[1:] != values[:-1]) | (parent[1:] != parent[:-1])
    starts = np.flatnonzero(is_start)
    sizes = np.diff(starts, append=len(values))
    children = _Batch(
        rows=parents.rows[order], sizes=sizes, masks=parents.masks[parent[starts]]
    ).take((sizes >= min_images) & (values[starts] != SILENT_CODE))
    before = children.masks
    children = _close(children, codes, range(layer))
    is_new = children.masks == before
    return _close(children.take(is_new), codes, range(layer, len(codes)))


def _close(batch: _Batch, codes: Sequence[Codes], layers: range) -> _Batch:
    """Add the items of some layers that all members share."""
    masks = batch.masks.copy()
    starts = batch.starts
    ends = starts + batch.sizes - 1
    changes = np.zeros(len(batch.rows), dtype=np.int64)
    for layer in layers:
        values = codes[layer][batch.rows]
        np.cumsum(values[1:] != values[:-1], out=changes[1:])
        is_shared = (changes[ends] == changes[starts]) & (values[starts] != SILENT_CODE)
        masks |= is_shared.astype(np.int64) << layer
    return _Batch(rows=batch.rows, sizes=batch.sizes, masks=masks)


def superset_sums(counts: NDArray[np.integer]) -> Integers:
    """Sum, for every set of bits, over all sets that contain it.

    Parameters
    ----------
    counts : ndarray of shape (2 ** n,), int
        By set, written as a bit mask.

    Returns
    -------
    ndarray of shape (2 ** n,), int64
        The zeta transform over supersets.

    References
    ----------
    F. Yates (1937), The design and analysis of factorial experiments: one addition for each set
    and bit, in place.
    """
    sums = np.array(counts, dtype=np.int64)
    for bit in range(len(sums).bit_length() - 1):
        halves = sums.reshape(-1, 2, 1 << bit)
        halves[:, 0] += halves[:, 1]
    return sums


def closed_masks(support: Integers) -> NDArray[np.bool_]:
    """Tell which sets lose a member with every bit more.

    Parameters
    ----------
    support : ndarray of shape (2 ** n,), int64
        Members of every set of bits.

    Returns
    -------
    ndarray of shape (2 ** n,), bool
        True where each set with one bit more has fewer members.
    """
    is_closed = np.ones(len(support), dtype=bool)
    for bit in range(len(support).bit_length() - 1):
        pairs, halves = is_closed.reshape(-1, 2, 1 << bit), support.reshape(-1, 2, 1 << bit)
        pairs[:, 0] &= halves[:, 0] > halves[:, 1]
    return is_closed
