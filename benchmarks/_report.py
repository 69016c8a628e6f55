"""What the benchmarks share: their options, interleaved timing, and the table they print."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured figure.

    Parameters
    ----------
    name : str
        What was measured.
    value : float
        A ratio wherever there is a peer or a floor.
    unit : str
        Of ``value``.
    against : str
        What it is compared with.
    goal : str
        What it should be, such as ``">= 0.85"``; empty where there is no goal.
    """

    name: str
    value: float
    unit: str
    against: str
    goal: str = ""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line of a benchmark says."""

    quick: bool
    json: Path | None


def options(description: str | None) -> Options:
    """Read ``--quick`` and ``--json FILE`` from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="end within a minute on 2 cores")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    found = parser.parse_args()
    return Options(quick=found.quick, json=found.json)


def interleave(
    functions: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time functions in turn, so that a busy moment of the machine falls on all of them.

    Each one runs once beforehand, untimed.

    Parameters
    ----------
    functions : mapping of str to callable
        What is compared.
    rounds : int
        How often each one is timed.
    clock : callable
        Returns seconds; ``time.process_time`` leaves out what other programs take.

    Returns
    -------
    dict of str to list of float
        Seconds of every round.
    """
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            started = clock()
            function()
            seconds[name].append(clock() - started)
    return seconds


def report(rows: Sequence[Row], given: Options) -> None:
    """Print the rows as a table, and write them as JSON where a file is named.

    Parameters
    ----------
    rows : sequence of Row
        In the order in which they are shown.
    given : Options
        Names the file, if there is one.
    """
    titles = ("name", "value", "unit", "goal", "against")
    lines = [
        titles,
        *((row.name, f"{row.value:,.3f}", row.unit, row.goal, row.against) for row in rows),
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        print(
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        )
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
