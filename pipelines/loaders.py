"""Where images come from: a registry of loaders, each a function of the section ``[dataset]``."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pipelines.errors import DataError
from pipelines.project import DatasetSection
from vatun.errors import UnknownNameError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"})


@dataclass(frozen=True, kw_only=True)
class Record:
    """One image before it is decoded.

    Parameters
    ----------
    split : str
        Its split.
    label : int or None
        Index of its class; None where nobody has labelled it.
    source : str
        Where it comes from, for people; a path below the data set where it is a file.
    encoded : bytes or None
        The image file, where the loader has it in hand.
    file : Path or None
        The image file, where it is read later, by a worker.
    """

    split: str
    label: int | None
    source: str
    encoded: bytes | None = None
    file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A data set, ready to be walked once.

    Parameters
    ----------
    classes : tuple of str
        Names by index.
    records : iterable of Record
        In the order that gives the images their ids.
    total : int
        Number of records.
    """

    classes: tuple[str, ...]
    records: Iterable[Record]
    total: int


Loader = Callable[[DatasetSection, int], Listing]

_loaders: dict[str, Loader] = {}

LOADERS: Mapping[str, Loader] = MappingProxyType(_loaders)
"""Every loader by the name that ``[dataset] source`` gives."""


def loader(function: Loader) -> Loader:
    """Register ``function(section, seed)`` under its own name.

    Returns
    -------
    callable
        ``function``.

    Raises
    ------
    ValueError
        When the name is taken.
    """
    name = getattr(function, "__name__", "")
    if name in _loaders:
        raise ValueError(f"loader {name!r} is already registered")
    _loaders[name] = function
    return function


def find_loader(name: str) -> Loader:
    """Return the loader called ``name``.

    Returns
    -------
    callable
        The function.

    Raises
    ------
    UnknownNameError
        Listing the registered names.
    """
    try:
        return _loaders[name]
    except KeyError:
        msg = f"unknown data source {name!r}; known: {', '.join(sorted(_loaders))}"
        raise UnknownNameError(msg) from None


def need_path(section: DatasetSection) -> Path:
    """Return the path of a data set that lies on the disk.

    Returns
    -------
    Path
        It exists.

    Raises
    ------
    DataError
        Saying which key or which files are missing.
    """
    if section.path is None:
        raise DataError(f"[dataset] source = {section.source!r} needs a path")
    if not section.path.exists():
        msg = (
            f"there is no data at {section.path}: put it there, or change [dataset] path "
            "(or the environment variable that it names)"
        )
        raise DataError(msg)
    return section.path


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return uint8 pixels of shape (height, width, 3) as a PNG file, without loss."""
    buffer = io.BytesIO()
    # Level 1: small pictures gain nothing from searching longer, and large ones take for ever.
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


@loader
def image_folder(section: DatasetSection, seed: int) -> Listing:  # noqa: ARG001 - one signature
    """List a folder of class folders, or of split folders of class folders.

    Where ``path`` has a folder for every split, the classes are the folders below them; else the
    folders of ``path`` are the classes, and all images belong to the one split.

    Returns
    -------
    Listing
        Images by split, class and name.

    Raises
    ------
    DataError
        When folders are missing or hold no images.
    """
    path = need_path(section)
    roots = {split: path / split for split in section.splits}
    if not any(root.is_dir() for root in roots.values()):
        if len(section.splits) > 1:
            listed = ", ".join(section.splits)
            msg = f'{path} has no folders {listed}; for class folders alone: splits = ["all"]'
            raise DataError(msg)
        roots = {section.splits[0]: path}
    classes: set[str] = set()
    for split, root in roots.items():
        if not root.is_dir():
            raise DataError(f"{path} has no folder for the split {split!r}")
        classes.update(entry.name for entry in root.iterdir() if entry.is_dir())
    names = tuple(sorted(classes))
    records = [
        Record(split=split, label=label, source=file.relative_to(path).as_posix(), file=file)
        for split, root in roots.items()
        for label, name in enumerate(names)
        for file in sorted((root / name).rglob("*"))
        if file.suffix.lower() in IMAGE_SUFFIXES
    ]
    if len(names) < 2 or not records:
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        msg = f"{path} needs at least two class folders with images ({endings})"
        raise DataError(msg)
    return Listing(classes=names, records=records, total=len(records))


@loader
def torchvision(section: DatasetSection, seed: int) -> Listing:  # noqa: ARG001 - one signature
    """List a data set of ``torchvision.datasets`` by its ``name``.

    It is downloaded only where the project file says ``download = true``.

    Returns
    -------
    Listing
        Images in the order of the data set.

    Raises
    ------
    DataError
        When the name is unknown, or the files are not there and may not be downloaded.
    """
    from torchvision import datasets

    kind = getattr(datasets, section.name or "", None)
    if kind is None or section.path is None:
        raise DataError('[dataset] source = "torchvision" needs name (such as "CIFAR10") and path')
    parts = {}
    for split in section.splits:
        wanted = {"train": split == "train"} if _takes_train(kind) else {"split": split}
        try:
            parts[split] = kind(root=str(section.path), download=section.download, **wanted)
        except (RuntimeError, OSError, ValueError) as error:
            msg = (
                f"torchvision cannot read {section.name} in {section.path}: {error}. "
                "[dataset] download = true lets it download."
            )
            raise DataError(msg) from error
    first = next(iter(parts.values()))
    classes = tuple(str(name) for name in first.classes)

    def walk() -> Iterator[Record]:
        for split, data in parts.items():
            for index in range(len(data)):
                image, label = data[index]
                pixels = np.asarray(image.convert("RGB"))
                yield Record(
                    split=split,
                    label=int(label),
                    source=f"{split}/{index}",
                    encoded=encode_png(pixels),
                )

    return Listing(
        classes=classes, records=walk(), total=sum(len(data) for data in parts.values())
    )


def _takes_train(kind: type) -> bool:
    import inspect

    return "train" in inspect.signature(kind).parameters
