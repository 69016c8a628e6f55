"""The curve of all images together, worked out from the stored rows of the classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from feature_store.patterns.memory import remember
from feature_store.patterns.statistics import Z_95, wilson_interval
from feature_store.queries.falls import class_curves

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from feature_store.store import Store

# The sums of a class at a magnitude follow from its row: the standard deviation divides by n - 1
# and is null for a single image, which has no spread.
_SUMS = """
SELECT magnitude, sum(n)::DOUBLE AS n, sum(round(n::DOUBLE * accuracy)) AS n_right,
       sum(n * mean_score::DOUBLE) AS total,
       sum((n - 1) * coalesce(standard_deviation, 0)::DOUBLE ** 2
           + n * mean_score::DOUBLE ** 2) AS square
FROM simulation
WHERE perturbation = ? AND split = ? AND output_class = true_class AND n > 0
GROUP BY magnitude ORDER BY magnitude
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class AllImages:
    """One perturbation: all swept images that have a label, at each of M magnitudes.

    Parameters
    ----------
    magnitudes : ndarray of shape (M,), float64
        Ascending, in the unit of the perturbation.
    n : ndarray of shape (M,), int64
        Images; those whose scores are not finite there are left out, as they are of the classes.
    value, low, high : dict of str to ndarray of shape (M,), float64
        By measure: ``"accuracy"`` with its 95 % Wilson interval, ``"mean_score"`` (of the true
        class) with the normal band, cut to [0, 1]. Where every class was swept with equally many
        images they weigh alike, however common they are in the data set.
    """

    magnitudes: NDArray[np.float64]
    n: NDArray[np.int64]
    value: dict[str, NDArray[np.float64]]
    low: dict[str, NDArray[np.float64]]
    high: dict[str, NDArray[np.float64]]


def all_images(store: Store, perturbation: str, *, split: str | None = None) -> AllImages:
    """Pool the classes of one perturbation; exact, as no image is looked at twice or left out.

    The number that is right, the sum of the scores and the sum of their squares are additive over
    classes, and n, accuracy, mean and standard deviation give them back. So the band of the mean
    score is that of the images themselves, spread between classes included.

    Parameters
    ----------
    store : Store
        Opened store.
    perturbation : str
        Name of the perturbation.
    split : str, optional
        Part of the data set; may be left out when there is one.

    Returns
    -------
    AllImages
        Asked once, then shared by all callers; not to be written.

    Raises
    ------
    TableMissingError
        When nothing was simulated yet, naming the command.
    QueryError
        When this perturbation or split was not simulated, naming those that were.
    """
    part = class_curves(store, perturbation, split=split).split
    return remember(
        store, ("all images", perturbation, part), lambda: _pooled(store, perturbation, part)
    )


def _pooled(store: Store, perturbation: str, split: str) -> AllImages:
    rows = store.arrow(_SUMS, perturbation, split)
    magnitudes, n, n_right, total, square = (
        np.asarray(rows[name], dtype=np.float64)
        for name in ("magnitude", "n", "n_right", "total", "square")
    )
    score = total / n
    low, high = wilson_interval(n_right, n)
    variance = np.maximum(square - n * score**2, 0.0) / np.maximum(n - 1, 1)
    # The spread of one image is not known, so that it has no band.
    half = np.where(n > 1, Z_95 * np.sqrt(variance / n), np.nan)
    return AllImages(
        magnitudes=magnitudes,
        n=n.astype(np.int64),
        value={"accuracy": n_right / n, "mean_score": score},
        low={"accuracy": low, "mean_score": np.clip(score - half, 0.0, 1.0)},
        high={"accuracy": high, "mean_score": np.clip(score + half, 0.0, 1.0)},
    )
