"""The service that runs the network: one bounded worker per store, off the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict, defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from app.inference.ablation import AblationQuestion, AblationSteps, Turns
from app.inference.given import fills_of
from app.inference.mean_evidence import MeanEvidenceQuestion, MeanEvidenceSteps
from app.worker import (
    QUEUE_LIMIT,
    DeadlineError,
    LatestWinsWorker,
    WorkerError,
)
from feature_store import StoreError
from vatun.errors import VatunError
from vatun.specs import (
    EXPLANATION_NAMES,
    Change,
    InputSpec,
    ModelSpec,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping
    from concurrent.futures import Future

    from app.inference.answers import AblationResult, Evidence, Image, MeanEvidence, TestResult
    from app.inference.live import LiveNetwork
    from feature_store import Store
    from vatun.response import Flip, ResponseCurve
    from vatun.trust import RandomisedTest, TenthTest

DEADLINE_S = 10.0
"""Seconds after which a request for scores that has not been answered is given up."""

SLOW_DEADLINE_S = 60.0
"""The same for evidence, trust, curves and flips, which run the network many times."""

ABLATION_DEADLINE_S = 300.0
"""The same for an ablation and for mean evidence, which others' questions may interrupt."""

LOAD_DEADLINE_S = 180.0
"""Seconds that importing torch and reading the weights may take."""

KEPT = {"test": 64, "explain": 64, "mean_evidence": 64}
"""Answers that are kept per store of the kinds that hold pictures."""

KEPT_SMALL = 512
"""The same for each other kind: the curves and flips of some 30 images."""

Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)


class NoNetworkError(WorkerError):
    """The network of this store cannot be loaded; the message says why."""


class AnswerError(WorkerError):
    """The network, or a change or explanation of a plugin, failed; the message says how."""


class InferenceService:
    """Runs the network of one store for every session of the process.

    Every question takes ``session``, a hashable: a newer question of the same kind and session
    displaces an older one. All raise SupersededError when that happens (there is nothing to draw),
    BusyError when too many sessions wait, DeadlineError when the answer takes too long, and
    NoNetworkError when the network cannot be loaded. Answers are kept, so one that is asked again
    costs nothing.

    Parameters
    ----------
    store : Store
        Where images, weights and specifications are read from.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._worker = LatestWinsWorker(f"vatun-{store.name}", limit=QUEUE_LIMIT)
        self._turns = Turns(self._worker)
        self._lock = threading.Lock()
        self._loading: Future[LiveNetwork] | None = None
        self._cache: defaultdict[str, OrderedDict[Hashable, Any]] = defaultdict(OrderedDict)

    @property
    def model(self) -> ModelSpec:
        """Specification of the network, from the store; costs no torch."""
        return ModelSpec.from_dict(self._store.info["model"])

    @property
    def input(self) -> InputSpec:
        """How an image becomes the network's input, from the store; costs no torch."""
        return InputSpec.from_dict(self._store.info["input"])

    @property
    def available(self) -> bool | None:
        """Whether the network can be run; None while it is not known yet."""
        loading = self._loading
        if loading is None or not loading.done():
            return None
        return loading.exception() is None

    @property
    def reason(self) -> str:
        """Why the network cannot be run; empty while it can, or while that is not known."""
        loading = self._loading
        if loading is None or not loading.done() or loading.exception() is None:
            return ""
        return str(loading.exception())

    def start(self) -> Future[LiveNetwork]:
        """Begin to import torch and load the network in the worker thread; do nothing if begun."""
        with self._lock:
            if self._loading is None:
                self._loading = self._worker.call(self._load)
            return self._loading

    async def ready(self) -> None:
        """Wait until the network is loaded.

        Raises
        ------
        NoNetworkError
            When it cannot be loaded.
        DeadlineError
            When loading takes longer than ``LOAD_DEADLINE_S``.
        """
        future = asyncio.wrap_future(self.start())
        try:
            await asyncio.wait_for(asyncio.shield(future), LOAD_DEADLINE_S)
        except TimeoutError:
            msg = f"The network was not loaded within {LOAD_DEADLINE_S:.0f} s."
            raise DeadlineError(msg) from None
        except NoNetworkError as error:
            # This one is kept for all sessions: it must not keep the frames of each that met it.
            error.__traceback__ = None
            raise NoNetworkError(str(error)) from None

    async def test(
        self, image: Image, change: Change | None = None, *, session: Hashable = ""
    ) -> TestResult:
        """Run the network on an image and its changed copy.

        Parameters
        ----------
        image : int or Upload
            Image under test.
        change : Change or None
            What to do to the copy; None leaves it as it is.
        session : hashable
            Who asks.

        Returns
        -------
        TestResult
        """
        done = change or Change()
        return await self._ask(
            ("test", image, done, *fills_of(done)),
            session,
            lambda live: live.test(image, done),
            DEADLINE_S,
        )

    async def explain(
        self,
        image: Image,
        change: Change | None = None,
        *,
        method: str = "grad_cam",
        layer: str = "",
        class_index: int | None = None,
        session: Hashable = "",
    ) -> Evidence:
        """Find the evidence for a class in an image and in its changed copy.

        Parameters
        ----------
        image, change, session
            As for ``test``.
        method : str
            Name of the explanation.
        layer : str
            Layer of the evidence; empty takes the deepest one that has a map worth looking at.
        class_index : int or None
            Class of the evidence; None takes the predicted class of each image.

        Returns
        -------
        Evidence
        """
        done = change or Change()
        await self.ready()
        place = self.evidence_layer(method, layer)
        key = ("explain", image, done, *fills_of(done), method, place, class_index)
        return await self._ask(
            key, session,
            lambda live: live.explain(image, done, method, place, class_index),
            SLOW_DEADLINE_S,
        )  # fmt: skip

    async def trust(
        self, evidence: Evidence, *, session: Hashable = ""
    ) -> tuple[TenthTest | None, ...]:
        """Measure what removing the hottest tenth of each map costs, beside random tenths."""
        return await self._ask(
            ("trust", evidence), session, lambda live: live.trust(evidence), SLOW_DEADLINE_S
        )

    async def randomise(
        self, evidence: Evidence, *, session: Hashable = ""
    ) -> tuple[RandomisedTest, ...]:
        """Draw the maps again from networks of random weights, and compare."""
        return await self._ask(
            ("randomise", evidence), session, lambda live: live.randomise(evidence),
            SLOW_DEADLINE_S,
        )  # fmt: skip

    async def curve(
        self, image: Image, name: str, *, rotation_fill: str = "black", session: Hashable = ""
    ) -> ResponseCurve:
        """Return the scores of an image along the grid of one perturbation, the others at rest."""
        key = ("curve", image, name, rotation_fill if name == "rotation" else "")
        return await self._ask(
            key, session, lambda live: live.curve(image, name, rotation_fill), SLOW_DEADLINE_S
        )

    async def flip(
        self,
        image: Image,
        name: str,
        direction: int,
        *,
        rotation_fill: str = "black",
        session: Hashable = "",
    ) -> Flip:
        """Return the smallest magnitude in one direction that changes the prediction, refined."""
        key = ("flip", image, name, direction, rotation_fill if name == "rotation" else "")
        return await self._ask(
            key, session,
            lambda live: live.flip(image, name, direction, rotation_fill),
            SLOW_DEADLINE_S,
        )  # fmt: skip

    async def ablate(
        self,
        images: Iterable[int],
        filters: Iterable[tuple[int, int]],
        *,
        replacement: str = "mean",
        random_sets: int = 20,
        progress: Callable[[int, int], None] | None = None,
        session: Hashable = "",
    ) -> AblationResult:
        """Replace filters on images of the store, and compare with random sets of filters.

        Other questions are answered in between, and do not end it: only a newer ablation of the
        session does, ``drop_ablation`` or ``drop``.

        Parameters
        ----------
        images : iterable of int
            Members of a pattern, or a selection; of many, a sample is taken.
        filters : iterable of (layer_index, filter_index)
            What to replace.
        replacement : str
            ``mean`` of the reference images or ``zero``.
        random_sets : int
            Sets to compare with, 20 to 200.
        progress : callable, optional
            Called on the asking loop with passes done and passes in all.
        session : hashable
            Who asks.

        Returns
        -------
        AblationResult
        """
        question = AblationQuestion.of(images, filters, replacement, random_sets)
        await self.ready()
        key = ("ablate", question)
        return await self._in_turns(key, session, AblationSteps(question), progress)

    async def mean_evidence(
        self,
        images: Iterable[int],
        *,
        layer: str = "",
        progress: Callable[[int, int], None] | None = None,
        session: Hashable = "",
    ) -> MeanEvidence:
        """Average the Grad-CAM maps of images of the store, each for the class it is predicted.

        It gives way and ends as an ablation does, by ``drop_mean_evidence`` or ``drop``.

        Parameters
        ----------
        images : iterable of int
            Images by rank; of many, the first are averaged.
        layer, progress, session
            As for ``explain`` and ``ablate``.

        Returns
        -------
        MeanEvidence
        """
        await self.ready()
        question = MeanEvidenceQuestion.of(images, self.evidence_layer("grad_cam", layer))
        key = ("mean_evidence", question)
        return await self._in_turns(key, session, MeanEvidenceSteps(question), progress)

    def drop_mean_evidence(self, session: Hashable) -> None:
        """End the mean evidence of ``session``."""
        self._turns.drop(("mean_evidence", session))

    def drop_ablation(self, session: Hashable) -> None:
        """End the ablation of ``session``."""
        self._turns.drop(("ablate", session))

    def ahead(self, session: Hashable) -> int:
        """Return how many requests are before the scores that ``session`` waits for."""
        return self._worker.ahead(("test", session))

    def drop(self, session: Hashable) -> None:
        """Withdraw the requests of ``session``."""
        self._worker.drop(("test", session))
        self.interrupt(session)
        self.drop_ablation(session)
        self.drop_mean_evidence(session)

    def interrupt(self, session: Hashable) -> None:
        """Withdraw all that ``session`` asked after its scores: something newer comes first."""
        for kind in ("explain", "trust", "randomise", "curve", "flip"):
            self._worker.drop((kind, session))

    def methods(self) -> Mapping[str, tuple[str, tuple[str, ...]]]:
        """Return label and layers of every explanation by name; empty until it is loaded."""
        live = self._live()
        return {} if live is None else live.methods()

    def has_method(self, name: str) -> bool:
        """Return whether there is such an explanation; plugins may bring it with the network."""
        known = self.methods()
        if known:
            return name in known
        info = self._store.info
        has_plugins = any(info.get(stage, {}).get("plugins") for stage in ("capture", "simulate"))
        return name in EXPLANATION_NAMES or has_plugins

    def evidence_layer(self, method: str, layer: str) -> str:
        """Return the layer that evidence is drawn for: ``layer`` if the method can read it."""
        live = self._live()
        layers = self.methods().get(method, ("", ()))[1]
        if live is None or layer in layers or not layers:
            return layer
        return live.default_layer if live.default_layer in layers else layers[-1]

    def default_layer(self) -> str:
        """Return the layer of evidence when none is chosen; empty until the network is loaded."""
        live = self._live()
        return "" if live is None else live.default_layer

    def directions(self, name: str) -> tuple[int, ...]:
        """Return the directions in which a perturbation can leave its identity."""
        live = self._live()
        return () if live is None else live.directions(name)

    def close(self) -> None:
        """End the worker thread."""
        self._worker.close()

    def _live(self) -> LiveNetwork | None:
        loading = self._loading
        return loading.result() if loading is not None and self.available else None

    async def _ask(
        self,
        key: tuple[Any, ...],
        session: Hashable,
        work: Callable[[LiveNetwork], Answer],
        deadline_s: float,
    ) -> Answer:
        await self.ready()
        asker = (key[0], session)
        known: Answer | None = self._known(key)
        if known is not None:
            self._worker.drop(asker)
            return known
        future: asyncio.Future[Answer] = asyncio.wrap_future(
            self._worker.submit(
                asker, partial(self._answer, key, work), is_urgent=key[0] == "test"
            )
        )
        try:
            return await asyncio.wait_for(future, deadline_s)
        except TimeoutError:
            self._worker.drop(asker)
            msg = f"The network did not answer within {deadline_s:.0f} s."
            raise DeadlineError(msg) from None

    async def _in_turns(
        self,
        key: tuple[Any, ...],
        session: Hashable,
        steps: Callable[[LiveNetwork], tuple[int, int, Answer | None]],
        progress: Callable[[int, int], None] | None,
    ) -> Answer:
        asker = (key[0], session)
        known: Answer | None = self._known(key)
        if known is not None:
            self._turns.drop(asker)
            return known
        answer = await self._turns.run(
            asker, partial(self._spoken, key[0], steps),
            deadline_s=ABLATION_DEADLINE_S, progress=progress,
        )  # fmt: skip
        return self._keep(key, answer)

    def _answer(self, key: tuple[Any, ...], work: Callable[[LiveNetwork], Answer]) -> Answer:
        # Another session may have asked the same while this one waited its turn.
        known: Answer | None = self._known(key)
        if known is not None:
            return known
        return self._keep(key, self._spoken(key[0], work))

    def _spoken(self, kind: str, work: Callable[[LiveNetwork], Answer]) -> Answer:
        try:
            return work(self.start().result())
        except (WorkerError, VatunError, StoreError):
            raise
        except Exception as error:
            # The network and plugins are anybody's code: whatever they raise ends in a sentence.
            _log.exception("%s failed", kind)
            said = (str(error).splitlines() or [""])[0][:200]
            msg = f"The network or a plugin failed: {type(error).__name__}: {said}"
            raise AnswerError(msg) from error

    def _keep(self, key: tuple[Any, ...], answer: Answer) -> Answer:
        with self._lock:
            kept = self._cache[key[0]]
            kept[key] = answer
            while len(kept) > KEPT.get(key[0], KEPT_SMALL):
                kept.popitem(last=False)
        return answer

    def _load(self) -> LiveNetwork:
        try:
            from app.inference.live import LiveNetwork

            return LiveNetwork(self._store, self.model, self.input, check=self._worker.check)
        except Exception as error:
            msg = f"The network of this store cannot be loaded: {error}"
            raise NoNetworkError(msg) from error

    def _known(self, key: tuple[Any, ...]) -> Any:
        with self._lock:
            kept = self._cache[key[0]]
            answer = kept.get(key)
            if answer is not None:
                kept.move_to_end(key)
            return answer
