"""Networks of 600 to 26,560 filters as marks: each is drawn, hit by the pointer, and lassoed."""

from __future__ import annotations

import base64
import io
import threading

import numpy as np
import panel as pn
import pytest
from PIL import Image

from app import theme
from app.components.unit_view import MOST_FILTERS, UnitView
from tests.app.conftest import drag, free_port, wait_for

pytestmark = pytest.mark.browser

# Filters of each convolution, the shortcuts of ResNet-50 among them.
_STAGES = [(64, 3), (128, 4), (256, 6), (512, 3)]
NETWORKS = {
    "600": [24, 24, 48, 48, 72, 72, 96, 96, 120],
    "VGG-16": [64, 64, 128, 128, *[256] * 3, *[512] * 7],
    "ResNet-50": [
        64,
        *[n for width, blocks in _STAGES for n in [width, width, 4 * width] * blocks],
        *[4 * width for width, _ in _STAGES],
    ],
}
SIZES = [(472, 150), (709, 320)]


def test_the_networks_are_as_large_as_their_names_say():
    assert [sum(filters) for filters in NETWORKS.values()] == [600, 4736, 26_560]


class Plot:
    """A served plot, and what its page said."""

    def __init__(self, filters, size):
        self.filters = filters
        self.size = size
        self.picked = []
        self.lassoed = []
        self.units = None
        self.listens = threading.Event()

    def page(self):
        light = theme.layer_colours(len(self.filters), dark=False)
        self.units = UnitView(
            lambda *item: self.picked.append(item[:2]),
            None,
            lambda *found: self.lassoed.append(found),
            unit_layers=[
                {"name": f"layer{k}", "block": f"block{k // 3}", "filters": n,
                 "light": light[k], "dark": light[k]}
                for k, n in enumerate(self.filters)
            ],
            unit_shades=bytes(sum(self.filters)),
            width=self.size[0],
            height=self.size[1],
            margin=0,
        )  # fmt: skip
        # What is sent before the browser listens would be lost.
        pn.state.onload(self.listens.set)
        return pn.Column(self.units, stylesheets=[theme.ROOT_CSS], margin=0)

    def pale(self):
        """Shade no filter."""
        self.units.unit_shades = bytes(sum(self.filters))

    def darken(self, layer, index):
        """Shade one filter and no other."""
        shades = np.zeros(sum(self.filters), np.uint8)
        shades[sum(self.filters[:layer]) + index] = 255
        self.units.unit_shades = shades.tobytes()


@pytest.fixture(params=[(name, size) for name in NETWORKS for size in SIZES], ids=str)
def plot(request):
    name, size = request.param
    made = Plot(NETWORKS[name], size)
    port = free_port()
    server = pn.serve({"/": made.page}, port=port, threaded=True, show=False, verbose=False)
    made.url = f"http://localhost:{port}/"
    yield made
    server.stop()


def opacity(page):
    """Return how opaque each pixel of the marks is: the canvas has no background."""
    url = page.locator("canvas.marks").evaluate("c => c.toDataURL()")
    with Image.open(io.BytesIO(_decoded(url))) as picture:
        return np.asarray(picture.convert("RGBA"))[..., 3]


def _decoded(url):
    return base64.b64decode(url.partition(",")[2])


def test_every_filter_is_drawn_hit_and_lassoed(plot, open_page):
    page = open_page(plot.url, size=(900, 500), ready="canvas.over")
    over = page.locator("canvas.over").bounding_box()
    assert (over["width"], over["height"]) == plot.size
    assert plot.listens.wait(60)
    wait_for(lambda: opacity(page).any(), what="the first marks")
    pale = opacity(page)
    rng = np.random.default_rng(0)
    layers = len(plot.filters)
    for layer in {0, layers - 1, *rng.choice(layers, 4).tolist()}:
        index = int(rng.integers(plot.filters[layer]))
        plot.pale()
        wait_for(lambda: np.array_equal(opacity(page), pale), what="the last mark to go")
        plot.darken(layer, index)
        marks = wait_for(
            lambda: _changed(opacity(page), pale), what=f"{layer}·{index} to be drawn"
        )
        x, y = over["x"] + marks[0], over["y"] + marks[1]
        page.mouse.move(x, y)
        wait_for(
            lambda: page.locator(".tip b").inner_text() == f"layer{layer} · {index}",  # noqa: B023
            seconds=10,
            what=f"the words of {layer}·{index}",
        )
        page.mouse.click(x, y)
        wait_for(lambda: plot.picked, what="the click")
        assert plot.picked == [(layer, index)]
        plot.picked.clear()
    left, top = over["x"] + 1, over["y"] + 1
    right, bottom = left + over["width"] - 2, top + over["height"] - 2
    drag(page, [(left, top), (right, top), (right, bottom), (left, bottom), (left, top + 4)])
    wait_for(lambda: plot.lassoed, what="the lasso")
    named, count, mode = plot.lassoed[0]
    assert count == sum(plot.filters), "no filter is left out"
    assert len(named) == min(count, MOST_FILTERS)
    assert mode == "replace"
    assert plot.picked == [], "a drag is no click"


def _changed(opacity, pale):
    """Return the middle (x, y) of what is drawn otherwise, one mark; None while nothing is."""
    y, x = np.nonzero(opacity != pale)
    if not len(x):
        return None
    assert max(np.ptp(x), np.ptp(y)) <= 24, "no other mark is drawn otherwise"
    return float(x.mean()) + 0.5, float(y.mean()) + 0.5
