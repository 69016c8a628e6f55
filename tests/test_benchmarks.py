"""What a benchmark finds is what its issue asks for, where that is a fact and not a speed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.accept
def test_smallest_flips_are_true(digits_path, tmp_path):
    """For 200 images and every change: they flip, and next to nothing smaller does."""
    out = tmp_path / "rows.json"
    command = [sys.executable, "-m", "benchmarks.flips", "--json", str(out), str(digits_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=500)
    rows = {row["name"]: row["value"] for row in json.loads(out.read_text())}
    assert rows["flip_does_not_flip"] == 0
    assert rows["smaller_on_grid"] == 0
    assert rows["stored_grid_disagreements"] == 0
    assert rows["smaller_on_ten_times_finer_grid"] <= 0.02
