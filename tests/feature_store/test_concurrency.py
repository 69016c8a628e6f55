"""One writer at a time, and readers that never notice it."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import pytest

from feature_store import Store, StoreBusyError, StoreError, StoreWriter


def test_a_second_writer_is_told_who_is_first(demo):
    with StoreWriter.open(demo) as writer, writer.begin("simulate"):
        started = time.perf_counter()
        with pytest.raises(StoreBusyError, match=rf"process {os.getpid()} on .*\(simulate\)"):
            StoreWriter.open(demo)
        assert time.perf_counter() - started < 1
    with StoreWriter.open(demo):
        pass


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        StoreWriter.open(tmp_path / "file")
    with pytest.raises(StoreError, match="cannot be written"):
        StoreWriter.open(tmp_path / "file" / "store")


def test_waiting_for_the_first_writer(demo):
    said = []
    first = StoreWriter.open(demo)
    threading.Timer(0.5, first.close).start()
    started = time.perf_counter()
    with StoreWriter.open(demo, wait=True, on_wait=said.append):
        assert 0.3 < time.perf_counter() - started < 5
    assert len(said) == 1
    assert f"process {os.getpid()}" in said[0]


def test_the_lock_of_a_killed_writer_does_not_block(demo, start_crash):
    process = start_crash("contend", demo, 60)
    deadline = time.monotonic() + 30
    while not (demo / ".lock.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    with pytest.raises(StoreBusyError, match=f"process {process.pid}"):
        StoreWriter.open(demo)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with StoreWriter.open(demo):
        pass
    assert (demo / ".lock").exists()


def test_three_writers_one_commits(start_crash, tmp_path):
    root = tmp_path / "store"
    processes = [start_crash("contend", root, 4) for _ in range(3)]
    answers = [(process, process.communicate(timeout=60)[0]) for process in processes]
    codes = sorted(process.returncode for process, _ in answers)
    assert codes == [0, 75, 75]
    winner = next(process.pid for process, _ in answers if process.returncode == 0)
    for process, output in answers:
        if process.returncode == 75:
            refusal = json.loads(output)
            assert refusal["seconds"] < 1
            assert f"process {winner}" in refusal["message"] or "another" in refusal["message"]
    with Store.open(root) as store:
        assert store.generation == 1
        assert store.verify() == []


def test_a_reader_during_twenty_rewrites(start_crash, tmp_path):
    root = tmp_path / "store"
    first = start_crash("rewrites", root, 1)
    assert first.wait(timeout=60) == 0
    with Store.open(root) as old:
        before = read_turn(old)
        process = start_crash("rewrites", root, 20)
        turns = []
        while process.poll() is None:
            with Store.open(root) as store:
                turns.append(read_turn(store))
            assert read_turn(old) == before
        assert process.returncode == 0, process.stderr.read()
        # Its files are still there, although twenty generations came after.
        assert old.verify() == []
        assert old.newer_generation() == old.generation + 20
    assert len(turns) >= 20
    assert len(set(turns)) > 5


def read_turn(store):
    """Return the one turn that all tables carry, see crash.py."""
    turns = {
        store.info["turn"],
        int(store.class_names[0][1:]),
        store.file("weights").read_bytes()[0],
    }
    for column, table in (("c0001", "scores"), ("f0000", "activations__max__000")):
        turns |= set(store.sql(f"SELECT min({column}), max({column}) FROM {table}").fetchall()[0])
    assert len(turns) == 1, turns
    return turns.pop()
