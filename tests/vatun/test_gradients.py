"""Gradients of networks that keep something of an earlier forward pass."""

import pytest
import torch
from torch import nn

from vatun.attack import fgsm_gradient
from vatun.capture import capture
from vatun.errors import NetworkError
from vatun.explain import EXPLANATIONS
from vatun.gradients import graph
from vatun.network import prepare_network
from vatun.specs import InputSpec, ModelSpec


class Keeper(nn.Module):
    """Weighs its maps by a tensor that the first forward pass makes, and no later one again."""

    def __init__(self, *, anew):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8, 4)
        self.kept = None
        self.anew = anew

    def forward(self, images):
        maps = self.stem(images).relu()
        if self.kept is None or self.anew:
            self.kept = torch.linspace(0, 1, maps.shape[-1], device=maps.device)
        return self.head((maps * self.kept).mean(dim=(2, 3)))


@pytest.fixture
def network_of():
    def make(module):
        spec, size = ModelSpec(builder="own", classes=4), InputSpec(height=16, width=16)
        return prepare_network(module, spec, size, device="cpu")

    return make


WITH_GRADIENT = ("integrated_gradients", "grad_cam")


@pytest.mark.parametrize("name", WITH_GRADIENT)
def test_evidence_of_a_network_that_keeps_a_tensor_is_refused_with_the_cure(name, network_of):
    images, classes = torch.rand(2, 3, 16, 16), torch.tensor([0, 1])
    explain = EXPLANATIONS[name].apply
    network = network_of(Keeper(anew=False))
    with pytest.raises(NetworkError, match=r"made in an earlier forward pass.*register_buffer"):
        explain(network, images, classes, layer="stem")
    assert explain(network_of(Keeper(anew=True)), images, classes, layer="stem") is not None


def test_an_attack_on_such_a_network_is_refused_with_the_cure(network_of):
    images, labels = torch.rand(2, 3, 16, 16), torch.tensor([0, 1])
    network = network_of(Keeper(anew=False))
    with pytest.raises(NetworkError, match=r"made in an earlier forward pass.*register_buffer"):
        fgsm_gradient(network, images, labels)
    # What needs no gradient works as before.
    assert capture(network, images).logits.shape == (2, 4)
    assert fgsm_gradient(network_of(Keeper(anew=True)), images, labels).abs().sum() > 0


def test_what_else_torch_says_is_passed_on():
    with pytest.raises(RuntimeError, match="shapes"), graph():
        raise RuntimeError("shapes do not fit")
