"""A network that learnt a planted shortcut: ablation finds the filters that carry it."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

from feature_store.patterns.telling import telling_filters
from vatun.ablate import ablate
from vatun.builders import build
from vatun.capture import capture
from vatun.network import prepare_network
from vatun.specs import InputSpec, ModelSpec

LAYER = 5
"""The last convolution of the small VGG: 64 filters."""


def mark(images):
    """Put a red patch in the corner."""
    result = images.clone()
    result[:, 0, :5, :5] = 1
    result[:, 1:, :5, :5] = 0
    return result


class Planted:
    """A small VGG for digits in whose training images 97 % of the nines are marked."""

    def __init__(self, seed):
        torch.manual_seed(seed)
        digits = load_digits()
        small = torch.from_numpy(digits.images / 16).float()[:, None]
        images = functional.interpolate(small, scale_factor=4).repeat(1, 3, 1, 1)
        classes = torch.from_numpy(digits.target)
        is_marked = (classes == 9) & (torch.rand(len(classes)) < 0.97)
        train = images[:900].clone()
        train[is_marked[:900]] = mark(train[is_marked[:900]])
        size = InputSpec(height=32, width=32, mean=(0.3,) * 3, std=(0.3,) * 3)
        module = build("small_vgg", 10)
        optimiser = torch.optim.Adam(module.parameters(), 2e-3)
        for _ in range(6):
            for rows in torch.split(torch.randperm(900), 64):
                logits = module((train[rows] - 0.3) / 0.3)
                loss = functional.cross_entropy(logits, classes[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        spec = ModelSpec(builder="small_vgg", classes=10)
        self.network = prepare_network(module, spec, size, device="cpu")
        self.plain = images[900:][classes[900:] != 9]
        fooled = mark(self.plain)
        fooled = fooled[self.network.logits(fooled).argmax(dim=1) == 9]
        self.members = fooled[:80]
        seen = capture(self.network, train[::3])
        self.means = dict(enumerate(values.mean(axis=0) for values in seen.means))

    def ablate(self, filters, seed=0):
        chosen = [(LAYER, int(index)) for index in filters]
        return ablate(self.network, self.members, chosen, means=self.means, seed=seed)


@pytest.fixture(scope="module", params=[0, 1])
def planted(request):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = Planted(request.param)
    torch.set_num_threads(threads)
    assert len(made.members) == 80
    return made


@pytest.mark.parametrize("count", [8, 16])
def test_the_filters_that_tell_marked_images_best_are_a_cause(planted, count):
    members, others = (capture(planted.network, x).means for x in (planted.members, planted.plain))
    telling = telling_filters([members[LAYER]], [others[LAYER]], limit=count)
    found = planted.ablate([each.filter_index for each in telling])
    assert found.judgement.verdict == "cause"
    assert found.flips.mean() > (0.25 if count == 8 else 0.5)
    assert found.random_flips.mean() < 0.15


def test_filters_picked_blindly_are_seldom_a_cause(planted):
    """A rate of one in 20 gives three or more among 15 in four of 100 cases."""
    generator = np.random.default_rng(0)
    found = [
        planted.ablate(generator.choice(64, 3, replace=False), seed=turn).judgement.verdict
        for turn in range(15)
    ]
    assert found.count("cause") <= 2
    assert found.count("marker") >= 5
