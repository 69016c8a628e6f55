"""What a project file may not say although each value has the right type; never imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.project import Project

SEEDS = 2**32
"""Seeds that numpy, scikit-learn and torch all take lie below."""

BUILT_IN_LOADERS = ("digits", "image_folder", "parquet", "table", "torchvision")
BUILT_IN_BUILDERS = ("vgg16_cifar", "small_vgg")
BUILT_IN_PROJECTIONS = ("tsne", "pca", "umap")


def check_project(project: Project) -> None:
    """Refuse values that would only fail in a stage, hours later.

    Raises
    ------
    ProjectError
        Naming the file, the key and what is allowed.
    """
    for problem in _problems(project):
        raise ProjectError(f"{project.path.name}: {problem}")


def _problems(project: Project) -> Iterator[str]:
    if not 0 <= project.seed < SEEDS:
        yield f"seed: must lie between 0 and {SEEDS - 1}, got {project.seed}"
    yield from _names(project)
    if not project.simulate.perturbations:
        yield "simulate.perturbations: needs at least one perturbation; leave the key out for all"
    if not project.mine.path_sets:
        yield "mine.path_sets: needs at least one name"
    if project.view.path_set not in project.mine.path_sets:
        listed = ", ".join(project.mine.path_sets)
        yield f"view.path_set: {project.view.path_set!r} is not among mine.path_sets: {listed}"
    classes = project.model.classes
    if classes is not None and classes < 2:
        yield f"model.classes: must be at least 2, got {classes}"


def _names(project: Project) -> Iterator[str]:
    for split in project.dataset.splits:
        if split in {"", ".", ".."} or "/" in split or "\\" in split:
            yield f"dataset.splits: {split!r} is no name; slashes and dots alone are not allowed"
    builder = project.model.builder
    source, colon, function = builder.partition(":")
    if colon and not (source and function):
        yield f"model.builder: {builder!r} needs a module before the colon and a name after it"
    chosen = project.embed.projections
    if len(set(chosen)) != len(chosen):
        yield "embed.projections: a projection is listed twice"
    # A plugin may have registered more; the stage then looks in the registry itself.
    if project.plugins:
        return
    if not colon and builder not in BUILT_IN_BUILDERS:
        listed = f"{', '.join(BUILT_IN_BUILDERS)}, torchvision:NAME or package.module:function"
        yield f"model.builder: unknown builder {builder!r}; known: {listed}"
    if project.dataset.source not in BUILT_IN_LOADERS:
        listed = ", ".join(BUILT_IN_LOADERS)
        yield f"dataset.source: unknown data source {project.dataset.source!r}; known: {listed}"
    for name in chosen:
        if name not in BUILT_IN_PROJECTIONS:
            listed = ", ".join(BUILT_IN_PROJECTIONS)
            yield f"embed.projections: unknown projection {name!r}; known: {listed}"
