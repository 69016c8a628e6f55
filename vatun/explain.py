"""Explanations: which places of an image speak for a class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

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


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One registered explanation.

    Parameters
    ----------
    name : str
        Registered name.
    label : str
        What the screen calls it.
    apply : callable
        ``(network, images, class_indices, *, layer) -> maps`` of shape (n, h, w), at least 0.
    """

    name: str
    label: str
    apply: Explain


_explanations: dict[str, Explanation] = {}

EXPLANATIONS: Mapping[str, Explanation] = MappingProxyType(_explanations)
"""Explanations by name."""


def explanation(*, label: str) -> Callable[[Explain], Explain]:
    """Register an explanation under its function's name.

    Parameters
    ----------
    label : str
        What the screen calls it.

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
        _explanations[name] = Explanation(name=name, label=label, apply=function)
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


@explanation(label="Grad-CAM")
def grad_cam(
    network: Network, images: Tensor, class_indices: Tensor | Sequence[int], *, layer: str
) -> Tensor:
    """Return where a layer's activations raise the logit of a class, at the layer's own size.

    The map is ``relu(sum_k(mean(d logit / d activation_k) * activation_k))``. It is not scaled:
    maps of one image before and after a change can be compared. Without positive evidence it is
    all zero.

    Parameters
    ----------
    network : Network
        The network under test; other threads may use it meanwhile.
    images : Tensor of shape (n, 3, height, width), float32 in [0, 1]
    class_indices : sequence of int or Tensor of shape (n,)
        The class to explain, for each image.
    layer : str
        A captured layer, read where its activation is (see ``LayerInfo.site``); or the path of
        any other module, read at its output.

    Returns
    -------
    Tensor of shape (n, h, w), float32, at least 0

    References
    ----------
    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", ICCV 2017, equations 1 and 2.
    """
    return grad_cam_layers(network, images, class_indices, layers=[layer])[0]


def grad_cam_layers(
    network: Network,
    images: Tensor,
    class_indices: Tensor | Sequence[int],
    *,
    layers: Sequence[str],
) -> tuple[Tensor, ...]:
    """Return the Grad-CAM maps of several layers from one pass forward and one back.

    Parameters
    ----------
    network, images, class_indices
        As for ``grad_cam``.
    layers : sequence of str
        As ``layer`` of ``grad_cam``.

    Returns
    -------
    tuple of Tensor of shape (n, h, w), float32, at least 0
        In the order of ``layers``.

    Raises
    ------
    LayerError
        When a layer does not exist, has no map, or does not lead to the logits.
    SpecError
        When there is not one class an image, or a class does not exist.
    """
    points = [tap_point(network, name) for name in layers]
    unique = list(dict.fromkeys(points))
    kept: dict[int, Tensor] = {}

    def receive(position: int, tensor: Tensor) -> Tensor:
        # Parameters are frozen, so the graph starts at the first layer asked for: the pass below
        # it costs what inference does.
        start = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
        kept[position] = start
        # A copy goes on: an in-place activation may follow and must not overwrite the map.
        return start.clone()

    with (
        torch.inference_mode(mode=False),
        torch.enable_grad(),
        Taps(network.module, unique, receive) as taps,
    ):
        chosen = _classes(network, images, class_indices)
        logits = taps.run(network.normalise(images.clone() if images.is_inference() else images))
        maps = [kept[position] for position in range(len(unique))]
        score = logits.gather(1, chosen[:, None]).sum()
        gradients = torch.autograd.grad(score, maps, allow_unused=True)
    found = {
        point: _weigh(activation.detach(), gradient, point, name)
        for point, activation, gradient, name in zip(unique, maps, gradients, layers, strict=False)
    }
    return tuple(found[point] for point in points)


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


def _area(layer: LayerInfo) -> int:
    return layer.height * layer.width


def _classes(network: Network, images: Tensor, indices: Tensor | Sequence[int]) -> Tensor:
    chosen = torch.as_tensor(indices, dtype=torch.int64, device=network.device)
    if chosen.shape != (len(images),):
        msg = f"{len(images)} images need as many classes, got shape {tuple(chosen.shape)}"
        raise SpecError(msg)
    if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < network.spec.classes:
        msg = f"a class index lies outside 0 to {network.spec.classes - 1}"
        raise SpecError(msg)
    return chosen.clone()


def _weigh(activation: Tensor, gradient: Tensor | None, point: TapPoint, name: str) -> Tensor:
    if gradient is None:
        msg = f"layer {name!r} does not lead to the logits in a way that can be followed"
        raise LayerError(msg)
    if activation.ndim != 4:
        msg = f"layer {name!r} has no map: Grad-CAM needs a convolution"
        raise LayerError(msg)
    axis = point.channel_axis
    space = tuple(each for each in (1, 2, 3) if each != axis)
    weights = gradient.mean(dim=space, keepdim=True)
    return (weights * activation).sum(dim=axis).relu()
