"""Can an explanation be trusted: do its hottest pixels matter, and does it depend on learning."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vatun.errors import SpecError
from vatun.explain import find_explanation
from vatun.explanations import check_classes, check_fill
from vatun.network import BATCH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vatun.network import Network

MIN_DRAWS = 19
"""Fewest random regions of which none falling as far is rarer than 1 in 20."""

LEVEL = 0.05
"""How often a map that says nothing may seem to stand out."""

SURVIVES = 0.5
"""Mean absolute rank correlation from which a map hardly depends on what was learnt."""

_seeding = threading.Lock()
"""The generator of torch belongs to the process: one randomisation at a time may borrow it."""


@dataclass(frozen=True, kw_only=True)
class TenthTest:
    """What painting over the hottest pixels of a map does to the score of its class.

    Parameters
    ----------
    score : float
        Softmax score of the class for the whole image.
    hottest : float
        Change of the score without the hottest pixels; below 0 where it fell.
    random_mean, random_deviation : float
        Mean and standard deviation (of the population) of the change without random regions of
        the same size and shape.
    as_harmful : int
        Random regions without which the score fell at least as far.
    draws : int
        Number of random regions.
    share : float
        Share of the pixels that was asked for.
    """

    score: float
    hottest: float
    random_mean: float
    random_deviation: float
    as_harmful: int
    draws: int
    share: float

    @property
    def stands_out(self) -> bool:
        """Whether the score fell, and further than a random region lets it fall in 19 of 20 cases.

        The rank test of a randomisation: ``(1 + as_harmful) / (1 + draws) <= 0.05``. With 20
        draws no random region may be as harmful.
        """
        return self.hottest < 0 and (1 + self.as_harmful) / (1 + self.draws) <= LEVEL


@dataclass(frozen=True, kw_only=True)
class RandomisedTest:
    """How much of a map is left when everything the network has learnt is taken away.

    Parameters
    ----------
    correlations : tuple of float or None
        Spearman's rank correlation between the map and that of each randomised network; None
        where one of the two maps is constant.
    mean : float or None
        Mean of the absolute correlations; None where there is none.
    """

    correlations: tuple[float | None, ...]
    mean: float | None

    @property
    def survives(self) -> bool | None:
        """Whether the map hardly depends on what was learnt: a mean of at least 0.5.

        None where nothing can be said, as every pair of maps holds a constant one.
        """
        return None if self.mean is None else self.mean >= SURVIVES


def hottest_tenth(
    network: Network,
    images: Tensor,
    maps: Tensor,
    class_indices: Tensor | Sequence[int],
    *,
    fill: Sequence[float],
    share: float = 0.1,
    draws: int = 20,
    seed: int = 0,
) -> tuple[TenthTest | None, ...]:
    """Paint over the hottest pixels of each map, and random regions of the same shape.

    A random region is the region of the hottest pixels itself, mirrored at random and moved by a
    random offset; what leaves the image enters it at the opposite side. Pixels strewn at random
    would be no fair comparison: they break every texture of the image, a patch hides one place.
    Every image gets the same offsets, whatever other images are asked about with it, so the tests
    of an image before and after a change can be compared.

    Parameters
    ----------
    network : Network
        The network under test; other threads may use it meanwhile.
    images : Tensor of shape (n, 3, height, width), float32 in [0, 1]
    maps : Tensor of shape (n, h, w)
        Raw maps of an explanation; scaled bilinearly to the size of the image.
    class_indices : sequence of int or Tensor of shape (n,)
        The class that was explained, for each image.
    fill : sequence of three float in [0, 1]
        Colour that pixels are replaced with.
    share : float in (0, 0.5]
        Share of the pixels that counts as hottest: ``round(share * height * width)`` pixels, at
        least one. Of equal pixels the first in reading order are taken.
    draws : int
        Random regions for each image, at least 19.
    seed : int
        Seed of the regions.

    Returns
    -------
    tuple of TenthTest or None
        One for each image; None for a map without a positive value, which has no hottest pixels.

    Raises
    ------
    SpecError
        When shapes do not fit, or a number is not allowed.

    References
    ----------
    Samek et al., "Evaluating the Visualization of What a Deep Neural Network Has Learned", IEEE
    Transactions on Neural Networks and Learning Systems 28 (11), 2017, for painting over pixels
    by their rank.
    """
    _check_tenth(images, maps, share=share, draws=draws)
    paint = torch.tensor(check_fill(fill), device=network.device)[:, None, None]
    chosen = check_classes(network, images, class_indices)
    warm = (maps.flatten(1) > 0).any(dim=1).nonzero()[:, 0].tolist()
    masks = [_regions(maps[row], images.shape[2:], share, draws, seed) for row in warm]
    scores = _covered_scores(network, images, chosen, warm, masks, paint)
    found: list[TenthTest | None] = [None] * len(images)
    for row, (score, hottest, *random) in zip(warm, scores, strict=True):
        changes = np.asarray(random) - score
        found[row] = TenthTest(
            score=score,
            hottest=hottest - score,
            random_mean=float(changes.mean()),
            random_deviation=float(changes.std()),
            as_harmful=int((changes <= hottest - score).sum()),
            draws=draws,
            share=share,
        )
    return tuple(found)


def randomised(
    network: Network,
    image: Tensor,
    class_index: int,
    *,
    method: str,
    layer: str,
    draws: int = 5,
    seed: int = 0,
) -> RandomisedTest:
    """Compare a map with the maps of networks of the same form that have learnt nothing.

    A copy of the network gets new random parameters in every layer; a map that stays much the
    same shows the image and the form of the network, not what was learnt. The network itself is
    not touched, and the process's random numbers go on as if nothing had been drawn.

    Parameters
    ----------
    network : Network
        The network under test; other threads may use it meanwhile.
    image : Tensor of shape (3, height, width), float32 in [0, 1]
    class_index : int
        The class to explain.
    method : str
        Name of a registered explanation.
    layer : str
        As for ``grad_cam``; ignored where the method reads the input.
    draws : int
        Randomised networks, at least 1.
    seed : int
        Seed of their parameters.

    Returns
    -------
    RandomisedTest

    Raises
    ------
    SpecError
        When the image has another shape, the class does not exist, or there is no draw.

    References
    ----------
    Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018: the model parameter
    randomization test, all layers at once.
    """
    if image.ndim != 3:
        msg = f"one image of shape (3, height, width) is needed, got {tuple(image.shape)}"
        raise SpecError(msg)
    if draws < 1:
        msg = f"at least 1 randomised network is needed, got {draws}"
        raise SpecError(msg)
    apply = find_explanation(method).apply
    # Parameters made inside the inference mode of a caller could not carry a graph.
    with torch.inference_mode(mode=False):
        images = image.detach().clone()[None]
        learnt = _flat(apply(network, images, [class_index], layer=layer))
        correlations = []
        for draw in range(draws):
            # A copy for every draw: what it becomes depends on its seed alone.
            blank = replace(network, module=_copied(network.module))
            _randomise(blank.module, network.device, seed + draw)
            unlearnt = _flat(apply(blank, images, [class_index], layer=layer))
            correlations.append(rank_correlation(learnt, unlearnt))
    sizes = [abs(each) for each in correlations if each is not None]
    return RandomisedTest(
        correlations=tuple(correlations), mean=sum(sizes) / len(sizes) if sizes else None
    )


def rank_correlation(left: NDArray[np.float64], right: NDArray[np.float64]) -> float | None:
    """Return Spearman's rank correlation; equal values share the mean of their ranks.

    Parameters
    ----------
    left, right : ndarray of shape (n,)

    Returns
    -------
    float or None
        In [-1, 1]; None when one of the two is constant, for which it is not defined.
    """
    first, second = (_centred_ranks(values) for values in (left, right))
    size = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / size if size else None


def _check_tenth(images: Tensor, maps: Tensor, *, share: float, draws: int) -> None:
    if images.ndim != 4 or maps.ndim != 3 or len(maps) != len(images):
        shapes = f"{tuple(images.shape)} and {tuple(maps.shape)}"
        msg = f"images (n, 3, height, width) need maps (n, h, w), got {shapes}"
        raise SpecError(msg)
    if not bool(torch.isfinite(maps).all()):
        msg = "maps must be finite"
        raise SpecError(msg)
    if not 0 < share <= 0.5:
        msg = f"share must lie in (0, 0.5], got {share}"
        raise SpecError(msg)
    if draws < MIN_DRAWS:
        msg = f"{draws} random regions cannot show that something is rare; draw {MIN_DRAWS}"
        raise SpecError(msg)


def _regions(found: Tensor, size: Sequence[int], share: float, draws: int, seed: int) -> Tensor:
    """Return what is painted over: nothing, the hottest pixels, and that region moved about.

    Returns
    -------
    Tensor of shape (2 + draws, height, width), bool
        On the CPU, where the order of equal pixels is the same on every machine.
    """
    height, width = size
    scaled = functional.interpolate(
        found.detach().cpu()[None, None], size=(height, width), mode="bilinear"
    )
    order = scaled.flatten().argsort(descending=True, stable=True)
    hottest = torch.zeros(height * width, dtype=torch.bool)
    hottest[order[: max(1, round(share * height * width))]] = True
    hottest = hottest.view(height, width)
    generator = np.random.default_rng(seed)
    masks = [torch.zeros_like(hottest), hottest]
    for _ in range(draws):
        moved = hottest.roll(
            (int(generator.integers(height)), int(generator.integers(width))), (0, 1)
        )
        mirrored = [axis for axis in (0, 1) if generator.integers(2)]
        masks.append(moved.flip(mirrored))
    return torch.stack(masks)


def _covered_scores(
    network: Network,
    images: Tensor,
    chosen: Tensor,
    rows: Sequence[int],
    masks: Sequence[Tensor],
    paint: Tensor,
) -> list[list[float]]:
    """Return the softmax score of every image under each of its masks, in shared batches."""
    if not rows:
        return []
    stacked = torch.stack(list(masks)).to(network.device)
    copies = stacked.shape[1]
    owner = torch.tensor(rows, device=network.device).repeat_interleave(copies)
    with torch.inference_mode():
        whole = images.to(network.device)
        parts = [
            network.logits(torch.where(under[:, None], paint.to(whole.dtype), whole[index]))
            for under, index in zip(
                torch.split(stacked.flatten(0, 1), BATCH), torch.split(owner, BATCH), strict=True
            )
        ]
        shares = torch.cat(parts).double().softmax(dim=1).gather(1, chosen[owner, None])
    scores: list[list[float]] = shares.view(len(rows), copies).tolist()
    return scores


def _copied(module: nn.Module) -> nn.Module:
    """Copy a module while other threads hang hooks on it and take them off again."""
    # The tables of hooks are copied in one step each: deepcopy would walk through them, and fail
    # when another thread changes one meanwhile. Another thread's hooks do nothing in this one.
    hooks = [
        table
        for child in module.modules()
        for name, table in vars(child).items()
        if name.endswith("_hooks") and table is not None
    ]
    return copy.deepcopy(module, {id(table): table.copy() for table in hooks})


def _randomise(module: nn.Module, device: torch.device, seed: int) -> None:
    """Give every parameter new random values, as the module's own code starts them."""
    devices = [device] if device.type == "cuda" else []
    with _seeding, torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(seed)
        for child in module.modules():
            before = [(values, values.clone()) for values in child.parameters(recurse=False)]
            reset = getattr(child, "reset_parameters", None)
            if callable(reset):
                reset()
            for values, old in before:
                # What has no such code, or code that leaves it out, keeps its values, not their
                # places.
                if torch.equal(values, old):
                    order = torch.randperm(old.numel(), device=old.device)
                    values.copy_(old.flatten()[order].view_as(old))


def _flat(maps: Tensor) -> NDArray[np.float64]:
    return maps[0].flatten().double().cpu().numpy()


def _centred_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    means = np.cumsum(counts) - (counts - 1) / 2
    ranks = means[places]
    return np.asarray(ranks - ranks.mean(), dtype=np.float64)
