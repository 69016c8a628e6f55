"""Files that a hostile or careless person uploads, made here so that none is kept in the tree."""

import base64
import json
import struct
import time
import zlib
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from app.inference import decode_image
from app.uploads import Upload, UploadError, UploadReceiver, decode

PIECE = 192 * 1024


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


def png(width, height, *extra, bits=1, colour=0):
    """Return a PNG of zeros: small, whatever its size in pixels."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    row = b"\0" + bytes((width * bits * channels + 7) // 8)
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    body = chunk(b"IDAT", data)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + body + chunk(b"IEND", b"")


def flipped_bit():
    data = bytearray(encode(pixels()))
    data[len(data) // 2] ^= 4
    return bytes(data)


def turned_jpeg(orientation):
    """Return a JPEG whose left half is black, to be turned by the EXIF orientation."""
    half = np.zeros((64, 96, 3), np.uint8)
    half[:, 48:] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(half, "JPEG", exif=exif, quality=95)


def animation(kind, shades):
    frames = [Image.fromarray(np.full((32, 48, 3), shade, np.uint8)) for shade in shades]
    options = {"lossless": True} if kind == "WEBP" else {}
    return encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def run_length_bmp(width, height, runs):
    start = 14 + 40 + 1024
    head = struct.pack("<IHHI", start + len(runs), 0, 0, start)
    sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + head + sizes + bytes(1024) + runs


def grey16(height=64, width=64):
    values = np.linspace(0, 65_535, height * width).reshape(height, width).astype(np.uint16)
    return values, encode(Image.fromarray(values))


def bomb(kind, head):
    return png(16, 16, chunk(kind, head + zlib.compress(bytes(100_000_000), 9)))


JPEG = encode(pixels(), "JPEG")
HUGE = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)

REFUSED = {
    "flipped bit": flipped_bit,
    "13,000 squared": lambda: png(13_000, 13_000),
    "20,000 squared": lambda: png(20_000, 20_000),
    "33 bytes of header": lambda: b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", HUGE),
    "text bomb": lambda: bomb(b"zTXt", b"k\0\0"),
    "profile bomb": lambda: bomb(b"iCCP", b"k\0\0"),
    "half a jpeg": lambda: JPEG[: len(JPEG) // 2],
    "20 bytes of jpeg": lambda: JPEG[:20],
    "text": lambda: b"no image at all",
    "web page": lambda: b"<html><body>404</body></html>",
    "pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "eps": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
    "float tiff": lambda: encode(Image.fromarray(np.ones((32, 32), np.float32)), "TIFF"),
    "one pixel": lambda: encode(pixels(1, 1)),
    "one column": lambda: encode(pixels(20_000, 1)),
    "one row": lambda: png(20_000, 16),
    "16 megapixels": lambda: png(5_000, 3_200, bits=8),
    "webp of 10 megapixels": lambda: encode(
        Image.new("RGB", (5000, 2000)), "WEBP", lossless=True, method=0
    ),
    "1,300,000 chunks": lambda: png(16, 16, chunk(b"quUx", b"") * 1_300_000),
    "3,900,000 segments": lambda: JPEG[:2] + b"\xff\xe5\0\2" * 3_900_000 + JPEG[2:],
    "padding": lambda: JPEG[:2] + b"\xff" * 16_000_000 + JPEG[2:],
    "10,000 scans": lambda: JPEG[:-2] + b"\xff\xda\0\0" * 10_000 + JPEG[-2:],
    "8,000,000 runs": lambda: run_length_bmp(5000, 1600, b"\1\5" * 8_000_000),
}
"""Files that are no picture, or one that may not be read; made when called."""

READ = {
    "CMYK jpeg": lambda: encode(Image.fromarray(pixels()).convert("CMYK"), "JPEG"),
    "16-bit grey": lambda: grey16()[1],
    "turned jpeg": lambda: turned_jpeg(6),
    "50 frames": lambda: animation("GIF", range(0, 250, 5)),
    "animated webp": lambda: animation("WEBP", (0, 90, 200)),
    "jpeg called png": lambda: JPEG,
    "4,000,000 grey pixels of 16 bits": lambda: png(2000, 2000, bits=16),
}
"""Odd files that hold a picture."""

LARGEST = {
    "png": lambda: png(5000, 3000, bits=8, colour=2),
    "16-bit grey": lambda: png(5000, 3000, bits=16),
    "16-bit RGBA": lambda: png(5000, 3000, bits=16, colour=6),
    "jpeg": lambda: encode(Image.new("RGB", (5000, 3000)), "JPEG"),
    "gif": lambda: encode(Image.new("P", (5000, 3000)), "GIF"),
    "progressive jpeg": lambda: encode(
        Image.new("RGB", (5000, 3000)), "JPEG", progressive=True, subsampling=0
    ),
    "webp": lambda: encode(Image.new("RGB", (3000, 3000)), "WEBP", lossless=True, method=0),
}
"""Small files with as many pixels as are accepted."""

NAMES = {
    "../../x<img src=x onerror=alert(1)>.png": "x<img src=x onerror=alert(1)>.png",
    "C:\\pictures\\cat.png": "cat.png",
    "/etc/passwd": "passwd",
    "a\nb\r.png": "a b .png",
    "\u202egnp.exe": "gnp.exe",
    "nul\0.png": "nul.png",
    "": "picture",
    "..": "picture",
    "/": "picture",
    "\x00\x1b": "picture",
    "x" * 300: "x" * 63 + "…",
}
"""Names as sent, and what may be shown of them."""


@dataclass
class Session:
    """A receiver and what it told its page."""

    images: list = field(default_factory=list)
    errors: list = field(default_factory=list)
    progress: list = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self):
        self.receiver = UploadReceiver(
            lambda name, data: self.images.append((name, data)),
            self.errors.append,
            on_progress=lambda have, share: self.progress.append((have, share)),
            clock=lambda: self.now,
        )

    def begin(self, size, chunks, name="cat.png"):
        self.receiver.receive({"kind": "begin", "name": name, "size": size, "chunks": chunks})

    def chunk(self, index, data):
        text = base64.b64encode(data).decode() if isinstance(data, bytes) else data
        self.receiver.receive({"kind": "chunk", "index": index, "data": text})

    def send(self, data, name="cat.png"):
        """Send a file as the browser does."""
        self.begin(len(data), -(-len(data) // PIECE), name)
        for index, start in enumerate(range(0, len(data), PIECE)):
            self.chunk(index, data[start : start + PIECE])

    def upload(self, data, name="cat.png"):
        """Send and decode; return the Upload or the UploadError."""
        before = len(self.images)
        self.send(data, name)
        assert len(self.images) == before + 1, self.errors
        name, arrived = self.images.pop()
        try:
            return decode(arrived, name, decode_image)
        except UploadError as error:
            return error


def works(session):
    """Say whether a good picture still comes through."""
    result = session.upload(encode(pixels()))
    return isinstance(result, Upload) and np.array_equal(result.pixels, pixels())


def _memory(field_name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field_name):
            return int(line.split()[1]) / 1024
    raise LookupError(field_name)


def measure():
    """Print, of every file, what came of it, CPU seconds and growth in MB, as JSON."""
    found = {}
    Session().upload(JPEG)
    for group, files in {"refused": REFUSED, "read": READ, "largest": LARGEST}.items():
        for name, make in files.items():
            data = make()
            # Forget the peak of making the file: 5 resets the high-water mark (man 5 proc).
            Path("/proc/self/clear_refs").write_text("5")
            before, started = _memory("VmRSS"), time.process_time()
            result = Session().upload(data)
            seconds = time.process_time() - started
            outcome = "read" if isinstance(result, Upload) else "refused"
            found[f"{group}: {name}"] = [outcome, seconds, _memory("VmHWM") - before]
            del data, result
    print(json.dumps(found))


if __name__ == "__main__":
    measure()
