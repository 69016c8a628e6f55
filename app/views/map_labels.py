"""Where the names of the classes stand on the map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app import safe
from app.views.map_colours import code_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.aggregate import Viewport
    from app.views.map_colours import MapColours

_LABELS = 12
_LABEL_HEIGHT = 15
_LETTER_WIDTH = 7.2

_ENOUGH = 20_000
"""Points of a class; more of them say no better where its middle is."""

_ALL_CLASSES = 200_000
"""Points of all classes together that are looked at, but of none fewer than a hundred."""

_LEAST = 100


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
        self._anchors: list[tuple[float, float, int]] = []

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
        names = colours.runtime.class_names
        named = [(x, y, safe.plain(names[label], limit=24)) for x, y, label in seen[:_LABELS]]
        return _inside(_apart(named, (view.unit_x, view.unit_y)), view)

    def _work_out(self, which: str) -> list[tuple[float, float, int]]:
        """Place of every class that is visible, the largest first."""
        colours = self._colours
        gone = [code_of(key) for by, key in colours.hidden if by == which]
        if len(gone) == len(colours.hidden):
            # The legend takes whole classes away: the others stand where they stood.
            anchors = colours.of_split(f"names {which}", lambda: self._all(which, colours.shown))
        else:
            anchors = self._all(which, colours.visible)
        order = np.argsort(-anchors[:, 2], kind="stable")
        return [
            (float(anchors[label, 0]), float(anchors[label, 1]), int(label))
            for label in order
            if anchors[label, 2] and label not in gone
        ]

    def _all(self, which: str, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        colours = self._colours
        at = np.flatnonzero(mask)
        return class_anchors(
            colours.index.x[at], colours.index.y[at], colours.codes(which)[at],
            len(colours.runtime.class_names),
        )  # fmt: skip


def clear_of(
    names: list[tuple[float, float, str]],
    place: tuple[float, float] | None,
    box: tuple[float, float, float],
    view: Viewport,
) -> list[tuple[float, float, str]]:
    """Move names that would lie on what is drawn at a place to just above it.

    Parameters
    ----------
    names : list of (float, float, str)
        Coordinates of the middle of their lower edges, and texts.
    place : tuple of (float, float), or None
        Coordinates; None leaves the names alone.
    box : tuple of (float, float, float)
        Pixels from the place to the left, right, and upper or lower end of what is drawn.
    view : Viewport
        What is seen.

    Returns
    -------
    list of (float, float, str)
        As many names, in their order.
    """
    if place is None:
        return names
    left, right, half = box
    found = []
    for x, y, text in names:
        across, up = (x - place[0]) / view.unit_x, (y - place[1]) / view.unit_y
        reach = _LETTER_WIDTH / 2 * len(text)
        beside = across + reach < left or across - reach > right
        apart = up > half or up + _LABEL_HEIGHT < -half
        found.append((x, y if beside or apart else place[1] + half * view.unit_y, text))
    return found


def class_anchors(
    x: NDArray[np.float32], y: NDArray[np.float32], classes: NDArray[Any], n_classes: int
) -> NDArray[np.float64]:
    """Return where the name of every class stands: above the densest part of its points.

    Parameters
    ----------
    x, y : ndarray of shape (n,), float32
        Coordinates.
    classes : ndarray of shape (n,), integer
        Class index of each point; negative where there is none.
    n_classes : int
        Number of classes.

    Returns
    -------
    ndarray of shape (n_classes, 3), float64
        x, y, and how many points the class has; NaN, NaN and 0 without any. Of very many points
        some are looked at.
    """
    # Sorted by class, the points of one class are neighbours.
    order = np.argsort(classes, kind="stable")
    bounds = np.searchsorted(classes[order], np.arange(n_classes + 1))
    anchors = np.full((n_classes, 3), np.nan)
    anchors[:, 2] = np.diff(bounds)
    enough = min(max(_ALL_CLASSES // max(n_classes, 1), _LEAST), _ENOUGH)
    some = np.flatnonzero(anchors[:, 2])
    if len(some):
        at, is_there = _samples(bounds[some], bounds[some + 1], enough)
        points = [np.where(is_there, values[order[at]], np.nan) for values in (x, y)]
        anchors[some, :2] = _above_clusters(*points)
    return anchors


def _samples(
    starts: NDArray[np.int64], ends: NDArray[np.int64], enough: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Evenly spaced places of every run, shape (n_runs, most), and which of them there are."""
    steps = -(-(ends - starts) // enough)
    counts = -(-(ends - starts) // steps)
    number = np.arange(counts.max())
    is_there = number < counts[:, None]
    return starts[:, None] + np.where(is_there, number, 0) * steps[:, None], is_there


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


def _above_clusters(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place above the densest part of the points of each row; NaN where there is no point."""
    centre_x, centre_y = _quantiles(x, 0.5), _quantiles(y, 0.5)
    near = np.isfinite(x)
    # Twice towards the middle of the nearer half: a class in two clusters is named at the larger.
    for _ in range(2):
        distance = np.hypot(x - centre_x[:, None], y - centre_y[:, None])
        near = distance <= _quantiles(distance, 0.5)[:, None]
        counts = near.sum(axis=1)
        centre_x = np.where(near, x, 0).sum(axis=1) / counts
        centre_y = np.where(near, y, 0).sum(axis=1) / counts
    top = _quantiles(np.where(near, y, np.nan), 0.98)
    return np.stack([centre_x, top], axis=-1)


def _quantiles(values: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Quantile of the numbers of each row, as by ``np.nanquantile``, which loops over rows."""
    ordered = np.sort(values, axis=1)
    at = share * (np.isfinite(values).sum(axis=1) - 1)
    below, above = np.floor(at).astype(int), np.ceil(at).astype(int)
    rows = np.arange(len(values))
    low, high = ordered[rows, below], ordered[rows, above]
    return np.asarray(low + (at - below) * (high - low))
