"""Filters that tell some images from all others best: candidates for a cause."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_store.patterns.columns import numbers
from feature_store.patterns.memory import remember

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from feature_store.store import Store

ROWS_AT_ONCE = 8192
"""Images whose activations are in memory at a time."""

MIN_IMAGES = 2
"""Fewest images on each side: one image has no spread."""


@dataclass(frozen=True, kw_only=True)
class TellingFilter:
    """One filter and how far members lie from the rest on it.

    Parameters
    ----------
    layer_index, filter_index : int
        The filter.
    difference : float
        Standardised difference; above 0 where members fire more.
    member_mean, other_mean : float
        Mean activation on both sides.
    """

    layer_index: int
    filter_index: int
    difference: float
    member_mean: float
    other_mean: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """Sums over images of the activations of one layer; what is not finite is left out.

    Parameters
    ----------
    count, total, squares : ndarray of shape (n_filters,), float64
        Images, sum of activations and sum of their squares.
    """

    count: NDArray[np.float64]
    total: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, activations: NDArray[np.floating]) -> Moments:
        """Return the sums of an array.

        Parameters
        ----------
        activations : ndarray of shape (n_images, n_filters)

        Returns
        -------
        Moments
        """
        values = np.asarray(activations)
        is_known = np.isfinite(values)
        if not is_known.all():
            values = np.where(is_known, values, 0)
        return cls(
            count=is_known.sum(axis=0).astype(np.float64),
            total=values.sum(axis=0, dtype=np.float64),
            squares=np.einsum("ij,ij->j", values, values, dtype=np.float64),
        )

    def __add__(self, part: Moments) -> Moments:
        return Moments(
            count=self.count + part.count,
            total=self.total + part.total,
            squares=self.squares + part.squares,
        )

    def __sub__(self, part: Moments) -> Moments:
        return Moments(
            count=self.count - part.count,
            total=self.total - part.total,
            squares=self.squares - part.squares,
        )

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of each filter; 0 without images."""
        return np.asarray(self.total / np.maximum(self.count, 1))

    @property
    def variance(self) -> NDArray[np.float64]:
        """Unbiased variance of each filter; what only rounding makes is 0."""
        spread = self.squares - self.count * self.mean**2
        spread[spread <= 1e-12 * self.squares] = 0
        return np.asarray(spread / np.maximum(self.count - 1, 1))


def standardised_difference(members: Moments, others: Moments) -> NDArray[np.float64]:
    """Return how many standard deviations members lie from the others, filter by filter.

    Difference of the means by the root of the mean of both variances. Unlike a rank measure it
    goes on telling filters apart where many separate the two sides perfectly, as the filters of a
    late layer do; and unlike a p-value it does not grow with the number of images.

    Parameters
    ----------
    members, others : Moments
        Of the same layer.

    Returns
    -------
    ndarray of shape (n_filters,), float64
        0 where a side has fewer than 2 images or the means are equal; infinite where the means
        differ and neither side varies.

    References
    ----------
    Cohen, "Statistical Power Analysis for the Behavioral Sciences", 2nd edition, 1988, equation
    2.3.2: the standard deviation for unequal variances.
    """
    gap = members.mean - others.mean
    scale = np.sqrt((members.variance + others.variance) / 2)
    # Means of equal values differ in their last bits.
    gap[np.abs(gap) <= 1e-9 * (np.abs(members.mean) + np.abs(others.mean))] = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(gap == 0, 0.0, gap / scale)
    enough = (members.count >= MIN_IMAGES) & (others.count >= MIN_IMAGES)
    return np.where(enough, found, 0.0)


def telling_filters(
    members: Sequence[NDArray[np.floating]],
    others: Sequence[NDArray[np.floating]],
    *,
    limit: int = 16,
) -> tuple[TellingFilter, ...]:
    """Return the filters that tell members from the others best.

    Parameters
    ----------
    members, others : sequence of ndarray of shape (n_images, n_filters)
        Activations of each layer, maxima or means over space. What is not finite is left out.
    limit : int
        Most filters.

    Returns
    -------
    tuple of TellingFilter
        Largest absolute difference first, then by layer and filter; filters on which both sides
        have one mean are left out. A filter that is silent for members alone tells them too.

    Raises
    ------
    ValueError
        When the two sides have other layers or filters.
    """
    if [each.shape[1:] for each in members] != [each.shape[1:] for each in others]:
        msg = "members and others must have the same layers and filters"
        raise ValueError(msg)
    sides = ((Moments.of(a), Moments.of(b)) for a, b in zip(members, others, strict=True))
    return _ranked(enumerate(sides), limit)


def telling_filters_of(
    store: Store,
    image_ids: ArrayLike,
    *,
    statistic: str = "mean",
    layers: Collection[int] | None = None,
    limit: int = 16,
) -> tuple[TellingFilter, ...]:
    """Return the filters that tell images of a store from all its other images best.

    The sums over all images are taken once for each open store and layer; after that only the
    rows of the images are read.

    Parameters
    ----------
    store : Store
        With ``activations/<statistic>/...``.
    image_ids : array_like of int
        Members of a pattern, or a selection; ids without activations are left out.
    statistic : str
        ``"mean"``, which ablation replaces, or ``"max"`` over space.
    layers : collection of int, optional
        Layers to look in; by default all convolutions.
    limit : int
        Most filters.

    Returns
    -------
    tuple of TellingFilter
        As of ``telling_filters``.

    Raises
    ------
    TableMissingError
        When the store keeps no activations of this statistic, or there is no such layer.
    """
    if layers is None:
        rows = store.arrow("SELECT layer_index FROM layers WHERE kind = 'conv'")
        layers = rows["layer_index"].to_pylist()
    ids = np.unique(np.asarray(image_ids, dtype=np.int64)).tolist()
    sides = {}
    for layer in sorted(set(layers)):
        table = _table(store, statistic, int(layer))
        build = partial(_all, store, table)
        everything = remember(store, ("moments", statistic, layer), build)
        values = store.arrow(
            f'SELECT * EXCLUDE (image_id) FROM "{table}" '
            "WHERE image_id IN (SELECT unnest(?::BIGINT[]))",
            ids,
        )
        columns = [numbers(column, np.float32) for column in values.columns]
        part = Moments.of(np.stack(columns, axis=1))
        sides[layer] = (part, everything - part)
    return _ranked(sides.items(), limit)


def reference_means(store: Store, layers: Collection[int]) -> dict[int, NDArray[np.float64]]:
    """Return what ablation puts in a filter's place: its mean over space and reference images.

    Parameters
    ----------
    store : Store
        With the table ``filter_statistics``.
    layers : collection of int
        Layer indices.

    Returns
    -------
    dict of int to ndarray of shape (n_filters,), float64
        By layer; NaN for a filter whose mean the store does not know.

    Raises
    ------
    TableMissingError
        When the statistics were not computed yet.
    """
    store.entry("filter_statistics")
    rows = store.arrow(
        "SELECT layer_index, filter_index, mean FROM filter_statistics "
        "WHERE statistic = 'mean' AND layer_index IN (SELECT unnest(?::BIGINT[])) "
        "ORDER BY layer_index, filter_index",
        sorted({int(layer) for layer in layers}),
    )
    place = numbers(rows["layer_index"], np.int64)
    index = numbers(rows["filter_index"], np.int64)
    means = numbers(rows["mean"], np.float64)
    found = {}
    for layer in np.unique(place).tolist():
        here = place == layer
        found[layer] = np.full(int(index[here].max()) + 1, np.nan)
        found[layer][index[here]] = means[here]
    return found


def _ranked(
    sides: Iterable[tuple[int, tuple[Moments, Moments]]], limit: int
) -> tuple[TellingFilter, ...]:
    found: list[TellingFilter] = []
    for layer, (inside, outside) in sides:
        difference = standardised_difference(inside, outside)
        best = np.argsort(-np.abs(difference), kind="stable")[: max(limit, 0)]
        found.extend(
            TellingFilter(
                layer_index=int(layer),
                filter_index=int(index),
                difference=float(difference[index]),
                member_mean=float(inside.mean[index]),
                other_mean=float(outside.mean[index]),
            )
            for index in best[difference[best] != 0]
        )
    found.sort(key=lambda each: (-abs(each.difference), each.layer_index, each.filter_index))
    return tuple(found[: max(limit, 0)])


def _all(store: Store, table: str) -> Moments:
    """Sum over all rows, some at a time, so that memory does not grow with the images."""
    # Numpy sums: DuckDB plans thousands of aggregates in time that grows with their square.
    rows = store.sql(f'SELECT * EXCLUDE (image_id) FROM "{table}"')
    found = Moments.of(np.empty((0, len(rows.columns)), np.float32))
    for batch in rows.to_arrow_reader(ROWS_AT_ONCE):
        table_of = pa.Table.from_batches([batch])
        columns = [numbers(column, np.float32) for column in table_of.columns]
        found += Moments.of(np.stack(columns, axis=1))
    return found


def _table(store: Store, statistic: str, layer: int) -> str:
    name = f"activations/{statistic}/{layer:03d}"
    store.entry(name)
    return name.replace("/", "__")
