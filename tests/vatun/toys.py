"""Small networks that each hold one thing that is hard to read."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Functional(nn.Module):
    """Functional, method and in-place activations; registration order is not firing order."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(6, num_classes)
        self.third = nn.Conv2d(8, 6, 3, padding=1)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, images: Tensor) -> Tensor:
        maps = functional.relu(self.first(images))
        maps = self.norm(self.second(maps)).relu_()
        maps = self.third(functional.max_pool2d(maps, 2))
        maps = maps * torch.sigmoid(maps)
        return self.head(maps.mean(dim=(2, 3)))


class Shared(nn.Module):
    """One convolution that fires three times."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.relu(self.stem(images))
        for _ in range(3):
            maps = self.relu(self.conv(maps))
        return self.head(maps.amax(dim=(2, 3)))


class Moody(nn.Module):
    """Takes another way for bright images."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.dark = nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)
        if float(images.mean()) < 1:
            maps = self.dark(maps).relu()
        return self.head(maps.mean(dim=(2, 3)))


class Residual(nn.Module):
    """A block with a 1x1 shortcut, a gate, and a sum that is not in place."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(3, 8, 1)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 1)
        self.squeeze = nn.Linear(8, 2)
        self.excite = nn.Linear(2, 8)
        self.relu = nn.ReLU()
        self.hidden = nn.Linear(8, 7)
        self.head = nn.Linear(7, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.second(self.relu(self.first(images)))
        gate = self.excite(self.relu(self.squeeze(maps.mean(dim=(2, 3))))).sigmoid()
        maps = maps * gate[:, :, None, None]
        maps = self.relu(self.shortcut(images) + maps)
        return self.head(self.relu(self.hidden(maps.mean(dim=(2, 3)))))


class Branches(nn.Module):
    """Two convolutions of one size whose sum is activated, as in RepVGG before its fusion."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 8, 3, padding=1)
        self.right = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = functional.relu(self.left(images) + self.norm(self.right(images)))
        return self.head(maps.mean(dim=(2, 3)))


class Broken(nn.Module):
    """Raises when an image is bright, after its first layers have run."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = functional.relu(self.stem(images))
        if float(images.max()) > 1:
            msg = "too bright"
            raise RuntimeError(msg)
        return self.head(maps.mean(dim=(2, 3)))


def functional_net(num_classes: int) -> nn.Module:
    return Functional(num_classes)


def not_a_module(num_classes: int) -> str:
    return "no module"


def failing(num_classes: int) -> nn.Module:
    msg = "no such thing"
    raise RuntimeError(msg)


def hook_count(module: nn.Module) -> int:
    """Return how many hooks hang on a module and its children."""
    return sum(
        len(child._forward_hooks)
        + len(child._forward_pre_hooks)
        + len(child._backward_hooks)
        + len(child._backward_pre_hooks)
        for child in module.modules()
    )
