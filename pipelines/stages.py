"""Every stage, in the order in which a store is made; never imports torch."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pipelines.stage import Stage, describe_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pipelines.project import Project


def _ingest_settings(project: Project) -> Mapping[str, Any]:
    sections = ["dataset", "seed"]
    # Only then does the size of the input change what is stored.
    if project.dataset.store_images == "input":
        sections.append("preprocess")
    return project.settings(*sections)


def _weights(project: Project) -> tuple[Path, ...]:
    return () if project.model.weights is None else (project.model.weights,)


def _data(project: Project) -> Mapping[str, Any]:
    # What torchvision downloads and unpacks is none of the project's files.
    if project.dataset.source == "torchvision":
        return {}
    return describe_files(project.dataset.path)


_STAGES = (
    Stage(
        name="ingest",
        doc="Read images and labels into the store.",
        settings=_ingest_settings,
        foreign=_data,
    ),
    Stage(
        name="train",
        doc="Train the network that is to be tested.",
        settings=lambda project: project.settings("train", "model", "preprocess", "seed"),
        reads=("ingest",),
    ),
    Stage(
        name="capture",
        doc="One forward pass: scores, activations and embeddings of every image.",
        settings=lambda project: project.settings("model", "preprocess", "capture"),
        reads=("ingest", "train"),
        files=_weights,
    ),
    Stage(
        name="paths",
        doc="Statistics of every filter, and the winning filters of every image.",
        settings=lambda project: {"reference_split": project.dataset.reference},
        reads=("ingest", "capture"),
    ),
    Stage(
        name="mine",
        doc="Find the patterns that enough images share.",
        settings=lambda project: project.settings("mine", "view"),
        reads=("ingest", "capture", "paths"),
    ),
    Stage(
        name="embed",
        doc="Project the embedding to a map.",
        settings=lambda project: project.settings("embed", "seed"),
        reads=("capture",),
    ),
    Stage(
        name="simulate",
        doc="Expose every class to every perturbation.",
        settings=lambda project: project.settings("simulate", "seed"),
        reads=("ingest", "capture"),
    ),
)

STAGES: Mapping[str, Stage] = MappingProxyType({stage.name: stage for stage in _STAGES})
"""Every stage by name, in the order in which a store is made."""


def tasks(project: Project) -> Iterator[dict[str, Any]]:
    """Yield the tasks of doit that bring the store of a project up to date."""
    # `train` is a task wherever the file has a recipe, and part of the store only where the store
    # is made of the weights that it leaves.
    names = [name for name in STAGES if name != "train" or project.train is not None]
    for name in names:
        yield STAGES[name].task(project, STAGES)
    yield {
        "basename": "store",
        "name": project.name,
        "doc": f"Bring {project.store.name} up to date: all of its stages.",
        "actions": None,
        "task_dep": [
            f"{name}:{project.name}" for name in names if name != "train" or project.trains
        ],
    }


def broken_task(path: Path, message: str) -> dict[str, Any]:
    """Return a task that only says what is wrong with a project file; the others still work."""

    def refuse() -> None:
        raise SystemExit(message)

    return {
        "basename": "store",
        "name": path.stem,
        "doc": f"Cannot be read: {message}",
        "actions": [refuse],
        "verbosity": 2,
    }
