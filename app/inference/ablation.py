"""Ablation for the app: a checked question, work cut into turns, an answer without torch."""

from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from app.inference.answers import AblationResult
from app.worker import BusyError, DeadlineError, LatestWinsWorker, SupersededError
from vatun.errors import SpecError
from vatun.judgement import MIN_SETS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from numpy.typing import NDArray

    from app.inference.live import LiveNetwork
    from vatun.ablate import Ablator

MAX_IMAGES = 256
"""Images of one ablation; of more, a seeded sample of so many is asked about, and it says so."""

CANDIDATES = 4096
"""Images of which those that can be read are looked up: what a question carries stays small."""

MAX_FILTERS = 4096
"""Filters of one ablation."""

MAX_SETS = 200
"""Random sets of one ablation."""

RETRY_S = 0.2
"""Seconds after which work under way asks again for a place in a full queue."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class AblationQuestion:
    """A checked question; two that are equal have one answer.

    Parameters
    ----------
    images : tuple of int
        Image ids, ascending, each once; a seeded sample where they were very many.
    asked : int
        Different images that were named.
    filters : tuple of (layer_index, filter_index)
        Ascending, each once.
    replacement : str
        What takes the filters' place.
    random_sets : int
        Sets to compare with.
    """

    images: tuple[int, ...]
    asked: int
    filters: tuple[tuple[int, int], ...]
    replacement: str
    random_sets: int

    @classmethod
    def of(
        cls,
        images: Iterable[int],
        filters: Iterable[tuple[int, int]],
        replacement: str,
        random_sets: int,
    ) -> AblationQuestion:
        """Check a question that came from the browser; ids and filters are looked up later.

        Returns
        -------
        AblationQuestion

        Raises
        ------
        SpecError
            When a number is none, or there are too many or too few.
        """
        try:
            ids = _whole(images)
            chosen = sorted({(operator.index(a), operator.index(b)) for a, b in filters})
            sets = operator.index(random_sets)
        except (TypeError, ValueError, OverflowError):
            msg = "images, filters and random sets must be whole numbers"
            raise SpecError(msg) from None
        if not len(ids) or not 0 < len(chosen) <= MAX_FILTERS:
            msg = f"ablation needs at least one image and 1 to {MAX_FILTERS:,} filters"
            raise SpecError(msg)
        if not MIN_SETS <= sets <= MAX_SETS:
            msg = f"random sets must be {MIN_SETS} to {MAX_SETS}, got {sets}"
            raise SpecError(msg)
        return cls(
            images=_sample(ids, CANDIDATES),
            asked=len(ids),
            filters=tuple(chosen),
            replacement=str(replacement),
            random_sets=sets,
        )

    def sample(self, readable: Iterable[int]) -> tuple[int, ...]:
        """Return the images to ask about: those that can be read, or a sample of them.

        The same question samples the same images.

        Returns
        -------
        tuple of int
        """
        return _sample(np.sort(np.fromiter(readable, dtype=np.int64)), MAX_IMAGES)


class AblationSteps:
    """One ablation as calls that each take a pass over the images; made for the worker thread.

    Parameters
    ----------
    question : AblationQuestion
        What is asked.
    """

    def __init__(self, question: AblationQuestion) -> None:
        self._question = question
        self._images: tuple[int, ...] = ()
        self._ablator: Ablator | None = None

    def __call__(self, live: LiveNetwork) -> tuple[int, int, AblationResult | None]:
        """Take the next pass.

        Returns
        -------
        done, passes : int
            How far it is.
        answer : AblationResult or None
            At the end.
        """
        if self._ablator is None:
            self._images, self._ablator = live.ablation(self._question)
        work = self._ablator
        work.advance()
        answer = self._answer(work) if work.done == work.passes else None
        return work.done, work.passes, answer

    def _answer(self, work: Ablator) -> AblationResult:
        found = work.result()
        rows = np.arange(len(found.before))
        predicted = found.before.argmax(axis=1)
        scores = np.stack([found.before[rows, predicted], found.after[rows, predicted]])
        return AblationResult(
            images=self._images,
            asked=self._question.asked,
            filters=found.filters,
            replacement=found.replacement,
            predicted=np.stack([predicted, found.after.argmax(axis=1)]).astype(np.int16),
            scores=scores.astype(np.float32),
            random_flips=tuple(found.random_flips.mean(axis=1).tolist()),
            shared=found.shared,
            judgement=found.judgement,
        )


class Turns:
    """Long work that gives way: every step queues anew, so quick questions go in between.

    Parameters
    ----------
    worker : LatestWinsWorker
        Where the steps run.
    """

    def __init__(self, worker: LatestWinsWorker) -> None:
        self._worker = worker
        self._newest: dict[Hashable, object] = {}

    async def run(
        self,
        asker: Hashable,
        step: Callable[[], tuple[int, int, Answer | None]],
        *,
        deadline_s: float,
        progress: Callable[[int, int], None] | None = None,
    ) -> Answer:
        """Take steps until one brings the answer.

        Parameters
        ----------
        asker : hashable
            Who asks; newer work of the same asker ends this one.
        step : callable
            Runs in the worker; returns steps done, steps in all, and the answer or None.
        deadline_s : float
            Seconds for all steps.
        progress : callable, optional
            Called here, between steps, with steps done and steps in all.

        Returns
        -------
        object
            The answer.

        Raises
        ------
        SupersededError
            When newer work of the asker came, or it was dropped.
        BusyError
            When the queue is full at the start; later a full queue is waited for.
        DeadlineError
            When it takes too long.
        """
        ticket = object()
        self._newest[asker] = ticket
        try:
            async with asyncio.timeout(deadline_s):
                is_begun = False
                while True:
                    if self._newest.get(asker) is not ticket:
                        msg = "newer work took its place"
                        raise SupersededError(msg)
                    try:
                        future = self._worker.submit(asker, step)
                    except BusyError:
                        if not is_begun:
                            raise
                        await asyncio.sleep(RETRY_S)
                        continue
                    turn: tuple[int, int, Answer | None] = await asyncio.wrap_future(future)
                    done, steps, answer = turn
                    is_begun = True
                    if progress is not None:
                        progress(done, steps)
                    if answer is not None:
                        return answer
        except TimeoutError:
            msg = f"The network did not answer within {deadline_s:.0f} s."
            raise DeadlineError(msg) from None
        finally:
            # Newer work of the same asker has the name now: it is not ours to drop.
            if self._newest.get(asker) is ticket:
                self.drop(asker)

    def drop(self, asker: Hashable) -> None:
        """End the work of ``asker``, at the latest before its next batch."""
        self._newest.pop(asker, None)
        self._worker.drop(asker)


def _whole(numbers: Iterable[int]) -> NDArray[np.int64]:
    """Return whole numbers ascending, each once."""
    if isinstance(numbers, np.ndarray) and np.issubdtype(numbers.dtype, np.integer):
        return np.unique(numbers).astype(np.int64)
    return np.unique(np.array([operator.index(number) for number in numbers], dtype=np.int64))


def _sample(ids: NDArray[np.int64], count: int) -> tuple[int, ...]:
    if len(ids) > count:
        ids = np.sort(np.random.default_rng(0).choice(ids, count, replace=False))
    return tuple(ids.tolist())
