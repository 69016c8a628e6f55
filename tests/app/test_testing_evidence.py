"""The evidence of the testing view without a browser: method, layer, class, and what is said."""

from dataclasses import replace

import numpy as np
import pytest

from app.runtime import Runtime
from app.state import SessionState
from app.views import testing_evidence
from app.views.testing import TestingView
from tests.app.benches import FOCUS, evidence, send, settle
from tests.app.loops import run

pytestmark = pytest.mark.usefixtures("no_server")


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


def test_method_layer_and_class_of_the_evidence(view, state, runtime):
    layer = runtime.inference.methods()["layer_cam"][1][0]
    send(view, "evidence", value=f"layer_cam|{layer}")
    send(view, "class", value="4")
    drawn = view._answers.evidence_of(view.result)
    assert (drawn.method, drawn.layer, drawn.classes) == ("layer_cam", layer, (4, 4))
    assert evidence(view)["class_value"] == "4"
    send(view, "class", value="")
    assert view._answers.evidence_of(view.result).classes == view.result.predicted


def test_every_explanation_can_be_chosen_and_is_drawn(view, runtime):
    for method, (label, layers) in runtime.inference.methods().items():
        send(view, "evidence", value=f"{method}|{layers[-1]}")
        drawn = evidence(view)
        assert drawn["stage"] == "ready"
        assert drawn["title"].startswith(label)
        assert drawn["value"] == f"{method}|{layers[-1]}"
        assert len(view._bench.bench_maps) == 2 * 4 * drawn["width"] * drawn["height"]


def test_a_layer_without_a_map_falls_back(view, state, runtime):
    state.evidence_layer = "classifier.0"
    settle(view)
    assert evidence(view)["value"] == f"grad_cam|{runtime.inference.default_layer()}"


def test_an_explanation_that_fails_says_why_and_offers_the_others(view, state):
    state.evidence_method = "no_such_method"
    settle(view)
    drawn = evidence(view)
    assert drawn["stage"] == "failed"
    assert "no_such_method" in drawn["message"]
    assert len(drawn["choices"]) == 6
    send(view, "evidence", value=drawn["choices"][0]["options"][0]["value"])
    assert evidence(view)["stage"] == "ready"


def test_trust_is_said_under_each_map_and_random_weights_on_demand(view):
    assert len(evidence(view)["trust"]) == 2
    assert "±" in evidence(view)["trust"][0]["random"]
    assert "randomised" not in evidence(view)
    view._receive({"kind": "randomise"})
    run(view._answers.follow(view.result, lambda: True, view._ticket))
    assert "rank correlation" in evidence(view)["randomised"]


def test_no_positive_evidence_is_said(view, runtime):
    kept = view._answers.evidence_of(view.result)
    silent = replace(kept, layer="features.17", maps=np.zeros((2, 2, 2), np.float32))
    drawn = testing_evidence.figures(
        silent,
        names=runtime.class_names,
        label="Grad-CAM",
        short={"features.17": "conv3_2", "features.14": "conv3_1"},
        better_layer="features.14",
    )
    assert drawn["max"] == [0.0, 0.0]
    assert drawn["better"] == "grad_cam|features.14"
    assert drawn["better_label"] == "conv3_1"
    assert drawn["place"] == "conv3_2"


def test_evidence_of_another_class_is_said_to_be_old(view, state):
    state.evidence_class = 5
    view._draw(view.result)
    assert evidence(view)["stage"] == "pending"
    assert evidence(view)["class_value"] == "5"
    assert view._answers.evidence_of(view.result) is None
    settle(view)
    assert evidence(view)["stage"] == "ready"
