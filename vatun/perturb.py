"""Change images: one registered function a perturbation, applied in one fixed order.

All act on RGB in [0, 1] at the network's input size, before normalisation: a hue turned after
normalisation is another colour altogether. Each equals torchvision's transform of that name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from vatun.attack import fgsm, fgsm_gradient
from vatun.errors import SpecError, UnknownNameError
from vatun.specs import (
    ATTACKS,
    REGION_FILLS,
    ROTATION_FILLS,
    Box,
    Change,
    PerturbationSpec,
    check_fill,
    find_spec,
    register_spec,
)

if TYPE_CHECKING:
    from vatun.network import Network

Apply = Callable[..., Tensor]

_GREY = (0.2989, 0.587, 0.114)
_NEEDS = ("seeds", "fill", "rotation_fill")
_PADDING = dict(zip(ROTATION_FILLS, ("zeros", "border", "reflection"), strict=True))


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """One registered perturbation.

    Parameters
    ----------
    spec : PerturbationSpec
        Its name, unit, limits and grid.
    apply : callable
        ``(images, magnitude) -> images``, with what it needs by keyword.
    needs : tuple of str
        Which of ``seeds``, ``fill`` and ``rotation_fill`` it takes.
    """

    spec: PerturbationSpec
    apply: Apply
    needs: tuple[str, ...] = ()


_perturbations: dict[str, Perturbation] = {}

PERTURBATIONS: Mapping[str, Perturbation] = MappingProxyType(_perturbations)
"""Perturbations by name; attacks, which need a network, are in ``vatun.attack``."""


def perturbation(
    *, spec: PerturbationSpec | None = None, needs: Sequence[str] = ()
) -> Callable[[Apply], Apply]:
    """Register a perturbation under its function's name.

    The function is given magnitudes within the limits and never the identity. Its images are
    float32 of shape (n, 3, height, width) in [0, 1]; it returns as many and leaves them as they
    were.

    Parameters
    ----------
    spec : PerturbationSpec or None
        Of a new perturbation, named like the function; None for one that ``vatun.specs`` names.
    needs : sequence of str
        ``"seeds"`` (one int an image), ``"fill"`` (three floats) and ``"rotation_fill"`` (one of
        ``vatun.specs.ROTATION_FILLS``), taken by keyword.

    Returns
    -------
    callable
        A decorator that returns the function itself.

    Raises
    ------
    SpecError
        When the name is taken, differs from the specification, or a need is unknown.

    Examples
    --------
    >>> @perturbation(spec=PerturbationSpec(name="invert", label="Invert", unit="off or on",
    ...     low=0.0, identity=0.0, high=1.0, grid=(0.0, 1.0)))  # doctest: +SKIP
    ... def invert(images, magnitude):
    ...     return 1 - images
    """

    def register(function: Apply) -> Apply:
        name = function.__name__
        if name in _perturbations or not set(_NEEDS).issuperset(needs):
            known = ", ".join(_NEEDS)
            msg = f"perturbation {name!r} is registered already, or needs other than {known}"
            raise SpecError(msg)
        if spec is not None:
            if spec.name != name:
                msg = f"perturbation {name!r} has the specification of {spec.name!r}"
                raise SpecError(msg)
            register_spec(spec)
        _perturbations[name] = Perturbation(
            spec=find_spec(name), apply=function, needs=tuple(needs)
        )
        return function

    return register


def find_perturbation(name: str) -> Perturbation:
    """Return the perturbation called ``name``.

    Returns
    -------
    Perturbation

    Raises
    ------
    UnknownNameError
        Listing the registered names.
    """
    try:
        return _perturbations[name]
    except KeyError:
        msg = f"unknown perturbation {name!r}; known: {', '.join(_perturbations)}"
        raise UnknownNameError(msg) from None


def perturb(
    images: Tensor,
    name: str,
    magnitude: float,
    *,
    seeds: Sequence[int] | None = None,
    fill: Sequence[float] | None = None,
    rotation_fill: str = "black",
) -> Tensor:
    """Apply one perturbation.

    Parameters
    ----------
    images : Tensor of shape (n, 3, height, width), float32 in [0, 1]
        Left as they are.
    name : str
        A key of ``PERTURBATIONS``.
    magnitude : float
        In the perturbation's unit; its identity returns ``images`` themselves.
    seeds : sequence of int, optional
        One an image, such as its id: noise depends on it and not on the rest of the batch.
    fill : sequence of three floats, optional
        Colour of removed regions in [0, 1]: the mean pixel of the data set.
    rotation_fill : str
        One of ``vatun.specs.ROTATION_FILLS``: what a rotation turns into the corners.

    Returns
    -------
    Tensor of shape (n, 3, height, width), float32 in [0, 1]

    Raises
    ------
    MagnitudeError
        When the magnitude is not a finite number within the limits, or the fill is unknown.
    SpecError
        When seeds or fill are needed and missing.
    """
    chosen = find_perturbation(name)
    value = chosen.spec.check(magnitude)
    if value == chosen.spec.identity:
        return images
    given: dict[str, Any] = {"seeds": seeds, "fill": fill, "rotation_fill": rotation_fill}
    missing = [need for need in chosen.needs if given[need] is None]
    if missing:
        msg = f"{name} needs {' and '.join(missing)}"
        raise SpecError(msg)
    if "seeds" in chosen.needs and len(given["seeds"]) != len(images):
        msg = f"{name} needs one seed an image: {len(given['seeds'])} for {len(images)}"
        raise SpecError(msg)
    options = {need: given[need] for need in chosen.needs}
    if chosen.apply.__module__ == __name__:
        return chosen.apply(images, value, **options)
    return _checked(name, images, chosen.apply(images.clone(), value, **options))


def _checked(name: str, images: Tensor, changed: Any) -> Tensor:
    """Return the images of a plugin, unless they are none; ours are tested.

    Returns
    -------
    Tensor of the shape of ``images``, in [0, 1]

    Raises
    ------
    SpecError
        Naming the perturbation and what is wrong with its images.
    """
    if not isinstance(changed, Tensor) or changed.shape != images.shape:
        shape = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
        msg = f"{name} must return images of shape {tuple(images.shape)}, got {shape}"
        raise SpecError(msg)
    result: Tensor = changed.to(images.dtype)
    low, high = (float(value) for value in torch.aminmax(result)) if len(result) else (0.0, 1.0)
    if not (low >= -1e-4 and high <= 1 + 1e-4):
        msg = f"{name} must return pixels in [0, 1], got {low:g} to {high:g}"
        raise SpecError(msg)
    return result.clamp(0, 1)


def apply_change(
    images: Tensor,
    change: Change,
    *,
    seeds: Sequence[int] | None = None,
    fill: Sequence[float] | None = None,
    network: Network | None = None,
    labels: Tensor | None = None,
) -> Tensor:
    """Apply everything a change holds, in the fixed order: regions first, the attack last.

    Parameters
    ----------
    images : Tensor of shape (n, 3, height, width), float32 in [0, 1]
        Left as they are.
    change : Change
        Magnitudes, boxes and fills; the identity returns ``images`` themselves.
    seeds, fill
        As for ``perturb``.
    network, labels
        For an attack: the network, and the class of each image to push away from.

    Returns
    -------
    Tensor of shape (n, 3, height, width), float32 in [0, 1]

    Raises
    ------
    SpecError
        When something that the change needs is missing.
    """
    if change.boxes:
        images = remove_boxes(images, change.boxes, fill=fill, how=change.region_fill)
    for name, magnitude in change:
        if name not in ATTACKS:
            images = perturb(
                images,
                name,
                magnitude,
                seeds=seeds,
                fill=fill,
                rotation_fill=change.rotation_fill,
            )
            continue
        if network is None or labels is None:
            msg = f"{name} needs a network and labels"
            raise SpecError(msg)
        images = fgsm(images, fgsm_gradient(network, images, labels), magnitude)
    return images


def remove_boxes(
    images: Tensor,
    boxes: Sequence[Box],
    *,
    fill: Sequence[float] | None = None,
    how: str = "mean",
) -> Tensor:
    """Hide rectangles; an edge falls on the nearest pixel border.

    Parameters
    ----------
    images : Tensor of shape (n, 3, height, width), float32 in [0, 1]
        Left as they are.
    boxes : sequence of Box
        Shares of width and height; each covers at least one pixel.
    fill : sequence of three floats, optional
        Colour in [0, 1] for ``how="mean"``.
    how : str
        One of ``vatun.specs.REGION_FILLS``. ``"blur"`` shows the image under the strongest blur of
        the perturbation of that name.

    Returns
    -------
    Tensor of shape (n, 3, height, width), float32 in [0, 1]

    Raises
    ------
    MagnitudeError
        When ``how`` is unknown.
    SpecError
        When ``fill`` is needed and missing.
    """
    shown = _shown(images, check_fill(how, REGION_FILLS), fill)
    height, width = images.shape[-2:]
    result = images.clone()
    for box in boxes:
        left, right = _pixels(box.left, box.right, width)
        top, bottom = _pixels(box.top, box.bottom, height)
        result[..., top:bottom, left:right] = shown[..., top:bottom, left:right]
    return result


@perturbation(needs=("fill",))
def region(images: Tensor, magnitude: float, *, fill: Sequence[float]) -> Tensor:
    """Fill a centred square whose side is a share of the shorter side."""
    height, width = images.shape[-2:]
    side = round(magnitude * min(height, width))
    top, left = (height - side) // 2, (width - side) // 2
    result = images.clone()
    result[..., top : top + side, left : left + side] = _colour(fill, images)
    return result


@perturbation()
def horizontal_flip(images: Tensor, magnitude: float) -> Tensor:
    """Swap left and right."""
    del magnitude
    return images.flip(-1)


@perturbation()
def vertical_flip(images: Tensor, magnitude: float) -> Tensor:
    """Swap top and bottom."""
    del magnitude
    return images.flip(-2)


@perturbation(needs=("rotation_fill",))
def rotation(images: Tensor, magnitude: float, *, rotation_fill: str = "black") -> Tensor:
    """Turn counter-clockwise by degrees about the centre, bilinear; the fill is what is outside.

    Right angles move whole pixels where the image keeps its shape, whatever the fill.

    Returns
    -------
    Tensor of shape (n, 3, height, width), float32 in [0, 1]
    """
    padding = _PADDING[check_fill(rotation_fill, ROTATION_FILLS)]
    quarters = {90.0: 1, 180.0: 2, -180.0: 2, -90.0: 3}
    is_square = images.shape[-1] == images.shape[-2]
    if abs(magnitude) == 180 or (is_square and magnitude in quarters):
        return torch.rot90(images, k=quarters[magnitude], dims=(-2, -1))
    height, width = images.shape[-2:]
    angle = math.radians(magnitude)
    x = torch.linspace((1 - width) / 2, (width - 1) / 2, width, device=images.device)
    y = torch.linspace((1 - height) / 2, (height - 1) / 2, height, device=images.device)[:, None]
    across = (math.cos(angle) * x - math.sin(angle) * y) / (0.5 * width)
    down = (math.sin(angle) * x + math.cos(angle) * y) / (0.5 * height)
    grid = torch.stack((across, down), dim=-1).to(images.dtype)
    return functional.grid_sample(
        images,
        grid.expand(len(images), -1, -1, -1),
        mode="bilinear",
        padding_mode=padding,
        align_corners=False,
    )


@perturbation()
def hue(images: Tensor, magnitude: float) -> Tensor:
    """Turn the hue of every pixel in HSV space; half a turn is the opposite colour.

    Returns
    -------
    Tensor of shape (n, 3, height, width), float32 in [0, 1]

    References
    ----------
    Smith, "Color Gamut Transform Pairs", SIGGRAPH 1978.
    """
    red, green, blue = images.unbind(dim=-3)
    low, high = torch.aminmax(images, dim=-3)
    chroma = high - low
    divisor = torch.where(chroma == 0, torch.ones_like(chroma), chroma)
    sector = torch.where(
        high == red,
        (green - blue) / divisor,
        torch.where(high == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    turned = sector + 6 * magnitude
    channels = []
    for offset in (5, 3, 1):
        place = torch.remainder(turned + offset, 6)
        share = torch.minimum(place, 4 - place).clamp_(0, 1)
        channels.append(high - chroma * share)
    return torch.stack(channels, dim=-3).clamp_(0, 1)


@perturbation()
def saturation(images: Tensor, magnitude: float) -> Tensor:
    """Blend with the grey image: 0 is grey, 2 twice as colourful."""
    return _blend(images, _grey(images), magnitude)


@perturbation()
def contrast(images: Tensor, magnitude: float) -> Tensor:
    """Blend with the mean grey of each image: 0 is flat, 2 twice the contrast."""
    return _blend(images, _grey(images).mean(dim=(-3, -2, -1), keepdim=True), magnitude)


@perturbation()
def brightness(images: Tensor, magnitude: float) -> Tensor:
    """Multiply every pixel: 0 is black, 2 twice as bright."""
    return (images * magnitude).clamp_(0, 1)


@perturbation()
def blur(images: Tensor, magnitude: float) -> Tensor:
    """Blur with a Gaussian whose sigma is a share of the shorter side.

    The kernel reaches four sigma to either side (its length ``2 * ceil(4 * sigma) + 1`` is odd,
    and no longer than the side allows), and edges are mirrored. It is applied as one matrix
    product along each axis, mirroring included.

    Returns
    -------
    Tensor of shape (n, 3, height, width), float32 in [0, 1]
    """
    height, width = images.shape[-2:]
    sigma = magnitude * min(height, width)
    down = _blur_matrix(height, sigma).to(images)
    across = _blur_matrix(width, sigma).to(images)
    return (down @ images @ across.T).clamp_(0, 1)


@perturbation(needs=("seeds",))
def noise(images: Tensor, magnitude: float, *, seeds: Sequence[int]) -> Tensor:
    """Add Gaussian noise; an image has one noise pattern, scaled by the magnitude."""
    shape = images.shape[1:]
    pattern = torch.stack(
        [torch.randn(shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    )
    return (images + magnitude * pattern.to(images)).clamp_(0, 1)


def blur_radius(side: int, sigma: float) -> int:
    """Return how many pixels a blur reaches to either side on an axis of ``side`` pixels."""
    return min(math.ceil(4 * sigma), side - 1)


@lru_cache(maxsize=64)
def _blur_matrix(side: int, sigma: float) -> Tensor:
    """Return the (side, side) matrix that blurs one axis with mirrored edges."""
    radius = blur_radius(side, sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.softmax(-0.5 * (offsets / sigma) ** 2, dim=0)
    matrix = torch.zeros(side, side, dtype=torch.float64)
    for offset, weight in zip(range(-radius, radius + 1), kernel, strict=True):
        for row in range(side):
            # Mirrored without repeating the edge pixel, as torch's "reflect" padding does.
            column = abs(row + offset)
            column = 2 * (side - 1) - column if column >= side else column
            matrix[row, column] += weight
    return matrix


def _blend(images: Tensor, other: Tensor, ratio: float) -> Tensor:
    return (images * ratio + other * (1 - ratio)).clamp_(0, 1)


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.unbind(dim=-3)
    return (_GREY[0] * red + _GREY[1] * green + _GREY[2] * blue).unsqueeze(-3)


def _shown(images: Tensor, how: str, fill: Sequence[float] | None) -> Tensor:
    """Return what removed boxes show, in the shape of the images."""
    if how == "blur":
        return blur(images, find_spec("blur").high)
    colour = fill if how == "mean" else (0.0, 0.0, 0.0)
    if colour is None:
        msg = "a removed region needs fill"
        raise SpecError(msg)
    return _colour(colour, images).expand_as(images)


def _colour(fill: Sequence[float], images: Tensor) -> Tensor:
    colour = torch.tensor([float(value) for value in fill], dtype=images.dtype)
    if colour.shape != (3,) or not bool(torch.isfinite(colour).all()):
        msg = f"fill must be three finite numbers, got {list(fill)}"
        raise SpecError(msg)
    return colour.to(images.device).view(3, 1, 1)


def _pixels(start: float, stop: float, side: int) -> tuple[int, int]:
    first = min(round(start * side), side - 1)
    return first, max(round(stop * side), first + 1)
