"""Server time of the network view: ``python -m benchmarks.network_view STORE...``.

Each store is opened as by ``panel serve``, with one page on its test images and no browser. Timed
is what the page's messages start on the server, each time about other filters: a click on a
filter (its card, the marks and what the list asks next), a lasso of up to 500 filters, the list of
patterns with the chosen filters, and the strongest images of the filter under the pointer. Wall
clock and processor time, median; what the browser draws is not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import statistics
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import panel as pn

from app import thumbnails
from app.components.unit_view import MOST_FILTERS
from app.runtime import open_runtime
from app.state import SessionState, usual_split
from app.views.network import NetworkView
from benchmarks._report import Options, Row, report

if TYPE_CHECKING:
    from collections.abc import Callable

GOAL_MS = 100
"""Milliseconds of the server within which a click is to be answered."""


def main() -> None:
    """Measure every store, print, and write the rows where a file is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="+", type=Path, metavar="STORE")
    parser.add_argument("--rounds", type=int, default=9, help="times that each is asked")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    given = parser.parse_args()
    without_server()
    rows = [row for store in given.stores for row in measure(store, given.rounds)]
    report(rows, Options(quick=False, json=given.json))


def without_server() -> None:
    """Run what is meant for the document's thread at once, and leave out what is awaited.

    The thumbnails have their addresses, as where ``app.routes`` serves them.
    """

    def execute(callback: Callable[[], Any], **_: object) -> None:
        inner = callback.func if isinstance(callback, partial) else callback
        if not inspect.iscoroutinefunction(inner):
            callback()

    setattr(pn.state, "execute", execute)  # noqa: B010 -- a method, as far as mypy knows
    setattr(thumbnails, "served_by_url", lambda: True)  # noqa: B010


def measure(store: Path, rounds: int) -> list[Row]:
    """Time what the page asks of one store.

    Parameters
    ----------
    store : Path
        Folder of a store.
    rounds : int
        Times that each is asked, each time about something else, after once untimed.

    Returns
    -------
    list of Row
        Milliseconds of wall clock; the processor time beside.
    """
    runtime = open_runtime(store)
    split = usual_split(runtime.splits)
    state = SessionState(dict(runtime.splits), split=split, focus=int(runtime.splits[split][0]))
    view = NetworkView(runtime, state)
    plot = view.plot
    plot.start()
    widths = [layer["filters"] for layer in plot.units.unit_layers]
    wide = max(range(len(widths)), key=widths.__getitem__)
    count = min(MOST_FILTERS, widths[wide] - rounds)

    def lasso(at: int) -> None:
        """Choose the same number each time, one filter further."""
        plot.lasso([(wide, at + index) for index in range(count)], count, "replace")

    def hover(at: int) -> None:
        plot.peek(wide, at)
        asyncio.run(plot.answer_peeks())

    asked: dict[str, Callable[[int], None]] = {
        "click": lambda at: plot.pick(wide, at, add=False),
        f"lasso_of_{count}": lasso,
        "list": lambda _: asyncio.run(view.answer()),
        "hover": hover,
    }
    about = f"{sum(widths):,} filters in {len(widths)} layers"
    return [timed(f"{store.name}_{name}", ask, about, rounds) for name, ask in asked.items()]


def timed(name: str, ask: Callable[[int], None], about: str, rounds: int) -> Row:
    """Ask several times, and return the median.

    Parameters
    ----------
    name : str
        What is asked.
    ask : callable
        Takes the number of the round.
    about : str
        What the store holds.
    rounds : int
        Times; once more is not counted.

    Returns
    -------
    Row
        In milliseconds of wall clock.
    """
    wall, cpu = [], []
    for at in range(rounds + 1):
        started, worked = time.perf_counter(), time.process_time()
        ask(at)
        wall.append(1_000 * (time.perf_counter() - started))
        cpu.append(1_000 * (time.process_time() - worked))
    return Row(
        name=f"{name}_ms",
        value=statistics.median(wall[1:]),
        unit="ms",
        against=f"processor {statistics.median(cpu[1:]):,.0f} ms, first {wall[0]:,.0f} ms; "
        f"median of {rounds}; {about}",
        goal=f"< {GOAL_MS}",
    )


if __name__ == "__main__":
    main()
