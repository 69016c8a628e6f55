"""The only door from the app to the network under test; torch is imported when it is first opened.

Everything that runs the network goes through one bounded worker per store, off the event loop. The
names, units and limits of changes are re-exported here from the torch-free ``vatun.specs``.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from app.atlas import Atlas
from app.worker import (
    QUEUE_LIMIT,
    BusyError,
    DeadlineError,
    LatestWinsWorker,
    SupersededError,
    WorkerError,
)
from feature_store import queries
from vatun.errors import VatunError
from vatun.specs import (
    ATTACKS,
    PERTURBATION_SPECS,
    Box,
    Change,
    InputSpec,
    ModelSpec,
    PerturbationSpec,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from feature_store import Store
    from vatun.network import Network

__all__ = [
    "ATTACKS",
    "PERTURBATION_SPECS",
    "Box",
    "BusyError",
    "Change",
    "DeadlineError",
    "InferenceService",
    "NoNetworkError",
    "PerturbationSpec",
    "SupersededError",
    "TestResult",
    "VatunError",
    "WorkerError",
    "change_from",
]

DEADLINE_S = 10.0
"""Seconds after which a request that has not been answered is given up."""

LOAD_DEADLINE_S = 180.0
"""Seconds that importing torch and reading the weights may take."""

CACHE_ENTRIES = 64
"""Answers that are kept per store."""

Answer = TypeVar("Answer")


class NoNetworkError(WorkerError):
    """The network of this store cannot be loaded; the message says why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TestResult:
    """What the network says of an image and of its changed copy, from one batch of both.

    In every pair the original comes first.

    Parameters
    ----------
    image_id : int
        Image under test.
    change : Change
        What was done to the copy.
    layer : str
        Layer of the evidence.
    classes : tuple of (int, int)
        Class whose evidence each map shows.
    images : ndarray of shape (2, height, width, 3), uint8
        Original and changed image at the network's input size.
    scores : ndarray of shape (2, n_classes), float32
        Softmax probabilities.
    maps : ndarray of shape (2, map_height, map_width), float32
        Raw Grad-CAM maps, 0 and above, not scaled.
    activations : tuple of ndarray of shape (n_filters,), float32
        Spatial maximum of every filter for the original image, by layer.
    paths : mapping of str to tuple of int
        Winning filter of each layer for the changed image, by path set; -1 is no winner.
    places : mapping of str to tuple of (float, float)
        Where the changed copy would lie on each projection: the mean of its nearest neighbours
        in the embedding, weighted by nearness. Empty when the store cannot say.
    neighbours : tuple of int
        Image ids that ``places`` are the means of, nearest first.
    """

    __test__: ClassVar[bool] = False  # The name is not a test case's.

    image_id: int
    change: Change
    layer: str
    classes: tuple[int, int]
    images: NDArray[np.uint8]
    scores: NDArray[np.float32]
    maps: NDArray[np.float32]
    activations: tuple[NDArray[np.float32], ...]
    paths: Mapping[str, tuple[int, ...]]
    places: Mapping[str, tuple[float, float]]
    neighbours: tuple[int, ...]

    @property
    def predicted(self) -> tuple[int, int]:
        """Class with the highest score of each image."""
        best = self.scores.argmax(axis=1)
        return int(best[0]), int(best[1])

    @property
    def is_flipped(self) -> bool:
        """Whether the change altered the predicted class."""
        return self.predicted[0] != self.predicted[1]

    @property
    def margin(self) -> tuple[float, float]:
        """Score of the class first predicted less the best other score, in [-1, 1], of each."""
        first = self.predicted[0]
        rest = np.delete(self.scores, first, axis=1).max(axis=1)
        values = self.scores[:, first] - rest
        return float(values[0]), float(values[1])

    @property
    def entropy(self) -> tuple[float, float]:
        """Entropy of the scores of each image, in nats."""
        scores = self.scores.astype(np.float64)
        values = -(scores * np.log(np.maximum(scores, 1e-30))).sum(axis=1)
        return float(values[0]), float(values[1])


class InferenceService:
    """Runs the network of one store for every session of the process.

    Parameters
    ----------
    store : Store
        Where images, weights and specifications are read from.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._worker = LatestWinsWorker(f"vatun-{store.name}", limit=QUEUE_LIMIT)
        self._lock = threading.Lock()
        self._loading: Future[_LiveNetwork] | None = None
        self._cache: OrderedDict[Hashable, TestResult] = OrderedDict()

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

    def start(self) -> Future[_LiveNetwork]:
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

    async def test(
        self,
        image_id: int,
        change: Change | None = None,
        layer: str = "",
        class_index: int | None = None,
        *,
        session: Hashable = "",
    ) -> TestResult:
        """Run the network on an image and its changed copy.

        Parameters
        ----------
        image_id : int
            Image under test.
        change : Change or None
            What to do to the copy; None leaves it as it is.
        layer : str
            Layer of the evidence; empty takes the deepest one that has a map worth looking at.
        class_index : int or None
            Class of the evidence; None takes the predicted class of each image.
        session : hashable
            A newer request of the same session displaces an older one.

        Returns
        -------
        TestResult
            May come from the cache of earlier answers.

        Raises
        ------
        SupersededError
            When a newer request came before the answer: there is nothing to draw.
        BusyError
            When too many sessions wait.
        DeadlineError
            When the answer takes longer than ``DEADLINE_S``.
        NoNetworkError
            When the network cannot be loaded.
        """
        change = change or Change()
        await self.ready()
        network = self.start().result()
        layer = layer or network.default_layer
        key = (image_id, change, layer, class_index)
        known = self._known(key)
        if known is not None:
            self._worker.drop(session)
            return known

        def work() -> TestResult:
            # Another view may have asked the same while this one waited its turn.
            return self._known(key) or self._remember(
                key, network.test(image_id, change, layer, class_index)
            )

        return await self._ask(session, work)

    def ahead(self, session: Hashable) -> int:
        """Return how many requests are before the one of ``session``."""
        return self._worker.ahead(session)

    def drop(self, session: Hashable) -> None:
        """Withdraw the request of ``session``."""
        self._worker.drop(session)

    def layers(self) -> tuple[str, ...]:
        """Return the layers that evidence can be shown for; empty until the network is loaded."""
        loading = self._loading
        if loading is None or not self.available:
            return ()
        return loading.result().evidence_layers

    def default_layer(self) -> str:
        """Return the layer of evidence when none is chosen; empty until the network is loaded."""
        loading = self._loading
        if loading is None or not self.available:
            return ""
        return loading.result().default_layer

    def close(self) -> None:
        """End the worker thread."""
        self._worker.close()

    async def _ask(self, session: Hashable, work: Callable[[], Answer]) -> Answer:
        future: asyncio.Future[Answer] = asyncio.wrap_future(self._worker.submit(session, work))
        try:
            return await asyncio.wait_for(future, DEADLINE_S)
        except TimeoutError:
            self._worker.drop(session)
            msg = f"The network did not answer within {DEADLINE_S:.0f} s."
            raise DeadlineError(msg) from None

    def _load(self) -> _LiveNetwork:
        try:
            return _LiveNetwork(self._store, self.model, self.input)
        except Exception as error:
            msg = f"The network of this store cannot be loaded: {error}"
            raise NoNetworkError(msg) from error

    def _known(self, key: Hashable) -> TestResult | None:
        with self._lock:
            result = self._cache.get(key)
            if result is not None:
                self._cache.move_to_end(key)
            return result

    def _remember(self, key: Hashable, result: TestResult) -> TestResult:
        with self._lock:
            self._cache[key] = result
            while len(self._cache) > CACHE_ENTRIES:
                self._cache.popitem(last=False)
        return result


class _LiveNetwork:
    """The loaded network and what the store knows for it; only the worker thread calls ``test``.

    Importing torch happens here.
    """

    def __init__(self, store: Store, model: ModelSpec, input_spec: InputSpec) -> None:
        # The embeddings are read while torch is imported and the weights are loaded.
        with ThreadPoolExecutor(1) as reader:
            atlas = reader.submit(Atlas, store)
            self._load(store, model, input_spec)
            self._atlas = atlas.result()

    def _load(self, store: Store, model: ModelSpec, input_spec: InputSpec) -> None:
        from vatun.explain import default_layer
        from vatun.network import load_network

        self._store = store
        self._network: Network = load_network(
            model, input_spec, weights=store.file("weights"), class_names=store.class_names
        )
        layers = self._network.layers
        self.default_layer = default_layer(self._network)
        self.evidence_layers = tuple(
            layer.layer_name for layer in layers if layer.height * layer.width > 1
        )
        self._fill = tuple(store.info["dataset"]["pixel_mean"])
        self._rules = _PathRules(store, [layer.filters for layer in layers])

    def test(
        self, image_id: int, change: Change, layer: str, class_index: int | None
    ) -> TestResult:
        """Answer ``InferenceService.test``; original and changed image share every batch."""
        import torch

        from vatun.capture import capture
        from vatun.explain import grad_cam
        from vatun.perturb import apply_change
        from vatun.preprocess import load_image, to_input

        pixels = load_image(queries.image_bytes(self._store, image_id), self._network.input)
        original = to_input(pixels)[None]
        changed = apply_change(original, change, seeds=[image_id], fill=self._fill)
        both = torch.cat([original, changed])
        seen = capture(self._network, both)
        scores = softmax(seen.logits)
        predicted = scores.argmax(axis=1)
        chosen = predicted if class_index is None else np.full(2, class_index)
        maps = grad_cam(self._network, both, chosen.tolist(), layer=layer)
        shown = (both * 255).round().clamp(0, 255).to(torch.uint8)
        neighbours, places = self._atlas.place(seen.embedding[1])
        return TestResult(
            image_id=image_id,
            change=change,
            layer=layer,
            classes=(int(chosen[0]), int(chosen[1])),
            images=np.ascontiguousarray(shown.movedim(1, -1).cpu().numpy()),
            scores=scores,
            maps=np.ascontiguousarray(maps.detach().cpu().numpy(), dtype=np.float32),
            activations=tuple(values[0] for values in seen.maxima),
            paths=self._rules.paths(
                [values[1:] for values in seen.maxima], [values[1:] for values in seen.means]
            ),
            places=places,
            neighbours=neighbours,
        )


class _PathRules:
    """How this store finds winners, so that a live path obeys the rules of the stored ones."""

    def __init__(self, store: Store, filters: Sequence[int]) -> None:
        self._sets = [name for name in ("paper", "mean", "balanced") if store.has(f"paths/{name}")]
        # Winners are taken of what the store keeps: float16, but for layers that overflow it.
        self._wide = frozenset(store.info["capture"]["float32_layers"])
        self._centre = [np.zeros(count) for count in filters]
        self._spread = [np.zeros(count) for count in filters]
        if "balanced" in self._sets:
            table = store.arrow(
                "select layer_index, filter_index, mean, standard_deviation"
                " from filter_statistics where statistic = 'mean'"
            )
            rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
            for layer, filter_index, mean, deviation in rows:
                self._centre[layer][filter_index] = mean
                self._spread[layer][filter_index] = deviation

    def paths(
        self, maxima: Sequence[NDArray[np.float32]], means: Sequence[NDArray[np.float32]]
    ) -> dict[str, tuple[int, ...]]:
        """Return the path of one image in every path set of the store."""
        from vatun.paths import balanced_winners, winners

        found: dict[str, tuple[int, ...]] = {}
        for name in self._sets:
            path = []
            for layer, value in enumerate(maxima if name == "paper" else means):
                half = layer not in self._wide
                if name == "balanced":
                    spread = self._spread[layer]
                    best = balanced_winners(value, self._centre[layer], spread, half=half)
                else:
                    best = winners(value, half=half)
                path.append(int(best[0]))
            found[name] = tuple(path)
        return found


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax of each row, computed in double precision."""
    exact = logits.astype(np.float64)
    grown = np.exp(exact - exact.max(axis=1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=1, keepdims=True), dtype=np.float32)


def change_from(magnitudes: Mapping[str, Any], boxes: Any) -> Change:
    """Build a change from what the browser sent; nothing in it is trusted.

    Parameters
    ----------
    magnitudes : mapping of str to number
        Magnitude by perturbation.
    boxes : sequence of four numbers each
        Left, top, right and bottom of each removed region, as shares of width and height.

    Returns
    -------
    Change
        Checked.

    Raises
    ------
    VatunError
        When a name, a magnitude or a region is not allowed.
    TypeError, ValueError
        When the data has another shape altogether.
    """
    regions = tuple(Box(*(float(value) for value in corners)) for corners in boxes)
    return Change(magnitudes=dict(magnitudes), boxes=regions)
