"""Grad-CAM equals captum's and pytorch-grad-cam's, and leaves nothing behind."""

import gc
import threading
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from tests.vatun.toys import Broken, Functional, hook_count
from vatun.errors import LayerError, SpecError, UnknownNameError
from vatun.explain import (
    default_layer,
    explanation,
    find_explanation,
    grad_cam,
    grad_cam_layers,
    tap_point,
)
from vatun.network import prepare_network
from vatun.specs import InputSpec, ModelSpec

with warnings.catch_warnings():
    # Captum 0.9 and grad-cam 1.5 warn when they are imported; they are oracles only.
    warnings.simplefilter("ignore")
    from captum.attr import LayerGradCam
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

NETWORKS = {
    "small_vgg": 32,
    "torchvision:resnet18": 64,
    "torchvision:mobilenet_v2": 64,
    "torchvision:googlenet": 64,
}
CLASSES = [0, 3, 1]


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_captum(name, make_network, images):
    network = make_network(name, side=NETWORKS[name])
    batch = images(3, NETWORKS[name], NETWORKS[name])
    for layer in chosen_modules(network):
        found = grad_cam(network, batch, CLASSES, layer=layer)
        oracle = LayerGradCam(network.module, network.module.get_submodule(layer))
        expected = oracle.attribute(
            network.normalise(batch).requires_grad_(),
            target=torch.tensor(CLASSES),
            relu_attributions=True,
        )
        scale = float(expected.detach().abs().max()) or 1.0
        assert found.shape == expected[:, 0].shape
        assert (found >= 0).all()
        torch.testing.assert_close(
            found / scale, expected[:, 0].detach() / scale, atol=1e-5, rtol=0
        )
    assert hook_count(network.module) == 0


def chosen_modules(network):
    """Three modules with a map that fire once: near the input, in the middle, near the output."""
    once = {layer.point.module for layer in network.layers if layer.height > 1}
    fired = [
        layer.point.module
        for layer in network.layers
        if layer.height > 1 and f"{layer.point.module}" in once and not repeats(network, layer)
    ]
    return [fired[0], fired[len(fired) // 2], fired[-1]]


def repeats(network, layer):
    modules = [each.point for each in network.layers if each.point.module == layer.point.module]
    return len(modules) > 1 or layer.point.firing > 1


@pytest.mark.parametrize("name", ["small_vgg", "torchvision:resnet18", "torchvision:mobilenet_v2"])
def test_equals_pytorch_grad_cam(name, make_network, images):
    side = NETWORKS[name]
    network = make_network(name, side=side)
    batch = images(3, side, side)
    layer = {
        "small_vgg": "features.19",
        "torchvision:resnet18": "layer3",
        "torchvision:mobilenet_v2": "features.13",
    }[name]
    with GradCAM(model=network.module, target_layers=[network.module.get_submodule(layer)]) as cam:
        cam(
            input_tensor=network.normalise(batch).requires_grad_(),
            targets=[ClassifierOutputTarget(index) for index in CLASSES],
        )
        kept = cam.activations_and_grads
        weights = kept.gradients[0].mean(dim=(2, 3), keepdim=True)
        expected = (weights * kept.activations[0]).sum(dim=1).relu().detach()
    found = grad_cam(network, batch, CLASSES, layer=layer)
    scale = float(expected.max()) or 1.0
    torch.testing.assert_close(found / scale, expected / scale, atol=1e-5, rtol=0)


def test_equals_the_equations_written_out(small, images):
    """Equations 1 and 2 of the paper, by finite sums in double precision."""
    small.module.double()
    batch = images(1).double()
    with torch.no_grad():
        maps = small.module.features[:14](small.normalise(batch))
    maps.requires_grad_()
    tail = small.module.classifier(small.module.features[14:](maps.clone()).flatten(1))
    (gradient,) = torch.autograd.grad(tail[0, 2], maps)
    expected = np.zeros(maps.shape[2:])
    for index in range(maps.shape[1]):
        expected += float(gradient[0, index].mean()) * maps[0, index].detach().numpy()
    found = grad_cam(small, batch, [2], layer="features.13")
    np.testing.assert_allclose(found[0], np.maximum(expected, 0), atol=1e-12)


def test_a_captured_layer_is_read_where_its_activation_is(make_network, images):
    network = make_network("torchvision:resnet18", side=64)
    batch = images(2, 64, 64)
    by_layer = grad_cam(network, batch, [0, 1], layer="layer3.1.conv2")
    by_block = grad_cam(network, batch, [0, 1], layer="layer3.1")
    assert torch.equal(by_layer, by_block)


def test_functional_activations_are_explained(images):
    module = Functional(4)
    spec = ModelSpec(builder="toy", classes=4)
    network = prepare_network(module, spec, InputSpec(height=16, width=16), device="cpu")
    batch = images(2, 16, 16)
    (found,) = grad_cam_layers(network, batch, [0, 1], layers=["first"])
    maps = torch.relu(module.first(batch)).requires_grad_()
    second = torch.relu(module.norm(module.second(maps)))
    third = nn.functional.silu(module.third(nn.functional.max_pool2d(second, 2)))
    score = module.head(third.mean((2, 3)))
    (gradient,) = torch.autograd.grad(score[0, 0] + score[1, 1], maps)
    expected = (gradient.mean((2, 3), keepdim=True) * maps).sum(1).relu().detach()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_several_layers_in_one_pass_equal_one_at_a_time(make_network, images):
    network = make_network("torchvision:resnet18", side=64)
    batch = images(2, 64, 64)
    layers = ["layer2.1.conv2", "layer4.1.conv2", "layer2.1.conv2", "conv1"]
    for layer, found in zip(
        layers, grad_cam_layers(network, batch, [0, 1], layers=layers), strict=True
    ):
        alone = grad_cam(network, batch, [0, 1], layer=layer)
        torch.testing.assert_close(found, alone, atol=1e-7, rtol=1e-5)


def test_no_positive_evidence_is_an_all_zero_map(small, images):
    small.module.classifier[2].weight.data.fill_(-1)
    for child in small.module.classifier[:1]:
        child.weight.data.abs_()
    found = grad_cam(small, images(2), [0, 1], layer="features.19")
    assert torch.equal(found, torch.zeros(2, 8, 8))


def test_parameters_and_caller_are_left_as_they_were(small, images):
    batch = images(2)
    with torch.inference_mode():
        inside = grad_cam(small, batch, [0, 1], layer=default_layer(small))
        kept_inside = grad_cam(small, batch * 1.0, [0, 1], layer=default_layer(small))
    assert torch.equal(inside, kept_inside)
    assert not inside.requires_grad
    assert batch.grad is None
    assert all(p.grad is None and not p.requires_grad for p in small.module.parameters())


def test_memory_is_flat(small, images):
    batch, layer = images(2), default_layer(small)

    def alive():
        gc.collect()
        return sum(type(item) is torch.Tensor for item in gc.get_objects())

    grad_cam(small, batch, [0, 1], layer=layer)
    before = alive()
    for _ in range(20):
        grad_cam(small, batch, [0, 1], layer=layer)
    assert alive() <= before


def test_eight_threads_share_one_network(make_network, images):
    network = make_network("torchvision:resnet18", side=32)
    layers = ["layer1.1.conv2", "layer2.1.conv2", "conv1", "layer3.0.conv1"] * 2
    batch = images(2)
    expected = [grad_cam(network, batch, [i % 5, 1], layer=la) for i, la in enumerate(layers)]
    wrong: list[int] = []

    def work(index):
        for _ in range(3):
            found = grad_cam(network, batch, [index % 5, 1], layer=layers[index])
            if not torch.allclose(found, expected[index], atol=1e-6):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert hook_count(network.module) == 0


def test_no_hook_is_left_when_the_network_raises(images):
    spec = ModelSpec(builder="toy", classes=4)
    network = prepare_network(Broken(4), spec, InputSpec(height=16, width=16), device="cpu")
    with pytest.raises(RuntimeError, match="too bright"):
        grad_cam(network, images(1, 16, 16) + 1, [0], layer="stem")
    assert hook_count(network.module) == 0


def test_default_layer_is_the_deepest_with_a_map_of_four(make_network):
    assert default_layer(make_network("vgg16_cifar", classes=10)) == "features.30"
    assert default_layer(make_network("torchvision:resnet18", side=64)) == "layer3.1.conv2"
    tiny = make_network("torchvision:resnet18", side=16)
    assert default_layer(tiny) == "layer1.1.conv2"
    assert default_layer(make_network("torchvision:resnet18", side=8)) == "conv1"


def test_faults_are_named(small, images):
    with pytest.raises(LayerError, match=r"no layer 'features\.99'"):
        tap_point(small, "features.99")
    with pytest.raises(LayerError, match="no map"):
        grad_cam(small, images(1), [0], layer="classifier.0")
    with pytest.raises(SpecError, match="as many classes"):
        grad_cam(small, images(2), [0], layer="features.0")
    with pytest.raises(SpecError, match="outside 0 to 4"):
        grad_cam(small, images(1), [5], layer="features.0")
    with pytest.raises(UnknownNameError, match="grad_cam"):
        find_explanation("magic")


def test_a_name_is_registered_once():
    with pytest.raises(Exception, match="already registered"):
        explanation(label="again", reads="layer")(grad_cam)
