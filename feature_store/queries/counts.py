"""Counts over selections, splits and classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from feature_store.patterns.columns import numbers
from feature_store.patterns.statistics import wilson_interval
from feature_store.queries.points import PREDICTED, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from feature_store.store import Store

    Ids = NDArray[np.integer] | Sequence[int]

_WRONG = "count(*) FILTER (WHERE NOT p.is_correct)"


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
    chosen = "" if image_ids is None else "AND image_id IN (SELECT unnest(?::INTEGER[]))"
    rows = store.arrow(
        f"SELECT coalesce(i.true_class, {UNKNOWN})::INTEGER AS true_class, "
        f"p.predicted_class::INTEGER AS predicted_class, count(*) AS n, {_WRONG} AS wrong, "
        f"count(i.true_class) AS labelled FROM {PREDICTED} {chosen} GROUP BY ALL",
        *([] if image_ids is None else [_plain(image_ids)]),
    )
    n = numbers(rows["n"], np.int64)
    true = numbers(rows["true_class"], np.int64)
    predicted = numbers(rows["predicted_class"], np.int64)
    n_classes = len(store.class_names)
    is_labelled = true >= 0

    def by_class(codes: NDArray[np.int64], weights: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.bincount(codes, weights=weights, minlength=n_classes).astype(np.int64)

    return SelectionSummary(
        n=int(n.sum()),
        n_labelled=int(numbers(rows["labelled"], np.int64).sum()),
        n_wrong=int(numbers(rows["wrong"], np.int64).sum()),
        true_counts=by_class(true[is_labelled], n[is_labelled]),
        predicted_counts=by_class(predicted, n),
    )


def _plain(image_ids: Ids) -> list[int]:
    ids: list[int] = np.asarray(image_ids, dtype=np.int64).tolist()
    return ids


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
    chosen = "" if image_ids is None else "AND image_id IN (SELECT unnest(?::INTEGER[]))"
    rows = store.arrow(
        f"SELECT image_id FROM {PREDICTED} {chosen} ORDER BY p.confidence, image_id "
        f"LIMIT {max(int(limit), 0)} OFFSET {max(int(offset), 0)}",
        *([] if image_ids is None else [_plain(image_ids)]),
    )
    return np.asarray(rows["image_id"].to_numpy(), dtype=np.int32)


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
