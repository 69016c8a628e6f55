"""What a session's page costs the server on a store of very many images, without a browser.

The page is the real one, put into a Bokeh document. What a browser would report is given to its
map as HoloViews gives it, and what the browser would be sent is serialised as for the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn
from bokeh.document import Document
from bokeh.document.events import DocumentPatchedEvent
from bokeh.protocol import Protocol
from panel.io.state import set_curdoc

from app.components.selection_bar import SelectionBar
from app.dashboard import Dashboard
from app.state import SessionState
from app.views.map_view import MapView
from benchmarks._million_work import CLOCK, SIZE, cpu, cpu_row
from benchmarks._report import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.aggregate import Viewport
    from app.runtime import Runtime

    Outlines = Sequence[Sequence[tuple[float, float]]]


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Median of the processor time in milliseconds, and of the bytes sent."""

    milliseconds: float
    sent: float


class Served:
    """A page in a document; collects what a browser would be sent.

    Parameters
    ----------
    document : Document
        Already holds the page.
    view : MapView
        Its map.
    """

    def __init__(self, document: Document, view: MapView) -> None:
        self._document = document
        self._map = view
        # Panel sends to a browser that has connected; before, it would send nothing.
        pn.state._connected[document] = True  # noqa: SLF001 - set when the page has loaded
        self._events: list[Any] = []
        document.on_change(self._events.append)
        with set_curdoc(document):
            view.on_size(*SIZE)
        self.flush()

    @classmethod
    def map_of(cls, runtime: Runtime, state: SessionState) -> Served:
        """Serve the map alone."""
        document = Document()
        with set_curdoc(document):
            view = MapView(runtime, state)
            document.add_root(view.__panel__().get_root(document))
        return cls(document, view)

    @classmethod
    def page_of(cls, runtime: Runtime) -> tuple[Served, SessionState]:
        """Serve the whole page, of all images in the colours of their true classes."""
        document = Document()
        with set_curdoc(document):
            dashboard = Dashboard(runtime, stores=[runtime.name], name=runtime.name, query={})
            dashboard.page.server_doc(document)
        dashboard.state.colour_by = "true"
        return cls(document, dashboard.views[0]), dashboard.state

    def zoom(self, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        """Report limits, as the browser does after a turn of the wheel."""
        self._map.on_ranges(x_range, y_range)

    def tap(self, x: float, y: float) -> None:
        """Report a tap."""
        self._map.on_tap(x, y)

    def lasso(self, corners: Sequence[tuple[float, float]]) -> None:
        """Report a finished lasso."""
        xs, ys = (list(values) for values in zip(*corners, strict=True))
        self._map.on_region({"type": "poly", "x": xs, "y": ys})

    def flush(self) -> int:
        """Serialise what waits to be sent; return its bytes."""
        # Panel does this in the next turn of the server's loop.
        self._document.unhold()
        sent = [event for event in self._events if isinstance(event, DocumentPatchedEvent)]
        if not sent:
            return 0
        message = Protocol().create("PATCH-DOC", sent)
        self._events.clear()
        return len(message.content_json) + sum(len(part.to_bytes()) for part in message.buffers)

    def timed(self, act: Callable[[int], object], rounds: int) -> Timed:
        """Act several times, once before unmeasured; sending is part of the work."""
        seconds, sent = [], []
        for number in range(rounds + 1):
            started = CLOCK()
            with set_curdoc(self._document):
                act(number)
            sent.append(self.flush())
            seconds.append(CLOCK() - started)
        return Timed(
            milliseconds=1_000 * float(np.median(seconds[1:])), sent=float(np.median(sent[1:]))
        )


def page_rows(
    runtime: Runtime,
    view: Viewport,
    outlines: Outlines,
    rounds: int,
) -> list[Row]:
    """Time what a session's page does: the map alone, the bar alone, and all views together."""
    state = SessionState(dict(runtime.splits), colour_by="true")
    map_alone = Served.map_of(runtime, state)
    rows = _gestures(map_alone, state, view, outlines, rounds, "the map alone", "")
    bar_state = SessionState(dict(runtime.splits))
    bar = SelectionBar(runtime, bar_state)
    index = runtime.point_index("tsne")
    selections = [index.ids[index.in_polygon(each)] for each in outlines]

    def select(number: int) -> None:
        bar_state.select(selections[number % len(selections)], "lasso")

    rows.append(cpu_row("lasso_bar_ms", cpu(select, rounds), "state and selection bar alone", ""))
    del bar
    started = CLOCK()
    whole, whole_state = Served.page_of(runtime)
    rows.append(
        Row(
            name="page_seconds",
            value=CLOCK() - started,
            unit="s CPU",
            against="the document of one more session, store already open",
        )
    )
    return rows + _gestures(whole, whole_state, view, outlines, rounds, "all views", "_page")


def _gestures(
    served: Served,
    state: SessionState,
    view: Viewport,
    outlines: Outlines,
    rounds: int,
    of: str,
    end: str,
) -> list[Row]:
    def zoom(number: int) -> None:
        (x0, x1), (y0, y1) = view.x_range, view.y_range
        by = 0.01 * (number % 3)
        across, up = by * (x1 - x0), by * (y1 - y0)
        served.zoom((x0 + across, x1 - across), (y0 + up, y1 - up))

    def touch(number: int) -> None:
        served.tap(*outlines[0][number % len(outlines[0])])

    def colour(number: int) -> None:
        state.colour_by = ("predicted", "true")[number % 2]

    def one_class(number: int) -> None:
        state.hidden = frozenset({("true", str(number % 3))})

    goals = ("<= 40", "<= 50") if not end else ("", "")
    zoomed = served.timed(zoom, rounds)
    rows = [
        cpu_row(f"zoom{end}_ms", zoomed.milliseconds, f"picture and sending: {of}", goals[0]),
        cpu_row(f"tapped{end}_ms", served.timed(touch, rounds).milliseconds, f"tap: {of}", ""),
        cpu_row(f"colour{end}_ms", served.timed(colour, rounds).milliseconds, f"switch: {of}", ""),
        cpu_row(
            f"lasso{end}_ms",
            served.timed(lambda n: served.lasso(outlines[n % len(outlines)]), rounds).milliseconds,
            f"outline, state, redraw, sending: {of}",
            goals[1],
        ),
        cpu_row(
            f"zoom_selected{end}_ms",
            served.timed(zoom, rounds).milliseconds,
            f"with a sixth selected: {of}",
            goals[0],
        ),
        cpu_row(
            f"class{end}_ms", served.timed(one_class, rounds).milliseconds, f"legend: {of}", ""
        ),
    ]
    state.hidden = frozenset()
    state.clear()
    served.flush()
    sent = Row(
        name=f"zoom{end}_megabytes", value=zoomed.sent / 1e6, unit="MB sent",
        against=f"{SIZE[0]} x {SIZE[1]} pixels",
    )  # fmt: skip
    return [*rows, sent]
