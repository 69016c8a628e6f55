"""Which stores a server shows, and which of them a session asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from feature_store import TableMissingError

STORES_FOLDER = Path("stores")
"""Where stores are looked for when none is named."""


def list_stores(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> dict[str, Path]:
    """Return the stores to show, by name, in order.

    Parameters
    ----------
    arguments : sequence of str
        Folders given after ``--args``.
    environment : mapping, optional
        Where ``VATUN_STORE`` is looked up; the process's own by default.

    Returns
    -------
    dict of str to Path
        The given folders; else the one of ``VATUN_STORE``; else every store under ``stores/``.
    """
    named = (environment if environment is not None else os.environ).get("VATUN_STORE", "")
    folders = [Path(argument) for argument in arguments if not argument.startswith("-")]
    if not folders and named:
        folders = [Path(named)]
    if not folders:
        folders = sorted(mark.parent for mark in STORES_FOLDER.glob("*/CURRENT"))
    stores: dict[str, Path] = {}
    for folder in folders:
        name = folder.resolve().name
        # Two folders of one name are told apart by the folder above.
        key = name if name not in stores else f"{folder.resolve().parent.name}/{name}"
        stores[key] = folder
    return stores


def choose_store(stores: Mapping[str, Path], asked: str | None) -> str | None:
    """Return the name of the store to show: the one asked for, else the first, else None.

    Parameters
    ----------
    stores : mapping of str to Path
        From ``list_stores``.
    asked : str or None
        ``?store=`` of the address; only ever compared with known names, never used as a path.

    Returns
    -------
    str or None
        None when there is no store, or none of the name asked for.
    """
    if asked:
        return asked if asked in stores else None
    return next(iter(stores), None)


def missing_words(error: TableMissingError) -> str:
    """Say which stage has not been run; the error's own words name a folder of the server."""
    stage = error.command.removeprefix("doit ").partition(":")[0]
    if not stage:
        return "It was not computed yet."
    return f"The stage {stage} has not been run on this store yet."


def words_of(error: Exception, folder: Path) -> str:
    """Return an error's words with the store's folder cut down to its name."""
    root = folder.resolve()
    return str(error).replace(f"{root}/", "").replace(str(root), root.name)
