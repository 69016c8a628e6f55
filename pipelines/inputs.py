"""Read the images of a store as inputs of the network, decoded ahead of the forward pass."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np

from vatun.preprocess import load_image

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from feature_store import Store
    from pipelines.project import Project
    from vatun.specs import InputSpec

T = TypeVar("T")

TASK_BYTES = 256 * 1024
"""Encoded bytes that one task of a pool decodes: some milliseconds. With a task an image, threads
that decode thumbnails spend more time waiting for the interpreter than decoding."""

READ_BYTES = 16 * 1024 * 1024
"""Encoded bytes that one query reads. Each query of DuckDB ends with giving all of the process's
free memory back to the system, that of the network too: with a query a batch, a tenth of the
time goes into pages that the kernel clears again."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some images of the store, at the size of the input.

    Parameters
    ----------
    image_ids : ndarray of shape (n,), int32
    labels : ndarray of shape (n,), int64
        True classes; -1 where there is no label.
    pixels : ndarray of shape (n, 3, height, width), uint8
    sources : sequence of str
        Where each comes from, as people know it.
    """

    image_ids: NDArray[np.int32]
    labels: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    sources: Sequence[str]

    def __len__(self) -> int:
        return len(self.image_ids)

    def part(self, rows: slice) -> Self:
        """Return some of the images."""
        return replace(
            self,
            image_ids=self.image_ids[rows],
            labels=self.labels[rows],
            pixels=self.pixels[rows],
            sources=self.sources[rows],
        )


def usable_images(store: Store) -> tuple[NDArray[np.int32], NDArray[np.int64], list[str]]:
    """Return id, true class (-1: none) and split of every image that could be decoded."""
    table = store.arrow(
        "select image_id, coalesce(true_class, -1)::bigint as label, split "
        "from images where status = 'ok' order by image_id"
    )
    return (
        table["image_id"].to_numpy(),
        table["label"].to_numpy(),
        table["split"].to_pylist(),
    )


def stored_input_spec(project: Project) -> InputSpec:
    """Return how the images of the store become inputs."""
    spec = project.input_spec
    # Those that `store_images = "input"` has kept are at the input's size already.
    if project.dataset.store_images == "input":
        return replace(spec, resize=None, crop=None)
    return spec


def read_batch(
    store: Store, image_ids: Sequence[int], project: Project, *, pool: ThreadPoolExecutor
) -> Batch:
    """Read and decode some images.

    Parameters
    ----------
    store : Store
        Where they are.
    image_ids : sequence of int
        Ascending ids of images whose status is ok.
    project : Project
        Says how they become inputs.
    pool : ThreadPoolExecutor
        Decodes; Pillow frees the interpreter meanwhile.

    Returns
    -------
    Batch
        In the order of ``image_ids``.
    """
    return _decoded(_encoded(store, image_ids), project, pool=pool)


def _encoded(store: Store, image_ids: Sequence[int]) -> pa.Table:
    # The range lets DuckDB skip the row groups outside; the list picks within.
    return store.arrow(
        "select image_id, coalesce(true_class, -1)::bigint as label, encoded, source from images "
        "where image_id between ? and ? and image_id in (select unnest(?)) order by image_id",
        int(image_ids[0]),
        int(image_ids[-1]),
        list(image_ids),
    )


def _decoded(rows: pa.Table, project: Project, *, pool: ThreadPoolExecutor) -> Batch:
    spec = stored_input_spec(project)
    folder = _folder(project)

    def load(encoded: bytes | None, source: str) -> NDArray[np.uint8]:
        data = (folder / source).read_bytes() if encoded is None and folder else encoded
        return load_image(data or b"", spec)

    def load_all(part: Sequence[tuple[bytes | None, str]]) -> list[NDArray[np.uint8]]:
        return [load(encoded, source) for encoded, source in part]

    sources = rows["source"].to_pylist()
    files = list(zip(rows["encoded"].to_pylist(), sources, strict=True))
    images = [image for part in pool.map(load_all, _tasks(files)) for image in part]
    return Batch(
        image_ids=rows["image_id"].to_numpy(),
        labels=rows["label"].to_numpy(),
        pixels=np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)),
        sources=sources,
    )


def _tasks(rows: Sequence[tuple[bytes | None, str]]) -> list[Sequence[tuple[bytes | None, str]]]:
    """Cut encoded images into tasks of ``TASK_BYTES``; one that lies in a file is a task."""
    sizes = [TASK_BYTES if encoded is None else len(encoded) for encoded, _ in rows]
    numbers = (np.cumsum(sizes) - 1) // TASK_BYTES
    borders = [0, *(np.flatnonzero(np.diff(numbers)) + 1), len(rows)]
    return [rows[start:stop] for start, stop in pairwise(borders)]


def read_batches(
    store: Store, parts: Iterable[Sequence[int]], project: Project, *, ahead: int = 2
) -> Generator[Batch]:
    """Yield one batch for every list of ids, reading the next ones in the background.

    Parameters
    ----------
    store : Store
        Where the images are.
    parts : iterable of sequence of int
        Ids of each batch, ascending from the first batch to the last.
    project : Project
        Says how images become inputs.
    ahead : int
        Most batches that wait for the network.

    Yields
    ------
    Batch
        In the order of ``parts``.
    """
    with ThreadPoolExecutor(project.dataset.workers, thread_name_prefix="decode") as pool:
        yield from prefetch(_batches(store, parts, project, pool), ahead=ahead)


def _batches(
    store: Store, parts: Iterable[Sequence[int]], project: Project, pool: ThreadPoolExecutor
) -> Generator[Batch]:
    for group in _groups(parts, most=_images_at_a_time(store)):
        rows = _encoded(store, [image_id for part in group for image_id in part])
        start = 0
        for part in group:
            yield _decoded(rows.slice(start, len(part)), project, pool=pool)
            start += len(part)


def _images_at_a_time(store: Store) -> int:
    images = store.entry("images")
    size = sum(part.bytes for part in images.parts)
    rows = sum(part.rows for part in images.parts)
    return max(1, READ_BYTES * rows // max(size, 1))


def _groups(parts: Iterable[Sequence[int]], *, most: int) -> Iterator[list[Sequence[int]]]:
    """Yield runs of parts with at most ``most`` ids, or single longer ones."""
    group: list[Sequence[int]] = []
    total = 0
    for part in parts:
        if group and total + len(part) > most:
            yield group
            group, total = [], 0
        group.append(part)
        total += len(part)
    if group:
        yield group


def prefetch(items: Iterable[T], *, ahead: int) -> Generator[T]:
    """Yield ``items``, computing up to ``ahead`` of them in a thread meanwhile.

    Yields
    ------
    T
        The items in order; what the thread raises is raised here.
    """
    done = object()
    stop = threading.Event()
    waiting: queue.Queue[object] = queue.Queue(maxsize=ahead)

    def put(item: object) -> None:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(done)
        except BaseException as error:  # noqa: BLE001 - raised again by the reader, below
            put(error)

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not done:
            if isinstance(item, BaseException):
                raise item
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()


def _folder(project: Project) -> Path | None:
    from pipelines.ingest import image_folder_of

    return image_folder_of(project.dataset)
