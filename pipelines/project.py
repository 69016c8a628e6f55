"""One project file: which data, which network, and what is computed about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipelines.checks import check_project
from pipelines.errors import ProjectError
from pipelines.settings import (
    convert,
    import_plugins,
    plain,
    read_section,
    read_toml,
    refuse_unknown,
    resolve_path,
)
from vatun.errors import VatunError
from vatun.specs import PERTURBATION_SPECS, InputSpec, ModelSpec, check_grid, find_spec

PATH_SETS = ("paper", "mean", "balanced")

# Settings that change how fast a result is made, not the result.
_SPEED = {"speed": True}


@dataclass(frozen=True, kw_only=True)
class DatasetSection:
    """``[dataset]``: where images and labels come from.

    Parameters
    ----------
    source : str
        Registered loader: digits, parquet, image_folder, table or torchvision.
    path : Path or None
        File or folder that the loader reads.
    name : str or None
        Data set of ``torchvision.datasets``, for source torchvision.
    download : bool
        Whether torchvision may download it.
    columns : dict
        Names of the columns ``image``, ``label``, ``split`` in a parquet or table source.
    splits : tuple of str
        Splits to read, in this order.
    reference_split : str or None
        Split whose statistics normalise activations; None is the first of ``splits``.
    store_images : str
        ``original`` bytes, ``input`` (lossless, at the size of the input), or ``path`` only.
    bias : float
        For digits: share of training images whose background hue agrees with the class.
    workers : int
        Threads that read and decode.
    """

    source: str
    path: Path | None = None
    name: str | None = None
    download: bool = False
    columns: dict[str, str] = field(default_factory=dict)
    splits: tuple[str, ...] = ("train", "test")
    reference_split: str | None = None
    store_images: Literal["original", "input", "path"] = "original"
    bias: float = 0.9
    workers: int = field(default=2, metadata=_SPEED)

    def __post_init__(self) -> None:
        if not self.splits or len(set(self.splits)) != len(self.splits):
            raise ProjectError("splits needs at least one name, each once")
        if self.reference_split is not None and self.reference_split not in self.splits:
            listed = ", ".join(self.splits)
            raise ProjectError(f"reference_split must be one of the splits: {listed}")
        if not 0 <= self.bias <= 1:
            raise ProjectError("bias must lie between 0 and 1")
        if self.workers < 1:
            raise ProjectError("workers must be at least 1")

    @property
    def reference(self) -> str:
        """The split that fixes the statistics of activations."""
        return self.reference_split or self.splits[0]


@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """``[model]``: how the network is built.

    Parameters
    ----------
    builder : str
        As ``vatun.specs.ModelSpec.builder``.
    weights : Path or None
        Weights file; None takes those of the stage ``train``, or random ones where there is none.
    classes : int or None
        Number of outputs; None is the number of classes of the data set.
    """

    builder: str
    weights: Path | None = None
    classes: int | None = None


@dataclass(frozen=True, kw_only=True)
class PreprocessSection:
    """``[preprocess]``: how an image becomes an input, see ``vatun.specs.InputSpec``.

    Parameters
    ----------
    resize : int
        With ``crop``: pixels of the shorter side; alone: both sides of the input.
    crop : int or None
        Side of the square cut from the middle.
    mean, std : tuple of float
        Normalisation per channel, in units of [0, 1] pixels.
    """

    resize: int
    crop: int | None = None
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.resize < 1 or not 1 <= (self.crop or 1) <= self.resize or self.crop == 0:
            raise ProjectError("resize must be at least 1, and crop between 1 and resize")
        self.input_spec()

    def input_spec(self) -> InputSpec:
        """Return the specification that the network is loaded with."""
        side = self.resize if self.crop is None else self.crop
        return InputSpec(
            height=side,
            width=side,
            resize=None if self.crop is None else self.resize,
            crop=None if self.crop is None else "center",
            mean=self.mean,
            std=self.std,
        )


@dataclass(frozen=True, kw_only=True)
class TrainSection:
    """``[train]``: the recipe; stochastic gradient descent with Nesterov momentum.

    Parameters
    ----------
    epochs, batch_size : int
        Passes over the split, and images a step.
    learning_rate : float
        Peak of the one-cycle schedule.
    momentum, weight_decay, label_smoothing : float
        As in ``torch.optim.SGD`` and ``torch.nn.CrossEntropyLoss``.
    augment : tuple of str
        Any of crop (4 pixels of padding), flip and cutout (a quarter of the side).
    split : str or None
        Split that is trained on; None is the reference split.
    control : bool
        For digits: train the same network without the bias too, and record its accuracy.
    threads : int or None
        Threads of torch on a CPU. How many there are decides how sums are rounded, and so the
        weights: where figures are to be met again, fix them. None leaves it to the machine.
    """

    epochs: int
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    augment: tuple[Literal["crop", "flip", "cutout"], ...] = ()
    split: str | None = None
    control: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise ProjectError("epochs must be at least 1 and batch_size at least 2")
        if self.threads is not None and self.threads < 1:
            raise ProjectError("threads must be at least 1")
        if self.learning_rate <= 0 or not 0 <= self.label_smoothing < 1:
            raise ProjectError("learning_rate must be above 0, label_smoothing from 0 to below 1")
        if self.momentum < 0 or self.weight_decay < 0:
            raise ProjectError("momentum and weight_decay must not be negative")


@dataclass(frozen=True, kw_only=True)
class CaptureSection:
    """``[capture]``: what is kept of one forward pass over every image.

    Parameters
    ----------
    layers : "auto" or tuple of str
        Layers to capture.
    activations : str
        Keep ``all`` activations, only those of the ``top`` images, or ``none``.
    batch_size : int
        Images a step; halved when memory runs out.
    include_logits : bool
        Whether the classifier output is a layer of the paths.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    check_accuracy : bool
        Whether given weights that do no better than chance stop the stage.
    """

    layers: Literal["auto"] | tuple[str, ...] = "auto"
    activations: Literal["all", "top", "none"] = "all"
    batch_size: int = field(default=128, metadata=_SPEED)
    include_logits: bool = False
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata=_SPEED)
    check_accuracy: bool = field(default=True, metadata=_SPEED)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ProjectError("batch_size must be at least 1")


@dataclass(frozen=True, kw_only=True)
class EmbedSection:
    """``[embed]``: which projections of the embedding are made.

    Parameters
    ----------
    projections : tuple of str
        Registered names (tsne, pca, umap); the first is shown first.
    perplexity : float
        Effective number of neighbours in t-SNE.
    jobs : int
        Threads of the projection; part of the result, so it is recorded.
    """

    projections: tuple[str, ...] = ("tsne", "pca")
    perplexity: float = 30.0
    jobs: int = 2

    def __post_init__(self) -> None:
        if not self.projections:
            raise ProjectError("projections needs at least one name")
        if self.perplexity <= 0 or self.jobs < 1:
            raise ProjectError("perplexity must be above 0 and jobs at least 1")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One perturbation and the magnitudes it is swept over.

    Parameters
    ----------
    name : str
        Registered perturbation.
    grid : tuple of float
        Ascending magnitudes; the identity is one of them.
    """

    name: str
    grid: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class SimulateSection:
    """``[simulate]``: what every class is exposed to.

    Parameters
    ----------
    perturbations : tuple of Sweep
        Perturbations and their grids.
    images_per_class : int or None
        Size of the seeded, class-balanced subset; None is every image of the split.
    split : str or None
        Split to take images from; None is the last one.
    harmless : dict
        Largest change from the identity, by perturbation, that must not alter a prediction.
    """

    perturbations: tuple[Sweep, ...] = ()
    images_per_class: int | None = None
    split: str | None = None
    harmless: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.images_per_class is not None and self.images_per_class < 1:
            raise ProjectError("images_per_class must be at least 1")


@dataclass(frozen=True, kw_only=True)
class MineSection:
    """``[mine]``: which patterns are looked for.

    Parameters
    ----------
    path_sets : tuple of str
        Of which paths.
    min_images : int
        Fewest images of a pattern.
    min_length : int
        Fewest layers of a pattern.
    engine : str
        ``duckdb``, ``interval``, or ``auto``: DuckDB up to 200,000 images and 20 layers, the
        interval miner beyond. The tables are the same.
    """

    path_sets: tuple[Literal["paper", "mean", "balanced"], ...] = PATH_SETS  # type: ignore[assignment]
    min_images: int = 5
    min_length: int = 2
    engine: Literal["auto", "duckdb", "interval"] = "auto"

    def __post_init__(self) -> None:
        if self.min_images < 2 or self.min_length < 1:
            raise ProjectError("min_images must be at least 2 and min_length at least 1")


@dataclass(frozen=True, kw_only=True)
class ViewSection:
    """``[view]``: what the app shows first.

    Parameters
    ----------
    path_set : str
        Path set that is chosen at the start.
    """

    path_set: Literal["paper", "mean", "balanced"] = "balanced"


@dataclass(frozen=True, kw_only=True)
class Project:
    """Everything a project file says, checked; see ``Project.load``."""

    name: str
    path: Path
    store: Path
    seed: int
    plugins: tuple[str, ...]
    dataset: DatasetSection
    model: ModelSection
    preprocess: PreprocessSection
    train: TrainSection | None
    capture: CaptureSection
    embed: EmbedSection
    simulate: SimulateSection
    mine: MineSection
    view: ViewSection

    @classmethod
    def load(cls, path: Path | str) -> Project:
        """Read a project file.

        Parameters
        ----------
        path : Path or str
            The TOML file; its name without the ending names the project.

        Returns
        -------
        Project
            Every value checked; no data, weights or store are touched.

        Raises
        ------
        ProjectError
            Naming the file, the section and the key that is wrong, and what is allowed.
        """
        path = Path(path).absolute()
        data = read_toml(path)
        refuse_unknown(data, known=_KNOWN, place=path.name)
        folder = path.parent

        def read(name: str, hint: Any, default: Any) -> Any:
            place = f"{path.name}: {name}"
            return (
                convert(data[name], hint, place=place, folder=folder) if name in data else default
            )

        def section(name: str, kind: type[Any]) -> Any:
            table = data.get(name, {})
            return read_section(kind, table, place=f"{path.name}: {name}", folder=folder)

        plugins = read("plugins", tuple[str, ...], ())
        # Plugins register loaders, perturbations and builders: before any name is looked up.
        import_plugins(plugins, place=path.name)
        sections: dict[str, Any] = {
            name: section(name, kind) for name, kind in _SECTIONS.items() if name != "simulate"
        }
        project = cls(
            name=path.stem,
            path=path,
            store=_store_path(data, path),
            seed=read("seed", int, 0),
            plugins=plugins,
            train=section("train", TrainSection) if "train" in data else None,
            simulate=_simulate(
                data.get("simulate", {}), place=f"{path.name}: simulate", folder=folder
            ),
            **sections,
        )
        check_project(project)
        return project

    @property
    def input_spec(self) -> InputSpec:
        """How an image becomes an input."""
        return self.preprocess.input_spec()

    @property
    def trains(self) -> bool:
        """Whether the store's network comes from the stage ``train``."""
        return self.train is not None and self.model.weights is None

    @property
    def trained_weights(self) -> Path:
        """Where the stage ``train`` leaves its weights."""
        return self.store / "state" / "train" / "weights.safetensors"

    def model_spec(self, *, classes: int) -> ModelSpec:
        """Return the specification of the network for a data set of ``classes`` classes."""
        layers = self.capture.layers
        return ModelSpec(
            builder=self.model.builder,
            classes=self.model.classes or classes,
            layers=None if layers == "auto" else tuple(layers),
            include_logits=self.capture.include_logits,
        )

    def settings(self, *sections: str) -> dict[str, Any]:
        """Return sections as JSON data, without paths and without what only changes the speed."""
        return {name: plain(getattr(self, name)) for name in sections}


_SECTIONS: dict[str, type[Any]] = {
    "dataset": DatasetSection,
    "model": ModelSection,
    "preprocess": PreprocessSection,
    "capture": CaptureSection,
    "embed": EmbedSection,
    "simulate": SimulateSection,
    "mine": MineSection,
    "view": ViewSection,
}
_KNOWN = (*_SECTIONS, "train", "plugins", "store", "seed")


def _store_path(data: Mapping[str, Any], path: Path) -> Path:
    if "store" in data:
        place = f"{path.name}: store"
        text = convert(data["store"], str, place=place, folder=path.parent)
        return resolve_path(text, folder=path.parent, place=place)
    # projects/x.toml beside dodo.py keeps its store in stores/x, also beside dodo.py.
    root = path.parent.parent if path.parent.name == "projects" else path.parent
    return root / "stores" / path.stem


def _simulate(data: Any, *, place: str, folder: Path) -> SimulateSection:
    """Read ``[simulate]``, whose perturbations are names or tables with a name and a grid."""
    table = dict(data) if isinstance(data, Mapping) else data
    entries = table.pop("perturbations", None) if isinstance(table, dict) else None
    section = read_section(SimulateSection, table, place=place, folder=folder)
    if entries is None:
        entries = list(PERTURBATION_SPECS)
    if not isinstance(entries, list):
        raise ProjectError(f"{place}.perturbations: must be a list")
    sweeps = []
    for index, entry in enumerate(entries):
        sweeps.append(_sweep(entry, place=f"{place}.perturbations[{index}]", folder=folder))
    if len({sweep.name for sweep in sweeps}) != len(sweeps):
        raise ProjectError(f"{place}.perturbations: a perturbation is listed twice")
    for name, change in section.harmless.items():
        _checked(lambda name=name: find_spec(name), place=f"{place}.harmless")
        if change < 0:
            raise ProjectError(f"{place}.harmless.{name}: must not be negative")
    return dataclasses.replace(section, perturbations=tuple(sweeps))


def _sweep(entry: object, *, place: str, folder: Path) -> Sweep:
    if isinstance(entry, str):
        spec = _checked(lambda: find_spec(entry), place=place)
        return Sweep(name=spec.name, grid=spec.grid)
    sweep = read_section(Sweep, entry, place=place, folder=folder)
    spec = _checked(lambda: find_spec(sweep.name), place=place)
    _checked(lambda: check_grid(spec, sweep.grid), place=place)
    return sweep


def _checked(action: Any, *, place: str) -> Any:
    try:
        return action()
    except VatunError as error:
        raise ProjectError(f"{place}: {error}") from None
