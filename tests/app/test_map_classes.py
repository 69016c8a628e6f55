"""The map of very many classes: which hold a colour, and how the others are found."""

import itertools
from dataclasses import replace

import datashader as ds
import datashader.transfer_functions as tf
import numpy as np
import pandas as pd
import pytest

from app.aggregate import PointIndex, home_view
from app.picture import Rest, render
from app.state import SessionState
from app.views import map_colours, map_legend, map_measures
from app.views.map_colours import MapColours
from app.views.map_labels import ClassLabels, class_anchors
from app.views.map_view import MapView
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


@pytest.mark.parametrize("hidden", [(), (27,), (2, 24, 29)])
def test_with_classes_hidden_a_pixel_has_the_colour_of_datashaders_categorical_shading(
    many, hidden
):
    many.follow(
        by="true", split="", selection=SessionState().selection,
        hidden=frozenset(("true", str(value)) for value in hidden),
    )  # fmt: skip
    index = many.index
    view = home_view(index.bounds(), 60, 50)
    layers = many.layers(many.inside(view), dark=False)
    picture = render([replace(one, radius=0.5) for one in layers], view)[::-1]

    classes = many.runtime.images.true_class[np.searchsorted(many.runtime.images.ids, index.ids)]
    kept = ~np.isin(classes, hidden)
    frame = pd.DataFrame(
        {
            "x": index.x[kept],
            "y": index.y[kept],
            "c": pd.Categorical(classes[kept], range(30)),
        }
    )
    canvas = ds.Canvas(60, 50, x_range=view.x_range, y_range=view.y_range)
    counts = canvas.points(frame, "x", "y", ds.count_cat("c"))
    key = {
        value: tuple(np.rint(255 * colour).astype(int).tolist())
        for value, colour in enumerate(many.palette(dark=False)[:-1])
    }
    assert len(set(key.values())) == 10, "nine colours and grey"
    shaded = tf.shade(counts, color_key=key).to_numpy()
    theirs = np.stack([shaded >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(int)
    is_drawn = counts.sum(axis=-1).to_numpy() > 0
    assert is_drawn.sum() > 100
    assert (is_drawn == (picture[..., 3] > 0)).all()
    assert np.abs(picture[..., :3].astype(int) - theirs)[is_drawn].max() <= 1


@pytest.mark.parametrize("hidden", [(), (("true", "3"),), (("true", "3"), ("correct", "1"))])
def test_a_name_stands_above_the_densest_part_of_the_visible_points_of_its_class(many, hidden):
    many.follow(by="true", split="", selection=SessionState().selection, hidden=frozenset(hidden))
    index, images = many.index, many.runtime.images
    rows = np.searchsorted(images.ids, index.ids)
    labels = ClassLabels(many)
    labels.places(home_view(index.bounds(), 600, 500))
    found = {label: (x, y) for x, y, label in labels._anchors}
    visible = np.ones(len(index), bool)
    for by, key in hidden:
        values = images.true_class[rows] if by == "true" else images.is_wrong[rows]
        visible &= values != int(key)
    assert set(found) == set(images.true_class[rows][visible].tolist())
    for label, place in found.items():
        own = visible & (images.true_class[rows] == label)
        x, y = index.x[own].astype(float), index.y[own].astype(float)
        middle = np.array([np.median(x), np.median(y)])
        for _ in range(2):
            distance = np.hypot(x - middle[0], y - middle[1])
            near = distance <= np.quantile(distance, 0.5)
            middle = np.array([x[near].mean(), y[near].mean()])
        assert place == pytest.approx((middle[0], np.quantile(y[near], 0.98)), abs=1e-4)


def test_of_very_many_points_the_name_stands_where_all_of_them_would_put_it():
    generator = np.random.default_rng(1)
    classes = np.repeat(np.arange(3, dtype=np.int16), [70_000, 0, 30])
    x = (generator.normal(size=len(classes)) + 10 * classes).astype(np.float32)
    y = generator.normal(size=len(classes)).astype(np.float32)
    mixed = generator.permutation(len(classes))
    found = class_anchors(x[mixed], y[mixed], classes[mixed], 3)
    assert found[:, 2].tolist() == [70_000, 0, 30]
    assert np.isnan(found[1, :2]).all()
    # The half about the middle of a normal cloud reaches to 1.18; 98 % of it lies below 1.02.
    assert found[0, :2] == pytest.approx((0, 1.02), abs=0.05)
    assert found[2, 0] == pytest.approx(20, abs=1)


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


@pytest.mark.parametrize("n_classes", [10, 30])
@pytest.mark.parametrize("by", ["true", "predicted"])
def test_the_unselected_are_all_without_the_selected(runtime, many, monkeypatch, by, n_classes):
    """Drawn as what is left, they look as they do point by point; what changed is noticed."""
    ids = runtime.images.ids
    state = SessionState({"": ids})
    points = queries.map_points(runtime.store, "tsne")
    colours = MapColours(runtime, PointIndex(points.image_id, points.x, points.y))
    # Of many classes others have a colour of their own in each selection.
    colours = many if n_classes == 30 else colours
    palettes = set()
    views = [home_view(colours.index.bounds(), 60, 50), home_view(colours.index.bounds(), 90, 80)]

    def fail():
        pytest.fail("the sums of all are known")

    def drawn(most, *, hidden, chosen, view, dark):
        monkeypatch.setattr(map_colours, "_MANY", most)
        state.select(ids[chosen], "x") if chosen is not None else state.clear()
        colours.follow(by=by, split="", selection=state.selection, hidden=frozenset(hidden))
        layers = colours.layers(colours.inside(view), dark=dark)
        palettes.add(colours.palette(dark=dark).tobytes())
        kept = [replace(each, make=fail) if isinstance(each, Rest) else each for each in layers]
        return render(kept, view), sum(isinstance(each, Rest) for each in layers)

    some, others = slice(0, 400), slice(150, 160)
    for view, dark, hidden in itertools.product(views, [False, True], [(), {(by, "2")}]):
        first = {"hidden": hidden, "view": view, "dark": dark}
        # Nothing is chosen: this is what all of them look like, and what is kept of it.
        whole, _ = drawn(1, chosen=None, **first)
        assert (whole == drawn(10**9, chosen=None, **first)[0]).all()
        for chosen in (some, others, slice(0, 0), slice(None)):
            left, made = drawn(1, chosen=chosen, **first)
            plain, none = drawn(10**9, chosen=chosen, **first)
            assert (made, none) == (1, 0)
            assert (left[..., 3] == plain[..., 3]).all()
            assert np.abs(left.astype(int) - plain.astype(int)).max() <= 1
    assert (len(palettes) > 2) == (n_classes == 30), "one a theme where all have a colour"

    # Of another view, theme or legend nothing is known: they are drawn point by point.
    made = []
    monkeypatch.setattr(map_colours, "_MANY", 1)
    state.select(ids[some], "x")
    colours.follow(by=by, split="", selection=state.selection, hidden=frozenset())
    layers = colours.layers(colours.inside(views[0]), dark=False)
    noted = replace(layers[0], make=lambda: made.append(1) or layers[0].make())
    assert (render([noted, layers[1]], views[0]) == render(layers, views[0])).all()
    assert made == [1]


def test_a_change_that_is_on_or_off_tells_a_flip_from_none(runtime, state):
    name = "flip:horizontal_flip"
    numbers = map_measures.numbers(runtime, name)
    holds, flips = np.isinf(numbers.values), np.isfinite(numbers.values)
    assert holds.any()
    assert flips.any()
    assert (numbers.low_text, numbers.high_text) == ("on", "no flip")
    state.colour_by = name
    view = MapView(runtime, state)
    codes = view._colours.codes(name)
    rows = view._colours.rows_of(slice(None))
    assert set(codes[holds[rows]]).isdisjoint(set(codes[flips[rows]]))
