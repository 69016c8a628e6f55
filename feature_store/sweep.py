"""Removing what nobody can read any more; only the holder of the lock may do it."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from feature_store.durable import TEMPORARY
from feature_store.manifest import MANIFEST, generation_folder, load_manifest

if TYPE_CHECKING:
    from pathlib import Path

GRACE_SECONDS = 24 * 3600.0
"""How long a replaced generation stays: DuckDB opens files by name, when a query needs them."""

_KEPT = 2


def sweep_leftovers(root: Path, current: int) -> None:
    """Remove temporary files, and generations that were never committed.

    Parameters
    ----------
    root : Path
        The store.
    current : int
        Number of the committed generation, 0 in a new store.
    """
    for folder in _generations(root):
        if int(folder.name) > current:
            shutil.rmtree(folder, ignore_errors=True)
    for path in root.rglob(f".*{TEMPORARY}*"):
        path.unlink(missing_ok=True)


def sweep_generations(root: Path, current: int, *, grace_seconds: float = GRACE_SECONDS) -> None:
    """Remove generations that were replaced long ago, but no file that a kept one names.

    Parameters
    ----------
    root : Path
        The store.
    current : int
        Number of the committed generation; it and the one before are always kept.
    grace_seconds : float
        Time since its replacement during which a generation is kept too.
    """
    folders = {int(folder.name): folder for folder in _generations(root)}
    kept = [number for number in folders if _is_kept(root, number, current, grace_seconds)]
    # A manifest that cannot be read raises here, before anything is removed.
    manifests = [
        load_manifest(folders[number] / MANIFEST)
        for number in kept
        if (folders[number] / MANIFEST).is_file()
    ]
    named = {part.path for manifest in manifests for part in manifest.parts()}
    for number, folder in folders.items():
        if number not in kept:
            _remove_unnamed(root, folder, named)


def _is_kept(root: Path, number: int, current: int, grace_seconds: float) -> bool:
    if number > current - _KEPT:
        return True
    try:
        replaced = (root / generation_folder(number + 1) / MANIFEST).stat().st_mtime
    except FileNotFoundError:
        return False
    # A clock that was set back makes the age negative: kept, as long as in doubt.
    return time.time() - replaced < grace_seconds


def _remove_unnamed(root: Path, folder: Path, named: set[str]) -> None:
    """Remove the manifest first, so that no manifest ever names a missing file."""
    (folder / MANIFEST).unlink(missing_ok=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(root).as_posix() not in named:
            path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _generations(root: Path) -> list[Path]:
    gen = root / "gen"
    if not gen.is_dir():
        return []
    return sorted(folder for folder in gen.iterdir() if folder.name.isdigit())
