"""Every image with a prediction, and its place on a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_store.errors import TableMissingError
from feature_store.patterns.columns import numbers
from feature_store.patterns.memory import remember

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from feature_store.store import Store

UNKNOWN = -1
"""Class index of an image without a label."""

PREDICTED = (
    "images i JOIN predictions p USING (image_id) WHERE i.status = 'ok' AND p.status = 'ok'"
)
"""The images that every figure counts: readable, with finite predictions."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageTable:
    """Every image with a prediction, in arrays of equal length, by ascending id.

    Parameters
    ----------
    image_id : ndarray of int32
        Ids.
    true_class : ndarray of int16
        Class index; -1 without a label.
    predicted_class : ndarray of int16
        Class index.
    confidence : ndarray of float32
        Softmax score of the predicted class, in [0, 1].
    margin : ndarray of float32
        Best score minus the second best, in [0, 1]; NaN where it was not stored.
    is_correct : ndarray of bool
        False too where there is no label.
    split : ndarray of int16
        Index into ``splits``.
    splits : tuple of str
        Names of the splits, sorted.
    """

    image_id: NDArray[np.int32]
    true_class: NDArray[np.int16]
    predicted_class: NDArray[np.int16]
    confidence: NDArray[np.float32]
    margin: NDArray[np.float32]
    is_correct: NDArray[np.bool_]
    split: NDArray[np.int16]
    splits: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class MapPoints(ImageTable):
    """The images that have a place on a map; ``x`` and ``y`` are float32 without a unit."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]


def projections(store: Store) -> tuple[str, ...]:
    """Return the names of the store's maps, sorted; none before the stage ``embed``."""
    if not store.has("projections"):
        return ()
    rows = store.arrow("SELECT DISTINCT projection FROM projections ORDER BY projection")
    return tuple(rows["projection"].to_pylist())


def image_table(store: Store) -> ImageTable:
    """Return every image that has a prediction; read once, then shared by all callers.

    Parameters
    ----------
    store : Store
        Opened store.

    Returns
    -------
    ImageTable
        By ascending id; not to be written.
    """
    return remember(store, "images", lambda: ImageTable(**_columns(_point_rows(store, "", ""))))


def map_points(store: Store, projection: str) -> MapPoints:
    """Read a map.

    Parameters
    ----------
    store : Store
        Opened store.
    projection : str
        Name of the map.

    Returns
    -------
    MapPoints
        By ascending id.

    Raises
    ------
    TableMissingError
        When there is no such map, naming those there are.
    """
    known = projections(store)
    if projection not in known:
        store.table("projections")
        msg = f"there is no map {projection!r} in {store.path}; its maps: {', '.join(known)}"
        raise TableMissingError(msg)
    rows = _point_rows(
        store, ", m.x, m.y", "AND m.projection = ?", "projections m JOIN ", projection
    )
    return MapPoints(
        **_columns(rows), x=numbers(rows["x"], np.float32), y=numbers(rows["y"], np.float32)
    )


def _point_rows(
    store: Store, columns: str, condition: str, source: str = "", *parameters: object
) -> pa.Table:
    predicted = PREDICTED.replace("images i", "images i USING (image_id)") if source else PREDICTED
    return store.arrow(
        f"SELECT image_id, coalesce(i.true_class, {UNKNOWN}) AS true_class, p.predicted_class, "
        f"p.confidence, p.margin, coalesce(p.is_correct, false) AS is_correct, i.split{columns} "
        f"FROM {source}{predicted} {condition} ORDER BY image_id",
        *parameters,
    )


def _columns(rows: pa.Table) -> dict[str, Any]:
    split, names = _codes(rows["split"])
    return {
        "image_id": numbers(rows["image_id"], np.int32),
        "true_class": numbers(rows["true_class"], np.int16),
        "predicted_class": numbers(rows["predicted_class"], np.int16),
        "confidence": numbers(rows["confidence"], np.float32),
        "margin": numbers(rows["margin"], np.float32),
        "is_correct": numbers(rows["is_correct"], np.bool_),
        "split": split,
        "splits": names,
    }


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int16], tuple[str, ...]]:
    """Give every text of a column the place of it among the sorted distinct ones."""
    coded = column.combine_chunks().dictionary_encode()
    names = coded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    place = np.empty(len(names), dtype=np.int16)
    place[order] = np.arange(len(names))
    indices = coded.indices.to_numpy(zero_copy_only=False)
    return place[indices], tuple(names[i] for i in order)
