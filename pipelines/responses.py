"""From the logits of a sweep to the tables of the stage ``simulate``, one magnitude at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_store.tables import schema
from pipelines.packing import unpack
from pipelines.results import Prediction
from vatun.specs import find_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from feature_store import Generation, Shards
    from pipelines.project import Sweep

ALL_SCORES = 50
"""Up to so many classes the scores of all are kept, beyond it those of the best five."""

BINS = 15
"""Bins of confidence, of equal width."""


@dataclass(frozen=True, kw_only=True)
class Responses:
    """How images respond to perturbations; reads finished shards.

    Parameters
    ----------
    ids : ndarray of shape (n,), int32
        Ascending.
    labels : ndarray of shape (n,), int64
        True classes; -1 where there is none.
    split : str
        Their split.
    classes : int
        Outputs of the network.
    shards : Shards
        Logits by perturbation and range of images.
    ranges : list of str
        Names of the ranges, in the order of the ids.
    """

    ids: NDArray[np.int32]
    labels: NDArray[np.int64]
    split: str
    classes: int
    shards: Shards
    ranges: list[str]

    def write(
        self, generation: Generation, sweeps: tuple[Sweep, ...], *, lineage: dict[str, str]
    ) -> None:
        """Write the four tables, perturbation by perturbation."""
        original = self._prediction("identity", 0)
        simulation, calibration, flips = [], [], []
        with generation.table("sweeps", lineage=lineage) as out:
            for sweep in sorted(sweeps, key=lambda sweep: sweep.name.encode()):
                predicted = []
                sums = []
                for magnitude, prediction in self._walk(sweep, original):
                    out.append(self._rows(sweep.name, magnitude, prediction, original))
                    calibration.append(self._calibration(sweep.name, magnitude, prediction))
                    sums.append(ClassSums.of(prediction, self.labels))
                    predicted.append(np.where(prediction.is_finite, prediction.predicted, -1))
                simulation.append(self._simulation(sweep, sums))
                flips.append(self._flips(sweep, np.stack(predicted)))
        generation.write("smallest_flips", pa.concat_tables(flips), lineage=lineage)
        generation.write("simulation", pa.concat_tables(simulation), lineage=lineage)
        generation.write("calibration", pa.concat_tables(calibration), lineage=lineage)

    def _walk(self, sweep: Sweep, original: Prediction) -> Iterator[tuple[float, Prediction]]:
        unchanged = find_spec(sweep.name).identity
        place = 0
        for magnitude in sweep.grid:
            if magnitude == unchanged:
                # Computed once, and the same for every perturbation.
                yield magnitude, original
            else:
                yield magnitude, self._prediction(sweep.name, place)
                place += 1

    def _prediction(self, name: str, place: int) -> Prediction:
        parts = []
        for part in self.ranges:
            table = self.shards.read(f"{name}-{part}", "logits")
            parts.append(unpack(table[f"{place:03d}"], self.classes))
        return Prediction.of(np.concatenate(parts).astype(np.float32))

    def _rows(
        self, name: str, magnitude: float, prediction: Prediction, original: Prediction
    ) -> pa.Table:
        count = len(self.ids)
        bad = ~prediction.is_finite
        columns = {
            "image_id": pa.array(self.ids),
            "perturbation": pa.array([name] * count),
            "magnitude": np.full(count, magnitude),
            "predicted_class": pa.array(prediction.predicted.astype(np.int16), mask=bad),
            "confidence": pa.array(prediction.confidence, mask=bad),
            "true_score": pa.array(prediction.score_of(self.labels), mask=bad | (self.labels < 0)),
            "original_score": pa.array(
                prediction.score_of(original.predicted), mask=bad | ~original.is_finite
            ),
            "scores": _lists(None, bad, pa.float32()),
            "top_classes": _lists(None, bad, pa.int16()),
            "top_scores": _lists(None, bad, pa.float32()),
        }
        if self.classes <= ALL_SCORES:
            columns["scores"] = _lists(prediction.scores, bad, pa.float32())
        else:
            best = np.argsort(-prediction.scores, axis=1, kind="stable")[:, :5]
            columns["top_classes"] = _lists(best.astype(np.int16), bad, pa.int16())
            picked = np.take_along_axis(prediction.scores, best, axis=1)
            columns["top_scores"] = _lists(picked, bad, pa.float32())
        return pa.table(columns, schema=schema("sweeps"))

    def _calibration(self, name: str, magnitude: float, prediction: Prediction) -> pa.Table:
        known = prediction.is_finite & (self.labels >= 0)
        confidence = prediction.confidence[known].astype(np.float64)
        is_right = (prediction.predicted == self.labels)[known]
        bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
        count = np.bincount(bins, minlength=BINS)
        divisor = np.maximum(count, 1)
        mean = np.bincount(bins, confidence, BINS) / divisor
        accuracy = np.bincount(bins, is_right, BINS) / divisor
        empty = count == 0
        columns = {
            "perturbation": [name] * BINS,
            "magnitude": np.full(BINS, magnitude),
            "bin": np.arange(BINS, dtype=np.int16),
            "n": count.astype(np.int32),
            "mean_confidence": pa.array(mean.astype(np.float32), mask=empty),
            "accuracy": pa.array(accuracy.astype(np.float32), mask=empty),
        }
        return pa.table(columns, schema=schema("calibration"))

    def _simulation(self, sweep: Sweep, sums: list[ClassSums]) -> pa.Table:
        """Return rows by true class, magnitude and output class."""
        parts = []
        for true_class in np.unique(self.labels[self.labels >= 0]):
            for magnitude, total in zip(sweep.grid, sums, strict=True):
                parts.append(self._class_rows(sweep.name, magnitude, int(true_class), total))
        return pa.concat_tables(parts) if parts else schema("simulation").empty_table()

    def _class_rows(
        self, name: str, magnitude: float, true_class: int, sums: ClassSums
    ) -> pa.Table:
        size, count = self.classes, int(sums.count[true_class])
        mean = sums.total[true_class] / max(count, 1)
        spread = sums.square[true_class] - count * mean**2
        deviation = np.sqrt(np.maximum(spread, 0) / max(count - 1, 1))
        none = np.full(size, count == 0)
        accuracy = np.full(size, sums.right[true_class] / max(count, 1), dtype=np.float32)
        columns = {
            "split": [self.split] * size,
            "true_class": np.full(size, true_class, dtype=np.int16),
            "perturbation": [name] * size,
            "magnitude": np.full(size, magnitude),
            "output_class": np.arange(size, dtype=np.int16),
            "n": np.full(size, count, dtype=np.int32),
            "accuracy": pa.array(accuracy, mask=none),
            "mean_score": pa.array(np.clip(mean, 0, 1).astype(np.float32), mask=none),
            "standard_deviation": pa.array(
                deviation.astype(np.float32), mask=np.full(size, count < 2)
            ),
        }
        return pa.table(columns, schema=schema("simulation"))

    def _flips(self, sweep: Sweep, predicted: NDArray[np.int64]) -> pa.Table:
        """Return the first magnitude, outwards from the identity, with another prediction."""
        grid = np.array(sweep.grid)
        start = sweep.grid.index(find_spec(sweep.name).identity)
        parts = []
        for direction, places in (
            (-1, range(start - 1, -1, -1)),
            (1, range(start + 1, len(grid))),
        ):
            if not places:
                continue
            others = predicted[list(places)]
            is_other = (others != predicted[start]) & (others >= 0) & (predicted[start] >= 0)
            first = is_other.argmax(axis=0)
            found = is_other.any(axis=0)
            magnitudes = grid[np.array(places)[first]]
            flipped = others[first, np.arange(others.shape[1])]
            parts.append((direction, magnitudes, flipped.astype(np.int16), ~found))
        if not parts:
            return schema("smallest_flips").empty_table()
        count = len(self.ids)
        order = np.arange(count * len(parts)).reshape(len(parts), count).T.ravel()
        mask = np.concatenate([part[3] for part in parts])[order]
        columns = {
            "image_id": np.repeat(self.ids, len(parts)),
            "perturbation": [sweep.name] * order.size,
            "direction": np.tile(np.array([part[0] for part in parts], dtype=np.int8), count),
            "magnitude": pa.array(np.concatenate([part[1] for part in parts])[order], mask=mask),
            "flipped_class": pa.array(
                np.concatenate([part[2] for part in parts])[order], mask=mask
            ),
        }
        return pa.table(columns, schema=schema("smallest_flips"))


@dataclass(frozen=True, kw_only=True)
class ClassSums:
    """Sums of scores over the images of every true class.

    Parameters
    ----------
    count, right : ndarray of shape (classes,)
        Images, and those that are classified right.
    total, square : ndarray of shape (classes, classes), float64
        Sum of the scores and of their squares, by true and output class.
    """

    count: NDArray[np.int64]
    right: NDArray[np.float64]
    total: NDArray[np.float64]
    square: NDArray[np.float64]

    @classmethod
    def of(cls, prediction: Prediction, labels: NDArray[np.int64]) -> ClassSums:
        """Add up the images that have a label and finite scores."""
        known = prediction.is_finite & (labels >= 0)
        scores, labels = prediction.scores[known].astype(np.float64), labels[known]
        size = scores.shape[1]
        total, square = np.zeros((size, size)), np.zeros((size, size))
        np.add.at(total, labels, scores)
        np.add.at(square, labels, scores**2)
        is_right = prediction.predicted[known] == labels
        return cls(
            count=np.bincount(labels, minlength=size),
            right=np.bincount(labels, is_right, size).astype(np.float64),
            total=total,
            square=square,
        )


def _lists(
    values: NDArray[np.generic] | None, bad: NDArray[np.bool_], kind: pa.DataType
) -> pa.Array:
    """Return one list a row; null where the row is bad, or everywhere without values."""
    if values is None:
        return pa.nulls(len(bad), pa.list_(kind))
    rows, width = values.shape
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
    flat = pa.array(np.ascontiguousarray(values).ravel(), kind)
    return pa.ListArray.from_arrays(offsets, flat, mask=pa.array(bad) if bad.any() else None)
