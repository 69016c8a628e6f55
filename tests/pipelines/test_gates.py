"""What stops a long run before it starts, and what is kept of the activations."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

from feature_store import Store
from pipelines.capture import _check_accuracy
from pipelines.errors import StageError
from pipelines.project import Project
from vatun.builders import build

TRAIN = ("[embed]", "[train]\nepochs = 4\nbatch_size = 16\nlearning_rate = 0.05\n[embed]")
OPEN = "[capture]\ncheck_accuracy = false\n"
PROJECT = SimpleNamespace(trains=False)


def test_wrong_normalisation_is_noticed_before_the_long_run(workshop, tmp_path):
    project = workshop.make(tmp_path, changes=(TRAIN,))
    workshop.build(project, "ingest", "train")
    trained = Project.load(project).trained_weights
    tensors = load_file(trained)
    # A network that says "green" whatever it sees.
    bias = next(name for name in tensors if name.endswith("classifier.2.bias"))
    tensors[bias][:] = [0, 1e6, 0]
    save_file(tensors, tmp_path / "wrong.safetensors")
    text = project.read_text()
    project.write_text(
        text.replace('"small_vgg"', '"small_vgg"\nweights = "../wrong.safetensors"')
    )
    done = workshop.run(project, "capture")
    assert done.returncode == 2
    assert "33.3% are classified right" in done.stderr
    assert "check normalisation" in done.stderr
    assert not list((Project.load(project).store / "state" / "shards").rglob("*.json"))
    text = project.read_text()
    project.write_text(text + "[capture]\ncheck_accuracy = false\n")
    assert workshop.run(project, "capture").returncode == 0
    # Not a number, whatever it sees.
    weight = next(name for name in tensors if name.endswith("classifier.2.weight"))
    tensors[weight][:] = 3e38
    save_file(tensors, tmp_path / "wrong.safetensors")
    done = workshop.run(project, "capture")
    assert done.returncode == 2
    assert "the network returns NaN or infinity for 60 of 60 images" in done.stderr


def test_a_silent_layer_shows_no_images(workshop, tmp_path):
    changes = (('"small_vgg"', '"small_vgg"\nweights = "../silent.safetensors"'),)
    project = workshop.make(tmp_path, changes=(*changes, ("[embed]", f"{OPEN}[embed]")))
    state = {name: value.numpy() for name, value in build("small_vgg", 3).state_dict().items()}
    save_file(
        {name: np.zeros_like(value) for name, value in state.items()},
        tmp_path / "silent.safetensors",
    )
    workshop.build(project, "ingest", "capture", "paths", "mine")
    with Store.open(Project.load(project).store) as store:
        assert store.verify() == []
        assert store.table("top_images").shape[0] == 0
        assert store.arrow("select max(layer_000) as w from paths__balanced")["w"][0].as_py() == -1


@pytest.mark.parametrize("weights", ["", "../given.safetensors", "../given.pt"])
def test_the_forecast_holds_the_weights_that_the_store_keeps(workshop, tmp_path, weights):
    named = f'"small_vgg"\nweights = "{weights}"' if weights else '"small_vgg"'
    changes = (('"small_vgg"', named), ("[embed]", f"{OPEN}[embed]"))
    project = workshop.make(tmp_path, changes=changes)
    # Small beside the images of no real store; beside these 60 it is nearly all.
    state = build("small_vgg", 3).state_dict()
    torch.save(state, tmp_path / "given.pt")
    save_torch(state, tmp_path / "given.safetensors")
    workshop.build(project, "ingest")
    done = workshop.run(project, "capture")
    assert done.returncode == 0, done.stderr
    said = re.search(r"capture: 60 images, about .* and ([\d.]+) MB", done.stderr)[1]
    files = list(Project.load(project).store.rglob("weights.*"))
    assert len(files) == (1 if weights.endswith(".safetensors") else 2)
    kept = sum(file.stat().st_size for file in files) / 1e6
    # Megabytes are said with one digit after the point.
    assert kept - 0.1 < float(said) < kept + 0.3


@pytest.mark.parametrize(("right", "classes"), [(145, 2), (45, 10), (100, 3)])
def test_what_is_better_than_chance_passes_the_gate(right, classes):
    _check_accuracy(right, 256, classes, PROJECT)
    with pytest.raises(StageError, match="check_accuracy = false"):
        _check_accuracy(256 // classes, 256, classes, PROJECT)


def test_weights_of_another_network_are_refused_in_one_line(workshop, tmp_path):
    project = workshop.make(tmp_path, changes=(TRAIN,))
    workshop.build(project, "ingest", "train")
    weights = Project.load(project).trained_weights
    text = project.read_text().replace(
        '"small_vgg"', f'"torchvision:squeezenet1_1"\nweights = "{weights}"'
    )
    project.write_text(text)
    done = workshop.run(project, "capture")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    project.write_text(text.replace('weights = "', 'classes = 5\nweights = "'))
    done = workshop.run(project, "capture")
    assert "[model] classes = 5, but the data set has 3: blue, green, red" in done.stderr


def test_activations_may_be_kept_for_the_top_images_only_or_not_at_all(workshop, tmp_path):
    paths = {}
    for kind in ("all", "top", "none"):
        changes = (("[embed]", f'[capture]\nactivations = "{kind}"\n[embed]'),)
        project = workshop.make(tmp_path / kind, changes=changes)
        workshop.build(project, "ingest", "capture", "paths")
        folder = Project.load(project).store
        with Store.open(folder) as store:
            assert store.verify() == []
            assert store.has("activations/max/000") == (kind != "none")
            table = store.arrow("select * from paths__balanced order by image_id")
            paths[kind] = table.to_pydict()
        assert not list((folder / "state" / "shards").rglob("*.json"))
    assert paths["all"] == paths["top"] == paths["none"]
