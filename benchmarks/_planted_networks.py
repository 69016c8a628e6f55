"""Networks with and without a planted shortcut, made by the real stages, and the truth of each."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks._planted_images import Plan, PlantedImages
from feature_store import Store
from pipelines.project import Project
from pipelines.runner import run_stage
from vatun.network import load_network
from vatun.preprocess import to_input

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from vatun.network import Network

LEARNT = 0.25
"""Least share of test images that the cue turns into its class for a shortcut to be learnt."""

STAGES = ("ingest", "train", "capture", "paths", "mine")

_PROJECT = """
seed = {seed}
plugins = ["benchmarks._planted_images"]
[dataset]
source = "planted"
name = {name}
splits = ["train", "test"]
[model]
builder = "small_vgg"
[preprocess]
resize = 32
mean = [0.4, 0.4, 0.4]
std = [0.25, 0.25, 0.25]
[train]
epochs = {epochs}
batch_size = 32
learning_rate = 0.02
[capture]
device = "cpu"
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cue:
    """One planted cue of a network, and what it does there.

    Parameters
    ----------
    kind : str
        Of ``KINDS``.
    target : int
        Class that it goes with in training; nominal in a control.
    carries : ndarray of shape (n,), bool
        By image id: the image carries the cue.
    is_judged : ndarray of shape (n,), bool
        By image id: the image is of another class than the target, and can tell of the cue.
    is_planted : ndarray of shape (n,), bool
        By image id: a test image that is predicted as the target with the cue, and as its own
        class when it is drawn without the cue.
    flips : float
        Share of planted errors among the test images of the other classes that carry the cue and
        are right without it.
    """

    kind: str
    target: int
    carries: NDArray[np.bool_]
    is_judged: NDArray[np.bool_]
    is_planted: NDArray[np.bool_]
    flips: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """A network under test, its store, and the truth.

    Parameters
    ----------
    plan : Plan
        What was planted.
    path : Path
        Folder of the store.
    network : Network
        The trained network.
    images : PlantedImages
        Its images; their numbers are the ids of the store.
    predicted : ndarray of shape (n,), int64
        Predicted class by image id.
    cues : tuple of Cue
        In the order of ``plan.kinds``.
    """

    plan: Plan
    path: Path
    network: Network
    images: PlantedImages
    predicted: NDArray[np.int64]
    cues: tuple[Cue, ...]

    @property
    def accuracy(self) -> float:
        """Share of the test images that are predicted right."""
        is_test = self.images.is_test
        return float((self.predicted == self.images.label)[is_test].mean())


def make(plan: Plan, folder: Path, *, epochs: int) -> Made:
    """Draw, train, capture and mine by the stages of the pipeline, and work out the truth.

    Parameters
    ----------
    plan : Plan
        What is planted.
    folder : Path
        Where project file and store are written.
    epochs : int
        Passes over the training images.

    Returns
    -------
    Made

    Raises
    ------
    RuntimeError
        When a stage fails; with all that the stages said.
    """
    file = folder / "projects" / "planted.toml"
    file.parent.mkdir(parents=True)
    file.write_text(_PROJECT.format(seed=plan.seed, name=json.dumps(plan.name), epochs=epochs))
    project = Project.load(file)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            for stage in STAGES:
                module = importlib.import_module(f"pipelines.{stage}")
                run_stage(stage, module.run, project=project)
    except Exception as error:
        msg = f"{plan.name} of seed {plan.seed} cannot be made:\n{said.getvalue()}"
        raise RuntimeError(msg) from error
    images = PlantedImages(plan)
    with Store.open(project.store) as store:
        spec = project.model_spec(classes=len(store.class_names))
        predicted = _predicted(store, images)
    network = load_network(spec, project.input_spec, weights=project.trained_weights, device="cpu")
    cues = tuple(cue_of(kind, images, network, predicted) for kind in plan.kinds)
    return Made(
        plan=plan,
        path=project.store,
        network=network,
        images=images,
        predicted=predicted,
        cues=cues,
    )


def _predicted(store: Store, images: PlantedImages) -> NDArray[np.int64]:
    rows = store.arrow(
        "SELECT image_id, true_class, predicted_class FROM images JOIN predictions "
        "USING (image_id) ORDER BY image_id"
    )
    ids = rows["image_id"].to_numpy()
    true = rows["true_class"].to_numpy()
    if not (np.array_equal(ids, np.arange(len(images))) and np.array_equal(true, images.label)):
        msg = "the store holds other images than were drawn"
        raise RuntimeError(msg)
    return np.asarray(rows["predicted_class"].to_numpy(), dtype=np.int64)


def cue_of(
    kind: str, images: PlantedImages, network: Network, predicted: NDArray[np.int64]
) -> Cue:
    """Find out which errors are of a cue: draw the images again without it, and ask again.

    Parameters
    ----------
    kind : str
        The cue.
    images : PlantedImages
        All images.
    network : Network
        The trained network.
    predicted : ndarray of shape (n,), int64
        What it says of the images as they are.

    Returns
    -------
    Cue
    """
    target, carries = images.targets[kind], images.carries[kind]
    rows = np.flatnonzero(carries & images.is_test & (images.label != target))
    drawn = np.stack([images.draw(int(row), without={kind}) for row in rows])
    without = classes_of(network, drawn)
    is_right = without == images.label[rows]
    is_planted = np.zeros(len(images), dtype=bool)
    is_planted[rows] = is_right & (predicted[rows] == target)
    return Cue(
        kind=kind,
        target=target,
        carries=carries,
        is_judged=images.label != target,
        is_planted=is_planted,
        flips=float(is_planted[rows][is_right].mean()) if is_right.any() else 0.0,
    )


def classes_of(network: Network, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Predict images of shape (n, 32, 32, 3), uint8."""
    return np.asarray(network.logits(to_input(pixels)).argmax(dim=1).cpu())
