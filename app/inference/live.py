"""The loaded network and what the store knows for it; importing torch happens here, late."""

from __future__ import annotations

import importlib
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from app.atlas import Atlas
from app.inference.answers import Evidence, PredictedEvidence, TestResult, softmax
from app.uploads import Upload
from feature_store import StoreError, queries
from feature_store.patterns.telling import reference_means
from vatun.errors import ImageError, LayerError, NetworkError
from vatun.specs import ATTACKS, PERTURBATION_SPECS, Change

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from app.inference.ablation import AblationQuestion
    from app.inference.answers import Image
    from feature_store import Store
    from vatun.ablate import Ablator
    from vatun.capture import Capture
    from vatun.network import Network
    from vatun.response import Flip, ResponseCurve
    from vatun.specs import InputSpec, ModelSpec
    from vatun.trust import RandomisedTest, TenthTest

BATCH_PIXELS = 64 * 64 * 64
"""Pixels of a batch of slow work: between two batches it can be given up."""

KEPT = 32
"""Images, and changed copies, that stay ready to be asked about again."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """One picture as the network takes it, and what the network did with it."""

    pixels: Tensor
    capture: Capture
    label: int | None = None
    seed: int = 0

    @property
    def scores(self) -> NDArray[np.float32]:
        """Softmax probabilities, shape (1, n_classes)."""
        return softmax(self.capture.logits)


class _Interruptible:
    """The network, but it asks before every pass whether anybody still waits for the answer."""

    def __init__(self, network: Network, check: Callable[[], None]) -> None:
        self._network = network
        self._check = check

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def logits(self, images: Tensor) -> Tensor:
        """As ``Network.logits``."""
        self._check()
        return self._network.logits(images)

    def forward(self, images: Tensor) -> Tensor:
        """As ``Network.forward``."""
        self._check()
        return self._network.forward(images)


class LiveNetwork:
    """Answers questions about images; one thread at a time.

    Parameters
    ----------
    store : Store
        Where images, weights and statistics are read from.
    model, input_spec
        Specifications of the network, from the store.
    check : callable
        Raises when nobody waits for the running answer any more.
    """

    def __init__(
        self,
        store: Store,
        model: ModelSpec,
        input_spec: InputSpec,
        *,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        # The embeddings are read while torch is imported and the weights are loaded.
        with ThreadPoolExecutor(1) as reader:
            atlas = reader.submit(Atlas, store)
            self._load(store, model, input_spec)
            self._atlas = atlas.result()
        self._slow = cast("Network", _Interruptible(self._network, check))
        self._check = check
        size = input_spec.height * input_spec.width
        self._batch = max(4, min(64, BATCH_PIXELS // size))
        self._originals: OrderedDict[Any, _Seen] = OrderedDict()
        self._changed: OrderedDict[Any, _Seen] = OrderedDict()

    def _load(self, store: Store, model: ModelSpec, input_spec: InputSpec) -> None:
        from vatun.explain import default_layer
        from vatun.network import load_network

        # What the store was computed with may hold perturbations of a plugin.
        for stage in ("capture", "simulate"):
            for name in store.info.get(stage, {}).get("plugins", ()):
                importlib.import_module(str(name))
        self._store = store
        self._network: Network = load_network(
            model, input_spec, weights=store.file("weights"), class_names=store.class_names
        )
        layers = self._network.layers
        try:
            self.default_layer = default_layer(self._network)
        except LayerError:
            # No layer has a map: what reads the image itself still explains.
            self.default_layer = ""
        self._maps = tuple(layer.layer_name for layer in layers if layer.height * layer.width > 1)
        self._fill = tuple(store.info["dataset"]["pixel_mean"])
        self._rules = _PathRules(store, [layer.filters for layer in layers])
        swept = store.info.get("simulate", {}).get("perturbations", ())
        self._grids = {str(row["name"]): tuple(map(float, row["grid"])) for row in swept}

    def methods(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Return label and supported layers of every explanation; ``""`` is the image itself."""
        from vatun.explain import EXPLANATIONS

        found = {}
        for name, entry in EXPLANATIONS.items():
            layers: tuple[str, ...] = ("",)
            if entry.reads == "layer":
                layers = tuple(x for x in self._maps if entry.supports(self._network, x))
            if layers:
                found[name] = (entry.label, layers)
        return found

    def test(self, image: Image, change: Change) -> TestResult:
        """Answer ``InferenceService.test``."""
        import torch

        original, changed = self._pair(image, change)
        both = torch.cat([original.pixels, changed.pixels])
        shown = (both * 255).round().clamp(0, 255).to(torch.uint8)
        neighbours, places = self._atlas.place(changed.capture.embedding[0])
        return TestResult(
            image=image,
            change=change,
            label=original.label,
            images=np.ascontiguousarray(shown.movedim(1, -1).cpu().numpy()),
            scores=np.concatenate([original.scores, changed.scores]),
            activations=tuple(values[0] for values in original.capture.maxima),
            paths=self._rules.paths(changed.capture.maxima, changed.capture.means),
            places=places,
            neighbours=neighbours,
        )

    def explain(
        self, image: Image, change: Change, method: str, layer: str, class_index: int | None
    ) -> Evidence:
        """Answer ``InferenceService.explain``."""
        from vatun.explain import find_explanation

        entry = find_explanation(method)
        chosen = self._chosen(image, change, class_index)
        both = self._both(image, change)
        maps = entry.apply(self._slow, both, chosen, layer=layer)
        if maps.ndim != 3 or len(maps) != 2 or not bool((maps >= 0).all() & maps.isfinite().all()):
            msg = f"the explanation {method} gives no map of finite values from 0 for each image"
            raise NetworkError(msg)
        return Evidence(
            image=image,
            change=change,
            method=method,
            layer=layer,
            class_index=class_index,
            classes=(chosen[0], chosen[1]),
            maps=np.ascontiguousarray(maps.detach().cpu().numpy(), dtype=np.float32),
        )

    def trust(self, evidence: Evidence) -> tuple[TenthTest | None, ...]:
        """Answer ``InferenceService.trust``."""
        import torch

        from vatun.trust import hottest_tenth

        return hottest_tenth(
            self._slow,
            self._both(evidence.image, evidence.change),
            torch.from_numpy(evidence.maps),
            list(evidence.classes),
            fill=self._fill,
        )

    def randomise(self, evidence: Evidence) -> tuple[RandomisedTest, ...]:
        """Answer ``InferenceService.randomise``."""
        from vatun.trust import randomised

        return tuple(
            randomised(self._network, pixels, index, method=evidence.method, layer=evidence.layer)
            for pixels, index in zip(
                self._both(evidence.image, evidence.change), evidence.classes, strict=True
            )
        )

    def curve(self, image: Image, name: str, rotation_fill: str) -> ResponseCurve:
        """Answer ``InferenceService.curve``."""
        from vatun.response import response_curve

        seen = self._original(image)
        return response_curve(
            self._slow, seen.pixels, name,
            magnitudes=self._grids.get(name), seed=seen.seed, fill=self._fill, label=seen.label,
            rotation_fill=rotation_fill, batch_size=self._batch,
        )  # fmt: skip

    def flip(self, image: Image, name: str, direction: int, rotation_fill: str) -> Flip:
        """Answer ``InferenceService.flip``."""
        from vatun.response import smallest_flip

        seen = self._original(image)
        return smallest_flip(
            self._slow, seen.pixels, name, direction=direction,
            magnitudes=self._grids.get(name), seed=seen.seed, fill=self._fill, label=seen.label,
            rotation_fill=rotation_fill, batch_size=self._batch,
        )  # fmt: skip

    def ablation(self, question: AblationQuestion) -> tuple[tuple[int, ...], Ablator]:
        """Make ready an ablation: the images that it asks about, and its passes."""
        import torch

        from vatun.ablate import Ablator
        from vatun.preprocess import load_image, to_input

        rows = self._store.arrow(
            "SELECT image_id FROM images WHERE status = 'ok' AND encoded IS NOT NULL "
            "AND image_id IN (SELECT unnest(?::BIGINT[]))",
            list(question.images),
        )
        images = question.sample(rows["image_id"].to_pylist())
        if not images:
            msg = "none of these images can be read from the store"
            raise NetworkError(msg)
        size = self._network.input
        pixels = [load_image(queries.image_bytes(self._store, image), size) for image in images]
        means = None
        if question.replacement == "mean":
            means = reference_means(self._store, {layer for layer, _ in question.filters})
        work = Ablator(
            self._network, torch.cat([to_input(each)[None] for each in pixels]),
            question.filters, replacement=question.replacement, means=means,
            random_sets=question.random_sets, batch_size=self._batch, check=self._check,
        )  # fmt: skip
        return images, work

    def predicted_evidence(self, images: Sequence[int], layer: str) -> PredictedEvidence:
        """Return the Grad-CAM maps of some images; those that cannot be read are left out."""
        import torch

        from vatun.explain import grad_cam
        from vatun.preprocess import load_image, to_input

        read, tensors = [], []
        for image in images:
            try:
                pixels = load_image(queries.image_bytes(self._store, image), self._network.input)
            except (ImageError, StoreError):
                continue
            read.append(image)
            tensors.append(to_input(pixels)[None])
        parts = []
        for start in range(0, len(read), self._batch):
            batch = torch.cat(tensors[start : start + self._batch])
            chosen = self._slow.logits(batch).argmax(dim=1)
            parts.append(grad_cam(self._slow, batch, chosen, layer=layer).detach().cpu().numpy())
        nothing = np.zeros((0, 1, 1), np.float32)
        return PredictedEvidence(
            images=read,
            pixels=torch.cat(tensors).movedim(1, -1).cpu().numpy() if read else nothing,
            maps=np.concatenate(parts) if read else nothing,
        )

    def directions(self, name: str) -> tuple[int, ...]:
        """Return the directions in which a perturbation can leave its identity."""
        spec = PERTURBATION_SPECS[name]
        grid = self._grids.get(name, spec.grid)
        return tuple(
            direction
            for direction in (-1, 1)
            if any(direction * (value - spec.identity) > 0 for value in grid)
        )

    def _chosen(self, image: Image, change: Change, class_index: int | None) -> list[int]:
        if class_index is not None:
            return [class_index, class_index]
        return [int(seen.scores.argmax()) for seen in self._pair(image, change)]

    def _both(self, image: Image, change: Change) -> Tensor:
        import torch

        return torch.cat([seen.pixels for seen in self._pair(image, change)])

    def _pair(self, image: Image, change: Change) -> tuple[_Seen, _Seen]:
        """Return an image and its changed copy; each is run once, however often it is asked."""
        original = self._original(image)
        if change.is_identity:
            return original, original
        key = (image, change)
        changed = self._changed.get(key)
        if changed is None:
            changed = _keep(self._changed, key, self._change(original, change))
        return original, changed

    def _original(self, image: Image) -> _Seen:
        from vatun.preprocess import load_image, to_input

        known = self._originals.get(image)
        if known is not None:
            self._originals.move_to_end(image)
            return known
        label, seed = None, 0
        if isinstance(image, Upload):
            pixels = image.pixels
        else:
            encoded = queries.image_bytes(self._store, image)
            pixels = load_image(encoded, self._network.input)
            label, seed = queries.image_row(self._store, image).true_class, image
        tensor = to_input(pixels)[None]
        seen = _Seen(pixels=tensor, capture=self._run(tensor, "image"), label=label, seed=seed)
        return _keep(self._originals, image, seen)

    def _run(self, pixels: Tensor, what: str) -> Capture:
        """Run the network once; an answer that is no number is none."""
        from vatun.capture import capture

        if not bool(pixels.isfinite().all()):
            msg = f"this {what} has pixels that are no numbers"
            raise NetworkError(msg)
        seen = capture(self._network, pixels)
        if not np.isfinite(seen.logits).all():
            msg = f"the network gives no finite scores for this {what}"
            raise NetworkError(msg)
        return seen

    def _change(self, original: _Seen, change: Change) -> _Seen:
        import torch

        from vatun.perturb import apply_change

        attacked = None
        if ATTACKS.intersection(change.magnitudes):
            predicted = int(original.scores.argmax())
            attacked = torch.tensor([predicted if original.label is None else original.label])
        pixels = apply_change(
            original.pixels, change,
            seeds=[original.seed], fill=self._fill, network=self._network, labels=attacked,
        )  # fmt: skip
        return _Seen(pixels=pixels, capture=self._run(pixels, "changed image"))


def _keep(kept: OrderedDict[Any, _Seen], key: Any, seen: _Seen) -> _Seen:
    kept[key] = seen
    while len(kept) > KEPT:
        kept.popitem(last=False)
    return seen


class _PathRules:
    """How this store finds winners, so that a live path obeys the rules of the stored ones."""

    def __init__(self, store: Store, filters: Sequence[int]) -> None:
        self._sets = [name for name in ("paper", "mean", "balanced") if store.has(f"paths/{name}")]
        # Winners are taken of what the store keeps: float16, but for layers that overflow it.
        self._wide = frozenset(store.info["capture"]["float32_layers"])
        self._centre = [np.zeros(count) for count in filters]
        self._spread = [np.zeros(count) for count in filters]
        if "balanced" in self._sets:
            # Where it is missing, say which stage writes it.
            store.entry("filter_statistics")
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
