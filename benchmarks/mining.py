"""What finding patterns costs: ``python -m benchmarks.mining [--quick] [--json FILE]``.

Synthetic paths of the widths of VGG-16, and of a network of 50 layers: popularity of the filters
of a layer by Zipf's law, a share of winners that depends on the class and grows with depth, and a
share decided by the winner of the layer before. Everything is in memory when a clock starts, and
clocks count processor time of all threads. polars and mlxtend come with the extra ``bench``; rows
of a package that is absent are left out.
"""

from __future__ import annotations

import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from benchmarks._report import Row, interleave, options, report
from feature_store.patterns.closed import ClosedSets, closed_masks, closed_sets, superset_sums
from feature_store.patterns.contiguous import contiguous_patterns, layer_columns
from feature_store.patterns.intervals import interval_patterns, winner_codes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from feature_store.patterns.contiguous import StartLayer

ROOT = Path(__file__).parents[1]
VGG_WIDTHS = (64, 64, 128, 128, 256, 256, 256, *[512] * 6, 4096)
DEEP_WIDTHS = tuple(64 << at * 5 // 50 for at in range(50))
MIN_IMAGES = 5
ZIPF = 1.3
DECIDED = 0.35
"""Share of winners that follow from the winner of the layer before."""


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """Paths of images that do not exist.

    Parameters
    ----------
    paths : pyarrow.Table
        ``image_id`` and ``layer_000``.., int32.
    classes : ndarray of shape (n_images,), int32
        Class of each image.
    """

    paths: pa.Table
    classes: NDArray[np.int32]

    @property
    def codes(self) -> list[NDArray[Any]]:
        """Winners of each layer as the miners read them."""
        return [winner_codes(self.paths[name].to_numpy()) for name in layer_columns(self.paths)]


def synthetic_paths(
    n_images: int, *, widths: Iterable[int] = VGG_WIDTHS, n_classes: int = 10, seed: int = 0
) -> Synthetic:
    """Draw paths that are as uneven, and as tied to classes, as those of a trained network."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, n_classes, n_images, dtype=np.int32)
    columns: dict[str, NDArray[np.int32]] = {"image_id": np.arange(n_images, dtype=np.int32)}
    before: NDArray[np.int32] | None = None
    widths = tuple(widths)
    for layer, width in enumerate(widths):
        popularity = np.cumsum(1 / np.arange(1, width + 1) ** ZIPF)
        place = np.searchsorted(popularity, rng.random(n_images) * popularity[-1])
        filter_of_place = rng.permutation(width).astype(np.int32)
        winners = filter_of_place[np.minimum(place, width - 1)]
        # From 5 % of the winners in the first layer to 80 % in the last.
        share = 0.05 + 0.75 * layer / max(len(widths) - 1, 1)
        is_shifted = rng.random(n_images) < share
        shift = rng.integers(0, width, n_classes, dtype=np.int32)
        winners = np.where(is_shifted, (winners + shift[classes]) % width, winners)
        if before is not None:
            follower = rng.integers(0, width, int(before.max()) + 1, dtype=np.int32)
            winners = np.where(rng.random(n_images) < DECIDED, follower[before], winners)
        before = winners.astype(np.int32)
        columns[f"layer_{layer:03d}"] = before
    return Synthetic(paths=pa.table(columns), classes=classes)


def main() -> None:
    """Measure, print, and write the rows."""
    given = options(__doc__)
    small = synthetic_paths(3_000 if given.quick else 10_000)
    large = synthetic_paths(20_000 if given.quick else 60_000)
    rows = [] if given.quick else peak_rows()
    rows += engine_rows(large, rounds=3 if given.quick else 7)
    rows += gapped_rows(large, rounds=3 if given.quick else 9)
    rows += peer_rows(small, rounds=1 if given.quick else 3)
    report(rows, given)
    for package in ("polars", "mlxtend", "prefixspan"):
        if not has(package):
            print(f"{package} is not installed: its row is left out")


def has(package: str) -> bool:
    """Tell whether a peer is installed."""
    return importlib.util.find_spec(package) is not None


def size_of(paths: pa.Table) -> str:
    """Describe the size of paths."""
    return f"{len(paths):,} x {len(layer_columns(paths))}"


def count(starts: Iterable[StartLayer]) -> int:
    """Count patterns."""
    return sum(len(start.low) for start in starts)


def check_equal(what: str, *counts: int) -> None:
    """End the program where programs that are compared do not find the same."""
    if len(set(counts)) > 1:
        raise SystemExit(f"{what} differ: {', '.join(map(str, counts))}")


def median_ratio(seconds: dict[str, list[float]], over: str, under: str) -> float:
    """Return the median over the rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(seconds[over], seconds[under], strict=True))


def engine_rows(data: Synthetic, *, rounds: int) -> list[Row]:
    """Compare the two engines, and the group_by of polars, which gives no members."""
    paths = data.paths
    counts: dict[str, int] = {}

    def timed(name: str, mine: Callable[[], int]) -> Callable[[], None]:
        def run() -> None:
            counts[name] = mine()

        return run

    functions = {
        "interval": timed("interval", lambda: count(interval_patterns(paths))),
        "duckdb": timed("duckdb", lambda: count(contiguous_patterns(paths, threads=1))),
    }
    if has("polars"):
        import polars as pl

        frame = pl.from_arrow(paths)
        functions["polars"] = timed("polars", lambda: polars_patterns(frame))
    seconds = interleave(functions, rounds=rounds, clock=time.process_time)
    check_equal("counts of closed contiguous patterns", *counts.values())
    found = f"{counts['interval']:,} closed patterns of {size_of(paths)} paths, processor time"
    rows = [
        Row(
            name="duckdb_seconds",
            value=statistics.median(seconds["duckdb"]),
            unit="s",
            against=found,
        ),
        Row(
            name="interval_seconds",
            value=statistics.median(seconds["interval"]),
            unit="s",
            against=found,
        ),
        Row(
            name="interval_over_duckdb",
            value=median_ratio(seconds, "interval", "duckdb"),
            unit="ratio",
            against="one GROUP BY for each window and one sort for each layer, members too",
        ),
    ]
    if "polars" in seconds:
        rows.append(
            Row(
                name="interval_over_polars",
                value=median_ratio(seconds, "interval", "polars"),
                unit="ratio",
                against="polars group_by for each window, same test of closedness, no members",
                goal="<= 0.25",
            )
        )
    return rows


def polars_patterns(frame: Any) -> int:
    """Count the closed contiguous patterns of at least two layers with polars."""
    from polars import col

    columns = [name for name in frame.columns if name.startswith("layer_")]
    found = 0
    for first in range(len(columns)):
        for last in range(first + 1, len(columns)):
            sides = columns[max(first - 1, 0) : first] + columns[last + 1 : last + 2]
            bounds = [
                bound.alias(f"{name}_{kind}")
                for name in sides
                for kind, bound in (("min", col(name).min()), ("max", col(name).max()))
            ]
            frequent = (
                frame.lazy()
                .group_by(columns[first : last + 1])
                .agg(col("image_id").len().alias("support"), *bounds)
                .filter(col("support") >= MIN_IMAGES)
                .collect()
            )
            if not len(frequent):
                break
            for name in sides:
                frequent = frequent.filter(col(f"{name}_min") < col(f"{name}_max"))
            found += len(frequent)
    return found


def gapped_rows(data: Synthetic, *, rounds: int) -> list[Row]:
    """Time what is asked on demand: every subset of a path, and 500 images of one class."""
    rng = np.random.default_rng(1)
    rows = np.sort(rng.permutation(np.flatnonzero(data.classes == 0))[:500])
    codes = [column[rows] for column in data.codes]
    histogram = np.bincount(rng.integers(0, 1 << 20, len(data.paths)), minlength=1 << 20)
    found: list[ClosedSets] = []

    def selection() -> None:
        found.append(closed_sets(codes, min_images=MIN_IMAGES, min_length=2))

    seconds = interleave(
        {
            "selection": selection,
            "subsets": lambda: closed_masks(superset_sums(histogram)),
        },
        rounds=rounds,
        clock=time.process_time,
    )
    return [
        Row(
            name="gapped_selection_ms",
            value=1_000 * statistics.median(seconds["selection"]),
            unit="ms",
            against=f"{len(rows)} images of one class, {len(found[0].masks):,} closed patterns, "
            "processor time",
        ),
        Row(
            name="gapped_subsets_of_20_layers_ms",
            value=1_000 * statistics.median(seconds["subsets"]),
            unit="ms",
            against="support and closedness of all 1,048,576 subsets, processor time",
        ),
    ]


def peer_rows(data: Synthetic, *, rounds: int) -> list[Row]:
    """Compare with programs that mine patterns with gaps."""
    codes = data.codes
    ours: list[int] = []

    def mine() -> None:
        ours.append(len(closed_sets(codes, min_images=MIN_IMAGES, min_length=2).masks))

    rows = []
    size = size_of(data.paths)
    if has("prefixspan"):
        prefixspan, counts = prefixspan_closed(data)
        seconds = interleave(
            {"ours": mine, "peer": prefixspan}, rounds=rounds, clock=time.process_time
        )
        check_equal("counts of closed patterns with gaps", *ours, *counts)
        rows.append(
            Row(
                name="prefixspan_over_ours",
                value=median_ratio(seconds, "peer", "ours"),
                unit="ratio",
                against=f"both all {ours[0]:,} closed patterns with gaps of {size}; "
                "prefixspan-py in plain Python, no members",
                goal="> 1",
            )
        )
    if has("mlxtend"):
        fpgrowth, counts = mlxtend_frequent(data)
        seconds = interleave(
            {"ours": mine, "peer": fpgrowth}, rounds=rounds, clock=time.process_time
        )
        rows.append(
            Row(
                name="mlxtend_over_ours",
                value=median_ratio(seconds, "peer", "ours"),
                unit="ratio",
                against=f"fpgrowth: all {counts[0]:,} frequent item sets of {size}, single items "
                f"too; ours: the {ours[0]:,} closed ones of two items and more",
                goal="> 1",
            )
        )
    return rows


def prefixspan_closed(data: Synthetic) -> tuple[Callable[[], None], list[int]]:
    """Return a run of prefixspan-py, and where it puts how many patterns it found."""
    from prefixspan import PrefixSpan

    columns = [data.paths[name].to_pylist() for name in layer_columns(data.paths)]
    sequences = [list(enumerate(path)) for path in zip(*columns, strict=True)]
    counts: list[int] = []

    def run() -> None:
        closed = PrefixSpan(sequences).frequent(MIN_IMAGES, closed=True)
        counts.append(sum(len(items) >= 2 for _, items in closed))

    return run, counts


def mlxtend_frequent(data: Synthetic) -> tuple[Callable[[], None], list[int]]:
    """Return a run of mlxtend's fpgrowth on a table of items, and its counts."""
    import pandas as pd
    from mlxtend.frequent_patterns import fpgrowth

    items = [
        column[:, None] == np.unique(column)
        for column in (data.paths[name].to_numpy() for name in layer_columns(data.paths))
    ]
    table = pd.DataFrame(np.concatenate(items, axis=1))
    counts: list[int] = []

    def run() -> None:
        # Its threshold is a share, compared with ceil(share * n): half an image less is exact.
        frequent = fpgrowth(table, min_support=(MIN_IMAGES - 0.5) / len(table))
        counts.append(len(frequent))

    return run, counts


def peak_rows() -> list[Row]:
    """Mine 1.28 million paths of 50 layers in a process that reads its own peak memory."""
    command = [sys.executable, "-c", "from benchmarks.mining import mine_many; mine_many()"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    size = f"{found['patterns']:,} closed patterns of 1,280,000 x 50"
    return [
        Row(
            name="peak_megabytes",
            value=found["peak_megabytes"],
            unit="MB",
            against=f"whole process, interval miner, {size}; "
            f"{found['before_megabytes']:,.0f} MB before mining, most of it the paths",
            goal="<= 1000",
        ),
        Row(
            name="interval_seconds_1280k_x_50",
            value=found["seconds"],
            unit="s",
            against=f"processor time, {size}",
            goal="<= 10",
        ),
    ]


def mine_many() -> None:
    """Print what mining 1.28 million paths of 50 layers takes, as JSON."""
    data = synthetic_paths(1_280_000, widths=DEEP_WIDTHS, n_classes=1_000)
    before = peak_megabytes()
    started = time.process_time()
    patterns = count(interval_patterns(data.paths))
    found = {
        "patterns": patterns,
        "seconds": time.process_time() - started,
        "before_megabytes": before,
        "peak_megabytes": peak_megabytes(),
    }
    print(json.dumps(found))


def peak_megabytes() -> float:
    """Return the most memory that this process has held at a time."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: on Linux its peak begins with that of the process that started this one.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


if __name__ == "__main__":
    main()
