"""The testing view without a browser: what it draws, and what it makes of messages."""

import asyncio
import inspect
import time
from dataclasses import replace
from functools import partial

import numpy as np
import panel as pn
import pytest

from app.inference import PERTURBATION_SPECS, Change, NoNetworkError, Upload
from app.runtime import Runtime
from app.state import SessionState
from app.views import testing_answers, testing_changes, testing_figures
from app.views.testing import TestingView
from app.worker import BusyError, DeadlineError
from tests.app.benches import FOCUS, curves, figures, send, settle
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


def test_a_change_that_puts_an_answer_right_is_told_as_that(view, state, runtime):
    table = runtime.images
    for image_id in table.ids[table.is_wrong]:
        state.set_focus(int(image_id))
        send(view, "set", name="saturation", value=0.4)
        if view.result.predicted[1] == view.result.label:
            break
    assert view.result.predicted[0] != view.result.label == view.result.predicted[1]
    verdict = figures(view)["verdict"]
    assert verdict["is_mended"]
    assert verdict["is_flipped"]
    assert verdict["spoken"].endswith("prediction flipped, now right")


def test_a_change_is_tested_and_shared(view, state):
    send(view, "set", name="rotation", value=40, seq=1)
    send(view, "set", name="hue", value=0.3, seq=2)
    assert dict(state.change.magnitudes) == {"rotation": 40.0, "hue": 0.3}
    drawn = figures(view)
    assert drawn["verdict"]["is_changed"]
    assert drawn["verdict"]["is_flipped"] == view.result.is_flipped
    assert ("flipped" in drawn["verdict"]["spoken"]) == view.result.is_flipped
    assert not drawn["verdict"]["is_mended"], "it was right before"
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
    assert testing_changes.box_corners(state.change) == [[0.6, 0.6, 0.9, 0.9]]
    send(view, "unbox", index=-1)
    assert state.change.is_identity


def test_curves_are_drawn_for_what_there_is_room_for(view, runtime):
    assert list(curves(view)) == ["rotation"]
    view._receive({"kind": "curves", "names": ["hue", "fgsm", "no_such", ["hue"]]})
    settle(view)
    drawn = curves(view)
    assert set(drawn) == {"rotation", "hue", "fgsm"}
    for name in ("hue", "fgsm"):
        spec = PERTURBATION_SPECS[name]
        at = drawn[name]["x"].index(spec.identity)
        first = next(line for line in drawn[name]["lines"] if line["first"])
        assert first["y"][at] == pytest.approx(view.result.confidence[0], abs=1e-5)
        assert drawn[name]["flip"]["known"]


def test_a_flip_that_is_said_flips(view, state):
    view._receive({"kind": "curves", "names": ["rotation", "brightness"]})
    settle(view)
    said = 0
    for name, drawn in curves(view).items():
        for magnitude in drawn["flip"]["at"]:
            state.set_change(Change(magnitudes={name: magnitude}))
            settle(view)
            assert view.result.is_flipped
            said += 1
    assert said >= 2


def test_a_new_image_has_curves_of_its_own(view, state):
    state.set_focus(FOCUS + 1)
    view._follow()
    before = dict(curves(view))
    settle(view)
    assert curves(view)["rotation"] != before.get("rotation")
    assert view._answers._image == FOCUS + 1


def test_fills_are_part_of_the_change(view, state):
    send(view, "box", box=[0.1, 0.1, 0.6, 0.6])
    grey = view.result.scores[1].copy()
    send(view, "region_fill", value="black")
    assert state.change.region_fill == "black"
    assert not np.array_equal(view.result.scores[1], grey)
    send(view, "region_fill", value="purple")
    assert state.change.region_fill == "black"
    send(view, "rotation_fill", value="mirror")
    assert view._bench.bench_change["rotation_fill"] == "mirror"
    assert "black fill" in figures(view)["words"]


def test_an_attack_says_from_which_class(view, runtime):
    send(view, "set", name="fgsm", value=4 / 255)
    truth = runtime.class_names[view.result.label]
    assert figures(view)["attack"] == f"FGSM pushes away from {truth}, the true class"
    assert view.result.scores[1][view.result.label] < view.result.scores[0][view.result.label]


def test_cases_are_held_and_opened_again(view, state):
    send(view, "set", name="hue", value=0.3)
    view._receive({"kind": "hold"})
    kept = view.result.scores.copy()
    send(view, "reset")
    state.set_focus(FOCUS + 7)
    settle(view)
    view._receive({"kind": "hold"})
    assert [case["is_changed"] for case in view._bench.bench_held] == [True, False]
    send(view, "open", number=view._bench.bench_held[0]["number"])
    assert state.focus == FOCUS
    assert np.array_equal(view.result.scores, kept)
    send(view, "release", number=view._bench.bench_held[0]["number"])
    assert len(view._bench.bench_held) == 1
    send(view, "release", number=99)
    assert len(view._bench.bench_held) == 1


def test_a_drag_is_one_step_of_undo(view, state):
    for angle in range(5, 30, 5):
        send(view, "set", name="rotation", value=angle)
    send(view, "set", name="hue", value=0.2)
    send(view, "undo")
    assert dict(state.change.magnitudes) == {"rotation": 25.0}
    send(view, "undo")
    assert view._change.is_identity
    state.redo()
    assert dict(state.change.magnitudes) == {"rotation": 25.0}


def test_every_message_with_a_number_gets_its_receipt(view):
    for seq, message in enumerate(
        [{"kind": "undo"}, {"kind": "set", "name": "hue", "value": "x"}, {"kind": "nonsense"}], 1
    ):
        view._receive({**message, "seq": seq})
        assert view._bench.bench_change["seq"] == seq


def test_an_upload_takes_the_place_of_the_focus(view, state, runtime):
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    state.set_upload(Upload(name="a <b>.png", pixels=pixels, key="0" * 64))
    settle(view)
    assert state.focus is None
    assert figures(view)["image"]["is_upload"]
    assert figures(view)["verdict"]["truth"] == ""
    assert state.changed_place is not None
    assert set(state.live_paths) == {"paper", "mean", "balanced"}
    assert len(state.live_activations) == len(runtime.layers)
    state.set_focus(FOCUS)
    settle(view)
    assert state.upload is None
    assert state.live_activations is None


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"kind": "set"},
        {"kind": "set", "name": "rotation", "value": float("nan")},
        {"kind": "set", "name": "rotation", "value": "40"},
        {"kind": "region_fill", "value": ["black"]},
        {"kind": "rotation_fill", "value": None},
        {"kind": "open", "number": [1]},
        {"kind": "curves", "names": "rotation"},
        {"kind": "set", "name": "__class__", "value": 1},
        {"kind": "box", "box": [0, 0, float("inf"), "x"]},
        {"kind": "box", "box": [0.5, 0.5, 0.4, 0.6]},
        {"kind": "box", "box": "1234"},
        {"kind": "unbox", "index": 7},
        {"kind": "evidence", "value": "grad_cam|../../etc/passwd"},
        {"kind": "evidence", "value": ["grad_cam"]},
        {"kind": "evidence", "value": "no_such|features.0"},
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


def test_a_tiny_change_is_one_and_a_rounding_is_none(view, state):
    send(view, "set", name="rotation", value=-0.0938)
    assert state.change.magnitudes["rotation"] == -0.0938
    send(view, "set", name="hue", value=0.1 + 0.2 - 0.3)
    assert "hue" not in state.change.magnitudes


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


def test_names_from_data_are_plain_text(view):
    names = ["<img src=x onerror=alert(1)>\x00\n" + "x" * 500, *"bcdefghij"]
    drawn = testing_figures.figures(view.result, names=names, title="image 1")
    truth = drawn["verdict"]["truth"]
    assert "\x00" not in truth
    assert "\n" not in truth
    assert len(truth) <= 60


def test_a_burst_of_a_slider_ends_with_the_last_value_and_runs_a_few_times(
    runtime, state, monkeypatch
):
    """50 events in a second over a network of 100 ms: at most 12 runs, no older answer last."""
    view = TestingView(runtime, state)
    state.set_focus(FOCUS)
    settle(view)
    live, runs, drawn = runtime.inference.start().result(), [], []
    real_test, real_draw = live.test, view._draw

    def slow(image, change):
        time.sleep(0.1)
        runs.append(change)
        return real_test(image, change)

    def draw(result):
        drawn.append(result.change.magnitudes["rotation"])
        real_draw(result)

    monkeypatch.setattr(live, "test", slow)
    monkeypatch.setattr(view, "_draw", draw)
    # What follows the scores waits for rest, as on the page.
    monkeypatch.setattr(testing_answers, "EVIDENCE_PAUSE_S", 0.06)
    monkeypatch.setattr(testing_answers, "MORE_PAUSE_S", 0.2)
    asked = []

    def execute(callback, schedule="auto"):
        inner = callback.func if isinstance(callback, partial) else callback
        if inspect.iscoroutinefunction(inner):
            asked.append(asyncio.ensure_future(callback()))
        else:
            callback()

    monkeypatch.setattr(pn.state, "execute", execute)

    async def burst():
        started = time.monotonic()
        for step in range(1, 51):
            view._receive({"kind": "set", "name": "rotation", "value": step + 0.5, "seq": step})
            await asyncio.sleep(max(0.0, started + step / 50 - time.monotonic()))
        took = time.monotonic() - started
        await asyncio.gather(*asked)
        return took

    took = run(burst())
    assert drawn[-1] == 50.5
    assert drawn == sorted(drawn)
    assert view.result.change.magnitudes["rotation"] == 50.5
    assert view._answers.evidence_of(view.result) is not None, "the evidence is that of the last"
    # A busy machine may need longer than a second for the burst itself.
    assert len(runs) <= 12 * max(took, 1.0)


def test_corners_of_one_session_are_not_those_of_another(runtime):
    def corners_of(session):
        view = TestingView(runtime, session)
        session.set_focus(FOCUS + 3)
        settle(view)
        return curves(view)["rotation"]["lines"][0]["y"], view

    mirror = SessionState(dict(runtime.splits))
    mirror.set_change(Change(rotation_fill="mirror"))
    drawn, _ = corners_of(mirror)
    fresh = SessionState(dict(runtime.splits))
    other, view = corners_of(fresh)
    assert drawn != other
    assert view.result.change.rotation_fill == "black"


def test_what_is_held_bears_the_name_of_its_image(view, state):
    state.set_focus(FOCUS + 5)
    # Not answered yet: the picture is that of the image before.
    view._receive({"kind": "hold"})
    assert view._bench.bench_held[0]["title"] == f"image {FOCUS:,}"
    view._receive({"kind": "hold"})
    assert len(view._bench.bench_held) == 1, "the same case is not held twice"


def test_stop_goes_back_to_the_image_that_is_drawn(view, state):
    state.set_focus(FOCUS + 6)
    view._receive({"kind": "stop"})
    assert state.focus == FOCUS
    assert view.result.image == FOCUS


def test_a_network_that_gives_no_numbers_is_said(view, state, runtime, monkeypatch):
    from vatun import capture

    real = capture.capture

    def broken(network, images, **options):
        seen = real(network, images, **options)
        return replace(seen, logits=np.full_like(seen.logits, np.nan))

    monkeypatch.setattr(capture, "capture", broken)
    state.set_change(Change(magnitudes={"rotation": 17.25}))
    settle(view)
    assert figures(view)["stage"] == "empty"
    assert "no finite scores for this changed image" in figures(view)["detail"]


def test_a_network_that_raises_is_said_and_the_session_goes_on(view, state, monkeypatch):
    from vatun import capture

    def broken(*_, **__):
        raise RuntimeError("out of luck\nsecond line")

    with monkeypatch.context() as patch:
        patch.setattr(capture, "capture", broken)
        state.set_change(Change(magnitudes={"rotation": 18.25}))
        settle(view)
    assert "RuntimeError: out of luck" in figures(view)["detail"]
    assert view._bench.bench_ahead == -1
    send(view, "reset")
    assert figures(view)["stage"] == "ready"
