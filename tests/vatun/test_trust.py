"""The trust measures find what is planted, and leave the network and the process alone."""

import copy
import threading
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from tests.vatun.toys import hook_count
from vatun import explanations
from vatun.errors import SpecError
from vatun.explain import grad_cam_layers
from vatun.network import prepare_network
from vatun.specs import InputSpec, ModelSpec
from vatun.trust import hottest_tenth, randomised, rank_correlation

with warnings.catch_warnings():
    # Captum 0.9 warns when it is imported; it is an oracle only.
    warnings.simplefilter("ignore")
    from captum.attr import LayerGradCam

RED = (1.0, 0.0, 0.0)


class Planted(nn.Module):
    """Class 0 is the brightness of one 4 x 4 patch, class 1 nothing; keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1, bias=False)
        self.head = nn.Linear(1, 2, bias=False)
        with torch.no_grad():
            self.conv.weight.fill_(1 / 3)
            self.head.weight.copy_(torch.tensor([[4.0], [0.0]]))
        self.asked: list[torch.Tensor] = []

    def forward(self, images):
        self.asked.append(images.clone())
        return self.head(self.conv(images)[:, :, 2:6, 8:12].mean(dim=(2, 3)))


@pytest.fixture
def planted():
    spec = ModelSpec(builder="toy", classes=2)
    network = prepare_network(Planted(), spec, InputSpec(height=20, width=24), device="cpu")
    network.module.asked.clear()
    return network


def patch_map(top, left, count=1):
    found = torch.zeros(count, 20, 24)
    found[:, top : top + 4, left : left + 4] = 1
    return found


def test_a_region_that_carries_the_score_stands_out(planted):
    images = torch.full((1, 3, 20, 24), 0.9)
    (found,) = hottest_tenth(
        planted, images, patch_map(2, 8), [0], fill=(0, 0, 0), share=16 / 480, draws=100
    )
    score = np.exp(4 * 0.9) / (np.exp(4 * 0.9) + 1)
    assert found.score == pytest.approx(score, abs=1e-6)
    assert found.hottest == pytest.approx(0.5 - score, abs=1e-6)
    assert found.hottest < found.random_mean < 0
    assert found.as_harmful <= 1
    assert found.stands_out
    assert (found.draws, found.share) == (100, 16 / 480)


def test_a_region_that_does_not_matter_does_not_stand_out(planted):
    images = torch.full((1, 3, 20, 24), 0.9)
    (found,) = hottest_tenth(
        planted, images, patch_map(12, 2), [0], fill=(0, 0, 0), share=16 / 480
    )
    assert found.hottest == 0
    assert found.as_harmful == 20
    assert not found.stands_out


def test_a_region_that_speaks_against_the_class_does_not_stand_out(planted):
    """The score rises without it, and rises furthest of all."""
    images = torch.full((1, 3, 20, 24), 0.1)
    (found,) = hottest_tenth(planted, images, patch_map(2, 8), [0], fill=(1, 1, 1), share=16 / 480)
    assert found.hottest > 0.3
    assert not found.stands_out


def test_random_regions_are_the_hottest_one_moved_and_mirrored(planted):
    """A shape without symmetry, so that both can be told; and all of it in one batch."""
    maps = torch.zeros(1, 20, 24)
    for row, column in ((3, 3), (4, 3), (5, 3), (5, 4), (5, 5), (9, 20)):
        maps[0, row, column] = 1
    images = torch.full((1, 3, 20, 24), 0.5)
    hottest_tenth(planted, images, maps, [0], fill=RED, share=6 / 480)
    (asked,) = planted.module.asked
    masks = (asked[:, 0] == 1).numpy()
    assert asked.shape[0] == 22
    assert np.array_equal((asked[:, 1] == 0).numpy(), masks)
    assert not masks[0].any()
    assert np.array_equal(masks[1], maps[0].numpy() == 1)
    allowed = {
        np.roll(masks[1][::down, ::across], (row, column), (0, 1)).tobytes(): (down, across)
        for down in (1, -1)
        for across in (1, -1)
        for row in range(20)
        for column in range(24)
    }
    seen = [allowed[mask.tobytes()] for mask in masks[2:]]
    assert len(set(seen)) > 1
    assert len({mask.tobytes() for mask in masks}) > 15


@pytest.mark.parametrize(("share", "pixels"), [(0.1, 48), (0.033, 16), (0.0001, 1), (0.5, 240)])
def test_exactly_the_share_is_painted_ties_by_position(planted, share, pixels):
    maps = torch.full((1, 20, 24), 0.25)
    hottest_tenth(planted, torch.full((1, 3, 20, 24), 0.5), maps, [0], fill=RED, share=share)
    masks = planted.module.asked[0][:, 0] == 1
    assert masks[1:].flatten(1).sum(dim=1).tolist() == [pixels] * 21
    assert masks[1].flatten()[:pixels].all()


def test_equals_one_copy_after_another(small, images):
    """The same numbers, painted by loops and asked about one by one."""
    batch = images(3)
    maps = torch.rand(3, 6, 7, generator=torch.Generator().manual_seed(2))
    found = hottest_tenth(small, batch, maps, [0, 1, 2], fill=RED, seed=3)
    for index, result in enumerate(found):
        scaled = nn.functional.interpolate(
            maps[index][None, None], size=(32, 32), mode="bilinear", align_corners=False
        )[0, 0].numpy()
        ranked = sorted(np.ndindex(32, 32), key=lambda place: (-scaled[place], place))
        covered = batch[index].clone()
        for row, column in ranked[:102]:
            covered[:, row, column] = torch.tensor(RED)
        before, after = (
            float(small.logits(each[None]).softmax(dim=1)[0, index])
            for each in (batch[index], covered)
        )
        assert result.score == pytest.approx(before, abs=1e-6)
        assert result.hottest == pytest.approx(after - before, abs=1e-6)
        (alone,) = hottest_tenth(
            small, batch[index : index + 1], maps[index : index + 1], [index], fill=RED, seed=3
        )
        assert alone.random_mean == pytest.approx(result.random_mean, abs=1e-7)
        assert alone.random_deviation == pytest.approx(result.random_deviation, abs=1e-7)
    again = hottest_tenth(small, batch, maps, [0, 1, 2], fill=RED, seed=3)
    assert again == found
    other = hottest_tenth(small, batch, maps, [0, 1, 2], fill=RED, seed=4)
    assert other[0].random_mean != found[0].random_mean
    assert other[0].hottest == pytest.approx(found[0].hottest, abs=1e-7)


def test_maps_that_say_nothing_seldom_stand_out(planted):
    """Of 100 random maps one in 20 may; 12 of 100 would be rarer than 1 in 100."""
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(100, 3, 20, 24, generator=generator)
    maps = torch.rand(100, 5, 6, generator=generator)
    found = hottest_tenth(planted, images, maps, [0] * 100, fill=(0.5, 0.5, 0.5))
    assert len(found) == 100
    assert sum(result.stands_out for result in found) < 12


def test_a_map_without_evidence_has_no_hottest_pixels(planted):
    images = torch.rand(3, 3, 20, 24)
    maps = torch.cat([torch.zeros(1, 5, 6), torch.ones(1, 5, 6), torch.zeros(1, 5, 6)])
    first, second, third = hottest_tenth(planted, images, maps, [0, 1, 1], fill=RED)
    assert first is None
    assert second is not None
    assert third is None
    assert hottest_tenth(planted, images, torch.zeros(3, 5, 6), [0, 0, 0], fill=RED) == (None,) * 3


def test_faults_of_the_tenth_are_named(planted):
    images, maps = torch.rand(2, 3, 20, 24), torch.ones(2, 5, 6)
    cases = [
        ({"maps": maps[:1]}, "need maps"),
        ({"maps": maps / 0}, "finite"),
        ({"share": 0}, "share must lie"),
        ({"share": float("nan")}, "share must lie"),
        ({"draws": 5}, "draw 19"),
        ({"fill": (0, 0)}, "fill must be"),
        ({"class_indices": [0, 2]}, "outside 0 to 1"),
    ]
    for change, message in cases:
        given = {"maps": maps, "class_indices": [0, 1], "fill": RED, **change}
        with pytest.raises(SpecError, match=message):
            hottest_tenth(planted, images, **given)


def test_rank_correlation_equals_scipy():
    generator = np.random.default_rng(0)
    for levels in (2, 5, 1000):
        left, right = generator.integers(0, levels, (2, 64)).astype(float)
        right += 0.3 * left
        assert rank_correlation(left, right) == pytest.approx(spearmanr(left, right).statistic)
    assert rank_correlation(left, -left) == pytest.approx(-1)
    assert rank_correlation(left, np.ones(64)) is None
    assert rank_correlation(np.zeros(64), right) is None


def test_randomised_equals_captum_on_networks_started_anew(small, images):
    """The oracle starts a twin by PyTorch's own code and asks captum and scipy."""
    image, layer = images(1)[0], "features.13"
    inputs = small.normalise(image[None])
    learnt = [captum_map(small.module, inputs, layer, index) for index in range(5)]
    index = int(np.argmax([np.ptp(each) for each in learnt]))
    found = randomised(small, image, index, method="grad_cam", layer=layer, draws=6, seed=11)
    twin = copy.deepcopy(small.module)
    expected = []
    for seed in range(11, 17):
        torch.manual_seed(seed)
        for child in twin.modules():
            if hasattr(child, "reset_parameters"):
                child.reset_parameters()
        blank = captum_map(twin, inputs, layer, index)
        constant = np.ptp(blank) == 0
        expected.append(None if constant else spearmanr(learnt[index], blank).statistic)
    defined = [each for each in expected if each is not None]
    assert 2 <= len(defined) < len(expected)
    for one, other in zip(found.correlations, expected, strict=True):
        assert one == (None if other is None else pytest.approx(other, abs=1e-5))
    assert found.mean == pytest.approx(np.mean(np.abs(defined)), abs=1e-5)
    assert found.survives == (found.mean >= 0.5)


def captum_map(module, inputs, layer, index):
    oracle = LayerGradCam(module, module.get_submodule(layer))
    found = oracle.attribute(inputs.requires_grad_(), target=index, relu_attributions=True)
    return found.detach().flatten().numpy()


@pytest.fixture
def registered(monkeypatch):
    """Register an explanation for one test."""

    def register(function):
        entry = explanations.Explanation(
            name=function.__name__, label="toy", reads="input", apply=function
        )
        monkeypatch.setitem(explanations._explanations, entry.name, entry)
        return entry.name

    return register


def test_a_map_that_only_looks_at_the_image_survives(small, images, registered):
    def brightness(network, images, class_indices, *, layer):
        return images.mean(dim=1)

    found = randomised(small, images(1)[0], 0, method=registered(brightness), layer="")
    assert found.correlations == pytest.approx((1.0,) * 5)
    assert found.mean == pytest.approx(1.0)
    assert found.survives


def test_a_map_of_nothing_but_weights_does_not_survive(small, images, registered):
    def weights(network, images, class_indices, *, layer):
        return network.module.features[3].weight.flatten()[None, None]

    found = randomised(small, images(1)[0], 0, method=registered(weights), layer="")
    assert found.mean < 0.1
    assert found.survives is False


def test_a_constant_map_has_no_correlation(small, images, registered):
    def nothing(network, images, class_indices, *, layer):
        return torch.zeros(1, 4, 4)

    found = randomised(small, images(1)[0], 0, method=registered(nothing), layer="", draws=2)
    assert found.correlations == (None, None)
    assert found.mean is None
    assert found.survives is None


class Token(nn.Module):
    """Has a parameter that no code of its own starts anew."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3)
        self.shift = nn.Parameter(torch.arange(16.0))
        self.head = nn.Linear(16, 2)

    def forward(self, images):
        maps = self.conv(images).relu() + self.shift[:, None, None]
        return self.head(maps.mean(dim=(2, 3)))


def test_every_parameter_is_randomised_in_a_copy_that_keeps_its_hooks(registered):
    spec = ModelSpec(builder="toy", classes=2)
    network = prepare_network(Token(), spec, InputSpec(height=8, width=8), device="cpu")
    seen, hooked = [], []
    network.module.conv.register_forward_pre_hook(lambda module, _: hooked.append(id(module)))

    def spy(network, images, class_indices, *, layer):
        network.logits(images)
        seen.append({key: value.clone() for key, value in network.module.named_parameters()})
        return images.mean(dim=1)

    randomised(network, torch.rand(3, 8, 8), 0, method=registered(spy), layer="", draws=3)
    assert list(seen[0]) == ["shift", "conv.weight", "conv.bias", "head.weight", "head.bias"]
    for key in seen[0]:
        assert len({values[key].numpy().tobytes() for values in seen}) == 4, key
    assert all(sorted(each["shift"].tolist()) == list(range(16)) for each in seen)
    assert len(hooked) == 4
    assert hooked[0] == id(network.module.conv)
    assert id(network.module.conv) not in hooked[1:]


def test_network_and_process_are_left_as_they_were(small, images):
    image = images(1)[0]
    weights = {key: value.clone() for key, value in small.module.state_dict().items()}
    state = torch.get_rng_state()
    with torch.inference_mode():
        inside = randomised(
            small, image * 1.0, 0, method="layer_cam", layer="features.13", draws=2
        )
    outside = randomised(small, image, 0, method="layer_cam", layer="features.13", draws=2)
    assert inside == outside
    assert torch.equal(torch.get_rng_state(), state)
    assert hook_count(small.module) == 0
    for key, value in small.module.state_dict().items():
        assert torch.equal(value, weights[key])


def test_other_threads_keep_asking_meanwhile(small, images):
    batch = images(1)
    layers = ["features.5", "features.13"]
    expected = grad_cam_layers(small, batch, [1], layers=layers)
    wrong, answers = [], []
    done = threading.Event()

    def ask():
        while not done.is_set():
            try:
                found = grad_cam_layers(small, batch, [1], layers=layers)
                same = all(map(torch.equal, found, expected))
            except RuntimeError as error:
                same = repr(error)
            answers.append(same)
            if same is not True:
                wrong.append(same)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        results = [
            randomised(small, batch[0], 1, method="hires_cam", layer="features.13", draws=2)
            for _ in range(8)
        ]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert len(answers) > 3
    assert len(set(results)) == 1


def test_faults_of_the_randomisation_are_named(small, images):
    with pytest.raises(SpecError, match="one image"):
        randomised(small, images(1), 0, method="grad_cam", layer="features.13")
    with pytest.raises(SpecError, match="at least 1 randomised"):
        randomised(small, images(1)[0], 0, method="grad_cam", layer="features.13", draws=0)
    with pytest.raises(SpecError, match="outside 0 to 4"):
        randomised(small, images(1)[0], 7, method="grad_cam", layer="features.13")
