"""Layers are found in the order in which they run, on any architecture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.ops.misc import SqueezeExcitation

from tests.vatun.toys import Branches, Functional, Moody, Residual, Shared, hook_count
from vatun.capture import capture
from vatun.errors import LayerError, NetworkError
from vatun.layers import dissect
from vatun.network import Network, prepare_network
from vatun.specs import InputSpec, ModelSpec
from vatun.trace import trace

# Input side, convolutions and linear layers that fire, and how many of them are no layer of a
# path: the classifier output, 1x1 shortcuts, squeeze and excitation. Counted by hand.
ARCHITECTURES = {
    "alexnet": (64, 8, 1),
    "vgg11_bn": (32, 11, 1),
    "resnet18": (64, 21, 1 + 3),
    "resnet50": (64, 54, 1 + 4),
    "resnext50_32x4d": (64, 54, 1 + 4),
    "densenet121": (64, 121, 1),
    "googlenet": (64, 58, 1),
    "inception_v3": (75, 95, 1),
    "squeezenet1_1": (64, 26, 1),
    "shufflenet_v2_x0_5": (64, 57, 1),
    "mobilenet_v2": (64, 53, 1),
    "mobilenet_v3_small": (64, 54, 1 + 18),
    "mnasnet0_5": (64, 53, 1),
    "efficientnet_b0": (64, 82, 1 + 32),
    "regnet_y_400mf": (64, 86, 1 + 4 + 32),
    "convnext_tiny": (64, 59, 1),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_layers_are_those_that_fire_in_the_order_in_which_they_fire(name, make_network, images):
    side, fired, skipped = ARCHITECTURES[name]
    network = make_network(f"torchvision:{name}", side=side)
    observed = observe(network.module, torch.zeros(2, 3, side, side))
    left_out = {layer.layer_name: layer.reason for layer in network.skipped_layers}
    silent = {name for name, reason in left_out.items() if reason.startswith("never")}

    assert len(observed) == fired
    assert [layer.layer_name for layer in network.layers] == [
        name for name in observed if name not in left_out
    ]
    assert [layer.layer_index for layer in network.layers] == list(range(len(network.layers)))
    assert len(left_out) - len(silent) == skipped
    assert silent == registered(network.module) - set(observed)
    assert {n for n, why in left_out.items() if why == "squeeze and excitation"} == gates(
        network.module
    )
    assert hook_count(network.module) == 0


def observe(module: nn.Module, images: torch.Tensor) -> list[str]:
    """Return the order of first firing, by hooks that know nothing of the code under test."""
    order: list[str] = []
    handles = [
        child.register_forward_pre_hook(lambda *_, name=name: order.append(name))
        for name, child in module.named_modules()
        if isinstance(child, (nn.Conv2d, nn.Linear))
    ]
    with torch.no_grad():
        module(images)
    for handle in handles:
        handle.remove()
    return list(dict.fromkeys(order))


def registered(module: nn.Module) -> set[str]:
    return {n for n, c in module.named_modules() if isinstance(c, (nn.Conv2d, nn.Linear))}


def gates(module: nn.Module) -> set[str]:
    return {
        f"{name}.{part}"
        for name, child in module.named_modules()
        if isinstance(child, SqueezeExcitation)
        for part in ("fc1", "fc2")
    }


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "regnet_y_400mf"])
def test_shortcuts_are_the_convolutions_that_the_architecture_calls_so(name, make_network):
    network = make_network(f"torchvision:{name}", side=64)
    found = {s.layer_name for s in network.skipped_layers if s.reason == "1x1 shortcut"}
    assert found == {n for n in registered(network.module) if "downsample.0" in n or "proj.0" in n}


@pytest.mark.parametrize(
    ("name", "sites"),
    [
        ("resnet18", {"post_activation": 17}),
        ("mobilenet_v2", {"post_activation": 35, "post_norm": 17}),
        ("densenet121", {"post_activation": 59, "output": 61}),
        ("googlenet", {"post_activation": 57}),
        ("convnext_tiny", {"post_activation": 18, "post_norm": 19, "output": 21}),
    ],
)
def test_site_of_every_layer(name, sites, make_network):
    network = make_network(f"torchvision:{name}", side=64)
    found = [layer.site for layer in network.layers]
    assert {site: found.count(site) for site in set(found)} == sites


def test_functional_and_in_place_activations_are_seen():
    network = prepare(Functional(4))
    assert [(layer.layer_name, layer.site) for layer in network.layers] == [
        ("first", "post_activation"),
        ("second", "post_activation"),
        ("third", "post_activation"),
    ]
    assert all(layer.point.module is None for layer in network.layers)


def test_a_repeated_module_is_numbered():
    network = prepare(Shared(4))
    names = [layer.layer_name for layer in network.layers]
    assert names == ["stem", "conv", "conv#2", "conv#3"]


def test_shortcut_gate_and_output_are_left_out_with_their_reasons():
    network = prepare(Residual(4))
    assert [layer.layer_name for layer in network.layers] == ["first", "second", "hidden"]
    assert {s.layer_name: s.reason for s in network.skipped_layers} == {
        "shortcut": "1x1 shortcut",
        "squeeze": "squeeze and excitation",
        "excite": "squeeze and excitation",
        "head": "classifier output",
    }


def test_a_listed_layer_overrides_what_is_left_out():
    network = prepare(Residual(4), layers=("hidden", "shortcut"))
    assert [layer.layer_name for layer in network.layers] == ["shortcut", "hidden"]
    assert {s.reason for s in network.skipped_layers} == {"not listed"}


def test_a_listed_shortcut_is_read_before_the_sum_and_every_layer_fires(make_network):
    module = models.resnet18()
    names = tuple(n for n, child in module.named_modules() if isinstance(child, nn.Conv2d))
    network = make_network("torchvision:resnet18", side=64, layers=names)
    sites = {layer.layer_name: layer.site for layer in network.layers}
    assert [name for name in sites if sites[name] == "post_norm"] == [
        f"layer{at}.0.downsample.0" for at in (2, 3, 4)
    ]
    assert len({layer.point for layer in network.layers}) == len(names) == 20
    assert capture(network, torch.rand(2, 3, 64, 64)).winner_max().shape == (2, 20)


def test_layers_that_meet_in_one_sum_are_read_before_it():
    network = prepare(Branches(4))
    assert [(layer.layer_name, layer.site) for layer in network.layers] == [
        ("left", "output"),
        ("right", "post_norm"),
    ]
    images = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        left = network.module.left(network.normalise(images)).amax(dim=(2, 3))
    assert np.array_equal(capture(network, images).maxima[0], left.numpy())


def test_the_layer_of_the_logits_is_a_layer_on_request():
    network = prepare(Residual(4), include_logits=True)
    last = network.layers[-1]
    assert (last.layer_name, last.filters, last.site) == ("head", 4, "output")


@pytest.mark.parametrize(
    ("name", "fault"),
    [("nothing", "no such module"), ("relu", "neither a convolution"), ("conv#9", "never fires")],
)
def test_a_layer_that_cannot_be_captured_is_named(name, fault):
    with pytest.raises(LayerError, match=fault):
        prepare(Shared(4), layers=(name,))


def test_receptive_field_stride_and_block_of_vgg16(make_network):
    network = make_network("vgg16_cifar", classes=10)
    found = [(lay.receptive_field, lay.stride, lay.block) for lay in network.layers]
    # Hand-computed: +2 pixels a convolution and +1 a pool, times the stride so far.
    assert found == [
        (3, 1, "conv1"),
        (5, 1, "conv1"),
        (10, 2, "conv2"),
        (14, 2, "conv2"),
        (24, 4, "conv3"),
        (32, 4, "conv3"),
        (40, 4, "conv3"),
        (60, 8, "conv4"),
        (76, 8, "conv4"),
        (92, 8, "conv4"),
        (132, 16, "conv5"),
        (164, 16, "conv5"),
        (196, 16, "conv5"),
        (212, 32, "classifier"),
    ]
    assert sum(layer.filters for layer in network.layers if layer.kind == "conv") == 4224
    assert [(layer.height, layer.width) for layer in network.layers][::5] == [
        (32, 32),
        (8, 8),
        (2, 2),
    ]


def test_receptive_field_of_a_layer_is_what_its_gradient_reaches(make_network):
    """A position of a map changes with the input only inside its theoretical field."""
    network = make_network("torchvision:resnet18", side=96)
    layer = network.layer("layer1.1.conv2")
    images = torch.rand(1, 3, 96, 96, requires_grad=True)
    kept = {}
    module = network.module.get_submodule("layer1")
    handle = module.register_forward_hook(lambda _, __, out: kept.update(map=out))
    network.forward(images)
    handle.remove()
    middle = layer.height // 2
    (gradient,) = torch.autograd.grad(kept["map"][0, :, middle, middle].sum(), images)
    rows = gradient.abs().sum(dim=(0, 1, 3)).nonzero()
    assert int(rows.max() - rows.min()) + 1 <= layer.receptive_field


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("resnet18", ["conv1", "layer1", "layer2", "layer3", "layer4"]),
        ("regnet_y_400mf", ["stem", "block1", "block2", "block3", "block4"]),
        ("mobilenet_v2", ["conv1", "conv2", "conv3", "conv4", "conv5"]),
    ],
)
def test_blocks_are_the_groups_of_the_architecture(name, blocks, make_network):
    network = make_network(f"torchvision:{name}", side=64)
    assert list(dict.fromkeys(layer.block for layer in network.layers)) == blocks


def test_a_network_without_layers_is_refused():
    with pytest.raises(NetworkError, match="no convolution or linear layer"):
        prepare(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), classes=3)


def test_a_network_of_one_layer_is_refused():
    with pytest.raises(NetworkError, match="no layer is left"):
        prepare(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)))


def test_tracing_removes_its_hooks_when_the_network_raises():
    module = Moody(4).eval()
    with pytest.raises(RuntimeError):
        trace(module, torch.zeros(1, 4, 16, 16))
    assert hook_count(module) == 0


def test_dissecting_needs_nothing_but_module_and_trace():
    module = models.resnet18(weights=None).eval()
    anatomy = dissect(module, trace(module, torch.zeros(1, 3, 64, 64)))
    assert anatomy.embedding_layer == anatomy.logits_layer == "fc"
    assert anatomy.embedding_dimensions == 512


def prepare(module: nn.Module, *, classes: int = 4, **options: object) -> Network:
    spec = ModelSpec(builder="toy", classes=classes, **options)
    return prepare_network(module, spec, InputSpec(height=16, width=16), device="cpu")
