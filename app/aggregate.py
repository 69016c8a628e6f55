"""Points of the map: what is seen of them, and finding them under the pointer or a lasso.

They stay on the server: neither picking nor drawing (``app.picture``) sends them to the browser.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from app.outline import crossed_and_inside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_MAX_PIXELS = 4_000_000
_MARGIN = 0.06

START_SIZE = (374, 319)
"""Size in pixels of the map before the browser has said how large it is."""


@dataclass(frozen=True)
class Viewport:
    """A rectangle of the map and the pixels it is drawn on.

    Parameters
    ----------
    x_range, y_range : tuple of (float, float)
        Limits in the coordinates of the projection, ascending.
    width, height : int
        Size in pixels.
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    width: int
    height: int

    def __post_init__(self) -> None:
        numbers = (*self.x_range, *self.y_range)
        if not np.all(np.isfinite(numbers)):
            msg = "the limits of a viewport must be finite"
            raise ValueError(msg)
        if self.x_range[0] >= self.x_range[1] or self.y_range[0] >= self.y_range[1]:
            msg = "the limits of a viewport must ascend"
            raise ValueError(msg)
        if min(self.width, self.height) < 1 or self.width * self.height > _MAX_PIXELS:
            msg = f"a viewport holds 1 to {_MAX_PIXELS:,} pixels"
            raise ValueError(msg)

    @property
    def unit_x(self) -> float:
        """Width of a pixel in coordinates."""
        return (self.x_range[1] - self.x_range[0]) / self.width

    @property
    def unit_y(self) -> float:
        """Height of a pixel in coordinates."""
        return (self.y_range[1] - self.y_range[0]) / self.height


def home_view(bounds: tuple[float, float, float, float], width: int, height: int) -> Viewport:
    """Return the viewport that shows all points, with equal units on both axes.

    Parameters
    ----------
    bounds : tuple of float
        Least and greatest x, then least and greatest y.
    width, height : int
        Size in pixels.

    Returns
    -------
    Viewport
        With some space left free round the points.
    """
    x0, x1, y0, y1 = bounds
    unit = max((x1 - x0) / width, (y1 - y0) / height, 1e-9) * (1 + 2 * _MARGIN)
    return _centred((x0 + x1) / 2, (y0 + y1) / 2, unit, width, height)


def resized(
    old: Viewport | None,
    bounds: tuple[float, float, float, float],
    x_range: tuple[float, float] | None,
    y_range: tuple[float, float] | None,
    width: float | None,
    height: float | None,
) -> Viewport:
    """Return what is seen after the browser reported limits or a size.

    Parameters
    ----------
    old : Viewport or None
        What was seen before; None shows all points.
    bounds : tuple of float
        Of all points.
    x_range, y_range : tuple of (float, float), or None
        Limits that the browser reports.
    width, height : float or None
        Size in pixels that the browser reports.

    Returns
    -------
    Viewport
        The reported limits; after a change of size with units that are equal again, and still
        all points where all were shown.
    """
    size = max(int(width or START_SIZE[0]), 16), max(int(height or START_SIZE[1]), 16)
    if old is None or x_range is None or y_range is None:
        return home_view(bounds, *size)
    (x0, x1), (y0, y1) = x_range, y_range
    if (old.width, old.height) == size:
        return Viewport((float(x0), float(x1)), (float(y0), float(y1)), *size)
    home = home_view(bounds, old.width, old.height)
    if np.allclose((*old.x_range, *old.y_range), (*home.x_range, *home.y_range), rtol=1e-3):
        return home_view(bounds, *size)
    unit = max((x1 - x0) / old.width, (y1 - y0) / old.height)
    return _centred((x0 + x1) / 2, (y0 + y1) / 2, unit, *size)


def _centred(x: float, y: float, unit: float, width: int, height: int) -> Viewport:
    half_x, half_y = unit * width / 2, unit * height / 2
    return Viewport((x - half_x, x + half_x), (y - half_y, y + half_y), width, height)


class PointIndex:
    """Grid over the points of one projection.

    Parameters
    ----------
    ids : ndarray of shape (n,), int32
        Image id of each point.
    x, y : ndarray of shape (n,), float32
        Coordinates; points that are not finite are left out.
    """

    def __init__(
        self, ids: NDArray[np.int32], x: NDArray[np.float32], y: NDArray[np.float32]
    ) -> None:
        finite = np.isfinite(x) & np.isfinite(y)
        ids, x, y = ids[finite], x[finite], y[finite]
        self._side = int(np.clip(np.sqrt(len(ids) / 2), 8, 512))
        self._x0, self._y0 = (float(x.min()), float(y.min())) if len(ids) else (0.0, 0.0)
        width, height = (float(np.ptp(x)), float(np.ptp(y))) if len(ids) else (1.0, 1.0)
        self._cell_x = max(width / self._side, 1e-12)
        self._cell_y = max(height / self._side, 1e-12)
        cell = self._along(y, self._y0, self._cell_y) * self._side
        cell += self._along(x, self._x0, self._cell_x)
        order = np.argsort(cell, kind="stable")
        self.ids: NDArray[np.int32] = np.ascontiguousarray(ids[order], np.int32)
        self.x: NDArray[np.float32] = np.ascontiguousarray(x[order], np.float32)
        self.y: NDArray[np.float32] = np.ascontiguousarray(y[order], np.float32)
        counts = np.bincount(cell, minlength=self._side**2)
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._by_id = np.argsort(self.ids, kind="stable")
        self._ordered = self.ids[self._by_id]
        # Without gaps an id is its own place among the sorted ones.
        self._is_gapless = bool((self._ordered == np.arange(len(ids))).all())

    def _along(self, places: NDArray[np.float32], start: float, step: float) -> NDArray[np.int64]:
        # In float64, so that a point lies in its cell exactly.
        cells = ((places.astype(np.float64) - start) / step).astype(np.int64)
        return np.minimum(cells, self._side - 1)

    def __len__(self) -> int:
        return len(self.ids)

    def bounds(self, shown: NDArray[np.bool_] | None = None) -> tuple[float, float, float, float]:
        """Return least and greatest x, then least and greatest y.

        Parameters
        ----------
        shown : ndarray of bool, optional
            By position: which points count; all by default.

        Returns
        -------
        tuple of float
            The unit square when there is no point.
        """
        x, y = (self.x, self.y) if shown is None else (self.x[shown], self.y[shown])
        if not len(x):
            return (0.0, 1.0, 0.0, 1.0)
        return float(x.min()), float(x.max()), float(y.min()), float(y.max())

    def positions(self, ids: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the positions in ``ids``, ``x`` and ``y`` of the given image ids, where known."""
        if not len(self) or not len(ids):
            return np.zeros(0, np.int64)
        if self._is_gapless:
            at = ids[(ids >= 0) & (ids < len(self))]
        else:
            at = np.minimum(np.searchsorted(self._ordered, ids), len(self) - 1)
            at = at[self._ordered[at] == ids]
        found: NDArray[np.int64] = self._by_id[at]
        return found

    def place(self, image_id: int) -> tuple[float, float] | None:
        """Return the coordinates of one image, or None when it is not on this map."""
        found = self.positions(np.array([image_id], np.int32))
        return (float(self.x[found[0]]), float(self.y[found[0]])) if len(found) else None

    def in_box(self, x0: float, x1: float, y0: float, y1: float) -> NDArray[np.int64]:
        """Return the positions of the points inside a rectangle, its edges included."""
        near = self._candidates(x0, x1, y0, y1)
        x, y = self.x[near], self.y[near]
        return near[(x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)]

    def in_polygon(self, vertices: Sequence[tuple[float, float]]) -> NDArray[np.int64]:
        """Return the positions of the points inside an outline, by the even-odd rule.

        Parameters
        ----------
        vertices : sequence of (float, float)
            At least three corners; the outline is closed.

        Returns
        -------
        ndarray of int64
            Positions in ``ids``.
        """
        corners = np.asarray(vertices, dtype=np.float64)
        last = self._side - 1
        cells = (corners - (self._x0, self._y0)) / (self._cell_x, self._cell_y)
        low, high = (int(np.clip(end, 0, last)) for end in (cells[:, 1].min(), cells[:, 1].max()))
        crossed, inside = crossed_and_inside(cells, self._side, low, high)
        first = low * self._side
        near = self._positions(np.flatnonzero(crossed) + first)
        x, y = self.x[near].astype(np.float64), self.y[near].astype(np.float64)
        is_in = np.zeros(len(near), dtype=bool)
        previous = corners[-1]
        for corner in corners:
            crosses = (corner[1] > y) != (previous[1] > y)
            if crosses.any():
                slope = (previous[0] - corner[0]) / (previous[1] - corner[1])
                is_in ^= crosses & (x < corner[0] + (y - corner[1]) * slope)
            previous = corner
        whole = self._positions(np.flatnonzero(inside) + first)
        return np.concatenate([whole, near[is_in]])

    def _positions(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of the points of some cells, cell by cell."""
        starts, counts = self._starts[cells], self._starts[cells + 1] - self._starts[cells]
        # Where each cell's run begins in the answer, every step but the first of a run is one.
        offsets = np.repeat(starts - (np.cumsum(counts) - counts), counts)
        return offsets + np.arange(len(offsets))

    def nearest(
        self,
        x: float,
        y: float,
        *,
        reach_x: float,
        reach_y: float,
        shown: NDArray[np.bool_] | None = None,
    ) -> int | None:
        """Return the position of the point nearest to (x, y), or None within reach.

        Parameters
        ----------
        x, y : float
            Where the pointer is.
        reach_x, reach_y : float
            Half axes of the ellipse that is searched; distances are measured in them, so that
            they are distances on the screen.
        shown : ndarray of bool, optional
            By position: which points count.

        Returns
        -------
        int or None
            Position in ``ids``.
        """
        near = self._candidates(x - reach_x, x + reach_x, y - reach_y, y + reach_y)
        if shown is not None:
            near = near[shown[near]]
        if not len(near):
            return None
        distance = ((self.x[near] - x) / reach_x) ** 2 + ((self.y[near] - y) / reach_y) ** 2
        best = int(np.argmin(distance))
        return int(near[best]) if distance[best] <= 1 else None

    def _candidates(self, x0: float, x1: float, y0: float, y1: float) -> NDArray[np.int64]:
        """Positions of the points of all grid cells that a rectangle touches."""
        last = self._side - 1
        columns = (np.array([x0, x1]) - self._x0) / self._cell_x
        rows = (np.array([y0, y1]) - self._y0) / self._cell_y
        if columns[1] < 0 or rows[1] < 0 or columns[0] > self._side or rows[0] > self._side:
            return np.zeros(0, np.int64)
        left, right = np.clip(columns, 0, last).astype(np.int64)
        low, high = np.clip(rows, 0, last).astype(np.int64)
        # The columns of one row of cells are neighbours in memory.
        spans = [
            np.arange(
                self._starts[row * self._side + left], self._starts[row * self._side + right + 1]
            )
            for row in range(low, high + 1)
        ]
        return np.concatenate(spans) if spans else np.zeros(0, np.int64)
