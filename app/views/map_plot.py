"""The plot of the map: an overlay of layers, its tools, and what it reports of the pointer."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import holoviews as hv
import panel as pn
from bokeh.events import SelectionGeometry
from bokeh.models import BoxSelectTool, InlineStyleSheet, LassoSelectTool, PanTool
from holoviews import streams

from app import plots, sessions, theme
from app.views.map_pictures import PictureLayer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bokeh.document import Document
    from numpy.typing import NDArray

    from app.aggregate import Viewport
    from app.picture import Marks

_DRAGS = {"lasso": LassoSelectTool, "box": BoxSelectTool, "pan": PanTool}

_LAYERS: dict[str, Callable[..., hv.Element | hv.Overlay]] = {
    "picture": lambda picture: plots.map_picture(picture["picture"], picture["view"]),
    "points": lambda points: plots.map_points(points["layers"], is_dense=points["is_dense"]),
    "region": lambda region: plots.map_region(region["region"], dark=region["dark"]),
    "changed": lambda changed: plots.map_changed(
        changed["changed"], changed["place"], words=changed["words"], dark=changed["dark"]
    ),
    "focus": lambda focus: plots.map_rings(focus["place"], dark=focus["dark"]),
    "labels": lambda labels: plots.map_labels(labels["places"], dark=labels["dark"]),
}
"""Layers from bottom to top: how each is drawn from what was last sent to it."""

_BELOW_THUMBNAILS = 3
"""Elements that thumbnails cover: picture, points and region."""

_STAY = 4
"""Pixels by which a name must move to be drawn anew."""


@dataclass(frozen=True, kw_only=True)
class Reports:
    """Whom the plot tells what people do; every number comes from the browser, unchecked.

    Parameters
    ----------
    ranges : bound method
        (x_range, y_range) after a zoom or a pan.
    size : bound method
        (width, height) of the frame in pixels.
    tap, pointer : bound method
        (x, y) in coordinates; None, None when the pointer has left.
    region : bound method
        Geometry of a finished lasso or box.
    drawn : callable
        At once when one is finished, while the keys are as they were; ``region`` comes later.
    """

    ranges: Callable[[Any, Any], None]
    size: Callable[[Any, Any], None]
    tap: Callable[[Any, Any], None]
    pointer: Callable[[Any, Any], None]
    region: Callable[[dict[str, Any]], None]
    drawn: Callable[[], None]


class _Layer(streams.Pipe):  # type: ignore[misc]
    """Data of one layer; unlike a pipe it holds new data from when they were set, not sent."""

    def update(self, **data: Any) -> None:
        """Take over data without sending them."""
        super().update(**data)
        # What HoloViews made of the old ones must not be found again.
        self._on_trigger()


class MapPlot:
    """Layers without axes; what they show is set by the methods.

    Parameters
    ----------
    view : Viewport
        What is seen first.
    reports : Reports
        Told what people do.
    """

    def __init__(self, view: Viewport, reports: Reports) -> None:
        self._view = view
        self._drag = "lasso"
        self._dark = False
        self._plot: Any = None
        self._due: list[str] = []
        self._is_held = False
        self._is_seen = False
        self._reports = reports
        self.pictures = PictureLayer()
        first: dict[str, dict[str, Any]] = {
            "picture": {"picture": None, "view": view},
            "points": {"layers": (), "is_dense": False},
            "region": {"region": (), "dark": False},
            "changed": {"place": None, "changed": None, "words": "", "dark": False},
            "focus": {"place": None, "dark": False},
            "labels": {"places": [], "dark": False},
        }
        # By its own name each datum can be told from those of the others that come with it.
        self._pipes = {name: _Layer(data=first[name]).rename(data=name) for name in _LAYERS}
        self._elements: dict[str, tuple[Any, ...]] = {}
        self.overlay = self._overlay()
        sessions.on_closed(self._close)

    def pane(self) -> pn.pane.HoloViews:
        """Return the plot for a page."""
        # HoloViews keeps the last frame of the whole, and layers are drawn alone since.
        self.overlay.reset()
        return pn.pane.HoloViews(
            self.overlay, sizing_mode="stretch_both", margin=0, linked_axes=False, min_height=40
        )

    # -- what is built once --------------------------------------------------------------

    def _overlay(self) -> hv.Overlay:
        layers = [
            hv.DynamicMap(draw, streams=[self._pipes[name]]) for name, draw in _LAYERS.items()
        ]
        self._listen(layers[0])
        overlay = layers[0]
        for layer in layers[1:]:
            overlay = overlay * layer
        return overlay.opts(
            hv.opts.Overlay(
                responsive=True, border=0, show_frame=False, shared_axes=False, toolbar=None,
                xaxis=None, yaxis=None,
                # Not the drag: HoloViews would go back to it with every frame, in the middle of
                # a gesture with another tool.
                active_tools=["wheel_zoom"],
                # The registry of options lives as long as the process.
                hooks=[sessions.weakly(self._hook)],
            )
        )  # fmt: skip

    def _listen(self, picture: hv.DynamicMap) -> None:
        weakly, reports = sessions.weakly, self._reports
        tap, pointer = weakly(reports.tap), weakly(reports.pointer)
        region = weakly(reports.region)
        ranges, size = weakly(self._on_ranges), weakly(self._on_size)
        listeners: dict[Any, Callable[..., None]] = {
            streams.RangeXY: lambda *, x_range, y_range: ranges(x_range, y_range),
            streams.PlotSize: lambda width, height, **_: size(width, height),
            streams.Tap: lambda *, x, y: tap(x, y),
            streams.PointerXY: lambda *, x, y: pointer(x, y),
            streams.MouseLeave: lambda **_: pointer(None, None),
            streams.Lasso: lambda geometry: region(_lasso(geometry)),
            streams.BoundsXY: lambda bounds: region(_box(bounds)),
        }
        self._streams = [
            kind(source=picture, subscribers=[told]) for kind, told in listeners.items()
        ]

    def _on_ranges(self, x_range: Any, y_range: Any) -> None:
        # HoloViews itself reports the first ones, before a browser has shown anything.
        if self._is_seen:
            self._reports.ranges(x_range, y_range)

    def _on_size(self, width: Any, height: Any) -> None:
        self._is_seen = True
        tell = sessions.weakly(self._reports.size)
        # Between showing the page and saying that it has loaded, the browser is told nothing: new
        # limits would be lost, and the first picture would stay stretched.
        pn.state.onload(lambda: tell(width, height))

    def _on_drawn(self, event: Any) -> None:
        if event.final:
            self._reports.drawn()

    def _hook(self, plot: Any, _: Any) -> None:
        """Set what HoloViews has no option for, on the Bokeh figure itself."""
        figure = plot.state
        # A frame of the whole overlay sets these anew. Half a second of waiting after a wheel
        # tick is Bokeh's default; drawing takes less.
        figure.update(lod_threshold=None, lod_timeout=30)
        if self._plot is not None and self._plot.state is figure:
            self.move(self._view)
            return
        self._plot = plot
        # By these names the buttons switch tools in the browser; see actions.js.
        figure.toolbar.name = "map-toolbar"
        for name in _DRAGS:
            tool = self._tool(name)
            tool.name = f"map-{name}"
            if name != "pan":
                # Only the outline is wanted: a hit on a glyph would fade all others.
                tool.update(renderers=[], continuous=False)
        figure.on_event(SelectionGeometry, sessions.weakly(self._on_drawn))
        figure.outline_line_color = None
        # HoloViews would wait another tenth of a second.
        for callback in self._callbacks():
            if isinstance(callback.streams[0], streams.RangeXY):
                callback.debounce = None
        # The dotted frame round a clicked plot says nothing here: keys act on the page.
        figure.stylesheets = [InlineStyleSheet(css=".bk-events:focus{outline:none!important}")]
        self._put_thumbnails(figure)
        self.use(self._drag)
        self.move(self._view)
        self._colour()

    def _put_thumbnails(self, figure: Any) -> None:
        """Add the thumbnails, for which HoloViews has no element."""
        drawn = list(figure.renderers)
        self.pictures.attach(figure)
        added = figure.renderers[len(drawn) :]
        figure.renderers = [*drawn[:_BELOW_THUMBNAILS], *added, *drawn[_BELOW_THUMBNAILS:]]

    def _callbacks(self) -> list[Any]:
        return [each for part in self._plot.traverse(lambda one: one.callbacks) for each in part]

    def _close(self) -> None:
        """Take the plot out of the registry of HoloViews, which lives as long as the process."""
        if self._plot is not None:
            for callback in self._callbacks():
                callback.cleanup()
            self._plot.cleanup()
            self._plot = None
        for stream in self._streams:
            stream.clear()

    # -- tools ---------------------------------------------------------------------------

    def use(self, name: str) -> None:
        """Make the plot answer a drag with one of its tools: lasso, box or pan."""
        self._drag = name
        if self._plot is not None:
            bar = self._plot.state.toolbar
            tool = self._tool(name)
            if bar.active_drag is not tool:
                bar.active_drag = tool

    def _tool(self, name: str) -> Any:
        tools = self._plot.state.tools
        return next(tool for tool in tools if isinstance(tool, _DRAGS[name]))

    # -- what is shown -------------------------------------------------------------------

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Redraw only at the end, and all layers together."""
        if self._is_held:
            yield
            return
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            self._send()

    def shown(self, layer: str) -> dict[str, Any]:
        """Return what one layer shows: one of picture to labels, as they lie."""
        found: dict[str, Any] = self._pipes[layer].data
        return found

    def move(self, view: Viewport, *, is_there: bool = False) -> None:
        """Show ``view``; the browser is told only of what differs.

        Parameters
        ----------
        view : Viewport
            What is seen.
        is_there : bool
            Whether the browser says so itself: it may be further by now, and is not called back.
        """
        self._view = view
        if self._plot is None or is_there:
            return
        figure = self._plot.state
        for axis, (low, high) in (
            (figure.x_range, view.x_range),
            (figure.y_range, view.y_range),
        ):
            if (axis.start, axis.end) != (low, high):
                axis.update(start=low, end=high, reset_start=low, reset_end=high)

    def show_picture(self, picture: NDArray[Any] | None, view: Viewport) -> None:
        """Show an aggregated picture of the points in view, or none."""
        if picture is not None or self.shown("picture")["picture"] is not None:
            self._show("picture", picture=picture, view=view)

    def show_points(self, layers: Sequence[Marks], *, is_dense: bool) -> None:
        """Show every point as a glyph of its own; nothing for an empty sequence."""
        if layers or self.shown("points")["layers"]:
            self._show("points", layers=layers, is_dense=is_dense)

    def show_labels(self, places: Sequence[tuple[float, float, str]]) -> None:
        """Show the names of classes at their places; none moves by a few pixels only."""
        if not _is_near(self.shown("labels")["places"], places, self._view):
            self._change("labels", places=list(places))

    def show_region(self, vertices: Sequence[tuple[float, float]]) -> None:
        """Show the outline of the lasso or box that made the selection."""
        self._change("region", region=tuple(vertices))

    def show_focus(
        self,
        place: tuple[float, float] | None,
        changed: tuple[float, float] | None,
        *,
        words: str,
    ) -> None:
        """Ring the focus, and show near what its changed copy lies.

        Parameters
        ----------
        place : tuple of (float, float), or None
            Coordinates of the focus.
        changed : tuple of (float, float), or None
            Where the nearest neighbours of the changed or uploaded image lie; not a projection.
        words : str
            What lies there; our own word.
        """
        with self.at_once():
            self._change("focus", place=place)
            # Its leader comes from the focus; alone, the focus is drawn at every tap.
            origin = None if changed is None else place
            self._change("changed", place=origin, changed=changed, words=words)

    def restyle(self, *, dark: bool) -> None:
        """Take over the colours of a theme; Bokeh does not follow it by itself."""
        self._dark = dark
        self.pictures.restyle(dark=dark)
        with self.at_once():
            for layer in ("region", "changed", "focus", "labels"):
                self._change(layer, dark=dark)
        if self._plot is not None:
            self._colour()

    def _colour(self) -> None:
        figure, colour = self._plot.state, theme.tokens(dark=self._dark)
        accent = colour["accent"]
        for name in ("lasso", "box"):
            self._tool(name).overlay.update(
                line_color=accent, line_dash=[5, 3], line_width=2, fill_color=accent,
                fill_alpha=0.05,
            )  # fmt: skip
        # Without a ground of its own, Bokeh leaves the edge of the last picture behind.
        ground = colour["plot"]
        figure.update(background_fill_color=ground, border_fill_color=ground)

    def _change(self, layer: str, **data: Any) -> None:
        """Send some data of a layer, unless it shows them already."""
        before = self.shown(layer)
        if any(before[name] != datum for name, datum in data.items()):
            self._show(layer, **(before | data))

    def _show(self, layer: str, **data: Any) -> None:
        self._pipes[layer].update(data=data)
        self._due.append(layer)
        if not self._is_held:
            self._send()

    def _send(self) -> None:
        due, self._due = list(dict.fromkeys(self._due)), []
        if not due:
            return
        document = None if self._plot is None else self._plot.state.document
        with nullcontext() if document is None else _not_counted(document):
            left = [layer for layer in due if not self._redrawn(layer)]
            if left:
                streams.Stream.trigger([self._pipes[layer] for layer in left])

    def _redrawn(self, layer: str) -> bool:
        """Hand the elements of a layer to what draws each of them, where that can be done.

        A frame of the whole overlay works out the options and limits of all layers anew: 15 to 25
        ms instead of 3. It is needed where elements come or go, as they do with the theme, and
        where the browser has not shown anything yet.

        Returns
        -------
        bool
            False where nothing was done.
        """
        drawn = _LAYERS[layer](self._pipes[layer].data)
        overlay = drawn if isinstance(drawn, hv.Overlay) else hv.Overlay([drawn])
        keys = tuple(overlay.keys())
        is_known, self._elements[layer] = self._elements.get(layer) == keys, keys
        plot = self._plot
        if plot is None or not is_known or any(key not in plot.subplots for key in keys):
            return False
        # HoloViews waits for its turn in the same case.
        if not pn.state._unblocked(plot.state.document):  # noqa: SLF001
            return False
        for key, element in overlay.data.items():
            one = plot.subplots[key]
            if element or one.current_frame:
                one.update_frame(one.current_key, one.ranges, element=element)
        return True


def _is_near(
    before: Sequence[tuple[float, float, str]],
    after: Sequence[tuple[float, float, str]],
    view: Viewport,
) -> bool:
    """Whether the same names stand where they stood; to draw them anew costs 9 ms a zoom."""
    return [name for *_, name in before] == [name for *_, name in after] and all(
        abs(x - old_x) <= _STAY * view.unit_x and abs(y - old_y) <= _STAY * view.unit_y
        for (old_x, old_y, _), (x, y, _) in zip(before, after, strict=True)
    )


@contextmanager
def _not_counted(document: Document) -> Iterator[None]:
    """Keep HoloViews from counting all models of the page after every frame.

    It freezes the document, and thawing counts: with the map alone half of the time of a frame,
    with all views far more. A model that does come or go is counted without it.
    """
    document.models.freeze = nullcontext  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del document.models.freeze  # the method is found again


def _lasso(geometry: NDArray[Any]) -> dict[str, Any]:
    return {"type": "poly", "x": geometry[:, 0].tolist(), "y": geometry[:, 1].tolist()}


def _box(bounds: tuple[Any, Any, Any, Any]) -> dict[str, Any]:
    return {"type": "rect", **dict(zip(("x0", "y0", "x1", "y1"), bounds, strict=True))}
