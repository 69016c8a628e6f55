"""The page without a browser: what it imports, what it says when it cannot be shown."""

from __future__ import annotations

import io
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from app import thumbnails
from app.dashboard import create_page
from app.stores import choose_store, list_stores
from app.views.about import about_html
from app.views.map_parts import why_no_map
from tests.app.conftest import ROOT, serve

PAYLOAD = '<img src=x onerror="x()">'


def test_the_first_page_is_served_before_torch_is_imported(digits_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import app.dashboard as d\n"
        "assert 'torch' not in sys.modules, 'by import'\n"
        "import panel as pn\n"
        # What runs after the page was sent is not part of serving it.
        "pn.state.onload = lambda *a, **k: None\n"
        "page = d.create_page([sys.argv[1]])\n"
        "page.get_root()\n"
        "assert 'torch' not in sys.modules, 'by building the page'\n"
        "print(page.title)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(digits_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "VATUN · digits" in done.stdout


def said_by(page) -> str:
    return " ".join(
        str(pane.object) for column in page.main for pane in column if hasattr(pane, "object")
    )


def test_no_store_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VATUN_STORE", raising=False)
    said = said_by(create_page([]))
    assert "There is no store here yet" in said
    assert "doit store:digits" in said


@pytest.mark.parametrize("content", [None, "", "gen/000001 0000", "gen/../../etc 00"])
def test_a_folder_that_is_no_store_is_named(tmp_path, content):
    folder = tmp_path / "broken"
    folder.mkdir()
    if content is not None:
        (folder / "CURRENT").write_text(content)
    said = said_by(create_page([str(folder)]))
    assert "The store broken cannot be read" in said
    assert "Traceback" not in said


def test_stores_are_found_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b", "a", "empty"):
        (tmp_path / "stores" / name).mkdir(parents=True)
    for name in ("b", "a"):
        (tmp_path / "stores" / name / "CURRENT").write_text("x")
    assert list(list_stores([], {})) == ["a", "b"]
    assert list_stores([], {"VATUN_STORE": "stores/b"}) == {"b": Path("stores/b")}
    assert list(list_stores(["stores/b", "stores/a"], {"VATUN_STORE": "x"})) == ["b", "a"]
    assert list(list_stores(["one/s", "two/s"], {})) == ["s", "two/s"]


def test_the_address_only_chooses_among_known_names():
    stores = {"a": Path("a"), "b": Path("b")}
    assert choose_store(stores, None) == "a"
    assert choose_store(stores, "b") == "b"
    for forged in ("../etc", "/etc/passwd", "c", PAYLOAD):
        assert choose_store(stores, forged) is None
    assert choose_store({}, None) is None


def test_a_store_without_a_map_says_what_to_run_or_that_it_has_too_few_images():
    bare = SimpleNamespace(projections=(), name="bare", images=SimpleNamespace(ids=range(5)))
    assert "doit embed:bare" in why_no_map(bare).object
    bare.images.ids = range(4)
    said = why_no_map(bare).object
    # The stage refuses so few as well: its command would be no help.
    assert "needs at least 5 images, and this store holds 4." in said
    assert "doit" not in said


def test_about_escapes_what_comes_from_the_store():
    entry = {"rows": 1, "bytes": 1, "stage": PAYLOAD, "fingerprint": PAYLOAD}
    shown = about_html(
        {
            "name": PAYLOAD,
            "created": PAYLOAD,
            "tables": {PAYLOAD: entry},
            "accuracy": {PAYLOAD: {"n": 1, "n_labelled": 1, "accuracy": None}},
            "stale": {PAYLOAD: PAYLOAD},
            "info": {
                "dataset": {"source": PAYLOAD, "n_by_split": {PAYLOAD: 1}},
                "model": {"builder": PAYLOAD},
                "capture": {"skipped_layers": [PAYLOAD], "device": PAYLOAD},
                "provenance": {PAYLOAD: {"settings": {PAYLOAD: {PAYLOAD: PAYLOAD}}}},
            },
        },
        [(PAYLOAD,) * 7],
    )
    assert "<img" not in shown
    assert "&lt;img" in shown


def test_about_states_the_accuracy_and_the_hash(runtime):
    shown = about_html(runtime.store.describe(), [])
    assert "Accuracy by split" in shown
    assert runtime.store.manifest["files"]["weights"]["sha256"] in shown


def encoded(size, kind="PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (10, 200, 30)).save(out, kind)
    return out.getvalue()


def test_small_pngs_pass_and_large_images_shrink():
    small = encoded((32, 32))
    assert thumbnails.shrink(small) == (small, "image/png")
    content, kind = thumbnails.shrink(encoded((900, 300), "JPEG"))
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (thumbnails.SIDE, thumbnails.SIDE // 3)
    assert kind == "image/png"


@pytest.mark.parametrize(
    "content", [b"", b"text", b"<svg onload=x></svg>", encoded((40, 40))[:60], b"%!PS-Adobe"]
)
def test_what_is_no_image_becomes_a_placeholder(content):
    assert thumbnails.make(lambda: content) == (thumbnails.PLACEHOLDER, "image/svg+xml")


def test_too_many_pixels_are_refused_before_decoding(monkeypatch):
    monkeypatch.setattr(thumbnails, "MAX_PIXELS", 1000)
    assert thumbnails.make(lambda: encoded((100, 100)))[1] == "image/svg+xml"


def test_a_missing_image_has_a_placeholder(runtime):
    assert runtime.thumbnail(10**8) == (thumbnails.PLACEHOLDER, "image/svg+xml")


def fetch(url: str):
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read(), answer.url
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), b"", error.url


def test_thumbnails_by_address(digits_server, runtime):
    root = digits_server.url.removesuffix("/app")
    # A store is known to the server once a page of it was opened.
    assert fetch(digits_server.url)[0] == 200
    status, headers, content, _ = fetch(f"{root}/thumb/{runtime.key}/5.png")
    assert status == 200
    assert headers["Content-Type"] == "image/png"
    assert "immutable" in headers["Cache-Control"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert content == runtime.thumbnail(5)[0]
    for wrong in ("thumb/0000000000000000/5.png", f"thumb/{runtime.key}/x.png", "thumb/../5.png"):
        assert fetch(f"{root}/{wrong}")[0] == 404


def test_thumbnails_ask_for_a_login_where_the_page_does(digits_path, runtime, tmp_path):
    options = ("--basic-auth", "secret", "--cookie-secret", "for-this-test")
    with serve(digits_path, log=tmp_path / "log", options=options) as server:
        root = server.url.removesuffix("/app")
        _, _, content, url = fetch(f"{root}/thumb/{runtime.key}/5.png")
        assert "login" in url
        assert not content.startswith(b"\x89PNG")
