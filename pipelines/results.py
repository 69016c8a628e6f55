"""Turn what a network said about some images into rows; pure functions of arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from feature_store.tables import schema

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What follows from the logits of n images.

    Parameters
    ----------
    is_finite : ndarray of shape (n,), bool
        Whether every logit is a finite number; where not, nothing below means anything.
    scores : ndarray of shape (n, classes), float32, in [0, 1]
        Softmax of the logits.
    predicted : ndarray of shape (n,), int64
        Class of the highest score, the lowest of equal ones.
    confidence : ndarray of shape (n,), float32, in [0, 1]
        Its score.
    """

    is_finite: NDArray[np.bool_]
    scores: Floats
    predicted: Integers
    confidence: Floats

    @classmethod
    def of(cls, logits: Floats) -> Prediction:
        """Take the softmax of logits of shape (n, classes)."""
        is_finite: NDArray[np.bool_] = np.asarray(np.isfinite(logits).all(axis=1))
        exact = np.where(is_finite[:, None], logits, 0).astype(np.float64)
        exact = np.exp(exact - exact.max(axis=1, keepdims=True))
        scores = (exact / exact.sum(axis=1, keepdims=True)).astype(np.float32)
        # Of the logits, not of the scores: two logits may round to the same score.
        predicted = np.where(is_finite[:, None], logits, 0).argmax(axis=1)
        confidence = scores[np.arange(len(scores)), predicted]
        return cls(is_finite=is_finite, scores=scores, predicted=predicted, confidence=confidence)

    def score_of(self, classes: Integers) -> Floats:
        """Return the score of one class an image; 0 where the class is -1."""
        picked = self.scores[np.arange(len(self.scores)), np.maximum(classes, 0)]
        return np.where(classes >= 0, picked, np.float32(0))


def prediction_table(
    image_ids: NDArray[np.int32], labels: Integers, prediction: Prediction
) -> pa.Table:
    """Return rows of ``predictions``.

    Parameters
    ----------
    image_ids : ndarray of shape (n,), int32
    labels : ndarray of shape (n,), int64
        True classes; -1 where there is none.
    prediction : Prediction
        Of the same images.

    Returns
    -------
    pyarrow.Table
        In the order of the images.
    """
    scores = prediction.scores.astype(np.float64)
    best = np.partition(scores, -2, axis=1)[:, -2:]
    logs = np.log(np.where(scores > 0, scores, 1))
    true_score = prediction.score_of(labels)
    # The smallest float64 keeps the loss of a score that rounds to nothing finite.
    loss = -np.log(np.maximum(true_score.astype(np.float64), np.finfo(np.float64).tiny))
    bad = ~prediction.is_finite
    unknown = bad | (labels < 0)
    columns = {
        "image_id": pa.array(image_ids),
        "status": pa.array(np.where(bad, "not_finite", "ok")),
        "predicted_class": pa.array(prediction.predicted.astype(np.int16), mask=bad),
        "confidence": pa.array(prediction.confidence, mask=bad),
        "true_score": pa.array(true_score, mask=unknown),
        "margin": pa.array((best[:, 1] - best[:, 0]).astype(np.float32), mask=bad),
        "entropy": pa.array(
            np.maximum(-(scores * logs).sum(axis=1), 0).astype(np.float32), mask=bad
        ),
        "loss": pa.array(np.maximum(loss, 0).astype(np.float32), mask=unknown),
        "is_correct": pa.array(prediction.predicted == labels, mask=unknown),
    }
    return pa.table(columns, schema=schema("predictions"))


def wide_table(
    name: str,
    image_ids: NDArray[np.int32],
    values: NDArray[np.floating],
    *,
    is_usable: NDArray[np.bool_] | None = None,
) -> pa.Table:
    """Return rows of a table with one column for every filter, class or dimension.

    Parameters
    ----------
    name : str
        ``scores``, ``embeddings`` or ``activations/<statistic>/<layer_index>``.
    image_ids : ndarray of shape (n,), int32
    values : ndarray of shape (n, width), float16 or float32
    is_usable : ndarray of shape (n,), bool, optional
        Rows that are False become nulls.

    Returns
    -------
    pyarrow.Table
        In the order of the images.
    """
    declared = schema(name, values.shape[1], pa.from_numpy_dtype(values.dtype))
    mask = None if is_usable is None or is_usable.all() else ~is_usable
    # Columns of a transposed copy lie in one piece of memory each: Arrow takes them as they are.
    columns = np.ascontiguousarray(values.T)
    arrays = [pa.array(image_ids), *(pa.array(column, mask=mask) for column in columns)]
    return pa.Table.from_arrays(arrays, schema=declared)


def to_half(values: Floats) -> NDArray[np.floating]:
    """Round to float16; values that it cannot hold stay in float32."""
    # torch rounds like numpy, to the nearest and to even, with the processor's own instruction.
    half: NDArray[np.floating] = torch.from_numpy(values).to(torch.float16).numpy()
    overflows = np.isinf(half).any() and not np.array_equal(np.isinf(half), np.isinf(values))
    return values if overflows else half
