"""The live network: its answers are those of the store, computed again."""

import asyncio

import numpy as np
import pytest

from app import inference
from app.inference import (
    Change,
    DeadlineError,
    InferenceService,
    NoNetworkError,
    SupersededError,
    change_from,
)
from tests.app.loops import run
from vatun.errors import VatunError


@pytest.fixture(scope="module")
def service(digits_store):
    made = InferenceService(digits_store)
    yield made
    made.close()


def ask(service, *arguments, **keywords):
    return run(service.test(*arguments, **keywords))


def stored(store, table, image):
    row = store.arrow(f"select * exclude (image_id) from {table} where image_id = ?", image)
    return [row[name][0].as_py() for name in row.column_names]


IMAGES = (0, 17, 400, 1296, 1297, 1500, 1796)


@pytest.mark.parametrize("image", IMAGES)
def test_unchanged_scores_equal_the_stored_ones(service, digits_store, image):
    result = ask(service, image)
    scores = np.array(stored(digits_store, "scores", image))
    assert np.abs(result.scores[0] - scores).max() <= 1e-5
    assert np.array_equal(result.scores[0], result.scores[1])
    assert np.array_equal(result.images[0], result.images[1])
    assert not result.is_flipped


@pytest.mark.parametrize("image", IMAGES)
def test_unchanged_paths_equal_the_stored_ones(service, digits_store, image):
    result = ask(service, image)
    assert set(result.paths) == {"paper", "mean", "balanced"}
    for name, path in result.paths.items():
        assert list(path) == stored(digits_store, f"paths__{name}", image)


def test_an_unchanged_image_lies_where_it_lies(service, digits_store):
    result = ask(service, 1500)
    point = digits_store.arrow(
        "select projection, x, y from projections where image_id = 1500"
    ).to_pylist()
    assert result.neighbours[0] == 1500
    for row in point:
        assert result.places[row["projection"]] == pytest.approx((row["x"], row["y"]), abs=1e-3)


def test_both_pictures_answer_in_one_batch(service):
    change = Change(magnitudes={"rotation": 40.0, "hue": 0.3})
    result = ask(service, 1600, change)
    assert result.images.shape == (2, 32, 32, 3)
    assert result.images.dtype == np.uint8
    assert not np.array_equal(result.images[0], result.images[1])
    assert result.scores.sum(axis=1) == pytest.approx([1, 1])
    assert result.maps.shape[0] == 2
    assert (result.maps >= 0).all()
    assert np.abs(result.scores[0] - ask(service, 1600).scores[0]).max() <= 1e-5


def test_grad_cam_is_that_of_the_layer_and_class(service):
    from vatun.explain import grad_cam
    from vatun.preprocess import to_input

    for layer in service.layers():
        result = ask(service, 1500, None, layer, 4)
        assert result.classes == (4, 4)
        assert result.layer == layer
        network = service.start().result()._network
        images = to_input(result.images)
        expected = grad_cam(network, images, [4, 4], layer=layer).numpy()
        assert np.allclose(result.maps, expected, atol=1e-5)


def test_margin_and_entropy(service, digits_store):
    result = ask(service, 1500)
    row = digits_store.arrow("select margin, entropy from predictions where image_id = 1500")
    assert result.margin[0] == pytest.approx(row["margin"][0].as_py(), abs=1e-5)
    assert result.entropy[0] == pytest.approx(row["entropy"][0].as_py(), abs=1e-4)


def test_answers_are_kept(service):
    change = Change(magnitudes={"blur": 0.05})
    assert ask(service, 3, change) is ask(service, 3, Change(magnitudes={"blur": 0.05}))
    assert ask(service, 3, change, "", 2) is not ask(service, 3, change)


def test_a_burst_ends_with_the_last_question(service):
    async def burst():
        questions = [
            service.test(5, Change(magnitudes={"rotation": float(k)}), session="burst")
            for k in range(1, 51)
        ]
        return await asyncio.gather(*questions, return_exceptions=True)

    answers = run(burst())
    assert answers[-1].change.magnitudes["rotation"] == 50.0
    kept = [answer for answer in answers if not isinstance(answer, Exception)]
    assert len(kept) <= 12
    assert all(isinstance(a, SupersededError) for a in answers if isinstance(a, Exception))


def test_a_question_that_cannot_be_answered_says_why(service):
    with pytest.raises(VatunError, match="no_such_layer"):
        ask(service, 3, None, "no_such_layer")


def test_a_slow_network_gives_up(service, monkeypatch):
    import time

    monkeypatch.setattr(inference, "DEADLINE_S", 0.05)
    monkeypatch.setattr(service.start().result(), "test", lambda *_: time.sleep(0.4), raising=True)
    with pytest.raises(DeadlineError, match="did not answer"):
        ask(service, 1, Change(magnitudes={"rotation": 77.0}))


def test_a_builder_that_cannot_be_imported_is_said(digits_store, monkeypatch):
    made = InferenceService(digits_store)
    broken = {**digits_store.info["model"], "builder": "no_such_package.networks:build"}
    info = {**digits_store.info, "model": broken}
    monkeypatch.setattr(type(digits_store), "info", property(lambda _: info))
    assert made.available is None
    with pytest.raises(NoNetworkError, match="no_such_package"):
        ask(made, 3)
    assert made.available is False
    assert "cannot be loaded" in made.reason
    assert made.layers() == ()
    made.close()


def test_every_evidence_layer_has_a_map(service):
    assert service.default_layer() in service.layers()
    assert service.available is True
    for layer in service.layers():
        assert ask(service, 3, None, layer).maps[0].size > 1


@pytest.mark.parametrize(
    "magnitudes",
    [{"rotation": float("nan")}, {"hue": 1e308}, {"nonsense": 1.0}, {"blur": True}],
)
def test_magnitudes_are_checked(magnitudes):
    with pytest.raises(VatunError):
        change_from(magnitudes, [])


@pytest.mark.parametrize("box", [[0, 0, 2, 1], [0.5, 0, 0.2, 1], [float("nan"), 0, 1, 1]])
def test_boxes_are_checked(box):
    with pytest.raises(VatunError):
        change_from({}, [box])
