"""Stage ``capture``: one forward pass over every image, no finished shard computed twice."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import torch

from feature_store.patterns.statistics import wilson_interval
from pipelines.errors import StageError
from pipelines.inputs import Batch, read_batches, usable_images
from pipelines.lanes import Lanes, one_thread, to_device
from pipelines.merge import Merge
from pipelines.packing import pack
from pipelines.progress import bar, estimate, say
from pipelines.results import Prediction, prediction_table, to_half
from pipelines.runner import Run, main
from pipelines.top import TopImages
from vatun.capture import Capture, capture
from vatun.network import Network, load_network, save_weights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from feature_store import Shards, Store
    from pipelines.project import Project

T = TypeVar("T")

PROBE = 256
"""Images that are looked at before the long run starts."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """Every usable image of the store.

    Parameters
    ----------
    ids : ndarray of shape (n,), int32
    labels : ndarray of shape (n,), int64
        True classes; -1 where there is none.
    splits : ndarray of shape (n,), object
        Name of the split.
    """

    ids: NDArray[np.int32]
    labels: NDArray[np.int64]
    splits: NDArray[np.object_]

    @classmethod
    def of(cls, store: Store) -> Images:
        """Read them."""
        ids, labels, splits = usable_images(store)
        return cls(ids=ids, labels=labels, splits=np.array(splits, dtype=object))

    def shards(self, size: int) -> list[tuple[str, NDArray[np.int64]]]:
        """Return key and positions of every shard: fixed ranges of ids, whatever the batch."""
        numbers = self.ids // size
        return [
            (f"images-{number * size:09d}", np.flatnonzero(numbers == number))
            for number in np.unique(numbers)
        ]


def run(run: Run) -> dict[str, str]:
    """Capture what is missing, then merge the shards into the tables.

    Returns
    -------
    dict
        Hash of the weights.
    """
    project, store = run.project, run.store()
    network = open_network(project, store)
    images = Images.of(store)
    shards = run.shards()
    size = shard_size(project)
    parts = images.shards(size)
    missing = [(key, part) for key, part in parts if not shards.done(key)]
    started = time.perf_counter()
    if missing:
        todo = sum(len(part) for _, part in missing)
        rate = _probe(network, store, images, project)
        estimate(
            images=todo,
            seconds=todo / rate,
            size=len(images.ids) * _bytes_per_image(network, project) * 2
            + _bytes_of_weights(network, project),
            folder=project.store,
            label="capture",
        )
        _fill(network, store, images, missing, shards, project, total=len(images.ids))
    seconds = time.perf_counter() - started
    done = sum(len(part) for _, part in missing)
    merge = Merge(
        run=run, network=network, images=images, shards=shards, keys=[k for k, _ in parts]
    )
    weights = _weights_file(project, network)
    sha256 = _sha256(weights)
    with run.commit(device=_device_name(network), weights_sha256=sha256) as generation:
        accuracy, wide = merge.write(generation)
        generation.add_file("weights", weights)
        generation.info["model"] = network.spec.to_dict()
        generation.info["input"] = network.input.to_dict()
        generation.info["capture"] = {
            **_facts(network, project, accuracy),
            "float32_layers": wide,
            # The app imports them too, to change images as the sweeps do.
            "plugins": list(project.plugins),
            "seconds": round(seconds, 3),
            "images_per_second": round(done / seconds, 2) if done and seconds > 0 else None,
        }
    spelled = (f"{split} accuracy {value:.2%}" for split, value in accuracy.items())
    say(f"capture: {', '.join(spelled)}")
    if project.capture.activations == "all":
        run.scratch.append(shards)
    return {"weights": sha256}


def open_network(project: Project, store: Store) -> Network:
    """Load the network under test for the classes of the store.

    Returns
    -------
    Network
        In evaluation mode.

    Raises
    ------
    StageError
        When the weights are missing, saying how to get them, or the classes do not fit.
    """
    weights = find_weights(project)
    names = store.class_names
    spec = project.model_spec(classes=len(names))
    if spec.classes != len(names):
        msg = (
            f"[model] classes = {spec.classes}, but the data set has {len(names)}: "
            f"{', '.join(names[:12])}"
        )
        raise StageError(msg)
    torch.manual_seed(project.seed)
    return load_network(
        spec,
        project.input_spec,
        weights=weights,
        device=project.capture.device,
        class_names=names,
    )


def find_weights(project: Project) -> Path | None:
    """Return the weights of a project; None for one that has none on purpose.

    Returns
    -------
    Path or None
        The file.

    Raises
    ------
    StageError
        When they are named and missing.
    """
    if project.trains:
        return project.trained_weights
    weights = project.model.weights
    if weights is None:
        say(f"{project.path.name} names no weights and has no [train]: the network is random")
        return None
    if not weights.is_file():
        msg = f"there are no weights at {weights}"
        if project.train is not None:
            msg += (
                f". `doit train:{project.name}` trains them and leaves them at "
                f"{project.trained_weights}; name that file in [model] weights, or in the "
                "environment variable that stands there"
            )
        raise StageError(msg)
    return weights


def shard_size(project: Project) -> int:
    """Return the ids of a shard: a few seconds of work, and a function of the input only."""
    spec = project.input_spec
    size = 2048 * 32 * 32 // (spec.height * spec.width)
    return max(128, min(2048, size))


def _fill(
    network: Network,
    store: Store,
    images: Images,
    missing: list[tuple[str, NDArray[np.int64]]],
    shards: Shards,
    project: Project,
    *,
    total: int,
) -> None:
    step = project.capture.batch_size
    parts = [
        images.ids[part[start : start + step]].tolist()
        for _, part in missing
        for start in range(0, len(part), step)
    ]
    todo = sum(len(part) for _, part in missing)

    def work(network: Network, batch: Batch) -> Capture:
        return capture(network, to_device(batch.pixels, network), peaks=True)

    def publish(key: str, positions: NDArray[np.int64], captured: Capture) -> None:
        tables = shard_tables(captured, images, positions, network)
        shards.publish(key, tables, {"images": len(positions)})

    # One shard is written while the next is computed; never more than one is in flight.
    with (
        bar(total=total, label="capture", done=total - todo) as progress,
        closing(read_batches(store, parts, project)) as batches,
        Lanes(network, batch_size=step) as lanes,
        closing(lanes.run(work, batches)) as results,
        ThreadPoolExecutor(1, thread_name_prefix="publish", initializer=one_thread) as writer,
    ):
        pending: Future[None] | None = None
        for key, positions in missing:
            shard, filled = empty_capture(network, len(positions)), 0
            # A batch never crosses the border of a shard.
            while filled < len(positions):
                batch, captures = next(results)
                for captured in captures:
                    filled += _put(shard, filled, captured)
                progress.update(len(batch))
            if pending is not None:
                pending.result()
            pending = writer.submit(publish, key, positions, shard)
        if pending is not None:
            pending.result()


def empty_capture(network: Network, count: int) -> Capture:
    """Return room for what the network does with ``count`` images, in one piece for each layer.

    Many small results would lie between the maps of the forward pass, so that the next map of the
    same size fits nowhere and fresh memory is taken, and cleared, for every batch.

    Returns
    -------
    Capture
        Its values are not set.
    """

    def room(width: int) -> NDArray[np.float32]:
        return np.empty((count, width), dtype=np.float32)

    filters = [layer.filters for layer in network.layers]
    return Capture(
        logits=room(network.spec.classes),
        embedding=room(network.embedding_dimensions),
        maxima=tuple(room(width) for width in filters),
        means=tuple(room(width) for width in filters),
        peaks=tuple(np.empty((count, width), dtype=np.int32) for width in filters),
    )


def _put(target: Capture, start: int, part: Capture) -> int:
    """Copy what was captured of some images to where they belong; return how many they are."""
    rows = slice(start, start + len(part.logits))
    target.logits[rows] = part.logits
    target.embedding[rows] = part.embedding
    for name in ("maxima", "means", "peaks"):
        for whole, values in zip(getattr(target, name), getattr(part, name), strict=True):
            whole[rows] = values
    return len(part.logits)


def shard_tables(
    captured: Capture, images: Images, positions: NDArray[np.int64], network: Network
) -> dict[str, pa.Table]:
    """Return everything that is kept of the images of one shard.

    Parameters
    ----------
    captured : Capture
        Of the images at ``positions``, in order.
    images : Images
        All images.
    positions : ndarray of int64
        Which of them.
    network : Network
        The network that was run.

    Returns
    -------
    dict of str to pyarrow.Table
        ``rows``: predictions, and packed scores, embedding, maxima and means; ``top``: candidates.
    """
    ids, labels = images.ids[positions], images.labels[positions]
    prediction = Prediction.of(captured.logits)
    rows = prediction_table(ids, labels, prediction)
    rows = rows.append_column("scores", pack(prediction.scores))
    rows = rows.append_column("embedding", pack(to_half(captured.embedding)))
    top = TopImages([layer.filters for layer in network.layers], sorted(set(images.splits)))
    splits = images.splits[positions]
    for layer in network.layers:
        index = layer.layer_index
        maxima = to_half(captured.maxima[index])
        rows = rows.append_column(f"max_{index:03d}", pack(maxima))
        rows = rows.append_column(f"mean_{index:03d}", pack(to_half(captured.means[index])))
        for split in dict.fromkeys(splits):
            mine = splits == split
            top.add(index, split, maxima[mine], ids[mine], captured.peaks[index][mine])
    return {"rows": rows, "top": pa.concat_tables(top.candidates())}


def _probe(network: Network, store: Store, images: Images, project: Project) -> float:
    """Run a few labelled images, to see that labels and normalisation are right, and how fast.

    Returns
    -------
    float
        Images a second.

    Raises
    ------
    StageError
        When the network does no better than chance.
    """
    labelled = np.flatnonzero(images.labels >= 0)[: 40 * PROBE]
    chosen = labelled if labelled.size else np.arange(min(len(images.ids), 40 * PROBE))
    # Spread out: a data set may be sorted by class.
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, PROBE).astype(int))]
    step = min(project.capture.batch_size, 64)
    parts = [images.ids[chosen[i : i + step]].tolist() for i in range(0, len(chosen), step)]
    right, seen, finite, started = 0, 0, 0, time.perf_counter()

    def work(network: Network, batch: Batch) -> tuple[int, int]:
        logits = capture(network, to_device(batch.pixels, network), peaks=True).logits
        is_right = logits.argmax(axis=1) == batch.labels
        return int(is_right.sum()), int(np.isfinite(logits).all(axis=1).sum())

    with Lanes(network, batch_size=step) as lanes:
        for batch, counts in lanes.run(work, read_batches(store, parts, project)):
            for counted in counts:
                right, finite = right + counted[0], finite + counted[1]
            seen += len(batch)
    rate = seen / (time.perf_counter() - started)
    if seen and not finite:
        msg = f"the network returns NaN or infinity for {seen} of {seen} images: check its weights"
        raise StageError(msg)
    if labelled.size and has_weights(project) and project.capture.check_accuracy:
        _check_accuracy(right, seen, network.spec.classes, project)
    return rate


def _check_accuracy(right: int, seen: int, classes: int, project: Project) -> None:
    """Stop what is no better than chance; a network that we trained ourselves is only named."""
    # Twice chance; with few classes, where that is nearly everything, a tenth above it. The upper
    # bound is asked: a few images must not stop a network by bad luck.
    _, high = wilson_interval(right, seen)
    if float(high) >= min(2 / classes, 1 / classes + 0.1) and right / seen > 1 / classes:
        return
    found = f"of {seen} labelled images {right / seen:.1%} are classified right, chance is "
    found += f"{1 / classes:.1%}"
    if project.trains:
        say(f"capture: {found}: the network has learnt little; [train] epochs may be too few")
        return
    msg = (
        f"{found}: check normalisation ([preprocess] mean, std) and labels, or set "
        "[capture] check_accuracy = false to go on"
    )
    raise StageError(msg)


def has_weights(project: Project) -> bool:
    """Whether the network has learnt something: a random one is not held to account."""
    return project.trains or project.model.weights is not None


def _bytes_per_image(network: Network, project: Project) -> int:
    filters = sum(layer.filters for layer in network.layers)
    kept = 4 * filters if project.capture.activations == "all" else 0
    return int(0.5 * kept) + 4 * network.spec.classes + 2 * network.embedding_dimensions + 200


def _bytes_of_weights(network: Network, project: Project) -> int:
    """Return the room for the copy in the store, and for the safetensors that may come before."""
    given = find_weights(project) if has_weights(project) else None
    if given is not None and given.suffix == ".safetensors":
        return given.stat().st_size
    values: list[torch.Tensor] = list(network.module.state_dict().values())
    return 2 * sum(value.numel() * value.element_size() for value in values)


def _facts(network: Network, project: Project, accuracy: dict[str, float]) -> dict[str, Any]:
    return {
        "device": _device_name(network),
        "batch_size": project.capture.batch_size,
        "activations": project.capture.activations,
        "embedding_layer": network.embedding_layer,
        "embedding_dimensions": network.embedding_dimensions,
        "skipped_layers": [dataclasses.asdict(layer) for layer in network.skipped_layers],
        "accuracy_by_split": accuracy,
    }


def _device_name(network: Network) -> str:
    if network.device.type == "cuda":
        return torch.cuda.get_device_name(network.device)
    return f"cpu, {torch.get_num_threads()} threads"


def _weights_file(project: Project, network: Network) -> Path:
    """Return the weights as safetensors: what was loaded, or what the random builder made."""
    given = find_weights(project) if has_weights(project) else None
    if given is not None and given.suffix == ".safetensors":
        return given
    path = project.store / "state" / "weights.safetensors"
    save_weights(network.module, path)
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main("capture", run)
