"""Class activation maps: a layer's activations, weighed by how they move the logit of a class.

Let A be the activations of a layer and G the gradient of the logit with respect to them. The maps
differ in one line each: how A and G are put together. One pass forward and one back gives both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vatun.errors import LayerError
from vatun.explanations import check_classes, explanation, tap_point
from vatun.gradients import graph
from vatun.taps import Taps

if TYPE_CHECKING:
    from vatun.layers import TapPoint
    from vatun.network import Network

Combine = Callable[[Tensor, Tensor], Tensor]
"""Takes activations and gradients of shape (n, filters, h, w); returns maps of shape (n, h, w)."""


@explanation(label="Grad-CAM", reads="layer")
def grad_cam(
    network: Network, images: Tensor, class_indices: Tensor | Sequence[int], *, layer: str
) -> Tensor:
    """Return where a layer's activations raise the logit of a class, at the layer's own size.

    The map is ``relu(sum_k(mean(G_k) * A_k))``. It is not scaled: maps of one image before and
    after a change can be compared. Without positive evidence it is all zero.

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


@explanation(label="Grad-CAM++", reads="layer")
def grad_cam_plus_plus(
    network: Network, images: Tensor, class_indices: Tensor | Sequence[int], *, layer: str
) -> Tensor:
    """Return Grad-CAM with positive gradients alone, each weighed so that small objects count too.

    The map is ``relu(sum_k(w_k * A_k))`` with ``w_k = sum(alpha_k * relu(G_k))`` over the places
    and ``alpha_k = G_k ** 2 / (2 * G_k ** 2 + sum(A_k) * G_k ** 3)``: the class score is taken to
    be the exponential of the logit, which makes the higher derivatives powers of the first. It is
    made for activations that are not negative, such as those behind a ReLU.

    Parameters
    ----------
    network, images, class_indices, layer
        As for ``grad_cam``.

    Returns
    -------
    Tensor of shape (n, h, w), float32, at least 0

    References
    ----------
    Chattopadhay et al., "Grad-CAM++: Generalized Gradient-based Visual Explanations for Deep
    Convolutional Networks", WACV 2018, equations 5, 7 and 19.
    """
    return _maps(network, images, class_indices, [layer], _by_positive_gradient)[0]


@explanation(label="HiResCAM", reads="layer")
def hires_cam(
    network: Network, images: Tensor, class_indices: Tensor | Sequence[int], *, layer: str
) -> Tensor:
    """Return ``relu(sum_k(G_k * A_k))``: each place is weighed by its own gradient, not the mean.

    Parameters
    ----------
    network, images, class_indices, layer
        As for ``grad_cam``.

    Returns
    -------
    Tensor of shape (n, h, w), float32, at least 0

    References
    ----------
    Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of
    convolutional neural networks", arXiv 2011.08891, 2020.
    """
    return _maps(network, images, class_indices, [layer], _by_gradient)[0]


@explanation(label="LayerCAM", reads="layer")
def layer_cam(
    network: Network, images: Tensor, class_indices: Tensor | Sequence[int], *, layer: str
) -> Tensor:
    """Return ``relu(sum_k(relu(G_k) * A_k))``: fit for early layers, whose maps are fine.

    Parameters
    ----------
    network, images, class_indices, layer
        As for ``grad_cam``.

    Returns
    -------
    Tensor of shape (n, h, w), float32, at least 0

    References
    ----------
    Jiang et al., "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", IEEE
    Transactions on Image Processing 30, 2021, equations 6 to 8.
    """
    return _maps(network, images, class_indices, [layer], _by_rising_gradient)[0]


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
    return _maps(network, images, class_indices, layers, _by_mean_gradient)


def _by_mean_gradient(activations: Tensor, gradients: Tensor) -> Tensor:
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    return (weights * activations).sum(dim=1)


def _by_positive_gradient(activations: Tensor, gradients: Tensor) -> Tensor:
    rising = gradients.relu()
    # Alpha with G squared cancelled: as written in the paper it divides 0 by 0 for the small
    # gradients of a confident network, and a constant added to the divisor would change the map.
    divisor = 2 + activations.sum(dim=(2, 3), keepdim=True) * rising
    alpha = torch.where(divisor == 0, 0, 1 / divisor)
    weights = (alpha * rising).sum(dim=(2, 3), keepdim=True)
    return (weights * activations).sum(dim=1)


def _by_gradient(activations: Tensor, gradients: Tensor) -> Tensor:
    return (gradients * activations).sum(dim=1)


def _by_rising_gradient(activations: Tensor, gradients: Tensor) -> Tensor:
    return (gradients.relu() * activations).sum(dim=1)


def _maps(
    network: Network,
    images: Tensor,
    class_indices: Tensor | Sequence[int],
    layers: Sequence[str],
    combine: Combine,
) -> tuple[Tensor, ...]:
    """Return the map of every layer: one pass forward, one back, then ``combine`` and ReLU.

    Returns
    -------
    tuple of Tensor of shape (n, h, w), at least 0

    Raises
    ------
    LayerError
        When no layer leads to the logits.
    """
    points = {name: tap_point(network, name) for name in layers}
    names = {point: name for name, point in points.items()}
    kept: dict[int, Tensor] = {}

    def receive(position: int, tensor: Tensor) -> Tensor:
        # Parameters are frozen, so the graph starts at the first layer asked for: the pass below
        # it costs what inference does.
        start = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
        kept[position] = start
        # A copy goes on: an in-place activation may follow and must not overwrite the map.
        return start.clone()

    with graph(), Taps(network.module, list(names), receive) as taps:
        chosen = check_classes(network, images, class_indices)
        logits = taps.run(network.normalise(images.clone() if images.is_inference() else images))
        activations = [kept[position] for position in range(len(names))]
        score = logits.gather(1, chosen[:, None]).sum()
        if not score.requires_grad:
            msg = f"no layer of {', '.join(layers)} leads to the logits"
            raise LayerError(msg)
        gradients = torch.autograd.grad(score, activations, allow_unused=True)
    found: dict[TapPoint, Tensor] = {}
    for (point, name), activation, gradient in zip(
        names.items(), activations, gradients, strict=True
    ):
        checked = _checked(activation, gradient, name)
        found[point] = combine(*(each.movedim(point.channel_axis, 1) for each in checked)).relu()
    return tuple(found[points[name]] for name in layers)


def _checked(activation: Tensor, gradient: Tensor | None, name: str) -> tuple[Tensor, Tensor]:
    if gradient is None:
        msg = f"layer {name!r} does not lead to the logits in a way that can be followed"
        raise LayerError(msg)
    if activation.ndim != 4:
        msg = f"layer {name!r} has no map: a class activation map needs a convolution"
        raise LayerError(msg)
    return activation.detach(), gradient
