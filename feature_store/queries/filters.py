"""How strongly filters fire: one for the images of each class, all for some images."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from feature_store.errors import QueryError
from feature_store.patterns.columns import numbers
from feature_store.queries.network import activation_reference, layers
from feature_store.queries.points import image_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from feature_store.store import Store


_BLOCK = 256
"""Filters that are read at a time for a set of images: 60 MB for 60,000 of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FilterHistogram:
    """Activations of one filter, counted by class.

    Parameters
    ----------
    edges : ndarray of shape (bins + 1,), float64
        Borders of the bins; each holds its lower one, the last both.
    counts : ndarray of shape (n_classes + 1, bins), int64
        Images by true class; the last row are images without a label. Those that are exactly 0
        are not in it.
    silent : ndarray of shape (n_classes + 1,), int64
        Images for which the filter is exactly 0.
    means : ndarray of shape (n_classes,), float64
        Mean activation of each class, the silent images included; NaN where it has no image.
    n_images : int
        All images that are counted.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    silent: NDArray[np.int64]
    means: NDArray[np.float64]
    n_images: int


@dataclass(frozen=True, kw_only=True, eq=False)
class MeanPercentiles:
    """How strongly each filter fires for some images, compared with the images of the store.

    Parameters
    ----------
    values : tuple of ndarray of shape (n_filters,), float32
        For each layer, the mean over the images of their percentiles, 0 to 255.
    n : int
        Images that it is the mean of: those with activations.
    """

    values: tuple[NDArray[np.float32], ...]
    n: int


def filter_histogram(
    store: Store,
    layer_index: int,
    filter_index: int,
    *,
    split: str | None = None,
    statistic: str = "max",
    bins: int = 24,
) -> FilterHistogram:
    """Count the activations of a filter by class.

    Parameters
    ----------
    store : Store
        Opened store.
    layer_index, filter_index : int
        The filter.
    split : str, optional
        Part of the data set; by default all of it.
    statistic : str
        ``"max"`` or ``"mean"`` over space.
    bins : int
        Bins of equal width between the smallest activation, or 0, and the largest.

    Returns
    -------
    FilterHistogram
        Over every image with a prediction and a finite activation.

    Raises
    ------
    QueryError
        When there is no such filter or statistic.
    TableMissingError
        When the store keeps no activations of this statistic.
    """
    if statistic not in {"max", "mean"} or bins < 1:
        msg = f"the statistic is max or mean and bins at least 1, not {statistic!r} and {bins}"
        raise QueryError(msg)
    known = {row.layer_index: row.filters for row in layers(store)}
    if not 0 <= int(filter_index) < known.get(int(layer_index), 0):
        msg = f"layer {layer_index} has no filter {filter_index}"
        raise QueryError(msg)
    name = f"activations/{statistic}/{int(layer_index):03d}"
    store.entry(name)
    column = f"f{int(filter_index):04d}"
    rows = store.arrow(
        f'SELECT image_id, "{column}" AS value FROM "{name.replace("/", "__")}" ORDER BY image_id'
    )
    ids, values = numbers(rows["image_id"], np.int32), numbers(rows["value"], np.float64)
    classes, is_counted = _classes_of(store, ids, split)
    is_counted &= np.isfinite(values)
    return _count(values[is_counted], classes[is_counted], len(store.class_names), bins)


def _classes_of(
    store: Store, ids: NDArray[np.int32], split: str | None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the true class of each image, -1 without, and whether it is to be counted."""
    images = image_table(store)
    if not len(images.image_id):
        return np.full(len(ids), -1), np.zeros(len(ids), dtype=bool)
    place = np.minimum(np.searchsorted(images.image_id, ids), len(images.image_id) - 1)
    is_counted = images.image_id[place] == ids
    if split is not None:
        wanted = images.splits.index(split) if split in images.splits else -1
        is_counted &= images.split[place] == wanted
    return images.true_class[place].astype(np.int64), is_counted


def _count(
    values: NDArray[np.float64], classes: NDArray[np.int64], n_classes: int, bins: int
) -> FilterHistogram:
    low, high = (min(values.min(), 0.0), max(values.max(), 0.0)) if values.size else (0.0, 0.0)
    if low == high:
        high = low + 1.0
    edges = np.linspace(low, high, bins + 1)
    group = np.where(classes < 0, n_classes, classes)
    is_silent = values == 0
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins - 1)
    flat = group[~is_silent] * bins + place[~is_silent]
    counts = np.bincount(flat, minlength=(n_classes + 1) * bins).reshape(n_classes + 1, bins)
    size = np.bincount(group, minlength=n_classes + 1)[:n_classes]
    total = np.bincount(group, values, minlength=n_classes + 1)[:n_classes]
    means = np.full(n_classes, np.nan)
    np.divide(total, size, out=means, where=size > 0)
    return FilterHistogram(
        edges=edges,
        counts=counts,
        silent=np.bincount(group[is_silent], minlength=n_classes + 1),
        means=means,
        n_images=len(values),
    )


def mean_percentiles(
    store: Store,
    image_ids: NDArray[np.int32],
    *,
    statistic: str = "max",
    is_wanted: Callable[[], bool] = lambda: True,
) -> MeanPercentiles | None:
    """Say how strongly each filter fires for some images, compared with the images of the store.

    The figure of a filter is the mean of the percentiles that ``activation_percentiles`` gives to
    each of the images: half the scale when they are like all others, and close to 255 times the
    chance that one of them fires it more than an image of the store does. Every one of the images
    counts; none is sampled.

    Parameters
    ----------
    store : Store
        Opened store.
    image_ids : ndarray of int32
        The images, each once; those without activations are left out.
    statistic : str
        ``"max"`` or ``"mean"`` over space.
    is_wanted : callable
        Asked between reads; once it says no, the rest is not read.

    Returns
    -------
    MeanPercentiles or None
        None when it was no longer wanted.

    Raises
    ------
    TableMissingError
        When the store keeps no activations of this statistic.
    """
    reference = activation_reference(store, statistic)
    ids = np.asarray(image_ids, dtype=np.int32).tolist()
    blocks = [
        (row.layer_index, start, min(start + _BLOCK, row.filters))
        for row in layers(store)
        for start in range(0, row.filters, _BLOCK)
    ]

    def read(block: tuple[int, int, int]) -> tuple[NDArray[np.float32], int] | None:
        layer, start, stop = block
        if not is_wanted():
            return None
        name = f"activations/{statistic}/{layer:03d}".replace("/", "__")
        names = ", ".join(f'"f{index:04d}"' for index in range(start, stop))
        rows = store.arrow(
            f'SELECT {names} FROM "{name}" WHERE image_id IN (SELECT unnest(?::INTEGER[]))',
            ids,
        )
        values = np.stack([numbers(column, np.float32) for column in rows.columns])
        return reference.means(layer, start, values), len(rows)

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        found = list(pool.map(read, blocks))
    done = [item for item in found if item is not None]
    if len(done) < len(blocks):
        return None
    parts = [
        np.concatenate(
            [means for (of, _, _), (means, _) in zip(blocks, done, strict=True) if of == layer]
        )
        for layer in dict.fromkeys(block[0] for block in blocks)
    ]
    return MeanPercentiles(values=tuple(parts), n=min((n for _, n in done), default=0))
