"""What a benchmark finds is what its issue asks for, where that is a fact and not a speed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def rows_of(name: str, folder: Path, *arguments: str) -> dict[str, float]:
    out = folder / "rows.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(out), *arguments]
    subprocess.run(command, cwd=ROOT, check=True, timeout=500)
    return {row["name"]: row["value"] for row in json.loads(out.read_text())}


@pytest.mark.accept
def test_smallest_flips_are_true(digits_path, tmp_path):
    """For 200 images and every change: they flip, and next to nothing smaller does."""
    rows = rows_of("flips", tmp_path, str(digits_path))
    assert rows["flip_does_not_flip"] == 0
    assert rows["smaller_on_grid"] == 0
    assert rows["stored_grid_disagreements"] == 0
    assert rows["smaller_on_ten_times_finer_grid"] <= 0.02


def test_the_network_view_answers_what_its_benchmark_asks(digits_path, tmp_path):
    rows = rows_of("network_view", tmp_path, "--rounds", "1", str(digits_path))
    asked = {name.removeprefix(f"{digits_path.name}_") for name in rows}
    assert {"click_ms", "list_ms", "hover_ms"} < asked
    assert any(name.startswith("lasso_of_") for name in asked)
    assert min(rows.values()) > 0


def test_miners_that_are_compared_find_the_same(tmp_path):
    """The benchmark itself ends in an error where their counts differ."""
    rows = rows_of("mining", tmp_path, "--quick")
    assert {"duckdb_seconds", "interval_over_duckdb", "gapped_selection_ms"} <= rows.keys()
    for package, row in (
        ("polars", "interval_over_polars"),
        ("prefixspan", "prefixspan_over_ours"),
        ("mlxtend", "mlxtend_over_ours"),
    ):
        assert (row in rows) == (importlib.util.find_spec(package) is not None)


@pytest.mark.accept
def test_mining_a_million_paths_fits_in_a_gigabyte(tmp_path):
    rows = rows_of("mining", tmp_path)
    assert rows["peak_megabytes"] <= 1_000


def test_every_query_of_patterns_is_timed_warm_and_cold(tmp_path):
    rows = rows_of("queries", tmp_path, "--quick")
    names = ("image_patterns", "filter_patterns", "pattern_images", "class_shares")
    for name in (*names, "selection_patterns", "gapped_image"):
        assert {f"{name}_ms", f"{name}_cold_ms"} <= rows.keys()


def test_both_miners_write_the_same_tables_of_the_demo(digits_path):
    """Four tables of each of three path sets, compared whole."""
    command = [sys.executable, "-m", "benchmarks.engines", str(digits_path)]
    done = subprocess.run(
        command, cwd=ROOT, check=True, timeout=500, capture_output=True, text=True
    )
    assert done.stdout.count("rows, equal") == 12


@pytest.mark.accept
def test_sessions_on_a_large_map_leave_nothing(tmp_path):
    """On 100,000 generated images of 10 and of 1,000 classes."""
    rows = rows_of("million", tmp_path, "--quick")
    for classes in (10, 1_000):
        assert rows[f"sessions_left_alive_{classes}"] == 0
