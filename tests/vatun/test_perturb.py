"""Perturbations equal torchvision's, and every registered one keeps the contract."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torchvision.transforms.v2 import functional as peer

from vatun.attack import fgsm, fgsm_gradient
from vatun.errors import MagnitudeError, SpecError, UnknownNameError
from vatun.perturb import (
    PERTURBATIONS,
    apply_change,
    blur_radius,
    find_perturbation,
    perturb,
    perturbation,
    remove_boxes,
)
from vatun.specs import (
    ATTACKS,
    PERTURBATION_SPECS,
    REGION_FILLS,
    ROTATION_FILLS,
    Box,
    Change,
)

BILINEAR = peer.InterpolationMode.BILINEAR
FILL = (0.4, 0.5, 0.6)
SIZES = [(32, 32), (31, 45)]


def close(found, expected, atol=2e-6):
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("angle", [-180, -90, -37, -0.5, 15, 45, 90, 121.5, 180])
def test_rotation_equals_torchvision(size, angle, images):
    batch = images(2, *size)
    expected = peer.rotate(batch, angle, interpolation=BILINEAR)
    close(perturb(batch, "rotation", angle), expected, atol=1e-5)


def turned_by_scipy(batch, angle, mode):
    """Turn as ndimage does; it counts rows downwards, so the counter-clockwise angle flips."""
    radians = math.radians(angle)
    back = np.array(
        [[math.cos(radians), math.sin(radians)], [-math.sin(radians), math.cos(radians)]]
    )
    centre = (np.array(batch.shape[-2:]) - 1) / 2
    planes = [
        ndimage.affine_transform(plane, back, centre - back @ centre, order=1, mode=mode)
        for plane in batch.double().numpy().reshape(-1, *batch.shape[-2:])
    ]
    return torch.from_numpy(np.stack(planes)).reshape(batch.shape).float()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("fill", "mode"), [("edge", "nearest"), ("mirror", "reflect")])
@pytest.mark.parametrize("angle", [-180, -97, -37, 0.5, 15, 45, 121.5])
def test_what_a_rotation_turns_in_equals_scipy(size, fill, mode, angle, images):
    batch = images(2, *size)
    found = perturb(batch, "rotation", angle, rotation_fill=fill)
    close(found, turned_by_scipy(batch, angle, mode), atol=2e-5)
    inside = perturb(torch.ones_like(batch), "rotation", angle) > 1 - 1e-6
    plain = perturb(batch, "rotation", angle)
    close(found[inside], plain[inside])
    is_whole = angle == -180
    assert torch.equal(found, plain) == is_whole


@pytest.mark.parametrize("fill", ROTATION_FILLS)
def test_right_angles_move_whole_pixels(fill, images):
    batch = images(2)
    for angle, quarters in [(90, 1), (180, 2), (-180, 2), (-90, 3)]:
        expected = torch.rot90(batch, quarters, (-2, -1))
        assert torch.equal(perturb(batch, "rotation", angle, rotation_fill=fill), expected)


def test_a_rotation_is_black_outside_unless_told(images):
    batch = images(1)
    change = Change(magnitudes={"rotation": 40})
    black = peer.rotate(batch, 40, interpolation=BILINEAR)
    close(apply_change(batch, change), black, atol=1e-5)
    mirrored = apply_change(batch, Change(magnitudes=change.magnitudes, rotation_fill="mirror"))
    close(mirrored, turned_by_scipy(batch, 40, "reflect"), atol=2e-5)
    with pytest.raises(MagnitudeError, match="black, edge, mirror"):
        perturb(batch, "rotation", 40, rotation_fill="white")


def test_rotation_is_counter_clockwise(images):
    batch = images(1)
    assert torch.equal(perturb(batch, "rotation", 90)[..., 0, 0], batch[..., 0, -1])


@pytest.mark.parametrize("turn", [-0.5, -0.21, 0.1, 0.33, 0.5])
def test_hue_equals_torchvision(turn, images):
    batch = images(2)
    batch[:, :, :4] = batch[:, :1, :4]  # grey rows have no hue
    batch[:, 0, 4:8] = batch[:, 1, 4:8]  # two equal channels
    close(perturb(batch, "hue", turn), peer.adjust_hue(batch, turn))


@pytest.mark.parametrize("name", ["saturation", "contrast", "brightness"])
@pytest.mark.parametrize("factor", [0, 0.2, 0.8, 1.4, 2])
def test_factors_equal_torchvision(name, factor, images):
    batch = images(3, 20, 33)
    close(perturb(batch, name, factor), getattr(peer, f"adjust_{name}")(batch, factor))


@pytest.mark.parametrize("size", [(32, 32), (40, 64), (64, 48)])
@pytest.mark.parametrize("share", [0.01, 0.04, 0.1])
def test_blur_equals_torchvision(size, share, images):
    batch = images(2, *size)
    sigma = share * min(size)
    side = 2 * blur_radius(min(size), sigma) + 1
    assert side % 2 == 1
    assert side >= 8 * sigma
    close(perturb(batch, "blur", share), peer.gaussian_blur(batch, [side, side], [sigma, sigma]))


@pytest.mark.parametrize("side", [1, 2, 5])
def test_blur_of_a_tiny_image_stays_within_it(side, images):
    found = perturb(images(1, side, 40), "blur", 0.1)
    assert torch.isfinite(found).all()


def test_flips_equal_torchvision(images):
    batch = images(2, 31, 45)
    assert torch.equal(perturb(batch, "horizontal_flip", 1), peer.horizontal_flip(batch))
    assert torch.equal(perturb(batch, "vertical_flip", 1), peer.vertical_flip(batch))


@pytest.mark.parametrize(("share", "side"), [(0.1, 3), (0.5, 16), (0.8, 26)])
def test_region_is_a_centred_square(share, side, images):
    batch = images(2)
    found = perturb(batch, "region", share, fill=FILL)
    edge = (32 - side) // 2
    expected = batch.clone()
    for channel, value in enumerate(FILL):
        expected[:, channel, edge : edge + side, edge : edge + side] = value
    assert torch.equal(found, expected)


def test_boxes_cover_their_share_and_at_least_a_pixel(images):
    batch = images(1, 20, 40)
    found = remove_boxes(batch, [Box(0.25, 0.1, 0.5, 0.2), Box(0.999, 0, 1, 0.001)], fill=FILL)
    is_changed = (found != batch).any(dim=1)[0]
    assert is_changed.nonzero().tolist() == [[0, 39]] + [
        [row, column] for row in range(2, 4) for column in range(10, 20)
    ]


def test_a_blurred_box_shows_the_strongest_blur(images):
    batch = images(2, 40, 40)
    boxes = (Box(0.1, 0.2, 0.5, 0.7), Box(0.4, 0.6, 0.9, 0.95))
    found = apply_change(batch, Change(boxes=boxes, region_fill="blur"))
    sigma = PERTURBATION_SPECS["blur"].high * 40
    side = 2 * math.ceil(4 * sigma) + 1
    blurred = peer.gaussian_blur(batch, [side, side], [sigma, sigma])
    is_inside = torch.zeros(40, 40, dtype=torch.bool)
    is_inside[8:28, 4:20] = True
    is_inside[24:38, 16:36] = True
    close(found[..., is_inside], blurred[..., is_inside])
    assert torch.equal(found[..., ~is_inside], batch[..., ~is_inside])


def test_a_black_box_is_black_and_needs_no_fill(images):
    batch = images(2, 20, 40)
    found = apply_change(batch, Change(boxes=(Box(0.25, 0.1, 0.5, 0.2),), region_fill="black"))
    expected = batch.clone()
    expected[..., 2:4, 10:20] = 0
    assert torch.equal(found, expected)
    with pytest.raises(MagnitudeError, match="mean, black, blur"):
        remove_boxes(batch, [Box(0, 0, 1, 1)], how="white")


@pytest.mark.parametrize("how", REGION_FILLS)
def test_without_boxes_nothing_is_removed(how, images):
    batch = images(2)
    assert apply_change(batch, Change(region_fill=how, rotation_fill="edge")) is batch
    assert torch.equal(remove_boxes(batch, (), fill=FILL, how=how), batch)


def test_noise_has_its_size_and_belongs_to_the_image(images):
    batch = torch.full((3, 3, 64, 64), 0.5)
    found = perturb(batch, "noise", 0.1, seeds=[4, 5, 6])
    assert abs(float((found - batch).std()) - 0.1) < 2e-3
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found[1:2], perturb(batch[1:2], "noise", 0.1, seeds=[5]))
    ahead = torch.randn(3)  # the global generator plays no part
    assert torch.equal(found, perturb(batch, "noise", 0.1, seeds=[4, 5, 6]))
    assert ahead.shape == (3,)


def sweep():
    for name in PERTURBATIONS:
        spec = PERTURBATION_SPECS[name]
        for magnitude in sorted({*spec.grid, spec.low, spec.high}):
            yield pytest.param(name, magnitude, id=f"{name}={magnitude:g}")


@pytest.mark.parametrize(("name", "magnitude"), list(sweep()))
def test_contract_of_every_perturbation(name, magnitude, images):
    batch = images(2, 24, 32)
    untouched = batch.clone()
    found = perturb(batch, name, magnitude, seeds=[1, 2], fill=FILL)
    assert found.shape == batch.shape
    assert found.dtype == torch.float32
    assert torch.equal(batch, untouched)
    assert torch.isfinite(found).all()
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    spec = PERTURBATION_SPECS[name]
    assert torch.equal(found, batch) == (magnitude == spec.identity)
    again = perturb(batch[:1], name, magnitude, seeds=[1], fill=FILL)
    torch.testing.assert_close(again, found[:1], atol=1e-6, rtol=0)
    assert find_perturbation(name).apply.__doc__


@pytest.mark.parametrize("name", PERTURBATION_SPECS)
@pytest.mark.parametrize(
    "magnitude", [math.nan, math.inf, -math.inf, 1e308, 10**9, "", None, [], True]
)
def test_magnitudes_out_of_bounds_are_refused(name, magnitude, images):
    with pytest.raises(MagnitudeError):
        PERTURBATION_SPECS[name].check(magnitude)
    with pytest.raises(MagnitudeError):
        Change(magnitudes={name: magnitude})
    if name not in ATTACKS:
        with pytest.raises(MagnitudeError):
            perturb(images(1), name, magnitude, seeds=[0], fill=FILL)


def test_every_specification_has_its_function():
    assert set(PERTURBATION_SPECS) == set(PERTURBATIONS) | ATTACKS
    assert all(PERTURBATIONS[name].spec is PERTURBATION_SPECS[name] for name in PERTURBATIONS)


def test_a_change_is_applied_in_the_fixed_order(small, images):
    batch, labels, seeds = images(3), torch.tensor([0, 1, 2]), [7, 8, 9]
    order = [
        ("region", 0.3),
        ("horizontal_flip", 1.0),
        ("vertical_flip", 1.0),
        ("rotation", 30.0),
        ("hue", 0.2),
        ("saturation", 1.4),
        ("contrast", 0.6),
        ("brightness", 1.2),
        ("blur", 0.05),
        ("noise", 0.03),
    ]
    assert [name for name, _ in order] == list(PERTURBATION_SPECS)[:-1]
    box = Box(0.0, 0.0, 0.25, 0.25)
    expected = remove_boxes(batch, [box], fill=FILL)
    for name, magnitude in order:
        expected = perturb(expected, name, magnitude, seeds=seeds, fill=FILL)
    expected = fgsm(expected, fgsm_gradient(small, expected, labels), 4 / 255)
    change = Change(magnitudes={"fgsm": 4 / 255, **dict(reversed(order))}, boxes=(box,))
    found = apply_change(batch, change, seeds=seeds, fill=FILL, network=small, labels=labels)
    assert torch.equal(found, expected)


def test_the_identity_returns_the_images_themselves(images):
    batch = images(2) * 3 - 1  # not even a clamp
    change = Change(magnitudes={name: spec.identity for name, spec in PERTURBATION_SPECS.items()})
    assert change.is_identity
    assert apply_change(batch, change) is batch


def test_what_is_missing_is_named(images):
    batch = images(2)
    with pytest.raises(SpecError, match="noise needs seeds"):
        perturb(batch, "noise", 0.1)
    with pytest.raises(SpecError, match="one seed an image"):
        perturb(batch, "noise", 0.1, seeds=[1])
    with pytest.raises(SpecError, match="region needs fill"):
        perturb(batch, "region", 0.1)
    with pytest.raises(SpecError, match="three finite numbers"):
        perturb(batch, "region", 0.1, fill=(0.1, math.nan, 0.2))
    with pytest.raises(SpecError, match="needs a network and labels"):
        apply_change(batch, Change(magnitudes={"fgsm": 1 / 255}))
    with pytest.raises(SpecError, match="needs fill"):
        apply_change(batch, Change(boxes=(Box(0, 0, 1, 1),)))
    with pytest.raises(UnknownNameError, match="rotation"):
        perturb(batch, "swirl", 1)


def test_a_perturbation_is_registered_once():
    with pytest.raises(SpecError, match="registered already"):

        @perturbation()
        def hue(images, magnitude):
            return images


def test_a_plugin_needs_its_function_and_specification_only(images, tmp_path):
    """Registered in a process of its own: the registry of this one stays as it is."""
    import subprocess
    import sys

    script = """
import torch
from vatun.perturb import apply_change, perturbation
from vatun.specs import PERTURBATION_SPECS, Change, PerturbationSpec
@perturbation(spec=PerturbationSpec(name="invert", label="Invert", unit="off or on",
    low=0.0, identity=0.0, high=1.0, grid=(0.0, 1.0)))
def invert(images, magnitude):
    return 1 - images
images = torch.rand(1, 3, 8, 8)
assert torch.equal(apply_change(images, Change(magnitudes={"invert": 1})), 1 - images)
assert list(PERTURBATION_SPECS)[-2:] == ["invert", "fgsm"]
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda images: None, "must return images of shape"),
        (lambda images: images[:1], "must return images of shape"),
        (lambda images: images * 1e6, r"pixels in \[0, 1\]"),
        (lambda images: images * float("nan"), r"pixels in \[0, 1\]"),
        (lambda images: images.zero_(), ""),
    ],
)
def test_what_a_plugin_returns_is_checked_and_its_input_is_its_own(act, said):
    from vatun import perturb as module
    from vatun import specs

    spec = specs.PerturbationSpec(
        name="test_odd",
        label="Odd",
        unit="factor",
        low=0.0,
        identity=0.0,
        high=1.0,
        grid=(0.0, 1.0),
    )

    def test_odd(images, magnitude):
        return act(images)

    perturbation(spec=spec)(test_odd)
    try:
        batch = torch.rand(2, 3, 8, 8)
        kept = batch.clone()
        if said:
            with pytest.raises(SpecError, match=said):
                perturb(batch, "test_odd", 1.0)
        else:
            perturb(batch, "test_odd", 1.0)
        assert torch.equal(batch, kept)
    finally:
        specs._specs.pop("test_odd")
        module._perturbations.pop("test_odd")
