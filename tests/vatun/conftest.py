"""Networks and images for the tests of the network under test; all random, all small."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from vatun.network import Network, load_network
from vatun.specs import InputSpec, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


@pytest.fixture(autouse=True)
def few_threads() -> Iterator[None]:
    """Keep to one core, and give every test the same random numbers.

    Small tensors gain nothing by a second thread, and wait for it where the cores are busy.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def images() -> Callable[..., Tensor]:
    """Return random images of a size."""

    def make(count: int = 3, height: int = 32, width: int = 32) -> Tensor:
        return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(7))

    return make


@pytest.fixture
def make_network() -> Callable[..., Network]:
    """Load a network by builder, with random weights and batch norms that are not the identity."""

    def make(builder: str, *, side: int = 32, classes: int = 5, **options: object) -> Network:
        torch.manual_seed(1)
        spec = ModelSpec(builder=builder, classes=classes, **options)
        size = InputSpec(height=side, width=side, mean=MEAN, std=STD)
        network = load_network(spec, size, device="cpu")
        shake_norms(network.module)
        return network

    return make


@pytest.fixture
def small(make_network: Callable[..., Network]) -> Network:
    """Return the small VGG with random weights."""
    return make_network("small_vgg")


@pytest.fixture
def shared() -> Path:
    """Return the weights of the CIFAR-10 network, where the environment names them."""
    weights = os.environ.get("VATUN_WEIGHTS")
    if not weights:
        pytest.skip("VATUN_WEIGHTS names no weights")
    return Path(weights)


def shake_norms(module: nn.Module) -> None:
    """Give batch norms statistics of their own, as training would."""
    generator = torch.Generator().manual_seed(3)
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            size = child.num_features
            child.running_mean.copy_(0.1 * torch.randn(size, generator=generator))
            child.running_var.copy_(0.5 + torch.rand(size, generator=generator))
            child.weight.data.copy_(0.5 + torch.rand(size, generator=generator))
            child.bias.data.copy_(0.2 * torch.randn(size, generator=generator))
