"""Stage ``simulate``: expose every class to every perturbation."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

from pipelines.capture import shard_size
from pipelines.errors import StageError
from pipelines.inputs import Batch, read_batches, usable_images
from pipelines.lanes import Lanes, one_thread, to_device
from pipelines.packing import pack
from pipelines.progress import bar, estimate, say
from pipelines.responses import Responses
from pipelines.runner import Run, main
from vatun.attack import fgsm, fgsm_gradient
from vatun.network import Network, load_network
from vatun.perturb import PERTURBATIONS, perturb
from vatun.specs import ATTACKS, InputSpec, ModelSpec, find_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from feature_store import Shards, Store
    from pipelines.project import Project, Sweep

IDENTITY = "identity"

GIVEN = {"seeds": "image_id", "fill": "pixel_mean", "rotation_fill": "black"}
"""What a sweep gives to the perturbations that need it."""


@dataclass(frozen=True, kw_only=True)
class Subset:
    """The images that are swept.

    Parameters
    ----------
    split : str
        Where they come from.
    ids : ndarray of shape (n,), int32
        Ascending.
    labels : ndarray of shape (n,), int64
        True classes; -1 where there is none.
    available : int
        Images of the split that might have been taken.
    """

    split: str
    ids: NDArray[np.int32]
    labels: NDArray[np.int64]
    available: int

    def ranges(self, size: int) -> list[tuple[str, slice]]:
        """Return name and place of every shard's images."""
        starts = range(0, len(self.ids), size)
        return [(f"{start:09d}", slice(start, start + size)) for start in starts]


def run(run: Run) -> None:
    """Write ``sweeps``, ``smallest_flips``, ``simulation`` and ``calibration``."""
    project, store = run.project, run.store()
    network = stored_network(project, store)
    subset = choose(project, store)
    sweeps = project.simulate.perturbations
    shards = run.shards()
    ranges = subset.ranges(max(32, shard_size(project) // 4))
    seconds = _fill(network, store, subset, ranges, sweeps, shards, project)
    responses = Responses(
        ids=subset.ids,
        labels=subset.labels,
        split=subset.split,
        classes=network.spec.classes,
        shards=shards,
        ranges=[name for name, _ in ranges],
    )
    with run.commit(device=str(network.device)) as generation:
        responses.write(generation, sweeps, lineage=run.lineage())
        generation.info["simulate"] = {
            "split": subset.split,
            "images_per_class": project.simulate.images_per_class,
            "n": len(subset.ids),
            "n_available": subset.available,
            "seed": project.seed,
            "perturbations": [_described(sweep) for sweep in sweeps],
            "harmless": dict(project.simulate.harmless),
            "plugins": list(project.plugins),
            **seconds,
        }
    run.scratch.append(shards)
    say(
        f"simulate: {len(subset.ids):,} of {subset.available:,} images of {subset.split}, "
        f"{len(sweeps)} perturbations"
    )


def stored_network(project: Project, store: Store) -> Network:
    """Load the network that the store's tables come from."""
    return load_network(
        ModelSpec.from_dict(store.info["model"]),
        InputSpec.from_dict(store.info["input"]),
        weights=store.file("weights"),
        device=project.capture.device,
        class_names=store.class_names,
    )


def choose(project: Project, store: Store) -> Subset:
    """Choose the images: all of the split, or a seeded number of every class.

    Returns
    -------
    Subset
        Ids ascend.

    Raises
    ------
    StageError
        When the split holds no images, naming those that do.
    """
    ids, labels, names = usable_images(store)
    splits = np.array(names, dtype=object)
    split = (
        project.simulate.split
        or [name for name in project.dataset.splits if name in set(names)][-1]
    )
    here = np.flatnonzero(splits == split)
    if not here.size:
        known = ", ".join(dict.fromkeys(names))
        raise StageError(f"[simulate] split = {split!r} holds no images; splits: {known}")
    wanted = project.simulate.images_per_class
    chosen = here
    if wanted is not None:
        generator = np.random.default_rng([project.seed, 2])
        groups = [here[labels[here] == label] for label in np.unique(labels[here])]
        if labels[here].max() < 0:
            wanted *= len(store.class_names)
        picked = [generator.permutation(group)[:wanted] for group in groups]
        chosen = np.sort(np.concatenate(picked))
    return Subset(split=split, ids=ids[chosen], labels=labels[chosen], available=len(here))


def _fill(
    network: Network,
    store: Store,
    subset: Subset,
    ranges: list[tuple[str, slice]],
    sweeps: tuple[Sweep, ...],
    shards: Shards,
    project: Project,
) -> dict[str, Any]:
    """Compute every shard that is missing; return how long it took."""
    jobs = [Job.identity(), *(Job.of(sweep) for sweep in sweeps)]
    missing = [
        (name, place, [job for job in jobs if not shards.done(f"{job.name}-{name}")])
        for name, place in ranges
    ]
    todo = [each for each in missing if each[2]]
    evaluations = sum(
        len(subset.ids[place]) * len(job.magnitudes) for _, place, mine in todo for job in mine
    )
    if not evaluations:
        return {}
    started = time.perf_counter()
    _compute(network, store, subset, todo, shards, project, evaluations=evaluations)
    seconds = time.perf_counter() - started
    return {
        "seconds": round(seconds, 3),
        "images_per_second": round(evaluations / seconds, 2),
    }


def _compute(
    network: Network,
    store: Store,
    subset: Subset,
    todo: list[tuple[str, slice, list[Job]]],
    shards: Shards,
    project: Project,
    *,
    evaluations: int,
) -> None:
    """Put the images of every shard through its jobs."""
    work = _work(tuple(store.info["dataset"]["pixel_mean"]))
    parts = [subset.ids[place].tolist() for _, place, _ in todo]
    jobs = [mine for _, _, mine in todo]

    def publish(key: str, logits: list[NDArray[np.float32]]) -> None:
        rows = enumerate(np.concatenate(logits, axis=1))
        table = pa.table({f"{place:03d}": pack(part) for place, part in rows})
        shards.publish(key, {"logits": table})

    started = time.perf_counter()
    # One shard is written while the next are computed, so that no lane waits for the disk.
    with (
        bar(total=evaluations, label="simulate") as progress,
        closing(read_batches(store, parts, project, ahead=1)) as batches,
        Lanes(network, batch_size=project.capture.batch_size) as lanes,
        closing(lanes.run(work, _exposures(batches, jobs))) as results,
        ThreadPoolExecutor(1, thread_name_prefix="publish", initializer=one_thread) as writer,
    ):
        pending: Future[None] | None = None
        for name, place, mine in todo:
            for job in mine:
                logits: list[NDArray[np.float32]] = []
                while sum(part.shape[1] for part in logits) < len(subset.ids[place]):
                    _, done = next(results)
                    logits += done
                    progress.update(sum(part.shape[0] * part.shape[1] for part in done))
                if pending is None:
                    rate = progress.n / (time.perf_counter() - started)
                    _announce(evaluations, rate, network, project)
                else:
                    pending.result()
                pending = writer.submit(publish, f"{job.name}-{name}", logits)
        if pending is not None:
            pending.result()


@dataclass(frozen=True, kw_only=True)
class Job:
    """One perturbation at every magnitude but its identity, which is shared by all.

    Parameters
    ----------
    name : str
        Of the perturbation, or ``identity``.
    magnitudes : tuple of float
        In the order of the grid.
    """

    name: str
    magnitudes: tuple[float, ...]

    @classmethod
    def identity(cls) -> Job:
        """Leave the images as they are."""
        return cls(name=IDENTITY, magnitudes=(0.0,))

    @classmethod
    def of(cls, sweep: Sweep) -> Job:
        """Take the magnitudes of a sweep that change something."""
        unchanged = find_spec(sweep.name).identity
        return cls(
            name=sweep.name,
            magnitudes=tuple(value for value in sweep.grid if value != unchanged),
        )


@dataclass(frozen=True, kw_only=True)
class Exposure(Batch):
    """Images, and what they are exposed to."""

    job: Job


def _exposures(batches: Iterable[Batch], jobs: list[list[Job]]) -> Iterator[Exposure]:
    """Expose every batch to its jobs, one after the other."""
    for batch, mine in zip(batches, jobs, strict=True):
        for job in mine:
            yield Exposure(**vars(batch), job=job)


def _work(fill: tuple[float, ...]) -> Callable[[Network, Exposure], NDArray[np.float32]]:
    """Return what images are put through: logits of shape (magnitudes, n, classes)."""

    def changed(network: Network, images: torch.Tensor, batch: Exposure) -> Iterator[torch.Tensor]:
        job = batch.job
        if job.name == IDENTITY:
            yield images
        elif job.name in ATTACKS:
            # The sign does not depend on epsilon: one gradient serves every magnitude.
            sign = fgsm_gradient(network, images, _attacked(network, images, batch))
            for magnitude in job.magnitudes:
                yield fgsm(images, sign, magnitude)
        else:
            seeds = batch.image_ids.tolist()
            for magnitude in job.magnitudes:
                yield perturb(images, job.name, magnitude, seeds=seeds, fill=fill)

    def work(network: Network, batch: Exposure) -> NDArray[np.float32]:
        images = to_device(batch.pixels, network)
        logits = [network.logits(part) for part in changed(network, images, batch)]
        return np.stack([part.float().cpu().numpy() for part in logits])

    return work


def _attacked(network: Network, images: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the class to push away from: the true one, else the predicted one."""
    labels = torch.from_numpy(batch.labels.copy())
    if (labels < 0).any():
        predicted = network.logits(images).argmax(dim=1).cpu()
        labels = torch.where(labels < 0, predicted, labels)
    return labels


def _announce(evaluations: int, rate: float, network: Network, project: Project) -> None:
    estimate(
        images=evaluations,
        seconds=evaluations / rate,
        size=int(evaluations * (8 * network.spec.classes + 16)),
        folder=project.store,
        label="simulate",
    )


def _described(sweep: Sweep) -> dict[str, Any]:
    """Return what a change must repeat to equal the sweep."""
    needs = PERTURBATIONS[sweep.name].needs if sweep.name in PERTURBATIONS else ()
    given = {need: GIVEN[need] for need in needs}
    return {**asdict(find_spec(sweep.name)), "grid": list(sweep.grid), **given}


if __name__ == "__main__":
    main("simulate", run)
