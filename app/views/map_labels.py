"""Where the names of the classes stand on the map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app import safe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.aggregate import Viewport
    from app.views.map_colours import MapColours

_LABELS = 12
_LABEL_HEIGHT = 15
_LETTER_WIDTH = 7.2

# More points of a class than this say no better where its middle is.
_ENOUGH = 20_000


class ClassLabels:
    """Place of every class of one projection, worked out when what is visible changes.

    Parameters
    ----------
    colours : MapColours
        Says which points are visible, and whether true or predicted classes are named.
    """

    def __init__(self, colours: MapColours) -> None:
        self._colours = colours
        self._for: tuple[object, str] | None = None
        self._anchors: list[tuple[float, float, str]] = []

    def places(self, view: Viewport) -> list[tuple[float, float, str]]:
        """Return the names in view: coordinates and plain text.

        Parameters
        ----------
        view : Viewport
            What is seen; sizes of letters are pixels of it.

        Returns
        -------
        list of (float, float, str)
            At most twelve, those of the largest classes in view, none on another.
        """
        colours = self._colours
        which = "predicted" if colours.by == "predicted" else "true"
        if self._for is None or self._for[0] is not colours.visible or self._for[1] != which:
            self._for = (colours.visible, which)
            self._anchors = self._work_out(which)
        (x0, x1), (y0, y1) = view.x_range, view.y_range
        seen = [place for place in self._anchors if x0 <= place[0] <= x1 and y0 <= place[1] <= y1]
        return _inside(_apart(seen[:_LABELS], (view.unit_x, view.unit_y)), view)

    def _work_out(self, which: str) -> list[tuple[float, float, str]]:
        """Place of every class that is visible, the largest first."""
        colours, names = self._colours, self._colours.runtime.class_names
        positions = np.flatnonzero(colours.visible)
        classes = colours.codes(which)[positions]
        # Sorted by class, the points of one class are neighbours.
        order = np.argsort(classes, kind="stable")
        positions, classes = positions[order], classes[order]
        bounds = np.searchsorted(classes, np.arange(len(names) + 1))
        sizes = np.diff(bounds)
        places = []
        for label in np.argsort(-sizes, kind="stable"):
            start, end = bounds[label], bounds[label + 1]
            if start < end:
                step = -(-(end - start) // _ENOUGH)
                at = positions[start:end:step]
                x, y = colours.index.x[at], colours.index.y[at]
                places.append((*_above_cluster(x, y), safe.plain(names[label], limit=24)))
        return places


def _apart(
    places: list[tuple[float, float, str]], unit: tuple[float, float]
) -> list[tuple[float, float, str]]:
    """Move names up until none lies on one that is already placed."""
    height = _LABEL_HEIGHT * unit[1]
    placed: list[tuple[float, float, str]] = []
    for x, wanted, text in sorted(places, key=lambda place: place[1]):
        y = wanted
        width = _LETTER_WIDTH * unit[0] * len(text)
        for _ in placed:
            below = [
                other_y
                for other_x, other_y, other in placed
                if abs(other_y - y) < height
                and abs(other_x - x) < (width + _LETTER_WIDTH * unit[0] * len(other)) / 2
            ]
            if not below:
                break
            y = max(below) + height
        placed.append((x, y, text))
    return placed


def _inside(
    places: list[tuple[float, float, str]], view: Viewport
) -> list[tuple[float, float, str]]:
    """Move names sideways and down until the edge of the map cuts none."""
    found = []
    for x, y, text in places:
        half = min(_LETTER_WIDTH * view.unit_x * len(text) / 2, np.ptp(view.x_range) / 2)
        left, right = view.x_range[0] + half, view.x_range[1] - half
        top = view.y_range[1] - (_LABEL_HEIGHT + 2) * view.unit_y
        found.append((min(max(x, left), right), min(y, top), text))
    return found


def _above_cluster(x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[float, float]:
    """Place above the densest part of some points."""
    centre_x, centre_y = float(np.median(x)), float(np.median(y))
    # Twice towards the middle of the nearer half: a class in two clusters is named at the larger.
    for _ in range(2):
        distance = np.hypot(x - centre_x, y - centre_y)
        near = distance <= np.quantile(distance, 0.5)
        centre_x, centre_y = float(x[near].mean()), float(y[near].mean())
    return centre_x, float(np.quantile(y[near], 0.98))
