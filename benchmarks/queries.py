"""How long the pattern queries of the app take: ``python -m benchmarks.queries [--quick]``.

A store of synthetic paths is written and mined through the public functions, into a temporary
folder. Each query is asked first of a store that was just opened (cold: it reads the patterns of
the path set, as the first visitor's question does), then again and again of an open one, every
time about something else (warm). Times are wall clock on the server, of one question at a time.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from benchmarks._report import Row, options, report
from benchmarks.mining import Synthetic, size_of, synthetic_paths
from feature_store import Store, StoreWriter
from feature_store.patterns.gapped import gapped_patterns_of_image, gapped_patterns_of_selection
from feature_store.patterns.recommend import (
    pattern_card,
    pattern_members,
    patterns_of_filters,
    patterns_of_image,
    patterns_of_selection,
)
from feature_store.patterns.tables import mine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

N_CLASSES = 10
PATH_SET = "paper"
SELECTED = 500
GOAL = "< 20"


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What is asked, drawn at random, the same of every store.

    Parameters
    ----------
    images : list of int
        Image ids.
    filters : list of (int, int)
        Layer and filter, of the path of some image.
    patterns : list of int
        Pattern ids.
    split : ndarray of shape (n,), int64
        Images that the selections are of and are compared with: every other one.
    selections : list of ndarray of shape (500,), int64
        Images of one class.
    """

    images: list[int]
    filters: list[tuple[int, int]]
    patterns: list[int]
    split: np.ndarray
    selections: list[np.ndarray]


def main() -> None:
    """Measure, print, and write the rows."""
    given = options(__doc__)
    data = synthetic_paths(10_000 if given.quick else 60_000, n_classes=N_CLASSES)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "synthetic"
        n_patterns = build(root, data)
        asked = questions(data, n_patterns, count=10 if given.quick else 100)
        cold = cold_times(root, asked, rounds=2 if given.quick else 5)
        warm = warm_times(root, asked)
    about = f"{size_of(data.paths)} paths, {n_patterns:,} patterns"
    report(
        [
            *(warm_row(name, seconds, about) for name, seconds in warm.items()),
            *(cold_row(name, seconds) for name, seconds in cold.items()),
        ],
        given,
    )


def build(root: Path, data: Synthetic) -> int:
    """Write the tables that mining needs, and mine; return the number of patterns."""
    rng = np.random.default_rng(2)
    n_images = len(data.paths)
    ids = np.arange(n_images, dtype=np.int32)
    true = data.classes.astype(np.int16)
    predicted = np.where(rng.random(n_images) < 0.9, true, rng.integers(0, N_CLASSES, n_images))
    tables = {
        "classes": pa.table(
            {
                "class_index": np.arange(N_CLASSES, dtype=np.int16),
                "class_name": [f"class {index}" for index in range(N_CLASSES)],
            }
        ),
        "images": pa.table(
            {
                "image_id": ids,
                "image_key": [f"{image:064x}" for image in ids],
                "split": np.where(rng.random(n_images) < 0.8, "train", "test").tolist(),
                "true_class": true,
                "source": [f"{image}.png" for image in ids],
                "status": ["ok"] * n_images,
            }
        ),
        "predictions": pa.table(
            {
                "image_id": ids,
                "status": ["ok"] * n_images,
                "predicted_class": predicted.astype(np.int16),
                "confidence": rng.random(n_images, dtype=np.float32),
                "is_correct": predicted == true,
            }
        ),
        f"paths/{PATH_SET}": data.paths,
    }
    with StoreWriter.open(root) as writer, writer.begin("capture") as generation:
        for name, table in tables.items():
            generation.write(name, table)
    n_patterns = 0
    with (
        Store.open(root) as store,
        StoreWriter.open(root) as writer,
        writer.begin("mine") as generation,
    ):
        for name, pieces in mine(store, PATH_SET).items():
            with generation.table(f"patterns/{PATH_SET}/{name}") as out:
                for piece in pieces:
                    out.append(piece)
                    n_patterns += piece.num_rows if name == "patterns" else 0
    return n_patterns


def questions(data: Synthetic, n_patterns: int, *, count: int) -> Questions:
    """Draw what is asked."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, len(data.paths), count).tolist()
    layers = rng.integers(0, data.paths.num_columns - 1, count).tolist()
    split = np.arange(0, len(data.paths), 2)
    return Questions(
        images=images,
        filters=[
            (layer, data.paths[f"layer_{layer:03d}"][image].as_py())
            for layer, image in zip(layers, images, strict=True)
        ],
        patterns=rng.integers(0, n_patterns, count).tolist(),
        split=split,
        selections=[
            rng.permutation(split[data.classes[split] == at % N_CLASSES])[:SELECTED]
            for at in range(count)
        ],
    )


def queries(asked: Questions) -> Mapping[str, Callable[[Store, int], object]]:
    """Return the functions behind the app's questions; each takes a store and a number."""
    return {
        "image_patterns": lambda store, at: patterns_of_image(store, PATH_SET, asked.images[at]),
        "filter_patterns": lambda store, at: patterns_of_filters(
            store, PATH_SET, [asked.filters[at]]
        ),
        "pattern_images": lambda store, at: pattern_members(store, PATH_SET, asked.patterns[at]),
        "class_shares": lambda store, at: (
            pattern_card(store, PATH_SET, asked.patterns[at]).true_counts
        ),
        "selection_patterns": lambda store, at: patterns_of_selection(
            store, PATH_SET, asked.selections[at], among=asked.split
        ),
        "gapped_image": lambda store, at: gapped_patterns_of_image(
            store, PATH_SET, asked.images[at]
        ),
        "gapped_selection": lambda store, at: gapped_patterns_of_selection(
            store, PATH_SET, asked.selections[at]
        ),
    }


def cold_times(root: Path, asked: Questions, *, rounds: int) -> dict[str, list[float]]:
    """Time the first question to a store that was just opened."""
    asks = queries(asked)
    seconds: dict[str, list[float]] = {name: [] for name in asks}
    for at in range(rounds):
        for name, ask in asks.items():
            with Store.open(root) as store:
                started = time.perf_counter()
                ask(store, at)
                seconds[name].append(time.perf_counter() - started)
    return seconds


def warm_times(root: Path, asked: Questions) -> dict[str, list[float]]:
    """Time every question in turn, after one of each kind."""
    asks = queries(asked)
    seconds: dict[str, list[float]] = {name: [] for name in asks}
    with Store.open(root) as store:
        for ask in asks.values():
            ask(store, 0)
        for at in range(len(asked.images)):
            for name, ask in asks.items():
                started = time.perf_counter()
                ask(store, at)
                seconds[name].append(time.perf_counter() - started)
    return seconds


def warm_row(name: str, seconds: list[float], about: str) -> Row:
    """Describe the median and the tail of a query."""
    milliseconds = 1_000 * np.array(seconds)
    tail = float(np.quantile(milliseconds, 0.95))
    return Row(
        name=f"{name}_ms",
        value=float(np.median(milliseconds)),
        unit="ms",
        against=f"median of {len(seconds)} warm, 95 % below {tail:,.1f} ms; {about}",
        goal=GOAL,
    )


def cold_row(name: str, seconds: list[float]) -> Row:
    """Describe the first call in a fresh store."""
    return Row(
        name=f"{name}_cold_ms",
        value=1_000 * statistics.median(seconds),
        unit="ms",
        against=f"first question to a store just opened, median of {len(seconds)}",
    )


if __name__ == "__main__":
    main()
