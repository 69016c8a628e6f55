"""Decode images nobody vouches for, and bring them to the size the network takes."""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
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

Pixels = NDArray[np.uint8]


def decode_image(encoded: bytes) -> Pixels:
    """Decode an image to RGB pixels at its own size.

    Size, format and pixel count are checked before a pixel is decoded. The orientation of a
    camera is applied, 16-bit greys are scaled to 8 bits, the first frame of several is taken,
    and transparency is dropped.

    Parameters
    ----------
    encoded : bytes
        A JPEG, PNG, WebP, BMP or GIF file.

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
        with Image.open(BytesIO(encoded), formats=FORMATS) as image:
            _check_size(image.width, image.height)
            image.seek(0)
            image.load()
            turned = ImageOps.exif_transpose(image)
            return np.asarray(_to_rgb(turned))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        msg = f"the image has over {MAX_PIXELS:,} pixels"
        raise ImageError(msg, status="too_large") from error
    except ImageError:
        raise
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
    image = Image.fromarray(pixels)
    target = (input_spec.width, input_spec.height)
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
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        msg = f"the image is {width} x {height}, over {MAX_PIXELS:,} pixels or {MAX_SIDE:,} a side"
        raise ImageError(msg, status="too_large")
    if min(width, height) < MIN_SIDE:
        msg = f"the image is {width} x {height}, under {MIN_SIDE} pixels a side"
        raise ImageError(msg, status="undecodable")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow's own conversion would saturate almost every 16-bit pixel to white.
        values = np.asarray(image).astype(np.float64)
        scaled = np.clip(np.rint(values / 257), 0, 255).astype(np.uint8)
        return Image.fromarray(scaled).convert("RGB")
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
