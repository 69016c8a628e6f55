"""What the tests of the app share: runtimes without a browser, and real pages in Chromium.

A browser test asks for ``open_page`` and a server; after it, no error on the console and no
request to another host may have been seen.
"""

from __future__ import annotations

import inspect
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import panel as pn
import pytest

from app.runtime import open_runtime
from app.state import SessionState
from app.views import testing_answers

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LAPTOP, WIDE, PHONE = (1366, 768), (1920, 1080), (420, 900)
PATIENCE_MS = 60_000

# What Chromium says of its own graphics stack is not about our page.
HARMLESS = ("GL Driver Message", "WebGL", "GPU stall")


@pytest.fixture(scope="session")
def runtime(digits_path):
    """Return the shared runtime of the demo's store."""
    return open_runtime(digits_path)


@pytest.fixture
def state(runtime):
    """Return the state of a session on the demo's store."""
    return SessionState(dict(runtime.splits))


@pytest.fixture
def at_once(monkeypatch):
    """Run what is meant for the document's thread at once; coroutines are left to the test."""
    monkeypatch.setattr(
        pn.state, "execute", lambda call, schedule="auto": call() if schedule is True else None
    )


@pytest.fixture
def no_server(monkeypatch):
    """Leave coroutines to ``settle``: without a server Panel would open a loop for each."""
    monkeypatch.setattr(testing_answers, "EVIDENCE_PAUSE_S", 0.0)
    monkeypatch.setattr(testing_answers, "MORE_PAUSE_S", 0.0)

    def execute(callback, schedule="auto"):
        inner = callback.func if isinstance(callback, partial) else callback
        if not inspect.iscoroutinefunction(inner):
            callback()

    monkeypatch.setattr(pn.state, "execute", execute)


@dataclass
class Server:
    """A running ``panel serve app``."""

    url: str
    process: subprocess.Popen
    log: Path


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve(*stores: Path, log: Path, plugins: bool = True, options: tuple[str, ...] = ()):
    """Run ``panel serve app`` as a user would, until the block ends."""
    port = free_port()
    command = [sys.executable, "-m", "panel", "serve", "app", "--port", str(port)]
    if plugins:
        command += ["--plugins", "app.routes"]
    command += [*options, "--args", *map(str, stores)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, env=environment
        )
        try:
            url = f"http://localhost:{port}"
            wait_for(lambda: answers(url), what=f"the server; its log is in {log}")
            yield Server(f"{url}/app", process, log)
        finally:
            process.terminate()
            process.wait(timeout=20)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def wait_for(check, *, seconds: float = 60.0, what: str = "it"):
    """Wait until ``check()`` is true and return what it says."""
    until = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < until, f"waited {seconds:g} s for {what}"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def digits_server(digits_path, tmp_path_factory):
    """Return a server of the demo's store with thumbnails by address."""
    with serve(digits_path, log=tmp_path_factory.mktemp("serve") / "log") as server:
        yield server


@pytest.fixture(scope="session")
def browsers():
    """Return Playwright's Chromium and the program, or skip; see ``VATUN_REQUIRE_BROWSER``."""
    required = os.environ.get("VATUN_REQUIRE_BROWSER") == "1"
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        if required:
            pytest.fail("VATUN_REQUIRE_BROWSER=1, but there is no Chromium on this machine")
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium, {"executable_path": found, "args": list(ARGUMENTS)}


@pytest.fixture(scope="session")
def chromium(browsers):
    """Return a running Chromium, or skip; with VATUN_REQUIRE_BROWSER=1 its absence fails."""
    kind, options = browsers
    browser = kind.launch(**options)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def profile(browsers, tmp_path_factory):
    """Return a Chromium with a profile on disk, as a user's has.

    It keeps the scripts of the page in compiled form: a fifth of a page's processor time. The
    page keeps nothing in a browser but its address, so that no test sees what another one did.
    """
    kind, options = browsers
    context = kind.launch_persistent_context(tmp_path_factory.mktemp("profile"), **options)
    yield context
    context.close()


@dataclass
class Watched:
    """A page and what must not happen on it."""

    page: object
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


@pytest.fixture
def open_page(profile):
    """Return ``open(url, size=LAPTOP, query="", ready=...)``, giving a Playwright page."""
    opened: list[Watched] = []

    def open_one(url: str, *, size=LAPTOP, query: str = "", ready: str = ".selbar .big"):
        page = profile.new_page()
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.set_default_timeout(PATIENCE_MS)
        watched = Watched(page)
        opened.append(watched)
        own = urlsplit(url).netloc

        def note(message):
            if message.type in {"error", "warning"} and not any(
                word in message.text for word in HARMLESS
            ):
                watched.errors.append(f"{message.type}: {message.text[:500]}")

        def look(request):
            parts = urlsplit(request.url)
            if parts.scheme in {"http", "https", "ws", "wss"} and parts.netloc != own:
                watched.foreign.append(request.url)

        page.on("console", note)
        page.on("pageerror", lambda error: watched.errors.append(f"exception: {error}"))
        page.on("request", look)
        page.goto(url + query)
        page.wait_for_selector(ready)
        return page

    yield open_one
    for watched in opened:
        watched.page.close()
    for watched in opened:
        assert not watched.errors, watched.errors
        assert not watched.foreign, watched.foreign


def text_of(page, selector: str) -> str:
    return page.locator(selector).first.inner_text()


def selected_count(page) -> int:
    """Return how many images the selection bar says are selected."""
    return int(text_of(page, ".selbar .big").split()[0].replace(",", ""))


def focused_image(page) -> int:
    """Return the id of the image that the film strip frames."""
    return int(page.locator(".film .th.focus").first.get_attribute("data-image"))


def map_box(page) -> dict[str, float]:
    """Return where the map's canvas lies on the screen."""
    return page.locator(".view-a canvas").first.bounding_box()


def drag(page, points: list[tuple[float, float]]) -> None:
    """Press the mouse at the first point, pass the others, let go at the last."""
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()
