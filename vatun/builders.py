"""Build networks by name: our CIFAR VGG-16, a small VGG, torchvision's, or any callable."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from vatun.errors import NetworkError, UnknownNameError

Builder = Callable[[int], nn.Module]

_builders: dict[str, Builder] = {}

BUILDERS: Mapping[str, Builder] = MappingProxyType(_builders)
"""Builders by name; each takes the number of classes and returns an untrained network."""

# Configuration D of Simonyan and Zisserman; "M" halves the map.
_VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
_SMALL = (16, 16, "M", 32, 32, "M", 64, 64, "M")


def builder(function: Builder) -> Builder:
    """Register a builder under its own name.

    Returns
    -------
    callable
        The builder itself.

    Raises
    ------
    NetworkError
        When the name is taken.
    """
    name = function.__name__
    if name in _builders:
        msg = f"builder {name!r} is already registered"
        raise NetworkError(msg)
    _builders[name] = function
    return function


class Vgg(nn.Module):
    """VGG with batch norm for 32 x 32 images: ``features``, flattened, then ``classifier``.

    Parameters
    ----------
    configuration : tuple of int or "M"
        Filters of each convolution; "M" is a 2 x 2 maximum pool.
    hidden : int
        Width of the hidden linear layer.
    num_classes : int
        Number of outputs.
    """

    def __init__(
        self, configuration: tuple[int | str, ...], *, hidden: int, num_classes: int
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, side = 3, 32
        for item in configuration:
            if isinstance(item, str):
                layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
                side //= 2
            else:
                convolution = nn.Conv2d(channels, item, kernel_size=3, padding=1)
                layers += [convolution, nn.BatchNorm2d(item), nn.ReLU(inplace=True)]
                channels = item
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(channels * side * side, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (batch, num_classes) for images of shape (batch, 3, 32, 32)."""
        maps: Tensor = self.features(images)
        logits: Tensor = self.classifier(torch.flatten(maps, 1))
        return logits


@builder
def vgg16_cifar(num_classes: int) -> nn.Module:
    """Build VGG-16 with batch norm for 32 x 32 images, head 512-512-``num_classes``.

    ``features`` is numbered as torchvision's ``vgg16_bn``.

    Returns
    -------
    nn.Module
        Random weights, in training mode.

    References
    ----------
    Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
    ICLR 2015, configuration D.
    """
    return Vgg(_VGG16, hidden=512, num_classes=num_classes)


@builder
def small_vgg(num_classes: int) -> nn.Module:
    """Build six convolutions and a hidden linear layer for 32 x 32 images; trains in seconds."""
    return Vgg(_SMALL, hidden=64, num_classes=num_classes)


def build(name: str, num_classes: int) -> nn.Module:
    """Build the network called ``name``, untrained.

    Parameters
    ----------
    name : str
        A key of ``BUILDERS``, ``torchvision:NAME``, or ``package.module:function``.
    num_classes : int
        Number of outputs.

    Returns
    -------
    nn.Module
        Random weights, in training mode.

    Raises
    ------
    UnknownNameError
        When there is no such builder.
    NetworkError
        When the builder fails or returns no module.
    """
    if name in _builders:
        return _builders[name](num_classes)
    source, colon, function = name.partition(":")
    if not (source and colon and function):
        msg = (
            f"unknown builder {name!r}; known: {', '.join(_builders)}, torchvision:NAME "
            "or package.module:function"
        )
        raise UnknownNameError(msg)
    if source == "torchvision":
        return _torchvision(function, num_classes)
    return _called(source, function, num_classes)


def _torchvision(name: str, num_classes: int) -> nn.Module:
    models = importlib.import_module("torchvision.models")
    if name not in models.list_models(module=models):
        msg = f"torchvision has no classifier {name!r}; see torchvision.models.list_models()"
        raise UnknownNameError(msg)
    # Auxiliary heads stay: published weights hold them, and in evaluation mode they do not fire.
    options = {"init_weights": False} if name in {"googlenet", "inception_v3"} else {}
    module: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **options)
    return module


def _called(source: str, function: str, num_classes: int) -> nn.Module:
    try:
        found = getattr(importlib.import_module(source), function)
    except (ImportError, AttributeError) as error:
        msg = f"builder {source}:{function} cannot be imported: {error}"
        raise UnknownNameError(msg) from error
    try:
        module = found(num_classes=num_classes)
    except Exception as error:
        # The builder is the user's own code: whatever it raises, name the builder.
        msg = f"builder {source}:{function} failed: {type(error).__name__}: {error}"
        raise NetworkError(msg) from error
    if not isinstance(module, nn.Module):
        msg = f"builder {source}:{function} returned {type(module).__name__}, not a torch module"
        raise NetworkError(msg)
    return module
