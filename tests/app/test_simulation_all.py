"""The curve of all images together, against the images themselves."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from app.inference import PERTURBATION_SPECS
from app.views import simulation_curves
from app.views.simulation import SimulationView
from feature_store import QueryError, StoreWriter, queries

GRID = (-30.0, 0.0, 60.0)
CLASSES = ("ant", "bee", "cow", "dog", "eel")
SIZES = (40, 1, 7, 0, 3)
"""Images of each class: unequal, one alone, none."""


@pytest.fixture
def made(tmp_path):
    """Return a store of a simulation, and its images' own figures by magnitude.

    At the last magnitude two images have no finite scores, and the only bee is one of them.
    """
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(len(SIZES)), SIZES)
    images, rows = {}, []
    for magnitude in GRID:
        scores = rng.beta(2, 1 + labels[:, None], size=(len(labels), len(SIZES)))
        is_right = rng.random(len(labels)) < 0.9 - 0.15 * labels
        is_there = np.ones(len(labels), dtype=bool)
        if magnitude == GRID[-1]:
            is_there[[0, SIZES[0]]] = False
        own = scores[np.arange(len(labels)), labels]
        images[magnitude] = (own[is_there], is_right[is_there])
        for true in range(len(SIZES)):
            mine = is_there & (labels == true)
            rows += [
                _row(true, magnitude, out, scores[mine, out], is_right[mine])
                for out in range(len(SIZES))
            ]
    store = _write(tmp_path / "store", rows)
    yield store, images
    store.close()


def _row(true, magnitude, out, scores, is_right):
    count = len(scores)
    return {
        "split": "test", "perturbation": "rotation", "true_class": true, "magnitude": magnitude,
        "output_class": out, "n": count, "accuracy": is_right.mean() if count else None,
        "mean_score": scores.mean() if count else None,
        "standard_deviation": scores.std(ddof=1) if count > 1 else None,
    }  # fmt: skip


def _write(path, rows):
    types = {
        "split": pa.string(), "perturbation": pa.string(), "true_class": pa.int16(),
        "magnitude": pa.float64(), "output_class": pa.int16(), "n": pa.int32(),
        "accuracy": pa.float32(), "mean_score": pa.float32(), "standard_deviation": pa.float32(),
    }  # fmt: skip
    places = pa.array(range(len(CLASSES)), pa.int16())
    with StoreWriter.open(path) as writer:
        with writer.begin("simulate") as generation:
            names = pa.table({"class_index": places, "class_name": list(CLASSES)})
            generation.write("classes", names)
            rows = sorted(rows, key=lambda row: (row["true_class"], row["magnitude"]))
            generation.write("simulation", pa.Table.from_pylist(rows, pa.schema(types)))
            generation.info["simulate"] = {
                "perturbations": [{"name": "rotation", "identity": 0.0}]
            }
        return writer.store()


def test_accuracy_and_its_band_are_those_of_the_images(made):
    store, images = made
    found = queries.all_images(store, "rotation")
    assert found.magnitudes.tolist() == list(GRID)
    for k, magnitude in enumerate(GRID):
        is_right = images[magnitude][1]
        assert found.n[k] == len(is_right)
        wilson = stats.binomtest(int(is_right.sum()), len(is_right)).proportion_ci(method="wilson")
        assert found.value["accuracy"][k] == pytest.approx(is_right.mean(), abs=1e-12)
        assert found.low["accuracy"][k] == pytest.approx(wilson.low, abs=1e-12)
        assert found.high["accuracy"][k] == pytest.approx(wilson.high, abs=1e-12)
    assert found.n.tolist() == [51, 51, 49], "images whose scores are not finite are in no class"


def test_the_mean_score_and_its_band_are_those_of_the_images(made):
    store, images = made
    found = queries.all_images(store, "rotation")
    for k, magnitude in enumerate(GRID):
        own = images[magnitude][0]
        low, high = stats.norm.interval(0.95, own.mean(), stats.sem(own))
        assert found.value["mean_score"][k] == pytest.approx(own.mean(), abs=1e-6)
        assert found.low["mean_score"][k] == pytest.approx(low, abs=1e-6)
        assert found.high["mean_score"][k] == pytest.approx(high, abs=1e-6)


def test_one_image_has_no_band_of_its_score(tmp_path):
    one = np.array([0.7])
    store = _write(tmp_path / "store", [_row(2, 0.0, 2, one, one > 0)])
    found = queries.all_images(store, "rotation")
    assert found.n.tolist() == [1]
    assert found.value["mean_score"] == pytest.approx([0.7])
    assert np.isnan([*found.low["mean_score"], *found.high["mean_score"]]).all()
    store.close()


def test_what_was_not_simulated_is_named(made):
    with pytest.raises(QueryError, match="there are the perturbations rotation"):
        queries.all_images(made[0], "blur")


def _swept(store, perturbation):
    """Return magnitude, true score and whether it is right of every swept image of the demo."""
    rows = store.arrow(
        "select magnitude, true_score, s.predicted_class = true_class as is_right "
        "from sweeps s join images using (image_id) "
        "where perturbation = ? and true_class is not null and s.predicted_class is not null",
        perturbation,
    )
    return (np.asarray(rows[name]) for name in ("magnitude", "true_score", "is_right"))


@pytest.mark.parametrize("perturbation", ["rotation", "saturation", "blur"])
def test_on_the_demo_it_is_the_mean_over_the_swept_images(runtime, perturbation):
    found = queries.all_images(runtime.store, perturbation)
    magnitude, score, is_right = _swept(runtime.store, perturbation)
    for k, each in enumerate(found.magnitudes):
        here = np.isclose(magnitude, each)
        assert found.n[k] == here.sum() > 0
        assert found.value["accuracy"][k] == pytest.approx(is_right[here].mean(), abs=1e-12)
        assert found.value["mean_score"][k] == pytest.approx(score[here].mean(), abs=1e-6)


def test_without_a_change_it_is_the_accuracy_of_the_swept_images(runtime):
    rows = runtime.store.arrow(
        "select avg(is_correct::INT) as right from predictions where image_id in "
        "(select image_id from sweeps)"
    )
    for name in queries.simulated_perturbations(runtime.store):
        found = queries.all_images(runtime.store, name)
        at = found.magnitudes.tolist().index(PERTURBATION_SPECS[name].identity)
        assert found.value["accuracy"][at] == pytest.approx(rows["right"][0].as_py(), abs=1e-12)


@pytest.mark.parametrize("measure", ["mean_score", "accuracy"])
def test_the_view_draws_it_over_all_classes_also_where_few_are_drawn(
    runtime, state, at_once, monkeypatch, measure
):
    """The demo has ten classes: the limits are lowered instead."""
    monkeypatch.setattr(simulation_curves, "MOST_CLASSES", 4)
    monkeypatch.setattr(simulation_curves, "MAX_PANELS", 3)
    state.simulation_perturbation, state.simulation_measure = "saturation", measure
    data = SimulationView(runtime, state)._curves.curves_data
    magnitude, score, is_right = _swept(runtime.store, "saturation")
    of_images = score if measure == "mean_score" else is_right
    expected = [of_images[np.isclose(magnitude, x)].mean() for x in data["x"]]
    drawn = data["together"]
    assert len(data["overview"]) == 3
    assert drawn["name"] == "all images"
    assert drawn["colour"] == "var(--vt-ink)"
    np.testing.assert_allclose(drawn["y"], expected, atol=1e-4)
    assert drawn["ns"] == [100] * len(data["x"])
    assert (np.array(drawn["lo"]) < drawn["y"]).all()
    assert (np.array(drawn["hi"]) > drawn["y"]).all()


def test_a_class_without_images_leaves_the_line_whole(made):
    store, images = made
    rows = queries.simulation_rows(store, "rotation")
    data = simulation_curves.draw_data(
        rows, queries.all_images(store, "rotation"), order=[0, 1, 2, 3, 4], total=5,
        class_names=CLASSES, label="Rotation", measure="accuracy",
    )  # fmt: skip
    bee, none = (next(p for p in data["panels"] if p["id"] == k) for k in (1, 3))
    assert none["n"] == 0
    assert none["y"] == [None] * 3
    assert bee["y"][-1] is None
    expected = [images[magnitude][1].mean() for magnitude in GRID]
    np.testing.assert_allclose(data["together"]["y"], expected, atol=1e-4)
