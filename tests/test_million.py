"""A store of generated images is whole, and the map's answers over it are those of a plain search.

The same generator writes the stores of a million images that ``benchmarks.million`` measures.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from PIL import Image

from app import orders
from app.runtime import open_runtime
from app.state import SessionState
from benchmarks._million_store import build, id_in_picture, predict
from feature_store import Store, queries
from vatun.preprocess import pixel_key

N_IMAGES, N_CLASSES = 20_000, 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("million") / "generated"
    build(made, n_images=N_IMAGES, n_classes=N_CLASSES, seed=4)
    return made


@pytest.fixture(scope="module")
def runtime(folder):
    return open_runtime(folder)


@pytest.fixture(scope="module")
def drawn():
    """What the generator drew, without the store."""
    return predict(N_IMAGES, N_CLASSES, np.random.default_rng(4))


def test_the_generated_store_verifies_and_holds_together(folder):
    with Store.open(folder) as store:
        assert store.verify() == []
        assert store.stale_tables() == {}
        sums = store.arrow("SELECT * EXCLUDE (image_id) FROM scores").to_pandas().to_numpy()
        rows = store.arrow("SELECT * FROM predictions ORDER BY image_id").to_pandas()
    assert np.allclose(sums.sum(axis=1), 1, atol=1e-5)
    assert (sums.argmax(axis=1) == rows["predicted_class"]).all()
    assert np.allclose(sums.max(axis=1), rows["confidence"])
    two = np.sort(sums, axis=1)[:, -2:]
    assert np.allclose(two[:, 1] - two[:, 0], rows["margin"], atol=1e-6)
    entropy = -(sums * np.log(sums)).sum(axis=1)
    assert np.allclose(entropy, rows["entropy"], atol=1e-3)


def test_every_picture_spells_its_id_and_has_its_key(runtime):
    for image_id in (0, 1, 777, N_IMAGES - 1):
        content, _ = runtime.thumbnail(image_id)
        pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        assert id_in_picture(pixels) == image_id
        assert queries.image_row(runtime.store, image_id).image_key == pixel_key(pixels)


def test_counts_are_those_of_the_drawn_classes(runtime, drawn):
    table = runtime.images
    assert (table.ids == np.arange(N_IMAGES)).all()
    assert (table.true_class == drawn.true).all()
    assert (table.is_wrong == (drawn.true != drawn.predicted)).all()
    chosen = np.flatnonzero(drawn.confidence < 0.6)
    summary = queries.selection_summary(runtime.store, chosen)
    assert summary.n == len(chosen)
    assert summary.n_wrong == (drawn.true != drawn.predicted)[chosen].sum()
    assert summary.true_counts.tolist() == [
        int((drawn.true[chosen] == index).sum()) for index in range(N_CLASSES)
    ]
    matrix = queries.confusion_matrix(runtime.store)
    for true, predicted in ((0, 0), (3, 3), (5, 7)):
        both = (drawn.true == true) & (drawn.predicted == predicted)
        assert matrix[true, predicted] == both.sum()


@pytest.mark.parametrize("seed", range(4))
def test_a_lasso_selects_the_ids_inside_the_outline(runtime, drawn, seed):
    generator = np.random.default_rng(seed)
    middle = drawn.places[generator.integers(N_IMAGES)]
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    reach = generator.uniform(1, 8, 40)
    vertices = middle + np.column_stack([reach * np.cos(angles), reach * np.sin(angles)])
    index = runtime.point_index("tsne")
    state = SessionState(dict(runtime.splits))
    state.select(index.ids[index.in_polygon([tuple(v) for v in vertices])], "lasso on Map")
    closed = Outline(np.vstack([vertices, vertices[:1]]))
    inside = np.flatnonzero(closed.contains_points(drawn.places))
    assert 0 < len(inside) < N_IMAGES
    assert state.selection.ids.tolist() == inside.tolist()


@pytest.mark.parametrize("seed", range(20))
def test_the_nearest_point_is_that_of_a_plain_search(runtime, drawn, seed):
    generator = np.random.default_rng(seed)
    x, y = generator.uniform(drawn.places.min(axis=0), drawn.places.max(axis=0))
    index = runtime.point_index("tsne")
    found = index.nearest(x, y, reach_x=2.0, reach_y=1.0)
    distance = ((drawn.places[:, 0] - x) / 2.0) ** 2 + (drawn.places[:, 1] - y) ** 2
    best = int(distance.argmin())
    if distance[best] > 1:
        assert found is None
    else:
        assert distance[index.ids[found]] == pytest.approx(distance[best], rel=1e-4)


def test_points_are_found_by_id_and_strangers_are_left_out(runtime, drawn):
    index = runtime.point_index("tsne")
    ids = np.array([-1, 0, 5, N_IMAGES - 1, N_IMAGES, 2**31 - 1], np.int32)
    at = index.positions(ids)
    assert index.ids[at].tolist() == [0, 5, N_IMAGES - 1]
    assert (index.x[at] == drawn.places[[0, 5, N_IMAGES - 1], 0]).all()


def test_rows_of_a_map_lie_along_the_curve(folder, drawn):
    """Neighbours in the file are neighbours on the map, far closer than any two images."""
    with Store.open(folder) as store:
        rows = store.arrow("SELECT x, y FROM projections WHERE projection = 'tsne'")
    x, y = rows["x"].to_numpy(), rows["y"].to_numpy()
    step = np.median(np.hypot(np.diff(x), np.diff(y)))
    shuffled = np.random.default_rng(0).permutation(N_IMAGES)
    apart = np.median(np.hypot(np.diff(x[shuffled]), np.diff(y[shuffled])))
    assert step < 0.05 * apart


def test_the_simulation_is_counted_from_the_sweeps(folder):
    with Store.open(folder) as store:
        swept = store.arrow(
            "SELECT i.true_class, s.magnitude, s.scores, s.predicted_class FROM sweeps s "
            "JOIN images i USING (image_id) WHERE s.perturbation = 'rotation' "
            "AND s.magnitude = 90 AND i.true_class = 3"
        )
        told = store.arrow(
            "SELECT output_class, n, accuracy, mean_score FROM simulation WHERE "
            "perturbation = 'rotation' AND magnitude = 90 AND true_class = 3 ORDER BY output_class"
        )
    scores = np.array(swept["scores"].to_pylist())
    assert told["n"].to_pylist() == [len(scores)] * N_CLASSES
    assert np.allclose(told["mean_score"].to_numpy(), scores.mean(axis=0), atol=1e-6)
    right = (swept["predicted_class"].to_numpy() == 3).mean()
    assert np.allclose(told["accuracy"].to_numpy(), right)


@pytest.mark.parametrize("order", ["confidence", "margin", "errors", "id"])
def test_very_many_images_are_ordered_as_few_are(runtime, drawn, order):
    """Beyond some thousands rows are picked from one order of all, which sessions share."""
    confidence, wrong = drawn.confidence, drawn.true != drawn.predicted
    values = {
        "confidence": confidence,
        "margin": runtime.images.margin,
        "errors": np.where(wrong, -confidence, confidence),
        "id": np.arange(N_IMAGES),
    }[order]
    generator = np.random.default_rng(1)
    for count in (300, 7_000, N_IMAGES - 1, N_IMAGES):
        rows = np.sort(generator.permutation(N_IMAGES)[:count])
        expected = sorted(rows.tolist(), key=lambda row: values[row])
        assert orders.sorted_rows(runtime, rows, order).tolist() == expected
        assert orders.sorted_ids(runtime, rows, order).tolist() == expected
