"""Small stores, and the script that crashes writers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_store import Store, StoreWriter

SCRIPT = Path(__file__).with_name("crash.py")
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _close_stores(monkeypatch):
    """Close every store that a test opened."""
    opened = []
    original = Store.__init__

    def remember(self, *arguments):
        original(self, *arguments)
        opened.append(self)

    monkeypatch.setattr(Store, "__init__", remember)
    yield
    for store in opened:
        store.close()


@pytest.fixture
def rows():
    """Make small valid tables by name."""
    return _rows


def _rows(name: str, count: int = 4, value: int = 0) -> pa.Table:
    ids = np.arange(count, dtype=np.int32)
    if name == "classes":
        names = [f"class {index}" for index in range(count)]
        return pa.table({"class_index": ids.astype(np.int16), "class_name": names})
    if name == "images":
        columns = {
            "image_id": ids,
            "image_key": [f"key{index}" for index in ids],
            "split": ["train" if index % 2 else "test" for index in ids],
            "true_class": pa.array((ids % 2).astype(np.int16)),
            "source": [f"{index}.png" for index in ids],
            "encoded": pa.array([bytes([value]) * 10] * count, pa.binary()),
            "status": ["ok"] * count,
        }
        return pa.table(columns)
    if name == "predictions":
        columns = {
            "image_id": ids,
            "status": ["ok"] * count,
            "predicted_class": pa.array(np.zeros(count, np.int16)),
            "confidence": pa.array(np.full(count, 0.5, np.float32)),
            "is_correct": pa.array(ids % 2 == 0),
        }
        return pa.table(columns)
    if name.startswith("activations/"):
        values = (np.arange(count) + value).astype(np.float16)
        return pa.table({"image_id": ids, "f0000": values, "f0001": values})
    if name.startswith("paths/"):
        return pa.table({"image_id": ids, "layer_000": ids, "layer_001": ids + value})
    raise AssertionError(name)


@pytest.fixture
def commit(tmp_path, rows):
    """Commit tables to ``tmp_path / "demo"`` as one generation."""

    def write(*names: str, value: int = 0, lineage=None, info=None, **options) -> Path:
        root = tmp_path / "demo"
        with (
            StoreWriter.open(root, **options) as writer,
            writer.begin("capture") as generation,
        ):
            generation.info.update(info or {})
            for name in names:
                generation.write(name, rows(name, value=value), lineage=lineage)
        return root

    return write


@pytest.fixture
def demo(commit, tmp_path) -> Path:
    """Build a small store of one generation with weights."""
    root = commit("classes", "images", "predictions", "activations/max/000", "paths/paper")
    weights = tmp_path / "net.safetensors"
    weights.write_bytes(bytes(range(256)) * 20)
    with StoreWriter.open(root) as writer, writer.begin("capture") as generation:
        generation.add_file("weights", weights)
    return root


@pytest.fixture
def crash(tmp_path):
    """Run a command of crash.py and return its report."""

    def run(command: str, *arguments: object) -> dict:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), command, *map(str, arguments)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def start_crash():
    """Start a command of crash.py and return the process; it is ended with the test."""
    started = []

    def start(command: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), command, *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
