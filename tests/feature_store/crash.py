"""Crash a store writer on purpose; run as a script by test_crash.py and test_concurrency.py.

This process stays free of threads, so that it may fork: each writer and each checker is a child,
which costs milliseconds instead of a fresh interpreter.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import pyarrow as pa

from feature_store import DiskFullError, Store, StoreBusyError, StoreError, StoreWriter
from feature_store.tables import schema

IMAGES = 600
SHARDS = 3
MEANS = ("EIO", "ENOSPC", "kill")


def shard_table(index: int, turn: int) -> pa.Table:
    ids = np.arange(index * IMAGES // SHARDS, (index + 1) * IMAGES // SHARDS, dtype=np.int32)
    return pa.table({"image_id": ids, "value": np.full(len(ids), turn, np.int32)})


def build(root: Path, turn: int, log: Path | None = None) -> None:
    """One complete run: shards, four tables that all carry ``turn``, a file, state."""
    with StoreWriter.open(root) as writer:
        shards = writer.shards("capture", f"turn-{turn}")
        for index in range(SHARDS):
            key = f"{index:03d}"
            if shards.done(key):
                continue
            note(log, f"computed {turn} {key}")
            shards.publish(key, {"rows": shard_table(index, turn)}, {"turn": turn})
            note(log, f"published {turn} {key}")
        with writer.begin("capture") as generation:
            fill(generation, shards, turn)
        writer.write_state("capture", writer.fingerprints(["scores"]))
        shards.clear()


def fill(generation, shards, turn: int) -> None:
    lineage = {"data": str(turn)}
    generation.info["turn"] = turn
    generation.write(
        "classes",
        pa.Table.from_arrays(
            [pa.array([0, 1], pa.int16()), pa.array([f"a{turn}", "b"])], schema=schema("classes")
        ),
        lineage=lineage,
    )
    with generation.table("scores", lineage=lineage) as out:
        for key in shards.keys():  # noqa: SIM118 - not a mapping
            rows = shards.read(key, "rows")
            value = rows["value"].cast(pa.float32())
            out.append(pa.table({"image_id": rows["image_id"], "c0000": value, "c0001": value}))
    for name in ("activations/max/000", "activations/mean/000"):
        ids = np.arange(IMAGES, dtype=np.int32)
        value = np.full(IMAGES, turn, np.float16)
        generation.write(name, pa.table({"image_id": ids, "f0000": value}), lineage=lineage)
    source = shards.folder.parent / "weights.bin"
    source.write_bytes(bytes([turn % 256]) * 5000)
    generation.add_file("weights", source)


def turn_of(root: Path) -> int:
    """Open, verify and read everything; the one turn that all of it carries, else an error."""
    with Store.open(root) as store:
        problems = store.verify()
        if problems:
            raise AssertionError(problems)
        turns = {store.info["turn"], store.file("weights").read_bytes()[0]}
        turns.add(int(store.class_names[0][1:]))
        for column, table in (
            ("c0001", "scores"),
            ("f0000", "activations__max__000"),
            ("f0000", "activations__mean__000"),
        ):
            query = f"SELECT min({column}), max({column}), count(*) FROM {table}"
            low, high, count = store.sql(query).fetchall()[0]
            if count != IMAGES:
                raise AssertionError((table, count))
            turns |= {int(low), int(high)}
        if len(turns) != 1:
            raise AssertionError(f"mixed generations: {turns}")
        if store.stale_tables():
            raise AssertionError(store.stale_tables())
    return turns.pop()


def note(log: Path | None, line: str) -> None:
    if log is None:
        return
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def fork(function) -> int:
    """Run ``function`` in a child; its exit code is what it returns, 99 for an error."""
    child = os.fork()
    if child:
        return child
    try:
        code = function()
    except BaseException:  # noqa: BLE001 - a child must never return into its parent's code
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def run(function) -> int:
    """Run a child to its end; a negative code is the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(fork(function), 0)[1])


def expect(function, allowed: set[int] = frozenset({0})) -> int:
    code = run(function)
    if code not in allowed:
        raise SystemExit(f"child ended with {code}")
    return code


def leftovers(root: Path) -> list[str]:
    return [str(path) for path in root.rglob("*") if ".tmp-" in path.name]


def recomputed(log: Path) -> int:
    """Count shards that were computed again after they had been published in the same turn."""
    published: set[str] = set()
    again = 0
    for line in log.read_text().splitlines():
        what, _, key = line.partition(" ")
        if what == "published":
            published.add(key)
        else:
            again += key in published
    return again


def kills(root: Path, count: int, seed: int) -> dict:
    """SIGKILL a writer ``count`` times at random moments of its run; check after each."""
    pick = random.Random(seed)
    log = root.with_suffix(".log")
    expect(lambda: build(root, 1, log))
    started = time.perf_counter()
    expect(lambda: build(root, 2, log))
    length = time.perf_counter() - started
    turn, killed, committed = 2, 0, 0
    while killed < count:
        # A turn is repeated until it commits: its finished shards must not be computed again.
        child = fork(lambda turn=turn: build(root, turn + 1, log))
        time.sleep(pick.uniform(0, 1.2 * length))
        os.kill(child, signal.SIGKILL)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        killed += ended == -signal.SIGKILL
        code = expect(lambda turn=turn: turn_of(root) - turn, {0, 1})
        turn += code
        committed += code
        if ended == 0 and not code:
            raise SystemExit("a writer ended well, but nothing was committed")
    expect(lambda turn=turn: build(root, turn + 1, log))
    expect(lambda turn=turn: turn_of(root) - turn - 1)
    return {
        "killed": killed,
        "committed": committed,
        "recomputed": recomputed(log),
        "leftovers": leftovers(root),
    }


class Faults:
    """Counts the calls of ``os.write``, ``os.fsync`` and ``os.replace``; fails the k-th."""

    def __init__(self, name: str, place: int, how: str, marker: Path) -> None:
        self.name, self.place, self.how, self.marker = name, place, how, marker
        self.calls = 0
        self.original = {name: getattr(os, name) for name in ("write", "fsync", "replace")}

    def install(self) -> None:
        setattr(os, self.name, self.call)

    def call(self, *arguments):
        if str(arguments[0]).endswith(f".lock.json.tmp-{os.getpid()}"):
            # Who holds the lock is a courtesy, written without promises.
            return self.original[self.name](*arguments)
        self.calls += 1
        if self.calls == self.place:
            self.marker.write_text("fired")
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            number = getattr(errno, self.how)
            raise OSError(number, os.strerror(number))
        return self.original[self.name](*arguments)


def faulty_build(root: Path, turn: int, faults: Faults) -> int:
    faults.install()
    try:
        build(root, turn)
    except (StoreError, OSError) as error:
        setattr(os, faults.name, faults.original[faults.name])
        if faults.how == "ENOSPC" and not (
            "bytes are free" in str(error) and "need" in str(error)
        ):
            return 4
        return 5 if leftovers(root) else 3
    setattr(os, faults.name, faults.original[faults.name])
    return 0


def count_calls(template: Path, scratch: Path, name: str) -> int:
    """Dry run: how often a build calls ``os.<name>``."""
    root = fresh(template, scratch)
    counted = scratch / "counted"

    def child() -> int:
        faults = Faults(name, -1, "EIO", scratch / "marker")
        faults.install()
        build(root, 3)
        setattr(os, name, faults.original[name])
        counted.write_text(str(faults.calls))
        return 0

    expect(child)
    return int(counted.read_text())


def fresh(template: Path, scratch: Path) -> Path:
    root = scratch / "store"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(template, root)
    return root


def faults(scratch: Path, places: int) -> dict:
    """Fail writes, fsyncs and renames by EIO, ENOSPC and kill.

    Every one of them by each means; or ``places`` of each, the means taking turns.
    """
    template = scratch / "template"
    expect(lambda: build(template, 1))
    expect(lambda: build(template, 2))
    report = {"calls": {}, "fired": 0, "injected": 0, "after_commit": 0}
    for name in ("write", "fsync", "replace"):
        total = count_calls(template, scratch, name)
        report["calls"][name] = total
        if places:
            chosen = [1 + index * (total - 1) // (places - 1) for index in range(places)]
            plan = zip(chosen, itertools.cycle(MEANS))
        else:
            plan = itertools.product(range(1, total + 1), MEANS)
        for place, how in plan:
            one_fault(template, scratch, Faults(name, place, how, scratch / "fired"), report)
    return report


def one_fault(template: Path, scratch: Path, fault: Faults, report: dict) -> None:
    root = fresh(template, scratch)
    fault.marker.unlink(missing_ok=True)
    code = run(lambda: faulty_build(root, 3, fault))
    report["injected"] += 1
    report["fired"] += fault.marker.exists()
    where = f"{fault.how} at {fault.name} {fault.place}"
    allowed = {-signal.SIGKILL} if fault.how == "kill" else {3}
    if code not in allowed:
        raise SystemExit(f"{where}: writer ended with {code}")
    if not fault.marker.exists():
        raise SystemExit(f"{where}: did not fire")
    turn = expect(lambda: turn_of(root), {2, 3})
    report["after_commit"] += turn == 3
    # The next run sweeps what was left, commits, and leaves nothing temporary.
    expect(lambda: build(root, 4))
    expect(lambda: turn_of(root) - 4)
    if leftovers(root):
        raise SystemExit(f"{where}: left {leftovers(root)}")


def limited(root: Path, limit: int) -> dict:
    """Write with a limit on the size of files, which the system enforces; then without."""
    expect(lambda: build(root, 1))
    said = root.with_suffix(".said")

    def child() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            build(root, 2)
        except DiskFullError as error:
            said.write_text(str(error))
            return 3
        return 0

    code = run(child)
    expect(lambda: turn_of(root) - 1)
    left = leftovers(root)
    expect(lambda: build(root, 2))
    expect(lambda: turn_of(root) - 2)
    return {"code": code, "leftovers": left, "said": said.read_text()}


def rewrites(root: Path, count: int) -> dict:
    """Rewrite every table ``count`` times."""
    for turn in range(2, count + 2):
        build(root, turn)
    return {"turn": count + 1}


def contend(root: Path, seconds: float) -> dict:
    """Try to write; hold the lock a while; exit 75 when somebody else has it."""
    started = time.perf_counter()
    try:
        with StoreWriter.open(root) as writer, writer.begin("capture") as generation:
            generation.write("classes", schema("classes").empty_table())
            time.sleep(seconds)
    except StoreBusyError as error:
        print(json.dumps({"seconds": time.perf_counter() - started, "message": str(error)}))
        raise SystemExit(75) from None
    return {"pid": os.getpid()}


COMMANDS = {
    "kills": lambda path, count, seed: kills(Path(path), int(count), int(seed)),
    "faults": lambda path, places: faults(Path(path), int(places)),
    "limited": lambda path, limit: limited(Path(path), int(limit)),
    "rewrites": lambda path, count: rewrites(Path(path), int(count)),
    "contend": lambda path, seconds: contend(Path(path), float(seconds)),
}

if __name__ == "__main__":
    print(json.dumps(COMMANDS[sys.argv[1]](*sys.argv[2:])))
