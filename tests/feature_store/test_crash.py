"""Kills and failing disks: the last committed generation is always whole."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from feature_store.manifest import CURRENT, MANIFEST


def test_some_kills(crash, tmp_path):
    report = crash("kills", tmp_path / "store", 5, 1)
    assert report["killed"] == 5
    assert report["recomputed"] == 0
    assert report["leftovers"] == []


def test_some_faults(crash, tmp_path):
    report = crash("faults", tmp_path, 2)
    assert min(report["calls"].values()) >= 10
    assert report["fired"] == report["injected"] == 6


def test_no_room(crash, tmp_path):
    """The system refuses to let a file grow; nothing is mocked."""
    report = crash("limited", tmp_path / "store", 1000)
    assert report["code"] == 3
    assert report["leftovers"] == []
    assert re.search(r"[\d,]+ more bytes are needed, [\d,]+ bytes are free", report["said"])


@pytest.mark.accept
@pytest.mark.timeout(3600)
def test_two_hundred_kills(crash, tmp_path):
    report = crash("kills", tmp_path / "store", 200, 2)
    assert report["killed"] == 200
    assert report["recomputed"] == 0
    assert report["leftovers"] == []


@pytest.mark.accept
@pytest.mark.timeout(3600)
def test_a_fault_at_every_write_fsync_and_rename(crash, tmp_path):
    report = crash("faults", tmp_path, 0)
    assert report["injected"] == 3 * sum(report["calls"].values())
    assert report["fired"] == report["injected"]


def test_everything_is_synchronised_before_it_is_named(commit, monkeypatch):
    """Each file before its rename, its folder after; parts, then the manifest, CURRENT last."""
    events = []
    names = {}
    original = {name: getattr(os, name) for name in ("open", "fsync", "replace")}

    def record_open(path, *arguments, **options):
        descriptor = original["open"](path, *arguments, **options)
        names[descriptor] = os.fspath(path)
        return descriptor

    def record_fsync(descriptor):
        events.append(("fsync", names[descriptor]))
        original["fsync"](descriptor)

    def record_replace(source, target):
        events.append(("replace", os.fspath(source), os.fspath(target)))
        original["replace"](source, target)

    commit("classes")
    monkeypatch.setattr(os, "open", record_open)
    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    root = commit("images", "predictions", "activations/max/000", value=5)
    monkeypatch.undo()

    events = [event for event in events if ".lock" not in event[1]]
    renames = [index for index, event in enumerate(events) if event[0] == "replace"]
    targets = [events[index][2] for index in renames]
    assert len(targets) == 5
    for index in renames:
        _, source, target = events[index]
        assert events[index - 1] == ("fsync", source)
        assert events[index + 1] == ("fsync", str(Path(target).parent))
    assert targets[-2:] == [str(root / "gen/000002" / MANIFEST), str(root / CURRENT)]
    # A new folder is durable in its parent before anything in it is named.
    for folder in ("gen/000002", "gen/000002/images", "gen/000002/activations/max"):
        synced = events.index(("fsync", str((root / folder).parent)))
        first = next(i for i in renames if events[i][2].startswith(f"{root / folder}/"))
        assert synced < first
    assert events[-1] == ("fsync", str(root))
