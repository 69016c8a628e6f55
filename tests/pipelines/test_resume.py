"""Interrupted work goes on where it stopped: no finished shard is computed again."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from feature_store import Store
from pipelines.project import Project

# 128 pixels a side make shards of 128 images, so that there are several.
SEVERAL = (
    ('builder = "small_vgg"', 'builder = "torchvision:squeezenet1_1"'),
    ("resize = 32", "resize = 128"),
    ("[simulate]", "[simulate]\nimages_per_class = 30"),
)


def finished(store):
    """Return the time of every finished shard, by name."""
    times = {}
    # A commit removes the shards it has merged, and their folders, even while they are listed;
    # unlike rglob, walk passes over those.
    for folder, _, names in os.walk(store / "state" / "shards"):
        for path in (Path(folder) / name for name in names if name.endswith(".json")):
            with contextlib.suppress(FileNotFoundError):
                times[path.relative_to(store).as_posix()] = path.stat().st_mtime_ns
    return times


def wait_for_shard(process, store, *, known):
    while process.poll() is None:
        if set(finished(store)) - set(known):
            return
        time.sleep(0.01)
    raise AssertionError(process.stderr.read())


@pytest.fixture(scope="module")
def captured(workshop, tmp_path_factory):
    """Return the folder of a project that all but `simulate` can be taken from."""
    folder = tmp_path_factory.mktemp("captured")
    every = (
        'perturbations = ["horizontal_flip", {name = "brightness", grid = [0.6, 1.0, 1.4]}]',
        "",
    )
    workshop.build(workshop.make(folder, changes=(every,)), "ingest", "capture")
    return folder


@pytest.fixture
def project(captured, tmp_path):
    shutil.copytree(captured, tmp_path / "copy")
    return tmp_path / "copy" / "projects" / "tiny.toml"


def test_a_killed_stage_goes_on_after_its_last_shard(workshop, project):
    store = Project.load(project).store
    killed = workshop.start(project, "simulate")
    wait_for_shard(killed, store, known={})
    killed.kill()
    killed.communicate()
    kept = finished(store)
    assert 0 < len(kept) < 12
    resumed = workshop.start(project, "simulate")
    seen = {}
    while resumed.poll() is None:
        seen |= finished(store)
        assert all(seen.get(name, when) == when for name, when in kept.items())
        time.sleep(0.01)
    _, errors = resumed.communicate()
    assert resumed.returncode == 0, errors
    assert finished(store) == {}
    with Store.open(store) as opened:
        assert opened.verify() == []
        assert opened.stale_tables() == {}
        rows = opened.arrow("select count(distinct (image_id, perturbation)) as n from sweeps")
        assert rows["n"].to_pylist() == [60 * 11]


def test_a_damaged_shard_is_the_only_one_that_is_computed_again(workshop, project):
    store = Project.load(project).store
    process = workshop.start(project, "simulate")
    wait_for_shard(process, store, known={})
    process.kill()
    process.communicate()
    file = next((store / "state" / "shards").rglob("*.parquet"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    done = workshop.run(project, "simulate")
    assert done.returncode == 2
    assert "only this shard is recomputed" in done.stderr
    assert workshop.run(project, "simulate").returncode == 0


def test_ctrl_c_says_one_line_and_keeps_what_is_finished(workshop, tmp_path):
    project = workshop.make(tmp_path, changes=SEVERAL, count=1100)
    store = Project.load(project).store
    workshop.build(project, "ingest")
    process = workshop.start(project, "capture")
    # The first of nine shards: most of the work is still to be done when the signal comes.
    wait_for_shard(process, store, known={})
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    kept = finished(store)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    last = errors.strip().splitlines()[-1]
    assert last == "capture: interrupted; what is finished is kept, run it again to go on"
    assert 1 <= len(kept) < 9
    resumed = workshop.run(project, "capture")
    assert resumed.returncode == 0, resumed.stderr
    assert f"capture: {1100 - 128 * len(kept):,} images" in resumed.stderr
    with Store.open(store) as opened:
        rows = opened.arrow("select count(*) as n, count(distinct image_id) as d from predictions")
        assert rows.to_pylist() == [{"n": 1100, "d": 1100}]


@pytest.mark.accept
@pytest.mark.timeout(1800)
def test_ten_kills_of_a_real_build(workshop, tmp_path):
    """Kill `doit` and its stage ten times, at random moments of a whole build."""
    changes = (*SEVERAL, ('projections = ["pca"]', 'projections = ["pca", "tsne"]'))
    project = workshop.make(tmp_path, changes=changes, count=700)
    shutil.copy(workshop.root / "dodo.py", tmp_path)
    store = Project.load(project).store
    command = [sys.executable, "-m", "doit", "store:tiny"]
    chance = random.Random(0)
    ever: dict[str, int] = {}
    kills = watched = 0
    while kills < 10:
        process = subprocess.Popen(
            command, cwd=tmp_path, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + chance.uniform(1, 50)
        while process.poll() is None and time.monotonic() < until:
            for name, when in finished(store).items():
                watched += name not in ever
                assert ever.setdefault(name, when) == when, f"{name} was computed twice"
            time.sleep(0.005)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        elif process.returncode == 0:
            # It has ended before all kills were spent: build it again from the start.
            shutil.rmtree(store)
            for cache in tmp_path.glob(".doit.db*"):
                cache.unlink()
            ever.clear()
        process.wait()
        if (store / "CURRENT").exists():
            with Store.open(store) as opened:
                assert opened.verify() == []
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert watched
    with Store.open(store) as opened:
        assert opened.verify() == []
        assert opened.stale_tables() == {}
        assert len(opened.tables) > 60
    assert not finished(store)
    assert not re.search("Traceback", done.stderr)
