"""Layers, paths, and how strongly filters fire."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from feature_store.errors import ImageNotFoundError
from feature_store.patterns.columns import numbers
from feature_store.patterns.memory import remember

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from feature_store.store import Store

T = TypeVar("T")

REFERENCE_IMAGES = 8_192
"""Percentiles are exact up to so many images; above, they are taken over a sample of so many."""

_STEPS = 255


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One captured layer.

    Parameters
    ----------
    layer_index : int
        Place by first firing.
    layer_name : str
        Path in ``named_modules()``.
    kind : str
        ``conv`` or ``linear``.
    filters, height, width : int
        Number of filters, and size of the map of each.
    site : str
        ``post_activation``, ``post_norm`` or ``output``.
    receptive_field, stride : int or None
        In input pixels.
    block : str or None
        Block of the network.
    """

    layer_index: int
    layer_name: str
    kind: str
    filters: int
    height: int
    width: int
    site: str
    receptive_field: int | None
    stride: int | None
    block: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class TopImages:
    """Images that fire a filter the most, strongest first.

    Parameters
    ----------
    image_id : ndarray of int32
        Ids.
    activation : ndarray of float32
        Spatial maximum.
    peak_row, peak_column : ndarray of int32
        Place in the map where it fires.
    split : tuple of str
        Split of each.
    width, height : ndarray of int32
        Size of each picture in pixels; 0 where it is not known.
    """

    image_id: NDArray[np.int32]
    activation: NDArray[np.float32]
    peak_row: NDArray[np.int32]
    peak_column: NDArray[np.int32]
    split: tuple[str, ...]
    width: NDArray[np.int32]
    height: NDArray[np.int32]


def layers(store: Store) -> tuple[LayerRow, ...]:
    """Return the captured layers, in the order in which they fire."""
    store.entry("layers")
    rows = store.arrow("SELECT * FROM layers ORDER BY layer_index").to_pylist()
    names = LayerRow.__dataclass_fields__
    return tuple(LayerRow(**{name: row[name] for name in names}) for row in rows)


def path_of(store: Store, path_set: str, image_id: int) -> NDArray[np.int32]:
    """Return the path of one image.

    Parameters
    ----------
    store : Store
        Opened store.
    path_set : str
        ``paper``, ``mean`` or ``balanced``.
    image_id : int
        Image.

    Returns
    -------
    ndarray of shape (n_layers,), int32
        Winning filter of each layer; -1 where the layer is silent.

    Raises
    ------
    TableMissingError
        When the path set was not computed yet.
    ImageNotFoundError
        When the image has no path.
    """
    return np.array(_row(store, f"paths/{path_set}", image_id), dtype=np.int32)


def top_images(
    store: Store, layer_index: int, filter_index: int, *, limit: int = 50, split: str | None = None
) -> TopImages:
    """Return the images that fire a filter the most.

    Parameters
    ----------
    store : Store
        Opened store.
    layer_index, filter_index : int
        The filter.
    limit : int
        Most images; 50 of each split are kept.
    split : str, optional
        Part of the data set; by default the strongest of all.

    Returns
    -------
    TopImages
        Strongest first; empty when there is no such filter.

    Raises
    ------
    TableMissingError
        When the network was not captured yet.
    """
    store.entry("top_images")
    chosen = "" if split is None else "AND split = ?"
    rows = store.arrow(
        "SELECT t.*, coalesce(i.width, 0) AS width, coalesce(i.height, 0) AS height FROM ("
        "SELECT image_id, activation, peak_row, peak_column, split FROM top_images "
        f"WHERE layer_index = ? AND filter_index = ? {chosen} "
        f"ORDER BY activation DESC, image_id LIMIT {max(int(limit), 0)}) t "
        "LEFT JOIN images i USING (image_id) ORDER BY activation DESC, image_id",
        int(layer_index),
        int(filter_index),
        *([] if split is None else [split]),
    )
    return TopImages(
        image_id=numbers(rows["image_id"], np.int32),
        activation=numbers(rows["activation"], np.float32),
        peak_row=numbers(rows["peak_row"], np.int32),
        peak_column=numbers(rows["peak_column"], np.int32),
        split=tuple(rows["split"].to_pylist()),
        width=numbers(rows["width"], np.int32),
        height=numbers(rows["height"], np.int32),
    )


class ActivationReference:
    """How strongly the filters fire over the images of a store, to say what is strong for each.

    The percentile of an activation is the share of reference images whose activation of the same
    filter is strictly smaller, so that a silent filter is at 0. It is exact up to
    ``REFERENCE_IMAGES`` images; above, the reference is a seeded random sample of so many, and
    the share is off by at most about one part in a hundred (two standard errors).

    Parameters
    ----------
    store : Store
        With ``activations/<statistic>/...`` of every layer.
    statistic : str
        ``"max"`` or ``"mean"`` over space.
    images : int
        Size of the sample.
    seed : int
        Of the sample.

    Raises
    ------
    TableMissingError
        When the store keeps no activations of this statistic.

    Attributes
    ----------
    n, total : int
        Images in the reference, and images in the store.
    """

    def __init__(
        self,
        store: Store,
        statistic: str = "max",
        *,
        images: int = REFERENCE_IMAGES,
        seed: int = 0,
    ) -> None:
        self.statistic = statistic
        ids = store.arrow(f'SELECT image_id FROM "{_table(store, statistic, 0)}"')["image_id"]
        self.total = len(ids)
        self.n = min(images, self.total)
        chosen = []
        if self.n < self.total:
            rng = np.random.default_rng(seed)
            chosen = [rng.choice(ids.to_numpy(), self.n, replace=False).tolist()]
        condition = "WHERE image_id IN (SELECT unnest(?::INTEGER[]))" if chosen else ""

        def read(layer: int) -> tuple[NDArray[np.float32], type[np.floating]]:
            rows = store.arrow(
                f"SELECT * EXCLUDE (image_id) "
                f'FROM "{_table(store, statistic, layer)}" {condition}',
                *chosen,
            )
            values = np.stack([numbers(column, np.float32) for column in rows.columns])
            return _thresholds(values), _stored_type(values)

        found = _each_layer(store, read)
        self._thresholds = [thresholds for thresholds, _ in found]
        self._stored = [stored for _, stored in found]

    def percentiles(self, activations: Sequence[NDArray[np.floating]]) -> list[NDArray[np.uint8]]:
        """Place activations among those of the reference.

        Parameters
        ----------
        activations : sequence of ndarray of shape (n_filters,)
            Of one image, for each layer; not finite ones are at 0.

        Returns
        -------
        list of ndarray of shape (n_filters,), uint8
            Share of reference images that fire less, times 255, rounded down.

        Raises
        ------
        ValueError
            When the number of layers or filters is another.
        """
        given = [np.asarray(values) for values in activations]
        widths = [len(edges) for edges in self._thresholds]
        if [values.shape for values in given] != [(width,) for width in widths]:
            msg = f"activations of layers with {widths} filters are needed"
            raise ValueError(msg)
        # Rounded as the store does, so that a stored activation ties with itself.
        with np.errstate(over="ignore"):
            rounded = [
                values.astype(stored).astype(np.float32)
                for values, stored in zip(given, self._stored, strict=True)
            ]
        return [
            (edges < values[:, None]).sum(axis=1).astype(np.uint8)
            for values, edges in zip(rounded, self._thresholds, strict=True)
        ]

    def means(
        self, layer_index: int, start: int, activations: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the mean percentile of some filters over some images of the store.

        Parameters
        ----------
        layer_index, start : int
            Layer, and its first filter that is meant.
        activations : ndarray of shape (n_filters, n_images), float32
            As stored; sorted in place.

        Returns
        -------
        ndarray of shape (n_filters,), float32
            Mean over the images of what ``percentiles`` says of each, 0 to 255.
        """
        n_filters, n_images = activations.shape
        activations.sort(axis=1)
        known = n_images - np.isnan(activations).sum(axis=1)
        edges = self._thresholds[layer_index][start : start + n_filters]
        # Counted by threshold, not by image: an image is at how many thresholds it exceeds.
        found = [
            np.maximum(count - np.searchsorted(row, thresholds, side="right"), 0).sum()
            for row, thresholds, count in zip(activations, edges, known, strict=True)
        ]
        return np.asarray(np.array(found) / max(n_images, 1), dtype=np.float32)


def _stored_type(values: NDArray[np.float32]) -> type[np.floating]:
    """Return float16 where every value is one: DuckDB answers float32 for both."""
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return np.float16 if np.array_equal(half, values, equal_nan=True) else np.float32


def _thresholds(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return, for each filter (row), the value that must be exceeded to reach each 255th."""
    n_images = values.shape[1]
    if not n_images:
        return np.full((len(values), _STEPS), np.inf, dtype=np.float32)
    # NaN sorts last: an image that gave none is never smaller than anything.
    ordered = np.sort(values, axis=1)
    at = -(-np.arange(1, _STEPS + 1) * n_images // _STEPS) - 1
    return np.ascontiguousarray(ordered[:, at])


def activation_reference(store: Store, statistic: str = "max") -> ActivationReference:
    """Return the reference of a statistic, built on first use and kept as long as the store is.

    Parameters
    ----------
    store : Store
        Opened store.
    statistic : str
        ``"max"`` or ``"mean"`` over space.

    Returns
    -------
    ActivationReference
        Shared by all callers.

    Raises
    ------
    TableMissingError
        When the store keeps no activations of this statistic.
    """
    return remember(
        store, ("activations", statistic), lambda: ActivationReference(store, statistic)
    )


def activations_of(
    store: Store, image_id: int, *, statistic: str = "max"
) -> list[NDArray[np.float32]]:
    """Read the activations of one image.

    Parameters
    ----------
    store : Store
        Opened store.
    image_id : int
        Image.
    statistic : str
        ``"max"`` or ``"mean"`` over space.

    Returns
    -------
    list of ndarray of shape (n_filters,), float32
        For each layer.

    Raises
    ------
    TableMissingError
        When the store keeps no activations of this statistic.
    ImageNotFoundError
        When the image has none.
    """

    def read(layer: int) -> NDArray[np.float32]:
        row = _row(store, f"activations/{statistic}/{layer:03d}", image_id)
        return np.array(row, dtype=np.float32)

    return _each_layer(store, read)


def activation_percentiles(
    store: Store, image_id: int, *, statistic: str = "max"
) -> list[NDArray[np.uint8]]:
    """Say how strongly each filter fires for one image, compared with the other images.

    Parameters
    ----------
    store : Store
        Opened store.
    image_id : int
        Image.
    statistic : str
        ``"max"`` or ``"mean"`` over space.

    Returns
    -------
    list of ndarray of shape (n_filters,), uint8
        For each layer; see ``ActivationReference``, which says over how many images.

    Raises
    ------
    TableMissingError
        When the store keeps no activations of this statistic.
    ImageNotFoundError
        When the image has none.
    """
    reference = activation_reference(store, statistic)
    return reference.percentiles(activations_of(store, image_id, statistic=statistic))


def _each_layer(store: Store, read: Callable[[int], T]) -> list[T]:
    """Read the layers side by side: DuckDB reads one row group by one thread only."""
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(read, range(len(layers(store)))))


def _table(store: Store, statistic: str, layer: int) -> str:
    """Return the SQL name of a layer's activations, which must be there."""
    name = f"activations/{statistic}/{layer:03d}"
    store.entry(name)
    return name.replace("/", "__")


def _row(store: Store, table: str, image_id: int) -> list[float]:
    """Return the wide columns of one image."""
    store.entry(table)
    name = table.replace("/", "__")
    found = store.arrow(
        f'SELECT * EXCLUDE (image_id) FROM "{name}" WHERE image_id = ?', int(image_id)
    )
    if not len(found):
        msg = f"image {image_id} has no row in the table {table!r} of {store.path}"
        raise ImageNotFoundError(msg)
    return [np.nan if value is None else value for value in found.to_pylist()[0].values()]
