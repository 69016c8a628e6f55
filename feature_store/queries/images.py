"""What the store knows of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_store.errors import ImageNotFoundError

if TYPE_CHECKING:
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
