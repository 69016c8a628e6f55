"""A class has one colour on the whole page: the map's pixels and every view's swatches agree."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import panel as pn
import pytest

from app import theme
from app.aggregate import PointIndex
from app.class_slots import class_slots
from app.components.selection_bar import SelectionBar
from app.dashboard import Dashboard
from app.runtime import open_runtime
from app.state import SessionState
from app.views.confusion import ConfusionView
from app.views.filter_card import histogram
from app.views.map_colours import MapColours
from app.views.map_legend import legend_data
from app.views.pattern_figures import _shares
from app.views.simulation_curves import _line
from app.views.testing_figures import _scores
from benchmarks._million_store import build

APP = Path(theme.__file__).parent
COUNTS = (2, 10, 11, 40, 1000)


class Many:
    """A runtime with another number of classes; the later a class, the more of it is wrong."""

    def __init__(self, runtime, count):
        self.runtime = runtime
        images = runtime.images
        generator = np.random.default_rng(count)
        true = generator.integers(0, count, len(images.ids)).astype(np.int16)
        predicted = true.copy()
        wrong = generator.random(len(true)) < true / (2 * count)
        predicted[wrong] = (true[wrong] + 1) % count
        self.images = type(images)(
            ids=images.ids, true_class=true, predicted_class=predicted,
            confidence=images.confidence, margin=images.margin, is_wrong=wrong,
            split=images.split, splits=images.splits,
        )  # fmt: skip
        self.class_names = tuple(f"kind {index}" for index in range(count))

    def __getattr__(self, name):
        return getattr(self.runtime, name)


@pytest.fixture(params=COUNTS)
def many(request, runtime):
    return Many(runtime, request.param)


@pytest.fixture
def state(many):
    made = SessionState({"": many.images.ids})
    made.select(many.images.ids[::3], "a third")
    return made


def on_the_page(value, slots, *, dark):
    """Return what a browser makes of a CSS value: our own reading of ``var()``."""
    sheet = theme.PAGE_CSS + theme.slots_css(slots)
    blocks = re.findall(r"([^{}]*)\{([^{}]*)\}", sheet)
    name = ".mui-dark" if dark else ".mui-light"
    set_here = [body for selector, body in blocks if name in selector]
    values = dict(re.findall(r"(--[\w-]+):([^;]+)", ";".join(set_here)))
    while found := re.fullmatch(r"var\((--[\w-]+)(?:,(.*))?\)", value):
        value = values.get(found[1], found[2] or "")
    return value


def by_view(many, state):
    """Return the CSS value of each class by view, as far as a view shows the class."""
    names, count = many.class_names, len(many.class_names)
    counts = np.arange(count) + 1
    confusion = ConfusionView(many, state)
    confusion._counts = np.zeros((count, count), np.int64)
    rows = many.images.rows(state.selected_ids)
    scores = np.tile(np.linspace(0.1, 0.9, count, dtype=np.float32), (2, 1))
    tested = SimpleNamespace(scores=scores, predicted=(0, 1), label=count - 1)
    nothing = np.zeros(1, np.float32)
    listed = {
        "bars of a score": _scores(tested, names),
        "pie of a pattern": _shares(counts, names),
        "curves": [_line(index, names, nothing, nothing, nothing) for index in range(count)],
        "matrix": [confusion._class(index) for index in range(count)],
        "mix of the bar": [
            {"colour": colour, "name": " ".join(said.split()[:2])}
            for _, colour, said in SelectionBar(many, state)._mix(rows)["mix"]
        ],
        "histogram of a filter": stacks(many),
    }
    return {
        view: {one["name"]: one["colour"] for one in entries} for view, entries in listed.items()
    }


def stacks(many):
    count = len(many.class_names)
    found = SimpleNamespace(
        means=np.arange(float(count)), counts=np.ones((count + 1, 4), int),
        silent=np.zeros(count + 1, int), edges=np.linspace(0, 1, 5), n_images=4,
    )  # fmt: skip
    return histogram(found, many.class_names)["stacks"]


@pytest.mark.parametrize("dark", [False, True])
def test_every_view_gives_a_class_the_colour_of_the_map(dark, many, state):
    points = many.runtime.point_index("tsne")
    colours = MapColours(many, PointIndex(points.ids, points.x, points.y))
    slots = class_slots(many, "", state.selection)
    for by in ("true", "predicted"):
        colours.follow(by=by, split="", selection=state.selection, hidden=frozenset())
        palette = np.round(colours.palette(dark=dark) * 255).astype(int)
        on_map = {
            name: "#" + "".join(f"{channel:02x}" for channel in palette[index])
            for index, name in enumerate(many.class_names)
        }
        views = by_view(many, state) | {
            "legend": {one["name"]: one["colour"] for one in legend_data(colours)["items"]}
        }
        compared = 0
        for view, values in views.items():
            assert values, view
            for name, value in values.items():
                if name in on_map:
                    assert on_the_page(value, slots, dark=dark) == on_map[name], (view, name)
                    compared += 1
        assert compared >= 2 * len(on_map)
    held = {colour for colour in on_map.values() if colour != theme.tokens(dark=dark)["context"]}
    assert len(held) == (len(on_map) if len(on_map) <= 10 else theme.MAX_COLOURED)


def test_the_most_confused_in_the_selection_hold_a_colour(runtime):
    many = Many(runtime, 40)
    table = many.images
    state = SessionState({"": table.ids})
    state.select(table.ids[table.true_class < 20], "the surer half")
    errors = np.zeros(40, int)
    for classes in (table.true_class, table.predicted_class):
        wrong = classes[(table.true_class < 20) & table.is_wrong]
        np.add.at(errors, wrong, 1)
    held = class_slots(many, "", state.selection)
    assert len(held) == len(set(held.values())) == theme.MAX_COLOURED
    assert min(errors[list(held)]) >= max(np.delete(errors, list(held)))


def test_a_class_that_has_a_colour_keeps_it_and_the_same_selection_gives_the_same(runtime):
    many = Many(runtime, 40)
    ids = many.images.ids
    state = SessionState({"": ids})
    whole = class_slots(many, "", state.selection)
    state.select(ids[:300], "some")
    some = class_slots(many, "", state.selection)
    assert set(some) != set(whole), "another selection, other classes"
    assert all(some[index] == whole[index] for index in set(some) & set(whole))
    state.select(ids[500:600], "others")
    class_slots(many, "", state.selection)
    again = SessionState({"": ids})
    again.select(ids[:300], "the same images in another session")
    assert class_slots(many, "", again.selection) == some


def test_no_view_has_colours_of_classes_of_its_own():
    owners = {
        path.name
        for path in [*APP.rglob("*.py"), *APP.rglob("*.js"), *APP.rglob("*.css")]
        if "--vt-class-" in path.read_text(encoding="utf-8")
    }
    assert owners == {"theme.py"}


def test_the_page_of_many_classes_follows_the_selection(tmp_path, monkeypatch):
    monkeypatch.setattr(pn.state, "execute", lambda *_, **__: None)
    build(tmp_path / "many", n_images=600, n_classes=12, seed=1)
    runtime = open_runtime(tmp_path / "many")
    dashboard = Dashboard(runtime, stores=["many"], name="many", query={})
    state = dashboard.state
    assert state.colour_by == "correct", "colours cannot tell so many apart"

    def expected():
        return [theme.PAGE_CSS, theme.slots_css(class_slots(runtime, "", state.selection))]

    before = dashboard.page.stylesheets
    assert before == expected()
    true = runtime.images.true_class
    state.select(runtime.images.ids[true < 3], "three classes")
    assert dashboard.page.stylesheets == expected() != before
    state.undo()
    assert dashboard.page.stylesheets == before
