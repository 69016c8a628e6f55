"""How the scores of one image answer a growing change, and how small a change flips its class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vatun.attack import fgsm, fgsm_gradient
from vatun.errors import SpecError
from vatun.perturb import perturb
from vatun.specs import ATTACKS, check_grid, find_spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vatun.network import Network
    from vatun.specs import PerturbationSpec

MAX_EVALUATIONS = 256
"""Changed copies that ``smallest_flip`` scores at most, those of the grid included."""

TOLERANCE = 0.01
"""Width to which a flip is bracketed, as a share of the step of the grid."""

PARTS = 10
"""Parts of a step of the grid down to which an interval is searched for a dip."""

STEEPNESS = 2.0
"""How much faster than beside it the margin may change inside an interval."""

CLEAR = 1e-5
"""Margin by which a refined flip must hold: sums in another order may tip a closer one back."""

LARGEST = 50.0
"""Margins are cut off here; of two classes that far apart the lower one has no score left."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ClassChange:
    """Between two neighbouring magnitudes the predicted class changes.

    Parameters
    ----------
    index : int
        Of the lower one of the two magnitudes.
    from_class, to_class : int
        Classes predicted at the lower and at the higher magnitude.
    position : float
        Magnitude at which the straight lines through the scores of the two classes cross; the
        middle where they do not.
    """

    index: int
    from_class: int
    to_class: int
    position: float


@dataclass(frozen=True, kw_only=True, eq=False)
class ResponseCurve:
    """Scores of one image under every magnitude of one perturbation.

    Parameters
    ----------
    perturbation : str
        Its name.
    magnitudes : tuple of float
        Ascending, in the unit of the perturbation.
    scores : ndarray of shape (k, classes), float32, in [0, 1]
        Softmax at each magnitude; nan where the network returned something not finite.
    predicted : ndarray of shape (k,), int64
        Class of the highest logit, the lowest of equal ones; -1 where there is none.
    identity : int
        Index of the magnitude that leaves the image as it is.
    label : int or None
        Class that an attack pushes away from; None for any other perturbation.
    is_label_known : bool
        Whether that is a class the caller gave, rather than the predicted one.
    """

    perturbation: str
    magnitudes: tuple[float, ...]
    scores: NDArray[np.float32]
    predicted: Integers
    identity: int
    label: int | None = None
    is_label_known: bool = False

    @property
    def changes(self) -> tuple[ClassChange, ...]:
        """Where the predicted class changes, by ascending magnitude."""
        before, after = self.predicted[:-1], self.predicted[1:]
        places = np.flatnonzero((before != after) & (before >= 0) & (after >= 0))
        return tuple(self._change(int(index)) for index in places)

    def _change(self, index: int) -> ClassChange:
        pair = [int(self.predicted[index]), int(self.predicted[index + 1])]
        old, new = self.scores[index : index + 2, pair].astype(np.float64).T
        lead, lag = old - new
        share = lead / (lead - lag) if lead > lag and lead >= 0 >= lag else 0.5
        low, high = self.magnitudes[index : index + 2]
        return ClassChange(
            index=index,
            from_class=pair[0],
            to_class=pair[1],
            position=float(low + share * (high - low)),
        )


@dataclass(frozen=True, kw_only=True)
class Flip:
    """The smallest change found, in one direction, that gives an image another class.

    Parameters
    ----------
    perturbation : str
        Its name.
    direction : int
        -1 below the identity, 1 above it.
    magnitude : float or None
        One at which the network was asked and did predict another class; None when none was
        found.
    flipped_class : int or None
        Class predicted there.
    grid_magnitude : float or None
        The first one on the grid alone, outwards from the identity.
    evaluations : int
        Copies of the image that were scored, the unchanged one included. The gradient of an
        attack, and the prediction it starts from where no label is given, come on top.
    """

    perturbation: str
    direction: int
    magnitude: float | None
    flipped_class: int | None
    grid_magnitude: float | None
    evaluations: int


def response_curve(
    network: Network,
    image: Tensor,
    name: str,
    *,
    magnitudes: Sequence[float] | None = None,
    seed: int = 0,
    fill: Sequence[float] | None,
    label: int | None = None,
    rotation_fill: str = "black",
    batch_size: int = 64,
) -> ResponseCurve:
    """Score one image under every magnitude of one perturbation.

    All copies, the unchanged one included, go through the network together, in batches.

    Parameters
    ----------
    network : Network
        The network under test.
    image : Tensor of shape (1, 3, height, width), float32 in [0, 1]
        Left as it is.
    name : str
        A key of ``vatun.specs.PERTURBATION_SPECS``, attacks included.
    magnitudes : sequence of float, optional
        Ascending, with the identity among them; None takes the grid of the perturbation.
    seed : int
        Of noise, such as the id of the image.
    fill : sequence of three floats or None
        Colour of removed regions in [0, 1]; only ``"region"`` needs it.
    label : int, optional
        True class, which an attack pushes away from; None takes the predicted one. An attack
        takes one gradient for all magnitudes.
    rotation_fill : str
        One of ``vatun.specs.ROTATION_FILLS``.
    batch_size : int
        Copies in one forward pass at most.

    Returns
    -------
    ResponseCurve

    Raises
    ------
    UnknownNameError
        When there is no such perturbation.
    MagnitudeError
        When a magnitude is not a number within the limits, or the fill is unknown.
    SpecError
        When the grid does not ascend or misses the identity, or the image, the label or the
        fill is not as above.
    """
    spec = find_spec(name)
    grid = _checked_grid(spec, magnitudes)
    copies = _Copies.of(
        network, image, spec, label, seed=seed, fill=fill, rotation_fill=rotation_fill
    )
    logits = copies.logits(grid, batch_size)
    return ResponseCurve(
        perturbation=name,
        magnitudes=grid,
        scores=torch.from_numpy(logits).softmax(dim=1).float().numpy(),
        predicted=_predicted(logits),
        identity=grid.index(spec.identity),
        label=copies.label,
        is_label_known=copies.label is not None and label is not None,
    )


def smallest_flip(
    network: Network,
    image: Tensor,
    name: str,
    *,
    direction: int,
    magnitudes: Sequence[float] | None = None,
    seed: int = 0,
    fill: Sequence[float] | None,
    label: int | None = None,
    rotation_fill: str = "black",
    batch_size: int = 64,
    tolerance: float | None = None,
    max_evaluations: int = MAX_EVALUATIONS,
) -> Flip:
    """Find the smallest change in one direction under which another class is predicted.

    First the grid is scored, in one batch. Then intervals are halved, in rounds of one batch
    each: down to a tenth of the step at tenths of it, and in the middle from there on. The one in
    which the first flip begins is halved until it is no wider than ``tolerance``. One before it,
    whose ends both keep the class, is halved down to a tenth of its step where the margin might
    dip below zero inside: where it is no more than what could be lost at ``STEEPNESS`` times the
    largest rate of change in the interval and beside it. So a dip narrower than a tenth of a
    step, or far steeper than what surrounds it, is missed. The margin is the logit of the class
    predicted without a change minus the best other one, which is the logarithm of the ratio of
    their scores: it goes on falling where the scores saturate.

    Parameters
    ----------
    network, image, name, seed, fill, label, rotation_fill, batch_size
        As for ``response_curve``.
    direction : int
        -1 below the identity, 1 above it.
    magnitudes : sequence of float, optional
        The grid; as for ``response_curve``.
    tolerance : float, optional
        In the unit of the perturbation; None takes a hundredth of the step of the grid.
    max_evaluations : int
        Copies that are scored at most. The grid is always scored; where the limit ends the
        search early, what is returned flips but may not be bracketed to ``tolerance``.

    Returns
    -------
    Flip
        Its magnitude was asked of the network itself, never interpolated. One that is not on the
        grid flips by a margin of at least ``CLEAR``. A perturbation that is off or on is not
        refined.

    Raises
    ------
    UnknownNameError, MagnitudeError
        As for ``response_curve``.
    SpecError
        As for ``response_curve``; or when the grid has no magnitudes in that direction, or the
        tolerance is not a positive number.
    """
    spec = find_spec(name)
    grid = _checked_grid(spec, magnitudes)
    outward = _outward(spec, grid, direction)
    if tolerance is not None and not (math.isfinite(tolerance) and tolerance > 0):
        msg = f"{name}: the tolerance must be a positive number, got {tolerance!r}"
        raise SpecError(msg)
    copies = _Copies.of(
        network, image, spec, label, seed=seed, fill=fill, rotation_fill=rotation_fill
    )
    walk = _Walk.start(copies.logits(direction * outward, batch_size), outward)
    on_grid = walk.first
    while not spec.is_switch:
        places = walk.wanted(outward, tolerance)[: max(max_evaluations - len(walk.places), 0)]
        if not places.size:
            break
        walk = walk.joined(copies.logits(direction * places, batch_size), places)
    first = walk.first
    return Flip(
        perturbation=name,
        direction=direction,
        magnitude=None if first is None else float(direction * walk.places[first]),
        flipped_class=None if first is None else int(walk.classes[first]),
        grid_magnitude=None if on_grid is None else float(direction * outward[on_grid]),
        evaluations=len(walk.places),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Copies:
    """One image, and all that is needed to change it by any magnitude of one perturbation."""

    network: Network
    image: Tensor
    spec: PerturbationSpec
    seed: int
    fill: Sequence[float] | None
    rotation_fill: str
    label: int | None
    sign: Tensor | None

    @classmethod
    def of(
        cls,
        network: Network,
        image: Tensor,
        spec: PerturbationSpec,
        label: int | None,
        *,
        seed: int,
        fill: Sequence[float] | None,
        rotation_fill: str,
    ) -> _Copies:
        """Check the image and the label; take the gradient, once, if the change is an attack."""
        if image.ndim != 4 or len(image) != 1:
            msg = f"one image of shape (1, 3, height, width) is needed, got {tuple(image.shape)}"
            raise SpecError(msg)
        if label is not None and not 0 <= label < network.spec.classes:
            msg = f"label {label} is outside 0 to {network.spec.classes - 1}"
            raise SpecError(msg)
        image, sign = image.to(network.device), None
        if spec.name not in ATTACKS:
            label = None
        else:
            if label is None:
                label = int(network.logits(image).argmax())
            sign = fgsm_gradient(network, image, torch.tensor([label]))
        return cls(
            network=network,
            image=image,
            spec=spec,
            seed=seed,
            fill=fill,
            rotation_fill=rotation_fill,
            label=label,
            sign=sign,
        )

    def logits(self, magnitudes: Sequence[float] | Floats, batch_size: int) -> Floats:
        """Return logits of shape (k, classes), float64, one row a magnitude."""
        parts = []
        for start in range(0, len(magnitudes), batch_size):
            batch = [self._changed(float(m)) for m in magnitudes[start : start + batch_size]]
            parts.append(self.network.logits(torch.cat(batch)).cpu().double())
        return torch.cat(parts).numpy()

    def _changed(self, magnitude: float) -> Tensor:
        if self.sign is not None:
            return fgsm(self.image, self.sign, magnitude)
        return perturb(
            self.image,
            self.spec.name,
            magnitude,
            seeds=[self.seed],
            fill=self.fill,
            rotation_fill=self.rotation_fill,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Walk:
    """What is known outwards from the identity.

    Parameters
    ----------
    places : ndarray of shape (k,), float64, ascending
        Magnitudes times the direction; the first one is the identity.
    classes : ndarray of shape (k,), int64
        Predicted there.
    margins : ndarray of shape (k,), float64, in [-LARGEST, LARGEST]
        Logit of the class of the identity minus the best other one.
    is_flip : ndarray of shape (k,), bool
        Whether another class is predicted there.
    """

    places: Floats
    classes: Integers
    margins: Floats
    is_flip: NDArray[np.bool_]

    @classmethod
    def start(cls, logits: Floats, places: Floats) -> _Walk:
        """Begin with the grid, on which any other class is a flip."""
        classes = _predicted(logits)
        margins = _margins(logits, int(classes[0]))
        is_flip = (classes != classes[0]) & (classes >= 0) & (classes[0] >= 0)
        return cls(places=places, classes=classes, margins=margins, is_flip=is_flip)

    @property
    def first(self) -> int | None:
        """Index of the flip nearest to the identity."""
        return int(self.is_flip.argmax()) if self.is_flip.any() else None

    def wanted(self, grid: Floats, tolerance: float | None) -> Floats:
        """Return where to look next: in the bracket of the first flip, then outwards."""
        low, high = self.places[:-1], self.places[1:]
        inside = np.searchsorted(grid, low, side="right") - 1
        start, step = grid[inside], np.diff(grid)[inside]
        parts = np.rint((np.stack((low, high)) - start) / step * PARTS)
        is_wide = parts[1] - parts[0] > 1
        is_wanted = is_wide & self._may_dip()
        if self.first is not None:
            bracket = self.first - 1
            is_wanted[bracket:] = False
            limit = TOLERANCE * step[bracket] if tolerance is None else tolerance
            is_wanted[bracket] = high[bracket] - low[bracket] > limit
        middle = np.where(
            is_wide, start + step * (parts.sum(axis=0) // 2) / PARTS, (low + high) / 2
        )
        # Between two neighbouring floats there is no middle.
        middle = middle[is_wanted & (low < middle) & (middle < high)]
        return middle if self.first is None else np.roll(middle, 1)

    def _may_dip(self) -> NDArray[np.bool_]:
        """Return whether the margin may fall below zero between two places that keep the class."""
        widths = np.diff(self.places)
        rates = np.abs(np.diff(self.margins)) / widths
        around = np.concatenate(([0.0], rates, [0.0]))
        steepest = np.maximum(rates, np.maximum(around[:-2], around[2:]))
        falls_short: NDArray[np.bool_] = (
            self.margins[:-1] + self.margins[1:] < STEEPNESS * steepest * widths
        )
        return falls_short

    def joined(self, logits: Floats, places: Floats) -> _Walk:
        """Add places off the grid, where a flip must be clear."""
        original = int(self.classes[0])
        classes, margins = _predicted(logits), _margins(logits, original)
        is_flip = (classes != original) & (margins <= -CLEAR)
        every = np.concatenate((self.places, places))
        order = every.argsort(kind="stable")
        return _Walk(
            places=every[order],
            classes=np.concatenate((self.classes, classes))[order],
            margins=np.concatenate((self.margins, margins))[order],
            is_flip=np.concatenate((self.is_flip, is_flip))[order],
        )


def _checked_grid(spec: PerturbationSpec, magnitudes: Sequence[float] | None) -> tuple[float, ...]:
    if magnitudes is None:
        return spec.grid
    grid = tuple(spec.check(value) for value in magnitudes)
    check_grid(spec, grid)
    return grid


def _outward(spec: PerturbationSpec, grid: tuple[float, ...], direction: int) -> Floats:
    """Return the magnitudes from the identity outwards, times the direction: they ascend."""
    if direction not in {-1, 1}:
        msg = f"direction must be -1 or 1, got {direction!r}"
        raise SpecError(msg)
    places = np.sort(direction * np.asarray(grid, dtype=np.float64))
    places = places[places >= direction * spec.identity]
    if len(places) < 2:
        side = "below" if direction < 0 else "above"
        msg = f"{spec.name}: the grid has no magnitude {side} the identity {spec.identity:g}"
        raise SpecError(msg)
    return places


def _predicted(logits: Floats) -> Integers:
    """Return the class of the highest logit; -1 where one is not finite."""
    is_finite = np.asarray(np.isfinite(logits).all(axis=1))
    return np.where(is_finite, np.where(is_finite[:, None], logits, 0).argmax(axis=1), -1)


def _margins(logits: Floats, original: int) -> Floats:
    """Return how far the original class is ahead; the largest margin where nothing is known."""
    is_known = np.asarray(np.isfinite(logits).all(axis=1)) & (original >= 0)
    finite = np.where(is_known[:, None], logits, 0)
    others = np.delete(finite, original, axis=1).max(axis=1)
    margins = np.clip(finite[:, original] - others, -LARGEST, LARGEST)
    return np.where(is_known, margins, LARGEST)
