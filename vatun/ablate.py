"""Ablation: do these filters carry a prediction, or do they only accompany it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vatun.errors import LayerError, NetworkError, SpecError
from vatun.judgement import MIN_SETS, ROOM, Judgement, judge
from vatun.network import BATCH
from vatun.taps import Taps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from vatun.layers import LayerInfo, TapPoint
    from vatun.network import Network

Filter = tuple[int, int]
"""A filter by ``layer_index`` and ``filter_index``."""

REPLACEMENTS = ("mean", "zero")
"""What can take a filter's place: its mean over the reference images, or nothing at all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ablation:
    """What a network says of n images with and without a set of filters.

    Parameters
    ----------
    filters : tuple of (layer_index, filter_index)
        The tested set.
    replacement : str
        ``"mean"`` or ``"zero"``.
    random_filters : tuple of tuple of (layer_index, filter_index)
        The sets that it is compared with.
    shared : float
        Mean share of tested filters in the random sets.
    before, after : ndarray of shape (n, classes), float64
        Softmax scores of the whole network, and without the tested filters.
    random_losses : ndarray of shape (sets, n), float64
        Loss of the score of the class first predicted without each random set.
    random_flips : ndarray of shape (sets, n), bool
        Whether the prediction changes without it.
    judgement : Judgement
        The verdict.
    """

    filters: tuple[Filter, ...]
    replacement: str
    random_filters: tuple[tuple[Filter, ...], ...]
    shared: float
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    random_losses: NDArray[np.float64]
    random_flips: NDArray[np.bool_]
    judgement: Judgement

    @property
    def losses(self) -> NDArray[np.float64]:
        """Loss of the score of the class first predicted, of shape (n,), in [-1, 1]."""
        return _losses(self.before, self.after)

    @property
    def flips(self) -> NDArray[np.bool_]:
        """Whether the prediction changes, of shape (n,)."""
        return _flips(self.before, self.after)


class Ablator:
    """One ablation, pass by pass, for callers that have other work to do in between.

    The random sets hold as many filters of each layer as the tested set. How they are drawn
    depends on how wide a layer is, as the rank test of ``judge`` holds for a tested set that was
    itself one blind draw among equals:

    - at least ``(1 + random_sets) * tested`` filters: no tested filter, and none twice. A blind
      pick is then the most harmful in 1 of 21 cases exactly, whatever the network.
    - at least ``8 * tested``: no tested filter, but one may be in several sets. The other filters
      are poor in whatever the tested set is rich in, so a blind pick is the most harmful more
      often: simulated, in 1 of 9 to 1 of 15 cases at 8 times as many filters, and in 1 of 13 for
      one filter of 16, when all filters carry a little. When a few carry all, a pick that holds
      them is a cause, however it came by them.
    - narrower: drawn from all filters, tested ones included; there are too few others to be 20
      different sets. Exact again, but random sets share tested filters: a cause that one or two
      filters carry alone is easily missed, and where they share many no marker is called.

    Parameters
    ----------
    network : Network
        The network under test; other threads may use it meanwhile.
    images : Tensor of shape (n, 3, height, width), float32 in [0, 1]
        At least one.
    filters : sequence of (layer_index, filter_index)
        At least one; repeated ones count once.
    replacement : str
        ``"mean"`` or ``"zero"``: what the whole map of a filter is filled with.
    means : mapping of int to sequence of float, optional
        For ``"mean"``: reference mean of every filter, by ``layer_index`` of each tested layer.
        The mean over space and images; as the map keeps no place, it is what the filter says when
        it has nothing to say about this image.
    random_sets : int
        Sets to compare with, at least 20.
    seed : int
        Of the random sets and of the interval.
    batch_size : int
        Most images in one pass of the network; bounds memory.
    check : callable, optional
        Called before every batch; what it raises ends the work.

    Attributes
    ----------
    passes, done : int
        Passes over the images in all, and those that are done.

    Raises
    ------
    SpecError
        When a shape, a filter or a number is not allowed.
    """

    def __init__(
        self,
        network: Network,
        images: Tensor,
        filters: Sequence[Filter],
        *,
        replacement: str = "mean",
        means: Mapping[int, ArrayLike] | None = None,
        random_sets: int = MIN_SETS,
        seed: int = 0,
        batch_size: int = BATCH,
        check: Callable[[], None] | None = None,
    ) -> None:
        self._network, self._images = network, images
        self._filters = check_filters(network.layers, filters)
        if not self._filters or not len(images):
            msg = "ablation needs at least one filter and one image"
            raise SpecError(msg)
        if random_sets < MIN_SETS:
            msg = f"{random_sets} random sets cannot show that something is rare; take {MIN_SETS}"
            raise SpecError(msg)
        self._replacement, self._seed = replacement, seed
        self._values = _values(network.layers, self._filters, replacement, means)
        self._batch, self._check = batch_size, check
        self._sets = random_filters(network.layers, self._filters, random_sets, seed=seed)
        self._scores: list[NDArray[np.float64]] = []
        self._losses: list[NDArray[np.float64]] = []
        self._flips: list[NDArray[np.bool_]] = []
        self.passes = 2 + random_sets
        self.done = 0

    def advance(self) -> None:
        """Run the next pass: the whole network, then without the tested, then the random sets.

        Raises
        ------
        NetworkError
            When the network gives scores that are no numbers.
        LayerError
            When a layer does not fire, or gives another map than in the dry run.
        """
        sets = ((), self._filters, *self._sets)
        chosen = sets[self.done]
        values = [float(self._values[layer][index]) for layer, index in chosen]
        logits = ablated_logits(
            self._network, self._images, chosen, values,
            batch_size=self._batch, check=self._check,
        )  # fmt: skip
        if not bool(logits.isfinite().all()):
            what = "without these filters" if self.done else "for these images"
            msg = f"the network gives no finite scores {what}"
            raise NetworkError(msg)
        scores = logits.double().softmax(dim=1).cpu().numpy()
        if self.done < 2:
            self._scores.append(scores)
        else:
            self._losses.append(_losses(self._scores[0], scores))
            self._flips.append(_flips(self._scores[0], scores))
        self.done += 1

    def result(self) -> Ablation:
        """Return what was found.

        Returns
        -------
        Ablation

        Raises
        ------
        RuntimeError
            When passes are missing.
        """
        if self.done < self.passes:
            msg = f"{self.passes - self.done} passes are missing"
            raise RuntimeError(msg)
        before, after = self._scores
        tested = set(self._filters)
        shared = float(np.mean([item in tested for each in self._sets for item in each]))
        losses = np.stack(self._losses)
        return Ablation(
            filters=self._filters,
            replacement=self._replacement,
            random_filters=self._sets,
            shared=shared,
            before=before,
            after=after,
            random_losses=losses,
            random_flips=np.stack(self._flips),
            judgement=judge(
                _losses(before, after), losses, before.max(axis=1), shared=shared, seed=self._seed
            ),
        )


def ablate(
    network: Network,
    images: Tensor,
    filters: Sequence[Filter],
    *,
    replacement: str = "mean",
    means: Mapping[int, ArrayLike] | None = None,
    random_sets: int = MIN_SETS,
    seed: int = 0,
    batch_size: int = BATCH,
    progress: Callable[[int, int], None] | None = None,
    check: Callable[[], None] | None = None,
) -> Ablation:
    """Replace filters on images, compare with random sets of filters, and judge.

    The same arguments give the same answer. Hooks are gone afterwards, whatever happens.

    Parameters
    ----------
    network, images, filters, replacement, means, random_sets, seed, batch_size, check
        As for ``Ablator``, which also says how random sets are drawn.
    progress : callable, optional
        Called after every pass with the passes done and those in all.

    Returns
    -------
    Ablation

    References
    ----------
    Zhou et al., "Revisiting the Importance of Individual Units in CNNs via Ablation", 2018;
    Khakzar et al., "Neural Response Interpretation through the Lens of Critical Pathways", CVPR
    2021, for pathways that do not carry what they accompany.
    """
    work = Ablator(
        network, images, filters,
        replacement=replacement, means=means, random_sets=random_sets, seed=seed,
        batch_size=batch_size, check=check,
    )  # fmt: skip
    while work.done < work.passes:
        work.advance()
        if progress is not None:
            progress(work.done, work.passes)
    return work.result()


@torch.inference_mode()
def ablated_logits(
    network: Network,
    images: Tensor,
    filters: Sequence[Filter],
    values: Sequence[float],
    *,
    batch_size: int = BATCH,
    check: Callable[[], None] | None = None,
) -> Tensor:
    """Return logits of the network while whole maps of filters hold one value each.

    A map is replaced where the activation of its layer is read, in place: whatever reads that
    tensor later sees the replacement, also code that drops what an in-place activation returns.
    Where a block adds a shortcut before the activation, as in ResNet, the sum is the activation of
    its last convolution, so the shortcut's share of the filter goes too.

    Parameters
    ----------
    network : Network
        The network under test; other threads may use it meanwhile.
    images : Tensor of shape (n, 3, height, width), float32 in [0, 1]
    filters : sequence of (layer_index, filter_index)
        May be empty: the logits are then those of the network, bit for bit.
    values : sequence of float
        One for each filter, in the unit of its activation.
    batch_size : int
        Most images in one pass.
    check : callable, optional
        Called before every batch.

    Returns
    -------
    Tensor of shape (n, classes), float32

    Raises
    ------
    LayerError
        When a layer does not fire, or gives another map than in the dry run.
    """
    by_layer: dict[int, list[tuple[int, float]]] = {}
    for (layer, index), value in zip(filters, values, strict=True):
        by_layer.setdefault(layer, []).append((index, value))
    layers = [network.layers[layer] for layer in by_layer]
    chosen = [
        (
            torch.tensor([index for index, _ in pairs], device=network.device),
            torch.tensor([value for _, value in pairs], device=network.device),
        )
        for pairs in by_layer.values()
    ]

    def put(position: int, tensor: Tensor) -> None:
        axis = layers[position].point.channel_axis
        if tensor.ndim <= axis or tensor.shape[axis] != layers[position].filters:
            name = layers[position].layer_name
            msg = f"layer {name!r} gives another map than in the dry run; it cannot be ablated"
            raise LayerError(msg)
        index, fill = chosen[position]
        maps = tensor.movedim(axis, 0)
        maps[index] = fill.to(maps.dtype).view(-1, *[1] * (maps.ndim - 1))

    points = [_early_point(network, layer) for layer in layers]
    parts = []
    with Taps(network.module, points, put) as taps:
        for batch in torch.split(images, max(1, batch_size)):
            if check is not None:
                check()
            parts.append(taps.run(network.normalise(batch)).float())
    return torch.cat(parts)


def random_filters(
    layers: Sequence[LayerInfo], filters: Sequence[Filter], sets: int, *, seed: int = 0
) -> tuple[tuple[Filter, ...], ...]:
    """Draw random sets of as many filters of the same layers; see ``Ablator``.

    Parameters
    ----------
    layers : sequence of LayerInfo
        Layers of the network.
    filters : sequence of (layer_index, filter_index)
        The tested set.
    sets : int
        Sets to draw.
    seed : int
        Of the draw.

    Returns
    -------
    tuple of tuple of (layer_index, filter_index)
        Each sorted.
    """
    drawn: list[list[Filter]] = [[] for _ in range(sets)]
    for layer in sorted({layer for layer, _ in filters}):
        tested = {index for place, index in filters if place == layer}
        width, count = layers[layer].filters, len(tested)
        generator = np.random.default_rng([seed, layer])
        others = np.setdiff1d(np.arange(width), sorted(tested))
        if width >= (1 + sets) * count:
            dealt = generator.permutation(others)[: sets * count].reshape(sets, count)
        else:
            pool = others if width >= ROOM * count else np.arange(width)
            dealt = np.stack([generator.choice(pool, count, replace=False) for _ in range(sets)])
        for each, row in zip(drawn, np.sort(dealt, axis=1).tolist(), strict=True):
            each.extend((layer, index) for index in row)
    return tuple(map(tuple, drawn))


def check_filters(layers: Sequence[LayerInfo], filters: Sequence[Filter]) -> tuple[Filter, ...]:
    """Return filters sorted and without repeats.

    Returns
    -------
    tuple of (layer_index, filter_index)

    Raises
    ------
    SpecError
        When one does not exist.
    """
    found = sorted({(int(layer), int(index)) for layer, index in filters})
    for layer, index in found:
        if not 0 <= layer < len(layers) or not 0 <= index < layers[layer].filters:
            msg = f"there is no filter {index} in layer {layer} of this network"
            raise SpecError(msg)
    return tuple(found)


def _early_point(network: Network, layer: LayerInfo) -> TapPoint:
    """Return where a replacement reaches every reader of the layer's activation.

    A module that holds others may read the tensor inside before it returns it. Such a tensor is
    caught at the call that makes it.

    Returns
    -------
    TapPoint
    """
    point = layer.point
    if point.module is None or point.function == "unseen":
        return point
    is_leaf = next(network.module.get_submodule(point.module).children(), None) is None
    return point if is_leaf else replace(point, module=None)


def _values(
    layers: Sequence[LayerInfo],
    filters: Sequence[Filter],
    replacement: str,
    means: Mapping[int, ArrayLike] | None,
) -> dict[int, NDArray[np.float64]]:
    """Return what every filter of the tested layers is replaced with."""
    if replacement not in REPLACEMENTS:
        msg = f"replacement must be one of {', '.join(REPLACEMENTS)}, got {replacement!r}"
        raise SpecError(msg)
    found = {}
    for layer in {layer for layer, _ in filters}:
        width = layers[layer].filters
        if replacement == "zero":
            found[layer] = np.zeros(width)
            continue
        # As the map holds it: a number that overflows there is no number.
        with np.errstate(over="ignore"):
            given = np.asarray((means or {}).get(layer, ())).astype(np.float32).astype(np.float64)
        if given.shape != (width,) or not np.isfinite(given).all():
            msg = f"layer {layer} needs {width} finite reference means, got shape {given.shape}"
            raise SpecError(msg)
        found[layer] = given
    return found


def _losses(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = np.arange(len(before))
    predicted = before.argmax(axis=1)
    return np.asarray(before[rows, predicted] - after[rows, predicted])


def _flips(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(before.argmax(axis=1) != after.argmax(axis=1))
