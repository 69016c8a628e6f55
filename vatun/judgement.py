"""The verdict of an ablation: cause, marker, or cannot tell. Numbers only; no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from vatun.errors import SpecError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MIN_SETS = 20
"""Fewest random sets: none as harmful among 20 is rarer than 1 in 20 for a set picked blindly."""

LEVEL = 0.05
"""How often a set picked blindly may be as harmful as a cause has to be."""

MIN_IMAGES = 10
"""Fewest images for a verdict. A pattern may have 5, and those are often one scene: an effect
that none of 10 images shows may still concern three images in ten."""

FLOOR = 0.1
"""Mean loss of score, beyond that of random sets, below which an effect is negligible: as much as
one confident image in ten that changes its class."""

MAX_SHARED = 0.3
"""Largest share of tested filters in the random sets with which "marker" can be said: above it
random sets cost as much because they are much the same sets."""

ROOM = 8
"""Filters of a layer for each tested one from which random sets leave the tested ones out."""

CHUNK = 1_000_000
"""Random weights in memory at a time."""

DRAWS = 10_000
"""Random weightings behind an interval: its ends move by about 0.002 from seed to seed."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What replacing filters costs, beside random sets of filters, and what follows from it.

    Parameters
    ----------
    effect : float
        Mean loss of the score of the class first predicted, in [-1, 1].
    random_effects : tuple of float
        The same for each random set.
    difference : float
        Effect less the mean of the random effects.
    low, high : float
        95 % interval of the difference over images, see ``mean_interval``.
    as_harmful : int
        Random sets whose effect is at least as large.
    verdict : str
        ``"cause"``, ``"marker"`` or ``"cannot tell"``.
    reason : str
        Why, in one sentence.
    """

    effect: float
    random_effects: tuple[float, ...]
    difference: float
    low: float
    high: float
    as_harmful: int
    verdict: str
    reason: str

    @property
    def p_value(self) -> float:
        """Chance of so few random sets being as harmful, were the tested set one of them."""
        return (1 + self.as_harmful) / (1 + len(self.random_effects))


def judge(
    losses: ArrayLike,
    random_losses: ArrayLike,
    scores: ArrayLike,
    *,
    shared: float = 0.0,
    seed: int = 0,
) -> Judgement:
    """Say whether filters are a cause or a marker, or that it cannot be told.

    Two things are uncertain: which filters random sets happen to hold, and which images the
    pattern happens to have. The rank test speaks of the first alone, the interval of the second
    alone; a cause must pass both.

    cause
        At least 10 images; so few random sets are as harmful that ``(1 + as_harmful) /
        (1 + sets)`` is at most 0.05, which holds for one in 20 sets picked blindly (for more of
        them where many filters of a layer are tested, see ``Ablator``); the interval of the
        difference lies above 0; and the difference is at least 0.1.
    marker
        At least 10 images; the interval lies below 0.1: the filters cost no more than random ones
        do, or so little more that it is negligible; and at most three in ten filters of the
        random sets are tested ones. Where no image loses anything this takes about 35 images:
        with fewer, an effect on one image in ten would probably not have been seen.
    cannot tell
        All else, with the reason.

    A cause is a cause of these predictions on these images: that replacing the filters costs more
    than replacing others. It is not said that the filters act on no other images, nor that the
    network would be right without them. Images of one scene count as several: the interval is then
    too narrow. Random sets are not matched by how much they fire: a set that fires strongly on
    these images and is read by later layers costs more than one that is silent, and is a cause.
    Who judges many sets must expect one in 20 blind ones to pass the rank test.

    Parameters
    ----------
    losses : array_like of shape (n,)
        Loss of the score of the class first predicted, for each image.
    random_losses : array_like of shape (sets, n)
        The same without each random set.
    scores : array_like of shape (n,)
        Score of that class before: no image can lose more.
    shared : float
        Mean share of tested filters in the random sets.
    seed : int
        Of the interval.

    Returns
    -------
    Judgement

    Raises
    ------
    SpecError
        When shapes do not fit, or a number is not finite.

    References
    ----------
    Phipson and Smyth, "Permutation P-values Should Never Be Zero", 2010, for the rank test.
    """
    lost, random, before = (
        np.asarray(each, dtype=np.float64) for each in (losses, random_losses, scores)
    )
    shapes = (random.shape[1:], before.shape)
    if lost.ndim != 1 or not lost.size or not len(random) or shapes != (lost.shape,) * 2:
        msg = f"losses of shapes {lost.shape} and {random.shape} do not fit"
        raise SpecError(msg)
    if not all(np.isfinite(each).all() for each in (lost, random, before)):
        msg = "losses and scores must be finite"
        raise SpecError(msg)
    usual = random.mean(axis=0)
    low, high = mean_interval(
        lost - usual, float((before - 1 - usual).min()), float((before - usual).max()), seed=seed
    )
    found = Judgement(
        effect=float(lost.mean()),
        random_effects=tuple(random.mean(axis=1).tolist()),
        difference=float((lost - usual).mean()),
        low=low,
        high=high,
        as_harmful=int((random.mean(axis=1) >= lost.mean()).sum()),
        verdict="cannot tell",
        reason="",
    )
    verdict, reason = _verdict(found, lost.size, shared)
    return replace(found, verdict=verdict, reason=reason)


def mean_interval(
    values: ArrayLike, lowest: float, highest: float, *, seed: int = 0, draws: int = DRAWS
) -> tuple[float, float]:
    """Return a 95 % interval of the mean of bounded values, honest for few of them.

    Each end is the outer 2.5 % point of weighted means of the values and the bound on that side,
    with weights uniform on the simplex. A plain bootstrap of ten values that happen to be equal
    has no width; here the bound stands for the image not seen yet. Where no image has an effect,
    the end is that of Clopper and Pearson for 0 in n.

    Parameters
    ----------
    values : array_like of shape (n,)
        A sample.
    lowest, highest : float
        Bounds that no value of the population passes.
    seed : int
        Of the weights.
    draws : int
        Weightings.

    Returns
    -------
    low, high : float

    References
    ----------
    Learned-Miller and Thomas, "A New Confidence Interval for the Mean of a Bounded Random
    Variable", 2019; the coverage is a conjecture that no simulation has broken.
    """
    sample = np.asarray(values, dtype=np.float64)
    # An end that the sample itself passes by rounding is no bound.
    ends = np.array([min(lowest, sample.min()), max(highest, sample.max())])
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK // (sample.size + 1))
    means = []
    for begin in range(0, draws, rows):
        count = min(rows, draws - begin)
        weights = generator.exponential(size=(count, sample.size + 1))
        whole = weights[:, :-1] @ sample
        means.append((whole[:, None] + weights[:, -1:] * ends) / weights.sum(axis=1)[:, None])
    low, high = np.concatenate(means).T
    return float(np.quantile(low, LEVEL / 2)), float(np.quantile(high, 1 - LEVEL / 2))


def _verdict(found: Judgement, images: int, shared: float) -> tuple[str, str]:
    sets = len(found.random_effects)
    rest = f"{found.as_harmful} of {sets} random sets cost as much"
    if images < MIN_IMAGES:
        return "cannot tell", f"{images} images are too few: at least {MIN_IMAGES} are needed"
    if found.high < FLOOR and shared <= MAX_SHARED:
        return "marker", f"the filters cost less than {FLOOR:g} of score beyond random ones"
    if shared == 1:
        return "cannot tell", "the layers hold no other filters to compare with"
    if found.high < FLOOR:
        return "cannot tell", "the random sets hold too many of the tested filters"
    if found.low <= 0 or found.difference < FLOOR:
        reason = f"the interval allows both a real and a negligible effect (below {FLOOR:g})"
        return "cannot tell", reason
    if found.p_value > LEVEL:
        return "cannot tell", f"{rest}: too many to call the effect particular to these filters"
    return "cause", f"the filters cost more than random ones, and {rest}"
