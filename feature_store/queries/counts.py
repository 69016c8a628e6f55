"""Counts over selections, splits and classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from feature_store.patterns.statistics import wilson_interval
from feature_store.queries.points import UNKNOWN, ImageTable, image_table

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
    ids = np.asarray(image_ids, dtype=np.int64)
    is_chosen = np.zeros(int(images.image_id.max(initial=-1)) + 1, dtype=bool)
    is_chosen[ids[(ids >= 0) & (ids < len(is_chosen))]] = True
    return np.flatnonzero(is_chosen[images.image_id])


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
    images = image_table(store)
    is_labelled = images.true_class != UNKNOWN
    found = []
    for code, split in enumerate(images.splits):
        is_here = images.split == code
        n_labelled = int(np.count_nonzero(is_here & is_labelled))
        n_correct = int(np.count_nonzero(is_here & images.is_correct))
        low, high = wilson_interval(n_correct, n_labelled)
        found.append(
            Accuracy(
                split=split,
                n=int(np.count_nonzero(is_here)),
                n_labelled=n_labelled,
                n_correct=n_correct,
                accuracy=n_correct / n_labelled if n_labelled else None,
                low=float(low),
                high=float(high),
            )
        )
    return tuple(found)


def confusion_matrix(
    store: Store, *, split: str | None = None, image_ids: Ids | None = None
) -> NDArray[np.int64]:
    """Count images by true and predicted class.

    Parameters
    ----------
    store : Store
        Opened store.
    split : str, optional
        Part of the data set; all by default.
    image_ids : sequence of int, optional
        A selection; all images by default.

    Returns
    -------
    ndarray of shape (n_classes, n_classes), int64
        Row: true class; column: predicted class. Images without a label are left out.
    """
    images = image_table(store)
    is_counted = images.true_class != UNKNOWN
    if image_ids is not None:
        is_chosen = np.zeros(len(is_counted), dtype=bool)
        is_chosen[_rows(images, image_ids)] = True
        is_counted &= is_chosen
    if split is not None:
        is_counted &= np.array([name == split for name in images.splits], bool)[images.split]
    n_classes = len(store.class_names)
    pairs = images.true_class[is_counted].astype(np.int64) * n_classes
    pairs += images.predicted_class[is_counted]
    counts = np.bincount(pairs, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes)
