"""Memory of the real server for each further session on one store, and after they have ended."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks._report import Row
from benchmarks.sessions import ROUNDS, moment, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser


ROOT = Path(__file__).parents[1]
_READY = ".selbar .big"
_WAIT_MS = 180_000


def session_rows(store: Path, *, count: int) -> list[Row]:
    """Open one session, ``count`` more, close them, and that four times.

    Parameters
    ----------
    store : Path
        Folder of the store.
    count : int
        Further sessions.

    Returns
    -------
    list of Row
        Their names end with that of the store.
    """
    from playwright.sync_api import sync_playwright

    with _serve(store) as url, sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu"]
        )
        before = moment(url, 0)
        with _pages(browser, url, 1) as seconds:
            first = moment(url, 1)
            # What the first sessions load for all, and let go of, is not what one more costs.
            with _pages(browser, url, 1):
                pass
            one = moment(url, 1)
            opened, closed = [], []
            for _ in range(ROUNDS):
                with _pages(browser, url, count):
                    opened.append(moment(url, count + 1))
                closed.append(moment(url, 1))
        browser.close()
    name = store.name.removeprefix("million")
    return [
        Row(
            name=f"first_page_seconds_{name}",
            value=seconds,
            unit="s",
            against="address to selection bar in Chromium, the process's first",
        ),
        Row(
            name=f"first_session_megabytes_{name}",
            value=first.megabytes - before.megabytes,
            unit="MB",
            against=f"store, map and one session; the server alone {before.megabytes:,.0f} MB",
        ),
        Row(
            name=f"megabytes_per_session_{name}",
            value=(opened[0].megabytes - one.megabytes) / count,
            unit="MB",
            against=f"{count} further sessions: {told([one, opened[0]])} MB",
            goal="<= 25",
        ),
        Row(
            name=f"growth_after_close_megabytes_{name}",
            value=closed[-1].megabytes - closed[1].megabytes,
            unit="MB",
            against=f"twice {count} closed and twice again: {told(closed)} MB; "
            f"open {told(opened)} MB",
            goal="<= 0, or the noise of an allocator",
        ),
        Row(
            name=f"sessions_left_alive_{name}",
            value=max(one.alive for one in closed) - 1.0,
            unit="sessions",
            against=f"objects of {ROUNDS * count + 1} closed sessions after a garbage collection",
            goal="0",
        ),
    ]


@contextmanager
def _pages(browser: Browser, url: str, count: int) -> Iterator[float]:
    """Hold open pages; gives the seconds until the first was there."""
    contexts, first = [], 0.0
    try:
        for number in range(count):
            context = browser.new_context(viewport={"width": 1366, "height": 768})
            contexts.append(context)
            started = time.monotonic()
            page = context.new_page()
            page.goto(f"{url}/app", timeout=_WAIT_MS)
            page.wait_for_selector(_READY, timeout=_WAIT_MS)
            if number == 0:
                first = time.monotonic() - started
        yield first
    finally:
        for context in contexts:
            context.close()


@contextmanager
def _serve(store: Path) -> Iterator[str]:
    """Run ``panel serve app`` with ``/held``; sessions end two seconds after their page."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [
        sys.executable, "-m", "panel", "serve", "app", "--port", str(port),
        "--plugins", "app.routes", "--plugins", "benchmarks._held",
        "--unused-session-lifetime", "2000", "--check-unused-sessions", "500",
        "--args", str(store),
    ]  # fmt: skip
    with tempfile.TemporaryFile() as log:
        # What is freed goes back at once: else sessions hide in what the first one left free.
        sizes = dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), "65536")
        environment = {**os.environ, **sizes, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        try:
            _await(port, process)
            yield f"http://localhost:{port}"
        finally:
            process.terminate()
            process.wait(timeout=30)


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server listens; asking for a page would make a session."""
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    msg = "the server did not answer"
    raise RuntimeError(msg)
