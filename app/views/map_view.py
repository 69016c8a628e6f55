"""View A, the map, shows where the network is confused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
import panel as pn
from bokeh.models import BoxSelectTool, InlineStyleSheet, LassoSelectTool, PanTool, TapTool
from bokeh.models.tools import SelectTool
from holoviews import streams

from app import plots, safe, shell, theme
from app.aggregate import START_SIZE, Marks, Viewport, home_view, mark_radius, render, resized
from app.components.controls import ActionButtons, Choice
from app.components.legend import LegendList
from app.state import COLOURINGS, Region
from app.views import map_parts
from app.views.map_colours import MapColours, label_places

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.components.keys import Keys
    from app.runtime import Runtime
    from app.state import SessionState

_REACH = 14
"""Pixels within which a tap or the pointer finds a point."""

_GLYPHS = 2_000
"""Points in view up to which each is drawn as a glyph; more are aggregated into a picture."""

_COLOUR_NAMES = {
    "true": "True class",
    "predicted": "Predicted",
    "correct": "Correct",
    "confidence": "Confidence",
}

_DRAGS = {"lasso": LassoSelectTool, "box": BoxSelectTool, "pan": PanTool}


class MapView(pn.viewable.Viewer):
    """Every image of the shown split at its place in one projection.

    Parameters
    ----------
    runtime : Runtime
        Shared, read-only.
    state : SessionState
        Of this session.
    keys : Keys, optional
        Tells whether Shift or Alt is held while a region is drawn.
    """

    def __init__(self, runtime: Runtime, state: SessionState, *, keys: Keys | None = None) -> None:
        super().__init__()
        self._runtime = runtime
        self._state = state
        self._keys = keys
        self._figure: Any = None
        self._view: Viewport | None = None
        self._layers: list[Marks] = []
        self._drag = "lasso"
        self._hovered: int | None = None
        if runtime.projections and not state.projection:
            state.projection = _first_projection(runtime.projections)
        self._build()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._frame

    # -- what is built once --------------------------------------------------------------

    def _build(self) -> None:
        runtime, state = self._runtime, self._state
        if not runtime.projections:
            body: Any = shell.message(
                "There is no map of this store yet",
                "The stage that lays out the embedding has not run.",
                command=f"doit embed:{runtime.name}",
            )
        else:
            self._index = runtime.point_index(state.projection)
            self._colours = MapColours(runtime, self._index)
            body = self._body()
        self._frame = shell.view_frame(
            "A",
            "Map",
            "Where is the network confused?",
            body,
            state=state,
            info=shell.INFO["a"],
        )

    def _body(self) -> pn.Column:
        self._legend = LegendList(on_pick=self._pick_class, margin=0, sizing_mode="stretch_width")
        self._n = pn.pane.HTML("", stylesheets=[map_parts.N_CSS], margin=0, css_classes=["map-n"])
        self._card = pn.pane.HTML(
            "",
            stylesheets=[map_parts.CARD_CSS],
            margin=0,
            css_classes=["map-card", "br"],
            visible=False,
        )
        self._peek = pn.pane.HTML(
            "", stylesheets=[map_parts.PEEK_CARD_CSS], margin=0, sizing_mode="stretch_width"
        )
        self._tools = ActionButtons(
            self._use_tool,
            action_items=[
                {"id": name, "label": label, "icon": name}
                | ({} if name == "home" else {"pressed": name == "lasso"})
                for name, label in map_parts.TOOLS
            ],
            action_column=True,
            action_toolbar="map",
            css_classes=["map-tools"],
            margin=0,
        )
        box = pn.Column(
            pn.pane.HoloViews(
                self._plot(),
                sizing_mode="stretch_both",
                margin=0,
                linked_axes=False,
                min_height=40,
            ),
            self._tools,
            self._n,
            self._card,
            sizing_mode="stretch_both",
            margin=0,
            stylesheets=[map_parts.BOX_CSS],
        )
        test = ActionButtons(
            lambda _: setattr(self._state, "view", "b"),
            action_items=[{"id": "test", "label": "Test this image", "text": "Test"}],
            margin=0,
            align="center",
        )
        self._peek_row = pn.Row(
            self._peek,
            test,
            stylesheets=[map_parts.PEEK_CSS],
            margin=0,
            sizing_mode="stretch_width",
        )
        self._state.param.watch(self._on_state, [
            "selection", "split", "colour_by", "projection", "dark"
        ])  # fmt: skip
        self._state.param.watch(lambda _: self._draw_focus(), ["focus", "changed_place"])
        self._describe()
        self._draw_peek()
        return pn.Column(
            self._tool_row(),
            box,
            self._peek_row,
            self._legend,
            sizing_mode="stretch_both",
            margin=0,
            stylesheets=[map_parts.BODY_CSS],
            css_classes=["vt-body"],
        )

    def _tool_row(self) -> pn.Row:
        state, runtime = self._state, self._runtime
        names = {key: _COLOUR_NAMES[key] for key in COLOURINGS}
        colour = Choice.of(names, state.colour_by, label="Colour by")
        colour.link(state, choice_value="colour_by", bidirectional=True)
        row: list[Any] = [colour, pn.Spacer(sizing_mode="stretch_width", margin=0)]
        if len(runtime.projections) > 1:
            shown = {name: _projection_name(name) for name in runtime.projections}
            projection = Choice.of(shown, state.projection, label="Projection", kind="select")
            projection.link(state, choice_value="projection", bidirectional=True)
            row.append(projection)
        return pn.Row(
            *row,
            margin=0,
            sizing_mode="stretch_width",
            stylesheets=[map_parts.TOOL_CSS],
            min_height=26,
        )

    def _plot(self) -> hv.Overlay:
        self._range = streams.RangeXY()
        self._size = streams.PlotSize()
        self._redraw = streams.Counter()
        # HoloViews waits 100 ms before it answers a zoom; drawing here takes less than that.
        picture = hv.DynamicMap(self._picture, streams=[self._range, self._size, self._redraw])
        picture = picture.opts(hv.opts.RGB(tools=["tap", "lasso_select", "box_select"]))
        self._labels = streams.Pipe(data=None)
        self._marks = streams.Pipe(data=None)
        self._lasso = streams.Lasso(source=picture)
        self._box = streams.BoundsXY(source=picture)
        self._tap = streams.Tap(source=picture)
        self._pointer = streams.PointerXY(source=picture)
        self._left = streams.MouseLeave(source=picture)
        self._left.add_subscriber(lambda **_: self._show_card(None))
        self._lasso.add_subscriber(self._on_lasso)
        self._box.add_subscriber(self._on_box)
        self._tap.add_subscriber(self._on_tap)
        self._pointer.add_subscriber(self._on_pointer)
        overlay = (
            picture
            * hv.DynamicMap(self._glyphs, streams=[self._range, self._size, self._redraw])
            * hv.DynamicMap(self._region_marks, streams=[self._marks])
            * hv.DynamicMap(self._focus_marks, streams=[self._marks])
            * hv.DynamicMap(self._label_marks, streams=[self._labels])
        )
        home = home_view(self._bounds(), *START_SIZE)
        return overlay.opts(
            hv.opts.RGB(
                xaxis=None,
                yaxis=None,
                toolbar=None,
                xlim=home.x_range,
                ylim=home.y_range,
                default_tools=["pan", "wheel_zoom", "reset"],
                # Not the drag: HoloViews would go back to it with every frame, in the middle of a
                # gesture with another tool.
                active_tools=["wheel_zoom"],
            ),
            hv.opts.Overlay(
                responsive=True,
                hooks=[self._hook],
                border=0,
                xaxis=None,
                yaxis=None,
                toolbar=None,
                show_frame=False,
                default_tools=["pan", "wheel_zoom", "reset"],
                active_tools=["wheel_zoom"],
                shared_axes=False,
            ),
        )

    def _hook(self, plot: Any, _: Any) -> None:
        """Set what HoloViews has no option for, on the Bokeh figure itself."""
        figure = plot.state
        if self._figure is figure:
            return
        self._figure = figure
        # By these names the buttons switch tools in the browser; see actions.js.
        figure.toolbar.name = "map-toolbar"
        for name, kind in _DRAGS.items():
            next(tool for tool in figure.tools if isinstance(tool, kind)).name = f"map-{name}"
        self._activate(self._drag)
        # Half a second of waiting after a wheel tick is Bokeh's default.
        figure.lod_timeout = 30
        figure.outline_line_color = None
        figure.background_fill_alpha = 0
        figure.border_fill_alpha = 0
        # The dotted frame round a clicked plot says nothing here: keys act on the page.
        figure.stylesheets = [InlineStyleSheet(css=".bk-events:focus{outline:none!important}")]
        figure.toolbar_location = None
        figure.xgrid.visible = figure.ygrid.visible = False
        self._style_tools()

    def _style_tools(self) -> None:
        accent = theme.tokens(dark=self._state.dark)["accent"]
        for tool in self._figure.tools if self._figure else ():
            if isinstance(tool, (SelectTool, TapTool)):
                # Only the outline is wanted; a hit on a glyph would fade all others.
                tool.renderers = []
            if hasattr(tool, "overlay") and tool.overlay is not None:
                tool.overlay.update(
                    line_color=accent, line_dash=[5, 3], line_width=2, fill_color=accent,
                    fill_alpha=0.05,
                )  # fmt: skip

    # -- drawing -------------------------------------------------------------------------

    def _bounds(self) -> tuple[float, float, float, float]:
        return self._index.bounds(self._colours.shown(self._state.split))

    def _see(self, x_range: Any, y_range: Any, width: Any, height: Any) -> None:
        """Work out what is in view, once for the picture and the glyphs of one event."""
        try:
            view = resized(self._view, self._bounds(), x_range, y_range, width, height)
        except (ValueError, TypeError, OverflowError):
            view = self._view or Viewport((0.0, 1.0), (0.0, 1.0), 16, 16)
        self._view = view
        self._move_axes(view)
        self._layers = self._visible_layers(view)

    def _picture(
        self, x_range: Any, y_range: Any, width: Any, height: Any, scale: Any, counter: int
    ) -> hv.RGB:
        del scale, counter
        self._see(x_range, y_range, width, height)
        assert self._view is not None  # noqa: S101 - set by _see
        drawn = [] if self._is_sparse() else self._layers
        return plots.map_picture(render(drawn, self._view), self._view)

    def _glyphs(self, counter: int, **_: Any) -> hv.Points:
        del counter
        return plots.map_points(self._layers if self._is_sparse() else [])

    def _is_sparse(self) -> bool:
        """Whether so few points are in view that each is a glyph of its own."""
        return sum(len(marks.x) for marks in self._layers) <= _GLYPHS

    def _move_axes(self, view: Viewport) -> None:
        """Make the figure show ``view``; the browser is told only of what differs."""
        if self._figure is None:
            return
        for axis, (low, high) in (
            (self._figure.x_range, view.x_range),
            (self._figure.y_range, view.y_range),
        ):
            if (axis.start, axis.end) != (low, high):
                axis.update(start=low, end=high, reset_start=low, reset_end=high)

    def _visible_layers(self, view: Viewport) -> list[Marks]:
        index, state = self._index, self._state
        shown = self._colours.shown(state.split)
        inside = (
            shown
            & (index.x >= view.x_range[0]) & (index.x <= view.x_range[1])
            & (index.y >= view.y_range[0]) & (index.y <= view.y_range[1])
        )  # fmt: skip
        count = int(inside.sum())
        self._n.object = f"<span>{count:,} of {int(shown.sum()):,} drawn</span>"
        return self._colours.layers(
            inside, state.colour_by, selection=state.selection, dark=state.dark,
            radius=mark_radius(count),
        )  # fmt: skip

    def _region_marks(self, data: Any) -> hv.Polygons:
        del data
        region = self._state.selection.region
        vertices = (
            region.vertices if region and region.projection == self._state.projection else ()
        )
        return plots.map_region(vertices, dark=self._state.dark)

    def _focus_marks(self, data: Any) -> hv.Overlay:
        del data
        state = self._state
        place = self._index.place(state.focus) if state.focus is not None else None
        rings = plots.map_rings(place, dark=state.dark)
        words = "changed" if state.upload is None else "upload"
        return plots.map_changed(state.changed_place, place, words=words, dark=state.dark) * rings

    def _label_marks(self, data: Any) -> hv.Overlay:
        del data
        state = self._state
        view = self._view or home_view(self._bounds(), *START_SIZE)
        places = label_places(
            self._runtime,
            self._index,
            self._colours.shown(state.split),
            by=state.colour_by,
            unit=(view.unit_x, view.unit_y),
        )
        return plots.map_labels(places, dark=state.dark)

    def _draw_focus(self) -> None:
        with pn.io.hold():
            self._marks.send(None)
            self._draw_peek()

    def _on_state(self, *events: Any) -> None:
        names = {event.name for event in events}
        with pn.io.hold():
            if "projection" in names:
                if self._state.projection not in self._runtime.projections:
                    return
                self._index = self._runtime.point_index(self._state.projection)
                self._colours = MapColours(self._runtime, self._index)
                self._view = None
            if "dark" in names:
                self._style_tools()
            if names - {"selection"}:
                self._labels.send(None)
            self._marks.send(None)
            self._redraw.event(counter=self._redraw.counter + 1)
            self._describe()

    def _describe(self) -> None:
        self._legend.legend_data = self._colours.legend(
            self._state.colour_by, self._state.selection, self._state.split
        )

    # -- what people do ------------------------------------------------------------------

    def _use_tool(self, name: str) -> None:
        if self._figure is None:
            return
        if name == "home":
            self._view = None
            self._redraw.event(counter=self._redraw.counter + 1)
            return
        self._drag = name
        self._activate(name)
        self._tools.press(name)

    def _activate(self, name: str) -> None:
        """Make the figure answer a drag with one of its tools."""
        tool = next(t for t in self._figure.tools if isinstance(t, _DRAGS[name]))
        if self._figure.toolbar.active_drag is not tool:
            self._figure.toolbar.active_drag = tool

    def _found(self, x: Any, y: Any) -> int | None:
        """Image id of the point under the pointer, or None."""
        if self._view is None or not _is_number(x) or not _is_number(y):
            return None
        position = self._index.nearest(
            float(x),
            float(y),
            reach_x=_REACH * self._view.unit_x,
            reach_y=_REACH * self._view.unit_y,
            shown=self._colours.shown(self._state.split),
        )
        return None if position is None else int(self._index.ids[position])

    def _on_tap(self, x: Any, y: Any) -> None:
        image_id = self._found(x, y)
        if image_id is not None:
            self._state.set_focus(image_id)

    def _on_lasso(self, geometry: Any) -> None:
        if geometry is None or getattr(geometry, "ndim", 0) != 2:
            return
        vertices = safe.polygon(geometry[:, 0], geometry[:, 1])
        if vertices is not None:
            self._select(self._index.in_polygon(vertices), "lasso on Map", vertices)

    def _on_box(self, bounds: Any) -> None:
        if not isinstance(bounds, (tuple, list)) or len(bounds) != 4:
            return
        if not all(_is_number(value) for value in bounds):
            return
        x0, y0, x1, y1 = (float(value) for value in bounds)
        vertices = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
        self._select(self._index.in_box(x0, x1, y0, y1), "box on Map", vertices)

    def _select(
        self,
        positions: NDArray[np.int64],
        origin: str,
        vertices: tuple[tuple[float, float], ...],
    ) -> None:
        state = self._state
        shown = self._colours.shown(state.split)
        ids = self._index.ids[positions[shown[positions]]]
        region = Region(state.projection, vertices)
        modifier = self._keys.keys_modifier if self._keys is not None else ""
        if modifier == "shift" and not state.selection.is_all:
            ids = np.union1d(ids, state.selected_ids)
            state.select(ids, f"{state.selection.origin} + {origin}")
        elif modifier == "alt":
            ids = np.setdiff1d(state.selected_ids, ids)
            state.select(ids, f"{state.selection.origin or 'all'} − {origin}")
        elif len(ids):
            state.select(ids, origin, region=region)

    def _pick_class(self, key: str) -> None:
        found = self._colours.chosen(key, self._state.colour_by, self._state.split)
        if found is not None:
            self._state.select(found[0], found[1])

    def _on_pointer(self, x: Any, y: Any) -> None:
        self._show_card(self._found(x, y), x, y)

    def _show_card(self, image_id: int | None, x: Any = 0, y: Any = 0) -> None:
        if image_id == self._hovered:
            return
        self._hovered = image_id
        self._state.hover = image_id
        with pn.io.hold():
            if image_id is not None and self._view is not None:
                self._card.object = map_parts.card_html(self._runtime, image_id)
                # The card docks in the corner farthest from the pointer, never over it.
                left = float(x) > sum(self._view.x_range) / 2
                top = float(y) < sum(self._view.y_range) / 2
                corner = ("t" if top else "b") + ("l" if left else "r")
                self._card.css_classes = ["map-card", corner]
            self._card.visible = image_id is not None

    def _draw_peek(self) -> None:
        focus = self._state.focus
        self._peek_row.visible = focus is not None
        self._peek.object = map_parts.card_html(self._runtime, focus) if focus is not None else ""


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.number)) and bool(np.isfinite(value))


def _first_projection(names: tuple[str, ...]) -> str:
    """t-SNE where there is one: neighbourhoods are what the map is read for."""
    return "tsne" if "tsne" in names else names[0]


def _projection_name(name: str) -> str:
    return {"tsne": "t-SNE", "umap": "UMAP", "pca": "PCA"}.get(name, name)
