"""What the search field understands."""

from __future__ import annotations

import numpy as np
import pytest

from app.runtime import ImageTable
from app.search import search

NAMES = ("cat", "sea lion", "lion", "3")
FLIPS = {"rotation": "Rotation", "horizontal_flip": "Mirror"}
LAYERS = {"features.0": (0, 64), "conv5_1": (10, 512)}


@pytest.fixture
def images():
    return ImageTable(
        ids=np.arange(8, dtype=np.int32),
        true_class=np.array([0, 0, 1, 1, 2, 2, 3, -1], np.int16),
        predicted_class=np.array([0, 1, 1, 2, 2, 0, 3, 0], np.int16),
        confidence=np.array([0.9, 0.5, 0.8, 0.4, 0.7, 0.95, 0.3, 0.6], np.float32),
        margin=np.array([0.8, 0.1, 0.6, 0.05, 0.4, 0.9, 0.02, np.nan], np.float32),
        is_wrong=np.array([0, 1, 0, 1, 0, 1, 0, 0], bool),
        split=np.array([0, 0, 0, 0, 1, 1, 1, 1], np.int16),
        splits=("test", "train"),
    )


def ask(text, images, *, flips=FLIPS, names=NAMES):
    return search(
        text, images=images, class_names=names, layers=LAYERS, universe=images.ids, flips=flips
    )


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("cat", [0, 1]),
        ("CAT predicted sea lion", [1]),
        ("sea lion", [2, 3]),
        ("predicted as lion", [3, 4]),
        ("wrong", [1, 3, 5]),
        ("right", [0, 2, 4, 6]),
        ("train wrong", [5]),
        ("wrong, confidence > 0.9", [5]),
        ("confidence below 45%", [3, 6]),
        ("confidence >= 0.9", [0, 5]),
        ("confidence at most 40 %", [3, 6]),
        ("confidence 0.4-0.6", [1, 3, 7]),
        ("confidence 0.6 - 0.4", [1, 3, 7]),
        ("confidence 40-60%", [1, 3, 7]),
        ("confidence 40%–60%", [1, 3, 7]),
        ("confidence between 0.4 and 0.6, right", []),
        ("wrong and confidence between .4 and .6", [1, 3]),
        ("margin < 0.1", [3, 6]),
        ("margin 0.1 to 0.4", [1, 4]),
        ("margin <= 0.1 confidence > 0.3", [1, 3]),
        ("3", [6]),
        ("images of class cat and wrong".replace("of ", ""), [1]),
    ],
)
def test_words_choose_images(text, ids, images):
    found = ask(text, images)
    assert found.ids is not None, found.reason
    assert found.ids.tolist() == ids
    assert found.origin.startswith("search ")


@pytest.mark.parametrize(
    ("text", "ids", "order"),
    [
        ("cat by confidence", [0, 1], "confidence"),
        ("wrong, sorted by margin", [1, 3, 5], "margin"),
        ("confidence 0.3-0.5 by rotation flip", [1, 3, 6], "flip:rotation"),
        ("lion ordered by smallest flip of rotation", [4, 5], "flip:rotation"),
        ("wrong by smallest mirror flip.", [1, 3, 5], "flip:horizontal_flip"),
        ("wrong by horizontal_flip", [1, 3, 5], "flip:horizontal_flip"),
        ("by margin", list(range(8)), "margin"),
        ("Sorted by Rotation Flip", list(range(8)), "flip:rotation"),
        ("cat", [0, 1], ""),
    ],
)
def test_an_order_stands_at_the_end(text, ids, order, images):
    found = ask(text, images)
    assert found.reason == ""
    assert found.ids.tolist() == ids
    assert found.order == order


def test_a_class_may_hold_the_word_by(images):
    found = ask("step by step wrong by margin", images, names=("step by step", "a", "b", "c"))
    assert found.ids.tolist() == [1]
    assert found.order == "margin"
    assert ask("step by step", images, names=("step by step", "a", "b", "c")).ids.tolist() == [
        0,
        1,
    ]


def test_without_sweeps_there_is_no_order_by_flip(images):
    found = ask("wrong by rotation flip", images, flips={})
    assert "stage simulate" in found.reason
    assert found.ids is None


def test_the_origin_says_the_bounds_again(images):
    found = ask("wrong confidence 30-60% margin above 0.05", images)
    assert found.origin == "search confidence 0.3–0.6 margin > 0.05 wrong"


def test_ids_and_filters(images):
    assert ask("5", images).image_id == 5
    assert ask("image 3", images).image_id == 3
    assert ask("conv5_1/12", images).filter == (10, 12)
    assert ask("5_1·12", images).filter == (10, 12), "as chips name it"
    assert ask("features.0 / 63", images).filter == (0, 63)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Nothing"),
        ("99", "no image 99"),
        ("99999999999", "no class"),
        ("conv9/1", "conv5_1"),
        ("conv5_1/512", "0 to 511"),
        ("unicorn", "unicorn"),
        ("and", "Name an image"),
        ("confidence 30-60", "write 0.3 or 30 %"),
        ("margin > 1000", "between 0 and 1"),
        ("confidence low", "Give the confidence a bound"),
        ("wrong by size", "mirror flip"),
        ("by ", "no class"),
        ("'; drop table images; --", "no class"),
        ("<img src=x>", "no class"),
    ],
)
def test_what_is_not_understood_says_what_is(text, said, images):
    found = ask(text, images)
    assert said in found.reason
    assert found.ids is None
    assert found.image_id is None
    assert found.filter is None
