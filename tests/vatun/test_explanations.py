"""Every registered explanation: equal to a library's, safe to share, and the same to call."""

import copy
import gc
import threading
import warnings

import numpy as np
import pytest
import torch

from tests.vatun.toys import Functional, hook_count
from vatun.errors import LayerError, SpecError
from vatun.explain import (
    EXPLANATIONS,
    default_layer,
    find_explanation,
    grad_cam_plus_plus,
    has_map,
    integrated_gradients,
    occlusion,
    occlusion_drops,
    pixel_attributions,
)
from vatun.network import prepare_network
from vatun.specs import InputSpec, ModelSpec

with warnings.catch_warnings():
    # Captum 0.9 and grad-cam 1.5 warn when they are imported; they are oracles only.
    warnings.simplefilter("ignore")
    from captum.attr import IntegratedGradients, Occlusion
    from pytorch_grad_cam import GradCAMPlusPlus, HiResCAM, LayerCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

# Grad-CAM has test_explain.py.
CAMS = {
    "grad_cam_plus_plus": GradCAMPlusPlus,
    "hires_cam": HiResCAM,
    "layer_cam": LayerCAM,
}
# A block's output; and a norm whose output the next module overwrites.
MODULES = {
    "small_vgg": ("features.20", "features.8"),
    "torchvision:resnet18": ("layer3", "layer2.0.bn1"),
    "torchvision:mobilenet_v2": ("features.13.conv.0", "features.4.conv.0.1"),
}
SIDES = {"small_vgg": 32, "torchvision:resnet18": 64, "torchvision:mobilenet_v2": 64}
CLASSES = [0, 3]


@pytest.fixture
def exact(make_network):
    """Make a network in double precision, so that rounding cannot hide a difference."""

    def make(name):
        network = make_network(name, side=SIDES[name])
        network.module.double()
        return network

    return make


def test_the_registry_begins_with_grad_cam():
    assert {name: (entry.label, entry.reads) for name, entry in EXPLANATIONS.items()} == {
        "grad_cam": ("Grad-CAM", "layer"),
        "grad_cam_plus_plus": ("Grad-CAM++", "layer"),
        "hires_cam": ("HiResCAM", "layer"),
        "layer_cam": ("LayerCAM", "layer"),
        "integrated_gradients": ("Integrated gradients", "input"),
        "occlusion": ("Occlusion", "input"),
    }
    assert next(iter(EXPLANATIONS)) == "grad_cam"


@pytest.mark.parametrize("name", MODULES)
def test_class_activation_maps_equal_pytorch_grad_cam(name, exact, images):
    network = exact(name)
    batch = images(2, SIDES[name], SIDES[name]).double()
    for module in MODULES[name]:
        for method, expected in library_maps(network, batch, module).items():
            found = find_explanation(method).apply(network, batch, CLASSES, layer=module)
            assert expected.max() > 0
            np.testing.assert_allclose(
                found / expected.max(), expected / expected.max(), atol=1e-5, rtol=0
            )


def library_maps(network, batch, path):
    """Return the library's maps before they are scaled, of a twin that overwrites nothing.

    The library reads activations that a following in-place module has already changed. And its
    Grad-CAM++ adds 1e-6 to a divisor that is about the gradient squared, which the paper does not
    do. No map changes when A is divided and G multiplied by one number, so the library's own code
    is asked in a unit in which that constant is too small to matter.
    """
    twin = copy.deepcopy(network.module).requires_grad_()
    for module in twin.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    layers = [twin.get_submodule(path)]
    targets = [ClassifierOutputTarget(index) for index in CLASSES]
    with LayerCAM(model=twin, target_layers=layers) as cam:
        cam(input_tensor=network.normalise(batch), targets=targets)
        activations = cam.activations_and_grads.activations[0].numpy()
        gradients = cam.activations_and_grads.gradients[0].numpy()
    unit = 1e6 / np.abs(gradients).max()
    found = {}
    for method, kind in CAMS.items():
        with kind(model=twin, target_layers=layers) as cam:
            given = (None, layers, targets, activations / unit, gradients * unit, False)
            found[method] = np.maximum(cam.get_cam_image(*given), 0)
    return found


def test_grad_cam_plus_plus_equals_the_equations_of_the_paper(exact, images):
    """Equations 5, 7 and 19, place by place."""
    network, batch = exact("small_vgg"), images(1).double()
    with torch.no_grad():
        maps = network.module.features[:14](network.normalise(batch))
    maps.requires_grad_()
    tail = network.module.classifier(network.module.features[14:](maps.clone()).flatten(1))
    (gradient,) = torch.autograd.grad(tail[0, 2], maps)
    filters, slopes = maps[0].detach().numpy(), gradient[0].numpy()
    expected = np.zeros(filters.shape[1:])
    for values, slope in zip(filters, slopes, strict=True):
        weight = 0.0
        for place in np.argwhere(slope > 0):
            g = slope[tuple(place)]
            weight += g * g**2 / (2 * g**2 + values.sum() * g**3)
        expected += weight * values
    found = grad_cam_plus_plus(network, batch, [2], layer="features.13")
    scale = expected.max()
    np.testing.assert_allclose(found[0] / scale, np.maximum(expected, 0) / scale, atol=1e-10)


@pytest.mark.parametrize(("name", "steps"), [(name, 5) for name in MODULES] + [("small_vgg", 40)])
def test_integrated_gradients_equal_captum(name, steps, exact, images):
    """With 40 steps the copies of two images do not fit one batch."""
    network = exact(name)
    batch = images(2, SIDES[name], SIDES[name]).double()
    expected = IntegratedGradients(network.forward).attribute(
        batch, baselines=0.0, target=torch.tensor(CLASSES), n_steps=steps, method="gausslegendre"
    )
    found = pixel_attributions(network, batch, CLASSES, steps=steps)
    close(found, expected)
    registered = integrated_gradients(network, batch, CLASSES, steps=steps)
    close(registered, expected.sum(dim=1).clamp(min=0))


def test_integrated_gradients_add_up_to_the_difference_of_the_logits(small, images):
    """The gradient of a network of ReLUs jumps along the way, so the sum converges slowly."""
    batch, classes = images(1), torch.tensor([0])
    change = small.logits(batch) - small.logits(torch.zeros_like(batch))
    expected = change.gather(1, classes[:, None])[:, 0]
    few, many = (
        (pixel_attributions(small, batch, classes, steps=steps).sum(dim=(1, 2, 3)) - expected)
        for steps in (20, 400)
    )
    assert (many.abs() < 0.01 * expected.abs()).all()
    assert (few.abs() < 0.1 * expected.abs()).all()
    assert (many.abs() < few.abs()).all()


@pytest.mark.parametrize(
    ("name", "window", "stride"),
    [
        ("small_vgg", 12, 10),
        ("small_vgg", 9, 7),
        ("torchvision:resnet18", 32, 16),
        ("torchvision:mobilenet_v2", 40, 29),
    ],
)
def test_occlusion_equals_captum(name, window, stride, exact, images):
    """Also where the last window stands out of the image."""
    network = exact(name)
    batch = images(2, SIDES[name], SIDES[name]).double()
    found = occlusion_drops(
        network, batch, CLASSES, window=window, stride=stride, fill=(0.2, 1, 0)
    )
    close(found, captum_occlusion(network, batch, window, stride, (0.2, 1, 0)))


def test_occlusion_covers_a_quarter_of_the_shorter_side_with_the_mean(images):
    size = InputSpec(height=16, width=24, mean=(0.3, 0.5, 0.7), std=(0.2, 0.2, 0.3))
    spec = ModelSpec(builder="toy", classes=4)
    network = prepare_network(Functional(4), spec, size, device="cpu")
    network.module.double()
    batch = images(2, 16, 24).double()
    expected = captum_occlusion(network, batch, 4, 2, size.mean)
    close(occlusion(network, batch, CLASSES), expected.clamp(min=0))
    wide = occlusion(network, batch, CLASSES, window=0.5, stride=0.5, fill=(0, 0, 0))
    close(wide, captum_occlusion(network, batch, 8, 8, (0, 0, 0)).clamp(min=0))


def captum_occlusion(network, batch, window, stride, fill):
    found = Occlusion(network.logits).attribute(
        batch,
        sliding_window_shapes=(3, window, window),
        strides=(3, stride, stride),
        baselines=torch.tensor(fill).double().view(1, 3, 1, 1).expand(1, *batch.shape[1:]),
        target=torch.tensor(CLASSES),
    )
    return found[:, 0]


def close(found, expected):
    scale = float(expected.detach().abs().max())
    assert scale > 0
    # Captum adds occlusions up in single precision.
    torch.testing.assert_close(
        found.float() / scale, expected.detach().float() / scale, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("name", EXPLANATIONS)
def test_contract_of_every_explanation(name, small, images):
    entry = find_explanation(name)
    batch, layer = images(3), default_layer(small)
    untouched = batch.clone()
    before = {key: value.clone() for key, value in small.module.state_dict().items()}
    found = entry.apply(small, batch, [0, 1, 2], layer=layer)
    info = small.layer(layer)
    size = (info.height, info.width) if entry.reads == "layer" else batch.shape[2:]
    assert found.shape == (3, *size)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert torch.isfinite(found).all()
    assert (found >= 0).all()
    assert (found > 0).any()
    assert torch.equal(batch, untouched)
    assert batch.grad is None
    assert hook_count(small.module) == 0
    assert not small.module.training
    assert all(p.grad is None and not p.requires_grad for p in small.module.parameters())
    assert all(torch.equal(value, before[key]) for key, value in small.module.state_dict().items())
    assert entry.apply.__doc__
    assert entry.label
    assert entry.supports(small, layer)
    with torch.inference_mode():
        inside = entry.apply(small, batch * 1.0, torch.tensor([0, 1, 2]), layer=layer)
    assert torch.equal(inside, found)
    alone = entry.apply(small, batch[1:2], [1], layer=layer)
    torch.testing.assert_close(alone[0], found[1], atol=1e-5 * float(found.max()), rtol=0)


@pytest.mark.parametrize("name", EXPLANATIONS)
def test_what_an_explanation_supports(name, make_network, images):
    network = make_network("torchvision:resnet18", side=32)
    entry = find_explanation(name)
    answers = {
        layer: entry.supports(network, layer)
        for layer in ("layer1.0.conv1", "layer4.1.conv2", "layer4", "layer4.1", "fc", "", "none")
    }
    assert network.layer("layer4.1.conv2").height == 1
    if entry.reads == "input":
        assert all(answers.values())
        assert entry.apply(network, images(1), [0], layer="").shape == (1, 32, 32)
        return
    assert [layer for layer, answer in answers.items() if answer] == [
        "layer1.0.conv1",
        "layer4",
        "layer4.1",
    ]
    with pytest.raises(LayerError, match="has no map"):
        entry.apply(network, images(1), [0], layer="fc")


def test_linear_layers_over_places_are_told_from_vectors(make_network):
    """ConvNeXt's linear layers work on maps, channels last; those of a classifier do not."""
    network = make_network("torchvision:convnext_tiny", side=32)
    linear = [layer for layer in network.layers if layer.kind == "linear"]
    assert has_map(network, linear[0].layer_name)
    assert linear[0].height > 1
    assert not has_map(network, linear[-1].layer_name)
    assert not has_map(network, "classifier.1")


def test_eight_threads_share_one_network_over_all_methods(make_network, images):
    network = make_network("small_vgg")
    batch = images(1)
    jobs = [
        (entry, layer, index)
        for index, layer in enumerate(("features.5", "features.13", "features.20"))
        for entry in EXPLANATIONS.values()
    ]
    expected = [entry.apply(network, batch, [index], layer=layer) for entry, layer, index in jobs]
    wrong: list[str] = []
    start = threading.Barrier(8)

    def work(first):
        start.wait()
        for turn in range(first, first + len(jobs)):
            entry, layer, index = jobs[turn % len(jobs)]
            found = entry.apply(network, batch, [index], layer=layer)
            if not torch.allclose(found, expected[turn % len(jobs)], atol=1e-6):
                wrong.append(entry.name)

    threads = [threading.Thread(target=work, args=(2 * first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert hook_count(network.module) == 0


def test_memory_is_flat(small, images):
    batch, layer = images(1), default_layer(small)

    def alive():
        gc.collect()
        return sum(type(item) is torch.Tensor for item in gc.get_objects())

    def explain_all():
        for entry in EXPLANATIONS.values():
            entry.apply(small, batch, [0], layer=layer)

    explain_all()
    before = alive()
    for _ in range(3):
        explain_all()
    assert alive() <= before


def test_faults_are_named(small, images):
    batch = images(1)
    with pytest.raises(SpecError, match="at least 1 step"):
        integrated_gradients(small, batch, [0], steps=0)
    with pytest.raises(SpecError, match="window is a share"):
        occlusion(small, batch, [0], window=8)
    with pytest.raises(SpecError, match="stride is a share"):
        occlusion(small, batch, [0], stride=float("nan"))
    with pytest.raises(SpecError, match="1 <= stride <= window"):
        occlusion_drops(small, batch, [0], window=4, stride=5, fill=(0, 0, 0))
    with pytest.raises(SpecError, match="fill must be three numbers"):
        occlusion(small, batch, [0], fill=(0, 0, 2))
    for name in EXPLANATIONS:
        with pytest.raises(SpecError, match="outside 0 to 4"):
            find_explanation(name).apply(small, batch, [5], layer="features.0")
        with pytest.raises(SpecError, match="as many classes"):
            find_explanation(name).apply(small, batch, [0, 1], layer="features.0")
