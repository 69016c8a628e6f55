"""Thumbnails beside the points of a map that is looked at closely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.models import ColumnDataSource, ImageURL, Scatter, Segment

from app import theme

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bokeh.plotting import figure
    from numpy.typing import NDArray

    from app.aggregate import Viewport

MOST = 60
"""Points in view up to which they have thumbnails."""

SIDE = 38
"""Side of a thumbnail in pixels."""

_FRAME = 3
_CLEAR = 9
"""Pixels round a point that no thumbnail covers: its mark and the ring of the focus."""

_LINE = 28
_TOOLS = (40, 222)
"""Pixels that the line at the foot, and the eight tools in the upper left corner, take."""

_DIM = 0.38
_CORNER = 10

# Offsets of the middle of a thumbnail from its point, in sides: near ones are tried first.
_TURNS = 12
_REACHES = (0.85, 1.15, 1.6, 2.2)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A point that wants a thumbnail.

    Parameters
    ----------
    image_id : int
        Image.
    x, y : float
        Coordinates.
    colour : str
        ``"#rrggbb"`` of its point.
    is_wrong, is_dimmed : bool
        Whether the prediction is wrong, and whether it is not selected.
    """

    image_id: int
    x: float
    y: float
    colour: str
    is_wrong: bool
    is_dimmed: bool


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A thumbnail and where its middle lies, in coordinates."""

    of: Candidate
    url: str
    x: float
    y: float
    corner: tuple[float, float]


def lay_out(
    candidates: Sequence[Candidate], view: Viewport
) -> list[tuple[Candidate, float, float]]:
    """Place thumbnails so that none lies on another, on a point or over the edge.

    Parameters
    ----------
    candidates : sequence of Candidate
        The first ones are served first.
    view : Viewport
        What is seen.

    Returns
    -------
    list of (Candidate, float, float)
        Those for which there is room, with the middle of the picture in pixels from the lower
        left corner.
    """
    points = np.array(
        [
            ((one.x - view.x_range[0]) / view.unit_x, (one.y - view.y_range[0]) / view.unit_y)
            for one in candidates
        ]
    ).reshape(-1, 2)
    half = SIDE / 2 + _FRAME
    angles = np.arange(_TURNS) * 2 * np.pi / _TURNS + np.pi / 4
    turns = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    middles = np.zeros((0, 2))
    placed = []
    for one, point in zip(candidates, points, strict=True):
        spots = np.concatenate([point + reach * SIDE * turns for reach in _REACHES])
        free = _is_free(spots, half, middles, points, view)
        if free.any():
            spot = spots[np.argmax(free)]
            middles = np.concatenate([middles, spot[None]])
            placed.append((one, float(spot[0]), float(spot[1])))
    return placed


def _is_free(
    spots: NDArray[np.float64],
    half: float,
    middles: NDArray[np.float64],
    points: NDArray[np.float64],
    view: Viewport,
) -> NDArray[np.bool_]:
    """Whether a square of half side ``half`` fits at each of some spots, shape (n_spots, 2)."""
    size = np.array([view.width, view.height])
    low = np.array([half, half + _LINE])
    free = ((spots >= low) & (spots <= size - half)).all(axis=-1)
    under_tools = spots > np.array([_TOOLS[0] + half, size[1] - _TOOLS[1] - half])
    free = free & (under_tools[:, 0] | ~under_tools[:, 1])
    # The largest of the two distances is that of squares.
    to_points = np.abs(spots[:, None] - points[None]).max(axis=-1)
    free = np.asarray(free & (to_points >= half + _CLEAR).all(axis=-1))
    if len(middles):
        to_others = np.abs(spots[:, None] - middles[None]).max(axis=-1)
        free = np.asarray(free & (to_others >= 2 * half + 1).all(axis=-1))
    return free


def in_coordinates(
    placed: Sequence[tuple[Candidate, float, float]], urls: dict[int, str], view: Viewport
) -> list[Placed]:
    """Return laid out thumbnails in the coordinates of the map, with what shows them."""
    corner = (SIDE - _CORNER) / 2
    return [
        Placed(
            of=one,
            url=urls[one.image_id],
            x=view.x_range[0] + x * view.unit_x,
            y=view.y_range[0] + y * view.unit_y,
            corner=(
                view.x_range[0] + (x + corner) * view.unit_x,
                view.y_range[0] + (y + corner) * view.unit_y,
            ),
        )
        for one, x, y in placed
    ]


def picture_at(placed: Sequence[Placed], x: float, y: float, view: Viewport) -> int | None:
    """Return the image whose thumbnail lies at a place, or None."""
    half = SIDE / 2 + _FRAME
    for one in placed:
        if abs(one.x - x) <= half * view.unit_x and abs(one.y - y) <= half * view.unit_y:
            return one.of.image_id
    return None


class PictureLayer:
    """Thumbnails, the frames in the colour of their points, and lines to them, on a figure."""

    def __init__(self) -> None:
        self._placed: Sequence[Placed] = ()
        self._dark = False
        self._source: ColumnDataSource | None = None

    def attach(self, plot: figure) -> None:
        """Add what is shown to a figure; what is shown later goes there."""
        self._source = ColumnDataSource(_columns(self._placed))
        self._wrong = ColumnDataSource(_corner_columns(self._placed))
        self._lines = Segment(x0="px", y0="py", x1="x", y1="y", line_width=1)
        self._frames = Scatter(
            x="x", y="y", marker="square", size=SIDE + 2 * _FRAME, fill_color="colour",
            line_width=1, fill_alpha="alpha",
        )  # fmt: skip
        self._backs = Scatter(x="x", y="y", marker="square", size=SIDE, line_color=None)
        # The sides are pixels of the screen, whatever the map's coordinates are.
        side: Any = {"value": SIDE, "units": "screen"}
        middle: Any = "center"
        images = ImageURL(
            url="url", x="x", y="y", w=side, h=side, anchor=middle, global_alpha="shade"
        )
        self._corners = Scatter(x="x", y="y", marker="square", size=_CORNER, line_width=1.5)
        for glyph in (self._lines, self._frames, self._backs, images):
            plot.add_glyph(self._source, glyph)
        plot.add_glyph(self._wrong, self._corners)
        self.restyle(dark=self._dark)

    @property
    def placed(self) -> Sequence[Placed]:
        """The thumbnails that are shown."""
        return self._placed

    def show(self, placed: Sequence[Placed]) -> None:
        """Show thumbnails; the browser is told only when they differ."""
        if list(placed) == list(self._placed):
            return
        self._placed = placed
        if self._source is not None:
            self._source.data = _columns(placed)
            self._wrong.data = _corner_columns(placed)

    def restyle(self, *, dark: bool) -> None:
        """Take over the colours of a theme."""
        self._dark = dark
        if self._source is None:
            return
        colour = theme.tokens(dark=dark)
        self._lines.line_color = colour["ink-2"]
        self._frames.line_color = colour["surface"]
        self._backs.fill_color = colour["surface"]
        self._corners.update(fill_color=colour["wrong"], line_color=colour["surface"])


def _columns(placed: Sequence[Placed]) -> dict[str, list[Any]]:
    return {
        "x": [one.x for one in placed],
        "y": [one.y for one in placed],
        "px": [one.of.x for one in placed],
        "py": [one.of.y for one in placed],
        "url": [one.url for one in placed],
        "colour": [one.of.colour for one in placed],
        "alpha": [_DIM if one.of.is_dimmed else 1.0 for one in placed],
        "shade": [_DIM if one.of.is_dimmed else 1.0 for one in placed],
    }


def _corner_columns(placed: Sequence[Placed]) -> dict[str, list[float]]:
    corners = [one.corner for one in placed if one.of.is_wrong]
    return {"x": [corner[0] for corner in corners], "y": [corner[1] for corner in corners]}
