"""Pure plot functions: arrays in, HoloViews elements out; views and notebooks share them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
from bokeh.core.properties import value

from app import theme

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from app.aggregate import Marks, Viewport

hv.extension("bokeh")

# Panes on one page link axes whose dimensions have the same name: these belong to the map alone.
MAP_X = hv.Dimension("map_x")
MAP_Y = hv.Dimension("map_y")

_KDIMS = [MAP_X, MAP_Y]


def map_picture(picture: NDArray[np.uint8], view: Viewport) -> hv.RGB:
    """Return the aggregated map as an image.

    Parameters
    ----------
    picture : ndarray of shape (height, width, 4), uint8
        RGBA, first row on top (``app.aggregate.render``).
    view : Viewport
        Where it lies.

    Returns
    -------
    holoviews.RGB
        With alpha.
    """
    bounds = (view.x_range[0], view.y_range[0], view.x_range[1], view.y_range[1])
    return hv.RGB(
        picture, kdims=_KDIMS, bounds=bounds, vdims=[*list(hv.RGB.vdims), hv.RGB.alpha_dimension]
    )


def map_points(layers: Sequence[Marks]) -> hv.Points:
    """Return points as glyphs, for when there are few of them in view.

    Parameters
    ----------
    layers : sequence of Marks
        From bottom to top; with ``doubt``, the least values come last.

    Returns
    -------
    holoviews.Points
        With colour, diameter in pixels and opacity of each.
    """
    parts = [_glyph_columns(marks) for marks in layers if len(marks.x)]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)] if parts else []
    rows = tuple(columns) if columns else []
    return hv.Points(rows, kdims=_KDIMS, vdims=["map_colour", "map_size", "map_alpha"]).opts(
        color=hv.dim("map_colour"), size=hv.dim("map_size"), alpha=hv.dim("map_alpha"),
        line_color=None,
    )  # fmt: skip


def _glyph_columns(marks: Marks) -> tuple[NDArray[Any], ...]:
    """x, y, colour as text, diameter and opacity of each point, in drawing order."""
    order = np.arange(len(marks.x))
    if marks.doubt is not None:
        order = np.argsort(-marks.doubt, kind="stable")
    values = np.round(np.clip(marks.colours[order], 0, 1) * 255).astype(int)
    colours = np.array([f"#{r:02x}{g:02x}{b:02x}" for r, g, b in values.tolist()], dtype=object)
    count = len(order)
    return (
        marks.x[order],
        marks.y[order],
        colours,
        np.full(count, 2 * marks.radius),
        np.full(count, marks.opacity),
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
    colour = theme.tokens(dark=dark)
    columns = list(zip(*places, strict=True)) if places else ([], [], [])
    style = {
        "text_font_size": "12px",
        "text_font_style": "bold",
        "text_font": value(theme.FONT),
        "text_align": "center",
        "text_baseline": "bottom",
    }
    # Bokeh strokes the outline over the letters, so the halo is a layer of its own.
    halo = hv.Labels(tuple(columns), kdims=_KDIMS, vdims=["map_halo"]).opts(
        text_color=colour["plot"], text_outline_color=colour["plot"], text_outline_width=4, **style
    )
    words = hv.Labels(tuple(columns), kdims=_KDIMS, vdims=["map_label"]).opts(
        text_color=colour["ink"], **style
    )
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
    colour = theme.tokens(dark=dark)
    points = [place] if place is not None else []
    halo = hv.Points(points, kdims=_KDIMS).opts(
        size=17, fill_alpha=0, line_color=colour["surface"], line_width=6, marker="circle"
    )
    ring = hv.Points(points, kdims=_KDIMS).opts(
        size=17, fill_alpha=0, line_color=colour["accent"], line_width=3, marker="circle"
    )
    return halo * ring


def map_region(vertices: Sequence[tuple[float, float]], *, dark: bool) -> hv.Polygons:
    """Return the outline of the lasso or box that made the selection."""
    colour = theme.tokens(dark=dark)
    corners = [*vertices, vertices[0]] if vertices else []
    paths: list[Any] = [np.asarray(corners, dtype=float)] if corners else []
    return hv.Polygons(paths, kdims=_KDIMS).opts(
        fill_color=colour["accent"], fill_alpha=0.05, line_color=colour["accent"],
        line_dash="5 3", line_width=2,
    )  # fmt: skip


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
        Leader, diamond and the words with "≈"; empty when there is none.
    """
    colour = theme.tokens(dark=dark)
    lines: list[Any] = [np.array([focus, place], dtype=float)] if place and focus else []
    leader = hv.Path(lines, kdims=_KDIMS).opts(
        color=colour["ink"], line_dash="2 3", line_width=1.5
    )
    diamond = hv.Points([place] if place else [], kdims=_KDIMS).opts(
        marker="diamond", size=13, fill_color=colour["surface"], line_color=colour["ink"],
        line_width=2,
    )  # fmt: skip
    label = hv.Labels(
        [(place[0], place[1], f"   {words} ≈")] if place else [], kdims=_KDIMS, vdims=["map_note"]
    ).opts(
        text_color=colour["ink"], text_font_size="11px", text_align="left",
        text_baseline="middle", text_font=value(theme.FONT),
    )  # fmt: skip
    return leader * diamond * label
