"""A small store with every table that the app reads, made up with a fixed seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from feature_store import Store, StoreWriter
from feature_store.patterns.tables import mine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLASSES = ("cat", "dog", "<b>frog</b>")
WIDTHS = (4, 6, 5, 8)
N_IMAGES = 300
MISSING = 7
NOT_FINITE = 11
UNLABELLED = 13


@dataclass(frozen=True, kw_only=True)
class Made:
    """What the store was made from, by image id."""

    store: Store
    true_class: np.ndarray
    predicted_class: np.ndarray
    scores: np.ndarray
    split: np.ndarray
    activations: tuple[np.ndarray, ...]
    paths: np.ndarray
    good: np.ndarray


def _scores(rng: np.random.Generator, true_class: np.ndarray) -> np.ndarray:
    logits = rng.normal(size=(N_IMAGES, len(CLASSES)))
    logits[np.arange(N_IMAGES), true_class] += 1.5
    shares = np.exp(logits)
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def _activations(rng: np.random.Generator, true_class: np.ndarray) -> tuple[np.ndarray, ...]:
    """Deeper layers know more of the class; a tenth of the values of layer 1 are all zero."""
    found = []
    for layer, width in enumerate(WIDTHS):
        values = rng.gamma(2.0, size=(N_IMAGES, width))
        values[np.arange(N_IMAGES), (true_class * 2 + layer) % width] += 1.0 + layer
        values[rng.random((N_IMAGES, width)) < 0.1] = 0.0
        if layer == 1:
            values[rng.random(N_IMAGES) < 0.1] = 0.0
        found.append(values.astype(np.float16))
    return tuple(found)


def _winners(values: np.ndarray) -> np.ndarray:
    return np.where(values.max(axis=1) > 0, values.argmax(axis=1), -1).astype(np.int32)


def _images(made: Made) -> pa.Table:
    ids = np.arange(N_IMAGES, dtype=np.int32)
    status = ["missing" if i == MISSING else "ok" for i in ids]
    return pa.table(
        {
            "image_id": ids,
            "image_key": pa.array([f"{i:064x}" if i != MISSING else None for i in ids]),
            "split": made.split.tolist(),
            "true_class": pa.array(made.true_class.astype(np.int16), mask=ids == UNLABELLED),
            "source": [f"row {i}" for i in ids],
            "encoded": pa.array(
                [None if i == MISSING else f"image {i}".encode() for i in ids], pa.binary()
            ),
            "status": status,
            "message": pa.array(["no such file" if s != "ok" else None for s in status]),
        }
    )


def _predictions(made: Made) -> pa.Table:
    ids = np.flatnonzero(np.arange(N_IMAGES) != MISSING).astype(np.int32)
    is_bad, is_free = ids == NOT_FINITE, ids == UNLABELLED
    scores = made.scores[ids]
    best = np.sort(scores, axis=1)
    true = made.true_class[ids]
    correct = true == made.predicted_class[ids]
    return pa.table(
        {
            "image_id": ids,
            "status": ["not_finite" if bad else "ok" for bad in is_bad],
            "predicted_class": pa.array(made.predicted_class[ids].astype(np.int16), mask=is_bad),
            "confidence": pa.array(best[:, -1], mask=is_bad),
            "true_score": pa.array(scores[np.arange(len(ids)), true], mask=is_bad | is_free),
            "margin": pa.array(best[:, -1] - best[:, -2], mask=is_bad),
            "entropy": pa.array(-(scores * np.log(scores)).sum(axis=1), mask=is_bad),
            "is_correct": pa.array(correct, mask=is_bad | is_free),
        }
    )


def _simulation() -> pa.Table:
    rows = [
        {
            "split": "test",
            "true_class": true,
            "perturbation": name,
            "magnitude": float(magnitude),
            "output_class": out,
            "n": 40,
            "accuracy": 0.9 - abs(magnitude) / 300,
            "mean_score": (0.9 - abs(magnitude) / 200) if out == true else 0.05,
            "standard_deviation": 0.2,
        }
        for name in ("hue", "rotation")
        for true in range(2)
        for magnitude in (-90, -30, 0, 30, 90)
        for out in range(3)
    ]
    types = {"true_class": pa.int16(), "output_class": pa.int16(), "n": pa.int32()}
    floats = dict.fromkeys(("accuracy", "mean_score", "standard_deviation"), pa.float32())
    table = pa.Table.from_pylist(rows)
    for name, kind in (types | floats).items():
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    return table


def _top_images(made: Made) -> pa.Table:
    found: dict[str, list[object]] = {}
    for layer, values in enumerate(made.activations):
        for filter_ in range(values.shape[1]):
            for split in ("test", "train"):
                ids = np.flatnonzero((made.split == split) & made.good)
                ids = ids[np.argsort(-values[ids, filter_].astype(np.float32), kind="stable")]
                for rank, image in enumerate(ids[:50], start=1):
                    row = (layer, filter_, split, rank, image, values[image, filter_], 1, 2)
                    for name, value in zip(_TOP, row, strict=True):
                        found.setdefault(name, []).append(value)
    return pa.table({name: pa.array(found[name], kind) for name, kind in _TOP.items()})


_TOP = {
    "layer_index": pa.int16(),
    "filter_index": pa.int32(),
    "split": pa.string(),
    "rank": pa.int16(),
    "image_id": pa.int32(),
    "activation": pa.float32(),
    "peak_row": pa.int32(),
    "peak_column": pa.int32(),
}


def _layers() -> pa.Table:
    n = len(WIDTHS)
    return pa.table(
        {
            "layer_index": pa.array(range(n), pa.int16()),
            "layer_name": [f"conv{i}" for i in range(n)],
            "kind": ["conv"] * n,
            "filters": pa.array(WIDTHS, pa.int32()),
            "height": pa.array([8] * n, pa.int32()),
            "width": pa.array([8] * n, pa.int32()),
            "site": ["post_activation"] * n,
        }
    )


def _make(folder: Path) -> Made:
    rng = np.random.default_rng(20)
    true_class = rng.integers(0, len(CLASSES), N_IMAGES)
    scores, activations = _scores(rng, true_class), _activations(rng, true_class)
    split = np.where(np.arange(N_IMAGES) < 180, "train", "test")
    good = np.ones(N_IMAGES, dtype=bool)
    good[[MISSING, NOT_FINITE]] = False
    paths = np.stack([_winners(values) for values in activations], axis=1)
    made = Made(
        store=None,  # type: ignore[arg-type]
        true_class=true_class,
        predicted_class=scores.argmax(axis=1),
        scores=scores,
        split=split,
        activations=activations,
        paths=paths,
        good=good,
    )
    ids = np.flatnonzero(np.arange(N_IMAGES) != MISSING).astype(np.int32)
    with StoreWriter.open(folder) as writer:
        with writer.begin("capture") as generation:
            _write(generation, made, ids)
        with writer.store() as store, writer.begin("mine") as generation:
            for name, pieces in mine(store, "paper").items():
                with generation.table(f"patterns/paper/{name}") as out:
                    for piece in pieces:
                        out.append(piece)
        return Made(**{**made.__dict__, "store": writer.store()})


def _write(generation, made: Made, ids: np.ndarray) -> None:
    classes = pa.array(range(len(CLASSES)), pa.int16())
    generation.write("classes", pa.table({"class_index": classes, "class_name": CLASSES}))
    generation.write("images", _images(made))
    generation.write("layers", _layers())
    generation.write("predictions", _predictions(made))
    wide = {f"c{i:04d}": made.scores[ids, i] for i in range(len(CLASSES))}
    generation.write("scores", pa.table({"image_id": ids, **wide}))
    for layer, values in enumerate(made.activations):
        wide = {f"f{i:04d}": values[ids, i] for i in range(values.shape[1])}
        generation.write(f"activations/max/{layer:03d}", pa.table({"image_id": ids, **wide}))
    generation.write("top_images", _top_images(made))
    wide = {f"layer_{i:03d}": made.paths[ids, i] for i in range(len(WIDTHS))}
    generation.write("paths/paper", pa.table({"image_id": ids, **wide}))
    shuffled = np.random.default_rng(1).permutation(ids)
    places = shuffled.astype(np.float32)
    generation.write(
        "projections",
        pa.table(
            {"projection": ["tsne"] * len(ids), "image_id": shuffled, "x": places, "y": -places}
        ),
    )
    generation.write("simulation", _simulation())
    generation.info["simulate"] = {
        "perturbations": [
            {"name": "rotation", "identity": 0.0},
            {"name": "hue", "identity": 0.0},
        ]
    }


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """A store of 300 images in 3 classes, with what it was made from."""
    found = _make(tmp_path_factory.mktemp("stores") / "small")
    yield found
    found.store.close()
