"""A store in which one pattern makes cats look like dogs, and what it was made from."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from PIL import Image

from feature_store import Store, StoreWriter
from feature_store.patterns.tables import mine

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = ("cat", "dog", "<b>frog</b>", "owl", "elk")
CAT, DOG, FROG, OWL, ELK = range(5)
KINDS = ("conv", "conv", "conv", "conv", "linear")
N_IMAGES = 2_400
PLANTED = (4, 2)
"""Winners of layers 1 and 2 that make a cat look like a dog."""
COPIES = 20


@dataclass(frozen=True, kw_only=True)
class Made:
    """What the store was made from, by image id."""

    store: Store
    true_class: np.ndarray
    predicted_class: np.ndarray
    split: np.ndarray
    paths: np.ndarray
    key: np.ndarray
    pixels: np.ndarray


def _draw(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Cats with the planted pattern are called dogs; frogs err at random; owls never; elks once.

    The last images repeat the pixels of wrong cats.
    """
    true = rng.choice(5, size=N_IMAGES, p=(0.3, 0.2, 0.3, 0.1, 0.1))
    paths = np.stack([(rng.zipf(1.7, N_IMAGES) + true * (layer > 1)) % 6 for layer in range(5)], 1)
    paths[rng.random(N_IMAGES) < 0.05, 0] = -1
    is_planted = (true == CAT) & (rng.random(N_IMAGES) < 0.15)
    paths[is_planted, 1:3] = PLANTED
    predicted = true.copy()
    predicted[is_planted & (rng.random(N_IMAGES) < 0.7)] = DOG
    stray = (true == CAT) & (rng.random(N_IMAGES) < 0.05)
    predicted[stray] = DOG
    predicted[(true == FROG) & (rng.random(N_IMAGES) < 0.12)] = DOG
    predicted[np.flatnonzero(true == ELK)[0]] = CAT
    paths[:, 4] = predicted
    key = np.arange(N_IMAGES)
    wrong_cat = np.flatnonzero((true == CAT) & (predicted == DOG))[0]
    last = slice(N_IMAGES - COPIES, N_IMAGES)
    for values in (true, paths, predicted, key):
        values[last] = values[wrong_cat]
    pixels = rng.integers(60, 130, (N_IMAGES, 8, 8, 3)).astype(np.uint8)
    pixels[paths[:, 1] == PLANTED[0]] += 100
    return {
        "true_class": true,
        "predicted_class": predicted,
        "split": np.where(rng.random(N_IMAGES) < 0.4, "test", "train"),
        "paths": paths.astype(np.int32),
        "key": key,
        "pixels": pixels,
    }


def _png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG", compress_level=1)
    return out.getvalue()


def _tables(made: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, pa.Table]:
    ids = np.arange(N_IMAGES, dtype=np.int32)
    scores = rng.random((N_IMAGES, len(CLASSES))).astype(np.float32)
    scores[ids, made["predicted_class"]] += 2
    scores /= scores.sum(axis=1, keepdims=True)
    best = np.sort(scores, axis=1)
    embedding = rng.normal(size=(N_IMAGES, 6)).astype(np.float16)
    embedding[ids, made["predicted_class"]] += 6
    n = len(KINDS)
    return {
        "classes": pa.table(
            {"class_index": pa.array(range(len(CLASSES)), pa.int16()), "class_name": CLASSES}
        ),
        "images": pa.table(
            {
                "image_id": ids,
                "image_key": [f"{key:064x}" for key in made["key"]],
                "split": made["split"].tolist(),
                "true_class": made["true_class"].astype(np.int16),
                "source": [f"row {i}" for i in ids],
                "encoded": pa.array([_png(image) for image in made["pixels"]], pa.binary()),
                "status": ["ok"] * N_IMAGES,
            }
        ),
        "layers": pa.table(
            {
                "layer_index": pa.array(range(n), pa.int16()),
                "layer_name": [f"layer{i}" for i in range(n)],
                "kind": KINDS,
                "filters": pa.array([6] * n, pa.int32()),
                "height": pa.array([8] * n, pa.int32()),
                "width": pa.array([8] * n, pa.int32()),
                "site": ["post_activation"] * n,
            }
        ),
        "predictions": pa.table(
            {
                "image_id": ids,
                "status": ["ok"] * N_IMAGES,
                "predicted_class": made["predicted_class"].astype(np.int16),
                "confidence": best[:, -1],
                "true_score": scores[ids, made["true_class"]],
                "margin": best[:, -1] - best[:, -2],
                "is_correct": made["predicted_class"] == made["true_class"],
            }
        ),
        "scores": pa.table({"image_id": ids, **{f"c{i:04d}": scores[:, i] for i in range(5)}}),
        "embeddings": pa.table(
            {"image_id": ids, **{f"e{i:04d}": embedding[:, i] for i in range(6)}}
        ),
        "paths/mean": pa.table(
            {"image_id": ids, **{f"layer_{i:03d}": made["paths"][:, i] for i in range(n)}}
        ),
    }


def make(folder: Path) -> Made:
    """Write the store."""
    rng = np.random.default_rng(3)
    drawn = _draw(rng)
    with StoreWriter.open(folder) as writer:
        with writer.begin("capture") as generation:
            for name, table in _tables(drawn, rng).items():
                generation.write(name, table)
        with writer.store() as store, writer.begin("mine") as generation:
            for name, pieces in mine(store, "mean").items():
                with generation.table(f"patterns/mean/{name}") as out:
                    for piece in pieces:
                        out.append(piece)
        return Made(store=writer.store(), **drawn)
