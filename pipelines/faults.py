"""Name the image on which a network fails."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from pipelines.errors import StageError
from vatun.errors import VatunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipelines.inputs import Batch

B = TypeVar("B", bound="Batch")

_OURS = Path(__file__).parents[1]
_SHOWN = 300
"""Letters of what a network says that are shown."""


def blame(work: Callable[[B], Any], batch: B, error: Exception) -> Exception:
    """Find the image of a batch on which ``work`` fails, by halving the batch.

    Parameters
    ----------
    work : callable
        Has failed on the whole batch.
    batch : Batch
        The images.
    error : Exception
        What it raised.

    Returns
    -------
    Exception
        To be raised from ``error``: it names an image, or says that no single one is at fault.
        ``error`` itself, where that is one of ours and comes with every image.
    """
    said = _spelled(error)
    if isinstance(error, torch.AcceleratorError):
        # A GPU answers nothing more after such an error: every image would seem to fail.
        return StageError(f"the network fails on one of {_range(batch)}: {said}")
    part = batch
    while len(part) > 1:
        middle = (len(part) + 1) // 2
        halves = (part.part(slice(middle)), part.part(slice(middle, None)))
        found = next((half for half in halves if _fails(work, half)), None)
        if found is None:
            return StageError(
                f"the network fails on {len(part)} images together ({_range(part)}), but not on "
                f"either half of them: {said}"
            )
        part = found
    place = f"image {part.image_ids[0]} ({part.sources[0]})"
    first, last = part.image_ids[0] == batch.image_ids[0], batch.part(slice(-1, None))
    if first and len(batch) > 1 and _fails(work, last):
        if isinstance(error, VatunError):
            return error
        place += f" and on others, such as image {last.image_ids[0]} ({last.sources[0]})"
        return StageError(f"the network fails on {place}: {said}")
    return StageError(
        f"the network fails on {place}: {said}. Mend its forward for such an image, or take the "
        "image out of the data set"
    )


def _fails(work: Callable[[B], Any], batch: B) -> bool:
    try:
        work(batch)
    except Exception:  # noqa: BLE001
        # A network is anybody's code, and may raise anything.
        return True
    return False


def _spelled(error: Exception) -> str:
    """Return what the network said, and the line of its code that said it."""
    text = " ".join(str(error).split())[:_SHOWN]
    if isinstance(error, VatunError):
        return text
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_known(frame)]
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else text


def _is_known(frame: traceback.FrameSummary) -> bool:
    """Whether a line is ours or torch's rather than the network's."""
    path = Path(frame.filename)
    known = (_OURS / "pipelines", _OURS / "vatun", Path(torch.__file__).parent)
    return any(path.is_relative_to(folder) for folder in known)


def _range(batch: Batch) -> str:
    return f"the images {batch.image_ids[0]} to {batch.image_ids[-1]}"
