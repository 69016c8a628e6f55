"""Networks are built by name, frozen, and refuse what they cannot take."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision import models

from tests.vatun.toys import Broken
from vatun.builders import BUILDERS, build
from vatun.errors import NetworkError, SpecError, UnknownNameError
from vatun.network import load_network, prepare_network
from vatun.specs import InputSpec, ModelSpec


def test_vgg16_has_the_keys_and_shapes_of_torchvision():
    ours = build("vgg16_cifar", 10).state_dict()
    theirs = models.vgg16_bn(weights=None, init_weights=False).state_dict()
    features = {name: value.shape for name, value in theirs.items() if name.startswith("features")}
    assert {n: v.shape for n, v in ours.items() if n.startswith("features")} == features
    assert {n: tuple(v.shape) for n, v in ours.items() if n.startswith("classifier")} == {
        "classifier.0.weight": (512, 512),
        "classifier.0.bias": (512,),
        "classifier.2.weight": (10, 512),
        "classifier.2.bias": (10,),
    }
    parameters = sum(p.numel() for p in build("vgg16_cifar", 10).parameters())
    assert parameters == 14_990_922


def test_the_shared_weights_fit(shared):
    network = load_network(
        ModelSpec(builder="vgg16_cifar", classes=10),
        InputSpec(height=32, width=32),
        weights=shared,
        device="cpu",
    )
    assert next(network.module.parameters()).dtype == torch.float32


@pytest.mark.parametrize("name", BUILDERS)
def test_contract_of_every_builder(name):
    module = build(name, 7)
    assert module(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    assert BUILDERS[name].__doc__


def test_a_callable_is_named_by_its_path():
    module = build("tests.vatun.toys:functional_net", 4)
    assert module(torch.rand(2, 3, 16, 16)).shape == (2, 4)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("vgg", UnknownNameError, "known: vgg16_cifar, small_vgg"),
        ("torchvision:resnet17", UnknownNameError, "no classifier 'resnet17'"),
        ("torchvision:fcn_resnet50", UnknownNameError, "no classifier"),
        ("nowhere.at.all:build", UnknownNameError, "cannot be imported"),
        ("tests.vatun.toys:nothing", UnknownNameError, "cannot be imported"),
        ("tests.vatun.toys:not_a_module", NetworkError, "returned str"),
        ("tests.vatun.toys:failing", NetworkError, "failed: RuntimeError: no such thing"),
    ],
)
def test_a_builder_that_cannot_be_had_is_named(name, error, message):
    with pytest.raises(error, match=message):
        build(name, 4)


def test_logits_are_those_of_the_module_on_normalised_images(small, images):
    batch = images(3)
    mean, std = torch.tensor(small.input.mean), torch.tensor(small.input.std)
    expected = small.module(((batch.permute(0, 2, 3, 1) - mean) / std).permute(0, 3, 1, 2))
    torch.testing.assert_close(small.logits(batch), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(small.forward(batch), small.logits(batch))


def test_the_network_is_frozen_and_in_evaluation_mode(small):
    assert not any(module.training for module in small.module.modules())
    assert not any(parameter.requires_grad for parameter in small.module.parameters())


@pytest.mark.parametrize(
    "batch",
    [torch.rand(3, 32, 32), torch.rand(2, 1, 32, 32), torch.rand(2, 3, 32, 31)],
)
def test_images_of_another_shape_are_refused(small, batch):
    with pytest.raises(SpecError, match=r"shape \(n, 3, 32, 32\)"):
        small.logits(batch)


def test_bytes_are_refused(small):
    with pytest.raises(SpecError, match=r"float in \[0, 1\]"):
        small.logits(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_a_network_that_cannot_take_its_input_says_so():
    with pytest.raises(NetworkError, match="cannot take a 20 x 20 image"):
        load_network(
            ModelSpec(builder="small_vgg", classes=3), InputSpec(height=20, width=20), device="cpu"
        )


def test_class_names_are_one_a_class():
    spec, size = ModelSpec(builder="small_vgg", classes=3), InputSpec(height=32, width=32)
    assert load_network(spec, size, device="cpu").classes == ("0", "1", "2")
    assert load_network(spec, size, device="cpu", class_names=["a", "b", "c"]).classes[2] == "c"
    with pytest.raises(NetworkError, match="2 class names for a network of 3"):
        load_network(spec, size, device="cpu", class_names=["a", "b"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_named():
    with pytest.raises(NetworkError, match="no CUDA device"):
        load_network(
            ModelSpec(builder="small_vgg", classes=3),
            InputSpec(height=32, width=32),
            device="cuda",
        )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_the_scores_of_the_cpu(images):
    spec, size = ModelSpec(builder="small_vgg", classes=3), InputSpec(height=32, width=32)
    torch.manual_seed(0)
    there = load_network(spec, size, device="cuda")
    torch.manual_seed(0)
    here = load_network(spec, size, device="cpu")
    batch = images(8)
    torch.testing.assert_close(there.logits(batch).cpu(), here.logits(batch), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("modules", "banned"),
    [
        ("vatun, vatun.specs, vatun.errors", ("torch", "torchvision", "numpy", "PIL")),
        ("vatun.paths", ("torch", "torchvision")),
        (
            "vatun.capture, vatun.perturb, vatun.explain, vatun.preprocess",
            ("torchvision", "captum", "panel", "duckdb", "pyarrow"),
        ),
    ],
)
def test_what_an_import_costs(modules, banned):
    script = (
        f"import {modules}, sys; "
        f"sys.exit(', '.join(name for name in {banned!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_whatever_a_network_raises_in_the_dry_run_names_it(make_network):
    with pytest.raises(NetworkError, match="vit_b_16 cannot take a 32 x 32 image: Wrong image"):
        make_network("torchvision:vit_b_16")


class Restless(nn.Module):
    """Has dropout that is not switched off with the rest."""

    def __init__(self, *, training):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, bias=False)
        self.head = nn.Linear(8, 4, bias=False)
        self.always = training

    def forward(self, images):
        maps = self.stem(images).relu().mean(dim=(2, 3))
        return self.head(functional.dropout(maps, 0.5, training=self.always or self.training))


def test_a_network_that_gives_two_answers_is_refused():
    spec, size = ModelSpec(builder="own", classes=4), InputSpec(height=16, width=16)
    with pytest.raises(NetworkError, match=r"own gives one image two answers.*dropout"):
        prepare_network(Restless(training=True), spec, size, device="cpu")
    assert prepare_network(Restless(training=False), spec, size, device="cpu").layers
    # The dry run's image alone would not have shown it: it is all zero, and there is no bias.
    black = torch.zeros(1, 3, 16, 16)
    assert not Restless(training=True)(black).any()


def test_a_network_that_fails_on_noise_is_still_a_network():
    spec, size = ModelSpec(builder="own", classes=4), InputSpec(height=16, width=16)
    assert prepare_network(Broken(4), spec, size, device="cpu").layers
    with pytest.raises(RuntimeError, match="too bright"):
        Broken(4)(torch.randn(1, 3, 16, 16))
