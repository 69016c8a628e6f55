"""Which colour each point of the map has, and what its legend and labels say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app import safe, theme
from app.aggregate import Marks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.aggregate import PointIndex
    from app.runtime import Runtime
    from app.state import Selection

_DIM_SHARE = 0.3
"""Share of its own colour that a point keeps when it is not selected."""

_DIM_OPACITY = 0.62
_LABELS = 12
_LABEL_HEIGHT = 15
_LETTER_WIDTH = 7.2


class MapColours:
    """Colours of the points of one projection, in the order of its index.

    Parameters
    ----------
    runtime : Runtime
        Classes and confidences.
    index : PointIndex
        Points.
    """

    def __init__(self, runtime: Runtime, index: PointIndex) -> None:
        self._runtime = runtime
        self._index = index
        table = runtime.images
        at = np.minimum(np.searchsorted(table.ids, index.ids), max(len(table.ids) - 1, 0))
        self._known = (
            table.ids[at] == index.ids if len(table.ids) else np.zeros(len(index.ids), bool)
        )
        self._rows = at
        self._cache: dict[tuple[str, bool], NDArray[np.float32]] = {}
        self._shown: dict[str, NDArray[np.bool_]] = {}

    def shown(self, split: str) -> NDArray[np.bool_]:
        """Return which points belong to a split; the empty name means all."""
        if split not in self._shown:
            table = self._runtime.images
            mask = self._known.copy()
            if split in table.splits:
                mask &= table.split[self._rows] == table.splits.index(split)
            self._shown[split] = mask
        return self._shown[split]

    def classes(self, by: str) -> NDArray[np.int16]:
        """Return the true or the predicted class of each point."""
        table = self._runtime.images
        column = table.predicted_class if by == "predicted" else table.true_class
        classes: NDArray[np.int16] = column[self._rows]
        return classes

    def colours(self, by: str, *, dark: bool) -> NDArray[np.float32]:
        """Return red, green and blue in [0, 1] of each point, shape (n, 3)."""
        key = (by, dark)
        if key not in self._cache:
            self._cache[key] = self._make(by, dark=dark)
        return self._cache[key]

    def _make(self, by: str, *, dark: bool) -> NDArray[np.float32]:
        table = self._runtime.images
        if by == "confidence":
            ramp = theme.CONFIDENCE_RAMP[::-1] if dark else theme.CONFIDENCE_RAMP
            return _ramp_colours(table.confidence[self._rows], ramp)
        tokens = theme.tokens(dark=dark)
        if by == "correct":
            pair = _floats([tokens["context"], tokens["wrong"]])
            chosen: NDArray[np.float32] = pair[table.is_wrong[self._rows].astype(int)]
            return chosen
        names = self._runtime.class_names
        given = self._runtime.class_colours(dark=dark)
        # The last entry serves index -1: unlabelled.
        palette = _floats([*(given[name] for name in names), tokens["context"]])
        coloured: NDArray[np.float32] = palette[self.classes(by)]
        return coloured

    def layers(
        self,
        inside: NDArray[np.bool_],
        by: str,
        *,
        selection: Selection,
        dark: bool,
        radius: float,
    ) -> list[Marks]:
        """Return what to draw, from bottom to top.

        Parameters
        ----------
        inside : ndarray of bool
            Points in view.
        by : str
            One of ``app.state.COLOURINGS``.
        selection : Selection
            Its points keep their colour and are larger; the others are dimmed, never removed.
        dark : bool
            Theme.
        radius : float
            Radius of an unselected mark in pixels.

        Returns
        -------
        list of Marks
            The unselected, then the selected; in "correct" the wrong ones of each on top.
        """
        colours = self.colours(by, dark=dark)
        if selection.ids is None:
            return self._split_wrong(inside, colours, by, radius=radius, opacity=1.0)
        chosen = np.zeros(len(self._index), dtype=bool)
        chosen[self._index.positions(selection.ids)] = True
        context = _floats([theme.tokens(dark=dark)["context"]])[0]
        dimmed = _DIM_SHARE * colours + (1 - _DIM_SHARE) * context
        return [
            *self._split_wrong(inside & ~chosen, dimmed, by, radius=radius, opacity=_DIM_OPACITY),
            *self._split_wrong(inside & chosen, colours, by, radius=1.5 * radius, opacity=1.0),
        ]

    def _split_wrong(
        self,
        mask: NDArray[np.bool_],
        colours: NDArray[np.float32],
        by: str,
        *,
        radius: float,
        opacity: float,
    ) -> list[Marks]:
        wrong = self._runtime.images.is_wrong[self._rows]
        if by == "correct":
            return [
                self._marks(mask & ~wrong, colours, radius, opacity),
                self._marks(mask & wrong, colours, 1.25 * radius, opacity),
            ]
        doubt = self._runtime.images.confidence[self._rows] if by == "confidence" else None
        return [self._marks(mask, colours, radius, opacity, doubt)]

    def _marks(
        self,
        mask: NDArray[np.bool_],
        colours: NDArray[np.float32],
        radius: float,
        opacity: float,
        doubt: NDArray[np.float32] | None = None,
    ) -> Marks:
        return Marks(
            self._index.x[mask],
            self._index.y[mask],
            colours[mask],
            radius=radius,
            opacity=opacity,
            doubt=None if doubt is None else doubt[mask],
        )

    # -- legend --------------------------------------------------------------------------

    def legend(self, by: str, selection: Selection, split: str) -> dict[str, Any]:
        """Return what the legend shows: each class with its count in the selection.

        Parameters
        ----------
        by : str
            One of ``app.state.COLOURINGS``.
        selection : Selection
            Images that are counted.
        split : str
            Split that is shown.

        Returns
        -------
        dict
            ``items`` [{key, name, colour, count}], or ``ramp`` for confidence; texts are plain.
        """
        counted = self.shown(split)
        if selection.ids is not None:
            chosen = np.zeros(len(self._index), dtype=bool)
            chosen[self._index.positions(selection.ids)] = True
            counted = counted & chosen
        if by == "confidence":
            values = self._runtime.images.confidence[self._rows[counted]]
            least = f"{values.min():.2f}" if len(values) else "–"
            return {"ramp": ["low", "high"], "note": f"least {least} · a pixel shows its least"}
        if by == "correct":
            wrong = self._runtime.images.is_wrong[self._rows]
            return {
                "items": [
                    _item("right", "right", "var(--vt-context)", int((counted & ~wrong).sum())),
                    _item("wrong", "wrong", "var(--vt-wrong)", int((counted & wrong).sum())),
                ]
            }
        names = self._runtime.class_names
        classes = self.classes(by)[counted]
        counts = np.bincount(classes[classes >= 0], minlength=len(names))
        order = range(len(names)) if len(names) <= 10 else np.argsort(-counts, kind="stable")[:9]
        items = [
            _item(
                str(int(index)),
                safe.plain(names[index], limit=40),
                theme.class_variable(int(index), len(names)),
                int(counts[index]),
            )
            for index in order
        ]
        more = len(names) - len(items)
        return {"items": items, "note": f"and {more:,} other classes in grey" if more else ""}

    def chosen(self, key: str, by: str, split: str) -> tuple[NDArray[np.int32], str] | None:
        """Return the image ids of one entry of the legend and how the bar names them."""
        shown = self.shown(split)
        if by == "correct" and key in {"right", "wrong"}:
            wrong = self._runtime.images.is_wrong[self._rows]
            mask = shown & (wrong if key == "wrong" else ~wrong)
            return self._index.ids[mask], f"{key} on Map"
        names = self._runtime.class_names
        if not key.isdecimal() or int(key) >= len(names):
            return None
        mask = shown & (self.classes(by) == int(key))
        said = "predicted" if by == "predicted" else "class"
        return self._index.ids[mask], f"{said} {safe.plain(names[int(key)], limit=40)}"


def label_places(
    runtime: Runtime,
    index: PointIndex,
    shown: NDArray[np.bool_],
    *,
    by: str,
    unit: tuple[float, float],
) -> list[tuple[float, float, str]]:
    """Return where the name of each class stands: above its densest cluster.

    Parameters
    ----------
    runtime : Runtime
        Classes.
    index : PointIndex
        Points.
    shown : ndarray of bool
        Points that count.
    by : str
        Predicted classes in ``"predicted"``, else true ones.
    unit : tuple of (float, float)
        Width and height of a pixel in coordinates, so that no name lies on another.

    Returns
    -------
    list of (float, float, str)
        At most twelve, the largest classes.
    """
    table = runtime.images
    column = table.predicted_class if by == "predicted" else table.true_class
    at = np.minimum(np.searchsorted(table.ids, index.ids), max(len(table.ids) - 1, 0))
    classes = np.where(shown, column[at], -1) if len(table.ids) else np.zeros(0, np.int16)
    counts = np.bincount(classes[classes >= 0], minlength=len(runtime.class_names))
    places = []
    for label in np.argsort(-counts, kind="stable")[:_LABELS]:
        if counts[label]:
            x, y = index.x[classes == label], index.y[classes == label]
            places.append(
                (*_above_cluster(x, y), safe.plain(runtime.class_names[label], limit=24))
            )
    return _apart(places, unit)


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


def _above_cluster(x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[float, float]:
    """Place above the densest part of some points."""
    centre_x, centre_y = float(np.median(x)), float(np.median(y))
    # Twice towards the middle of the nearer half: a class in two clusters is named at the larger.
    for _ in range(2):
        distance = np.hypot(x - centre_x, y - centre_y)
        near = distance <= np.quantile(distance, 0.5)
        centre_x, centre_y = float(x[near].mean()), float(y[near].mean())
    return centre_x, float(np.quantile(y[near], 0.98))


def _item(key: str, name: str, colour: str, count: int) -> dict[str, Any]:
    return {"key": key, "name": name, "colour": colour, "count": f"{count:,}"}


def _floats(colours: list[str]) -> NDArray[np.float32]:
    return np.array([theme.rgb(colour) for colour in colours], np.float32) / np.float32(255)


def _ramp_colours(values: NDArray[np.float32], ramp: tuple[str, ...]) -> NDArray[np.float32]:
    stops = _floats(list(ramp))
    at = np.clip(np.nan_to_num(values), 0, 1)
    places = np.linspace(0, 1, len(stops))
    return np.stack(
        [np.interp(at, places, stops[:, channel]) for channel in range(3)], axis=-1
    ).astype(np.float32)
