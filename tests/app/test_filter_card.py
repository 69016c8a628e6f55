"""The card of a filter: where the patch of each image lies, and the histogram by class."""

from types import SimpleNamespace

import numpy as np
import pytest

from app.state import SessionState
from app.views import filter_card
from feature_store import queries


def layer(reach, side, *, kind="conv"):
    return SimpleNamespace(kind=kind, receptive_field=reach, width=side, height=side)


def spec(side, *, resize=None, crop=None):
    return SimpleNamespace(width=side, height=side, resize=resize, crop=crop)


def test_a_patch_lies_round_the_middle_of_its_cell():
    found = filter_card.patch(layer(8, 16), 4, 7, spec(32), (32, 32))
    # Cell (4, 7) of 16 is centred at 9 and 15 of 32 pixels; the filter sees 8.
    assert found["part"] == [11 / 32, 5 / 32, 8 / 32, 8 / 32]
    assert found["box"] == found["part"]
    assert found["shape"] == 1


def test_a_patch_ends_at_the_border():
    found = filter_card.patch(layer(8, 32), 0, 31, spec(32), (32, 32))
    np.testing.assert_allclose(found["part"], [27.5 / 32, 0, 4.5 / 32, 4.5 / 32], atol=1e-5)


def test_a_cropped_photograph_is_cut_in_the_middle():
    # 400 x 200 pixels: scaled to 256 x 128, from which the middle 112 x 112 are cut.
    found = filter_card.patch(layer(14, 8), 0, 0, spec(112, resize=128, crop="center"), (400, 200))
    left, top, width, height = found["part"]
    np.testing.assert_allclose(left * 256, (256 - 112) / 2 + 0, atol=1e-2)
    np.testing.assert_allclose(top * 128, (128 - 112) / 2 + 0, atol=1e-2)
    np.testing.assert_allclose(width * 256, height * 128, atol=1e-2)
    assert found["shape"] == pytest.approx(1, abs=1e-3)
    # The thumbnail shows the middle 200 of 400 columns.
    np.testing.assert_allclose(found["box"][0], (left - 0.25) * 2, atol=1e-4)
    assert 0 < found["box"][0] < 1


def test_a_squeezed_photograph_has_squeezed_patches():
    found = filter_card.patch(layer(16, 4), 1, 1, spec(64), (200, 100))
    assert found["shape"] == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("given", [layer(64, 2), layer(None, 2), layer(32, 1, kind="linear")])
def test_filters_that_see_everything_have_no_patch(given):
    assert filter_card.patch(given, 0, 0, spec(32), (32, 32)) is None


def test_the_card_shows_the_strongest_images_of_the_split(runtime):
    state = SessionState(dict(runtime.splits), filters=((0, 1),))
    names = [f"layer {index}" for index in range(9)]
    for split in ("", "test"):
        state.split = split
        card = filter_card.card(runtime, state, queries.layers(runtime.store), names)
        top = queries.top_images(runtime.store, 0, 1, limit=20, split=split or None)
        assert [image["id"] for image in card["images"]] == top.image_id.tolist()
        assert "sees 3 × 3 pixels" in card["sees"]
        counts = sum(sum(stack["counts"]) for stack in card["histogram"]["stacks"])
        assert counts + card["histogram"]["silent"] == card["histogram"]["n"]
        assert card["histogram"]["n"] == len(runtime.splits[split])


def test_many_classes_share_one_grey():
    found = queries.FilterHistogram(
        edges=np.linspace(0, 1, 4),
        counts=np.ones((41, 3), dtype=np.int64),
        silent=np.zeros(41, dtype=np.int64),
        means=np.arange(40.0),
        n_images=123,
    )
    card = filter_card.histogram(found, [f"<i>{index}</i>" for index in range(40)])
    assert len(card["stacks"]) == filter_card.MOST_COLOURS
    assert card["stacks"][0]["name"].startswith("<i>39")
    assert card["stacks"][-1]["name"] == "other classes"
    assert sum(card["stacks"][-1]["counts"]) == 32 * 3
