"""What the search field understands."""

from __future__ import annotations

import numpy as np
import pytest

from app.runtime import ImageTable
from app.search import search

NAMES = ("cat", "sea lion", "lion", "3")
LAYERS = {"features.0": (0, 64), "conv5_1": (10, 512)}


@pytest.fixture
def images():
    return ImageTable(
        ids=np.arange(8, dtype=np.int32),
        true_class=np.array([0, 0, 1, 1, 2, 2, 3, -1], np.int16),
        predicted_class=np.array([0, 1, 1, 2, 2, 0, 3, 0], np.int16),
        confidence=np.array([0.9, 0.5, 0.8, 0.4, 0.7, 0.95, 0.3, 0.6], np.float32),
        is_wrong=np.array([0, 1, 0, 1, 0, 1, 0, 0], bool),
        split=np.array([0, 0, 0, 0, 1, 1, 1, 1], np.int16),
        splits=("test", "train"),
    )


def ask(text, images):
    return search(text, images=images, class_names=NAMES, layers=LAYERS, universe=images.ids)


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
        ("3", [6]),
        ("images of class cat and wrong".replace("of ", ""), [1]),
    ],
)
def test_words_choose_images(text, ids, images):
    found = ask(text, images)
    assert found.ids is not None, found.reason
    assert found.ids.tolist() == ids
    assert found.origin.startswith("search ")


def test_ids_and_filters(images):
    assert ask("5", images).image_id == 5
    assert ask("image 3", images).image_id == 3
    assert ask("conv5_1/12", images).filter == (10, 12)
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
