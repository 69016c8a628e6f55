"""What doit runs again, and what it leaves alone: a tiny project, run as a user runs it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

AFTER_CAPTURE = ["paths", "mine", "embed", "simulate"]
BROKEN = "[dataset]\nsource = 3\n"
# Enough to tell three colours apart, whatever the number of threads.
TRAIN = "[train]\nepochs = 8\nbatch_size = 16\nlearning_rate = 0.05\n[preprocess]"
NO_WEIGHTS = """
[dataset]
source = "digits"
[model]
builder = "small_vgg"
weights = "../none.safetensors"
[preprocess]
resize = 32
[train]
epochs = 1
"""


class Site:
    """A folder like a checkout: dodo.py, projects, data."""

    def __init__(self, folder: Path, workshop) -> None:
        self.folder = folder
        self.project = workshop.make(
            folder,
            changes=(("[preprocess]", TRAIN),),
        )
        shutil.copy(workshop.root / "dodo.py", folder)

    def doit(self, *arguments):
        """Return the stages that ran, and everything that was said."""
        done = subprocess.run(
            [sys.executable, "-m", "doit", *arguments],
            cwd=self.folder, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        ran = re.findall(r"^\.  (\w+):", done.stdout, flags=re.MULTILINE)
        return done.returncode, ran, done.stdout + done.stderr

    def change(self, before, after):
        text = self.project.read_text()
        assert before in text
        self.project.write_text(text.replace(before, after))


@pytest.fixture(scope="module")
def site(tmp_path_factory, workshop):
    made = Site(tmp_path_factory.mktemp("site"), workshop)
    status, ran, text = made.doit("store:tiny")
    assert status == 0, text
    assert ran == ["ingest", "train", "capture", "paths", "mine", "embed", "simulate"]
    return made


def test_nothing_runs_twice(site):
    assert site.doit("store:tiny")[:2] == (0, [])


def test_a_mining_threshold_reruns_mining_alone(site):
    site.change("min_images = 4", "min_images = 6")
    assert site.doit("store:tiny")[:2] == (0, ["mine"])


def test_what_only_changes_the_speed_reruns_nothing(site):
    site.change("[simulate]", "[capture]\nbatch_size = 7\n[simulate]")
    assert site.doit("store:tiny")[:2] == (0, [])


@pytest.mark.accept
def test_other_weights_rerun_all_that_follows(site):
    site.change("epochs = 8", "epochs = 9")
    assert site.doit("store:tiny")[:2] == (0, ["train", "capture", *AFTER_CAPTURE])


def test_unchanged_content_stops_the_chain(site):
    image = next((site.folder / "data").rglob("*.png"))
    image.touch()
    assert site.doit("store:tiny")[:2] == (0, ["ingest"])


def test_other_content_reruns_everything(site):
    images = sorted((site.folder / "data" / "red").glob("*.png"))
    images[0].write_bytes(images[1].read_bytes())
    assert site.doit("paths:tiny")[:2] == (0, ["ingest", "train", "capture", "paths"])
    info = json.loads(next(site.folder.glob("stores/tiny/gen/*/MANIFEST.json")).read_text())[
        "info"
    ]
    assert info["project"] == "tiny"


def test_the_state_of_doit_is_only_a_cache(site):
    for path in site.folder.glob(".doit.db*"):
        path.unlink()
    status, _, text = site.doit("paths:tiny")
    assert status == 0
    assert text.count("is up to date") == 4


def test_a_given_weights_file_is_compared_by_content(site):
    weights = site.folder / "given.safetensors"
    shutil.copy(site.folder / "stores/tiny/state/train/weights.safetensors", weights)
    site.change('builder = "small_vgg"', 'builder = "small_vgg"\nweights = "../given.safetensors"')
    assert site.doit("capture:tiny")[:2] == (0, ["capture"])
    weights.touch()
    assert site.doit("capture:tiny")[:2] == (0, [])
    tensors = load_file(weights)
    # asarray: the product of a tensor without dimensions is a scalar.
    changed = {name: np.asarray(t * 1.01, dtype=t.dtype) for name, t in tensors.items()}
    save_file(changed, weights)
    assert site.doit("paths:tiny")[:2] == (0, ["capture", "paths"])


@pytest.mark.accept
def test_other_projects_work_beside_a_broken_one_and_one_without_weights(site):
    (site.folder / "projects" / "broken.toml").write_text(BROKEN)
    (site.folder / "projects" / "bare.toml").write_text(NO_WEIGHTS)
    try:
        status, _, text = site.doit("list", "--all")
        assert status == 0
        assert "store:broken" in text
        assert site.doit("store:tiny")[0] == 0
        status, _, text = site.doit("store:broken")
        assert status != 0
        assert "broken.toml: dataset.source: must be text" in text
        status, _, text = site.doit("store:bare")
        assert status != 0
        assert "there are no weights at" in text
        assert "doit train:bare" in text
        assert "Traceback" not in text
    finally:
        (site.folder / "projects" / "broken.toml").unlink()
        (site.folder / "projects" / "bare.toml").unlink()


def test_missing_data_is_said_with_what_to_change(site):
    (site.folder / "projects" / "away.toml").write_text(
        '[dataset]\nsource = "parquet"\npath = "../none"\n'
        '[model]\nbuilder = "small_vgg"\n[preprocess]\nresize = 32\n'
    )
    try:
        status, _, text = site.doit("store:away")
    finally:
        (site.folder / "projects" / "away.toml").unlink()
    assert status != 0
    assert "there is no data at" in text
    assert "[dataset] path" in text
    assert "Traceback" not in text
