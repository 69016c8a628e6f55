"""What sessions cost: ``python -m benchmarks.sessions [--quick] [--json FILE] STORE``.

One server, and pages in a headless Chromium. Each page is used as a person would: a tap on the
map, a slider, an open pattern. A first page warms the process and stays open: it loads the network
and fills the caches that all sessions share. Then as many are opened as a round has, closed, and
the same three times more. Memory is the resident memory of the server alone, as the system counts
it after a garbage collection. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from benchmarks._report import Options, Row, report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LAPTOP: ViewportSize = {"width": 1366, "height": 768}
PATIENCE_S = 120.0
SETTLE_S = 3.0
AGAINST = "resident memory of the server"
ROUNDS = 4
"""What two more rounds add to two is growth, and no first filling."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What the server held at one moment.

    Parameters
    ----------
    megabytes : float
        Resident memory.
    alive : int
        Objects of which each session has one, the most of any class.
    """

    megabytes: float
    alive: int


def main() -> None:
    """Measure, print, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path, metavar="STORE", help="folder of a store")
    parser.add_argument("--quick", action="store_true", help="rounds of 3 sessions, not of 10")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    given = parser.parse_args()
    count = 3 if given.quick else 10
    with serving(given.store.resolve()) as url, sync_playwright() as playwright:
        found = next(path for name in BROWSERS if (path := shutil.which(name)))
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        open_used(browser, url)
        start = moment(url, 1)
        rounds = [round_of(browser, url, count) for _ in range(ROUNDS)]
        browser.close()
    report(rows(start, rounds, count), Options(quick=given.quick, json=given.json))


def rows(start: Moment, rounds: list[tuple[Moment, Moment]], count: int) -> list[Row]:
    """Return what is reported of rounds, each a moment with open and one with closed pages."""
    opened, closed = zip(*rounds, strict=True)
    return [
        Row(
            name="first_session_megabytes", value=start.megabytes, unit="MB",
            against=f"{AGAINST} with one used page, torch and the network in it",
        ),
        Row(
            name="megabytes_per_session",
            value=(opened[0].megabytes - start.megabytes) / count, unit="MB", goal="<= 25",
            against=f"{AGAINST}, {count} further pages used and open",
        ),
        Row(
            name="megabytes_per_session_again",
            value=(opened[-1].megabytes - closed[-2].megabytes) / count, unit="MB", goal="<= 25",
            against=f"{AGAINST}, {count} further pages in the last round",
        ),
        Row(
            name="megabytes_grown", value=closed[-1].megabytes - closed[1].megabytes, unit="MB",
            goal="<= 0, or the noise of an allocator",
            against=f"twice {count} closed and twice again: {told(closed)} MB; "
            f"open {told(opened)} MB",
        ),
        Row(
            name="sessions_left_alive", value=max(one.alive for one in closed) - 1.0,
            unit="sessions", goal="0",
            against=f"objects of {ROUNDS * count} closed sessions after a garbage collection",
        ),
    ]  # fmt: skip


def told(moments: Sequence[Moment]) -> str:
    """Return the memory of some moments in their order."""
    return ", then ".join(f"{one.megabytes:,.0f}" for one in moments)


@contextlib.contextmanager
def serving(store: Path) -> Iterator[str]:
    """Serve the app as a user would, with sessions that end soon, until the block ends."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [
        sys.executable, "-m", "panel", "serve", "app", "--port", str(port),
        "--plugins", "app.routes", "--plugins", "benchmarks._held",
        "--unused-session-lifetime", "2000", "--check-unused-sessions", "500",
        "--args", str(store),
    ]  # fmt: skip
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        url = f"http://localhost:{port}"
        try:
            until = time.monotonic() + PATIENCE_S
            while time.monotonic() < until:
                with contextlib.suppress(OSError):
                    held(url)
                    break
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=20)


def held(url: str) -> dict[str, Any]:
    """Ask the server what it holds."""
    with urllib.request.urlopen(f"{url}/held", timeout=PATIENCE_S) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def moment(url: str, sessions: int) -> Moment:
    """Wait until so many sessions are open and what they asked is done; return what is held."""
    until = time.monotonic() + PATIENCE_S
    while (now := held(url))["sessions"] != sessions:
        if time.monotonic() > until:
            msg = f"{now['sessions']} sessions are open, not {sessions}"
            raise TimeoutError(msg)
        time.sleep(0.5)
    time.sleep(SETTLE_S)
    now = held(url)
    return Moment(megabytes=now["megabytes"], alive=max(now["alive"].values()))


def round_of(browser: Browser, url: str, count: int) -> tuple[Moment, Moment]:
    """Open and use pages, close them; return both moments. One page is open before and after."""
    pages = [open_used(browser, url) for _ in range(count)]
    opened = moment(url, count + 1)
    for page in pages:
        page.context.close()
    return opened, moment(url, 1)


def open_used(browser: Browser, url: str) -> Page:
    """Open a page and use it: a tap on the map, a slider, a pattern."""
    page = browser.new_context(viewport=LAPTOP).new_page()
    page.set_default_timeout(1000 * PATIENCE_S)
    page.goto(f"{url}/app")
    page.wait_for_selector(".bench[data-stage=ready]")
    page.wait_for_selector(".pc")
    page.wait_for_timeout(1_000)
    box = page.locator(".view-a canvas").first.bounding_box()
    assert box is not None
    for share in (0.3, 0.45, 0.6):
        page.mouse.click(box["x"] + share * box["width"], box["y"] + share * box["height"])
        page.wait_for_timeout(300)
    page.locator(".sl[data-name=rotation] input[type=range]").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_selector(".bench[data-stage=ready]:not(.waiting)")
    page.locator(".pc").first.click()
    page.wait_for_timeout(1_000)
    return page


if __name__ == "__main__":
    main()
