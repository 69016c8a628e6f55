"""What is said before filters are replaced, against the sets that are drawn and the verdict."""

from types import SimpleNamespace

import numpy as np
import pytest

from app.inference import MAX_SHARED, MIN_IMAGES, MIN_SETS
from app.state import SessionState
from app.views.network import NetworkView
from app.views.pattern_forecast import of_filters, shared_share
from feature_store import queries
from vatun.ablate import random_filters
from vatun.judgement import judge

WIDTHS = (64, 512, 16)


def chosen(*counts):
    return [(layer, index) for layer, count in enumerate(counts) for index in range(count)]


@pytest.mark.parametrize(
    "counts", [(1, 0, 0), (4, 273, 0), (64, 0, 0), (8, 64, 2), (30, 10, 16), (0, 65, 3)]
)
def test_the_share_is_that_of_the_sets_that_are_drawn(counts):
    filters = chosen(*counts)
    layers = [SimpleNamespace(filters=width) for width in WIDTHS]
    drawn = [
        item in filters
        for seed in range(20)
        for each in random_filters(layers, filters, 20, seed=seed)
        for item in each
    ]
    assert shared_share(filters, WIDTHS) == pytest.approx(np.mean(drawn), abs=0.02)


def test_a_marker_that_is_said_to_be_impossible_is_none():
    """Filters that cost nothing at all on many images: a marker, were there others to compare."""
    nothing = (np.zeros(60), np.zeros((20, 60)), np.ones(60))
    few, many = chosen(0, 40), chosen(0, 273)
    assert of_filters(few, WIDTHS, 60, is_all=False)["selection"] == ""
    assert judge(*nothing, shared=shared_share(few, WIDTHS)).verdict == "marker"
    words = of_filters(many, WIDTHS, 60, is_all=False)["selection"]
    assert "273 of the 512 filters of their layer are too many" in words
    assert "would hold 53 % of them too" in words
    assert "cannot be “marker”" in words
    assert judge(*nothing, shared=shared_share(many, WIDTHS)).verdict == "cannot tell"


def test_a_whole_layer_has_nothing_to_be_compared_with():
    words = of_filters(chosen(64), WIDTHS, 60, is_all=False)["selection"]
    assert "all 64 filters of their layers" in words
    assert "it will be “cannot tell”" in words
    costly = (np.ones(60), np.zeros((20, 60)), np.ones(60))
    assert judge(*costly, shared=shared_share(chosen(64), WIDTHS)).verdict == "cannot tell"
    assert judge(*costly, shared=0.0).verdict == "cause", "it is the share that forbids it"


@pytest.mark.parametrize("share", [MAX_SHARED - 0.01, MAX_SHARED + 0.01])
def test_the_bound_is_that_of_the_verdict(share):
    n = round(share * 512)
    words = of_filters(chosen(0, n), WIDTHS, 60, is_all=False)["selection"]
    assert bool(words) == (shared_share(chosen(0, n), WIDTHS) > MAX_SHARED) == (share > MAX_SHARED)


def test_few_different_sets_are_counted():
    words = of_filters([(0, 3)], [10], 60, is_all=False)["selection"]
    assert words.startswith("Only 9 different sets of as many filters exist")
    assert of_filters([(0, 3)], [MIN_SETS + 1], 60, is_all=False)["selection"] == ""


def test_the_cost_is_said_of_the_images_that_are_asked_about():
    cost = of_filters([(1, 3)], WIDTHS, 10_000, is_all=True)["cost"]
    assert cost == "It takes 22 passes of the network over 256 of 10,000 images."
    few = of_filters([(1, 3)], WIDTHS, MIN_IMAGES - 1, is_all=False)
    assert few["selection"].startswith("9 selected images are too few for a verdict")
    assert few["selection"].endswith("22 passes of the network over 9 images.")


@pytest.mark.usefixtures("at_once")
def test_the_card_of_the_filters_says_it_and_follows_the_selection(runtime):
    state = SessionState(dict(runtime.splits))
    view = NetworkView(runtime, state)
    layers = queries.layers(runtime.store)
    state.filters = tuple((2, index) for index in range(layers[2].filters))
    assert "no others to compare with" in view._cards.card_strip["few"]["selection"]
    state.filters = ((2, 3),)
    assert view._cards.card_strip["few"]["selection"] == ""
    state.select(state.universe[:4], "test")
    assert "4 selected images are too few" in view._cards.card_strip["few"]["selection"]
    state.clear()
    assert view._cards.card_strip["few"]["selection"] == ""
