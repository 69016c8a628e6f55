"""Decode images nobody vouches for, and bring them to the size the network takes."""

from __future__ import annotations

import hashlib
import struct
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError
from torch import Tensor

from vatun.errors import ImageError

if TYPE_CHECKING:
    from vatun.specs import InputSpec

MAX_BYTES = 16 * 1024 * 1024
MAX_PIXELS = 25_000_000
MAX_SIDE = 16_384
MIN_SIDE = 8
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
"""Formats whose decoders run nothing outside this process."""

MAX_BLOCKS = 20_000
"""Chunks of a PNG, or segments before the picture of a JPEG; Pillow takes them one by one."""
MAX_SCANS = 30
"""Passes of a progressive JPEG, each over all pixels; encoders write about ten."""
MAX_RUN_LENGTH = 1_000_000
"""Bytes and pixels of a run-length BMP: Pillow unpacks those one pixel after the other."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_STRIP_ROWS = 64
"""Rows that are converted at a time: converting a whole image would double its memory."""

Pixels = NDArray[np.uint8]


def decode_image(encoded: bytes, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode an image to RGB pixels at its own size.

    Size, format and pixel count are checked before a pixel is decoded. The orientation of a
    camera is applied, 16-bit greys are scaled to 8 bits, the first frame of several is taken,
    and transparency is dropped.

    Parameters
    ----------
    encoded : bytes
        A JPEG, PNG, WebP, BMP or GIF file.
    max_pixels : int
        Most pixels; of a WebP six tenths of it, since its decoder keeps three more copies.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8

    Raises
    ------
    ImageError
        Status ``too_large`` for a file or image over the limits, else ``undecodable``.
    """
    if len(encoded) > MAX_BYTES:
        msg = f"the file has {len(encoded):,} bytes, over {MAX_BYTES:,}"
        raise ImageError(msg, status="too_large")
    try:
        _check_blocks(encoded)
        with Image.open(BytesIO(encoded), formats=FORMATS) as image:
            most = max_pixels * 6 // 10 if image.format == "WEBP" else max_pixels
            _check_size(image.width, image.height, most)
            _check_runs(image, len(encoded))
            image.seek(0)
            image.load()
            return _turned_rgb(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        msg = f"the image has over {max_pixels:,} pixels"
        raise ImageError(msg, status="too_large") from error
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        # Pillow names the buffer in memory, which says nothing to anyone.
        msg = f"the file is none of {', '.join(FORMATS)}, or its start is damaged"
        raise ImageError(msg, status="undecodable") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        msg = f"no usable image ({', '.join(FORMATS)}): {reason}"
        raise ImageError(msg, status="undecodable") from error


def resize_image(pixels: Pixels, input_spec: InputSpec) -> Pixels:
    """Resize and crop to the size of the input, as torchvision does with PIL images.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, 3), uint8
        RGB at any size.
    input_spec : InputSpec
        ``crop`` None scales to the input's size whatever the shape. ``crop`` "center" first
        scales the shorter side to ``resize`` (None keeps it), then cuts from the middle; where
        the image is smaller than the cut, black is added around it.

    Returns
    -------
    ndarray of shape (input height, input width, 3), uint8
    """
    target = (input_spec.width, input_spec.height)
    stays = input_spec.crop is None or input_spec.resize in {None, min(target)}
    if pixels.shape[1::-1] == target and stays:
        return pixels
    image = Image.fromarray(pixels)
    if input_spec.crop is None:
        return np.array(_scale(image, target))
    if input_spec.resize is not None:
        short, long = sorted(image.size)
        other = int(input_spec.resize * long / short)
        is_tall = image.width <= image.height
        size = (input_spec.resize, other) if is_tall else (other, input_spec.resize)
        image = _scale(image, size)
    return np.array(_crop(image, target))


def load_image(encoded: bytes, input_spec: InputSpec) -> Pixels:
    """Decode an image and bring it to the size of the input.

    Parameters
    ----------
    encoded : bytes
        A JPEG, PNG, WebP, BMP or GIF file.
    input_spec : InputSpec
        Size, resize and crop.

    Returns
    -------
    ndarray of shape (input height, input width, 3), uint8

    Raises
    ------
    ImageError
        As ``decode_image``.
    """
    return resize_image(decode_image(encoded), input_spec)


def to_input(pixels: Pixels) -> Tensor:
    """Return pixels as the network's images.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, 3) or (n, height, width, 3), uint8

    Returns
    -------
    Tensor of shape (3, height, width) or (n, 3, height, width), float32 in [0, 1]
    """
    tensor = torch.from_numpy(np.ascontiguousarray(pixels))
    return tensor.movedim(-1, -3).to(torch.float32).div(255).contiguous()


def pixel_key(pixels: Pixels) -> str:
    """Return the sha256 of decoded RGB pixels, row by row: the ``image_key`` of an image.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, 3), uint8
        At the image's own size, before any resize.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    return hashlib.sha256(np.ascontiguousarray(pixels).reshape(-1).data).hexdigest()


def _check_blocks(encoded: bytes) -> None:
    """Refuse a file of so many tiny parts that going through them takes seconds."""
    if encoded.startswith(_PNG_SIGNATURE):
        blocks, scans = _png_chunks(encoded), 0
    elif encoded.startswith(b"\xff\xd8"):
        # Within a picture's data FF is followed by 00, so FF DA starts a scan wherever it stands.
        blocks, scans = _jpeg_segments(encoded), encoded.count(b"\xff\xda")
    else:
        return
    if blocks > MAX_BLOCKS or scans > MAX_SCANS:
        msg = f"the file has over {MAX_BLOCKS:,} parts or {MAX_SCANS} scans"
        raise ImageError(msg, status="undecodable")


def _png_chunks(encoded: bytes) -> int:
    """Count the chunks of a PNG, up to one more than are allowed."""
    at, count = len(_PNG_SIGNATURE), 0
    while at + 8 <= len(encoded) and count <= MAX_BLOCKS:
        at += 12 + int.from_bytes(encoded[at : at + 4], "big")
        count += 1
    return count


def _jpeg_segments(encoded: bytes) -> int:
    """Count the steps to the first scan of a JPEG, up to one more than are allowed."""
    at, count = 2, 0
    while at + 4 <= len(encoded) and count <= MAX_BLOCKS:
        marker = encoded[at + 1]
        if encoded[at] != 0xFF or marker in {0x00, 0xFF}:
            at += 1  # padding or rubbish, which Pillow skips byte by byte
        elif marker == 0xDA:
            break
        elif marker == 0x01 or 0xD0 <= marker <= 0xD9:
            at += 2  # a mark without content
        else:
            at += 2 + max(int.from_bytes(encoded[at + 2 : at + 4], "big"), 2)
        count += 1
    return count


def _check_size(width: int, height: int, most: int) -> None:
    if width * height > most or max(width, height) > MAX_SIDE:
        msg = f"the image is {width} x {height}, over {most:,} pixels or {MAX_SIDE:,} a side"
        raise ImageError(msg, status="too_large")
    if min(width, height) < MIN_SIDE:
        msg = f"the image is {width} x {height}, under {MIN_SIDE} pixels a side"
        raise ImageError(msg, status="undecodable")


def _check_runs(image: ImageFile.ImageFile, size: int) -> None:
    has_runs = any(tile.codec_name == "bmp_rle" for tile in image.tile)
    if has_runs and max(size, image.width * image.height) > MAX_RUN_LENGTH:
        msg = f"a run-length BMP may have {MAX_RUN_LENGTH:,} pixels and bytes, no more"
        raise ImageError(msg, status="too_large")


def _turned_rgb(image: Image.Image) -> Pixels:
    """Return the pixels of a loaded image, turned as its camera was held."""
    orientation = _orientation(image)
    height, width = image.height, image.width
    # Only this array of the full size is made, beside what Pillow holds.
    shape = (width, height, 3) if orientation >= 5 else (height, width, 3)
    turned = np.empty(shape, dtype=np.uint8)
    stored = _as_stored(turned, orientation)
    for top in range(0, height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, height)
        strip = image if height <= _STRIP_ROWS else image.crop((0, top, width, bottom))
        stored[top:bottom] = np.asarray(_to_rgb(strip))
    return turned


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; a damaged or absent one is 1."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, ValueError, SyntaxError, TypeError, LookupError, struct.error):
        # What cannot be read turns nothing: the pixels are good.
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _as_stored(turned: Pixels, orientation: int) -> Pixels:
    """Return a view of upright pixels in the file's order; orientations as in Exif 2.32."""
    match orientation:
        case 2:
            return turned[:, ::-1]
        case 3:
            return turned[::-1, ::-1]
        case 4:
            return turned[::-1]
        case 5:
            return turned.swapaxes(0, 1)
        case 6:
            return np.rot90(turned)
        case 7:
            return turned[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(turned, -1)
    return turned


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow's own conversion would saturate almost every 16-bit pixel to white.
        values = np.clip(np.asarray(image), 0, 65_535).astype(np.uint32)
        # The nearest 257th: an odd number of steps has no ties.
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _scale(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.size == size:
        return image
    return image.resize(size, Image.Resampling.BILINEAR)


def _crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    width, height = size
    if image.width < width or image.height < height:
        left, top = max((width - image.width) // 2, 0), max((height - image.height) // 2, 0)
        padded = Image.new("RGB", (max(width, image.width), max(height, image.height)))
        padded.paste(image, (left, top))
        image = padded
    left = round((image.width - width) / 2)
    top = round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
