"""View D without a browser: what it draws, and what its messages do."""

from __future__ import annotations

import numpy as np
import pytest

from app.views import simulation_curves, simulation_figures
from app.views.simulation import SimulationView
from feature_store import QueryError, queries
from tests.app.loops import run


@pytest.fixture
def view(runtime, state, at_once):
    state.simulation_perturbation = "rotation"
    return SimulationView(runtime, state)


def send(view, **message):
    view._curves._handle_msg(message)


def swept(runtime, magnitude, true_class):
    """Return id and prediction of every swept image of a class under a rotation."""
    rows = runtime.store.arrow(
        "select image_id, s.predicted_class as predicted from sweeps s "
        "join images using (image_id) where perturbation = 'rotation' and magnitude = ? "
        "and true_class = ? order by image_id",
        magnitude,
        true_class,
    )
    return rows["image_id"].to_numpy(), rows["predicted"].to_numpy()


def test_the_panels_draw_the_rows_of_the_table(view, runtime):
    data = view._curves.curves_data
    rows = queries.simulation_rows(runtime.store, "rotation")
    assert data["title"] == "All classes"
    assert not data["can_search"]
    assert len(data["panels"]) == len(data["overview"]) == 10
    for panel in data["panels"]:
        np.testing.assert_allclose(
            panel["y"], rows.mean_score[panel["id"], :, panel["id"]], atol=1e-4
        )
        assert panel["n"] == 10
        for line in panel["lines"]:
            expected = rows.mean_score[panel["id"], :, line["id"]]
            np.testing.assert_allclose(line["y"], expected, atol=1e-4)


def test_accuracy_is_the_other_measure(view, state, runtime):
    state.simulation_measure = "accuracy"
    rows = queries.simulation_rows(runtime.store, "rotation")
    for panel in view._curves.curves_data["panels"]:
        np.testing.assert_allclose(panel["y"], rows.accuracy[panel["id"]], atol=1e-4)
        assert panel["lines"] == []


def test_a_point_selects_the_wrong_images_of_its_class(view, state, runtime):
    send(view, point={"class": 3, "magnitude": 45.0, "as": None})
    ids, predicted = swept(runtime, 45.0, 3)
    expected = ids[predicted != 3]
    assert len(expected)
    assert state.selection.ids.tolist() == expected.tolist()
    assert state.selection.origin == f"three wrong at Rotation 45°, {len(expected)} of 10 swept"
    assert state.simulation_class == 3


def test_a_point_of_another_classs_line_selects_what_is_taken_for_it(view, state, runtime):
    ids, predicted = swept(runtime, 90.0, 7)
    other = int(np.bincount(predicted[predicted != 7]).argmax())
    send(view, point={"class": 7, "magnitude": 90.0, "as": other})
    assert state.selection.ids.tolist() == ids[predicted == other].tolist()
    assert f"predicted {runtime.class_names[other]} at Rotation 90°" in state.selection.origin


def test_a_point_without_images_keeps_the_selection_and_says_so(view, state, runtime):
    for true_class in range(10):
        _, predicted = swept(runtime, 0.0, true_class)
        missing = sorted(set(range(10)) - set(predicted.tolist()))[0]
        send(view, point={"class": true_class, "magnitude": 0.0, "as": missing})
        assert state.selection.is_all
        said = view._curves.curves_said
        assert said.startswith("None of 10 swept ")
        assert runtime.class_names[missing] in said


@pytest.mark.parametrize(
    "point",
    [
        {"class": 99, "magnitude": 0.0},
        {"class": -1, "magnitude": 0.0},
        {"class": 1, "magnitude": float("nan")},
        {"class": 1, "magnitude": 500.0, "as": 77},
        {"class": 1, "magnitude": 0.0, "as": "2"},
        ["class"],
        "class",
    ],
)
def test_a_point_that_was_made_up_selects_nothing(view, state, point):
    send(view, point=point)
    assert state.selection.is_all
    assert state.simulation_class is None


def test_very_many_classes_show_ten_and_can_be_searched(runtime, state, at_once, monkeypatch):
    """The demo has ten classes: the limits are lowered instead."""
    monkeypatch.setattr(simulation_curves, "MOST_CLASSES", 4)
    monkeypatch.setattr(simulation_curves, "MAX_PANELS", 3)
    state.simulation_perturbation = "rotation"
    view = SimulationView(runtime, state)
    data = view._curves.curves_data
    assert data["title"] == "3 of 10 classes"
    assert data["can_search"]
    shown = [panel["id"] for panel in data["panels"]]
    send(view, find="s")
    assert view._curves.curves_found == ["six", "seven"]
    hidden = next(k for k in range(10) if k not in shown)
    send(view, show=runtime.class_names[hidden].upper())
    drawn = [panel["id"] for panel in view._curves.curves_data["panels"]]
    assert hidden in drawn
    assert len(drawn) == 3
    assert view._curves.curves_framed == hidden
    assert state.selection.is_all, "a search frames a class, it selects nothing"
    send(view, show="no such class")
    assert view._curves.curves_said == "No class is called no such class."


def test_with_a_thousand_classes_the_fastest_ten_are_drawn():
    grid = np.array([0.0, 1.0, 2.0, 3.0])
    start = np.full(1000, 0.95)
    speed = np.linspace(0.05, 0.4, 1000)
    value = start[:, None] - speed[:, None] * grid
    curves = queries.ClassCurves(
        perturbation="blur",
        split="test",
        true_classes=np.arange(1000, dtype=np.int16),
        magnitudes=grid,
        identity=0.0,
        n=np.full(1000, 5),
        value={"mean_score": value},
        low={"mean_score": value},
        high={"mean_score": value},
    )
    fastest = list(range(999, 989, -1))
    assert simulation_curves.shown_classes(curves, "mean_score", None) == fastest
    assert simulation_curves.shown_classes(curves, "mean_score", 5) == [5, *fastest[:-1]]


def test_all_measures_are_asked_for_only_when_maximised(view, state):
    assert "all" not in view._body.css_classes
    assert view._measures._ticket == 0
    state.maximised = "d"
    assert "all" in view._body.css_classes
    assert view._measures._ticket == 1
    state.simulation_measure = "accuracy"
    assert view._measures._ticket == 2
    state.maximised = ""
    assert "all" not in view._body.css_classes


def test_an_overtaken_question_draws_nothing(view, state):
    state.maximised = "d"
    state.simulation_measure = "accuracy"
    run(view._measures.answer(1))
    assert view._measures.cards.measures_data == {"is_computing": True}
    run(view._measures.answer(2))
    assert "accuracy" in view._measures.cards.measures_data["ranking"]["note"]


def test_the_cards_say_what_the_queries_found(view, state, runtime):
    state.simulation_class = 4
    cards = view._measures.figures()
    found = queries.falls(runtime.store)
    rows = cards["ranking"]["rows"]
    assert len(rows) == len(found) == 110
    assert [row["reach"] is None for row in rows] == sorted(row["reach"] is None for row in rows)
    assert [(row["perturbation"], row["id"]) for row in rows if row["is_on"]] == [("rotation", 4)]
    calibration = queries.calibration_rows(runtime.store, "rotation")
    np.testing.assert_allclose(cards["calibration"]["error"], calibration.error, atol=1e-4)
    assert f"{calibration.error[12]:.3f}" in cards["calibration"]["spoken"]
    assert "n 100" in cards["calibration"]["spoken"]
    kept = queries.consistency(runtime.store, "rotation")
    first = cards["consistency"]["groups"][0]["rows"][0]
    assert first["n"] == f"{kept.kept[0, 0]} of 100"
    assert cards["consistency"]["groups"][0]["name"] == "all images"
    quantiles = queries.flip_quantiles(runtime.store, "rotation", quantiles=(0.5,))
    for row in cards["flips"]["rows"]:
        middle = quantiles.distances[list(runtime.class_names).index(row["name"]), 0]
        assert row["texts"][2] == ("none" if np.isnan(middle) else f"±{middle:.0f}°")
    images = cards["images"]
    assert "test images, as train was not swept" in images["note"]
    table = runtime.images
    for row in images["rows"]:
        ids = np.array([image["id"] for image in row["images"]], np.int32)
        assert 0 < len(ids) <= simulation_figures.IMAGES
        assert (table.true_class[table.rows(np.sort(ids))] == 4).all()


def test_what_never_flips_is_not_said_to_hold_where_it_is_wrong_from_the_start(
    view, state, runtime
):
    """FGSM pushes away from the true class, so that an error only deepens and never flips."""
    state.simulation_perturbation = "fgsm"
    names = list(runtime.class_names)
    rows = runtime.store.arrow(
        "select image_id, true_class, predicted_class != true_class as is_wrong, "
        "count(magnitude) = 0 as is_never from smallest_flips f join images using (image_id) "
        "join predictions p using (image_id) where perturbation = 'fgsm' group by all"
    ).to_pylist()
    never = {k: [r for r in rows if r["true_class"] == k and r["is_never"]] for k in range(10)}
    wrong = {k: sum(r["is_wrong"] for r in never[k]) for k in never}
    worst = max(wrong, key=wrong.get)
    assert 0 < wrong[worst] < 10
    state.simulation_class = worst
    cards = view._measures.figures()
    assert {row["name"]: (row["never"], row["never_wrong"]) for row in cards["flips"]["rows"]} == {
        names[k]: (str(len(never[k])), str(wrong[k])) for k in never
    }
    least = cards["images"]["rows"][1]
    assert least["note"] == (
        f"{len(never[worst])} of 10 never flip within what was swept, "
        f"{wrong[worst]} of them wrong from the start; right ones first"
    )
    known = {r["image_id"]: r["is_wrong"] for r in rows}
    marked = [image["is_wrong"] for image in least["images"]]
    assert marked == [known[image["id"]] for image in least["images"]] == sorted(marked)
    for image in least["images"]:
        assert image["title"].endswith(", wrong from the start") == image["is_wrong"]


def test_a_table_that_is_missing_is_said_in_words(view, monkeypatch):
    def missing(*_):
        raise QueryError("'rotation' was not swept")

    monkeypatch.setattr(queries, "calibration_rows", missing)
    cards = view._measures.figures()
    assert cards["calibration"] == {"message": "This store cannot say: 'rotation' was not swept"}
    assert "rows" in cards["ranking"]


def test_without_harmless_changes_the_page_says_how_to_declare_them(view, monkeypatch):
    monkeypatch.setattr(queries, "harmless_changes", lambda _: {})
    message = view._measures.figures()["consistency"]["message"]
    assert "[simulate.harmless]" in message


def test_a_row_of_the_ranking_shows_its_change_and_class(view, state):
    view._measures._receive({"kind": "row", "perturbation": "blur", "class": 2})
    assert (state.simulation_perturbation, state.simulation_class) == ("blur", 2)
    for made_up in ({"perturbation": "tilt", "class": 1}, {"perturbation": ["blur"], "class": 1}):
        view._measures._receive({"kind": "row", **made_up})
    view._measures._receive({"kind": "row", "perturbation": "hue", "class": 99})
    assert (state.simulation_perturbation, state.simulation_class) == ("blur", 2)


def test_a_class_that_is_low_already_is_said_so_in_words(view):
    for panel in view._curves.curves_data["panels"]:
        assert "<" not in panel["note"] + panel["short"]
        if panel["short"] == "low":
            assert panel["note"] == "starts below 0.8"
            assert "without a change, below 0.8 from the start" in panel["long"]
