"""Are planted shortcuts found? ``python -m benchmarks.planted_bias [--quick] [--json FILE]``.

Small networks are trained by the stages of the pipeline with shortcuts that are known, alone and
several at once, and without any. Every list in which the tool ranks suspects is held against what
was planted, beside lists that need no pattern and lists drawn at random. Where a list declares a
false-discovery rate, it is counted how often it reports anything of clean networks and of errors
that were dealt out anew. The same command gives the same tables, whatever the number of cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks._planted_images import KINDS, Plan
from benchmarks._planted_tables import Tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SEEDS = 5
"""Networks of each kind of shortcut."""

CONTROLS = 2
"""Networks of each kind of cue that means nothing."""

EPOCHS = 8
PERMUTATIONS = 200
QUICK_PERMUTATIONS = 20
INTERRUPTED = 130


def main() -> None:
    """Make the networks, ask, print the tables, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two networks, within a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--raw", type=Path, metavar="FILE", help="write each network's there")
    given = parser.parse_args()
    plans = quick_plans() if given.quick else full_plans()
    permutations = QUICK_PERMUTATIONS if given.quick else PERMUTATIONS
    found: dict[int, dict[str, Any]] = {}
    started = time.monotonic()
    try:
        for at, entry in examined(plans, permutations=permutations):
            found[at] = entry
            say(
                f"{len(found)} of {len(plans)}, {time.monotonic() - started:,.0f} s: {line(entry)}"
            )
    except (KeyboardInterrupt, BrokenProcessPool):
        # A process that Ctrl-C ends, or the kernel for want of memory, breaks the pool.
        say(f"interrupted: the tables hold {len(found)} of {len(plans)} networks")
    ordered = [found[at] for at in sorted(found)]
    tables = Tables(ordered)
    print(tables.text())
    if given.raw is not None:
        given.raw.write_text(json.dumps(ordered, indent=1) + "\n")
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(row) for row in tables.rows], indent=2) + "\n")
    if len(found) < len(plans):
        raise SystemExit(INTERRUPTED)


def full_plans() -> list[Plan]:
    """Return every network of the benchmark.

    Returns
    -------
    list of Plan
        Shortcuts alone, in pairs and in threes, cues that mean nothing, and none.
    """
    single = [("shortcut", (kind,)) for kind in KINDS for _ in range(SEEDS)]
    several = [
        ("shortcut", tuple(KINDS[(first + step) % len(KINDS)] for step in range(count)))
        for count in (2, 3)
        for first in range(len(KINDS))
    ]
    fair = [("independent", (kind,)) for kind in KINDS for _ in range(CONTROLS)]
    none: list[tuple[str, tuple[str, ...]]] = [("none", ())] * SEEDS
    planned = [*single, *several, *fair, *none]
    # Seeds are counted up: no two networks see the same draw of images.
    return [Plan(mode=mode, kinds=kinds, seed=at) for at, (mode, kinds) in enumerate(planned)]


def quick_plans() -> list[Plan]:
    """Return one network with a shortcut and one without."""
    return [
        Plan(mode="shortcut", kinds=("texture",), seed=1),
        Plan(mode="independent", kinds=("texture",), seed=1),
    ]


def examined(
    plans: Sequence[Plan], *, permutations: int, epochs: int = EPOCHS
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Make and examine networks, as many at a time as there are cores, each on one thread.

    Parameters
    ----------
    plans : sequence of Plan
        What is planted.
    permutations : int
        See ``examine``.
    epochs : int
        Of the training.

    Yields
    ------
    tuple of (int, dict)
        Place of the plan and what was found, in the order in which they end.
    """
    # Threads of a sum change its last bits: one thread gives the same networks everywhere. Set
    # before torch is imported by the processes that are started.
    os.environ["OMP_NUM_THREADS"] = "1"
    workers = min(os.cpu_count() or 1, len(plans))
    with tempfile.TemporaryDirectory() as root:
        pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_end_quietly)
        try:
            asked = {
                pool.submit(
                    one, plan, Path(root) / str(at), permutations=permutations, epochs=epochs
                ): at
                for at, plan in enumerate(plans)
            }
            for done in as_completed(asked):
                yield asked[done], done.result()
        finally:
            # One call that both waits and cancels: a second one would take the first one back.
            pool.shutdown(wait=True, cancel_futures=True)


def _end_quietly() -> None:
    """Let Ctrl-C end a process at once: the one that started it prints the tables."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def one(plan: Plan, folder: Path, *, permutations: int, epochs: int) -> dict[str, Any]:
    """Make and examine one network, in a folder that is gone afterwards."""
    import torch

    from benchmarks._planted_networks import make
    from benchmarks._planted_scores import examine

    torch.set_num_threads(1)
    try:
        return examine(make(plan, folder, epochs=epochs), permutations=permutations)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def line(entry: dict[str, Any]) -> str:
    """Describe one network."""
    plan = entry["plan"]
    cues = ", ".join(f"{cue['kind']} flips {cue['flips']:.2f}" for cue in entry["cues"])
    return f"{plan['mode']}, seed {plan['seed']}, accuracy {entry['accuracy']:.2f}; {cues or '-'}"


def say(text: str) -> None:
    """Show that it is alive."""
    sys.stderr.write(f"planted_bias: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
