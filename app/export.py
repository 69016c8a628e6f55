"""A selection to take along: a table as CSV or Parquet, or the images as an archive.

Every kind is written as it is sent, a piece at a time, so that sixty thousand images need no more
memory than a few. A download is fetched once, by an address that nobody can guess.
"""

from __future__ import annotations

import base64
import io
import json
import re
import secrets
import threading
import time
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from app import thumbnails
from feature_store import queries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from app.runtime import Runtime

KINDS = {
    "csv": ("CSV table", "text/csv; charset=utf-8"),
    "parquet": ("Parquet table", "application/vnd.apache.parquet"),
    "zip": ("Images as zip", "application/zip"),
}
"""Kinds of a download: what the page calls it, and its media type."""

MAX_BYTES = 4_000_000_000
"""Estimated size above which images are not packed: a browser's download should end."""

MANY_BYTES = 500_000_000
"""Estimated size above which the menu warns."""

MAX_INLINE_BYTES = 8_000_000
"""Estimated size up to which a download travels in a message, where the route is not served."""

KEPT_S = 120.0
"""Seconds within which an offered download must be fetched."""

MAX_OFFERS = 200
"""Offers that are kept at a time; the oldest goes."""

_PIECE_BYTES = 500_000
_ROW_BYTES = {"csv": 115, "parquet": 50}
_HEAD_BYTES = 200
_INDEX = "images.csv"

# What a spreadsheet would take for a formula; it also reads the full-width signs.
_FORMULA = r"^(\s*[=+\-@＝＋－＠]|[\t\r\n])"

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tif"),
    (b"MM\0*", "tif"),
)
_ENDINGS = ("", "png", "jpg", "gif", "bmp", "tif", "webp", "bin")


@dataclass(frozen=True, kw_only=True, eq=False)
class Export:
    """What is taken along.

    Parameters
    ----------
    runtime : Runtime
        Of the store.
    kind : str
        One of ``KINDS``.
    ids : ndarray of int32
        Image ids, sorted.
    origin : str
        How the selection was made, in the words of the page; empty when nothing was selected.
    split : str
        Split that was shown; empty for all images.
    """

    runtime: Runtime
    kind: str
    ids: NDArray[np.int32]
    origin: str
    split: str

    @property
    def name(self) -> str:
        """File name: letters, digits, dot and dash."""
        store = re.sub(r"[^A-Za-z0-9_.-]+", "-", self.runtime.name).strip(".-")[:40] or "store"
        return f"vatun-{store}-{len(self.ids)}-images.{self.kind}"

    @property
    def media_type(self) -> str:
        """Media type of the file."""
        return KINDS[self.kind][1]

    def pieces(self) -> Iterator[bytes]:
        """Return the file in consecutive pieces; some may be empty.

        Returns
        -------
        iterator of bytes

        Raises
        ------
        StoreError
            While it is read, when the store is damaged.
        """
        if self.kind == "csv":
            return _csv_pieces(self.tables())
        if self.kind == "parquet":
            return queries.parquet_pieces(self.tables(), {"vatun": json.dumps(self.provenance())})
        return _zip_pieces(self)

    def provenance(self) -> dict[str, Any]:
        """Return where the rows come from: store, generation, hashes and selection."""
        manifest = self.runtime.store.manifest
        weights = dict(manifest.get("files", {}).get("weights", {})).get("sha256")
        return {
            "store": self.runtime.name,
            "generation": int(self.runtime.store.generation),
            "images": self.runtime.store.entry("images").fingerprint,
            "predictions": self.runtime.store.entry("predictions").fingerprint,
            "weights": weights,
            "split": self.split or None,
            "origin": self.origin or None,
            "n": len(self.ids),
        }

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows in a few tables; one without rows for no image."""
        for first in range(0, max(len(self.ids), 1), queries.LABELS_AT_ONCE):
            some = self.ids[first : first + queries.LABELS_AT_ONCE]
            yield queries.image_labels(self.runtime.store, some)


def estimate(runtime: Runtime, kind: str, n: int) -> int | None:
    """Return about how many bytes a download has; None where the store keeps no images."""
    if kind in _ROW_BYTES:
        return _HEAD_BYTES + n * _ROW_BYTES[kind]
    each = queries.bytes_per_image(runtime.store)
    return None if each is None else n * (each + 260 + _ROW_BYTES["csv"])


def offers(runtime: Runtime, n: int) -> list[dict[str, Any]]:
    """Return the entries of the menu, plain text.

    Parameters
    ----------
    runtime : Runtime
        Of the store.
    n : int
        Images to take along.

    Returns
    -------
    list of dict
        ``{"kind", "label", "detail", "can"}``.
    """
    return [_offer(runtime, kind, n) for kind in KINDS]


def _offer(runtime: Runtime, kind: str, n: int) -> dict[str, Any]:
    label, _ = KINDS[kind]
    size = estimate(runtime, kind, n)
    if size is None:
        detail, can = "This store keeps only where the images lie.", False
    elif not n:
        detail, can = "No image is selected.", False
    elif size > MAX_BYTES:
        detail, can = f"About {size_text(size)}: too much at once, select fewer.", False
    else:
        said = "rows" if kind in _ROW_BYTES else "images"
        large = ", which takes a while" if size > MANY_BYTES else ""
        detail, can = f"{n:,} {said}, about {size_text(size)}{large}", True
    return {"kind": kind, "label": label, "detail": detail, "can": can}


def size_text(size: int) -> str:
    """Say a number of bytes with two digits: ``"1.2 MB"``."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= 0.95 * scale:
            amount = size / scale
            return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:,.0f} {unit}"
    return f"{max(1, round(size / 1e3)):,} kB"


# -- offers that wait to be fetched ------------------------------------------------------


class Tickets:
    """Downloads that were asked for and not fetched yet; each is handed out once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[float, Export]] = {}

    def offer(self, export: Export) -> str:
        """Keep a download for a while and return the secret that it is fetched by."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._forget_old()
            self._waiting[token] = (time.monotonic(), export)
            while len(self._waiting) > MAX_OFFERS:
                del self._waiting[next(iter(self._waiting))]
        return token

    def take(self, token: str) -> Export | None:
        """Return the download of a secret and forget it; None when there is none (any more)."""
        with self._lock:
            self._forget_old()
            found = self._waiting.pop(token, None)
        return found[1] if found else None

    def _forget_old(self) -> None:
        oldest = time.monotonic() - KEPT_S
        for token in [key for key, (since, _) in self._waiting.items() if since < oldest]:
            del self._waiting[token]


TICKETS = Tickets()
"""Of this process."""


def handed_over(export: Export) -> dict[str, str]:
    """Return what a browser needs to save a download.

    Parameters
    ----------
    export : Export
        What was asked for.

    Returns
    -------
    dict of str to str
        ``name``, and ``url`` where our route is served (``panel serve --plugins app.routes``);
        else ``data``, base64, or for a large one ``reason``, why it cannot be had.
    """
    if thumbnails.served_by_url():
        token = TICKETS.offer(export)
        return {"name": export.name, "url": f"export/{token}/{export.name}"}
    size = estimate(export.runtime, export.kind, len(export.ids)) or 0
    if size > MAX_INLINE_BYTES:
        reason = (
            f"More than {size_text(MAX_INLINE_BYTES)} are sent only by a server of one process "
            "that was started with --plugins app.routes."
        )
        return {"name": export.name, "reason": reason}
    content = base64.b64encode(b"".join(export.pieces())).decode()
    return {"name": export.name, "type": export.media_type, "data": content}


# -- how each kind is written ------------------------------------------------------------


def _csv_pieces(tables: Iterator[pa.Table]) -> Iterator[bytes]:
    options = pyarrow.csv.WriteOptions(include_header=True, quoting_style="needed")
    # The mark makes spreadsheets read UTF-8. It comes with the first rows: an error before them
    # is an answer, later it breaks the file.
    mark = b"\xef\xbb\xbf"
    for table in tables:
        out = io.BytesIO()
        out.write(mark)
        mark = b""
        pyarrow.csv.write_csv(_harmless(table), out, write_options=options)
        yield out.getvalue()
        options.include_header = False


def _harmless(table: pa.Table) -> pa.Table:
    """Put an apostrophe before every text that a spreadsheet would run as a formula."""
    for at, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            column = pc.replace_substring_regex(table.column(at), _FORMULA, r"'\1")
            table = table.set_column(at, field.name, column)
    return table


def _zip_pieces(export: Export) -> Iterator[bytes]:
    """Pack the images as they are, and a table that names the file of each."""
    queue = queries.ByteQueue()
    endings = np.zeros(len(export.ids), dtype=np.uint8)
    with zipfile.ZipFile(queue, "w", compression=zipfile.ZIP_STORED, allowZip64=True) as archive:
        for image in queries.encoded_images(export.runtime.store, export.ids):
            if image.encoded is not None:
                ending = extension(image.encoded)
                endings[np.searchsorted(export.ids, image.image_id)] = _ENDINGS.index(ending)
                name = file_name(image.image_id, image.image_key, ending)
                archive.writestr(_entry(name), image.encoded)
                if len(queue) >= _PIECE_BYTES:
                    yield queue.take()
        with archive.open(_entry(_INDEX, compressed=True), "w", force_zip64=True) as index:
            for piece in _csv_pieces(_with_files(export, endings)):
                index.write(piece)
                yield queue.take()
        about = json.dumps(export.provenance(), indent=1).encode()
        archive.writestr(_entry("provenance.json"), about)
    yield queue.take()


def _with_files(export: Export, endings: NDArray[np.uint8]) -> Iterator[pa.Table]:
    """Add the column that names the file of each image, empty where there is none."""
    for table in export.tables():
        ids, keys = table["image_id"].to_pylist(), table["image_key"].to_pylist()
        kept = [_ENDINGS[code] for code in endings[np.searchsorted(export.ids, ids)].tolist()]
        files = [
            file_name(image_id, key, ending) if ending else None
            for image_id, key, ending in zip(ids, keys, kept, strict=True)
        ]
        yield table.append_column("file", pa.array(files, pa.string()))


def _entry(name: str, *, compressed: bool = False) -> zipfile.ZipInfo:
    """Return the head of a file; its time is fixed, so that equal selections give equal bytes."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    entry.external_attr = 0o644 << 16
    return entry


def file_name(image_id: int, image_key: str | None, ending: str) -> str:
    """Return the name of an image's file in the archive: id, begin of its key, and ending."""
    key = str(image_key or "")[: queries.KEY_LENGTH]
    known = f"_{key}" if re.fullmatch(r"[0-9a-f]+", key) else ""
    return f"images/{image_id:08d}{known}.{ending}"


def extension(encoded: bytes) -> str:
    """Return the ending for an image file by its first bytes; ``"bin"`` when they say nothing."""
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "webp"
    return next((end for start, end in _SIGNATURES if encoded.startswith(start)), "bin")
