"""FGSM is the paper's formula."""

import warnings

import pytest
import torch
from torch.nn import functional

from vatun.attack import fgsm, fgsm_gradient
from vatun.errors import MagnitudeError, SpecError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the oracle warns when it is imported
    import torchattacks

EPSILONS = [2 / 255, 8 / 255, 16 / 255]


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_equals_the_formula_in_double_precision(epsilon, small, images):
    """x + eps * sign(d cross-entropy / dx), equation in section 4, with every step written out."""
    small.module.double()
    batch, labels = images(4).double(), torch.tensor([0, 1, 2, 4])
    start = batch.clone().requires_grad_()
    mean = torch.tensor(small.input.mean, dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor(small.input.std, dtype=torch.float64).view(1, 3, 1, 1)
    scores = small.module((start - mean) / std).softmax(dim=1)
    loss = -scores[torch.arange(4), labels].log().sum()
    (gradient,) = torch.autograd.grad(loss, start)
    expected = torch.clamp(batch + epsilon * torch.sign(gradient), 0, 1)
    sign = fgsm_gradient(small, batch, labels)
    assert torch.equal(fgsm(batch, sign, epsilon), expected)


@pytest.mark.parametrize("name", ["small_vgg", "torchvision:resnet18"])
def test_equals_torchattacks(name, make_network, images):
    network = make_network(name)
    batch, labels = images(4), torch.tensor([0, 1, 2, 4])
    oracle = torchattacks.FGSM(Whole(network).eval(), eps=EPSILONS[1])
    expected = oracle(batch, labels)
    found = fgsm(batch, fgsm_gradient(network, batch, labels), EPSILONS[1])
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)


class Whole(torch.nn.Module):
    """Normalisation and network as one module, as torchattacks wants it."""

    def __init__(self, network):
        super().__init__()
        self.module = network.module
        self.network = network

    def forward(self, batch):
        return self.network.forward(batch)


def test_one_gradient_serves_every_epsilon(small, images):
    batch, labels = images(2), torch.tensor([0, 1])
    sign = fgsm_gradient(small, batch, labels)
    assert set(sign.unique().tolist()) <= {-1.0, 0.0, 1.0}
    for epsilon in EPSILONS:
        found = fgsm(batch, sign, epsilon)
        assert float((found - batch).abs().max()) <= epsilon + 1e-7
        assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_it_raises_the_loss(small, images):
    batch = images(8)
    labels = small.logits(batch).argmax(dim=1)
    before = functional.cross_entropy(small.logits(batch), labels)
    changed = fgsm(batch, fgsm_gradient(small, batch, labels), 4 / 255)
    assert functional.cross_entropy(small.logits(changed), labels) > before


def test_an_image_is_attacked_alike_in_any_batch(small, images):
    batch, labels = images(4), torch.tensor([0, 1, 2, 4])
    together = fgsm_gradient(small, batch, labels)
    alone = torch.cat(
        [fgsm_gradient(small, batch[i : i + 1], labels[i : i + 1]) for i in range(4)]
    )
    # Rounding may turn the sign of a gradient that is all but zero.
    assert float((together == alone).float().mean()) > 0.999


def test_epsilon_zero_returns_the_images_bit_for_bit(small, images):
    batch = images(2)
    assert fgsm(batch, torch.ones_like(batch), 0) is batch


def test_it_works_inside_inference_mode_and_leaves_no_gradient(small, images):
    with torch.inference_mode():
        batch = images(2) * 1.0
        sign = fgsm_gradient(small, batch, torch.tensor([0, 1]))
    assert sign.shape == batch.shape
    assert all(parameter.grad is None for parameter in small.module.parameters())


@pytest.mark.parametrize("epsilon", [float("nan"), float("inf"), -0.1, 1.0])
def test_an_epsilon_out_of_bounds_is_refused(epsilon, images):
    with pytest.raises(MagnitudeError):
        fgsm(images(1), torch.ones(1, 3, 32, 32), epsilon)


def test_labels_are_one_an_image(small, images):
    with pytest.raises(SpecError, match="as many labels"):
        fgsm_gradient(small, images(2), torch.tensor([1]))
