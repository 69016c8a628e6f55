"""Compiled loops of the map, for what datashader does not do or does too slowly.

Sums per pixel are datashader's. Of a million points on 800 x 560 pixels, in milliseconds of
processor time: the point of least doubt takes 10 here and 70 by ``where(min)`` of datashader. A
layer drawn over another takes 3 here and 14 by numpy; datashader has nothing for layers with an
opacity of their own. With either of the slower ones a zoom takes more than the 40 it may. What
lies between, marks larger than a pixel among it, is looped over here too, into memory that the
next picture uses again: numpy makes new arrays, and the system clears their pages each time.

Points fall on pixels exactly as datashader's do: limits included, the upper ones on the last
pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numba
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from app.aggregate import Viewport

T = TypeVar("T")


def _compiled(function: Callable[..., T]) -> Callable[..., T]:
    made: Callable[..., T] = numba.njit(cache=True, nogil=True)(function)
    return made


def least_colours(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    colours: NDArray[np.float32],
    codes: NDArray[np.integer] | None,
    doubt: NDArray[np.float32],
    view: Viewport,
) -> NDArray[np.float32]:
    """Return the colour of the point of least ``doubt`` of each pixel, and one as its count.

    Of equal ones the last is shown; NaN counts as more than any number.

    Parameters
    ----------
    x, y : ndarray of shape (n,), float32
        Coordinates.
    colours : ndarray of shape (n, 3) or (n_colours, 3), float32
        Of each point, or where ``codes`` says which of them each point has.
    codes : ndarray of shape (n,), integer, or None
        Rows of ``colours``; negative ones count from its end.
    doubt : ndarray of shape (n,), float32
        Of each point.
    view : Viewport
        Pixels.

    Returns
    -------
    ndarray of shape (height, width, 4), float32
        The first row is the bottom.
    """
    best = np.full((view.height, view.width), -1, np.int32)
    _find_least(x, y, doubt, *view.x_range, *view.y_range, best)
    sums = np.zeros((view.height, view.width, 4), np.float32)
    filled = best >= 0
    points = best[filled]
    sums[filled, :3] = colours[points if codes is None else codes[points]]
    sums[filled, 3] = 1
    return sums


def cover(
    colour: NDArray[np.float32],
    alpha: NDArray[np.float32],
    sums: NDArray[np.float32],
    *,
    opacity: float,
    is_dense: bool,
) -> None:
    """Draw one layer over what is below it, in place.

    Parameters
    ----------
    colour : ndarray of shape (height, width, 3), float32
        What is below, in [0, 1].
    alpha : ndarray of shape (height, width), float32
        Its opacity.
    sums : ndarray of shape (height, width, 4), float32
        The layer.
    opacity : float
        Of the layer.
    is_dense : bool
        Whether only the density can be seen: more points on a pixel, more opaque.
    """
    _cover(colour, alpha, sums, opacity, is_dense)


def without(
    whole: NDArray[np.float32],
    others: NDArray[np.float32],
    share: float,
    ground: NDArray[np.float32],
    sums: NDArray[np.float32],
) -> None:
    """Take some points out of the sums of all, and make the colours of those that are left paler.

    Parameters
    ----------
    whole, others : ndarray of shape (height, width, 4), float32
        Sums of red, green, blue, and the count: of all points, and of those to be taken out.
    share : float
        Share of its own colour that a point keeps, in [0, 1].
    ground : ndarray of shape (3,), float32
        Colour that makes up the remainder.
    sums : ndarray of shape (height, width, 4), float32
        All zero; is filled.
    """
    _without(whole, others, share, ground, sums)


def recolour(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    codes: NDArray[np.int16],
    inside: NDArray[np.bool_],
    change: NDArray[np.float32],
    view: Viewport,
    sums: NDArray[np.float32],
) -> None:
    """Give points other colours in sums that hold them already, in place.

    Parameters
    ----------
    x, y : ndarray of shape (n,), float32
        Coordinates.
    codes : ndarray of shape (n,), int16
        Row of ``change`` of each point; negative ones count from its end.
    inside : ndarray of shape (n,), bool
        Points that the sums hold.
    change : ndarray of shape (n_colours, 3), float32
        New colours less old ones.
    view : Viewport
        Pixels.
    sums : ndarray of shape (height, width, 4), float32
        Sums of red, green, blue, and the count; the first row is the bottom.
    """
    _recolour(
        x, y, codes, inside, change, (change != 0).any(axis=1), *view.x_range, *view.y_range, sums
    )


def pack(
    red: NDArray[np.floating],
    green: NDArray[np.floating],
    blue: NDArray[np.floating],
    count: NDArray[np.integer],
    sums: NDArray[np.float32],
) -> None:
    """Put what datashader has summed side by side, where it counted anything.

    Parameters
    ----------
    red, green, blue : ndarray of shape (height, width), floating
        Sums per pixel, of no meaning where ``count`` is 0.
    count : ndarray of shape (height, width), integer
        Points per pixel.
    sums : ndarray of shape (height, width, 4), float32
        Filled; left alone where ``count`` is 0.
    """
    _pack(red, green, blue, count, sums)


def spread(
    sums: NDArray[np.float32], disc: NDArray[np.float32], found: NDArray[np.float32]
) -> None:
    """Add what each pixel holds to the pixels of a mark about it.

    Parameters
    ----------
    sums : ndarray of shape (height, width, 4), float32
        Colours and counts.
    disc : ndarray of shape (n, 3), float32
        Row and column of each pixel of the mark, from its middle, and its weight.
    found : ndarray of shape (height, width, 4), float32
        All zero; what lies over the edge is left out.
    """
    _spread(sums, disc, found)


def to_bytes(colour: NDArray[np.float32], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return RGBA of shape (height, width, 4), uint8; the last row becomes the first."""
    picture = np.empty((*alpha.shape, 4), np.uint8)
    _to_bytes(colour, alpha, picture)
    return picture


@_compiled
def _find_least(
    x: Any, y: Any, doubt: Any, x0: float, x1: float, y0: float, y1: float, best: Any
) -> None:
    height, width = best.shape
    unit_x, unit_y = width / (x1 - x0), height / (y1 - y0)
    from_x, from_y = -x0 * unit_x, -y0 * unit_y
    for i in range(len(x)):
        px, py = np.float64(x[i]), np.float64(y[i])
        if x0 <= px <= x1 and y0 <= py <= y1:
            column = min(int(px * unit_x + from_x), width - 1)
            row = min(int(py * unit_y + from_y), height - 1)
            before = best[row, column]
            if before < 0 or np.isnan(doubt[before]) or doubt[i] <= doubt[before]:
                best[row, column] = i


@_compiled
def _pack(red: Any, green: Any, blue: Any, count: Any, sums: Any) -> None:
    height, width = count.shape
    for row in range(height):
        for column in range(width):
            if count[row, column] > 0:
                sums[row, column, 0] = red[row, column]
                sums[row, column, 1] = green[row, column]
                sums[row, column, 2] = blue[row, column]
                sums[row, column, 3] = count[row, column]


@_compiled
def _recolour(
    x: Any, y: Any, codes: Any, inside: Any, change: Any, is_changed: Any,
    x0: float, x1: float, y0: float, y1: float, sums: Any,
) -> None:  # fmt: skip
    height, width, _ = sums.shape
    unit_x, unit_y = width / (x1 - x0), height / (y1 - y0)
    from_x, from_y = -x0 * unit_x, -y0 * unit_y
    for i in range(len(x)):
        if inside[i] and is_changed[codes[i]]:
            column = min(int(np.float64(x[i]) * unit_x + from_x), width - 1)
            row = min(int(np.float64(y[i]) * unit_y + from_y), height - 1)
            for part in range(3):
                sums[row, column, part] += change[codes[i], part]


@_compiled
def _without(whole: Any, others: Any, share: float, ground: Any, sums: Any) -> None:
    height, width, _ = whole.shape
    for row in range(height):
        for column in range(width):
            count = whole[row, column, 3] - others[row, column, 3]
            if count > 0:
                sums[row, column, 3] = count
                for part in range(3):
                    own = whole[row, column, part] - others[row, column, part]
                    sums[row, column, part] = share * own + (1 - share) * count * ground[part]


@_compiled
def _spread(sums: Any, disc: Any, found: Any) -> None:
    height, width, parts = sums.shape
    for row in range(height):
        for column in range(width):
            if sums[row, column, 3] > 0:
                for pixel in range(len(disc)):
                    down, right = row + int(disc[pixel, 0]), column + int(disc[pixel, 1])
                    if 0 <= down < height and 0 <= right < width:
                        for part in range(parts):
                            share = disc[pixel, 2] * sums[row, column, part]
                            found[down, right, part] += share


@_compiled
def _cover(colour: Any, alpha: Any, sums: Any, opacity: float, is_dense: bool) -> None:
    height, width = alpha.shape
    top = 1.0
    if is_dense:
        for row in range(height):
            for column in range(width):
                top = max(top, sums[row, column, 3])
    scale = 0.65 / np.log1p(top)
    for row in range(height):
        for column in range(width):
            weight = sums[row, column, 3]
            if weight > 0:
                share = 0.35 + scale * np.log1p(weight) if is_dense else min(weight, 1.0)
                share *= opacity
                rest = alpha[row, column] * (1 - share)
                whole = max(share + rest, 1e-6)
                for part in range(3):
                    own = sums[row, column, part] / max(weight, 1e-6)
                    below = colour[row, column, part]
                    colour[row, column, part] = (own * share + below * rest) / whole
                alpha[row, column] = share + rest


@_compiled
def _to_bytes(colour: Any, alpha: Any, picture: Any) -> None:
    height, width = alpha.shape
    for row in range(height):
        flipped = height - 1 - row
        for column in range(width):
            for part in range(3):
                value = min(max(colour[row, column, part], np.float32(0)), np.float32(1))
                picture[flipped, column, part] = np.uint8(np.rint(value * np.float32(255)))
            picture[flipped, column, 3] = np.uint8(np.rint(alpha[row, column] * np.float32(255)))
