"""A finished shard survives everything but a change of what it depends on."""

from __future__ import annotations

import pyarrow as pa
import pytest

from feature_store import Shards, StoreCorruptError, StoreError, StoreWriter


@pytest.fixture
def shards(tmp_path) -> Shards:
    with StoreWriter.open(tmp_path / "demo") as writer:
        return writer.shards("capture", "weights-1")


def test_a_published_shard_is_done(shards):
    assert not shards.done("000")
    assert shards.keys() == ()
    tables = {"activations/max/000": pa.table({"f": [1, 2]}), "paths": pa.table({"p": [3]})}
    shards.publish("000", tables, {"seconds": 1.5})
    assert shards.done("000")
    assert shards.keys() == ("000",)
    assert shards.read("000", "paths").to_pydict() == {"p": [3]}
    assert shards.read("000", "activations/max/000").num_rows == 2
    assert shards.meta("000") == {"seconds": 1.5}
    shards.clear()
    assert shards.keys() == ()


def test_another_fingerprint_removes_the_old_shards(tmp_path, shards):
    shards.publish("000", {"paths": pa.table({"p": [3]})})
    with StoreWriter.open(tmp_path / "demo") as writer:
        assert writer.shards("simulate", "x").keys() == ()
        assert writer.shards("capture", "weights-1").keys() == ("000",)
        assert writer.shards("capture", "weights-2").keys() == ()
        assert writer.shards("capture", "weights-1").keys() == ()


def test_a_damaged_shard_is_computed_again(shards):
    shards.publish("000", {"paths": pa.table({"p": list(range(1000))})})
    path = next(shards.folder.glob("*.parquet"))
    content = bytearray(path.read_bytes())
    content[50] ^= 4
    path.write_bytes(content)
    with pytest.raises(StoreCorruptError, match="only this shard is recomputed"):
        shards.read("000", "paths")
    assert not shards.done("000")


def test_a_cut_or_changed_shard_is_not_done(shards):
    shards.publish("000", {"paths": pa.table({"p": [3]})}, {"n": 1})
    sidecar = shards.folder / "000.json"
    whole = sidecar.read_bytes()
    for damaged in (b"", whole[:-2], whole.replace(b'"n": 1', b'"n": 2'), b"[]"):
        sidecar.write_bytes(damaged)
        assert not shards.done("000")
    sidecar.write_bytes(whole)
    assert shards.done("000")
    part = next(shards.folder.glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    assert not shards.done("000")


def test_names_are_checked(shards):
    for key in ("../x", "a/b", "", ".x"):
        with pytest.raises(StoreError, match="cannot name a shard"):
            shards.publish(key, {})
        with pytest.raises(StoreError, match="cannot name a shard"):
            shards.done(key)
    with pytest.raises(StoreError, match="not finished"):
        shards.read("000", "paths")
    shards.publish("000", {})
    with pytest.raises(StoreError, match="has no table 'paths'"):
        shards.read("000", "paths")
