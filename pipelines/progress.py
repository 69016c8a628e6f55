"""What a person at the terminal sees while a stage runs."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from pipelines.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

T = TypeVar("T")


def say(text: str) -> None:
    """Print one line, above a progress bar if there is one."""
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


def bar(*, total: int, label: str, unit: str = "image", done: int = 0) -> tqdm[Any]:
    """Return a progress bar with rate and time left; silent for what ends within two seconds.

    Parameters
    ----------
    total : int
        Number of units in all.
    label : str
        What is going on.
    unit : str
        What is counted, singular.
    done : int
        Units that an earlier run has finished; they do not count for the rate.

    Returns
    -------
    tqdm
        A context manager; call ``update(n)``.
    """
    live = sys.stderr.isatty()
    options: dict[str, Any] = {} if live else {"file": _Lines()}
    return tqdm(
        total=total,
        initial=done,
        desc=label,
        unit=f" {unit}s",
        delay=2.0,
        dynamic_ncols=live,
        # A log file gets a line now and then, not ten a second.
        mininterval=0.2 if live else 10.0,
        ascii=not live,
        leave=live,
        **options,
    )


class _Lines:
    """A log file: a line for every state of a bar, instead of one that is written over."""

    def write(self, text: str) -> None:
        for part in text.split("\r"):
            if part.strip():
                sys.stderr.write(part.rstrip() + "\n")

    def flush(self) -> None:
        sys.stderr.flush()


def track(items: Iterable[T], *, total: int, label: str, unit: str = "image") -> Iterator[T]:
    """Yield ``items`` under a progress bar."""
    with bar(total=total, label=label, unit=unit) as progress:
        for item in items:
            yield item
            progress.update()


def estimate(*, images: int, seconds: float, size: int, folder: Path, label: str) -> None:
    """Say how long a stage will take and how much disk it needs, and refuse a full disk.

    Parameters
    ----------
    images : int
        Images that are still to be done.
    seconds : float
        Estimated time for them.
    size : int
        Estimated bytes on the disk, shards and tables together.
    folder : Path
        Where they will be written; it exists.
    label : str
        Name of the stage.

    Raises
    ------
    StageError
        When there is less room than that.
    """
    free = shutil.disk_usage(folder).free
    say(
        f"{label}: {images:,} images, about {_duration(seconds)} and {_bytes(size)} "
        f"({_bytes(free)} free)"
    )
    if size > free:
        msg = f"{label} needs about {_bytes(size)} in {folder}, and {_bytes(free)} are free"
        raise StageError(msg)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 0.1):.1f} MB"
