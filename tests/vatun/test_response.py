"""Curves equal a loop over torchvision, and smallest flips equal those worked out by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms.v2 import functional as peer

from vatun.attack import fgsm, fgsm_gradient
from vatun.errors import MagnitudeError, SpecError, UnknownNameError
from vatun.network import prepare_network
from vatun.perturb import perturb
from vatun.response import ResponseCurve, response_curve, smallest_flip
from vatun.specs import ATTACKS, PERTURBATION_SPECS, InputSpec, ModelSpec

FILL = (0.4, 0.5, 0.6)
SIDE = 33
CENTRE = SIDE // 2


@pytest.fixture(autouse=True)
def one_thread(few_threads):
    """Batches this small are slower on two cores, and far slower on two busy ones."""
    torch.set_num_threads(1)


class Ruler(nn.Module):
    """Reads one colour of one pixel, or the mean of all, and says what a rule makes of it."""

    def __init__(self, rule, *, channel=1, pixel=None):
        super().__init__()
        self.pick = nn.Conv2d(3, 1, 1, bias=False)
        self.pick.weight.data = torch.eye(3)[channel].view(1, 3, 1, 1)
        self.head = nn.Linear(1, 1)
        self.rule, self.pixel = rule, pixel

    def forward(self, images):
        maps = self.pick(images)
        value = maps.mean(dim=(2, 3)) if self.pixel is None else maps[:, :, *self.pixel]
        # The linear layer is there to be found, and plays no part.
        return self.rule(value.squeeze(1)) + 0 * self.head(value)


def ruler(rule, *, classes=2, **options):
    spec = ModelSpec(builder="ruler", classes=classes)
    size = InputSpec(height=SIDE, width=SIDE)
    return prepare_network(Ruler(rule, **options), spec, size, device="cpu")


def two(margin):
    """Return logits of two classes whose difference is ``margin``."""
    return torch.stack((margin, torch.zeros_like(margin)), dim=1)


def above(threshold):
    """Class 0 above the threshold, class 1 below."""
    return lambda value: two(20 * (value - threshold))


def grey(level):
    return torch.full((1, 3, SIDE, SIDE), level)


def ramp():
    """Return an image that brightens to the right: a turn keeps it linear away from corners."""
    across = (torch.arange(SIDE) - CENTRE) * 0.02
    return (0.5 + across).expand(1, 3, SIDE, SIDE).contiguous()


def counted(network, image, name, direction, **options):
    """Find a flip, counting what the network is asked."""
    asked = []
    handle = network.module.register_forward_hook(lambda _, given, __: asked.append(len(given[0])))
    found = smallest_flip(network, image, name, direction=direction, fill=FILL, **options)
    handle.remove()
    return found, asked


def check_flip(network, image, found, true, step, *, grid):
    """The flip lies beyond the true one by at most a hundredth of a step, and does flip."""
    beyond = found.direction * (found.magnitude - true)
    assert 0 <= beyond <= 0.0101 * step
    assert found.grid_magnitude == pytest.approx(grid)
    changed = perturb(image, found.perturbation, found.magnitude, seeds=[0], fill=FILL)
    assert int(network.logits(changed).argmax()) == found.flipped_class
    assert int(network.logits(image).argmax()) != found.flipped_class


PEERS = {
    "brightness": peer.adjust_brightness,
    "contrast": peer.adjust_contrast,
    "saturation": peer.adjust_saturation,
    "hue": peer.adjust_hue,
    "rotation": lambda image, angle: peer.rotate(
        image, angle, interpolation=peer.InterpolationMode.BILINEAR
    ),
}


@pytest.mark.parametrize("name", PEERS)
def test_a_curve_equals_a_loop_over_torchvision(name, small, images):
    image = images(1)
    curve = response_curve(small, image, name, fill=None, batch_size=7)
    assert curve.magnitudes == PERTURBATION_SPECS[name].grid
    for magnitude, scores in zip(curve.magnitudes, curve.scores, strict=True):
        logits = small.logits(PEERS[name](image, magnitude))
        expected = torch.softmax(logits.double(), dim=1).numpy()[0]
        np.testing.assert_allclose(scores, expected, atol=2e-5)
    assert curve.scores.dtype == np.float32
    assert curve.predicted.tolist() == curve.scores.argmax(axis=1).tolist()
    assert (curve.label, curve.is_label_known) == (None, False)


@pytest.mark.parametrize("name", PERTURBATION_SPECS)
def test_the_identity_is_the_plain_image_in_the_same_batch(name, small, images):
    image = images(1)
    untouched = image.clone()
    sizes = []
    handle = small.module.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    curve = response_curve(small, image, name, seed=3, fill=FILL, label=2)
    handle.remove()
    assert curve.magnitudes[curve.identity] == PERTURBATION_SPECS[name].identity
    expected = small.logits(image).softmax(dim=1).numpy()[0]
    np.testing.assert_allclose(curve.scores[curve.identity], expected, atol=1e-6)
    # The attack's gradient takes a forward pass of its own.
    assert sizes == [1] * (name in ATTACKS) + [len(curve.magnitudes)]
    assert torch.equal(image, untouched)


def test_a_curve_takes_seed_fills_and_grid(small, images):
    image = images(1)
    grid = (0.0, 0.05, 0.21)
    curve = response_curve(small, image, "noise", magnitudes=grid, seed=9, fill=None)
    assert curve.magnitudes == grid
    generator = torch.Generator().manual_seed(9)
    noisy = (image + 0.21 * torch.randn(image.shape[1:], generator=generator)).clamp(0, 1)
    expected = small.logits(noisy).softmax(dim=1).numpy()[0]
    np.testing.assert_allclose(curve.scores[2], expected, atol=1e-6)
    turned = [
        response_curve(small, image, "rotation", fill=None, rotation_fill=fill).scores
        for fill in ("black", "mirror")
    ]
    assert np.abs(turned[0] - turned[1]).max() > 1e-4
    covered = image.clone()
    covered[..., 8:24, 8:24] = torch.tensor(FILL).view(3, 1, 1)
    curve = response_curve(small, image, "region", magnitudes=(0.0, 0.5), fill=FILL)
    expected = small.logits(covered).softmax(dim=1).numpy()[0]
    np.testing.assert_allclose(curve.scores[1], expected, atol=1e-6)


@pytest.mark.parametrize("label", [None, 3])
def test_fgsm_takes_one_gradient_and_one_pass_an_epsilon(label, small, images, monkeypatch):
    image = images(1)
    pushed = int(small.logits(image).argmax()) if label is None else label
    start = image.clone().requires_grad_()
    loss = nn.functional.cross_entropy(small.forward(start), torch.tensor([pushed]))
    sign = torch.autograd.grad(loss, start)[0].sign()
    expected = [
        small.logits((image + epsilon * sign).clamp(0, 1)).double().softmax(dim=1)[0].numpy()
        for epsilon in PERTURBATION_SPECS["fgsm"].grid
    ]
    passes, gradients = [], []
    true_grad = torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd, "grad", lambda *given: (gradients.append(1), true_grad(*given))[1]
    )
    handle = small.module.register_forward_hook(lambda _, given, __: passes.append(len(given[0])))
    curve = response_curve(small, image, "fgsm", fill=None, label=label, batch_size=1)
    handle.remove()
    np.testing.assert_allclose(curve.scores, expected, atol=1e-6)
    assert (curve.label, curve.is_label_known) == (pushed, label is not None)
    # The prediction, where no label is given; the gradient's own pass; one pass an epsilon.
    assert passes == [1] * ((label is None) + 1 + len(expected))
    assert len(gradients) == 1


def test_changes_are_where_two_straight_lines_cross():
    scores = np.array(
        [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]], dtype=np.float32
    )
    curve = ResponseCurve(
        perturbation="hue",
        magnitudes=(-0.2, 0.0, 0.4, 0.5),
        scores=scores,
        predicted=scores.argmax(axis=1),
        identity=1,
    )
    first, second = curve.changes
    assert (first.index, first.from_class, first.to_class) == (1, 0, 1)
    # 0.6 - x = 0.3 + x at three eighths of the way: leads of 0.3 and -0.5.
    assert first.position == pytest.approx(0.4 * 3 / 8)
    assert (second.index, second.from_class, second.to_class) == (2, 1, 2)
    assert second.position == pytest.approx(0.4 + 0.1 * 6 / 13)


def test_a_change_of_equal_scores_is_in_the_middle_and_none_has_no_change():
    scores = np.array([[0.5, 0.5], [0.5, 0.5], [np.nan, np.nan]], dtype=np.float32)
    curve = ResponseCurve(
        perturbation="hue",
        magnitudes=(0.0, 0.2, 0.3),
        scores=scores,
        predicted=np.array([0, 1, -1]),
        identity=0,
    )
    (change,) = curve.changes
    assert change.position == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("threshold", "direction", "true", "grid"),
    [(0.5, 1, 1.25, 1.4), (0.3, -1, 0.75, 0.6), (0.399, -1, 0.9975, 0.8), (0.401, 1, 1.0025, 1.2)],
)
def test_brightness_flips_where_the_mean_crosses(threshold, direction, true, grid):
    network = ruler(above(threshold))
    found, asked = counted(network, grey(0.4), "brightness", direction)
    check_flip(network, grey(0.4), found, true, 0.2, grid=grid)
    assert found.evaluations == sum(asked)
    assert asked[0] == 6
    assert found.evaluations <= 6 + 3 * 8


@pytest.mark.parametrize("direction", [-1, 1])
def test_rotation_flips_where_the_pixel_crosses(direction):
    """Five pixels right of the centre a ramp of 0.02 reads 0.5 + 0.1 cos(angle)."""
    network = ruler(above(0.5 + 0.1 * math.cos(math.radians(52))), pixel=(CENTRE, CENTRE + 5))
    found, _ = counted(network, ramp(), "rotation", direction)
    check_flip(network, ramp(), found, direction * 52, 15, grid=direction * 60)


def test_hue_flips_where_the_green_crosses():
    """Red turned by h turns of a sixth gains 6 h of green."""
    red = torch.zeros(1, 3, SIDE, SIDE)
    red[:, 0] = 1
    network = ruler(lambda green: two(10 * (0.33 - green)))
    found, _ = counted(network, red, "hue", 1)
    check_flip(network, red, found, 0.055, 0.1, grid=0.1)


def test_fgsm_flips_where_the_mean_crosses():
    """Every pixel's green falls by epsilon, and so does the mean."""
    network = ruler(above(0.47))
    found, _ = counted(network, grey(0.5), "fgsm", 1, label=0)
    step = 2 / 255
    assert 0 <= found.magnitude - 0.03 <= 0.0101 * step
    assert found.grid_magnitude == pytest.approx(4 * step)
    sign = fgsm_gradient(network, grey(0.5), torch.tensor([0]))
    assert int(network.logits(fgsm(grey(0.5), sign, found.magnitude)).argmax()) == 1


@pytest.mark.parametrize("width", [0.022, 0.03, 0.06])
@pytest.mark.parametrize("middle", [1.309, 1.27, 1.34])
def test_a_dip_between_two_magnitudes_of_the_grid_is_found(width, middle):
    """Class 1 for factors within ``width`` about ``middle`` only, on a grid in steps of 0.2."""
    network = ruler(lambda value: two(10 * ((value / 0.4 - middle).abs() - width / 2)))
    found, _ = counted(network, grey(0.4), "brightness", 1)
    assert found.grid_magnitude is None
    assert 0 <= found.magnitude - (middle - width / 2) <= 0.002
    assert found.flipped_class == 1


def test_the_dip_before_a_flip_on_the_grid_comes_first():
    network = ruler(
        lambda value: two(10 * torch.minimum((value / 0.4 - 1.3).abs() - 0.02, 1.65 - value / 0.4))
    )
    found, _ = counted(network, grey(0.4), "brightness", 1)
    check_flip(network, grey(0.4), found, 1.28, 0.2, grid=1.8)


def test_a_tolerance_of_ones_own_and_a_limit():
    network = ruler(above(0.5))
    found, _ = counted(network, grey(0.4), "brightness", 1, tolerance=1e-4)
    assert 0 <= found.magnitude - 1.25 <= 1e-4
    found, asked = counted(network, grey(0.4), "brightness", 1, max_evaluations=8)
    assert found.evaluations == sum(asked) == 8
    assert 1.25 <= found.magnitude < found.grid_magnitude
    found, _ = counted(network, grey(0.4), "brightness", 1, max_evaluations=1)
    assert found.magnitude == found.grid_magnitude == pytest.approx(1.4)
    # No float is closer than the limit of evaluations allows; the search ends all the same.
    found, _ = counted(network, grey(0.4), "brightness", 1, tolerance=1e-300)
    assert found.evaluations <= 256


def test_where_nothing_flips_the_search_ends_early():
    network = ruler(above(0.01))
    found, _ = counted(network, grey(0.4), "brightness", 1)
    assert (found.magnitude, found.flipped_class, found.grid_magnitude) == (None, None, None)
    assert found.evaluations == 6


def test_a_switch_has_one_magnitude():
    pixel = (CENTRE, CENTRE + 5)
    network = ruler(above(0.5), pixel=pixel)
    found, asked = counted(network, ramp(), "horizontal_flip", 1)
    assert (found.magnitude, found.grid_magnitude, found.flipped_class) == (1.0, 1.0, 1)
    assert asked == [2]
    found, asked = counted(network, ramp(), "vertical_flip", 1)
    assert (found.magnitude, found.grid_magnitude, asked) == (None, None, [2])


def test_what_is_not_finite_is_no_flip():
    def rule(value):
        return torch.where(value[:, None] > 0.45, torch.nan, two(20 * (value - 0.3)))

    network = ruler(rule)
    curve = response_curve(network, grey(0.4), "brightness", fill=None)
    assert curve.predicted.tolist() == [1] * 4 + [0] * 2 + [-1] * 5
    assert np.isnan(curve.scores[6:]).all()
    assert [(change.from_class, change.to_class) for change in curve.changes] == [(1, 0)]
    assert counted(network, grey(0.4), "brightness", 1)[0].magnitude is None
    assert counted(network, grey(0.5), "brightness", -1)[0].magnitude is None


@pytest.fixture
def undecided(small, images):
    """Return the random network, made to answer strongly and to be in two minds on one image."""
    head = [module for module in small.module.modules() if isinstance(module, nn.Linear)][-1]
    head.weight.data *= 100
    head.bias.data -= small.logits(images(1))[0]
    head.bias.data[4] += 0.01
    return small


@pytest.mark.parametrize("name", [name for name in PERTURBATION_SPECS if name not in ATTACKS])
def test_no_smaller_magnitude_of_the_grid_flips(name, undecided, images):
    spec, image = PERTURBATION_SPECS[name], images(1)

    def predicted(magnitude):
        changed = perturb(image, name, magnitude, seeds=[5], fill=FILL)
        return int(undecided.logits(changed).argmax())

    original, found_any = predicted(spec.identity), False
    for direction in (-1, 1):
        side = [value for value in spec.grid if direction * (value - spec.identity) > 0]
        if not side:
            with pytest.raises(SpecError, match="no magnitude below the identity"):
                smallest_flip(undecided, image, name, direction=direction, fill=FILL)
            continue
        found = smallest_flip(undecided, image, name, direction=direction, seed=5, fill=FILL)
        flips = [value for value in side[::direction] if predicted(value) != original]
        assert found.grid_magnitude == (flips[0] if flips else None)
        assert found.magnitude is not None or not flips
        if found.magnitude is not None:
            assert all(direction * (value - found.magnitude) >= 0 for value in flips)
            assert predicted(found.magnitude) == found.flipped_class != original
            found_any = True
    assert found_any or spec.is_switch


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"magnitudes": (1.0, 0.8)}, SpecError, "must ascend"),
        ({"magnitudes": (0.5, 0.9)}, SpecError, "must hold the identity"),
        ({"magnitudes": (1.0, 3.0)}, MagnitudeError, "outside 0 to 2"),
        ({"magnitudes": (1.0, math.nan)}, MagnitudeError, "outside 0 to 2"),
        ({"magnitudes": ("1",)}, MagnitudeError, "must be a number"),
        ({"label": 5}, SpecError, "label 5 is outside 0 to 4"),
        ({"label": -1}, SpecError, "label -1 is outside"),
        ({"direction": 0}, SpecError, "direction must be -1 or 1"),
        ({"direction": 1, "tolerance": 0.0}, SpecError, "must be a positive number"),
        ({"direction": 1, "tolerance": math.nan}, SpecError, "must be a positive number"),
    ],
)
def test_what_cannot_be_asked_is_named(options, error, message, small, images):
    ask = smallest_flip if "direction" in options else response_curve
    with pytest.raises(error, match=message):
        ask(small, images(1), "brightness", fill=None, **options)


def test_one_image_and_a_known_name_are_needed(small, images):
    with pytest.raises(SpecError, match="one image"):
        response_curve(small, images(2), "hue", fill=None)
    with pytest.raises(SpecError, match="one image"):
        response_curve(small, images(1)[0], "hue", fill=None)
    with pytest.raises(UnknownNameError, match="brightness"):
        response_curve(small, images(1), "swirl", fill=None)
    with pytest.raises(SpecError, match="region needs fill"):
        response_curve(small, images(1), "region", fill=None)
    with pytest.raises(MagnitudeError, match="black, edge, mirror"):
        response_curve(small, images(1), "rotation", fill=None, rotation_fill="white")
