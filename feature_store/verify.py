"""Finding the byte that is wrong: every file of a generation against the hash taken at writing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_store.errors import StoreCorruptError, StoreError
from feature_store.manifest import (
    CURRENT,
    MANIFEST,
    generation_folder,
    load_manifest,
    read_current,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from feature_store.manifest import Manifest, Part

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Problem:
    """One file of a store that is not as it was written.

    Parameters
    ----------
    path : str
        File, relative to the store.
    message : str
        What is wrong with it.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def verify_store(
    root: Path, *, progress: Callable[[int, int], None] | None = None
) -> list[Problem]:
    """Check the current generation of a store that may be too damaged to be opened.

    Parameters
    ----------
    root : Path
        The store.
    progress : callable or None
        Called with the bytes done and the bytes in all.

    Returns
    -------
    list of Problem
        Empty when all is well. A damaged `CURRENT` or manifest is the only problem named, because
        what else belongs to the store is then unknown.

    Raises
    ------
    StoreNotFoundError
        When nothing was committed there.
    StoreVersionError
        When a newer major version wrote it.
    """
    root = root.resolve()
    path = CURRENT
    try:
        number, sha256 = read_current(root)
        path = f"{generation_folder(number)}/{MANIFEST}"
        manifest = load_manifest(root / path, sha256)
    except StoreCorruptError as error:
        return [Problem(path, str(error))]
    return verify_generation(root, manifest, progress=progress)


def verify_generation(
    root: Path, manifest: Manifest, *, progress: Callable[[int, int], None] | None = None
) -> list[Problem]:
    """Check `CURRENT`, the manifest and every file that it names, byte by byte.

    Parameters
    ----------
    root : Path
        The store.
    manifest : Manifest
        The generation to check.
    progress : callable or None
        Called with the bytes done and the bytes in all.

    Returns
    -------
    list of Problem
        Empty when all is well.
    """
    problems = _verify_heads(root, manifest)
    parts = manifest.parts()
    total = sum(part.bytes for part in parts)
    done = 0
    for part in parts:
        message = _wrong(root, part)
        if message:
            problems.append(Problem(part.path, message))
        done += part.bytes
        if progress is not None:
            progress(done, total)
    return problems


def _verify_heads(root: Path, manifest: Manifest) -> list[Problem]:
    try:
        number, sha256 = read_current(root)
    except StoreError as error:
        return [Problem(CURRENT, str(error))]
    if number != manifest.generation:
        # A newer generation was committed meanwhile; it has its own manifest hash.
        return []
    path = f"{generation_folder(number)}/{MANIFEST}"
    try:
        load_manifest(root / path, sha256)
    except StoreError as error:
        return [Problem(path, str(error))]
    return []


def _wrong(root: Path, part: Part) -> str | None:
    """Say what is wrong with a file, or nothing."""
    digest = hashlib.sha256()
    size = 0
    try:
        with (root / part.path).open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if size != part.bytes:
        return f"has {size:,} bytes, {part.bytes:,} were written"
    if digest.hexdigest() != part.sha256:
        return "does not hold what was written (its hash differs)"
    return None
