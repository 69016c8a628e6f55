"""Stage ``ingest``: every image becomes a row, readable or not."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from feature_store.tables import schema
from pipelines import digits as _digits  # noqa: F401 - registers its loader
from pipelines import tables as _tables  # noqa: F401 - registers its loaders
from pipelines.errors import DataError
from pipelines.loaders import Listing, Record, encode_png, find_loader
from pipelines.progress import say, track
from pipelines.runner import Run, main
from vatun.errors import ImageError
from vatun.preprocess import MAX_BYTES, decode_image, load_image, pixel_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from pipelines.project import DatasetSection, Project

MAX_BAD = 0.01
"""Largest share of images without pixels that a run accepts."""

ROWS = 1024
"""Images of one part of the work; bounds the memory."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image after decoding."""

    record: Record
    status: str
    message: str | None = None
    key: str | None = None
    width: int | None = None
    height: int | None = None
    encoded: bytes | None = None
    mean: NDArray[np.float64] | None = None


@dataclass(kw_only=True)
class Tally:
    """What is counted over all rows, for ``info.dataset``."""

    reference: str
    by_split: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    pixels: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    reference_images: int = 0
    seen: dict[str, tuple[int, str]] = field(default_factory=dict)
    within: int = 0
    across: list[tuple[int, int]] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    def add(self, image_id: int, row: Row) -> None:
        """Count one row."""
        split = row.record.split
        self.by_split[split] += 1
        self.statuses[row.status] += 1
        if row.status != "ok" and len(self.examples) < 3:
            self.examples.append(_text(f"{row.record.source}: {row.message}"))
        if split == self.reference and row.mean is not None:
            self.pixels += row.mean
            self.reference_images += 1
        if row.key is None:
            return
        first = self.seen.setdefault(row.key, (image_id, split))
        if first[0] != image_id:
            if first[1] == split:
                self.within += 1
            else:
                self.across.append((first[0], image_id))

    @property
    def pixel_mean(self) -> list[float]:
        """Mean colour of the reference split, all images alike; it fills removed regions."""
        return [round(float(value), 6) for value in self.pixels / max(self.reference_images, 1)]


def run(run: Run) -> None:
    """Write ``classes`` and ``images``.

    Raises
    ------
    DataError
        When the data is missing, or more than 1 % of the images cannot be read.
    """
    project = run.project
    listing = find_loader(project.dataset.source)(project.dataset, project.seed)
    tally = Tally(reference=project.dataset.reference)
    with run.commit() as generation:
        generation.write("classes", _class_table(listing.classes), lineage={})
        with generation.table("images", lineage={}) as out:
            rows = track(_rows(listing, project), total=listing.total, label="ingest")
            first = 0
            while part := list(islice(rows, ROWS)):
                for offset, row in enumerate(part):
                    tally.add(first + offset, row)
                out.append(_image_table(part, first))
                first += len(part)
        _refuse_bad(tally, first)
        generation.info["dataset"] = _describe(project, tally)
    say(f"ingest: {first:,} images in {len(listing.classes)} classes; {_counts(tally.by_split)}")


def _rows(listing: Listing, project: Project) -> Iterator[Row]:
    """Decode in threads, in order, a bounded number at a time; Pillow frees the interpreter."""
    workers = project.dataset.workers
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        waiting: list[Future[list[Row]]] = []
        for part in _parts(listing.records, 32):
            waiting.append(pool.submit(_decode_all, part, project))
            if len(waiting) > 2 * workers:
                yield from waiting.pop(0).result()
        for future in waiting:
            yield from future.result()


def _parts(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    walker = iter(records)
    while part := list(islice(walker, size)):
        yield part


def _decode_all(records: list[Record], project: Project) -> list[Row]:
    return [_decode(record, project) for record in records]


def _decode(record: Record, project: Project) -> Row:
    encoded = record.encoded
    try:
        if encoded is None:
            if record.file is None:
                return Row(record=record, status="missing", message="the row holds no image")
            encoded = _read(record.file)
        pixels = decode_image(encoded)
        keep = _kept(encoded, record, project)
    except FileNotFoundError:
        return Row(record=record, status="missing", message=f"no file {record.source}")
    except MemoryError:
        message = f"{record.source} does not fit into memory"
        return Row(record=record, status="too_large", message=message)
    except OSError as error:
        return Row(record=record, status="missing", message=f"{record.source}: {error.strerror}")
    except ImageError as error:
        return Row(record=record, status=error.status, message=str(error), encoded=None)
    height, width = pixels.shape[:2]
    return Row(
        record=record,
        status="ok",
        key=pixel_key(pixels),
        width=width,
        height=height,
        encoded=keep,
        mean=pixels.mean(axis=(0, 1)) / 255,
    )


def _read(file: Path) -> bytes:
    """Return the content of a file that is a file, and not too large to be read at all."""
    status = file.stat()
    if not S_ISREG(status.st_mode):
        raise ImageError("it is no file", status="undecodable")
    if status.st_size > MAX_BYTES:
        msg = f"the file has {status.st_size:,} bytes, over {MAX_BYTES:,}"
        raise ImageError(msg, status="too_large")
    return file.read_bytes()


def _kept(encoded: bytes, record: Record, project: Project) -> bytes | None:
    kind = project.dataset.store_images
    if kind == "input":
        return encode_png(load_image(encoded, project.input_spec))
    # A name that is not UTF-8 cannot be stored, so that its file could not be found again.
    if kind == "path" and record.file is not None and _text(record.source) == record.source:
        return None
    return encoded


def _text(name: str) -> str:
    """Return a name as text; bytes that are not UTF-8 become the mark for that."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


def _class_table(names: tuple[str, ...]) -> pa.Table:
    columns = {
        "class_index": np.arange(len(names), dtype=np.int16),
        "class_name": [_text(name) for name in names],
    }
    return pa.table(columns, schema=schema("classes"))


def _image_table(rows: list[Row], first: int) -> pa.Table:
    columns: Mapping[str, Any] = {
        "image_id": np.arange(first, first + len(rows), dtype=np.int32),
        "image_key": [row.key for row in rows],
        "split": [row.record.split for row in rows],
        "true_class": [row.record.label for row in rows],
        "source": [_text(row.record.source) for row in rows],
        "width": [row.width for row in rows],
        "height": [row.height for row in rows],
        "encoded": [row.encoded for row in rows],
        "status": [row.status for row in rows],
        "message": [row.message and _text(row.message) for row in rows],
    }
    return pa.table(columns, schema=schema("images"))


def _refuse_bad(tally: Tally, total: int) -> None:
    bad = total - tally.statuses["ok"]
    if total == 0:
        raise DataError("the data set holds no images")
    if bad > MAX_BAD * total:
        reasons = _counts(Counter({k: n for k, n in tally.statuses.items() if k != "ok"}))
        msg = (
            f"{bad:,} of {total:,} images cannot be used ({reasons}), more than {MAX_BAD:.0%}; "
            f"the first: {'; '.join(tally.examples)}"
        )
        raise DataError(msg)
    if bad:
        say(f"ingest: {bad:,} of {total:,} images cannot be used; their rows say why")


def _describe(project: Project, tally: Tally) -> dict[str, Any]:
    dataset = project.dataset
    facts: dict[str, Any] = {
        "source": dataset.source,
        "splits": [split for split in dataset.splits if tally.by_split[split]],
        "reference_split": dataset.reference,
        "store_images": dataset.store_images,
        "n_by_split": dict(tally.by_split),
        "status_counts": dict(tally.statuses),
        "pixel_mean": tally.pixel_mean,
        "duplicates": {
            "within_splits": tally.within,
            "across_splits": len(tally.across),
            "first_across": [list(pair) for pair in tally.across[:10]],
        },
    }
    if dataset.source == "digits":
        facts["bias"] = dataset.bias
    if dataset.store_images == "path":
        # Sources are relative to it; without the bytes the store must know where they lie.
        facts["folder"] = str(image_folder_of(dataset))
    return facts


def image_folder_of(dataset: DatasetSection) -> Path | None:
    """Return the folder that the sources of a data set on the disk are relative to."""
    path = dataset.path
    return path.parent if path is not None and path.is_file() else path


def _counts(counter: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counter.items())


if __name__ == "__main__":
    main("ingest", run)
