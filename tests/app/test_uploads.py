"""Uploads under guard: hostile files end in a sentence, never in harm."""

import asyncio
import base64
import hashlib
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from app import uploads
from app.components.upload import UploadButton
from app.inference import InputSpec
from app.state import SessionState
from app.uploads import (
    ACCEPTED,
    MAX_BYTES,
    MAX_CHUNK_BYTES,
    MAX_PIXELS,
    Upload,
    UploadError,
    display_name,
)
from app.views.testing_uploads import Uploads
from tests.app.conftest import answers, free_port, wait_for
from tests.app.loops import run
from tests.app.nasty import (
    LARGEST,
    NAMES,
    PIECE,
    READ,
    REFUSED,
    Session,
    animation,
    encode,
    grey16,
    pixels,
    turned_jpeg,
    works,
)
from vatun import preprocess

ROOT = Path(__file__).parents[2]


@pytest.fixture
def session():
    return Session()


def test_the_limits_are_those_of_the_decoder():
    assert preprocess.MAX_BYTES == MAX_BYTES
    assert f"{preprocess.MAX_BYTES // 2**20} MB" in ACCEPTED
    assert f"{MAX_PIXELS // 10**6} megapixels" in ACCEPTED
    assert f"WebP up to {MAX_PIXELS * 6 // 10**7} megapixels" in ACCEPTED
    assert {name.upper() for name in ("PNG", "JPEG", "WebP", "BMP", "GIF")} == set(
        preprocess.FORMATS
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_a_nasty_file_is_refused_and_the_next_one_read(session, name):
    data = REFUSED[name]()
    started = time.process_time()
    found = session.upload(data, "x.png")
    assert time.process_time() - started < 1
    assert isinstance(found, UploadError)
    assert found.headline == "This picture cannot be read"
    assert found.detail.startswith("x.png: ")
    assert found.detail.endswith(".")
    assert " at 0x" not in found.detail
    assert found.cure == ACCEPTED
    assert works(session)


@pytest.mark.parametrize("name", READ)
def test_an_odd_picture_is_read(session, name):
    data = READ[name]()
    started = time.process_time()
    found = session.upload(data)
    assert time.process_time() - started < 1
    assert isinstance(found, Upload)
    assert found.pixels.shape == (found.height, found.width, 3)
    assert found.pixels.dtype == np.uint8
    assert found.key == preprocess.pixel_key(found.pixels)


def test_no_file_takes_much_memory_or_time():
    done = subprocess.run(
        [sys.executable, "-m", "tests.app.nasty"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == len(REFUSED) + len(READ) + len(LARGEST)
    for name, (outcome, seconds, growth) in found.items():
        assert outcome == ("refused" if name.startswith("refused") else "read"), name
        assert seconds < 1, f"{name}: {seconds:.2f} s"
        assert growth < 150, f"{name}: {growth:.0f} MB"


def test_the_pixels_are_those_of_the_file(session):
    picture = pixels(300, 500)
    found = session.upload(encode(picture), "folder/cat.png")
    assert np.array_equal(found.pixels, picture)
    assert (found.width, found.height, found.name) == (500, 300, "cat.png")
    assert found.key == hashlib.sha256(picture.tobytes()).hexdigest()


def test_16_bit_greys_are_scaled(session):
    values, data = grey16()
    found = session.upload(data).pixels
    assert np.array_equal(found[..., 1], np.rint(values / 257).astype(np.uint8))


def test_the_orientation_of_a_camera_is_applied(session):
    # Orientation 6 is turned clockwise: what was left is above.
    found = session.upload(turned_jpeg(6)).pixels
    assert found.shape == (96, 64, 3)
    assert found[:40].max() < 16
    assert found[56:].min() > 240


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_the_first_frame_is_taken(session, kind):
    assert set(session.upload(animation(kind, (90, 0, 200))).pixels.ravel()) == {90}


@pytest.mark.parametrize(
    ("size", "spec", "words"),
    [
        ((512, 300), {}, "512 × 300 squeezed to 32 × 32"),
        ((300, 512), {}, "300 × 512 squeezed to 32 × 32"),
        ((512, 512), {}, ""),
        ((64, 63), {}, ""),
        ((64, 61), {}, "64 × 61 squeezed to 32 × 32"),
        ((512, 300), {"resize": 36, "crop": "center"}, "512 × 300 cut from the middle to 32 × 32"),
        ((20, 30), {"crop": "center"}, "20 × 30 cut or filled up to 32 × 32"),
        ((400, 400), {"resize": 36, "crop": "center"}, ""),
    ],
)
def test_what_becomes_of_a_shape_is_said(size, spec, words):
    """A picture of another shape than the network's input; less than a pixel is none."""
    inference = SimpleNamespace(input=InputSpec(height=32, width=32, **spec))
    uploads = Uploads(SessionState({"": np.arange(3)}), inference)
    picture = io.BytesIO()
    Image.new("RGB", size, (9, 80, 200)).save(picture, "PNG")
    found = uploads._read("a.png", picture.getvalue())
    assert (found.width, found.height) == (32, 32)
    assert found.shape_words == words
    assert (found.was == size) == bool(words)


def test_inks_become_colours(session):
    red = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    found = session.upload(encode(red, "JPEG", quality=95)).pixels.reshape(-1, 3)
    assert np.abs(found.astype(int) - (255, 0, 0)).max() < 12


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_only_words(session, name):
    assert display_name(name) == NAMES[name]
    assert session.upload(encode(pixels()), name).name == NAMES[name]


@pytest.mark.parametrize("name", [None, 5, [], {}, b"cat.png"])
def test_what_is_no_name_is_a_picture(name):
    assert display_name(name) == "picture"


def test_progress_is_told_piece_by_piece(session):
    data = bytes(3 * PIECE)
    session.send(data)
    assert [have for have, _ in session.progress] == [0, 1, 2, 3]
    assert [share for _, share in session.progress] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert session.images == [("cat.png", data)]
    assert session.receiver.held_bytes == 0


def test_the_largest_file_is_received(session):
    data = bytes(MAX_BYTES)
    session.send(data)
    assert session.images[0][1] == data
    assert not session.errors


def test_held_bytes_never_exceed_one_file(session):
    for _ in range(3):
        session.begin(MAX_BYTES, 64)
        for index in range(63):
            session.chunk(index, bytes(MAX_CHUNK_BYTES))
        assert session.receiver.held_bytes == 63 * MAX_CHUNK_BYTES
    session.receiver.receive({"kind": "abort"})
    assert session.receiver.held_bytes == 0
    assert not session.errors


def test_a_new_upload_takes_the_place_of_an_unfinished_one(session):
    session.begin(1000, 2, "old.png")
    session.chunk(0, b"o" * 500)
    session.send(b"new", "new.png")
    assert session.images == [("new.png", b"new")]
    assert not session.errors


def test_an_aborted_upload_says_nothing(session):
    session.begin(1000, 2)
    session.receiver.receive({"kind": "abort"})
    session.receiver.receive({"kind": "abort"})
    assert not session.errors
    assert works(session)


def test_an_upload_expires_a_minute_after_its_last_piece(session):
    session.begin(1500, 3)
    session.now = 59
    session.chunk(0, b"x" * 500)
    session.now = 118
    session.chunk(1, b"x" * 500)
    assert session.receiver.held_bytes == 1000
    session.now = 178
    session.receiver.expire()
    assert session.receiver.held_bytes == 0
    session.chunk(2, b"x" * 500)
    assert session.errors == [f"The upload took too long: choose the file again. {ACCEPTED}"]
    assert works(session)


def test_bytes_of_a_browser_that_is_gone_are_dropped_by_themselves(session, monkeypatch):
    monkeypatch.setattr(uploads, "EXPIRY_S", 0.05)

    async def leave():
        session.begin(1000, 2)
        session.chunk(0, b"x" * 500)
        held = session.receiver.held_bytes
        session.now = 1.0
        await asyncio.sleep(0.2)
        return held

    assert run(leave()) == 500
    assert session.receiver.held_bytes == 0


def test_a_machine_without_memory_says_so():
    def starve(_):
        raise MemoryError

    with pytest.raises(UploadError, match=r"cat\.png: the server has no memory for it"):
        uploads.decode(b"x", "cat.png", starve)


def test_the_button_forwards_messages_and_counts_its_reports():
    seen = []
    button = UploadButton(seen.append)
    button._handle_msg({"kind": "abort"})
    button._handle_msg([1])
    assert seen == [{"kind": "abort"}, [1]]
    reports = []
    button.param.watch(lambda event: reports.append(event.new), "upload_state")
    button.fail("x" * 1000)
    button.fail("x" * 1000)
    button.receiving(2, 0.5)
    button.decoding()
    button.done()
    assert [report["stage"] for report in reports] == [
        "error", "error", "receiving", "decoding", "idle",
    ]  # fmt: skip
    assert len(reports[0]["error"]) <= 400
    assert (reports[2]["have"], reports[2]["share"]) == (2, 0.5)


def test_nothing_of_this_imports_torch():
    code = "import sys, app.uploads, app.components.upload; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


PAGE = """
import asyncio, sys
import panel as pn
from app import safe
from app.components.upload import UploadButton
from app.uploads import UploadError, UploadReceiver, decode
from vatun.preprocess import decode_image

def app():
    said = pn.widgets.StaticText(value="nothing", css_classes=["said"])

    def complete(name, data):
        async def read():
            try:
                found = await asyncio.to_thread(decode, data, name, decode_image)
                words = f"{found.name} {found.width} x {found.height} {found.key[:12]}"
                # A StaticText would run what stands in a name.
                said.value = safe.label(words)
                button.done()
            except UploadError as error:
                button.fail(f"{error.detail} {error.cure}")

        button.decoding()
        pn.state.execute(read)

    receiver = UploadReceiver(
        complete,
        lambda text: button.fail(text),
        on_progress=lambda have, share: button.receiving(have, share),
    )
    button = UploadButton(receiver.receive)
    return pn.Column(pn.Row(button, css_classes=["view-b"], width=400, height=200), said)

pn.serve(app, port=int(sys.argv[1]), show=False, address="127.0.0.1")
"""

GIVE = """([kind, inside, name, text]) => {
  const find = (root) => {
    for (const node of root.querySelectorAll("*")) {
      if (node.classList.contains("view-b")) return node
      const found = node.shadowRoot && find(node.shadowRoot)
      if (found) return found
    }
    return null
  }
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))
  const data = new DataTransfer()
  data.items.add(new File([bytes], name, { type: "image/png" }))
  const target = inside ? find(document) : document.body
  const options = { bubbles: true, composed: true, cancelable: true }
  if (kind === "paste") {
    target.dispatchEvent(new ClipboardEvent("paste", { ...options, clipboardData: data }))
    return true
  }
  const over = new DragEvent("dragover", { ...options, dataTransfer: data })
  target.dispatchEvent(over)
  target.dispatchEvent(new DragEvent("drop", { ...options, dataTransfer: data }))
  return over.defaultPrevented
}"""


@pytest.fixture(scope="module")
def page_url():
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", PAGE, str(port)], cwd=ROOT)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(url), what="the page of the upload button")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def page(open_page, page_url):
    return open_page(page_url, ready="button.btn:text('Upload')")


def choose(page, data, name="cat.png", kind="image/png"):
    page.locator("input[type=file]").set_input_files(
        {"name": name, "mimeType": kind, "buffer": data}
    )


def give(page, how, data, *, inside=True):
    """Drop or paste a picture; say whether the page kept the browser from opening it."""
    return page.evaluate(GIVE, [how, inside, "given.png", base64.b64encode(data).decode()])


@pytest.mark.browser
def test_a_chosen_file_arrives_in_pieces_and_unharmed(page):
    picture = pixels(500, 600)
    data = encode(picture)
    assert len(data) > 4 * PIECE
    choose(page, data, "folder<b>.png")
    key = hashlib.sha256(picture.tobytes()).hexdigest()[:12]
    page.get_by_text(f"folder<b>.png 600 x 500 {key}").wait_for()
    page.wait_for_selector("button.btn:text('Upload'):enabled")


@pytest.mark.browser
def test_the_browser_says_at_once_what_is_wrong_and_goes_on(page):
    for data, kind, said in (
        (b"", "image/png", "The file is empty."),
        (b"<svg/>", "image/svg+xml", "no picture of an accepted kind"),
        (bytes(MAX_BYTES + 1), "image/png", "The file has 16.0 MB."),
        (b"no picture", "image/png", "cat.png: the file is none of JPEG, PNG"),
    ):
        choose(page, data, kind=kind)
        page.locator(".pop:popover-open", has_text=said).wait_for()
        assert ACCEPTED in page.locator(".pop").inner_text()
    choose(page, encode(pixels(20, 30)))
    page.get_by_text("cat.png 30 x 20").wait_for()
    assert not page.locator(".pop:popover-open").count()


@pytest.mark.browser
def test_a_picture_can_be_dropped_on_the_view_or_pasted_and_nowhere_else(page):
    assert give(page, "drop", encode(pixels(20, 30)))
    page.get_by_text("given.png 30 x 20").wait_for()
    assert give(page, "drop", encode(pixels(40, 50)), inside=False), "the page stays"
    give(page, "paste", encode(pixels(20, 31)), inside=False)
    page.get_by_text("given.png 31 x 20").wait_for()


@pytest.mark.browser
def test_escape_stops_an_upload_and_the_next_one_works(page):
    choose(page, pixels(2200, 2200).tobytes())
    page.wait_for_selector("button[aria-label='Stop the upload']:visible")
    page.keyboard.press("Escape")
    page.wait_for_selector("button.btn:text('Upload'):enabled")
    choose(page, encode(pixels(20, 32)))
    page.get_by_text("cat.png 32 x 20").wait_for()
