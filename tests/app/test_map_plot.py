"""The plot of the map draws a changed layer alone, and as a frame of the whole overlay would."""

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.models import GlyphRenderer
from panel.io.state import set_curdoc
from panel.io.state import state as panel_state

from app.state import SessionState
from app.views import map_view
from app.views.map_plot import MapPlot
from app.views.map_view import MapView

SIDE = 200


@pytest.fixture(autouse=True)
def few_glyphs(monkeypatch):
    """Draw what is not looked at closely as a picture, as with more images."""
    monkeypatch.setattr(map_view, "_GLYPHS", 100)


class Shown:
    """A map in a document to which a browser has connected."""

    def __init__(self, runtime):
        self.document = Document()
        self.state = SessionState(dict(runtime.splits), shading="equal")
        with set_curdoc(self.document):
            self.view = MapView(runtime, self.state)
            self.document.add_root(self.view.__panel__().get_root(self.document))
            panel_state._connected[self.document] = True
            self.view.on_size(SIDE, SIDE)

    def do(self, act):
        with set_curdoc(self.document):
            act(self)

    def drawn(self):
        """Return what the glyphs of the figure draw, by kind and order, and what is not empty."""
        found = []
        figure = self.view.plot._plot.state
        for renderer in figure.renderers:
            if isinstance(renderer, GlyphRenderer):
                columns = renderer.data_source.data
                data = {
                    name: [np.asarray(value).tolist() for value in values]
                    for name, values in sorted(columns.items())
                }
                if renderer.visible and any(map(len, data.values())):
                    found.append((type(renderer.glyph).__name__, data))
        return found


def zoom(shown):
    (x0, x1), (y0, y1) = shown.view._view.x_range, shown.view._view.y_range
    across, up = 0.2 * (x1 - x0), 0.2 * (y1 - y0)
    shown.view.on_ranges((x0 + across, x1 - across), (y0 + up, y1 - up))


def lasso(shown):
    (x0, x1), (y0, y1) = shown.view._view.x_range, shown.view._view.y_range
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    shown.view.on_region({"type": "poly", "x": [x0, x1, x], "y": [y0, y, y1]})


def tap(shown):
    index = shown.view._index
    shown.view.on_tap(float(index.x[40]), float(index.y[40]))


def colour(shown):
    shown.state.colour_by = "margin"


def hide(shown):
    shown.view._hide("3")


def change(shown):
    index = shown.view._index
    shown.state.changed_place = (float(index.x[7]), float(index.y[7]))


def dark(shown):
    shown.state.dark = not shown.state.dark


def close(shown):
    index = shown.view._index
    x, y = float(index.x[40]), float(index.y[40])
    shown.view.on_ranges((x - 0.5, x + 0.5), (y - 0.5, y + 0.5))


def clear(shown):
    shown.state.clear()


GESTURES = [
    [zoom], [lasso], [tap, zoom, tap], [hide, colour], [tap, change, dark, tap, lasso],
    [lasso, dark, zoom, dark, zoom, clear], [close, dark, lasso], [close, zoom, change],
]  # fmt: skip


@pytest.mark.parametrize("gestures", GESTURES, ids=lambda each: "-".join(x.__name__ for x in each))
def test_a_layer_drawn_alone_looks_as_in_a_frame_of_all(runtime, monkeypatch, gestures):
    alone = Shown(runtime)
    drawn = []

    def redrawn(plot, layer, real=MapPlot._redrawn):
        drawn.append(real(plot, layer))
        return drawn[-1]

    monkeypatch.setattr(MapPlot, "_redrawn", redrawn)
    for gesture in gestures:
        alone.do(gesture)
    assert any(drawn), "nothing was drawn alone"
    monkeypatch.setattr(MapPlot, "_redrawn", lambda *_: False)
    whole = Shown(runtime)
    for gesture in gestures:
        whole.do(gesture)
    assert repr(alone.drawn()) == repr(whole.drawn()), "as text: some are NaN"
    assert alone.drawn()


def test_a_frame_of_all_keeps_the_limits_and_waits_no_longer(runtime, monkeypatch):
    shown = Shown(runtime)
    figure = shown.view.plot._plot.state
    figure.lod_timeout = 500
    monkeypatch.setattr(MapPlot, "_redrawn", lambda *_: False)
    for gesture in (lasso, dark, colour):
        shown.do(gesture)
    assert (figure.lod_timeout, figure.lod_threshold) == (30, None)
    view = shown.view._view
    assert (figure.x_range.start, figure.x_range.end) == view.x_range
    assert (figure.y_range.start, figure.y_range.end) == view.y_range


def test_who_looks_later_sees_the_latest_of_every_layer(runtime):
    shown = Shown(runtime)
    for gesture in (zoom, tap, lasso):
        shown.do(gesture)
    later = Document()
    with set_curdoc(later):
        later.add_root(shown.view.plot.pane().get_root(later))
    pictures = [
        next(
            renderer.data_source.data["image"][0]
            for renderer in document.select({"type": GlyphRenderer})
            if type(renderer.glyph).__name__ == "ImageRGBA"
        )
        for document in (shown.document, later)
    ]
    assert pictures[0].shape == (SIDE, SIDE)
    assert np.array_equal(*pictures)
