"""The fast gradient sign method: the smallest push, in every pixel, away from a class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from vatun.errors import SpecError
from vatun.gradients import graph
from vatun.specs import find_spec

if TYPE_CHECKING:
    from vatun.network import Network


def fgsm_gradient(network: Network, images: Tensor, labels: Tensor) -> Tensor:
    """Return the direction in which the loss of the labels grows; it serves every epsilon.

    Parameters
    ----------
    network : Network
        The network under test.
    images : Tensor of shape (n, 3, height, width), float32 in [0, 1]
    labels : Tensor of shape (n,), int64
        The true class, or the predicted one where it is not known.

    Returns
    -------
    Tensor of shape (n, 3, height, width), float32
        Sign of the gradient: -1, 0 or 1.

    Raises
    ------
    SpecError
        When there is not one label an image.
    NetworkError
        When the network keeps tensors between its forward passes.

    References
    ----------
    Goodfellow, Shlens and Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015.
    """
    if labels.shape != (len(images),):
        msg = f"{len(images)} images need as many labels, got shape {tuple(labels.shape)}"
        raise SpecError(msg)
    with graph():
        start = images.detach().to(network.device).clone().requires_grad_()
        # The sum keeps images apart: a mean would only scale what the sign drops.
        loss = functional.cross_entropy(
            network.forward(start), labels.to(network.device).clone(), reduction="sum"
        )
        (gradient,) = torch.autograd.grad(loss, start)
    return gradient.sign()


def fgsm(images: Tensor, sign: Tensor, epsilon: float) -> Tensor:
    """Return ``images + epsilon * sign``, kept in [0, 1].

    Parameters
    ----------
    images : Tensor of shape (n, 3, height, width), float32 in [0, 1]
    sign : Tensor of the same shape
        From ``fgsm_gradient``.
    epsilon : float
        Largest change of a pixel, in [0, 1] units; 0 returns the images bit for bit.

    Returns
    -------
    Tensor of shape (n, 3, height, width), float32 in [0, 1]

    Raises
    ------
    MagnitudeError
        When epsilon is not finite or outside its limits.
    """
    size = find_spec("fgsm").check(epsilon)
    if size == 0:
        return images
    return (images + size * sign.to(images.device)).clamp(0, 1)
