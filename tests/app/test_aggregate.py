"""Finding and drawing the points of the map."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.aggregate import PointIndex, Viewport, home_view, resized
from app.picture import Marks, mark_radius, mean_colours, render
from app.raster import least_colours


def points(seed: int, count: int) -> PointIndex:
    generator = np.random.default_rng(seed)
    xy = generator.normal(size=(2, count)).astype(np.float32)
    ids = generator.permutation(count * 3)[:count].astype(np.int32)
    return PointIndex(ids, xy[0], xy[1])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 400), st.floats(-3, 3), st.floats(-3, 3))
def test_nearest_equals_the_plain_search(seed, count, x, y):
    index = points(seed, count)
    found = index.nearest(x, y, reach_x=0.5, reach_y=0.25)
    distance = ((index.x - x) / 0.5) ** 2 + ((index.y - y) / 0.25) ** 2
    best = int(np.argmin(distance))
    if distance[best] <= 1:
        assert found is not None
        assert distance[found] == distance[best]
    else:
        assert found is None


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(3, 12))
def test_polygon_equals_the_even_odd_rule(seed, corners):
    from matplotlib.path import Path

    index = points(seed, 500)
    generator = np.random.default_rng(seed + 1)
    angles = np.sort(generator.uniform(0, 2 * np.pi, corners))
    reach = generator.uniform(0.3, 2, corners)
    vertices = np.column_stack([reach * np.cos(angles), reach * np.sin(angles)])
    found = np.sort(index.in_polygon([tuple(v) for v in vertices]))
    inside = Path(np.vstack([vertices, vertices[:1]])).contains_points(
        np.column_stack([index.x, index.y])
    )
    assert found.tolist() == np.flatnonzero(inside).tolist()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 6_000),
    st.integers(3, 30),
    st.sampled_from(["anywhere", "on points", "level and upright"]),
    st.sampled_from([1e-4, 1.0, 1e4]),
)
def test_an_outline_that_crosses_itself_holds_what_counting_its_edges_says(
    seed, count, n_corners, kind, scale
):
    generator = np.random.default_rng(seed)
    # Places that repeat lie on the edges of cells, and on those of the outline.
    x, y = (scale * np.round(generator.normal(size=(2, count)), 1)).astype(np.float32)
    index = PointIndex(np.arange(count, dtype=np.int32), x, y)
    corners = scale * generator.uniform(-3, 3, (n_corners, 2))
    if kind != "anywhere":
        corners = np.column_stack([x, y])[generator.integers(0, count, n_corners)].astype(float)
    if kind == "level and upright":
        corners = np.repeat(corners, 2, axis=0)
        corners[1::2, 0] = np.roll(corners[::2, 0], -1)
    found = index.ids[index.in_polygon([tuple(corner) for corner in corners.tolist()])]
    inside = np.zeros(count, bool)
    for (x0, y0), (x1, y1) in zip(np.roll(corners, 1, axis=0), corners, strict=True):
        crosses = (y0 > y) != (y1 > y)
        with np.errstate(all="ignore"):
            inside ^= crosses & (x < x1 + (y - y1) * ((x0 - x1) / (y0 - y1)))
    assert np.sort(found).tolist() == np.flatnonzero(inside).tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(-3, 3), st.floats(-3, 3), st.floats(0, 2), st.floats(0, 2))
def test_box_equals_comparing_coordinates(seed, x, y, width, height):
    index = points(seed, 300)
    found = np.sort(index.in_box(x, x + width, y, y + height))
    inside = (index.x >= x) & (index.x <= x + width) & (index.y >= y) & (index.y <= y + height)
    assert found.tolist() == np.flatnonzero(inside).tolist()


def test_positions_and_places_go_by_id():
    index = points(3, 50)
    some = np.sort(index.ids[::7])
    assert sorted(index.ids[index.positions(some)].tolist()) == some.tolist()
    at = index.positions(some[:1])[0]
    assert index.place(int(some[0])) == (float(index.x[at]), float(index.y[at]))
    assert index.place(10**6) is None


def test_points_without_a_place_are_left_out():
    index = PointIndex(
        np.arange(3, dtype=np.int32),
        np.array([0, np.nan, 1], np.float32),
        np.array([0, 1, np.inf], np.float32),
    )
    assert index.ids.tolist() == [0]
    empty = PointIndex(np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.float32))
    assert empty.nearest(0, 0, reach_x=1, reach_y=1) is None
    assert empty.bounds() == (0.0, 1.0, 0.0, 1.0)


def test_a_pixel_shows_the_count_weighted_mean_colour():
    import datashader as ds

    generator = np.random.default_rng(0)
    view = Viewport((-2.0, 2.0), (-2.0, 2.0), 40, 30)
    classes = generator.integers(0, 3, 4000)
    palette = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    x, y = generator.normal(size=(2, 4000)).astype(np.float32)
    sums = mean_colours(Marks(x, y, palette[classes], radius=0.5), view)
    frame = pd.DataFrame({"x": x, "y": y, "c": pd.Categorical(classes)})
    canvas = ds.Canvas(40, 30, x_range=view.x_range, y_range=view.y_range)
    counts = canvas.points(frame, "x", "y", ds.count_cat("c")).to_numpy()
    expected = counts @ palette
    assert np.abs(sums[..., :3] - expected).max() < 1e-4
    assert (sums[..., 3] == counts.sum(axis=-1)).all()


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 5_000),
    st.sampled_from([2, 10, 300]),
    st.booleans(),
    st.sampled_from([0.2, 1.0, 3.0]),
)
def test_the_picture_has_the_colours_of_datashaders_categorical_shading(
    seed, count, n_classes, coded, reach
):
    import datashader as ds
    import datashader.transfer_functions as tf

    generator = np.random.default_rng(seed)
    view = Viewport((-reach, reach), (-reach, 1.5 * reach), 50, 40)
    x, y = generator.normal(size=(2, count)).astype(np.float32)
    # Points on the limits, where the rule which pixel they belong to matters.
    x[: count // 10] = generator.choice([-reach, 0.0, reach], count // 10)
    y[: count // 10] = generator.choice([-reach, 1.5 * reach], count // 10)
    classes = generator.integers(0, n_classes, count).astype(np.int16)
    bytes_ = generator.integers(0, 256, (n_classes, 3))
    palette = (bytes_ / 255).astype(np.float32)
    marks = (
        Marks(x, y, palette, radius=0.5, codes=classes)
        if coded
        else Marks(x, y, palette[classes], radius=0.5)
    )
    picture = render([marks], view)[::-1]

    frame = pd.DataFrame({"x": x, "y": y, "c": pd.Categorical(classes, range(n_classes))})
    canvas = ds.Canvas(50, 40, x_range=view.x_range, y_range=view.y_range)
    counts = canvas.points(frame, "x", "y", ds.count_cat("c"))
    is_drawn = counts.sum(axis=-1).to_numpy() > 0
    assert (is_drawn == (picture[..., 3] > 0)).all()
    key = {index: "#{:02x}{:02x}{:02x}".format(*rgb) for index, rgb in enumerate(bytes_.tolist())}
    if is_drawn.any():
        shaded = tf.shade(counts, color_key=key).to_numpy()
        theirs = np.stack([shaded >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(int)
        assert np.abs(picture[..., :3].astype(int) - theirs)[is_drawn].max() <= 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 2_000), st.booleans())
def test_a_pixel_in_doubt_shows_its_least_point_of_a_plain_search(seed, count, coded):
    import datashader as ds

    generator = np.random.default_rng(seed)
    view = Viewport((-2.0, 2.0), (-2.0, 2.0), 20, 15)
    x, y = generator.normal(size=(2, count)).astype(np.float32)
    doubt = generator.permutation(count).astype(np.float32)
    palette = np.arange(count * 3, dtype=np.float32).reshape(-1, 3) % 256 / 255
    codes = generator.permutation(count).astype(np.int16)
    marks = (
        Marks(x, y, palette, radius=1.0, doubt=doubt, codes=codes)
        if coded
        else Marks(x, y, palette[codes], radius=1.0, doubt=doubt)
    )
    sums = least_colours(marks.x, marks.y, marks.colours, marks.codes, doubt, view)
    frame = pd.DataFrame({"x": x, "y": y, "doubt": doubt})
    canvas = ds.Canvas(20, 15, x_range=view.x_range, y_range=view.y_range)
    least = canvas.points(frame, "x", "y", ds.min("doubt")).to_numpy()
    is_drawn = ~np.isnan(least)
    assert ((sums[..., 3] > 0) == is_drawn).all()
    point = np.argsort(doubt)[least[is_drawn].astype(int)]
    assert (sums[is_drawn][:, :3].astype(np.float32) == palette[codes[point]]).all()


def test_a_value_that_is_not_known_hides_no_point():
    one = np.zeros(3, np.float32)
    colours = np.eye(3, dtype=np.float32)
    view = Viewport((-1.0, 1.0), (-1.0, 1.0), 3, 3)
    for doubt, shown in (([np.nan, 0.9, 0.5], 2), ([0.5, np.nan, 0.9], 0)):
        marks = Marks(one, one, colours, radius=1.0, doubt=np.array(doubt, np.float32))
        assert render([marks], view)[1, 1, :3].argmax() == shown


def test_the_least_confident_point_of_a_pixel_is_shown():
    one = np.zeros(2, np.float32)
    colours = np.array([[1, 0, 0], [0, 0, 1]], np.float32)
    view = Viewport((-1.0, 1.0), (-1.0, 1.0), 3, 3)
    for doubt, shown in (([0.9, 0.2], [0, 0, 255]), ([0.2, 0.9], [255, 0, 0])):
        marks = Marks(one, one, colours, radius=1.0, doubt=np.array(doubt, np.float32))
        assert render([marks], view)[1, 1, :3].tolist() == shown


def test_the_upper_layer_covers_the_lower_and_the_first_row_is_the_top():
    low = Marks(
        np.zeros(1, np.float32), np.zeros(1, np.float32), np.array([[1, 0, 0]], np.float32), 1.0
    )
    high = Marks(low.x, low.y, np.array([[0, 1, 0]], np.float32), 1.0)
    view = Viewport((-1.0, 1.0), (-1.0, 1.0), 5, 5)
    assert render([low, high], view)[2, 2].tolist() == [0, 255, 0, 255]
    above = Marks(low.x, np.full(1, 0.8, np.float32), low.colours, 0.5)
    picture = render([above], view)
    assert picture[0, 2, 3] > 0
    assert picture[4, 2, 3] == 0


@pytest.mark.parametrize("radius", [0.75, 1.3, 2.8])
def test_a_mark_covers_the_pixels_that_its_disc_does(radius):
    one = np.zeros(1, np.float32)
    view = Viewport((-4.5, 4.5), (-4.5, 4.5), 9, 9)
    green = np.array([[0, 1, 0]], np.float32)
    picture = render([Marks(one, one, green, radius)], view, is_dense=False)
    down, right = np.mgrid[-4:5, -4:5]
    expected = np.clip(radius + 0.5 - np.hypot(down, right), 0, 1)
    assert np.abs(picture[..., 3] / 255 - expected).max() < 1 / 255
    corner = np.full(1, 4.4, np.float32)
    cut = render([Marks(corner, corner, green, radius)], view, is_dense=False)
    assert (cut[:5, 4:, 3] == picture[4:, :5, 3]).all(), "nothing comes in on the other side"
    assert cut[..., 3].astype(int).sum() == cut[:5, 4:, 3].astype(int).sum()


def test_a_picture_holds_nothing_of_the_one_before_and_stays_as_it_is():
    generator = np.random.default_rng(3)
    view = Viewport((-2.0, 2.0), (-2.0, 2.0), 30, 20)
    for radius in (0.5, 1.3):
        x, y = generator.normal(size=(2, 500)).astype(np.float32)
        marks = Marks(x, y, generator.random((500, 3)).astype(np.float32), radius=radius)
        first = render([marks], view)
        kept = first.copy()
        other = render([Marks(-x[:5], y[:5], marks.colours[:5], radius=radius)], view)
        assert (first == kept).all()
        assert (other[..., 3] > 0).sum() < (first[..., 3] > 0).sum()
        assert (render([marks], view) == kept).all()


def test_an_empty_map_is_transparent():
    assert not render([], Viewport((0.0, 1.0), (0.0, 1.0), 4, 4)).any()


@pytest.mark.parametrize(
    "limits",
    [
        ((0.0, np.nan), (0.0, 1.0), 4, 4),
        ((0.0, np.inf), (0.0, 1.0), 4, 4),
        ((1.0, 0.0), (0.0, 1.0), 4, 4),
        ((0.0, 1.0), (0.0, 1.0), 10**6, 10**6),
        ((0.0, 1.0), (0.0, 1.0), 0, 4),
    ],
)
def test_forged_limits_are_refused(limits):
    with pytest.raises(ValueError, match="viewport"):
        Viewport(*limits)


def test_home_shows_all_with_equal_units():
    view = home_view((0.0, 10.0, 0.0, 1.0), 400, 300)
    assert view.unit_x == pytest.approx(view.unit_y)
    assert view.x_range[0] < 0 < 10 < view.x_range[1]


def test_a_resized_map_keeps_what_was_seen():
    bounds = (0.0, 10.0, 0.0, 10.0)
    home = home_view(bounds, 400, 300)
    wider = resized(home, bounds, home.x_range, home.y_range, 800, 300)
    assert wider == home_view(bounds, 800, 300)
    zoomed = Viewport((1.0, 2.0), (1.0, 1.75), 400, 300)
    after = resized(zoomed, bounds, zoomed.x_range, zoomed.y_range, 500, 300)
    assert after.unit_x == pytest.approx(zoomed.unit_x)
    assert np.mean(after.x_range) == pytest.approx(1.5)


def test_more_points_make_smaller_marks():
    radii = [mark_radius(count) for count in (10, 500, 1500, 5000, 15_000, 50_000, 10**6)]
    assert radii == sorted(radii, reverse=True)


def test_density_is_the_more_opaque_the_more_points_and_equal_is_not():
    x = np.array([0.0, 0.0, 0.0, 0.0, 0.6], np.float32)
    marks = Marks(x, np.zeros(5, np.float32), np.zeros((5, 3), np.float32), radius=0.5)
    view = Viewport((-1.0, 1.0), (-1.0, 1.0), 5, 5)
    dense = render([marks], view, is_dense=True)[2, :, 3]
    equal = render([marks], view, is_dense=False)[2, :, 3]
    assert dense[2] == 255
    assert 0 < dense[4] < 255
    assert equal[2] == equal[4] == 255
