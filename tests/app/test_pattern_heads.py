"""An empty list says what is true of this store: its bounds, its layers, what could find more."""

from __future__ import annotations

import pytest

from app.views import pattern_heads
from app.views.pattern_heads import Mined
from feature_store.patterns.cards import Recommendation

STORE = Mined(min_images=12, min_length=3, n_layers=9, n_sets=3)


def head(kind, mined=STORE, n_found=0, n_selected=0):
    found = Recommendation(cards=(), kind=kind, n_found=n_found)
    order = "selection" if kind == "shared" else kind
    return pattern_heads.header(found, order, n_selected, 7, mined=mined)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("image", "No 11 other images share 3 neighbouring winners"),
        ("path", "No 12 images of the store share 3 neighbouring winners"),
        ("filters", "strongest of its layer in 12 images that also agree in 2 neighbouring"),
        ("shared", "would have to share 3 neighbouring winners with 10 images more"),
        ("distinctive", "No 12 images share the winners of 3 neighbouring layers"),
    ],
)
def test_the_bounds_are_those_that_were_mined_by(kind, words):
    assert words in head(kind, n_selected=2)["words"]


def test_another_path_set_is_named_where_there_is_one():
    only = Mined(n_layers=9)
    for kind in ("image", "path", "filters"):
        assert "nother path set" in head(kind)["words"]
        assert "nother path set" not in head(kind, only)["words"]


@pytest.mark.parametrize("kind", ["image", "path", "filters", "general", "distinctive"])
def test_one_layer_has_no_pattern_and_no_cure(kind):
    said = head(kind, Mined(n_layers=1))
    assert said["headline"] == "A pattern needs 2 layers"
    assert "the filters of 1 layer:" in said["words"]
    assert "cure" not in said


def test_patterns_that_say_nothing_are_not_none():
    said = head("general", n_found=2)
    assert said["headline"] == "No pattern says more than its layers alone"
    assert "the 2 patterns that were found" in said["words"]
    assert said["cure_to"] == "distinctive"
    assert head("general")["headline"] == "No pattern was found"


def test_a_store_says_what_it_was_mined_by(digits_store):
    said = Mined.of(digits_store, 6)
    assert (said.min_images, said.min_length, said.n_layers, said.n_sets) == (5, 2, 6, 3)
