"""Images nobody vouches for are decoded or refused, and sized as torchvision does."""

import hashlib
import struct
import time
import zlib
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision import transforms

from vatun.errors import ImageError
from vatun.preprocess import (
    MAX_BLOCKS,
    MAX_BYTES,
    MAX_SCANS,
    decode_image,
    load_image,
    pixel_key,
    resize_image,
    to_input,
)
from vatun.specs import InputSpec


def pixels(height=48, width=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(image, kind="PNG", **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(width, height, *extra, bits=1):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    row = b"\0" + bytes((width * bits + 7) // 8)
    body = chunk(b"IDAT", zlib.compress(row * min(height, 20_000), 9))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + body + chunk(b"IEND", b"")


def flipped_bit():
    data = bytearray(encode(pixels()))
    data[len(data) // 2] ^= 4
    return bytes(data)


def run_length_bmp(width, height, data):
    palette, start = bytes(1024), 14 + 40 + 1024
    head = struct.pack("<IHHI", start + len(data), 0, 0, start)
    sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    return b"BM" + head + sizes + palette + data


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"
HEADER = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
HUGE = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", HEADER) + chunk(b"IDAT", b"")
JPEG = encode(pixels(), "JPEG")
BAD = {
    "flipped bit": (flipped_bit(), "undecodable"),
    "empty": (b"", "undecodable"),
    "text": (b"no image at all", "undecodable"),
    "web page": (b"<html>404</html>", "undecodable"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "undecodable"),
    "svg": (SVG, "undecodable"),
    "eps": (EPS, "undecodable"),
    "tiff": (encode(pixels(), "TIFF"), "undecodable"),
    "half a jpeg": (JPEG[: len(JPEG) // 2], "undecodable"),
    "20 bytes of jpeg": (JPEG[:20], "undecodable"),
    "header only": (png(16, 16)[:33], "undecodable"),
    "text bomb": (
        png(16, 16, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100_000_000), 9))),
        "undecodable",
    ),
    "one pixel": (encode(pixels(1, 1)), "undecodable"),
    "13,000 squared": (png(13_000, 13_000), "too_large"),
    "20,000 squared": (png(20_000, 20_000), "too_large"),
    "header of 2^31 - 1": (HUGE, "too_large"),
    "one long row": (png(20_000, 10), "too_large"),
    "many chunks": (png(16, 16, chunk(b"quUx", b"") * MAX_BLOCKS), "undecodable"),
    "many segments": (JPEG[:2] + b"\xff\xe5\0\2" * 4_000_000 + JPEG[2:], "undecodable"),
    "padded segment": (JPEG[:2] + b"\xff" * 16_000_000 + JPEG[2:], "undecodable"),
    "many scans": (JPEG[:-2] + JPEG[JPEG.index(b"\xff\xda") : -2] * MAX_SCANS, "undecodable"),
    "long runs": (run_length_bmp(5000, 1600, b"\1\5" * 8_000_000), "too_large"),
    "17 MB": (bytes(MAX_BYTES + 1), "too_large"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BAD)
def test_nasty_files_are_refused_at_once(name):
    encoded, status = BAD[name]
    started = time.perf_counter()
    with pytest.raises(ImageError) as caught:
        decode_image(encoded)
    assert caught.value.status == status
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_lossless_formats_give_their_pixels(kind):
    assert np.array_equal(decode_image(encode(pixels(), kind)), pixels())


def test_a_small_run_length_bmp_is_decoded():
    rows = b"".join(bytes([20, shade, 0, 0]) for shade in range(10))
    found = decode_image(run_length_bmp(20, 10, rows + b"\0\1"))
    assert found.shape == (10, 20, 3)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_are_decoded(kind):
    assert decode_image(encode(pixels(), kind)).shape == (48, 64, 3)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(10))
def test_the_orientation_of_a_camera_is_applied(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    encoded = encode(Image.fromarray(pixels(150, 64)), kind, exif=exif, **options)
    expected = ImageOps.exif_transpose(Image.open(BytesIO(encoded)))
    assert np.array_equal(decode_image(encoded), np.asarray(expected))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_damaged_orientation_turns_nothing():
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 60
    found = decode_image(encode(pixels(), "PNG", exif=exif))
    assert np.array_equal(found, pixels())


def test_a_progressive_jpeg_has_few_scans():
    plain, progressive = (
        decode_image(encode(pixels(), "JPEG", progressive=each)) for each in (False, True)
    )
    assert np.array_equal(plain, progressive)


def test_16_bit_greys_are_scaled_and_not_saturated():
    values = np.linspace(0, 65_535, 64 * 64).reshape(64, 64).astype(np.uint16)
    found = decode_image(encode(Image.fromarray(values)))
    assert np.abs(found[..., 0].astype(int) - np.rint(values / 257).astype(int)).max() == 0
    assert (found[..., 0] == found[..., 2]).all()


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_every_mode_becomes_rgb(mode):
    image = Image.fromarray(pixels()).convert(mode)
    found = decode_image(encode(image, "JPEG" if mode == "CMYK" else "PNG"))
    assert found.shape == (48, 64, 3)
    assert found.dtype == np.uint8


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.fromarray(np.full((16, 16, 3), shade, np.uint8)) for shade in (0, 90, 200)]
    encoded = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert int(decode_image(encoded).max()) == 0


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (33, 200), (224, 224)])
@pytest.mark.parametrize("resize", [None, 40, 36])
def test_resize_and_crop_equal_torchvision(size, resize):
    image = pixels(*size)
    spec = InputSpec(height=32, width=36, resize=resize, crop="center")
    steps = [transforms.CenterCrop((32, 36))]
    if resize is not None:
        steps.insert(0, transforms.Resize(resize))
    expected = np.asarray(transforms.Compose(steps)(Image.fromarray(image)))
    assert np.array_equal(resize_image(image, spec), expected)


def test_a_crop_larger_than_the_image_adds_black():
    spec = InputSpec(height=60, width=71, crop="center")
    expected = np.asarray(transforms.CenterCrop((60, 71))(Image.fromarray(pixels())))
    assert np.array_equal(resize_image(pixels(), spec), expected)


def test_without_a_crop_the_shape_is_given_up():
    found = load_image(encode(pixels(30, 90)), InputSpec(height=32, width=32))
    expected = transforms.Resize((32, 32))(Image.fromarray(pixels(30, 90)))
    assert np.array_equal(found, np.asarray(expected))


def test_an_image_of_the_right_size_is_not_touched():
    image = pixels(32, 32)
    assert np.array_equal(load_image(encode(image), InputSpec(height=32, width=32)), image)


def test_to_input_is_torchvisions_to_tensor():
    image = pixels(32, 32)
    assert torch.equal(to_input(image), transforms.ToTensor()(Image.fromarray(image)))
    assert to_input(np.stack([image, image])).shape == (2, 3, 32, 32)


def test_the_key_is_the_hash_of_the_pixels_whatever_the_file():
    key = pixel_key(decode_image(encode(pixels(), "PNG")))
    assert key == pixel_key(decode_image(encode(pixels(), "BMP")))
    assert key == hashlib.sha256(pixels().tobytes()).hexdigest()
    assert key != pixel_key(pixels(seed=1))
