"""Sweeps of a generated store, and what the stage ``simulate`` counts from them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

PERTURBATIONS: tuple[Mapping[str, Any], ...] = (
    {
        "name": "brightness", "label": "Brightness", "unit": "factor",
        "low": 0.0, "identity": 1.0, "high": 2.0, "grid": [0.0, 0.5, 1.0, 1.5, 2.0],
    },
    {
        "name": "rotation", "label": "Rotation", "unit": "degrees",
        "low": -180.0, "identity": 0.0, "high": 180.0,
        "grid": [-180.0, -90.0, 0.0, 90.0, 180.0], "rotation_fill": "black",
    },
)  # fmt: skip
"""What is swept, as the manifest lists it."""

BINS = 15
"""Bins of confidence."""

_KEPT = 5
_LISTED = 50
_CLASSES = 50


@dataclass(frozen=True, kw_only=True, eq=False)
class Swept:
    """Tables by name, each in pieces, and how many images were swept in all and of a class."""

    tables: Mapping[str, Iterator[pa.Table]]
    n: int
    each: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Answers:
    """What is predicted of each swept image (n,) at one magnitude, and all scores (n, classes)."""

    predicted: NDArray[np.int16]
    scores: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sweep:
    """One perturbation over the swept images, which ascend by class, then by id.

    ``flips`` (n, 2) holds the steps from the identity to the flip below and above it; a number
    beyond the grid means none.
    """

    name: str
    grid: tuple[float, ...]
    identity: int
    ids: NDArray[np.int32]
    true: NDArray[np.int16]
    original: NDArray[np.int16]
    flipped: NDArray[np.int16]
    flips: NDArray[np.int64]
    confidence: NDArray[np.float32]
    n_classes: int

    def answers(self, step: int) -> _Answers:
        """Return what is predicted at a magnitude of the grid."""
        away = step - self.identity
        side = self.flips[:, 0 if away < 0 else 1]
        predicted = np.where((abs(away) >= side) & (away != 0), self.flipped, self.original)
        confidence = self.confidence / (1 + 0.1 * abs(away))
        rest = (1 - confidence) / (self.n_classes - 1)
        scores = np.repeat(rest[:, None], self.n_classes, axis=1)
        scores[np.arange(len(predicted)), predicted] = confidence
        return _Answers(predicted=predicted.astype(np.int16), scores=scores.astype(np.float32))


def sweep_tables(
    true: NDArray[np.int16],
    predicted: NDArray[np.int16],
    n_classes: int,
    *,
    split: str,
    rng: np.random.Generator,
) -> Swept:
    """Sweep some images of every class.

    Parameters
    ----------
    true, predicted : ndarray of int16
        Of all images, by id.
    n_classes : int
        Number of classes.
    split : str
        Name of the only split.
    rng : numpy.random.Generator
        Draws the images and what flips them.

    Returns
    -------
    Swept
        ``sweeps``, ``smallest_flips``, ``simulation`` and ``calibration``.
    """
    each = 100 if n_classes <= _LISTED else 20
    order = np.argsort(true, kind="stable")
    starts = np.searchsorted(true[order], np.arange(n_classes + 1))
    groups = [order[low:high] for low, high in pairwise(starts)]
    ids = np.concatenate(
        [np.sort(rng.permutation(group)[:each]) for group in groups if len(group)]
    )
    sweeps = [
        _sweep(entry, ids, true[ids], predicted[ids], n_classes, rng) for entry in PERTURBATIONS
    ]
    return Swept(
        tables={
            "sweeps": (piece for sweep in sweeps for piece in _rows(sweep)),
            "smallest_flips": (_flips(sweep) for sweep in sweeps),
            "simulation": (piece for sweep in sweeps for piece in _simulation(sweep, split)),
            "calibration": (_calibration(sweep) for sweep in sweeps),
        },
        n=len(ids),
        each=each,
    )


def _sweep(
    entry: Mapping[str, Any],
    ids: NDArray[np.int64],
    true: NDArray[np.int16],
    predicted: NDArray[np.int16],
    n_classes: int,
    rng: np.random.Generator,
) -> _Sweep:
    grid = tuple(entry["grid"])
    identity = grid.index(entry["identity"])
    return _Sweep(
        name=str(entry["name"]),
        grid=grid,
        identity=identity,
        ids=ids.astype(np.int32),
        true=true,
        original=predicted,
        flipped=((predicted + rng.integers(1, n_classes, len(ids))) % n_classes).astype(np.int16),
        flips=rng.integers(1, len(grid) - identity + 1, (len(ids), 2)),
        confidence=rng.uniform(0.5, 0.99, len(ids)).astype(np.float32),
        n_classes=n_classes,
    )


def _rows(sweep: _Sweep) -> Iterator[pa.Table]:
    by_id = np.argsort(sweep.ids)
    n = len(by_id)
    at = np.arange(n)
    for step, magnitude in enumerate(sweep.grid):
        answers = sweep.answers(step)
        predicted, scores = answers.predicted[by_id], answers.scores[by_id]
        columns = {
            "image_id": sweep.ids[by_id],
            "perturbation": pa.repeat(sweep.name, n),
            "magnitude": np.full(n, magnitude),
            "predicted_class": predicted,
            "confidence": scores[at, predicted],
            "true_score": scores[at, sweep.true[by_id]],
            "original_score": scores[at, sweep.original[by_id]],
        }
        if sweep.n_classes <= _LISTED:
            columns["scores"] = _lists(scores)
        else:
            best = np.argpartition(-scores, _KEPT, axis=1)[:, :_KEPT]
            values = np.take_along_axis(scores, best, axis=1)
            order = np.argsort(-values, axis=1, kind="stable")
            columns["top_classes"] = _lists(
                np.take_along_axis(best, order, axis=1).astype(np.int16)
            )
            columns["top_scores"] = _lists(np.take_along_axis(values, order, axis=1))
        yield pa.table(columns)


def _lists(values: NDArray[Any]) -> pa.Array:
    """Return the rows of a matrix as lists."""
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(values).ravel()))


def _flips(sweep: _Sweep) -> pa.Table:
    by_id = np.argsort(sweep.ids)
    n = len(by_id)
    steps = sweep.flips[by_id] * np.array([-1, 1]) + sweep.identity
    is_known = (steps >= 0) & (steps < len(sweep.grid))
    magnitudes = np.array(sweep.grid)[np.clip(steps, 0, len(sweep.grid) - 1)].ravel()
    missing = ~is_known.ravel()
    return pa.table(
        {
            "image_id": np.repeat(sweep.ids[by_id], 2),
            "perturbation": pa.repeat(sweep.name, 2 * n),
            "direction": np.tile(np.array([-1, 1], np.int8), n),
            "magnitude": pa.array(magnitudes, mask=missing),
            "flipped_class": pa.array(np.repeat(sweep.flipped[by_id], 2), mask=missing),
        }
    )


def _simulation(sweep: _Sweep, split: str) -> Iterator[pa.Table]:
    """Yield the mean score of every class over the images of each, some classes at a time."""
    known, starts, counts = np.unique(sweep.true, return_index=True, return_counts=True)
    shape = (len(sweep.grid), len(known), sweep.n_classes)
    mean, spread = np.empty(shape, np.float32), np.empty(shape, np.float32)
    accuracy = np.empty(shape[:2], np.float32)
    for step in range(len(sweep.grid)):
        answers = sweep.answers(step)
        scores = answers.scores.astype(np.float64)
        average = np.add.reduceat(scores, starts) / counts[:, None]
        square = np.add.reduceat(scores**2, starts) / counts[:, None]
        mean[step], spread[step] = average, np.sqrt(np.maximum(square - average**2, 0))
        accuracy[step] = np.add.reduceat(answers.predicted == sweep.true, starts) / counts
    inner = len(sweep.grid) * sweep.n_classes
    for first in range(0, len(known), _CLASSES):
        some = slice(first, first + _CLASSES)
        n = len(known[some]) * inner
        yield pa.table(
            {
                "split": pa.repeat(split, n),
                "true_class": np.repeat(known[some], inner),
                "perturbation": pa.repeat(sweep.name, n),
                "magnitude": np.tile(np.repeat(sweep.grid, sweep.n_classes), len(known[some])),
                "output_class": np.tile(
                    np.arange(sweep.n_classes, dtype=np.int16), n // sweep.n_classes
                ),
                "n": np.repeat(counts[some].astype(np.int32), inner),
                "accuracy": np.repeat(accuracy[:, some].T.ravel(), sweep.n_classes),
                "mean_score": mean[:, some].transpose(1, 0, 2).ravel(),
                "standard_deviation": spread[:, some].transpose(1, 0, 2).ravel(),
            }
        )


def _calibration(sweep: _Sweep) -> pa.Table:
    parts = []
    for step, magnitude in enumerate(sweep.grid):
        answers = sweep.answers(step)
        confidence = answers.scores[np.arange(len(sweep.ids)), answers.predicted]
        place = np.minimum((confidence * BINS).astype(int), BINS - 1)
        n = np.bincount(place, minlength=BINS)
        filled = np.maximum(n, 1)
        sums = np.bincount(place, confidence, BINS)
        right = np.bincount(place, answers.predicted == sweep.true, BINS)
        parts.append(
            pa.table(
                {
                    "perturbation": pa.repeat(sweep.name, BINS),
                    "magnitude": np.full(BINS, magnitude),
                    "bin": np.arange(BINS, dtype=np.int16),
                    "n": n.astype(np.int32),
                    "mean_confidence": pa.array((sums / filled).astype(np.float32), mask=n == 0),
                    "accuracy": pa.array((right / filled).astype(np.float32), mask=n == 0),
                }
            )
        )
    return pa.concat_tables(parts)
