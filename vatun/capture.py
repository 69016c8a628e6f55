"""Capture what a network does with a batch of images, in one forward pass."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from vatun.paths import winners
from vatun.taps import Taps

if TYPE_CHECKING:
    from types import TracebackType

    from vatun.network import Network

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Capture:
    """What a network did with n images.

    Parameters
    ----------
    logits : ndarray of shape (n, classes), float32
        Output before softmax.
    embedding : ndarray of shape (n, dimensions), float32
        Input of the last linear layer.
    maxima, means : tuple of ndarray of shape (n, filters), float32
        Largest and mean activation over space, one array a layer.
    peaks : tuple of ndarray of shape (n, filters), int32
        Flat position (row * width + column) of the maximum; empty unless asked for.
    """

    logits: Floats
    embedding: Floats
    maxima: tuple[Floats, ...]
    means: tuple[Floats, ...]
    peaks: tuple[Integers, ...] = ()

    def winner_max(self) -> Integers:
        """Return the path of the maxima: int32 of shape (n, layers), -1 for an all-zero layer."""
        return np.stack([winners(values) for values in self.maxima], axis=1)

    def winner_mean(self) -> Integers:
        """Return the path of the means: int32 of shape (n, layers), -1 for an all-zero layer."""
        return np.stack([winners(values) for values in self.means], axis=1)


class Capturer:
    """Capture batch after batch; a context manager whose hooks are gone afterwards.

    Parameters
    ----------
    network : Network
        The network under test.
    peaks : bool
        Whether to find where each maximum is.

    Examples
    --------
    >>> with Capturer(network) as capturer:  # doctest: +SKIP
    ...     first = capturer(images)
    """

    def __init__(self, network: Network, *, peaks: bool = False) -> None:
        self._network = network
        self._peaks = peaks
        self._axes = [layer.point.channel_axis for layer in network.layers]
        self._reduced: dict[int, tuple[Tensor, Tensor, Tensor | None]] = {}
        self._embedding: Tensor | None = None
        self._stack = ExitStack()
        self._taps: Taps | None = None

    def __enter__(self) -> Capturer:
        points = [layer.point for layer in self._network.layers]
        before = (self._network.embedding_layer, self._embed)
        taps = Taps(self._network.module, points, self._reduce, before=before)
        self._taps = self._stack.enter_context(taps)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._taps = None
        self._stack.close()

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Capture:
        """Run one batch.

        Parameters
        ----------
        images : Tensor of shape (n, 3, height, width), float32 in [0, 1]

        Returns
        -------
        Capture
            What every layer did; nothing in it shares memory with the network.

        Raises
        ------
        RuntimeError
            Outside of the ``with`` block.
        """
        if self._taps is None:
            msg = "a Capturer works inside its with block"
            raise RuntimeError(msg)
        try:
            logits = self._taps.run(self._network.normalise(images))
            rows = [self._reduced[index] for index in range(len(self._axes))]
            return Capture(
                logits=_array(logits),
                embedding=_array(self._embedding),
                maxima=tuple(_array(highest) for highest, _, _ in rows),
                means=tuple(_array(mean) for _, mean, _ in rows),
                peaks=tuple(_positions(peak) for _, _, peak in rows if peak is not None),
            )
        finally:
            self._reduced.clear()
            self._embedding = None

    def _reduce(self, index: int, tensor: Tensor) -> None:
        """Reduce at once: the next in-place call overwrites the map."""
        if tensor.ndim == 2:
            peak = torch.zeros_like(tensor, dtype=torch.int64) if self._peaks else None
            self._reduced[index] = (tensor.clone(), tensor.clone(), peak)
            return
        maps = tensor.movedim(self._axes[index], 1)
        flat = maps.flatten(2)
        if not self._peaks:
            highest, peak = flat.amax(dim=2), None
        elif maps.ndim == 4 and not maps.is_cuda:
            # On a CPU, pooling the whole map is three to fifteen times quicker than max(dim) with
            # positions, and gives the same: the first position of the highest value.
            pooled, place = max_pool2d(maps, maps.shape[2:], return_indices=True)
            highest, peak = pooled.flatten(1), place.flatten(1)
        else:
            highest, peak = flat.max(dim=2)
        self._reduced[index] = (highest, flat.mean(dim=2), peak)

    def _embed(self, tensor: Tensor) -> None:
        module = self._network.module.get_submodule(self._network.embedding_layer)
        if tensor.ndim == 4 and isinstance(module, nn.Conv2d):
            tensor = tensor.mean(dim=(2, 3))
        self._embedding = tensor.flatten(1).clone()


def capture(network: Network, images: Tensor, *, peaks: bool = False) -> Capture:
    """Run one batch and return what every layer did; no hook is left behind.

    Parameters
    ----------
    network : Network
        The network under test.
    images : Tensor of shape (n, 3, height, width), float32 in [0, 1]
    peaks : bool
        Whether to find where each maximum is.

    Returns
    -------
    Capture
    """
    with Capturer(network, peaks=peaks) as capturer:
        return capturer(images)


def _array(tensor: Tensor | None) -> Floats:
    if tensor is None:
        msg = "the embedding layer did not fire"
        raise RuntimeError(msg)
    return np.ascontiguousarray(tensor.float().cpu().numpy())


def _positions(tensor: Tensor) -> Integers:
    return tensor.to(torch.int32).cpu().numpy()
