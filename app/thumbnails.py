"""Small pictures of images, decoded under guard.

Bytes of a store are content from outside: they are opened with a list of formats, a limit of bytes
and of pixels, before anything is decoded.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from PIL import Image, ImageOps
from tornado import process

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE = 96
"""Longer side of a thumbnail in pixels."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MAX_BYTES = 16_000_000
MAX_PIXELS = 25_000_000

_UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    MemoryError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)

PLACEHOLDER = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" '
    b'fill="#9aa4ae" opacity=".35"/><path d="M3 13L13 3" stroke="#7b8794"/></svg>'
)
"""What stands for an image that is missing or cannot be read."""

_route: dict[str, bool] = {"installed": False}


def mark_served_by_url() -> None:
    """Note that this server answers the address of a thumbnail; called by ``app.routes``."""
    _route["installed"] = True


def served_by_url() -> bool:
    """Whether this server answers the address of a thumbnail."""
    # Of several processes (`--num-procs`) a request reaches any, and another one knows neither an
    # offered download nor, perhaps, the store: there pictures travel with the messages.
    return _route["installed"] and process.task_id() is None


def make(read: Callable[[], bytes]) -> tuple[bytes, str]:
    """Return a thumbnail and its media type.

    Parameters
    ----------
    read : callable
        Returns the encoded image.

    Returns
    -------
    tuple of (bytes, str)
        The bytes as they are when they are a small PNG, else a PNG of at most 96 pixels a side; a
        placeholder when the image cannot be had.
    """
    try:
        return shrink(read())
    # Whatever is wrong with one picture, the page goes on without it.
    except (*_UNREADABLE, LookupError):
        return PLACEHOLDER, "image/svg+xml"


def shrink(encoded: bytes) -> tuple[bytes, str]:
    """Return the picture as a PNG of at most 96 pixels a side, and its media type.

    Parameters
    ----------
    encoded : bytes
        PNG, JPEG, WebP, BMP or GIF.

    Returns
    -------
    tuple of (bytes, str)
        Content and media type.

    Raises
    ------
    ValueError
        When there are too many bytes or pixels.
    """
    if len(encoded) > MAX_BYTES:
        msg = f"{len(encoded):,} bytes are more than {MAX_BYTES:,}"
        raise ValueError(msg)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                msg = f"{picture.width} x {picture.height} pixels are more than {MAX_PIXELS:,}"
                raise ValueError(msg)
            if picture.format == "PNG" and max(picture.size) <= SIDE:
                # Decoded all the same, so that a damaged one is not handed to the browser.
                picture.load()
                return encoded, "image/png"
            picture.draft("RGB", (2 * SIDE, 2 * SIDE))
            upright = ImageOps.exif_transpose(picture)
            small = (upright or picture).convert("RGB")
            small.thumbnail((SIDE, SIDE))
            out = io.BytesIO()
            small.save(out, "PNG")
            return out.getvalue(), "image/png"
