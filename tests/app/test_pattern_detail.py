"""What an open pattern card shows besides: pages of members, their mean, what they look like."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from app.components.pattern_cards import PatternCards
from app.inference import MIN_IMAGES
from app.state import SessionState
from app.views.pattern_detail import PAGE, PatternDetail, mean_image
from app.views.pattern_forecast import few_words
from feature_store import queries
from tests.app.loops import run

PATH_SET = "balanced"


pytestmark = pytest.mark.usefixtures("at_once")


@pytest.fixture
def state(runtime):
    return SessionState(dict(runtime.splits), path_set=PATH_SET)


@pytest.fixture
def large(runtime):
    """Return a pattern with more than one page of members."""
    return int(np.argmax(queries.pattern_index(runtime.store, PATH_SET).support))


def opened(runtime, state, pattern):
    cards = PatternCards()
    detail = PatternDetail(runtime, state, cards)
    state.pattern = pattern
    detail.follow()
    run(detail.answer(PATH_SET, pattern))
    return detail, cards


def shown(cards):
    return [image["id"] for image in cards.card_more["images"]]


def test_pages_go_through_all_members_once(runtime, state, large):
    detail, cards = opened(runtime, state, large)
    members, _ = queries.members_by_strength(runtime.store, PATH_SET, large)
    seen = shown(cards)
    assert not cards.card_more["has_before"]
    while cards.card_more["has_after"]:
        detail.turn(1)
        seen += shown(cards)
    assert seen == members.tolist()
    detail.turn(1)
    assert shown(cards) == members[-len(shown(cards)) :].tolist(), "the last page stays"
    for _ in range(100):
        detail.turn(-1)
    assert shown(cards) == members[:PAGE].tolist()
    assert f"of {len(members):,}, strongest first" in cards.card_more["where"]


def test_the_mean_is_that_of_the_pictures(runtime, state, large):
    _, cards = opened(runtime, state, large)
    members, _ = queries.members_by_strength(runtime.store, PATH_SET, large)
    pictures = [
        np.asarray(Image.open(io.BytesIO(queries.image_bytes(runtime.store, int(image)))))
        for image in members[:200]
    ]
    data = base64.b64decode(cards.card_more["mean"].partition(",")[2])
    found = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_allclose(found, np.mean(pictures, axis=0), atol=0.51)
    said = int(re.search(r"Mean of ([\d,]+)", cards.card_more["mean_words"])[1].replace(",", ""))
    assert said == len(pictures)
    assert cards.card_more["name_words"]


def test_selected_members_come_first(runtime, state, large):
    detail, cards = opened(runtime, state, large)
    members, _ = queries.members_by_strength(runtime.store, PATH_SET, large)
    chosen = members[-3:]
    state.select(chosen, "test")
    detail.draw()
    assert shown(cards)[:3] == chosen.tolist()
    assert [image["is_dim"] for image in cards.card_more["images"][:4]] == [False] * 3 + [True]


def test_errors_that_are_explained_come_first(runtime, state, large):
    detail, cards = opened(runtime, state, large)
    members, _ = queries.members_by_strength(runtime.store, PATH_SET, large)
    detail.put_first({large: members[[7, 40]].tolist(), large + 1: [0]})
    assert shown(cards)[:3] == members[[7, 40, 0]].tolist()
    assert "these errors, then strongest first" in cards.card_more["where"]
    detail.put_first({})
    assert shown(cards) == members[:PAGE].tolist()


def test_what_comes_too_late_is_not_drawn(runtime, state, large):
    cards = PatternCards()
    detail = PatternDetail(runtime, state, cards)
    state.pattern = large
    detail.follow()
    state.pattern = None
    run(detail.answer(PATH_SET, large))
    assert cards.card_more == {}


@pytest.mark.parametrize("step", [None, "1", 7, 1.5, True, {}])
def test_forged_steps_do_nothing(runtime, state, large, step):
    detail, cards = opened(runtime, state, large)
    before = shown(cards)
    detail.turn(step)
    assert shown(cards) == before or step is True


def test_a_pattern_that_is_not_there_shows_nothing(runtime, state):
    _, cards = opened(runtime, state, 10**7)
    assert cards.card_more == {}


def test_unreadable_pictures_are_left_out(runtime):
    good = queries.image_bytes(runtime.store, 3)

    def read(image):
        return good if image != 1 else b"not a picture"

    url, count = mean_image(np.arange(4, dtype=np.int32), read, runtime.inference.input)
    assert count == 3
    assert url
    assert mean_image(np.array([1]), read, runtime.inference.input) == ("", 0)


def test_the_members_of_each_split_are_counted(runtime, state, large):
    _, cards = opened(runtime, state, large)
    members = queries.pattern_members(runtime.store, PATH_SET, large).tolist()
    counts = runtime.store.arrow(
        "select split, count(*) as n from images where image_id in (select unnest(?)) group by 1",
        members,
    )
    by_split = dict(zip(counts["split"].to_pylist(), counts["n"].to_pylist(), strict=True))
    said = re.findall(r"([\d,]+) (\w+)", cards.card_more["splits"])
    assert {name: int(n.replace(",", "")) for n, name in said} == by_split
    assert said[0][1] == "train"


def test_too_few_members_are_said_before_their_filters_are_replaced(runtime, state):
    support = queries.pattern_index(runtime.store, PATH_SET).support
    small = int(np.argmin(support))
    assert support[small] < MIN_IMAGES
    detail, cards = opened(runtime, state, small)
    few = cards.card_more["few"]
    assert few["members"].startswith(f"{support[small]} members are too few for a verdict")
    assert "“cannot tell”" in few["members"]
    assert (few["selection"], few["use"]) == ("", "selection"), "all images are enough"
    state.select(state.universe[:4], "test")
    detail.draw()
    few = cards.card_more["few"]
    assert few["selection"].startswith("4 selected images are too few")
    assert few["use"] == ""


def test_enough_members_need_no_word(runtime, state, large):
    _, cards = opened(runtime, state, large)
    few = cards.card_more["few"]
    assert few == {"members": "", "selection": "", "errors": "", "use": "", "n_errors": 0}


def test_few_errors_lead_to_the_members():
    few = few_words(40, 0, 7)
    assert few["errors"].startswith("7 errors are too few for a verdict")
    assert (few["use"], few["n_errors"]) == ("members", 7)
    assert few_words(40, 0, MIN_IMAGES)["errors"] == ""


def test_the_bound_of_few_is_that_of_the_verdict():
    assert few_words(MIN_IMAGES, MIN_IMAGES)["members"] == ""
    assert few_words(MIN_IMAGES - 1, 0)["members"]
    assert few_words(1, 1)["members"].startswith("1 member is too few")
