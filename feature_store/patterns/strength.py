"""How strongly the members of a pattern show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from feature_store.patterns.columns import numbers
from feature_store.patterns.gapped_cards import any_members
from feature_store.patterns.index import pattern_index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from feature_store.patterns.cards import PatternKey
    from feature_store.store import Store

STATISTIC = {"paper": "max", "mean": "mean", "balanced": "mean"}
"""Statistic over space from which the winners of a path set are taken."""


def members_by_strength(
    store: Store, path_set: str, pattern: PatternKey
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return the members of a pattern, the one that shows it most strongly first.

    The strength of a member is the mean, over the layers of the pattern, of its activation of the
    pattern's filter in standard deviations above the mean of the reference split. So no loud
    layer decides alone.

    Parameters
    ----------
    store : Store
        Opened store.
    path_set : str
        ``paper``, ``mean`` or ``balanced``.
    pattern : int or tuple of (int, int)
        Its id, or the items of one that may skip layers.

    Returns
    -------
    ids : ndarray of shape (support,), int32
        Image ids; the lowest id first among equals.
    strength : ndarray of shape (support,), float64
        In standard deviations; all NaN, and ids ascending, where the store keeps no activations
        of the pattern's layers.

    Raises
    ------
    TableMissingError
        When the path set was not mined yet.
    IndexError
        When there is no such pattern.
    """
    members = np.sort(any_members(store, path_set, pattern))
    items = pattern_index(store, path_set).items(pattern) if isinstance(pattern, int) else pattern
    statistic = STATISTIC.get(path_set, "mean")
    tables = [f"activations/{statistic}/{layer:03d}" for layer, _ in items]
    if not all(store.has(table) for table in [*tables, "filter_statistics"]):
        return members, np.full(len(members), np.nan)
    parts = [
        _deviations(store, table, statistic, layer, filter_index, members)
        for table, (layer, filter_index) in zip(tables, items, strict=True)
    ]
    strength = np.mean(parts, axis=0)
    order = np.argsort(-strength, kind="stable")
    return members[order], strength[order]


def _deviations(
    store: Store,
    table: str,
    statistic: str,
    layer: int,
    filter_index: int,
    members: NDArray[np.int32],
) -> NDArray[np.float64]:
    name = table.replace("/", "__")
    column = store.arrow(
        f'SELECT "f{filter_index:04d}" AS value FROM "{name}" '
        "WHERE image_id IN (SELECT unnest(?)) ORDER BY image_id",
        members.tolist(),
    )
    found = numbers(column["value"], np.float64)
    rows = store.arrow(
        "SELECT mean, standard_deviation AS spread FROM filter_statistics "
        "WHERE statistic = ? AND layer_index = ? AND filter_index = ?",
        statistic,
        layer,
        filter_index,
    )
    if not rows.num_rows:
        return found
    mean, spread = rows["mean"][0].as_py(), rows["spread"][0].as_py()
    return (found - (mean or 0.0)) / (spread or 1.0)


def page_of(
    members: NDArray[np.int32],
    selection: Sequence[int] | NDArray[np.int32] | None,
    *,
    start: int,
    count: int,
) -> list[int]:
    """Return one page of members, selected ones first, else in the order given.

    Parameters
    ----------
    members : ndarray of int32
        In order.
    selection : sequence of int or None
        Selected images.
    start, count : int
        Members before the page, and on it.

    Returns
    -------
    list of int
        Image ids.
    """
    if selection is not None:
        is_there = np.isin(members, np.asarray(selection))
        members = members[np.argsort(~is_there, kind="stable")]
    page: list[int] = members[max(start, 0) : max(start, 0) + max(count, 0)].tolist()
    return page
