"""A store of very many images that no network has seen, written through the real store code.

Everything in it is drawn at random, but it holds together: the picture of an image spells its id,
its key is the hash of its pixels, scores add up to one, a wrong image lies between its own class
and the one it was taken for, and the simulation is counted from the sweeps. Embeddings have few
dimensions; there are no weights, no paths and no patterns.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from benchmarks._million_sweeps import PERTURBATIONS, sweep_tables
from feature_store import StoreWriter
from feature_store.tables import schema
from pipelines.projections import curve_order

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SIDE = 8
"""Pixels of a side of a picture: 64 bits, which spell the image's id."""

DIMENSIONS = 16
"""Of the embeddings."""

_SPLIT = "test"
_MIX = 0x9E3779B97F4A7C15
_PIECE = 32_768
_PNG = b"\x89PNG\r\n\x1a\n"
_HEAD = struct.pack(">IIBBBBB", SIDE, SIDE, 1, 3, 0, 0, 0)
_WRONG = 0.08
_SPREAD = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Predicted:
    """Classes, scores and places of all images, in arrays of equal length, by ascending id.

    Parameters
    ----------
    true, predicted, second : ndarray of int16
        Class indices; ``second`` has the second best score, and is the true one of a wrong image.
    confidence, second_score : ndarray of float32
        Scores of ``predicted`` and of ``second``; all other classes share the rest equally.
    places : ndarray of shape (n, 2), float32
        On the first map.
    n_classes : int
        Number of classes.
    """

    true: NDArray[np.int16]
    predicted: NDArray[np.int16]
    second: NDArray[np.int16]
    confidence: NDArray[np.float32]
    second_score: NDArray[np.float32]
    places: NDArray[np.float32]
    n_classes: int

    @property
    def other_score(self) -> NDArray[np.float32]:
        """Score of each class that is neither the best nor the second best."""
        rest = 1.0 - self.confidence.astype(np.float64) - self.second_score
        return np.maximum(rest / (self.n_classes - 2), 0).astype(np.float32)


def build(folder: Path, *, n_images: int, n_classes: int, seed: int = 0) -> None:
    """Write a store.

    Parameters
    ----------
    folder : Path
        Of the store; its last part is the store's name.
    n_images : int
        Images, all of one split, ids from 0.
    n_classes : int
        At least 3.
    seed : int
        Of everything that is drawn.
    """
    rng = np.random.default_rng(seed)
    data = predict(n_images, n_classes, rng)
    swept = sweep_tables(data.true, data.predicted, n_classes, split=_SPLIT, rng=rng)
    with StoreWriter.open(folder) as writer, writer.begin("capture") as generation:
        generation.write("classes", _classes(n_classes))
        with generation.table("images") as out:
            for piece in _images(data.true):
                out.append(piece)
        generation.write("layers", _layers())
        generation.write("predictions", _predictions(data))
        if n_classes <= 50:
            generation.write("scores", _scores(data))
        generation.write("embeddings", _embeddings(data, rng))
        generation.write("projections", _projections(data, rng))
        for name, pieces in swept.tables.items():
            with generation.table(name) as out:
                for piece in pieces:
                    out.append(piece)
        generation.info.update(_info(folder.name, n_images, n_classes, swept.n, swept.each))


def predict(n_images: int, n_classes: int, rng: np.random.Generator) -> Predicted:
    """Draw Gaussian classes on a plane, and predictions that confuse neighbours."""
    side = 6 * _SPREAD * np.sqrt(n_classes)
    centres = rng.uniform(0, side, (n_classes, 2))
    distance = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1))
    neighbours = np.argsort(distance, axis=1)[:, 1 : min(4, n_classes)]
    shares = rng.uniform(0.5, 1.5, n_classes)
    true = rng.choice(n_classes, n_images, p=shares / shares.sum())
    near = neighbours[true, rng.integers(0, neighbours.shape[1], n_images)]
    wrong = rng.random(n_images) < _WRONG
    confidence = np.where(wrong, rng.beta(4, 3, n_images), rng.beta(9, 1.5, n_images))
    confidence = np.clip(confidence, 0.35, 0.999)
    rest = 1 - confidence
    least, most = rest / (n_classes - 1), np.minimum(rest, confidence)
    second_score = least + (most - least) * rng.random(n_images)
    towards = np.where(wrong, rng.uniform(0.3, 0.7, n_images), 0.15 * rng.random(n_images))
    places = centres[true] + towards[:, None] * (centres[near] - centres[true])
    places += rng.normal(0, _SPREAD, (n_images, 2))
    return Predicted(
        true=true.astype(np.int16),
        predicted=np.where(wrong, near, true).astype(np.int16),
        second=np.where(wrong, true, near).astype(np.int16),
        confidence=confidence.astype(np.float32),
        second_score=second_score.astype(np.float32),
        places=places.astype(np.float32),
        n_classes=n_classes,
    )


def picture(image_id: int, true_class: int) -> bytes:
    """Return the picture of an image: a PNG in two tints of its class, its bits spell its id."""
    # Each row of a PNG begins with the number of its filter.
    raw = b"".join(b"\0" + bits for bits in struct.unpack("8c", _spelled(image_id)))
    palette = _palette(true_class).tobytes()
    # Stored, not deflated: so few bytes would only grow.
    return (
        _PNG
        + _chunk(b"IHDR", _HEAD)
        + _chunk(b"PLTE", palette)
        + _chunk(b"IDAT", zlib.compress(raw, 0))
        + _chunk(b"IEND", b"")
    )


def id_in_picture(pixels: NDArray[np.uint8]) -> int:
    """Read the id that the pixels of a picture spell.

    Parameters
    ----------
    pixels : ndarray of shape (8, 8, 3), uint8
        Decoded.

    Returns
    -------
    int
        The image's id.
    """
    light = pixels.astype(int).sum(axis=2)
    bits = np.packbits((light > (light.min() + light.max()) / 2).ravel()).tobytes()
    return int.from_bytes(bits, "big") * pow(_MIX, -1, 1 << 64) % (1 << 64)


def _spelled(image_id: int) -> bytes:
    # Multiplying by an odd number mixes the bits, and can be undone.
    return (image_id * _MIX % (1 << 64)).to_bytes(8, "big")


def _palette(true_class: int) -> NDArray[np.uint8]:
    """Return two tints of a class, shape (2, 3)."""
    turn = true_class * 0.618034 % 1
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * (turn + np.array([0, 1 / 3, 2 / 3])))
    dark = (30 + 120 * wave).astype(np.uint8)
    return np.stack([dark, 255 - (255 - dark) // 4])


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def _classes(n_classes: int) -> pa.Table:
    return pa.table(
        {
            "class_index": np.arange(n_classes, dtype=np.int16),
            "class_name": [f"class {index:03d}" for index in range(n_classes)],
        }
    )


def _images(true: NDArray[np.int16]) -> Iterator[pa.Table]:
    palettes = np.stack([_palette(int(index)) for index in range(int(true.max()) + 1)])
    for start in range(0, len(true), _PIECE):
        ids = np.arange(start, min(start + _PIECE, len(true)), dtype=np.int32)
        here = true[ids]
        bits = [np.frombuffer(_spelled(int(image)), np.uint8) for image in ids]
        pixels = np.unpackbits(np.stack(bits), axis=1)
        rgb = palettes[here[:, None], pixels].reshape(-1, SIDE, SIDE, 3)
        labelled = zip(ids.tolist(), here.tolist(), strict=True)
        encoded = [picture(image, label) for image, label in labelled]
        yield pa.table(
            {
                "image_id": ids,
                "image_key": [hashlib.sha256(each.tobytes()).hexdigest() for each in rgb],
                "split": pa.repeat(_SPLIT, len(ids)),
                "true_class": here,
                "source": [f"{image}.png" for image in ids],
                "width": np.full(len(ids), SIDE, np.int32),
                "height": np.full(len(ids), SIDE, np.int32),
                "encoded": pa.array(encoded, pa.binary()),
                "status": pa.repeat("ok", len(ids)),
            }
        )  # fmt: skip


def _layers() -> pa.Table:
    rows = [
        {
            "layer_index": index, "layer_name": f"features.{index}", "kind": "conv",
            "filters": 16 << index, "height": SIDE >> index, "width": SIDE >> index,
            "site": "post_activation",
        }
        for index in range(3)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=schema("layers"))


def _predictions(data: Predicted) -> pa.Table:
    best, second, other = (
        values.astype(np.float64)
        for values in (data.confidence, data.second_score, data.other_score)
    )
    is_correct = data.true == data.predicted
    true_score = np.where(is_correct, best, second)
    entropy = -(best * np.log(best) + second * np.log(second))
    entropy -= (data.n_classes - 2) * other * np.log(np.maximum(other, 1e-30))
    n = len(data.true)
    return pa.table(
        {
            "image_id": np.arange(n, dtype=np.int32),
            "status": pa.repeat("ok", n),
            "predicted_class": data.predicted,
            "confidence": data.confidence,
            "true_score": true_score.astype(np.float32),
            "margin": data.confidence - data.second_score,
            "entropy": entropy.astype(np.float32),
            "loss": (-np.log(true_score)).astype(np.float32),
            "is_correct": is_correct,
        }
    )


def _scores(data: Predicted) -> pa.Table:
    n = len(data.true)
    scores = np.repeat(data.other_score[:, None], data.n_classes, axis=1)
    scores[np.arange(n), data.second] = data.second_score
    scores[np.arange(n), data.predicted] = data.confidence
    columns = {f"c{index:04d}": scores[:, index] for index in range(data.n_classes)}
    return pa.table({"image_id": np.arange(n, dtype=np.int32), **columns})


def _embeddings(data: Predicted, rng: np.random.Generator) -> pa.Table:
    n = len(data.places)
    features = data.places @ rng.normal(0, 0.2, (2, DIMENSIONS)).astype(np.float32)
    features += rng.normal(0, 0.1, (n, DIMENSIONS)).astype(np.float32)
    columns = {
        f"e{index:04d}": features[:, index].astype(np.float16) for index in range(DIMENSIONS)
    }
    return pa.table({"image_id": np.arange(n, dtype=np.int32), **columns})


def _projections(data: Predicted, rng: np.random.Generator) -> pa.Table:
    """Return two maps, the rows of each along the curve as the stage ``embed`` writes them."""
    blurred = data.places @ np.array([[0.8, -0.3], [0.2, 0.6]], np.float32)
    blurred += rng.normal(0, 3 * _SPREAD, blurred.shape).astype(np.float32)
    parts = []
    for name, places in (("pca", blurred), ("tsne", data.places)):
        order = curve_order(places)
        parts.append(
            pa.table(
                {
                    "projection": pa.repeat(name, len(order)),
                    "image_id": order.astype(np.int32),
                    "x": places[order, 0],
                    "y": places[order, 1],
                }
            )
        )
    return pa.concat_tables(parts)


def _info(name: str, n_images: int, n_classes: int, n_swept: int, each: int) -> dict[str, Any]:
    return {
        "project": name,
        "dataset": {
            "source": "generated", "splits": [_SPLIT], "reference_split": _SPLIT,
            "store_images": "original", "n_by_split": {_SPLIT: n_images},
            "status_counts": {"ok": n_images}, "pixel_mean": [0.5, 0.5, 0.5],
        },
        "model": {
            "builder": "small_vgg", "classes": n_classes, "layers": None, "include_logits": False,
        },
        "input": {
            "height": 32, "width": 32, "resize": 32, "crop": None,
            "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25],
        },
        "embed": {"projections": ["tsne", "pca"], "n": n_images},
        "simulate": {
            "split": _SPLIT, "images_per_class": each, "n": n_swept, "n_available": n_images,
            "perturbations": [dict(entry) for entry in PERTURBATIONS],
            "harmless": {"brightness": 0.5},
        },
        "view": {"path_set": "balanced"},
    }  # fmt: skip
