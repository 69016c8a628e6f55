"""Run the network over batches as fast as the machine allows, in the order of the images."""

from __future__ import annotations

import copy
import ctypes
import math
import sys
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch

from pipelines.errors import StageError
from pipelines.faults import blame
from pipelines.progress import say

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from pipelines.inputs import Batch
    from vatun.network import Network

T = TypeVar("T")
B = TypeVar("B", bound="Batch")
"""Images, with whatever is to be done to them."""

LANE_IMAGES = 64
"""Most images that a core takes at a time: more fill memory, and are no quicker."""

KEPT_BYTES = 1 << 30
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
"""Parameters of ``mallopt``, as glibc's malloc.h numbers them."""


class Lanes:
    """Threads that run a network; a context manager.

    On a CPU every core takes a few images of its own through the whole network: no core waits for
    another at every layer, nor for the ones that decode and write beside it. Every lane has its
    own copy of the modules, over the same weights. On a GPU one thread feeds whole batches to it,
    and so it is on a CPU for networks of anybody's own code, which may keep something of a forward
    pass where no copy reaches: those are given the threads of torch.

    Parameters
    ----------
    network : Network
        What runs.
    batch_size : int
        Most images in memory at a time on the device.
    """

    def __init__(self, network: Network, *, batch_size: int) -> None:
        self._threads = torch.get_num_threads()
        self._is_cpu = network.device.type == "cpu"
        is_shared = self._is_cpu and is_plain(network.module)
        networks = _copies(network, min(self._threads, batch_size) if is_shared else 1)
        self.count = len(networks)
        self.images = min(batch_size // self.count, LANE_IMAGES) if is_shared else batch_size
        self._lane = threading.local()
        self._networks = iter(networks)
        self._pool = ThreadPoolExecutor(
            self.count, thread_name_prefix="lane", initializer=self._start
        )

    def __enter__(self) -> Lanes:
        if self._is_cpu:
            keep_freed_memory()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        # A lane's single thread is also what torch gives to every thread that starts later.
        torch.set_num_threads(self._threads)

    def run(
        self, work: Callable[[Network, B], T], batches: Iterable[B]
    ) -> Generator[tuple[B, list[T]]]:
        """Put every image through ``work``, in pieces that suit the lanes.

        Parameters
        ----------
        work : callable
            Takes the network of its lane and a piece of a batch.
        batches : iterable of Batch
            Asked for a batch only when the lanes have little left to do.

        Yields
        ------
        batch : Batch
            A piece of at most ``images`` images, which lies within one batch; in order.
        results : list
            What ``work`` said of it; one, unless memory ran out.

        Raises
        ------
        StageError
            When not even one image fits into memory, or naming the image on which ``work`` fails.
        """
        waiting: deque[tuple[B, Future[list[T]]]] = deque()
        try:
            for batch in batches:
                for piece in self._cut(batch):
                    waiting.append((piece, self._pool.submit(self._work, work, piece)))
                while len(waiting) > 2 * self.count:
                    piece, future = waiting.popleft()
                    yield piece, future.result()
            while waiting:
                piece, future = waiting.popleft()
                yield piece, future.result()
        finally:
            for _, future in waiting:
                future.cancel()

    def _start(self) -> None:
        self._lane.network = next(self._networks)
        if self.count > 1:
            one_thread()

    def _work(self, work: Callable[[Network, B], T], piece: B) -> list[T]:
        ask = partial(work, self._lane.network)
        try:
            results = halving(ask, piece)
        except StageError:
            raise
        except Exception as error:
            # The network is anybody's code: whatever it raises, name the image.
            fault = blame(ask, piece, error)
            if fault is error:
                raise
            raise fault from error
        if len(results) > 1:
            # What did not fit once will not fit again: the next pieces are cut to what did.
            self.images = min(self.images, math.ceil(len(piece) / len(results)))
        return results

    def _cut(self, batch: B) -> Iterator[B]:
        # As many pieces as give every lane the same work: nobody waits at the end of a batch.
        rounds = math.ceil(len(batch) / (self.images * self.count))
        return _pieces(batch, math.ceil(len(batch) / (rounds * self.count)))


def is_plain(module: nn.Module) -> bool:
    """Whether a network is made of library modules alone, as they come.

    Their forward passes keep nothing in evaluation mode, so several may run at once. A function
    that was put into a module (a hook, another ``forward``) and a class of the user's own may read
    what another thread has written, and give wrong numbers without a word.

    Returns
    -------
    bool
    """
    return all(
        type(part).__module__.partition(".")[0] in {"torchvision", "vatun"}
        or type(part).__module__.startswith("torch.nn.modules.")
        for part in module.modules()
    ) and not any(
        # torch has no public way to ask for hooks.
        any(vars(part)[name] for name in ("_forward_hooks", "_forward_pre_hooks"))
        or "forward" in vars(part)
        for part in module.modules()
    )


def _copies(network: Network, count: int) -> list[Network]:
    """Return networks of their own modules that share their weights."""
    module = network.module
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    modules = [copy.deepcopy(module, dict(shared)) for _ in range(count - 1)]
    return [network, *(replace(network, module=each) for each in modules)]


def keep_freed_memory() -> None:
    """Let the maps of one batch use the memory of the last, for the rest of this process.

    By default glibc gives every large map back when it is freed, and the kernel clears each page
    of the next one: up to a quarter of a forward pass. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)


def one_thread() -> None:
    """Let this thread compute on its own core only."""
    torch.set_num_threads(1)


def halving(work: Callable[[B], T], batch: B) -> list[T]:
    """Run ``work`` on a batch; when memory runs out, on its halves, down to one image.

    Returns
    -------
    list
        Results in order; one unless memory ran out.

    Raises
    ------
    StageError
        When a single image does not fit.
    MemoryError
        Never: it is what makes a batch smaller.
    RuntimeError
        As ``work`` raises it, where it is not lack of memory.
    """
    try:
        return [work(batch)]
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        if len(batch) == 1:
            raise StageError("not even one image fits into memory") from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = (len(batch) + 1) // 2
    say(f"memory ran out at {len(batch)} images; going on with {middle}")
    return [result for part in _pieces(batch, middle) for result in halving(work, part)]


def _is_out_of_memory(error: Exception) -> bool:
    # On a CPU torch has no type of its own for it.
    return isinstance(
        error, (MemoryError, torch.OutOfMemoryError)
    ) or "DefaultCPUAllocator" in str(error)


def to_device(pixels: NDArray[np.uint8], network: Network) -> torch.Tensor:
    """Return images as the network takes them; bytes travel, floats are made on the device."""
    return torch.from_numpy(pixels).to(network.device).to(torch.float32).div(255)


def _pieces(batch: B, size: int) -> Iterator[B]:
    for start in range(0, len(batch), size):
        yield batch.part(slice(start, start + size))
