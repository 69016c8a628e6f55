"""View A, the map, shows where the network is confused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn

from app import shell
from app.aggregate import START_SIZE, Viewport, home_view, resized
from app.components.controls import ActionButtons, Choice
from app.components.legend import LegendList
from app.components.map_controls import ColourChoice, MapFrame
from app.picture import Marks, render
from app.state import Region, usual_colouring, usual_shading
from app.views import map_legend, map_measures, map_parts, map_pictures
from app.views.map_colours import MapColours
from app.views.map_labels import ClassLabels, clear_of
from app.views.map_plot import MapPlot, Reports
from app.views.map_table import BOX_CSS, MapTableView

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.components.keys import Keys
    from app.runtime import Runtime
    from app.state import SessionState
    from app.views.map_pictures import Placed

_REACH = 14
"""Pixels within which a tap or the pointer finds a point."""

_GLYPHS = 2_000
"""Points in view up to which each is drawn as a glyph; more are aggregated into a picture."""

_STEP = 1.5
"""Factor of one press of a zoom key; an arrow moves by a quarter of what is seen."""


_FAR = 1e30
"""No gesture leads so far; coordinates, which are float32, end soon after."""

_UNEVEN = 0.01
"""Share by which the units of both axes may differ; distances on a map mean the same in each."""

_RING = (-11.0, 11.0, 11.0)
_NOTE = (-8.0, 84.0, 9.0)
"""Pixels from the focus, or a changed image's place, to the left, right, and upper or lower end
of its ring, or note."""

_HOW = {"shift": "add", "alt": "subtract"}
"""What a region does to the selection while a key is held."""


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
        self._held: str | None = None
        self._drag = "lasso"
        self._hovered: int | None = None
        self._pictures: list[Placed] = []
        self._in_view = 0
        missing = map_parts.why_no_map(runtime)
        if missing is None and state.projection not in runtime.projections:
            state.projection = map_parts.first_projection(runtime.projections)
        if state.colour_by not in map_measures.colourings(runtime):
            state.colour_by = usual_colouring(len(runtime.class_names))
        body = self._body() if missing is None else missing
        self._frame = shell.view_frame(
            "A", "Map", "Where is the network confused?", body, state=state,
            info=shell.INFO["a"],
        )  # fmt: skip

    def __panel__(self) -> pn.viewable.Viewable:
        return self._frame

    # -- what is built once --------------------------------------------------------------

    def _body(self) -> pn.Column:
        state = self._state
        self._open(state.projection)
        if not state.shading:
            state.shading = usual_shading(len(state.universe))
        self._view = home_view(self._bounds(), *START_SIZE)
        self.plot = MapPlot(
            self._view,
            Reports(
                ranges=self.on_ranges, size=self.on_size, tap=self.on_tap,
                pointer=self.on_pointer, region=self.on_region, drawn=self.on_drawn,
            ),
        )  # fmt: skip
        self.plot.restyle(dark=state.dark)
        self._legend = LegendList(
            self._pick, self._hide, self._find, margin=0, sizing_mode="stretch_width"
        )
        self._over = MapFrame(
            self.on_move, self._show_all, margin=0, css_classes=["map-n"],
        )  # fmt: skip
        self._card = pn.pane.HTML(
            "", stylesheets=[map_parts.CARD_CSS], margin=0, css_classes=["map-card", "br"],
            visible=False,
        )  # fmt: skip
        self._tools = ActionButtons(
            self._use_tool, action_items=self._tool_items(), action_column=True,
            action_toolbar="map", css_classes=["map-tools"], margin=0,
        )  # fmt: skip
        self._table = MapTableView(
            self._runtime, state, on_close=self._turn, on_home=lambda: self.on_move("home")
        )
        self._box = pn.Column(
            self.plot.pane(), self._over, self._tools, self._card, self._table.table,
            sizing_mode="stretch_both", margin=0, stylesheets=[map_parts.BOX_CSS, BOX_CSS],
        )  # fmt: skip
        tools = self._tool_row()
        self._peek_row = self._peek()
        self._draw_all()
        self._draw_focus()
        self._listen()
        return pn.Column(
            tools, self._box, self._peek_row, self._legend, sizing_mode="stretch_both", margin=0,
            stylesheets=[map_parts.BODY_CSS], css_classes=["vt-body"],
        )  # fmt: skip

    def _listen(self) -> None:
        watch = self._state.param.watch
        watch(
            self._on_state,
            ["selection", "split", "colour_by", "projection", "hidden", "shading", "dark"],
        )
        watch(lambda _: self._draw_focus(), ["focus", "changed_place"])

    def _tool_items(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        for name, label in map_parts.TOOLS:
            item: dict[str, Any] = {"id": name, "label": label, "icon": name}
            if name in map_parts.DRAGS:
                item["pressed"] = name == self._drag
            elif name == "density":
                item["pressed"] = self._state.shading == "density"
            items.append(item)
        return [*items, {"id": "table", "label": "Show as table", "icon": "table"}]

    def _tool_row(self) -> pn.Row:
        state, runtime = self._state, self._runtime
        colour = ColourChoice(
            colour_options=map_parts.colour_options(runtime), colour_value=state.colour_by,
            margin=0, align="center",
        )  # fmt: skip
        colour.link(state, colour_value="colour_by", bidirectional=True)
        row: list[Any] = [colour, pn.Spacer(sizing_mode="stretch_width", margin=0)]
        if len(runtime.projections) > 1:
            shown = {name: map_parts.projection_name(name) for name in runtime.projections}
            projection = Choice.of(shown, state.projection, label="Projection", kind="select")
            projection.link(state, choice_value="projection", bidirectional=True)
            row.append(projection)
        return pn.Row(
            *row, margin=0, sizing_mode="stretch_width", stylesheets=[map_parts.TOOL_CSS],
            min_height=26,
        )  # fmt: skip

    def _peek(self) -> pn.Row:
        """Card of the focus, for a phone."""
        self._peek_card = pn.pane.HTML(
            "", stylesheets=[map_parts.PEEK_CARD_CSS], margin=0, sizing_mode="stretch_width"
        )
        test = ActionButtons(
            lambda _: setattr(self._state, "view", "b"),
            action_items=[{"id": "test", "label": "Test this image", "text": "Test"}],
            margin=0,
            align="center",
        )
        return pn.Row(
            self._peek_card, test, stylesheets=[map_parts.PEEK_CSS], margin=0,
            sizing_mode="stretch_width",
        )  # fmt: skip

    # -- drawing -------------------------------------------------------------------------

    def _open(self, projection: str) -> None:
        self._index = self._runtime.point_index(projection)
        self._colours = MapColours(self._runtime, self._index)
        self._labels = ClassLabels(self._colours)
        self._follow()

    def _follow(self) -> None:
        state = self._state
        self._colours.follow(
            by=state.colour_by, split=state.split, selection=state.selection,
            hidden=state.hidden,
        )  # fmt: skip

    def _bounds(self) -> tuple[float, float, float, float]:
        return self._colours.bounds

    def _home(self) -> Viewport:
        return home_view(self._bounds(), self._view.width, self._view.height)

    def _draw(self, *, is_there: bool = False) -> None:
        """Draw what is in view; ``is_there`` when the browser shows this part already."""
        view, state = self._view, self._state
        inside = self._colours.inside(view)
        self._in_view = int(inside.sum())
        layers = self._colours.layers(inside, dark=state.dark)
        is_dense = state.shading == "density"
        is_sparse = self._in_view <= _GLYPHS
        self._pictures = self._beside(inside)
        with pn.io.hold(), self.plot.at_once():
            self.plot.move(view, is_there=is_there)
            picture = None if is_sparse else render(layers, view, is_dense=is_dense)
            self.plot.show_picture(picture, view)
            points = [each for each in layers if isinstance(each, Marks)] if is_sparse else []
            self.plot.show_points(points, is_dense=is_dense)
            self.plot.show_labels(self._names())
            self.plot.pictures.show(self._pictures)
            self._say()
            if self._table.table.table_open:
                self._table.show(self._colours, inside)

    def _names(self) -> list[tuple[float, float, str]]:
        """Return the names of classes in view, none on the focus or the note of a changed one."""
        names = self._labels.places(self._view)
        for place, box in ((self._focus_place(), _RING), (self._state.changed_place, _NOTE)):
            names = clear_of(names, place, box, self._view)
        return names

    def _focus_place(self) -> tuple[float, float] | None:
        focus = self._state.focus
        return None if focus is None else self._index.place(focus)

    def _draw_all(self) -> None:
        """Draw what is in view, and what stands beside the picture."""
        state = self._state
        with pn.io.hold(), self.plot.at_once():
            self._draw()
            region = state.selection.region
            here = region is not None and region.projection == state.projection
            self.plot.show_region(region.vertices if region is not None and here else ())
            self._legend.legend_data = map_legend.legend_data(self._colours)

    def _beside(self, inside: NDArray[np.bool_]) -> list[Placed]:
        """Lay out thumbnails beside the points, when there are few of them."""
        if not 0 < self._in_view <= map_pictures.MOST:
            return []
        candidates = map_parts.picture_candidates(
            self._colours, np.flatnonzero(inside), dark=self._state.dark
        )
        placed = map_pictures.lay_out(candidates, self._view)
        urls = {one.image_id: self._runtime.thumbnail_url(one.image_id) for one, _, _ in placed}
        return map_pictures.in_coordinates(placed, urls, self._view)

    def _say(self) -> None:
        """Say how much is drawn, what is hidden, and why nothing is seen."""
        state, colours = self._state, self._colours
        drawn = map_legend.drawn_words(colours, self._in_view)
        if self._pictures and len(self._pictures) < self._in_view:
            drawn += f", {len(self._pictures)} with a picture: zoom in for the others"
        hidden = map_legend.hidden_words(colours, state.selection)
        empty, why = map_parts.why_empty(colours, state.split)
        self._over.frame_data = {
            "label": map_parts.figure_label(colours, state, drawn, hidden),
            "drawn": drawn, "hidden": hidden, "empty": empty, "why": why,
        }  # fmt: skip

    def _draw_focus(self) -> None:
        state = self._state
        place = self._focus_place()
        words = "changed" if state.upload is None else "upload"
        self._table.mark()
        with pn.io.hold(), self.plot.at_once():
            self.plot.show_labels(self._names())
            self.plot.show_focus(place, state.changed_place, words=words)
            self._peek_row.visible = state.focus is not None
            self._peek_card.object = (
                "" if state.focus is None else map_parts.card_html(self._runtime, state.focus)
            )

    def _on_state(self, *events: Any) -> None:
        state = self._state
        names = {event.name for event in events}
        if state.projection not in self._runtime.projections:
            return
        if state.colour_by not in map_measures.colourings(self._runtime):
            return
        with pn.io.hold(), self.plot.at_once():
            if "projection" in names:
                self._open(state.projection)
                self._view = self._home()
                self.on_pointer(None, None)
                self._draw_focus()
            else:
                # Who has not zoomed sees all of another split, too.
                is_home = self._view == self._home()
                self._follow()
                if is_home:
                    self._view = self._home()
            if "dark" in names:
                self.plot.restyle(dark=state.dark)
            if "shading" in names:
                self._tools.action_items = self._tool_items()
            self._draw_all()

    # -- what people do ------------------------------------------------------------------

    def on_ranges(self, x_range: Any, y_range: Any) -> None:
        """Draw what a zoom or a pan has brought into view; forged limits change nothing."""
        view = self._view
        ends = (*x_range, *y_range)
        if not all(map_parts.is_number(end) and abs(end) < _FAR for end in ends):
            return
        try:
            asked = Viewport(
                (float(x_range[0]), float(x_range[1])), (float(y_range[0]), float(y_range[1])),
                view.width, view.height,
            )  # fmt: skip
            evened = _evened(asked)
        except (ValueError, OverflowError):
            return
        is_even = abs(asked.unit_x / asked.unit_y - 1) < _UNEVEN
        if not is_even:
            # No gesture leads here: new limits and ones from before have met on their way.
            asked, home = evened, self._home()
            if view == home and _is_near(asked, home):
                asked = home
        self._view = asked
        self._draw(is_there=is_even)

    def on_size(self, width: Any, height: Any) -> None:
        """Draw at the size of the frame in the browser."""
        view = self._view
        if not map_parts.is_number(width) or not map_parts.is_number(height):
            return
        try:
            found = resized(view, self._bounds(), view.x_range, view.y_range, width, height)
        except (ValueError, OverflowError):
            return
        if found != view:
            self._view = found
            self._draw()

    def on_move(self, action: str) -> None:
        """Zoom, pan or go home, as a key or a button says."""
        view = self._view
        if action == "home":
            self._view = self._home()
        else:
            self._view = map_parts.moved(view, action, _STEP)
        # Another image lies under the pointer now, which has not moved.
        self.on_pointer(None, None)
        self._draw()

    def _use_tool(self, name: str) -> None:
        if name in {"home", "in", "out"}:
            self.on_move(name)
        elif name == "density":
            state = self._state
            state.shading = "equal" if state.shading == "density" else "density"
        elif name == "table":
            self._turn()
        else:
            self._drag = name
            self.plot.use(name)
            self._tools.action_items = self._tool_items()

    def _turn(self) -> None:
        """Show the map as a table, or the table as a map."""
        table = self._table.table
        with pn.io.hold():
            table.table_open = not table.table_open
            self._box.css_classes = ["tabled"] if table.table_open else []
            if table.table_open:
                self._table.show(self._colours, self._colours.inside(self._view))

    def _found(self, x: Any, y: Any) -> int | None:
        """Image id of the point or thumbnail under the pointer, or None."""
        if not map_parts.is_number(x) or not map_parts.is_number(y):
            return None
        pictured = map_pictures.picture_at(self._pictures, float(x), float(y), self._view)
        if pictured is not None:
            return pictured
        position = self._index.nearest(
            float(x),
            float(y),
            reach_x=_REACH * self._view.unit_x,
            reach_y=_REACH * self._view.unit_y,
            shown=self._colours.visible,
        )
        return None if position is None else int(self._index.ids[position])

    def on_tap(self, x: Any, y: Any) -> None:
        """Put the tapped image under test."""
        image_id = self._found(x, y)
        if image_id is not None:
            self._state.set_focus(image_id)

    def on_region(self, geometry: dict[str, Any]) -> None:
        """Select what a finished lasso or box holds; a forged geometry selects nothing."""
        found = map_parts.region_of(geometry)
        if found is None:
            return
        kind, vertices = found
        if kind == "lasso":
            positions = self._index.in_polygon(vertices)
        else:
            (x0, y0), (x1, y1) = vertices[0], vertices[2]
            positions = self._index.in_box(x0, x1, y0, y1)
        # What the legend hides is not taken: people select what they see.
        ids = self._index.ids[positions[self._colours.visible[positions]]]
        modifier, self._held = self._modifier if self._held is None else self._held, None
        if len(ids):
            region = Region(self._state.projection, vertices)
            how = _HOW.get(modifier, "")
            self._state.select(ids, f"{kind} on Map", how=how, region=region)

    @property
    def _modifier(self) -> str:
        return "" if self._keys is None else self._keys.keys_modifier

    def on_drawn(self) -> None:
        """Note which key a region was drawn with: the next press may come before it is handled."""
        self._held = self._modifier

    def _pick(self, key: str) -> None:
        found = map_legend.picked(self._colours, key)
        if found is not None:
            self._state.select(*found)

    def _find(self, text: str) -> None:
        found = map_legend.sought(self._colours, text)
        if found is not None:
            self._state.select(*found)

    def _hide(self, key: str) -> None:
        self._state.hidden = map_legend.toggled(self._colours, key, self._state.hidden)

    def _show_all(self) -> None:
        self._state.hidden = frozenset()

    def on_pointer(self, x: Any, y: Any) -> None:
        """Show the card of the image under the pointer; None when it has left."""
        image_id = None if x is None else self._found(x, y)
        if image_id == self._hovered:
            return
        self._hovered = image_id
        self._state.hover = image_id
        with pn.io.hold():
            if image_id is not None:
                self._card.object = map_parts.card_html(
                    self._runtime, image_id, by=self._state.colour_by
                )
                # The card docks in the corner farthest from the pointer, never over it.
                left = float(x) > sum(self._view.x_range) / 2
                top = float(y) < sum(self._view.y_range) / 2
                corner = ("t" if top else "b") + ("l" if left else "r")
                self._card.css_classes = ["map-card", corner]
            self._card.visible = image_id is not None


def _evened(view: Viewport) -> Viewport:
    """Return the part of the map round the same middle that holds ``view``, in equal units."""
    half = max(view.unit_x, view.unit_y) / 2
    (x0, x1), (y0, y1) = view.x_range, view.y_range
    x, y, half_x, half_y = (x0 + x1) / 2, (y0 + y1) / 2, half * view.width, half * view.height
    return Viewport((x - half_x, x + half_x), (y - half_y, y + half_y), view.width, view.height)


def _is_near(one: Viewport, other: Viewport) -> bool:
    """Whether two viewports show the same part of the map but for a tenth of it."""
    ends = zip((*one.x_range, *one.y_range), (*other.x_range, *other.y_range), strict=True)
    reach = 0.1 * max(np.ptp(other.x_range), np.ptp(other.y_range))
    return all(abs(a - b) < reach for a, b in ends)
