"""Stores that every part of the tests may read; built once a session by the real stages."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from feature_store import Store
from tests import stage_process

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser):
    parser.addoption("--run-accept", action="store_true", help="also run what takes minutes")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--run-accept") or "accept" in (config.getoption("-m") or ""):
        return
    skip = pytest.mark.skip(reason="takes minutes: `make accept` runs it")
    for item in items:
        if "accept" in item.keywords:
            item.add_marker(skip)


def build(project: Path, *stages: str) -> None:
    """Run stages of a project file (all without names) in a process of their own."""
    done = stage_process.call("tests.build_store", str(project), *stages)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def workshop():
    """Return what tests of the pipelines make projects with: see ``Workshop``."""
    return Workshop()


class Workshop:
    """Make and build small projects."""

    root = ROOT

    def make(
        self, folder: Path, *, changes: tuple[tuple[str, str], ...] = (), count: int = 60
    ) -> Path:
        """Write images and a project file below ``folder``; return the file."""
        draw_images(folder / "data", count=count)
        project = folder / "projects" / "tiny.toml"
        project.parent.mkdir()
        text = TINY
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        project.write_text(text)
        return project

    def build(self, project: Path, *stages: str) -> None:
        """Run stages, all without names."""
        build(project, *stages)

    def run(self, project: Path, stage: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one stage as its command does, whatever comes of it."""
        return stage_process.call(f"pipelines.{stage}", str(project), *arguments)

    def start(self, project: Path, stage: str, *arguments: str):
        """Start one stage as doit does."""
        command = [sys.executable, "-m", f"pipelines.{stage}", str(project), *arguments]
        options = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

        def heed_interrupts():
            # A shell's background job ignores Ctrl-C, and what it starts would inherit that.
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        return subprocess.Popen(command, preexec_fn=heed_interrupts, **options)


@pytest.fixture(scope="session")
def digits_path(tmp_path_factory) -> Path:
    """Return the folder of the demo's store: the real project, with a smaller simulation."""
    folder = tmp_path_factory.mktemp("digits") / "projects"
    folder.mkdir()
    text = (ROOT / "projects" / "digits.toml").read_text()
    text = text.replace("control = true", "control = false")
    text = text.replace("[simulate]", "[simulate]\nimages_per_class = 10")
    project = folder / "digits.toml"
    project.write_text(text)
    build(project)
    return folder.parent / "stores" / "digits"


@pytest.fixture(scope="session")
def digits_store(digits_path):
    """Return an open reader of the demo's store."""
    with Store.open(digits_path) as store:
        yield store


def draw_images(
    folder: Path, *, count: int, side: int = 32, classes=("red", "green", "blue")
) -> Path:
    """Write PNG images in class folders: noise around the colour of the class."""
    generator = np.random.default_rng(0)
    for index in range(count):
        label = index % len(classes)
        pixels = generator.integers(0, 90, (side, side, 3))
        pixels[..., label % 3] += 120
        target = folder / classes[label] / f"{index:04d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(target)
    return folder


TINY = """
seed = 3
[dataset]
source = "image_folder"
path = "../data"
splits = ["all"]
[model]
builder = "small_vgg"
[preprocess]
resize = 32
[embed]
projections = ["pca"]
[simulate]
perturbations = ["horizontal_flip", {name = "brightness", grid = [0.6, 1.0, 1.4]}]
[mine]
min_images = 4
"""


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory) -> Path:
    """Return the folder of a complete store: 60 images in 3 classes and a random network."""
    folder = tmp_path_factory.mktemp("tiny")
    draw_images(folder / "data", count=60)
    project = folder / "projects" / "tiny.toml"
    project.parent.mkdir()
    project.write_text(TINY)
    build(project)
    return folder / "stores" / "tiny"


@pytest.fixture
def tiny_store(tiny_path):
    """Return an open reader of the store of 60 images."""
    with Store.open(tiny_path) as store:
        yield store
