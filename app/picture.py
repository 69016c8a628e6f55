"""Drawing points of the map as one picture.

It is aggregated on the server: counts and colour sums per pixel give the count-weighted mean class
colour, whatever the number of points or classes.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import datashader as ds
import numpy as np
import pandas as pd

from app import raster
from app.aggregate import Viewport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

_DENSE = 100_000


@dataclass(frozen=True, eq=False)
class Subject:
    """All points that are in view, and their colours.

    Parameters
    ----------
    x, y : ndarray of shape (n,), float32
        Coordinates of every point of the map; made once and never changed.
    codes : ndarray of shape (n,), int16
        Row of ``colours`` of each point, -1 the last; never changed either.
    inside : ndarray of shape (n,), bool
        Points in view.
    colours : ndarray of shape (n_colours, 3), float32
        Colours.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    codes: NDArray[np.int16]
    inside: NDArray[np.bool_]
    colours: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Rest:
    """Those of very many points that another layer does not draw, in paler colours.

    A pixel's sums of these are what all points have there without the others. All points in view
    were drawn before somebody chose among them, so these need not be looked at again.

    Parameters
    ----------
    subject : Subject
        All points in view.
    others : Marks
        The layer that draws the others of them, in the colours of ``subject``.
    make : callable
        Returns the layer as points, for where the sums of all are not known.
    share : float
        Share of its own colour that a point keeps.
    ground : ndarray of shape (3,), float32
        Colour that makes up the remainder.
    radius, opacity : float
        As in ``Marks``.
    """

    subject: Subject
    others: Marks
    make: Callable[[], Marks]
    share: float
    ground: NDArray[np.float32]
    radius: float
    opacity: float


@dataclass(frozen=True, eq=False)
class Marks:
    """Points of one layer of the picture.

    Parameters
    ----------
    x, y : ndarray of shape (n,), float32
        Coordinates.
    colours : ndarray of shape (n, 3), float32
        Red, green, blue in [0, 1]; with ``codes`` a few colours that points share.
    radius : float
        Radius of a mark in pixels.
    opacity : float
        Opacity of a mark in [0, 1].
    doubt : ndarray of shape (n,), float32, optional
        When given, a pixel takes the colour of its point with the least value instead of the
        mean colour.
    codes : ndarray of shape (n,), int16, optional
        Row of ``colours`` of each point, -1 the last: two bytes to copy instead of twelve.
    subject : Subject, optional
        When given, the layer is all of it, and its sums are kept for a later ``Rest``.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    colours: NDArray[np.float32]
    radius: float
    opacity: float = 1.0
    doubt: NDArray[np.float32] | None = None
    codes: NDArray[np.int16] | None = None
    subject: Subject | None = None

    @property
    def point_colours(self) -> NDArray[np.float32]:
        """Colour of each point, shape (n, 3)."""
        return self.colours if self.codes is None else self.colours[self.codes]


def mark_radius(points_in_view: int) -> float:
    """Return the radius in pixels that suits a number of points: fewer points, larger marks."""
    for limit, radius in ((150, 4.5), (600, 3.6), (2_000, 2.8), (6_000, 1.8), (20_000, 1.3)):
        if points_in_view <= limit:
            return radius
    return 1.0 if points_in_view <= _DENSE else 0.5


def render(
    layers: Sequence[Marks | Rest], view: Viewport, *, is_dense: bool | None = None
) -> NDArray[np.uint8]:
    """Draw layers of points over one another.

    Parameters
    ----------
    layers : sequence of Marks or Rest
        From bottom to top.
    view : Viewport
        What is seen.
    is_dense : bool, optional
        Whether a pixel is the more opaque, the more points it holds; otherwise every occupied
        pixel is equally visible. By default only where marks are smaller than a pixel.

    Returns
    -------
    ndarray of shape (height, width, 4), uint8
        Straight-alpha RGBA; the first row is the top of the map.
    """
    colour = _scratch.zeros("colour", (view.height, view.width, 3))
    alpha = _scratch.zeros("alpha", (view.height, view.width))
    known: dict[int, NDArray[np.float32]] = {}
    for layer in layers:
        if isinstance(layer, Marks) and not len(layer.x):
            continue
        if isinstance(layer, Rest):
            sums = _rest(layer, view, known)
        else:
            sums = known[id(layer)] if id(layer) in known else _sums(layer, view)
        # Of very many points only the density can be seen: more of them, more opaque.
        raster.cover(
            colour,
            alpha,
            _spread(sums, layer.radius),
            opacity=layer.opacity,
            is_dense=layer.radius < 1 if is_dense is None else is_dense,
        )
    return raster.to_bytes(colour, alpha)


class _Whole:
    """Of which points the sums are kept; it holds none of them: their store may be closed."""

    def __init__(self, subject: Subject, view: Viewport) -> None:
        self._points = weakref.ref(subject.x), weakref.ref(subject.codes)
        self._inside, self._view = subject.inside, view
        self.colours = subject.colours

    def is_of(self, subject: Subject, view: Viewport) -> bool:
        """Whether the points are the same; their colours may be others."""
        x, codes = self._points
        return (
            view == self._view
            and x() is subject.x
            and codes() is subject.codes
            and len(self.colours) == len(subject.colours)
            and np.array_equal(self._inside, subject.inside)
        )


class _Scratch(threading.local):
    """Arrays of the last picture, for the next one: new memory costs as much as what fills it."""

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[np.float32]] = {}
        self.whole: _Whole | None = None

    def zeros(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return an array of zeros, valid until the next call with this name."""
        found = self._arrays.get(name)
        if found is None or found.shape != shape:
            found = self._arrays[name] = np.zeros(shape, np.float32)
        else:
            found.fill(0)
        return found

    def copy(self, name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a copy of an array, valid as long as one of zeros."""
        found = self.zeros(name, array.shape)
        np.copyto(found, array)
        return found

    def last(self, name: str) -> NDArray[np.float32]:
        """Return an array as it was filled last."""
        return self._arrays[name]


_scratch = _Scratch()


def mean_colours(
    marks: Marks, view: Viewport, *, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Aggregate points into sums of red, green, blue and the count per pixel.

    Parameters
    ----------
    marks : Marks
        Points and their colours.
    view : Viewport
        Pixels.
    out : ndarray of shape (height, width, 4), float32, optional
        All zero; is filled and returned.

    Returns
    -------
    ndarray of shape (height, width, 4), float32
        Dividing the first three by the last gives the count-weighted mean colour, the one that
        datashader's categorical shading shows. The first row is the bottom.
    """
    channels = np.ascontiguousarray(marks.colours.T)
    if marks.codes is not None:
        channels = channels.take(marks.codes, axis=1)
    columns = dict(zip("rgb", channels, strict=True))
    # The sums do not depend on the number of colours; one array for each category would.
    frame = pd.DataFrame({"x": marks.x, "y": marks.y, **columns}, copy=False)
    canvas = ds.Canvas(view.width, view.height, x_range=view.x_range, y_range=view.y_range)
    parts = ds.summary(n=ds.count(), r=ds.sum("r"), g=ds.sum("g"), b=ds.sum("b"))
    found = canvas.points(frame, "x", "y", parts)
    sums = np.zeros((view.height, view.width, 4), np.float32) if out is None else out
    red, green, blue, count = (found[name].to_numpy() for name in "rgbn")
    raster.pack(red, green, blue, count, sums)
    return sums


def _sums(marks: Marks, view: Viewport) -> NDArray[np.float32]:
    shape = (view.height, view.width, 4)
    if marks.subject is not None:
        _scratch.whole = None
        sums = mean_colours(marks, view, out=_scratch.zeros("whole", shape))
        _scratch.whole = _Whole(marks.subject, view)
        return sums
    if marks.doubt is None:
        return mean_colours(marks, view, out=_scratch.zeros("sums", shape))
    return raster.least_colours(marks.x, marks.y, marks.colours, marks.codes, marks.doubt, view)


def _rest(
    rest: Rest, view: Viewport, known: dict[int, NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return the sums of what ``rest`` draws; those of the others are then in ``known``."""
    kept, subject = _scratch.whole, rest.subject
    if kept is None or not kept.is_of(subject, view):
        return _sums(rest.make(), view)
    known[id(rest.others)] = others = _sums(rest.others, view)
    whole, out = _scratch.last("whole"), _scratch.zeros("rest", others.shape)
    change = subject.colours - kept.colours
    if change.any():
        # Of many classes a few have another colour in each selection.
        whole = _scratch.copy("recoloured", whole)
        raster.recolour(subject.x, subject.y, subject.codes, subject.inside, change, view, whole)
    raster.without(whole, others, rest.share, rest.ground, out)
    return out


def _spread(sums: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """Draw what each pixel holds on the pixels of a round mark about it."""
    disc = _disc(radius)
    if len(disc) == 1:
        return sums
    found = _scratch.zeros("spread", sums.shape)
    raster.spread(sums, disc, found)
    return found


def _disc(radius: float) -> NDArray[np.float32]:
    """Pixels of a round mark with smooth edge: row, column and weight of each, shape (n, 3)."""
    reach = int(np.ceil(radius))
    pixels = []
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            weight = min(max(radius + 0.5 - float(np.hypot(down, right)), 0.0), 1.0)
            if weight > 0:
                pixels.append((down, right, weight))
    return np.array(pixels, np.float32)


def warm_up() -> None:
    """Compile the aggregation, so that no person waits for it."""
    one = np.zeros(1, np.float32)
    colours, codes = np.zeros((1, 3), np.float32), np.zeros(1, np.int16)
    layers = [
        Marks(one, one, colours, radius=1.0),
        Marks(one, one, colours, radius=0.5, codes=codes),
        Marks(one, one, colours, radius=1.0, codes=codes, doubt=one),
    ]
    view = Viewport((-1.0, 1.0), (-1.0, 1.0), 4, 4)
    render(layers, view)
    subject = Subject(one, one, codes, one == 0, colours)
    render([replace(layers[1], subject=subject)], view)
    paler = replace(subject, colours=colours + 1)
    rest = Rest(paler, layers[1], lambda: layers[1], 0.5, colours[0], radius=0.5, opacity=0.5)
    render([rest, layers[1]], view)
