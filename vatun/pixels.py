"""Explanations that read the image itself: integrated gradients and occlusion.

They say which pixels carry the logit of a class, at the size of the image and whatever the layer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vatun.errors import SpecError
from vatun.explanations import check_classes, check_fill, explanation
from vatun.gradients import graph
from vatun.network import BATCH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vatun.network import Network

MIN_WINDOW = 2
"""Smallest side of an occluded window, in pixels."""


@explanation(label="Integrated gradients", reads="input")
def integrated_gradients(
    network: Network,
    images: Tensor,
    class_indices: Tensor | Sequence[int],
    *,
    layer: str = "",
    steps: int = 50,
) -> Tensor:
    """Return which pixels raise the logit of a class on the way from black to the image.

    The attributions of ``pixel_attributions``, summed over the colour channels; pixels that lower
    the logit are 0. The way starts at black, in [0, 1] pixels before normalisation: a pixel that
    is black itself gets 0, whatever it means to the network.

    Parameters
    ----------
    network, images, class_indices
        As for ``grad_cam``.
    layer : str
        Ignored: the image is read.
    steps : int
        Points on the way, at least 1.

    Returns
    -------
    Tensor of shape (n, height, width), float32, at least 0

    References
    ----------
    Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017.
    """
    del layer
    return pixel_attributions(network, images, class_indices, steps=steps).sum(dim=1).relu()


def pixel_attributions(
    network: Network,
    images: Tensor,
    class_indices: Tensor | Sequence[int],
    *,
    steps: int = 50,
) -> Tensor:
    """Return the integrated gradients of every channel of every pixel, with their sign.

    The gradient of the logit is integrated along the straight line from black to the image by
    Gauss-Legendre quadrature, then multiplied by the pixel. The sum over an image tends to the
    difference between its logit and that of black.

    Parameters
    ----------
    network, images, class_indices, steps
        As for ``integrated_gradients``.

    Returns
    -------
    Tensor of shape (n, 3, height, width)

    Raises
    ------
    SpecError
        When there is no step, not one class an image, or a class that does not exist.
    """
    if steps < 1:
        msg = f"integrated gradients need at least 1 step, got {steps}"
        raise SpecError(msg)
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    with graph():
        chosen = check_classes(network, images, class_indices)
        ends = images.detach().to(network.device).clone()
        shares = ends.new_tensor((1 + nodes) / 2)
        parts = ends.new_tensor(weights / 2)
        total = torch.zeros_like(ends)
        for rows, step in _pairs(len(ends), steps, network.device):
            points = (ends[rows] * shares[step, None, None, None]).requires_grad_()
            logits = network.forward(points)
            score = logits.gather(1, chosen[rows, None]).sum()
            (gradient,) = torch.autograd.grad(score, points)
            total.index_add_(0, rows, gradient * parts[step, None, None, None])
    return total * ends


@explanation(label="Occlusion", reads="input")
def occlusion(
    network: Network,
    images: Tensor,
    class_indices: Tensor | Sequence[int],
    *,
    layer: str = "",
    window: float = 0.25,
    stride: float | None = None,
    fill: Sequence[float] | None = None,
) -> Tensor:
    """Return how far the logit of a class falls when a window over a pixel is painted over.

    The drops of ``occlusion_drops``; pixels whose covering raises the logit are 0.

    Parameters
    ----------
    network, images, class_indices
        As for ``grad_cam``.
    layer : str
        Ignored: the image is read.
    window : float in (0, 1]
        Side of the window as a share of the image's shorter side; at least 2 pixels.
    stride : float in (0, 1], optional
        Step of the window as a share of the image's shorter side; at least 1 pixel and at most
        the window. Half of the window where absent.
    fill : sequence of three float in [0, 1], optional
        Colour of the window; the mean of the input where absent, which normalises to 0.

    Returns
    -------
    Tensor of shape (n, height, width), float32, at least 0

    References
    ----------
    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section
    4.2.
    """
    del layer
    shorter = min(network.input.height, network.input.width)
    side = min(shorter, max(MIN_WINDOW, _pixels("window", window, shorter)))
    step = side // 2 if stride is None else _pixels("stride", stride, shorter)
    drops = occlusion_drops(
        network,
        images,
        class_indices,
        window=side,
        stride=min(side, max(1, step)),
        fill=network.input.mean if fill is None else fill,
    )
    return drops.relu()


def occlusion_drops(
    network: Network,
    images: Tensor,
    class_indices: Tensor | Sequence[int],
    *,
    window: int,
    stride: int,
    fill: Sequence[float],
) -> Tensor:
    """Return how far the logit of a class falls under a window, with its sign.

    The window starts at the top left corner and moves by the stride until it has reached the
    other edges, where it may stand out of the image. A pixel gets the mean over the windows that
    cover it.

    Parameters
    ----------
    network, images, class_indices
        As for ``grad_cam``.
    window, stride : int
        In pixels; the stride is at most the window, so that no pixel is left out.
    fill : sequence of three float in [0, 1]
        Colour of the window.

    Returns
    -------
    Tensor of shape (n, height, width)
        Logit of the image minus logit of the covered image.

    Raises
    ------
    SpecError
        When a size or colour is not allowed, there is not one class an image, or a class does not
        exist.
    """
    colour = check_fill(fill)
    height, width = network.input.height, network.input.width
    if not 1 <= stride <= window <= min(height, width):
        msg = f"occlusion needs 1 <= stride <= window <= the image, got {stride} and {window}"
        raise SpecError(msg)
    with torch.inference_mode(mode=False), torch.no_grad():
        chosen = check_classes(network, images, class_indices)
        whole = images.detach().to(network.device).clone()
        down = _steps(height, window, stride).to(network.device)
        across = _steps(width, window, stride).to(network.device)
        paint = whole.new_tensor(colour)[:, None, None]
        before = _scores(network, whole, chosen)
        drops = before.new_zeros((len(whole), len(down) * len(across)))
        for rows, number in _pairs(len(whole), drops.shape[1], network.device):
            top, left = number // len(across), number % len(across)
            under = down[top, :, None] & across[left, None, :]
            covered = torch.where(under[:, None], paint, whole[rows])
            drops[rows, number] = before[rows] - _scores(network, covered, chosen[rows])
        rise, run = down.to(drops.dtype), across.to(drops.dtype)
        drops = drops.view(len(whole), len(down), len(across))
        total = torch.einsum("nrc,rh,cw->nhw", drops, rise, run)
        return total / torch.outer(rise.sum(dim=0), run.sum(dim=0))


def _pixels(name: str, share: float, side: int) -> int:
    if not 0 < share <= 1:
        msg = f"{name} is a share of the image's shorter side, in (0, 1], got {share}"
        raise SpecError(msg)
    return round(share * side)


def _steps(side: int, window: int, stride: int) -> Tensor:
    """Return what the window covers along one side: booleans of shape (steps, side)."""
    starts = torch.arange(math.ceil((side - window) / stride) + 1)[:, None] * stride
    places = torch.arange(side)
    return (places >= starts) & (places < starts + window)


def _scores(network: Network, images: Tensor, chosen: Tensor) -> Tensor:
    parts = [network.forward(part) for part in torch.split(images, BATCH)]
    return torch.cat(parts).gather(1, chosen[:, None])[:, 0]


def _pairs(images: int, copies: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Return every image with every one of its copies, in batches of index tensors."""
    for flat in torch.split(torch.arange(images * copies, device=device), BATCH):
        yield flat // copies, flat % copies
