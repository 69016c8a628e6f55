"""The map of very many classes: which hold a colour, and how the others are found."""

import numpy as np
import pytest

from app.aggregate import PointIndex
from app.state import SessionState
from app.views import map_legend
from app.views.map_colours import MapColours
from feature_store import queries


class Many:
    """A runtime of 30 classes whose errors lie between the last ones."""

    def __init__(self, runtime):
        self.runtime = runtime
        count = len(runtime.images.ids)
        generator = np.random.default_rng(0)
        true = generator.integers(0, 30, count).astype(np.int16)
        predicted = true.copy()
        wrong = (true >= 24) & (generator.random(count) < 0.5)
        predicted[wrong] = 24 + (true[wrong] - 24 + 1) % 6
        self.images = type(runtime.images)(
            ids=runtime.images.ids, true_class=true, predicted_class=predicted,
            confidence=runtime.images.confidence, margin=runtime.images.margin, is_wrong=wrong,
            split=runtime.images.split, splits=runtime.images.splits,
        )  # fmt: skip
        self.class_names = tuple(f"kind {index:02d}" for index in range(30))

    def __getattr__(self, name):
        return getattr(self.runtime, name)


@pytest.fixture
def many(runtime):
    made = Many(runtime)
    points = queries.map_points(runtime.store, "tsne")
    colours = MapColours(made, PointIndex(points.image_id, points.x, points.y))
    colours.follow(by="true", split="", selection=SessionState().selection, hidden=frozenset())
    return colours


def test_of_many_classes_the_most_confused_hold_a_colour_and_the_rest_are_grey(many):
    assert len(many.slots) == 9
    assert {24, 25, 26, 27, 28, 29} <= set(many.slots)
    palette = many.palette(dark=False)
    grey = palette[-1]
    coloured = [value for value in range(30) if (palette[value] != grey).any()]
    assert sorted(coloured) == sorted(many.slots)
    data = map_legend.legend_data(many)
    assert len(data["items"]) == 9
    assert data["note"].startswith("21 other classes in grey, ")
    named = sum(int(item["count"].replace(",", "")) for item in data["items"])
    rest = int(data["note"].split(", ")[1].split()[0].replace(",", ""))
    assert named + rest == len(many.runtime.images.ids)
    assert len(data["names"]) == 30


def test_a_class_keeps_its_colour_while_it_holds_one(many):
    before = dict(many.slots)
    state = SessionState({"": many.runtime.images.ids})
    state.select(many.runtime.images.ids[:400], "x")
    many.follow(by="true", split="", selection=state.selection, hidden=frozenset())
    for value in set(before) & set(many.slots):
        assert many.slots[value] == before[value]


def test_a_name_that_has_no_colour_is_found(many):
    true = many.runtime.images.true_class
    ids, origin = map_legend.sought(many, "kind 03")
    assert sorted(ids.tolist()) == many.runtime.images.ids[true == 3].tolist()
    assert origin == "class kind 03"
    ids, origin = map_legend.sought(many, "KIND 1")
    assert sorted(ids.tolist()) == many.runtime.images.ids[(true >= 10) & (true < 20)].tolist()
    assert origin.startswith("10 classes with")
    assert map_legend.sought(many, "zebra") is None
    assert map_legend.sought(many, "") is None
