"""Counts over selections, splits and classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from feature_store.patterns.statistics import wilson_interval
from feature_store.queries.points import PREDICTED, UNKNOWN, ImageTable, image_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from feature_store.store import Store

    Ids = NDArray[np.integer] | Sequence[int]


@dataclass(frozen=True, kw_only=True, eq=False)
class SelectionSummary:
    """Counts over a selection.

    Parameters
    ----------
    n, n_labelled, n_wrong : int
        Images, those with a label, and those predicted wrong.
    true_counts, predicted_counts : ndarray of shape (n_classes,), int64
        Images by class.
    """

    n: int
    n_labelled: int
    n_wrong: int
    true_counts: NDArray[np.int64]
    predicted_counts: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Share of the labelled images of a split that are predicted right, with its 95 % interval."""

    split: str
    n: int
    n_labelled: int
    n_correct: int
    accuracy: float | None
    low: float
    high: float


def selection_summary(store: Store, image_ids: Ids | None = None) -> SelectionSummary:
    """Count a selection.

    Parameters
    ----------
    store : Store
        Opened store.
    image_ids : sequence of int, optional
        The selection; all images by default.

    Returns
    -------
    SelectionSummary
        Over the images that have a prediction.
    """
    images = image_table(store)
    rows = _rows(images, image_ids)
    true, predicted = images.true_class[rows], images.predicted_class[rows]
    is_labelled = true != UNKNOWN
    n_classes = len(store.class_names)
    return SelectionSummary(
        n=len(rows),
        n_labelled=int(np.count_nonzero(is_labelled)),
        n_wrong=int(np.count_nonzero(is_labelled & (true != predicted))),
        true_counts=np.bincount(true[is_labelled], minlength=n_classes),
        predicted_counts=np.bincount(predicted, minlength=n_classes),
    )


def _rows(images: ImageTable, image_ids: Ids | None) -> NDArray[np.int64]:
    """Return the rows of a selection, ascending; ids without a prediction are left out."""
    if image_ids is None:
        return np.arange(len(images.image_id))
    ids = np.unique(np.asarray(image_ids, dtype=np.int64))
    return np.flatnonzero(np.isin(images.image_id, ids, assume_unique=True))


def film_strip(
    store: Store, image_ids: Ids | None = None, *, limit: int = 50, offset: int = 0
) -> NDArray[np.int32]:
    """Return images of a selection, the least confident first.

    Parameters
    ----------
    store : Store
        Opened store.
    image_ids : sequence of int, optional
        The selection; all images by default.
    limit, offset : int
        Most ids, and ids to skip.

    Returns
    -------
    ndarray of int32
        Image ids; equal confidence goes by id.
    """
    images = image_table(store)
    rows = _rows(images, image_ids)
    order = rows[np.argsort(images.confidence[rows], kind="stable")]
    start = max(offset, 0)
    return images.image_id[order[start : start + max(limit, 0)]]


def accuracy_by_split(store: Store) -> tuple[Accuracy, ...]:
    """Return the accuracy of every split, by name of the split.

    Parameters
    ----------
    store : Store
        Opened store.

    Returns
    -------
    tuple of Accuracy
        With 95 % Wilson intervals; accuracy is None where no image has a label.
    """
    rows = store.arrow(
        "SELECT i.split, count(*) AS n, count(p.is_correct) AS n_labelled, "
        f"count(*) FILTER (WHERE p.is_correct) AS n_correct FROM {PREDICTED} "
        "GROUP BY i.split ORDER BY i.split"
    ).to_pylist()
    found = []
    for row in rows:
        low, high = wilson_interval(row["n_correct"], row["n_labelled"])
        share = row["n_correct"] / row["n_labelled"] if row["n_labelled"] else None
        found.append(Accuracy(**row, accuracy=share, low=float(low), high=float(high)))
    return tuple(found)


def confusion_matrix(store: Store, *, split: str | None = None) -> NDArray[np.int64]:
    """Count images by true and predicted class.

    Parameters
    ----------
    store : Store
        Opened store.
    split : str, optional
        Part of the data set; all by default.

    Returns
    -------
    ndarray of shape (n_classes, n_classes), int64
        Row: true class; column: predicted class. Images without a label are left out.
    """
    chosen = "" if split is None else "AND i.split = ?"
    rows = store.arrow(
        f"SELECT i.true_class::INTEGER AS t, p.predicted_class::INTEGER AS o, count(*) AS n "
        f"FROM {PREDICTED} AND i.true_class IS NOT NULL {chosen} GROUP BY ALL",
        *([] if split is None else [split]),
    )
    n_classes = len(store.class_names)
    matrix = np.zeros((n_classes, n_classes), dtype=np.int64)
    matrix[rows["t"].to_numpy(), rows["o"].to_numpy()] = rows["n"].to_numpy()
    return matrix
