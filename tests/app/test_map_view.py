"""The map without a browser: what each colouring, legend entry and gesture means, by id."""

from __future__ import annotations

import numpy as np
import pytest
from bokeh.models import ImageURL, Plot
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline

from app.aggregate import Viewport
from app.picture import Marks, render
from app.state import SessionState
from app.views import map_measures, map_parts, map_pictures
from app.views.map_view import MapView
from feature_store import QueryError, queries

SIDE = 400


@pytest.fixture
def view(runtime, state):
    """Return a map at a known size, all images shown."""
    made = MapView(runtime, state)
    made.on_size(SIDE, SIDE)
    return made


@pytest.fixture(scope="module")
def rows(digits_store):
    """Return every image with its prediction and place, by id, straight from the tables."""
    table = digits_store.arrow(
        "SELECT i.image_id, i.split, i.true_class, p.predicted_class, p.confidence, p.loss, "
        "p.is_correct, m.x, m.y FROM images i JOIN predictions p USING (image_id) "
        "JOIN projections m USING (image_id) WHERE m.projection = 'tsne' ORDER BY image_id"
    )
    return {row["image_id"]: row for row in table.to_pylist()}


def drawn(view) -> set[int]:
    """Return the ids of the points that are drawn, found again by their coordinates."""
    colours = view._colours
    layers = colours.layers(colours.inside(view._view), dark=False)
    places = {
        (float(x), float(y)) for marks in layers for x, y in zip(marks.x, marks.y, strict=True)
    }
    index = colours.index
    return {
        int(one)
        for one, x, y in zip(index.ids, index.x, index.y, strict=True)
        if (float(x), float(y)) in places
    }


def figure_of(view):
    """Return the Bokeh figure that a page would show."""
    root = view.__panel__().get_root()
    return next(one for one in root.select({"type": Plot}) if one.toolbar.name == "map-toolbar")


def urls(figure):
    """Return the addresses of the pictures on a figure."""
    (shown,) = (one for one in figure.renderers if isinstance(one.glyph, ImageURL))
    return list(shown.data_source.data["url"])


def box(x0, y0, x1, y1):
    return {"type": "rect", "x0": x0, "y0": y0, "x1": x1, "y1": y1}


# -- links by id -------------------------------------------------------------------------

STEP = st.one_of(
    st.tuples(st.just("lasso"), st.integers(0, 10_000)),
    st.tuples(st.just("box"), st.integers(0, 10_000)),
    st.tuples(st.just("hide"), st.integers(0, 9)),
    st.tuples(st.just("pick"), st.integers(0, 9)),
    st.tuples(st.just("split"), st.sampled_from(["", "test", "train"])),
    st.tuples(st.just("projection"), st.sampled_from(["pca", "tsne"])),
    st.tuples(st.just("colour"), st.sampled_from(["true", "predicted", "correct", "margin"])),
    st.tuples(st.just("invert"), st.just(0)),
    st.tuples(st.just("undo"), st.just(0)),
)


class Model:
    """What must be selected and shown, worked out from the tables alone."""

    def __init__(self, store):
        self.store = store
        self.maps = {}
        for name in ("pca", "tsne"):
            points = queries.map_points(store, name)
            self.maps[name] = (points, np.stack([points.x, points.y], axis=-1))
        self.hidden: set[tuple[str, int]] = set()

    def entry(self, by):
        points = self.maps["tsne"][0]
        if by == "predicted":
            return points.predicted_class
        if by == "correct":
            return np.where(points.is_correct, 0, 1)
        return points.true_class

    def in_split(self, split):
        points = self.maps["tsne"][0]
        if not split:
            return np.ones(len(points.image_id), bool)
        return points.split == points.splits.index(split)

    def visible(self, split):
        mask = self.in_split(split)
        for by, code in self.hidden:
            mask &= self.entry(by) != code
        return mask

    def ids(self, mask):
        return set(self.maps["tsne"][0].image_id[mask].tolist())


@example(steps=[("split", "test"), ("projection", "pca"), ("split", "")])
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(STEP, min_size=1, max_size=8))
def test_whatever_is_done_the_map_selects_and_draws_exactly_those_ids(
    steps, runtime, digits_store
):
    state = SessionState(dict(runtime.splits))
    view = MapView(runtime, state)
    model = Model(digits_store)
    wanted: set[int] | None = None
    for kind, value in steps:
        before = wanted
        name, by, split = state.projection, state.colour_by, state.split
        places = model.maps[name][1]
        if kind in {"lasso", "box"}:
            generator = np.random.default_rng(value)
            middle = places[generator.integers(len(places))]
            reach = np.ptp(places, axis=0) * generator.uniform(0.05, 0.4)
            if kind == "lasso":
                angles = np.sort(generator.uniform(0, 2 * np.pi, 7))
                corners = middle + reach * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
                geometry = {"type": "poly", "x": list(corners[:, 0]), "y": list(corners[:, 1])}
                inside = Outline(np.vstack([corners, corners[:1]])).contains_points(places)
            else:
                (x0, y0), (x1, y1) = middle - reach, middle + reach
                geometry = box(float(x0), float(y0), float(x1), float(y1))
                inside = ((places >= middle - reach) & (places <= middle + reach)).all(axis=-1)
            view.on_region(geometry)
            found = model.ids(inside & model.visible(split))
            wanted = found or before
        elif kind == "hide" and by != "margin":
            code = value if by != "correct" else value % 2
            view._hide(str(code))
            model.hidden ^= {(by, code)}
        elif kind == "pick" and by != "margin":
            code = value if by != "correct" else value % 2
            view._pick(str(code))
            wanted = model.ids(model.in_split(split) & (model.entry(by) == code))
        elif kind == "split":
            state.show_split(value)
            wanted = None if state.selection.is_all else set(state.selection.ids.tolist())
            if before is not None and wanted is not None:
                assert wanted == before & model.ids(model.in_split(value))
        elif kind == "projection":
            state.projection = value
        elif kind == "colour":
            state.colour_by = value
        elif kind == "invert" and before is not None:
            state.invert()
            wanted = model.ids(model.in_split(split)) - before
        elif kind == "undo":
            state.undo()
            wanted = None if state.selection.is_all else set(state.selection.ids.tolist())
        now = None if state.selection.is_all else set(state.selection.ids.tolist())
        assert now == wanted, (kind, value)
        assert drawn(view) == model.ids(model.visible(state.split)), (kind, value)
        shown = view._colours
        chosen = shown.shown if shown.chosen is None else shown.chosen
        marked = set(shown.index.ids[chosen].tolist())
        assert marked == (model.ids(model.in_split(state.split)) if wanted is None else wanted)


def test_switching_the_projection_keeps_selection_and_focus_and_drops_the_outline(view, state):
    view.on_region(box(-1e9, -1e9, 1e9, 0.0))
    ids, focus = state.selection.ids.copy(), int(state.selection.ids[5])
    state.set_focus(focus)
    assert len(view.plot.shown("region")["region"]) == 4
    state.projection = "pca"
    assert (state.selection.ids == ids).all()
    assert state.focus == focus
    assert view.plot.shown("region")["region"] == ()
    assert view.plot.shown("focus")["place"] == view._index.place(focus)
    state.projection = "tsne"
    assert len(view.plot.shown("region")["region"]) == 4


def test_limits_that_would_stretch_the_map_are_made_even(view):
    home = view._view
    (x0, x1), (y0, y1) = home.x_range, home.y_range
    view.on_ranges((x0, x1), (y0 * 1.05, y1 * 1.05))
    assert view._view == home, "limits of a size that has passed"
    width = (x1 - x0) / 4
    view.on_ranges((x0, x0 + width), (y0, y0 + 0.95 * width))
    assert view._view.x_range == pytest.approx((x0, x0 + width)), "a zoom on a stretched map"
    assert view._view.unit_x == pytest.approx(view._view.unit_y)
    view.on_ranges((x0, x0 + width), (y0, y0 + width))
    assert view._view.unit_x == pytest.approx(view._view.unit_y)
    assert view._view.x_range == (x0, x0 + width)
    view.on_ranges((x0, x0 + width), (y0 + width / 2, y0 + width))
    seen = view._view
    assert seen.unit_x == pytest.approx(seen.unit_y)
    assert seen.x_range == pytest.approx((x0, x0 + width)), "nothing that was asked for is cut"
    assert sum(seen.y_range) / 2 == pytest.approx(y0 + 0.75 * width)
    view.on_ranges((x0, x0 + width / 9), (y0, y0 + width))
    assert view._view.y_range == pytest.approx((y0, y0 + width))


def test_forged_gestures_change_nothing(view, state):
    before = view._view
    for geometry in (
        {}, {"type": "poly"}, {"type": "poly", "x": [1], "y": [2]}, {"type": "rect"},
        {"type": "poly", "x": [1, 2, "a"], "y": [1, 2, 3]},
        box(0, 0, float("nan"), 1), {"type": "span", "x": 1},
    ):  # fmt: skip
        view.on_region(geometry)
    view.on_ranges((float("nan"), 1), (0, 1))
    view.on_ranges((2, 1), (0, 1))
    view.on_ranges(("a", 1), (0, None))
    view.on_ranges((-1e301, 1e301), (0, 1e-300))
    view.on_ranges((0, 1), (-8e307, 8e307))
    view.on_size(10**9, 10**9)
    view.on_tap("x", None)
    view._hide("99999")
    view._pick("' OR 1")
    assert state.selection.is_all
    assert state.hidden == frozenset()
    assert view._view == before


# -- colourings --------------------------------------------------------------------------


def test_a_pixel_shows_the_datashader_mean_of_its_classes(view, runtime):
    import datashader as ds
    import pandas as pd

    colours = view._colours
    layers = colours.layers(colours.inside(view._view), dark=False)
    (marks,) = layers
    pixel = Marks(marks.x, marks.y, marks.colours, 0.5, codes=marks.codes)
    frame = pd.DataFrame({"x": marks.x, "y": marks.y, "c": pd.Categorical(marks.codes)})
    canvas = ds.Canvas(SIDE, SIDE, x_range=view._view.x_range, y_range=view._view.y_range)
    counts = canvas.points(frame, "x", "y", ds.count_cat("c")).to_numpy()
    table = colours.palette(dark=False)[frame["c"].cat.categories.to_numpy()]
    picture = render([pixel], view._view)[::-1].astype(int)
    total = counts.sum(axis=-1)
    expected = np.round(255 * (counts @ table) / np.maximum(total, 1)[..., None])
    hit = total > 0
    assert hit.sum() > 1000
    assert np.abs(picture[hit][:, :3] - expected[hit]).max() <= 1


@pytest.mark.parametrize("by", ["confidence", "margin", "predictions.loss", "flip:rotation"])
def test_a_pixel_of_a_number_shows_its_most_extreme_image(view, state, runtime, by):
    state.colour_by = by
    colours = view._colours
    view_port = Viewport(view._view.x_range, view._view.y_range, 40, 40)
    one = map_measures.numbers(runtime, by)
    layers = [
        Marks(m.x, m.y, m.colours, 0.5, doubt=m.doubt, codes=m.codes)
        for m in colours.layers(colours.inside(view._view), dark=False)
    ]
    picture = render(layers, view_port)[::-1].astype(int)
    values = one.values[colours.rows_of(np.arange(len(colours.index)))]
    column = ((colours.index.x - view_port.x_range[0]) / view_port.unit_x).astype(int)
    row = ((colours.index.y - view_port.y_range[0]) / view_port.unit_y).astype(int)
    palette = np.round(colours.palette(dark=False) * 255).astype(int)
    checked = 0
    for pixel in set(zip(row.tolist(), column.tolist(), strict=True)):
        here = values[(row == pixel[0]) & (column == pixel[1])]
        known = here[~np.isnan(here)]
        if not len(known):
            continue
        value = known.min() if one.extreme == "least" else known.max()
        share = min(max((value - one.low) / (one.high - one.low), 0), 1)
        wanted = palette[round(share * (map_measures.LEVELS - 1))]
        assert np.abs(picture[pixel][:3] - wanted).max() <= 2, (pixel, value)
        checked += 1
    assert checked > 50


def test_every_offered_colouring_draws_and_explains_itself(view, state, runtime):
    offered = map_measures.colourings(runtime)
    assert {"true", "correct", "margin", "predictions.loss", "flip:rotation"} <= set(offered)
    assert offered["images.width"].reason == "32 everywhere"
    total = len(state.universe)
    for key, one in offered.items():
        if one.reason:
            continue
        state.colour_by = key
        data = view._legend.legend_data
        assert len(drawn(view)) == total
        if one.kind == "number":
            assert data["ramp"]["title"]
            assert "a pixel shows its" in data["note"]
        else:
            counted = sum(int(item["count"].replace(",", "")) for item in data["items"])
            assert counted == total
        label = view._over.frame_data["label"]
        assert f"{total:,} of {total:,} drawn" in label


def test_what_is_not_known_is_grey_counted_and_can_be_selected(view, state, runtime):
    state.colour_by = "flip:rotation"
    distances = runtime.flip_distance("rotation")
    missing = runtime.images.ids[np.isnan(distances)]
    assert 0 < len(missing) < len(runtime.images.ids)
    (item,) = view._legend.legend_data["items"]
    assert (item["name"], item["count"]) == ("not swept", f"{len(missing):,}")
    view._pick(item["key"])
    assert state.selection.ids.tolist() == missing.tolist()
    assert state.selection.origin == "rotation: not swept"
    view._hide(item["key"])
    assert not set(missing.tolist()) & drawn(view)
    state.hidden = frozenset()
    state.clear()
    code = view._colours.codes("flip:rotation")
    assert ((code == -1) == np.isin(view._index.ids, missing)).all()


def test_the_wrong_ones_lie_on_top(view, state, rows):
    state.colour_by = "correct"
    *_, top = view._colours.layers(view._colours.inside(view._view), dark=False)
    wrong = sorted((row["x"], row["y"]) for row in rows.values() if not row["is_correct"])
    assert sorted(zip(top.x.tolist(), top.y.tolist(), strict=True)) == wrong


def test_a_column_that_no_store_has_is_refused(digits_store, runtime, state):
    with pytest.raises(QueryError, match=r"images\.split"):
        queries.column_values(digits_store, "images.nothing")
    state.colour_by = "images.nothing"
    assert MapView(runtime, state)._state.colour_by == "true"


def test_columns_are_those_of_the_tables_by_id(digits_store, rows):
    ids = queries.image_table(digits_store).image_id.tolist()
    loss = queries.column_values(digits_store, "predictions.loss").numbers
    assert loss == pytest.approx([rows[one]["loss"] for one in ids])
    split = queries.column_values(digits_store, "images.split")
    assert [split.names[code] for code in split.codes] == [rows[one]["split"] for one in ids]
    kinds = {column.key: column.kind for column in queries.stored_columns(digits_store)}
    assert kinds["images.source"] == "category"
    assert kinds["images.width"] == "number"
    assert "images.encoded" not in kinds


# -- hiding, shading, keys, empty states -------------------------------------------------


def test_what_is_hidden_is_said_with_its_images(view, state, rows):
    view._hide("3")
    view._hide("5")
    hidden = [one for one, row in rows.items() if row["true_class"] in {3, 5}]
    said = view._over.frame_data
    assert said["hidden"] == f"2 of 10 classes hidden, {len(hidden):,} images"
    assert said["drawn"] == f"{len(rows) - len(hidden):,} of {len(rows):,} drawn"
    assert [item["hidden"] for item in view._legend.legend_data["items"]].count(True) == 2
    state.select(hidden[:7], "search")
    assert view._over.frame_data["hidden"].endswith(", 7 of them selected")
    view._show_all()
    assert view._over.frame_data["hidden"] == ""
    assert len(drawn(view)) == len(rows)


def test_when_all_is_hidden_it_is_said(view, state):
    state.hidden = frozenset(("true", str(code)) for code in range(10))
    assert drawn(view) == set()
    assert view._over.frame_data["empty"] == "Everything is hidden"
    assert view._found(*(float(end) for end in view._index.bounds()[::2])) is None


def test_a_split_without_images_on_the_map_is_said(view, state):
    class Nothing:
        shown = visible = np.zeros(3, bool)

    assert map_parts.why_empty(Nothing(), "test")[0] == (
        "No image of the split test is on this map"
    )


@pytest.mark.parametrize(
    ("action", "shift", "scale"),
    [("in", (0, 0), 1 / 1.5), ("out", (0, 0), 1.5), ("left", (-0.25, 0), 1), ("up", (0, 0.25), 1)],
)
def test_keys_zoom_and_pan(view, action, shift, scale):
    figure = figure_of(view)
    view.on_move("in")
    before = view._view
    view.on_move(action)
    now = view._view
    for axis, by in (("x_range", shift[0]), ("y_range", shift[1])):
        low, high = getattr(before, axis)
        new_low, new_high = getattr(now, axis)
        assert new_high - new_low == pytest.approx(scale * (high - low))
        assert (new_low + new_high - low - high) / 2 == pytest.approx(by * (high - low))
    assert (figure.x_range.start, figure.x_range.end) == now.x_range
    view.on_move("home")
    assert len(drawn(view)) == len(view._index)


@pytest.mark.parametrize("leave", ["in", "home", "pca", ""])
def test_the_card_goes_when_the_map_moves_below_a_resting_pointer(view, state, leave):
    view.on_pointer(*view._index.place(5))
    assert view._card.visible
    assert state.hover is not None
    if leave == "pca":
        state.projection = "pca"
    else:
        view.on_move(leave) if leave else view.on_pointer(None, None)
    assert not view._card.visible
    assert state.hover is None


def test_zooming_without_end_stays_finite(view):
    for action in ("in", "out"):
        for _ in range(2500):
            view._view = map_parts.moved(view._view, action, 1.5)
    assert np.isfinite([*view._view.x_range, *view._view.y_range]).all()


# -- thumbnails --------------------------------------------------------------------------


def test_few_points_have_the_pictures_of_exactly_their_images(view, state, runtime):
    first = int(view._index.ids[len(view._index) // 2])
    x, y = view._index.place(first)
    spread = np.sort(np.hypot(view._index.x - x, view._index.y - y))[12]
    figure = figure_of(view)
    view.on_ranges((x - spread, x + spread), (y - spread, y + spread))
    assert urls(figure) == [one.url for one in view._pictures]
    inside = set(view._index.ids[view._colours.inside(view._view)].tolist())
    assert 1 < len(inside) <= map_pictures.MOST
    assert view._pictures
    for one in view._pictures:
        assert one.of.image_id in inside
        assert (one.of.x, one.of.y) == view._index.place(one.of.image_id)
        assert one.url == runtime.thumbnail_url(one.of.image_id)
        view.on_tap(one.x, one.y)
        assert state.focus == one.of.image_id
    view.on_move("home")
    assert view._pictures == []
    assert urls(figure) == []


def test_the_card_says_the_value_that_colours_the_point(view, state, runtime):
    state.colour_by = "predictions.loss"
    one = int(runtime.images.ids[7])
    loss = queries.column_values(runtime.store, "predictions.loss").numbers[7]
    said = map_parts.card_html(runtime, one, by="predictions.loss")
    assert f"Loss: {map_measures.number_text(float(loss))} nats" in said
    assert "Loss" not in map_parts.card_html(runtime, one)


class Keys:
    """Which modifier the browser has told of last."""

    keys_modifier = ""


def test_a_region_counts_with_the_key_that_it_was_drawn_with(runtime, state):
    view = MapView(runtime, state, keys=Keys())
    view.on_size(SIDE, SIDE)
    least_x, most_x, least_y, most_y = view._colours.bounds
    middle = (least_x + most_x) / 2
    left, all_ = box(least_x, least_y, middle, most_y), box(least_x, least_y, most_x, most_y)
    view.on_region(all_)
    everything = len(state.selection)
    # The next press comes before the region is handled, and says that no key is held.
    view._keys.keys_modifier = "alt"
    view.on_drawn()
    view._keys.keys_modifier = ""
    view.on_region(left)
    rest = len(state.selection)
    assert 0 < rest < everything
    view.on_region(left)
    assert len(state.selection) == everything - rest, "the next one counts by its own"
