"""Every image with a prediction, and its place on a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from feature_store.database import quote_name
from feature_store.errors import QueryError, TableMissingError
from feature_store.patterns.columns import numbers
from feature_store.patterns.memory import remember

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from feature_store.store import Store

UNKNOWN = -1
"""Class index of an image without a label."""

PREDICTED = (
    "images i JOIN predictions p USING (image_id) WHERE i.status = 'ok' AND p.status = 'ok'"
)
"""The images that every figure counts: readable, with finite predictions."""

_NO_MEASURE = {
    "images": {"image_id", "image_key", "encoded", "status", "message", "true_class"},
    "predictions": {"image_id", "status", "predicted_class", "is_correct"},
}
"""Columns that name or hold an image, or say what ``ImageTable`` says already."""

# Every image has a source of its own; what images have in common is the folder it lies in.
_FOLDER = r"regexp_replace({}, '/?[^/]*$', '')"


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


@dataclass(frozen=True, kw_only=True)
class StoredColumn:
    """A column that says something of every image and may colour it.

    Parameters
    ----------
    table, name : str
        ``images`` or ``predictions``, and the column. Of ``images.source``, which differs for
        every image, the folder is meant.
    kind : str
        ``"number"`` or ``"category"``.
    least, greatest : str
        Of all its values, as text; empty when every value is missing.
    n_missing : int
        Images without a value.
    """

    table: str
    name: str
    kind: str
    least: str
    greatest: str
    n_missing: int

    @property
    def key(self) -> str:
        """``table.name``."""
        return f"{self.table}.{self.name}"

    @property
    def is_constant(self) -> bool:
        """Whether no two images differ in it."""
        return self.least == self.greatest


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnValues:
    """One column for every image of ``image_table``, in its order.

    Parameters
    ----------
    numbers : ndarray of shape (n_images,), float64, or None
        NaN where the value is missing; None for a category.
    codes : ndarray of shape (n_images,), int32, or None
        Index into ``names``, -1 where the value is missing; None for a number.
    names : tuple of str
        The distinct values of a category, sorted. They come from data.
    """

    numbers: NDArray[np.float64] | None = None
    codes: NDArray[np.int32] | None = None
    names: tuple[str, ...] = ()


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


def stored_columns(store: Store) -> tuple[StoredColumn, ...]:
    """Return the columns of ``images`` and ``predictions`` that may colour an image.

    Parameters
    ----------
    store : Store
        Opened store.

    Returns
    -------
    tuple of StoredColumn
        In the order of the tables; those that hold an image, name it or give its class are left
        out. Read once.
    """
    return remember(store, "stored columns", lambda: _stored_columns(store))


def column_values(store: Store, key: str) -> ColumnValues:
    """Return one column of ``images`` or ``predictions`` for every image with a prediction.

    Parameters
    ----------
    store : Store
        Opened store.
    key : str
        ``StoredColumn.key``.

    Returns
    -------
    ColumnValues
        Aligned to ``image_table(store)``; read once, not to be written.

    Raises
    ------
    QueryError
        When there is no such column, naming those there are.
    """
    known = {column.key: column for column in stored_columns(store)}
    if key not in known:
        msg = f"no image is described by {key!r}; columns: {', '.join(known) or 'none'}"
        raise QueryError(msg)
    return remember(store, ("column", key), lambda: _column_values(store, known[key]))


def _stored_columns(store: Store) -> tuple[StoredColumn, ...]:
    found = []
    for table, left_out in _NO_MEASURE.items():
        fields = store.arrow(f"SELECT * FROM {table} LIMIT 0").schema
        for field in fields:
            kind = _kind(field.type)
            if kind and field.name not in left_out:
                found.append((table, field.name, kind))
    if not found:
        return ()
    asked = [
        f"min({value}) AS least_{at}, max({value}) AS greatest_{at}, "
        f"count(*) - count({value}) AS missing_{at}"
        for at, value in enumerate(_expression(table, name) for table, name, _ in found)
    ]
    row = store.arrow(f"SELECT {', '.join(asked)} FROM {PREDICTED}").to_pylist()[0]
    return tuple(
        StoredColumn(
            table=table, name=name, kind=kind, least=_text(row[f"least_{at}"]),
            greatest=_text(row[f"greatest_{at}"]), n_missing=int(row[f"missing_{at}"]),
        )
        for at, (table, name, kind) in enumerate(found)
    )  # fmt: skip


def _column_values(store: Store, column: StoredColumn) -> ColumnValues:
    value = _expression(column.table, column.name)
    cast = "DOUBLE" if column.kind == "number" else "VARCHAR"
    rows = store.arrow(
        f"SELECT CAST({value} AS {cast}) AS value FROM {PREDICTED} ORDER BY image_id"
    )
    if column.kind == "number":
        return ColumnValues(numbers=numbers(rows["value"], np.float64))
    coded = rows["value"].combine_chunks().dictionary_encode()
    names = np.array(coded.dictionary.to_pylist(), dtype=object)
    order = np.argsort(names, kind="stable")
    # The last place serves the index -1 of a missing value.
    place = np.full(len(names) + 1, -1, dtype=np.int32)
    place[order] = np.arange(len(names))
    codes = place[coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    return ColumnValues(codes=codes, names=tuple(names[order].tolist()))


def _expression(table: str, name: str) -> str:
    """Return the SQL of one column; the tables have short names in ``PREDICTED``."""
    column = f"{table[0]}.{quote_name(name)}"
    return _FOLDER.format(column) if (table, name) == ("images", "source") else column


def _kind(kind: pa.DataType) -> str:
    """Return ``"number"``, ``"category"``, or nothing for what colours nothing."""
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return "category" if is_text or pa.types.is_boolean(kind) else ""


def _text(value: object) -> str:
    return "" if value is None else str(value)


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
