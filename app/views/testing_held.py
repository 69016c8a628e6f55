"""Cases that are held side by side: pictures and figures as they were, and the way back."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as Picture

from app import safe, theme
from app.views.testing_changes import change_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from app.inference import Evidence, TestResult

MAX_HELD = 6
"""Cases that can be held; a further one takes the place of the oldest."""

_PICTURE_SIDE = 64
_MAP_SIDE = 32


@dataclass(frozen=True, eq=False)
class Held:
    """One case: what was asked, and what the network answered.

    Parameters
    ----------
    number : int
        Names the case in messages of the browser.
    title : str
        What the image is called.
    result : TestResult
        Scores and pictures.
    evidence : Evidence or None
        Maps, where those that were asked for had been drawn.
    """

    number: int
    title: str
    result: TestResult
    evidence: Evidence | None

    def figure(self, names: Sequence[str]) -> dict[str, Any]:
        """Return what is drawn of it; names are plain text, pictures are base64."""
        result = self.result
        pictures = np.stack([_small(pixels) for pixels in result.images])
        sides = [
            {
                "name": safe.plain(names[index], limit=40),
                "score": float(result.scores[row, index]),
                "colour": theme.class_variable(index, len(names)),
            }
            for row, index in enumerate(result.predicted)
        ]
        height, width = pictures.shape[1:3]
        return {
            "number": self.number,
            "title": safe.plain(self.title, limit=60),
            "words": change_words(result.change, min(result.images.shape[1:3])),
            "before": sides[0],
            "after": sides[1],
            "is_changed": not result.change.is_identity,
            "is_flipped": result.is_flipped,
            "truth": "" if result.label is None else safe.plain(names[result.label], limit=40),
            "width": width,
            "height": height,
            "pictures": base64.b64encode(pictures.tobytes()).decode(),
            "evidence": _maps(self.evidence),
        }


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = Picture.fromarray(pixels)
    if max(picture.size) > _PICTURE_SIDE:
        picture.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
    return np.asarray(picture)


def _maps(evidence: Evidence | None) -> dict[str, Any]:
    if evidence is None:
        return {"width": 0, "height": 0, "max": [0.0, 0.0], "maps": ""}
    maps = evidence.maps
    step = max(1, -(-max(maps.shape[1:]) // _MAP_SIDE))
    small = np.ascontiguousarray(maps[:, ::step, ::step], dtype="<f4")
    return {
        "width": small.shape[2],
        "height": small.shape[1],
        "max": [float(part.max()) for part in maps],
        "maps": base64.b64encode(small.tobytes()).decode(),
    }
