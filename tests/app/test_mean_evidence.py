"""The mean evidence of a pattern: the maps of its members by another implementation, averaged."""

import asyncio
import base64
import warnings

import numpy as np
import pytest
import torch

from app.components.pattern_cards import PatternCards
from app.inference import InferenceService, SupersededError
from app.inference import mean_evidence as module
from app.views.pattern_evidence import PatternEvidence, figures
from feature_store import queries
from tests.app.loops import run
from vatun.errors import NetworkError, SpecError
from vatun.preprocess import load_image, to_input

with warnings.catch_warnings():
    # grad-cam 1.5 warns when it is imported; it is an oracle only.
    warnings.simplefilter("ignore")
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

IMAGES = tuple(range(1500, 1540))
PATH_SET = "balanced"

pytestmark = pytest.mark.usefixtures("at_once")


@pytest.fixture(scope="module")
def service(digits_store):
    made = InferenceService(digits_store)
    run(made.ready())
    yield made
    made.close()


@pytest.fixture
def pattern(digits_store):
    """Return the pattern with most members."""
    return int(np.argmax(queries.pattern_index(digits_store, PATH_SET).support))


@pytest.fixture
def cards():
    return PatternCards()


@pytest.fixture
def evidence(runtime, state, cards, pattern):
    made = PatternEvidence(runtime, state, cards)
    state.param.update(path_set=PATH_SET, pattern=pattern)
    return made


def asked(evidence):
    evidence.ask()
    run(evidence.answer(evidence._ticket))


def map_of(service, image, layer):
    """Raw Grad-CAM of one image for its predicted class, by pytorch-grad-cam."""
    network = service.start().result()._network
    point = next(each.point for each in network.layers if each.layer_name == layer)
    tensor = to_input(pixels_of(service, image))[None]
    with torch.no_grad():
        predicted = int(network.module(network.normalise(tensor)).argmax())
    target = network.module.get_submodule(point.module)
    with GradCAM(model=network.module, target_layers=[target]) as cam:
        cam(
            input_tensor=network.normalise(tensor).requires_grad_(),
            targets=[ClassifierOutputTarget(predicted)],
        )
        kept = cam.activations_and_grads
        weights = kept.gradients[0].mean(dim=(2, 3), keepdim=True)
        return (weights * kept.activations[0]).sum(dim=1).relu()[0].detach().numpy()


def pixels_of(service, image):
    return load_image(queries.image_bytes(service._store, image), service.input)


@pytest.mark.parametrize("place", ["default", "first"])
def test_the_mean_is_that_of_the_maps_one_by_one(service, place):
    layers = service.methods()["grad_cam"][1]
    layer = service.default_layer() if place == "default" else layers[0]
    found = run(service.mean_evidence(IMAGES, layer=layer))
    maps = np.stack([map_of(service, image, layer) for image in IMAGES])
    assert maps.max() > 0
    np.testing.assert_allclose(
        found.map, maps.mean(axis=0), atol=1e-5 * float(maps.max()), rtol=1e-4
    )
    assert found.silent == int((maps.max(axis=(1, 2)) <= 0).sum())
    pictures = np.stack([pixels_of(service, image) for image in IMAGES]).astype(float)
    np.testing.assert_allclose(found.picture, pictures.mean(axis=0), atol=0.51)
    assert (found.images, found.taken, found.asked) == (IMAGES, 40, 40)
    assert found.layer == layer


def test_of_many_images_the_first_are_averaged(service):
    ids = [*range(300, 400), 300]
    found = run(service.mean_evidence(ids))
    assert found.images == tuple(range(300, 300 + module.MOST))
    assert (found.taken, found.asked) == (module.MOST, 100)
    assert found.layer == service.default_layer()
    assert run(service.mean_evidence(ids)) is found, "an answer is kept"


def test_images_that_cannot_be_read_are_left_out_and_counted(service):
    found = run(service.mean_evidence([10**8, *IMAGES[:3], -7]))
    assert found.images == IMAGES[:3]
    assert (found.taken, found.asked) == (5, 5)
    whole = run(service.mean_evidence(IMAGES[:3]))
    np.testing.assert_array_equal(found.map, whole.map)
    assert "2 cannot be read" in figures(found, "conv3_1", is_ranked=True)["words"]
    with pytest.raises(NetworkError, match="none of these images"):
        run(service.mean_evidence([10**8]))


@pytest.mark.parametrize("images", [[], [1.5], ["3"], [None]])
def test_ids_are_checked(service, images):
    with pytest.raises(SpecError):
        run(service.mean_evidence(images))


def test_it_gives_way_after_some_images_and_tells_how_far_it_is(service):
    seen = []
    run(service.mean_evidence(range(100, 150), progress=lambda *step: seen.append(step)))
    assert seen == [(16, 50), (32, 50), (48, 50), (50, 50)]


def test_leaving_ends_it(service, monkeypatch):
    begun = []
    real = module.MeanEvidenceSteps.__call__

    def step(self, live):
        begun.append(self)
        return real(self, live)

    monkeypatch.setattr(module.MeanEvidenceSteps, "__call__", step)

    async def left(leave):
        begun.clear()
        work = asyncio.ensure_future(service.mean_evidence(range(200, 264), session="s"))
        while not begun:
            await asyncio.sleep(0.001)
        leave()
        with pytest.raises((SupersededError, asyncio.CancelledError)):
            await work
        return len(begun)

    assert run(left(lambda: service.drop_mean_evidence("s"))) < 4
    assert run(left(lambda: service.drop("s"))) < 4


def test_maps_that_are_no_numbers_are_refused(service, monkeypatch):
    from vatun import explain

    run(service.ready())
    monkeypatch.setattr(
        explain, "grad_cam", lambda _, images, *__, **___: torch.full((len(images), 2, 2), np.nan)
    )
    with pytest.raises(NetworkError, match="no finite evidence"):
        run(service.mean_evidence(range(700, 703)))


# What the open card says of it.


def test_an_open_pattern_shows_where_its_strongest_members_were_looked_at(
    evidence, cards, runtime, pattern
):
    asked(evidence)
    shown = cards.card_evidence
    members, _ = queries.members_by_strength(runtime.store, PATH_SET, pattern)
    want = run(runtime.inference.mean_evidence(members.tolist(), session="test"))
    drawn = np.frombuffer(base64.b64decode(shown["map"]), "<f4")
    np.testing.assert_array_equal(drawn.reshape(shown["map_height"], -1), want.map)
    assert want.images == tuple(members[: module.MOST].tolist())
    picture = np.frombuffer(base64.b64decode(shown["picture"]), np.uint8)
    np.testing.assert_array_equal(
        picture.reshape(shown["height"], shown["width"], 3), want.picture
    )
    assert shown["id"] == pattern
    assert shown["max"] == float(want.map.max())
    assert f"of the 64 strongest of {len(members):,} members" in shown["words"]
    assert "is_running" not in shown


def test_it_follows_the_layer_of_the_test_view(evidence, cards, state, runtime):
    asked(evidence)
    first = cards.card_evidence["map"]
    state.evidence_layer = runtime.inference.methods()["grad_cam"][1][0]
    assert cards.card_evidence["is_running"]
    run(evidence.answer(evidence._ticket))
    assert cards.card_evidence["map"] != first


def test_another_layer_asks_for_nothing_before_it_was_asked(evidence, cards, state, runtime):
    state.evidence_layer = runtime.inference.methods()["grad_cam"][1][0]
    assert cards.card_evidence == {}


def test_another_pattern_takes_it_away(evidence, cards, state):
    evidence.ask()
    ticket = evidence._ticket
    assert cards.card_evidence["is_running"]
    state.pattern = None
    assert cards.card_evidence == {}
    run(evidence.answer(ticket))
    assert cards.card_evidence == {}
    evidence.ask()
    assert cards.card_evidence == {}, "no pattern is open"


def test_no_positive_evidence_is_said(service):
    layer = service.default_layer()
    found = run(service.mean_evidence(IMAGES[:4]))
    nothing = module.MeanEvidence(**{**vars(found), "map": np.zeros_like(found.map), "silent": 4})
    shown = figures(nothing, layer, is_ranked=True)
    assert shown["words"] == f"No positive evidence in {layer} in any of 4 members"
    assert shown["max"] == 0
    some = module.MeanEvidence(**{**vars(found), "silent": 3})
    assert figures(some, layer, is_ranked=True)["words"].endswith("of 4 members; 3 have none")


def test_what_goes_wrong_is_said(evidence, cards, monkeypatch, runtime):
    async def fail(*_, **__):
        raise NetworkError("no layer <b> has a map")

    monkeypatch.setattr(type(runtime.inference), "mean_evidence", fail)
    asked(evidence)
    assert cards.card_evidence["problem"] == "no layer <b> has a map"
