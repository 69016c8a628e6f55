"""Pure plot functions: arrays in, HoloViews elements out; views and notebooks share them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
from bokeh.core.properties import value

from app import theme
from app.map_image import MapImage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from app.aggregate import Viewport
    from app.picture import Marks

hv.extension("bokeh")

# Panes on one page link axes whose dimensions have the same name: these belong to the map alone.
MAP_X = hv.Dimension("map_x")
MAP_Y = hv.Dimension("map_y")

_KDIMS = [MAP_X, MAP_Y]

# Only the picture's limits count, and looking for those of every layer at every zoom would cost
# as much as drawing it.
_LAYER: dict[str, Any] = {"apply_ranges": False, "default_tools": []}

_OVERLAP = 0.55
"""Opacity of a glyph where density is shown, so that two on one another look fuller than one."""


# Two points that are never seen. HoloViews leaves out a column whose values are all alike, and the
# browser misses it as long as the glyph still asks for it.
_NOWHERE: tuple[NDArray[Any], ...] = (
    np.full(2, np.nan, np.float32),
    np.full(2, np.nan, np.float32),
    np.array(["#00000000", "#ffffff00"], dtype=object),
    np.array([0.0, 1.0]),
    np.array([0.0, 0.01]),
)


def _of(part: str, *, dark: bool) -> str:
    """Return the group of elements that have the styles of one part in one theme."""
    return f"Map{part}{'Dark' if dark else 'Light'}"


def _set_styles(*, dark: bool) -> None:
    """Set the styles by group: set on every new element they cost more than drawing it."""
    colour = theme.tokens(dark=dark)
    accent, ink, surface = colour["accent"], colour["ink"], colour["surface"]
    font = {"text_font": value(theme.FONT)}
    name = {
        "text_font_size": "12px", "text_font_style": "bold", "text_align": "center",
        "text_baseline": "bottom",
    }  # fmt: skip
    ring = {"size": 17, "fill_alpha": 0, "marker": "circle"}
    hv.opts.defaults(
        hv.opts.Labels(
            _of("Halo", dark=dark), text_color=colour["plot"], text_outline_width=4,
            text_outline_color=colour["plot"], **name, **font, **_LAYER,
        ),
        hv.opts.Labels(_of("Name", dark=dark), text_color=ink, **name, **font, **_LAYER),
        hv.opts.Labels(
            _of("Note", dark=dark), text_color=ink, text_font_size="11px", text_align="left",
            text_baseline="middle", background_fill_color=surface, background_fill_alpha=0.9,
            border_radius=8, **font, **_LAYER,
        ),
        hv.opts.Points(
            _of("Surround", dark=dark), line_color=surface, line_width=6, **ring, **_LAYER
        ),
        hv.opts.Points(_of("Ring", dark=dark), line_color=accent, line_width=3, **ring, **_LAYER),
        hv.opts.Points(
            _of("Changed", dark=dark), marker="diamond", size=13, fill_color=surface,
            line_color=ink, line_width=2, **_LAYER,
        ),
        hv.opts.Path(
            _of("Leader", dark=dark), color=ink, line_dash="2 3", line_width=1.5, **_LAYER
        ),
        hv.opts.Polygons(
            _of("Region", dark=dark), fill_color=accent, fill_alpha=0.05, line_color=accent,
            line_dash="5 3", line_width=2, **_LAYER,
        ),
    )  # fmt: skip


_set_styles(dark=False)
_set_styles(dark=True)
hv.opts.defaults(
    hv.Options(
        "MapImage.MapPicture", default_tools=["pan", "wheel_zoom"],
        tools=["lasso_select", "box_select"],
    ),
    hv.opts.Points(
        "MapPoints", color=hv.dim("map_colour"), size=hv.dim("map_size"),
        alpha=hv.dim("map_alpha"), line_color=None, **_LAYER,
    ),
)  # fmt: skip


def map_picture(picture: NDArray[np.uint8] | None, view: Viewport) -> MapImage:
    """Return the aggregated map as an image.

    Parameters
    ----------
    picture : ndarray of shape (height, width, 4), uint8, or None
        RGBA, first row on top (``app.picture.render``); None is a single clear pixel.
    view : Viewport
        Where it lies.

    Returns
    -------
    MapImage
        With alpha.
    """
    if picture is None:
        picture = np.zeros((1, 1, 4), np.uint8)
    bounds = (view.x_range[0], view.y_range[0], view.x_range[1], view.y_range[1])
    vdims = [*list(hv.RGB.vdims), hv.RGB.alpha_dimension]
    return MapImage(picture, kdims=_KDIMS, bounds=bounds, vdims=vdims, group="MapPicture")


def map_points(layers: Sequence[Marks], *, is_dense: bool) -> hv.Points:
    """Return points as glyphs, for when there are few of them in view.

    Parameters
    ----------
    layers : sequence of Marks
        From bottom to top; with ``doubt``, the least values come last.
    is_dense : bool
        Whether points that lie on one another look fuller than one alone.

    Returns
    -------
    holoviews.Points
        With colour, diameter in pixels and opacity of each.
    """
    opacity = _OVERLAP if is_dense else 1.0
    parts = [_NOWHERE, *(_glyph_columns(marks, opacity) for marks in layers)]
    rows = tuple(np.concatenate(column) for column in zip(*parts, strict=True))
    vdims = ["map_colour", "map_size", "map_alpha"]
    return hv.Points(rows, kdims=_KDIMS, vdims=vdims, group="MapPoints")


def _glyph_columns(marks: Marks, opacity: float) -> tuple[NDArray[Any], ...]:
    """x, y, colour as text, diameter and opacity of each point, in drawing order."""
    order = np.arange(len(marks.x))
    if marks.doubt is not None:
        order = np.argsort(-marks.doubt, kind="stable")
    values = np.round(np.clip(marks.point_colours[order], 0, 1) * 255).astype(int)
    colours = np.array([f"#{r:02x}{g:02x}{b:02x}" for r, g, b in values.tolist()], dtype=object)
    count = len(order)
    return (
        marks.x[order],
        marks.y[order],
        colours,
        np.full(count, 2 * marks.radius),
        np.full(count, marks.opacity * opacity),
    )


def map_labels(places: Sequence[tuple[float, float, str]], *, dark: bool) -> hv.Overlay:
    """Return class names at their clusters.

    Parameters
    ----------
    places : sequence of (float, float, str)
        Coordinates and plain text.
    dark : bool
        Theme.

    Returns
    -------
    holoviews.Overlay
        A halo below the text; both keep their size on the screen at any zoom.
    """
    columns = tuple(zip(*places, strict=True)) if places else ([], [], [])
    # Bokeh strokes the outline over the letters, so the halo is a layer of its own.
    halo = hv.Labels(columns, kdims=_KDIMS, vdims=["map_halo"], group=_of("Halo", dark=dark))
    words = hv.Labels(columns, kdims=_KDIMS, vdims=["map_label"], group=_of("Name", dark=dark))
    return halo * words


def map_rings(place: tuple[float, float] | None, *, dark: bool) -> hv.Overlay:
    """Return the ring round the focus: magenta with a halo, so shape tells it and not only colour.

    Parameters
    ----------
    place : tuple of (float, float), or None
        Coordinates of the focus.
    dark : bool
        Theme.

    Returns
    -------
    holoviews.Overlay
        Halo and ring; empty when there is no focus.
    """
    points = [place] if place is not None else []
    halo = hv.Points(points, kdims=_KDIMS, group=_of("Surround", dark=dark))
    ring = hv.Points(points, kdims=_KDIMS, group=_of("Ring", dark=dark))
    return halo * ring


def map_region(vertices: Sequence[tuple[float, float]], *, dark: bool) -> hv.Polygons:
    """Return the outline of the lasso or box that made the selection."""
    corners = [*vertices, vertices[0]] if vertices else []
    paths: list[Any] = [np.asarray(corners, dtype=float)] if corners else []
    return hv.Polygons(paths, kdims=_KDIMS, group=_of("Region", dark=dark))


def map_changed(
    place: tuple[float, float] | None,
    focus: tuple[float, float] | None,
    *,
    words: str = "changed",
    dark: bool,
) -> hv.Overlay:
    """Return the place of a changed or uploaded image: a hollow diamond on a dotted leader.

    Parameters
    ----------
    place : tuple of (float, float), or None
        Where its nearest neighbours lie; it is not projected.
    focus : tuple of (float, float), or None
        Where the unchanged image lies.
    words : str
        What lies there; our own word.
    dark : bool
        Theme.

    Returns
    -------
    holoviews.Overlay
        Leader, the words with "≈", and the diamond; empty when there is none.
    """
    lines: list[Any] = [np.array([focus, place], dtype=float)] if place and focus else []
    leader = hv.Path(lines, kdims=_KDIMS, group=_of("Leader", dark=dark))
    diamond = hv.Points([place] if place else [], kdims=_KDIMS, group=_of("Changed", dark=dark))
    # Its ground begins under the diamond: on dense points letters alone cannot be read.
    notes = [(place[0], place[1], f"    {words} ≈ ")] if place else []
    note = hv.Labels(notes, kdims=_KDIMS, vdims=["map_note"], group=_of("Note", dark=dark))
    return leader * note * diamond
