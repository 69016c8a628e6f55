"""Pictures from the browser: received in pieces under limits, then decoded off the event loop.

The browser is not trusted. What it checks itself is checked here again, in bytes that arrived and
not in what was declared; name and type of the file are never more than words to show.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import time
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from app import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

MAX_BYTES = 16 * 1024 * 1024
"""Largest file; ``vatun.preprocess`` has the same limit."""

MAX_PIXELS = 15_000_000
"""Most pixels, of a WebP six tenths of it: decoding one then takes less than 150 MB."""

MAX_CHUNK_BYTES = 256 * 1024
"""Largest piece, after base64."""

MAX_CHUNKS = 1024
"""Most pieces of a file."""

EXPIRY_S = 60.0
"""Seconds after its last piece at which an unfinished upload is dropped."""

NAME_LENGTH = 64
"""Longest name that is shown, in characters."""

ACCEPTED = (
    "PNG, JPEG, BMP and GIF up to 16 MB and 15 megapixels are accepted, and WebP up to 9 "
    "megapixels."
)

_MAX_TEXT = 4 * -(-MAX_CHUNK_BYTES // 3)
_LONGEST_PATH = 4096


class UploadError(Exception):
    """A file that is no usable picture; nothing in it is escaped.

    Parameters
    ----------
    headline : str
        What happened.
    detail : str
        One sentence that names the file and the reason.
    cure : str
        What is accepted.
    """

    def __init__(self, headline: str, detail: str, cure: str = ACCEPTED) -> None:
        super().__init__(f"{headline}: {detail} {cure}")
        self.headline = headline
        self.detail = detail
        self.cure = cure


@dataclass(frozen=True, eq=False)
class Upload:
    """A decoded picture that is in no table of the store.

    Parameters
    ----------
    name : str
        What the page calls it: plain text, not escaped.
    pixels : ndarray of shape (height, width, 3), uint8
        RGB, at the size of the network's input once ``fitted``.
    key : str
        Hash of the pixels at the picture's own size: the ``image_key`` that the same image would
        have in a store.
    was : tuple of (int, int) or None
        Width and height before it was brought into another shape; None where it kept its own.
    how : str
        What was done to it then, such as ``"squeezed to"``.
    """

    name: str
    pixels: NDArray[np.uint8]
    key: str
    was: tuple[int, int] | None = None
    how: str = ""

    def fitted(
        self, fit: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], *, how: str = "squeezed to"
    ) -> Upload:
        """Return it at the size that ``fit`` makes: sessions keep no large pictures.

        Parameters
        ----------
        fit : callable
            Takes and returns pixels.
        how : str
            What ``fit`` does to a picture of another shape, in words.

        Returns
        -------
        Upload
            ``was`` says where the shape is another one; less than a pixel is no difference.
        """
        small = replace(self, pixels=fit(self.pixels))
        scale = max(small.width / self.width, small.height / self.height)
        beyond = max(self.width * scale - small.width, self.height * scale - small.height)
        return small if beyond < 1 else replace(small, was=(self.width, self.height), how=how)

    @property
    def shape_words(self) -> str:
        """What became of its shape ("512 × 300 squeezed to 32 × 32"); empty where nothing did."""
        if self.was is None:
            return ""
        return f"{self.was[0]:,} × {self.was[1]:,} {self.how} {self.width:,} × {self.height:,}"

    @property
    def width(self) -> int:
        """Pixels of a row."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])


def display_name(raw: object) -> str:
    """Return what the page calls an uploaded file.

    Parameters
    ----------
    raw : object
        Name that the browser sent, perhaps with folders, perhaps no text at all.

    Returns
    -------
    str
        The last part of the path on one line, 1 to 64 characters, not escaped. Never a path.
    """
    if not isinstance(raw, str):
        return "picture"
    last = raw[-_LONGEST_PATH:].replace("\\", "/").rsplit("/", 1)[-1]
    return safe.plain(last, limit=NAME_LENGTH).strip(". ") or "picture"


def decode(data: bytes, name: str, decode_image: Callable[[bytes], NDArray[np.uint8]]) -> Upload:
    """Decode an uploaded file; for a worker thread, it can take most of a second.

    Parameters
    ----------
    data : bytes
        The file.
    name : str
        What the page calls it.
    decode_image : callable
        ``vatun.preprocess.decode_image``: bytes to RGB pixels, ValueError for anything else.

    Returns
    -------
    Upload

    Raises
    ------
    UploadError
        When it is no picture, a damaged one, or one over the limits.
    """
    headline = "This picture cannot be read"
    try:
        pixels = decode_image(data)
    except MemoryError as error:
        raise UploadError(headline, f"{name}: the server has no memory for it.") from error
    except ValueError as error:
        reason = safe.plain(error, limit=200).rstrip(".")
        raise UploadError(headline, f"{name}: {reason}.") from error
    key = hashlib.sha256(np.ascontiguousarray(pixels).reshape(-1).data).hexdigest()
    return Upload(name=name, pixels=pixels, key=key)


@dataclass
class _Pending:
    """An upload of which pieces are still missing."""

    name: str
    size: int
    chunks: int
    touched: float
    have: int = 0
    # Hands out its bytes without a copy, so that never more than one file's worth is held.
    held: BytesIO = field(default_factory=BytesIO)


class _RefusedError(Exception):
    """Why a message is refused, as a sentence."""


class UploadReceiver:
    """Puts the pieces of one upload together, and refuses whatever does not fit.

    One upload is pending at a time: a new one takes the place of an unfinished one. A refusal
    drops what has arrived; the next upload starts afresh.

    Parameters
    ----------
    on_image : callable
        Called with the name to show and the bytes of a complete file.
    on_error : callable
        Called with what is wrong and what is accepted, plain text.
    on_progress : callable or None
        Called with the number of pieces that arrived and the share of the bytes, 0 to 1.
    clock : callable
        Seconds that only grow.
    """

    def __init__(
        self,
        on_image: Callable[[str, bytes], None],
        on_error: Callable[[str], None],
        *,
        on_progress: Callable[[int, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_image = on_image
        self._on_error = on_error
        self._on_progress = on_progress
        self._clock = clock
        self._pending: _Pending | None = None
        self._is_expired = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes of the pending upload that are in memory."""
        return self._pending.held.tell() if self._pending else 0

    def receive(self, message: object) -> None:
        """Act on one message of the browser; nothing in it is trusted.

        Parameters
        ----------
        message : object
            ``{"kind": "begin", "name", "size", "chunks"}``, then
            ``{"kind": "chunk", "index", "data"}`` in order, base64; or ``{"kind": "abort"}``.
        """
        try:
            self._act(message)
        except _RefusedError as refusal:
            self.drop()
            self._on_error(f"{refusal} {ACCEPTED}")

    def drop(self) -> None:
        """Forget the pending upload and its bytes."""
        self._pending = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def expire(self) -> None:
        """Forget the pending upload when nothing of it came for ``EXPIRY_S`` seconds."""
        pending = self._pending
        if pending is not None and self._clock() - pending.touched >= EXPIRY_S:
            self.drop()
            self._is_expired = True

    def _act(self, message: object) -> None:
        kind = message.get("kind") if isinstance(message, dict) else None
        self.expire()
        if kind == "begin" and isinstance(message, dict):
            self._begin(message)
        elif kind == "chunk" and isinstance(message, dict):
            self._add(message)
        elif kind == "abort":
            self.drop()
        else:
            raise _RefusedError("The upload was not understood.")

    def _begin(self, message: Mapping[str, object]) -> None:
        self.drop()
        self._is_expired = False
        name = display_name(message.get("name"))
        size, chunks = _whole(message.get("size")), _whole(message.get("chunks"))
        if size is None or chunks is None:
            raise _RefusedError(f"{name}: the upload was not understood.")
        if size <= 0:
            raise _RefusedError(f"{name}: the file is empty.")
        if size > MAX_BYTES:
            raise _RefusedError(f"{name}: the file has {size / 2**20:,.1f} MB, over 16 MB.")
        if not -(-size // MAX_CHUNK_BYTES) <= chunks <= min(MAX_CHUNKS, size):
            raise _RefusedError(f"{name}: the pieces of the upload do not fit its size.")
        self._pending = _Pending(name, size, chunks, touched=self._clock())
        self._watch()
        self._tell(0, 0.0)

    def _add(self, message: Mapping[str, object]) -> None:
        pending = self._pending
        if pending is None:
            why = "took too long" if self._is_expired else "was not begun"
            raise _RefusedError(f"The upload {why}: choose the file again.")
        if _whole(message.get("index")) != pending.have:
            raise _RefusedError(f"{pending.name}: a piece of the upload is missing or came twice.")
        piece = _decoded(message.get("data"), pending.name)
        arrived = pending.held.tell() + len(piece)
        is_last = pending.have + 1 == pending.chunks
        if arrived > pending.size or (is_last and arrived != pending.size):
            raise _RefusedError(f"{pending.name}: the file is not as long as the browser said.")
        pending.held.write(piece)
        pending.have += 1
        pending.touched = self._clock()
        self._tell(pending.have, arrived / pending.size)
        if is_last:
            self.drop()
            self._on_image(pending.name, pending.held.getvalue())

    def _tell(self, have: int, share: float) -> None:
        if self._on_progress is not None:
            self._on_progress(have, share)

    def _watch(self) -> None:
        """Look again when the pending upload may have expired: its browser may be gone."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # Without a loop nobody waits: the next message looks.
            return

        def look() -> None:
            self._timer = None
            self.expire()
            if self._pending is not None:
                self._watch()

        pending = self._pending
        if pending is not None:
            left = pending.touched + EXPIRY_S - self._clock()
            self._timer = loop.call_later(max(left, 0.0) + 0.01, look)


def _whole(value: object) -> int | None:
    """Return a whole number, or None for all that is none; a fraction or NaN is no count."""
    return safe.integer(value, -(2**53), 2**53)


def _decoded(data: object, name: str) -> bytes:
    """Return the bytes of one piece: 1 to ``MAX_CHUNK_BYTES`` of them."""
    if not isinstance(data, str) or not 0 < len(data) <= _MAX_TEXT:
        raise _RefusedError(f"{name}: a piece of the upload has the wrong size.")
    try:
        piece = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _RefusedError(f"{name}: a piece of the upload is damaged.") from error
    if not 0 < len(piece) <= MAX_CHUNK_BYTES:
        raise _RefusedError(f"{name}: a piece of the upload has the wrong size.")
    return piece
