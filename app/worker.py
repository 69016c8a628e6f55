"""One bounded worker thread in which the newest request of a session displaces its older ones."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

QUEUE_LIMIT = 8
"""Sessions that may wait at the same time; a further one is told that the network is busy."""


class WorkerError(Exception):
    """Base of what can keep a request from being answered."""


class BusyError(WorkerError):
    """The queue is full; ``ahead`` says how many requests wait."""

    def __init__(self, ahead: int) -> None:
        super().__init__(f"The network is busy: {ahead} requests are ahead of yours.")
        self.ahead = ahead


class SupersededError(WorkerError):
    """A newer request of the same session took the place of this one."""


class DeadlineError(WorkerError):
    """The answer did not come in time."""


@dataclass
class _Request:
    ticket: int
    work: Callable[[], Any]
    is_urgent: bool = False
    future: Future[Any] = field(default_factory=Future)


class LatestWinsWorker:
    """Runs requests one after another, off the event loop.

    A request replaces the waiting one of the same key and keeps its place in the queue. An answer
    that was overtaken while it was computed is dropped, so that nobody can draw it.

    Parameters
    ----------
    name : str
        Name of the thread.
    limit : int
        Most keys that may wait.
    """

    def __init__(self, name: str, *, limit: int = QUEUE_LIMIT) -> None:
        self._limit = limit
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._waiting: OrderedDict[Hashable, _Request] = OrderedDict()
        self._newest: dict[Hashable, int] = {}
        self._running: tuple[Hashable, int] | None = None
        self._tickets = itertools.count()

    def submit(
        self, key: Hashable, work: Callable[[], Any], *, is_urgent: bool = False
    ) -> Future[Any]:
        """Queue ``work`` as the newest request of ``key``.

        Parameters
        ----------
        key : hashable
            Who asks, and for what.
        work : callable
            Runs in the worker thread.
        is_urgent : bool
            Whether it goes before those that are not: quick work before slow.

        Returns
        -------
        Future
            Its result; ends in SupersededError when a newer request of ``key`` comes first.

        Raises
        ------
        BusyError
            When as many keys wait as are allowed.
        """
        with self._lock:
            request = _Request(next(self._tickets), work, is_urgent)
            older = self._waiting.get(key)
            if older is None and len(self._waiting) >= self._limit:
                raise BusyError(len(self._waiting))
            self._waiting[key] = request
            self._newest[key] = request.ticket
        if older is None:
            self._pool.submit(self._run_next)
        else:
            _fail(older.future, SupersededError("a newer request took its place"))
        return request.future

    def check(self) -> None:
        """Give up the running request if nobody waits for it any more; for long work, often.

        Raises
        ------
        SupersededError
            When it was withdrawn, or a newer one of its key came.
        """
        with self._lock:
            running = self._running
            is_wanted = running is None or self._newest.get(running[0]) == running[1]
        if not is_wanted:
            msg = "nobody waits for the answer any more"
            raise SupersededError(msg)

    def call(self, work: Callable[[], Any]) -> Future[Any]:
        """Run ``work`` in the worker thread, in order, past the limit: for start-up."""
        return self._pool.submit(work)

    def ahead(self, key: Hashable) -> int:
        """Return how many requests run or wait before the waiting one of ``key``."""
        with self._lock:
            keys = self._in_order()
            if key not in keys:
                return 0
            return keys.index(key) + (self._running is not None)

    def drop(self, key: Hashable) -> None:
        """Forget the request of ``key``: it is not started, or its answer is thrown away."""
        with self._lock:
            request = self._waiting.get(key)
            self._newest.pop(key, None)
            if request is not None:
                # The slot stays in the pool's own queue; `_run_next` then finds nothing to do.
                del self._waiting[key]
        if request is not None:
            _fail(request.future, SupersededError("the request was withdrawn"))

    def close(self) -> None:
        """Take no further request, fail those that wait, and end the thread."""
        with self._lock:
            waiting = list(self._waiting.values())
            self._waiting.clear()
        for request in waiting:
            _fail(request.future, SupersededError("the worker was closed"))
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _in_order(self) -> list[Hashable]:
        """Return who waits, the next one first."""
        return sorted(self._waiting, key=lambda key: not self._waiting[key].is_urgent)

    def _run_next(self) -> None:
        with self._lock:
            if not self._waiting:
                return
            key = self._in_order()[0]
            request = self._waiting.pop(key)
            self._running = (key, request.ticket)
        try:
            result, error = request.work(), None
        except Exception as problem:  # noqa: BLE001 - handed to the one who waits for it
            result, error = None, problem
        with self._lock:
            self._running = None
            is_newest = self._newest.get(key) == request.ticket
            if is_newest:
                del self._newest[key]
        if not is_newest:
            _fail(request.future, SupersededError("a newer request took its place"))
        elif error is not None:
            _fail(request.future, error)
        elif request.future.set_running_or_notify_cancel():
            request.future.set_result(result)


def _fail(future: Future[Any], error: Exception) -> None:
    """End ``future`` in ``error`` unless the one who waited has given it up."""
    if future.set_running_or_notify_cancel():
        future.set_exception(error)
