"""The testing view without a browser: what it draws, and what it makes of messages."""

import inspect
from functools import partial

import numpy as np
import panel as pn
import pytest

from app.inference import PERTURBATION_SPECS, Change, NoNetworkError
from app.runtime import Runtime
from app.state import SessionState
from app.views import testing_figures
from app.views.testing import TestingView
from app.worker import BusyError, DeadlineError
from tests.app.loops import run

FOCUS = 1600


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    """Leave coroutines to ``settle``: without a server Panel would open a loop for each."""

    def execute(callback, schedule="auto"):
        inner = callback.func if isinstance(callback, partial) else callback
        if not inspect.iscoroutinefunction(inner):
            callback()

    monkeypatch.setattr(pn.state, "execute", execute)


@pytest.fixture(scope="module")
def runtime(digits_store):
    made = Runtime(digits_store)
    yield made
    made.inference.close()


@pytest.fixture
def state(runtime):
    return SessionState(dict(runtime.splits), projection=runtime.projections[0])


@pytest.fixture
def view(runtime, state):
    """Return a view that has answered for its focus image."""
    made = TestingView(runtime, state)
    state.set_focus(FOCUS)
    settle(made)
    return made


def settle(view):
    run(view.answer())


def figures(view):
    return view._bench.bench_view


def send(view, kind, **message):
    view._receive({"kind": kind, **message})
    settle(view)


def test_without_a_focus_it_says_how_to_get_one(runtime, state):
    view = TestingView(runtime, state)
    assert figures(view)["stage"] == "empty"
    view._receive({"kind": "cure"})
    table = runtime.images
    assert state.focus == table.ids[np.argmin(table.confidence)]


def test_it_draws_the_focus(view, runtime):
    drawn = figures(view)
    assert drawn["stage"] == "ready"
    assert drawn["image"]["same"]
    assert drawn["verdict"]["truth"] == runtime.class_names[0]
    assert not drawn["verdict"]["is_changed"]
    assert len(view._bench.bench_images) == 2 * 32 * 32 * 3
    assert view._bench.bench_ahead == -1


def test_a_change_is_tested_and_shared(view, state):
    send(view, "set", name="rotation", value=40, seq=1)
    send(view, "set", name="hue", value=0.3, seq=2)
    assert dict(state.change.magnitudes) == {"rotation": 40.0, "hue": 0.3}
    drawn = figures(view)
    assert drawn["verdict"]["is_changed"]
    assert drawn["verdict"]["is_flipped"] == view.result.is_flipped
    assert ("flipped" in drawn["verdict"]["spoken"]) == view.result.is_flipped
    assert view._bench.bench_change["seq"] == 2
    assert state.changed_place == view.result.places[state.projection]
    assert len(drawn["scores"]) >= testing_figures.SHOWN_CLASSES
    assert any(row["is_true"] for row in drawn["scores"])


def test_reset_brings_back_the_image(view, state):
    send(view, "set", name="rotation", value=40)
    send(view, "box", box=[0.1, 0.1, 0.4, 0.5])
    send(view, "reset")
    assert state.change.is_identity
    assert figures(view)["image"]["same"]
    assert state.changed_place is None


def test_regions_are_removed_and_restored(view, state):
    send(view, "box", box=[0.1, 0.1, 0.4, 0.5])
    send(view, "box", box=[0.6, 0.6, 0.9, 0.9])
    assert len(state.change.boxes) == 2
    send(view, "unbox", index=0)
    assert testing_figures.box_corners(state.change) == [[0.6, 0.6, 0.9, 0.9]]
    send(view, "unbox", index=-1)
    assert state.change.is_identity


def test_layer_and_class_of_the_evidence(view, state, runtime):
    layer = runtime.inference.layers()[0]
    send(view, "layer", value=layer)
    send(view, "class", value="4")
    assert (view.result.layer, view.result.classes) == (layer, (4, 4))
    assert figures(view)["class_value"] == "4"
    send(view, "class", value="")
    assert view.result.classes == view.result.predicted


def test_a_layer_without_a_map_falls_back(view, state, runtime):
    state.evidence_layer = "classifier.0"
    settle(view)
    assert figures(view)["layer"] == runtime.inference.default_layer()


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"kind": "set"},
        {"kind": "set", "name": "rotation", "value": float("nan")},
        {"kind": "set", "name": "rotation", "value": "40"},
        {"kind": "set", "name": "fgsm", "value": 0.03},
        {"kind": "set", "name": "__class__", "value": 1},
        {"kind": "box", "box": [0, 0, float("inf"), "x"]},
        {"kind": "box", "box": [0.5, 0.5, 0.4, 0.6]},
        {"kind": "box", "box": "1234"},
        {"kind": "unbox", "index": 7},
        {"kind": "layer", "value": "../../etc/passwd"},
        {"kind": "class", "value": "99"},
        {"kind": "class", "value": None},
        {"kind": "set", "name": ["rotation"], "value": [1], "seq": "many"},
    ],
)
def test_forged_messages_change_nothing(view, state, message):
    view._receive(message)
    settle(view)
    assert view._change.is_identity
    assert state.evidence_class is None
    assert state.evidence_layer == ""
    assert figures(view)["stage"] == "ready"


def test_magnitudes_out_of_range_are_clamped(view, state):
    send(view, "set", name="rotation", value=1e308)
    assert state.change.magnitudes["rotation"] == 180.0


def test_an_overtaken_answer_is_not_drawn(view, state):
    ticket = view._ticket
    state.change = Change(magnitudes={"rotation": 10.0})
    settle(view)
    run(view.answer(ticket))
    assert view.result.change.magnitudes["rotation"] == 10.0


@pytest.mark.parametrize(
    ("error", "headline", "cure"),
    [
        (BusyError(8), "The network is busy", "Try again"),
        (DeadlineError("too late"), "The network took too long", "Try again"),
        (NoNetworkError("no builder"), "This network cannot be run here", None),
    ],
)
def test_states_are_said(view, state, monkeypatch, error, headline, cure):
    async def fail(*_, **__):
        raise error

    monkeypatch.setattr(view._runtime.inference, "test", fail)
    state.change = Change(magnitudes={"rotation": 12.0})
    settle(view)
    drawn = figures(view)
    assert (drawn["stage"], drawn["headline"], drawn.get("cure")) == ("empty", headline, cure)
    assert view._bench.bench_ahead == -1


def test_stop_goes_back_to_what_is_drawn(view, state):
    drawn = view.result
    state.change = Change(magnitudes={"rotation": 33.0})
    view._receive({"kind": "stop"})
    settle(view)
    assert view._change == drawn.change


def test_every_perturbation_but_attacks_has_a_control():
    offered = {spec.name for spec in testing_figures.offered_specs()}
    assert offered == set(PERTURBATION_SPECS) - {"fgsm"}
    for spec in testing_figures.offered_specs():
        drawn = testing_figures.control(spec)
        steps = (drawn["identity"] - drawn["low"]) / drawn["step"]
        assert steps == pytest.approx(round(steps), abs=1e-6), "a slider can reach the identity"


def test_no_positive_evidence_is_said(view, runtime):
    from dataclasses import replace

    silent = replace(view.result, maps=np.zeros((2, 2, 2), np.float32))
    drawn = testing_figures.figures(
        silent,
        names=runtime.class_names,
        true_class=None,
        layers={"features.17": "conv3_2"},
        default_layer="features.14",
        class_index=None,
    )
    assert drawn["evidence"]["max"] == [0.0, 0.0]
    assert drawn["evidence"]["better"] == "features.14"
    assert drawn["verdict"]["truth"] == ""


def test_names_from_data_are_plain_text(view):
    names = ["<img src=x onerror=alert(1)>\x00\n" + "x" * 500, *"bcdefghij"]
    drawn = testing_figures.figures(
        view.result, names=names, true_class=0, layers={}, default_layer="", class_index=None
    )
    truth = drawn["verdict"]["truth"]
    assert "\x00" not in truth
    assert "\n" not in truth
    assert len(truth) <= 60
