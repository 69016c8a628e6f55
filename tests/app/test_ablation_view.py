"""Replacing filters from the network view: what may be asked, what the card says of the answer."""

import re

import numpy as np
import pytest

from app.components.pattern_cards import PatternCards
from app.state import SessionState
from app.views import ablation as ablation_view
from app.views.ablation import TELLING, Ablation, words_of_result
from feature_store import queries
from feature_store.patterns.telling import telling_filters_of
from tests.app.loops import run

PATH_SET = "balanced"
ASKED = {"target": "pattern", "replacement": "mean", "images": "members", "filters": "own"}


pytestmark = pytest.mark.usefixtures("at_once")


@pytest.fixture
def state(runtime):
    pattern = int(np.argmax(queries.pattern_index(runtime.store, PATH_SET).support))
    return SessionState(dict(runtime.splits), path_set=PATH_SET, pattern=pattern)


@pytest.fixture
def cards():
    return PatternCards()


@pytest.fixture
def ablation(runtime, state, cards):
    return Ablation(runtime, state, cards)


def asked(ablation, **changes):
    ablation.ask({**ASKED, **changes})
    run(ablation.answer(ablation._ticket, {**ASKED, **changes}))


def test_a_pattern_is_judged_beside_random_sets(ablation, cards, state, runtime):
    asked(ablation)
    shown = cards.card_ablation
    assert shown["verdict"] in {"cause", "marker", "cannot tell"}
    items = queries.pattern_card(runtime.store, PATH_SET, state.pattern).items
    assert shown["subject"] == f"{len(items)} filters by mean"
    support = len(queries.pattern_members(runtime.store, PATH_SET, state.pattern))
    assert f"on {support:,} members" in shown["lines"][0]
    assert "random sets" in shown["lines"][0]


def test_the_filters_that_tell_best_can_be_replaced(ablation, cards):
    asked(ablation, filters="telling", replacement="zero")
    assert cards.card_ablation["subject"] == f"{TELLING} filters by zero"


def test_filters_picked_by_hand_on_the_selection(ablation, cards, state):
    state.filters = ((0, 1),)
    state.select(state.universe[:12], "test")
    asked(ablation, target="filters", images="selection")
    assert cards.card_ablation["subject"] == "1 filter by mean"
    assert "on 12 selected images" in cards.card_ablation["lines"][0]


def test_of_many_images_a_sample_is_asked_about(ablation, cards, state):
    state.filters = ((2, 3),)
    asked(ablation, target="filters", images="selection")
    # Nothing is selected: these are all images of the split.
    assert f"256 of {len(state.universe):,} images" in cards.card_ablation["lines"][0]
    state.select(state.universe[:300], "test")
    asked(ablation, target="filters", images="selection")
    assert "256 of 300 selected images" in cards.card_ablation["lines"][0]


def test_filters_are_replaced_on_the_errors_that_a_pattern_is_shown_for(ablation, cards, state):
    members = queries.pattern_members(ablation._runtime.store, state.path_set, state.pattern)
    errors = members[:12].tolist()
    ablation.put_errors({state.pattern: errors})
    asked(ablation, target="pattern", images="errors")
    assert f"on {len(errors)} errors" in cards.card_ablation["lines"][0]


@pytest.mark.parametrize(
    "forged",
    [
        {"target": "everything"},
        {"replacement": "<b>"},
        {"images": None},
        {"filters": ["own"]},
        {"target": "filters"},
    ],
)
def test_forged_questions_are_not_asked(ablation, cards, forged):
    ablation.ask({**ASKED, **forged})
    assert cards.card_ablation == {}


def test_an_answer_that_comes_too_late_is_not_drawn(ablation, cards):
    ablation.ask(ASKED)
    ticket = ablation._ticket
    ablation.stop()
    run(ablation.answer(ticket, dict(ASKED)))
    assert cards.card_ablation == {}


def test_what_goes_wrong_is_said(ablation, cards, state, runtime, monkeypatch):
    monkeypatch.setattr(ablation_view, "any_members", lambda *_: np.zeros(0, np.int32))
    asked(ablation)
    assert "at least one image" in cards.card_ablation["problem"]


def test_another_pattern_takes_the_answer_away(ablation, cards):
    asked(ablation)
    ablation.forget("filters")
    assert cards.card_ablation
    ablation.forget("pattern")
    assert cards.card_ablation == {}


def test_signs_are_those_of_the_score(ablation, runtime, state):
    members = queries.pattern_members(runtime.store, PATH_SET, state.pattern)
    items = queries.pattern_card(runtime.store, PATH_SET, state.pattern).items
    result = run(runtime.inference.ablate(members.tolist(), items, session="test"))
    words = words_of_result(result, "members", np.full(len(members), -1))
    change = float((result.scores[1] - result.scores[0]).mean())
    said = re.match(r"Score of the predicted class (\S+) on", words["lines"][0])[1]
    assert float(said.replace("\u2212", "-")) == pytest.approx(change, abs=0.0051)


def test_changed_predictions_are_told_apart(ablation, runtime, state):
    members = queries.pattern_members(runtime.store, PATH_SET, state.pattern)
    found = telling_filters_of(runtime.store, members, limit=32)
    filters = [(each.layer_index, each.filter_index) for each in found]
    result = run(
        runtime.inference.ablate(members.tolist(), filters, replacement="zero", session="test")
    )
    truth = ablation._true_classes(result.images)
    assert (truth >= 0).all()
    words = words_of_result(result, "members", truth)
    counts = re.match(
        r"(\d+) of (\d+) predictions change: (\d+) to right, (\d+) to wrong", words["lines"][1]
    )
    changed, n, fixed, broken = map(int, counts.groups())
    assert n == len(result.images)
    assert changed == result.flips
    right = result.predicted == truth
    assert (fixed, broken) == ((right[1] & ~right[0]).sum(), (right[0] & ~right[1]).sum())


def test_another_selection_takes_its_answer_away(ablation, cards, state):
    state.select(state.universe[:12], "test")
    asked(ablation, images="selection")
    ablation.forget_selection()
    assert cards.card_ablation == {}
    asked(ablation)
    ablation.forget_selection()
    assert cards.card_ablation, "that of the members stays"
