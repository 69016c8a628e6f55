"""What the store knows of one image, and of many to take along."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.errors import ImageNotFoundError
from feature_store.patterns.memory import remember

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from feature_store.store import Store


@dataclass(frozen=True, kw_only=True)
class ImageRow:
    """All that is known of one image; what was not computed or does not exist is None.

    Parameters
    ----------
    image_id : int
        Id within the store.
    image_key : str or None
        sha256 of the decoded pixels.
    split, source, status : str
        Part of the data set, where it came from, and ``ok`` or what is wrong with it.
    true_class, predicted_class : int or None
        Class indices.
    confidence, true_score : float or None
        Softmax scores of the predicted and of the true class.
    margin : float or None
        Best score minus the second best.
    entropy : float or None
        Of the scores, in nats.
    is_correct : bool or None
        Whether the predicted is the true class.
    message : str or None
        Why it could not be read.
    """

    image_id: int
    image_key: str | None
    split: str
    source: str
    status: str
    true_class: int | None
    predicted_class: int | None
    confidence: float | None
    true_score: float | None
    margin: float | None
    entropy: float | None
    is_correct: bool | None
    message: str | None


def image_row(store: Store, image_id: int) -> ImageRow:
    """Read one image.

    Parameters
    ----------
    store : Store
        Opened store.
    image_id : int
        Id.

    Returns
    -------
    ImageRow
        Unreadable images have a row too.

    Raises
    ------
    ImageNotFoundError
        When there is no such image.
    """
    return ImageRow(
        **_one(
            store,
            "SELECT i.image_id, i.image_key, i.split, i.source, i.true_class, i.message, "
            "CASE WHEN i.status = 'ok' AND p.status <> 'ok' THEN p.status ELSE i.status END "
            "AS status, p.predicted_class, p.confidence, p.true_score, p.margin, p.entropy, "
            "p.is_correct FROM images i LEFT JOIN predictions p USING (image_id) "
            "WHERE image_id = ?",
            image_id,
        )
    )


def image_bytes(store: Store, image_id: int) -> bytes:
    """Read the image file of one image.

    Parameters
    ----------
    store : Store
        Opened store.
    image_id : int
        Id.

    Returns
    -------
    bytes
        As it was found, or losslessly encoded at input size; not decoded, not to be trusted.

    Raises
    ------
    ImageNotFoundError
        When there is no such image, or the store keeps only where it lay.
    """
    row = _one(store, "SELECT encoded, status, source FROM images WHERE image_id = ?", image_id)
    if row["encoded"] is None:
        msg = f"image {image_id} is not kept in {store.path} ({row['status']}: {row['source']})"
        raise ImageNotFoundError(msg)
    return bytes(row["encoded"])


def scores_of(store: Store, image_id: int) -> NDArray[np.float32]:
    """Read the scores of one image.

    Parameters
    ----------
    store : Store
        Opened store.
    image_id : int
        Id.

    Returns
    -------
    ndarray of shape (n_classes,), float32
        Softmax probabilities.

    Raises
    ------
    ImageNotFoundError
        When the image has no prediction.
    """
    row = _one(store, "SELECT * EXCLUDE (image_id) FROM scores WHERE image_id = ?", image_id)
    return np.array([np.nan if v is None else v for v in row.values()], dtype=np.float32)


def _one(store: Store, query: str, image_id: int) -> dict[str, Any]:
    rows = store.arrow(query, int(image_id)).to_pylist()
    if not rows:
        msg = f"there is no image {image_id} in {store.path}"
        raise ImageNotFoundError(msg)
    found: dict[str, Any] = rows[0]
    return found


LABELS_AT_ONCE = 20_000
"""Images whose labels are read by one query of an export."""

_BYTES_AT_ONCE = 16_000_000
_ROW_GROUP = 65_536


@dataclass(frozen=True, kw_only=True)
class EncodedImage:
    """The file of one image; ``encoded`` is None where the store does not keep it."""

    image_id: int
    image_key: str | None
    encoded: bytes | None


class ByteQueue(io.RawIOBase):
    """A file to write to whose bytes are taken away piece by piece; it cannot be sought in.

    Its length is that of what was written and not taken yet.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Keep ``data`` until it is taken."""
        piece = bytes(data)
        self._pieces.append(piece)
        self._waiting += len(piece)
        return len(piece)

    def take(self) -> bytes:
        """Return what was written since the last time."""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        return taken


def image_labels(store: Store, image_ids: NDArray[np.integer]) -> pa.Table:
    """Read what is said of some images, with the names of their classes.

    Parameters
    ----------
    store : Store
        Opened store.
    image_ids : ndarray of int
        Ids in any order; those that the store does not hold are left out.

    Returns
    -------
    pyarrow.Table
        image_id (int32), image_key, split, true_class and predicted_class (names, null where not
        known), confidence (float32, in [0, 1]), is_correct (null without a label), by image_id.
    """
    ids = np.unique(np.asarray(image_ids, dtype=np.int32))
    low, high = (int(ids[0]), int(ids[-1])) if len(ids) else (0, -1)
    return store.arrow(
        "SELECT i.image_id, i.image_key, i.split, t.class_name AS true_class, "
        "c.class_name AS predicted_class, p.confidence, "
        "CASE WHEN i.true_class IS NULL THEN NULL ELSE p.is_correct END AS is_correct "
        "FROM images i LEFT JOIN predictions p USING (image_id) "
        "LEFT JOIN classes t ON t.class_index = i.true_class "
        "LEFT JOIN classes c ON c.class_index = p.predicted_class "
        # The bounds let whole row groups be passed over.
        "WHERE i.image_id BETWEEN ? AND ? AND i.image_id IN (SELECT unnest(?::INTEGER[])) "
        "ORDER BY i.image_id",
        low,
        high,
        ids.tolist(),
    )


def bytes_per_image(store: Store) -> int | None:
    """Return about how many bytes the file of an image has; None where the store keeps none."""
    return remember(store, "bytes per image", lambda: _mean_bytes(store))


def _mean_bytes(store: Store) -> int | None:
    parts = store.entry("images").parts
    rows = sum(part.rows for part in parts)
    kept = store.arrow("SELECT 1 AS kept FROM images WHERE encoded IS NOT NULL LIMIT 1")
    if not rows or not len(kept):
        return None
    return max(1, sum(part.bytes for part in parts) // rows)


def encoded_images(store: Store, image_ids: NDArray[np.integer]) -> Iterator[EncodedImage]:
    """Read the files of some images, a few megabytes at a time.

    Parameters
    ----------
    store : Store
        Opened store.
    image_ids : ndarray of int
        Ids in any order; those that the store does not hold are left out.

    Yields
    ------
    EncodedImage
        By ascending id; not decoded, not to be trusted.
    """
    ids = np.unique(np.asarray(image_ids, dtype=np.int32))
    at_once = int(np.clip(_BYTES_AT_ONCE // (bytes_per_image(store) or 1), 1, 512))
    for first in range(0, len(ids), at_once):
        some = ids[first : first + at_once]
        rows = store.arrow(
            "SELECT image_id, image_key, encoded FROM images WHERE image_id BETWEEN ? AND ? "
            "AND image_id IN (SELECT unnest(?::INTEGER[])) ORDER BY image_id",
            int(some[0]),
            int(some[-1]),
            some.tolist(),
        )
        for row in rows.to_pylist():
            yield EncodedImage(**row)


def parquet_pieces(tables: Iterable[pa.Table], metadata: Mapping[str, str]) -> Iterator[bytes]:
    """Write tables of one schema as one Parquet file, handed over as it grows.

    Parameters
    ----------
    tables : iterable of pyarrow.Table
        At least one.
    metadata : mapping of str to str
        Goes into the footer of the file.

    Yields
    ------
    bytes
        Consecutive pieces of the file.
    """
    queue = ByteQueue()
    writer: pq.ParquetWriter | None = None
    for rows in tables:
        table = rows.replace_schema_metadata(dict(metadata))
        if writer is None:
            writer = pq.ParquetWriter(
                pa.PythonFile(queue, mode="w"), table.schema, compression="zstd"
            )
        writer.write_table(table, row_group_size=_ROW_GROUP)
        yield queue.take()
    if writer is not None:
        writer.close()
        yield queue.take()
