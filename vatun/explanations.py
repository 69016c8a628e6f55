"""The registry of explanations, and what all of them ask: which layer, which classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from vatun.errors import LayerError, NetworkError, SpecError, UnknownNameError
from vatun.layers import LayerInfo, TapPoint
from vatun.taps import Taps

if TYPE_CHECKING:
    from vatun.network import Network

MIN_SIDE = 4
"""Smallest map side that says where: below it Grad-CAM is blank by construction."""

Explain = Callable[..., Tensor]
Reads = Literal["layer", "input"]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One registered explanation.

    Parameters
    ----------
    name : str
        Registered name.
    label : str
        What the screen calls it.
    reads : str
        ``"layer"``: a map of the size of the layer's own; ``"input"``: a map of the size of the
        image, and the layer is ignored.
    apply : callable
        ``(network, images, class_indices, *, layer) -> maps`` of shape (n, h, w), at least 0 and
        not scaled.
    """

    name: str
    label: str
    reads: Reads
    apply: Explain

    def supports(self, network: Network, layer: str) -> bool:
        """Tell whether this explanation can be drawn for a layer.

        Parameters
        ----------
        network : Network
            The network under test.
        layer : str
            A captured layer or the path of a module; ignored where the input is read.

        Returns
        -------
        bool
        """
        return self.reads == "input" or has_map(network, layer)


_explanations: dict[str, Explanation] = {}

EXPLANATIONS: Mapping[str, Explanation] = MappingProxyType(_explanations)
"""Explanations by name; import ``vatun.explain``, which fills it."""


def explanation(*, label: str, reads: Reads) -> Callable[[Explain], Explain]:
    """Register an explanation under its function's name.

    Parameters
    ----------
    label : str
        What the screen calls it.
    reads : str
        ``"layer"`` or ``"input"``, see ``Explanation``.

    Returns
    -------
    callable
        A decorator that returns the function itself.
    """

    def register(function: Explain) -> Explain:
        name = function.__name__
        if name in _explanations:
            msg = f"explanation {name!r} is already registered"
            raise NetworkError(msg)
        _explanations[name] = Explanation(name=name, label=label, reads=reads, apply=function)
        return function

    return register


def find_explanation(name: str) -> Explanation:
    """Return the explanation called ``name``.

    Returns
    -------
    Explanation

    Raises
    ------
    UnknownNameError
        Listing the registered names.
    """
    try:
        return _explanations[name]
    except KeyError:
        msg = f"unknown explanation {name!r}; known: {', '.join(_explanations)}"
        raise UnknownNameError(msg) from None


def default_layer(network: Network) -> str:
    """Return the deepest captured layer whose map is at least 4 x 4, else the one of largest map.

    Returns
    -------
    str
        Name of the layer.

    Raises
    ------
    LayerError
        When no captured layer has a map.
    """
    maps = [layer for layer in network.layers if layer.height * layer.width > 1]
    if not maps:
        msg = "no captured layer has a map: there is nothing to draw evidence on"
        raise LayerError(msg)
    wide = [layer for layer in maps if min(layer.height, layer.width) >= MIN_SIDE]
    return (wide[-1] if wide else max(maps, key=_area)).layer_name


def tap_point(network: Network, name: str) -> TapPoint:
    """Return where the layer or module called ``name`` is read.

    Returns
    -------
    TapPoint

    Raises
    ------
    LayerError
        When there is neither.
    """
    for layer in network.layers:
        if layer.layer_name == name:
            return layer.point
    if name not in dict(network.module.named_modules()) or not name:
        known = ", ".join(layer.layer_name for layer in network.layers)
        msg = f"the network has no layer {name!r}; layers: {known}"
        raise LayerError(msg)
    return TapPoint(module=name, firing=1, function="", number=0, channel_axis=1)


def has_map(network: Network, name: str) -> bool:
    """Tell whether a layer gives a map of two dimensions.

    A captured layer does when its map has more than one place; any other module when its output
    has four dimensions, which a black image is sent through the network to find out.

    Parameters
    ----------
    network : Network
        The network under test.
    name : str
        A captured layer or the path of a module.

    Returns
    -------
    bool
        False too when there is no such layer, or when it does not fire.
    """
    captured = next((each for each in network.layers if each.layer_name == name), None)
    if captured is not None and (captured.kind == "conv" or _area(captured) == 1):
        return _area(captured) > 1
    dimensions: list[int] = []
    try:
        taps = Taps(network.module, [tap_point(network, name)], _note_dimensions(dimensions))
        with torch.inference_mode(), taps:
            taps.run(
                network.normalise(torch.zeros(1, 3, network.input.height, network.input.width))
            )
    except NetworkError:
        return False
    return dimensions == [4]


def check_classes(network: Network, images: Tensor, indices: Tensor | Sequence[int]) -> Tensor:
    """Return one class for each image, as a tensor on the network's device.

    Parameters
    ----------
    network : Network
        The network under test.
    images : Tensor of shape (n, 3, height, width)
    indices : sequence of int or Tensor of shape (n,)

    Returns
    -------
    Tensor of shape (n,), int64

    Raises
    ------
    SpecError
        When there is not one class an image, or a class does not exist.
    """
    chosen = torch.as_tensor(indices, dtype=torch.int64, device=network.device)
    if chosen.shape != (len(images),):
        msg = f"{len(images)} images need as many classes, got shape {tuple(chosen.shape)}"
        raise SpecError(msg)
    if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < network.spec.classes:
        msg = f"a class index lies outside 0 to {network.spec.classes - 1}"
        raise SpecError(msg)
    return chosen.clone()


def check_fill(fill: Sequence[float]) -> tuple[float, ...]:
    """Return a colour that pixels are replaced with.

    Parameters
    ----------
    fill : sequence of three float in [0, 1]
        Red, green, blue.

    Returns
    -------
    tuple of float

    Raises
    ------
    SpecError
        When it is no colour.
    """
    colour = tuple(float(value) for value in fill)
    if len(colour) != 3 or not all(0 <= value <= 1 for value in colour):
        msg = f"fill must be three numbers in [0, 1] (red, green, blue), got {colour}"
        raise SpecError(msg)
    return colour


def _area(layer: LayerInfo) -> int:
    return layer.height * layer.width


def _note_dimensions(dimensions: list[int]) -> Callable[[int, Tensor], None]:
    def receive(_: int, tensor: Tensor) -> None:
        dimensions.append(tensor.ndim)

    return receive
