"""Writing: what is refused, what becomes visible, what is kept and what is removed."""

from __future__ import annotations

import os
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store import (
    DiskFullError,
    SchemaError,
    Store,
    StoreError,
    StoreWriter,
    UnknownTableError,
)
from feature_store.tables import find_table, schema


def files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_nothing_is_visible_when_the_block_fails(demo, rows):
    before = files(demo)

    def fail(writer):
        with writer.begin("ingest") as generation:
            generation.write("images", rows("images", value=1))
            generation.info["broken"] = True
            raise ZeroDivisionError

    with StoreWriter.open(demo) as writer, pytest.raises(ZeroDivisionError):
        fail(writer)
    assert files(demo) == before
    with Store.open(demo) as store:
        assert store.generation == 2
        assert "broken" not in store.info


def test_info_of_the_generation_before_is_a_copy(commit):
    root = commit("classes", info={"model": {"classes": 4}})
    with StoreWriter.open(root) as writer:
        with writer.begin("train") as generation:
            generation.info["model"]["classes"] = 5
        with writer.begin("train") as generation:
            assert generation.info == {"model": {"classes": 5}}
            assert generation.number == 3


def test_untouched_tables_stay_in_their_files(demo, rows):
    with StoreWriter.open(demo) as writer:
        with writer.store() as store:
            before = store.entry("images").parts
        with writer.begin("capture") as generation:
            generation.write("predictions", rows("predictions", value=3))
        with writer.store() as store:
            assert store.entry("images").parts == before
            assert store.generation == 3


def test_unchanged_content_keeps_fingerprint_and_file(demo, rows):
    with StoreWriter.open(demo) as writer:
        with writer.store() as store:
            before = store.entry("images")
        with (
            writer.begin("ingest") as generation,
            generation.table("images", lineage={"data": "new"}) as out,
        ):
            # The same rows in other batches.
            for start in range(4):
                out.append(rows("images").slice(start, 1))
        with writer.store() as store:
            after = store.entry("images")
    assert after.fingerprint == before.fingerprint
    assert after.parts == before.parts
    assert after.lineage == {"data": "new"}
    assert not (demo / "gen/000003/images/part-00000.parquet").exists()


def test_a_rerun_heals_a_damaged_part(demo, rows):
    with Store.open(demo) as store:
        part = demo / store.entry("images").parts[0].path
    damaged = bytearray(part.read_bytes())
    damaged[20] ^= 1
    part.write_bytes(damaged)
    with StoreWriter.open(demo) as writer:
        with writer.begin("ingest") as generation:
            generation.write("images", rows("images"))
        with writer.store() as store:
            assert store.verify() == []


def test_fingerprint_follows_the_content():
    def fingerprint(table):
        import hashlib

        from feature_store.fingerprint import update_hash

        digest = hashlib.sha256()
        update_hash(digest, table)
        return digest.hexdigest()

    lists = pa.array([[1, 2], None, [], [3]], pa.list_(pa.int32()))
    table = pa.table(
        {
            "number": pa.array([1, None, 3, 4], pa.float32()),
            "half": pa.array(np.arange(4).astype(np.float16)),
            "text": ["a", None, "", "b"],
            "bytes": pa.array([b"a", b"", None, b"bc"], pa.binary()),
            "flag": [True, None, False, True],
            "list": lists,
        }
    )
    whole = fingerprint(table)
    longer = pa.concat_tables([table, table])
    assert fingerprint(longer.slice(4)) == whole
    assert fingerprint(longer.slice(2, 4)) != whole
    seen = {whole}
    for index, name in enumerate(table.column_names):
        # A value becoming null, and null becoming the neutral value, are both changes.
        for row in (0, 1, 2):
            values = table.column(name).to_pylist()
            values[row] = None if values[row] is not None else type(values[0])()
            changed = pa.array(values, table.column(name).type)
            seen.add(fingerprint(table.set_column(index, name, changed)))
    assert len(seen) == 1 + 3 * 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns("source"), "column 'source' is missing"),
        (lambda t: t.append_column("extra", t["image_id"]), "unknown column 'extra'"),
        (lambda t: t.append_column("image_id", t["image_id"]), "repeated column 'image_id'"),
        (
            lambda t: t.set_column(0, "image_id", t["image_id"].cast(pa.int64())),
            "'image_id' is int64, must be int32",
        ),
        (
            lambda t: t.set_column(0, "image_id", pa.array([0, None, 2, 3], pa.int32())),
            "'image_id' has no value in row 1",
        ),
        (
            lambda t: t.take([0, 2, 1, 3]),
            r"row 2 {'image_id': 1} must not follow {'image_id': 2}; sort by image_id",
        ),
        (lambda t: t.take([0, 1, 1, 3]), r"row 2 {'image_id': 1} repeats the key of"),
    ],
)
def test_rows_that_are_not_as_declared(demo, rows, change, message):
    with (
        StoreWriter.open(demo) as writer,
        pytest.raises(SchemaError, match=message),
        writer.begin("ingest") as generation,
    ):
        generation.write("images", change(rows("images")))


def test_order_is_checked_from_batch_to_batch(demo, rows):
    with StoreWriter.open(demo) as writer, writer.begin("ingest") as generation:
        out = generation.table("images")
        out.append(rows("images"))
        with pytest.raises(SchemaError, match=r"row 4 .* repeats the key"):
            out.append(rows("images").slice(3))
        out.discard()


def test_wide_tables_keep_one_width_and_type(demo):
    ids = np.arange(2, dtype=np.int32)
    half, full = np.zeros(2, np.float16), np.zeros(2, np.float32)
    with StoreWriter.open(demo) as writer, writer.begin("capture") as generation:
        generation.write(
            "activations/max/001", pa.table({"image_id": ids, "f0000": full, "f0001": full})
        )
        with pytest.raises(SchemaError, match=r"f0000\.\. are double, must be halffloat or float"):
            generation.write(
                "activations/max/002", pa.table({"image_id": ids, "f0000": full.astype(float)})
            )
        with pytest.raises(SchemaError, match="unknown column 'f0002'"):
            generation.write(
                "activations/max/003", pa.table({"image_id": ids, "f0000": half, "f0002": half})
            )
        with pytest.raises(SchemaError, match="no column 'f0000'"):
            generation.write("activations/max/004", pa.table({"image_id": ids}))
        out = generation.table("activations/max/005")
        out.append(pa.table({"image_id": ids, "f0000": half, "f0001": half}))
        with pytest.raises(SchemaError, match="'f0001' is missing"):
            out.append(pa.table({"image_id": ids + 2, "f0000": half}))
        out.discard()


def test_names_are_checked(demo, rows):
    with StoreWriter.open(demo) as writer, writer.begin("capture") as generation:
        for name in ("../classes", "classes/", "/classes", "activations/max/../x", "nothing"):
            with pytest.raises(UnknownTableError):
                generation.write(name, rows("classes"))
        for name in ("../x", "a/b", "", ".", "x y"):
            with pytest.raises(StoreError, match="cannot be a name"):
                generation.add_file(name, demo / "CURRENT")
            with pytest.raises(StoreError, match="cannot be a name"):
                writer.write_state(name, {})
        with pytest.raises(StoreError, match="is not a file"):
            generation.add_file("weights", demo)
        generation.write("classes", rows("classes"))
        with pytest.raises(StoreError, match="written twice"):
            generation.write("classes", rows("classes"))


def test_an_empty_table_needs_its_columns(demo, rows):
    with StoreWriter.open(demo) as writer:
        with writer.begin("paths") as generation:
            generation.write("paths/mean", rows("paths/mean").slice(0, 0))
            with pytest.raises(SchemaError, match="append at least an empty table"):
                generation.table("paths/balanced").finish()
        with writer.store() as store:
            assert store.sql("SELECT count(*) FROM paths__mean").fetchall() == [(0,)]
            assert not store.has("paths/balanced")


def test_tables_can_be_dropped(demo):
    with StoreWriter.open(demo) as writer:
        with writer.begin("capture") as generation:
            generation.drop_prefix("activations/")
            generation.drop("paths/paper")
            generation.drop("never/there")
        with writer.store() as store:
            assert store.tables == ("classes", "images", "predictions")


def test_one_part_file_for_each_first_layer(demo):
    name = "patterns/paper/pattern_images"
    first = np.repeat([0, 1, 4], [3, 5, 2]).astype(np.int16)
    position = np.concatenate([np.arange(3), np.arange(5), np.arange(2)]).astype(np.int32)
    table = pa.table({"first_layer": first, "position": position, "image_id": position})
    with StoreWriter.open(demo) as writer:
        with writer.begin("mine") as generation, generation.table(name) as out:
            out.append(table.slice(0, 5))
            out.append(table.slice(5))
        with writer.store() as store:
            assert [part.rows for part in store.entry(name).parts] == [3, 5, 2]
            query = "SELECT count(*) FROM patterns__paper__pattern_images WHERE first_layer = 1"
            assert store.sql(query).fetchall() == [(5,)]


def test_parquet_settings(tmp_path):
    """Row groups, compression and checksums are as measured; half floats can be read by DuckDB."""
    rng = np.random.default_rng(0)
    count = 70_000
    table = pa.table(
        {
            "image_id": np.arange(count, dtype=np.int32),
            "f0000": rng.random(count).astype(np.float16),
        }
    )
    with StoreWriter.open(tmp_path / "s") as writer:
        with writer.begin("capture") as generation, generation.table("activations/max/000") as out:
            for start in range(0, count, 9_999):
                out.append(table.slice(start, 9_999))
        with writer.store() as store:
            path = store.path / store.entry("activations/max/000").parts[0].path
            got = store.arrow("FROM activations__max__000")
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(i).num_rows for i in range(2)] == [65_536, 4_464]
    column = metadata.row_group(0).column(1)
    assert column.compression == "ZSTD"
    assert "BYTE_STREAM_SPLIT" not in column.encodings
    assert metadata.schema.to_arrow_schema().field("f0000").metadata[b"note"]
    np.testing.assert_array_equal(got["f0000"], table["f0000"].to_numpy().astype(np.float32))
    assert pq.read_table(path, page_checksum_verification=True).num_rows == count


def test_images_come_in_small_row_groups(demo, rows):
    with StoreWriter.open(demo) as writer:
        with writer.begin("ingest") as generation:
            generation.write("images", rows("images", 2_500))
        with writer.store() as store:
            metadata = pq.read_metadata(store.path / store.entry("images").parts[0].path)
    assert metadata.num_row_groups == 3
    encoded = metadata.row_group(0).column(metadata.schema.names.index("encoded"))
    assert encoded.statistics is None
    assert encoded.compression == "UNCOMPRESSED"


def test_streaming_needs_little_memory(tmp_path):
    """Ten row groups pass through the memory of about two."""
    width, batch = 64, 4_096
    values = np.random.default_rng(0).random(batch).astype(np.float16)
    columns = {f"f{index:04d}": values for index in range(width)}
    before = pa.total_allocated_bytes()
    most = 0
    with (
        StoreWriter.open(tmp_path / "s") as writer,
        writer.begin("capture") as generation,
        generation.table("activations/max/000") as out,
    ):
        for start in range(0, 10 * 65_536, batch):
            ids = np.arange(start, start + batch, dtype=np.int32)
            out.append(pa.table({"image_id": ids, **columns}))
            most = max(most, pa.total_allocated_bytes() - before)
    group = 65_536 * (width * 2 + 4)
    assert most < 3 * group


def test_old_generations_go_after_their_grace(commit):
    root = commit("images", "classes", value=0)
    for value in range(1, 6):
        commit("images", value=value)
    assert len(list((root / "gen").iterdir())) == 6, "readers may still hold them for a day"
    commit("images", value=6, grace_seconds=0)
    left = sorted(path.name for path in (root / "gen").iterdir())
    # 000001 stays, because the classes are still in it.
    assert left == ["000001", "000006", "000007"]
    assert files(root / "gen/000001") == ["classes/part-00000.parquet"]
    with Store.open(root) as store:
        assert store.verify() == []
        assert len(store.class_names) == 4


def test_a_clock_set_back_removes_nothing(commit):
    root = commit("images", value=0)
    for value in range(1, 4):
        commit("images", value=value)
    future = time.time() + 1e6
    for manifest in root.glob("gen/*/MANIFEST.json"):
        os.utime(manifest, (future, future))
    commit("images", value=4)
    assert len(list((root / "gen").iterdir())) == 5


def test_the_next_writer_sweeps_what_a_killed_one_left(demo):
    (demo / "gen/000003/images").mkdir(parents=True)
    (demo / "gen/000003/images/part-00000.parquet").write_bytes(b"half")
    (demo / "gen/000002/.MANIFEST.json.tmp-99999").write_bytes(b"half")
    shard = demo / "state/shards/capture/abc/.000.json.tmp-1"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"half")
    with StoreWriter.open(demo):
        pass
    assert not (demo / "gen/000003").exists()
    assert not shard.exists()
    assert not [path for path in files(demo) if ".tmp-" in path]


def test_state_depends_on_its_content_alone(demo):
    with StoreWriter.open(demo) as writer:
        path = writer.write_state("capture", {"b": 1, "a": writer.fingerprints(["images"])})
        before = path.stat().st_mtime_ns, path.read_bytes()
        writer.write_state("capture", {"a": writer.fingerprints(["images"]), "b": 1})
        assert (path.stat().st_mtime_ns, path.read_bytes()) == before
        assert path == demo / "state/capture.json"
        with pytest.raises(StoreError, match="does not hold paths/mean"):
            writer.fingerprints(["images", "paths/mean"])


def test_a_full_disk_says_what_is_needed_and_free(demo, rows, monkeypatch):
    import errno

    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill(writer):
        with writer.begin("ingest") as generation:
            monkeypatch.setattr(os, "write", full)
            generation.write("images", rows("images", value=1))

    message = r"[\d,]+ more bytes are needed, [\d,]+ bytes are free"
    with StoreWriter.open(demo) as writer:
        with pytest.raises(DiskFullError, match=message):
            fill(writer)
        monkeypatch.undo()
    assert not [path for path in files(demo) if ".tmp-" in path]
    with Store.open(demo) as store:
        assert store.verify() == []


def test_every_declared_table_can_be_written(tmp_path):
    """Empty tables of every kind make a store whose views all answer."""
    names = [
        "classes",
        "images",
        "layers",
        "predictions",
        "scores",
        "activations/max/000",
        "activations/mean/012",
        "top_images",
        "embeddings",
        "filter_statistics",
        "paths/balanced",
        "projections",
        "sweeps",
        "smallest_flips",
        "simulation",
        "calibration",
        "patterns/balanced/patterns",
        "patterns/balanced/pattern_images",
        "patterns/balanced/image_patterns",
        "patterns/balanced/pattern_items",
    ]
    with StoreWriter.open(tmp_path / "s") as writer:
        with writer.begin("ingest") as generation:
            for name in names:
                generation.write(name, schema(name, width=3).empty_table())
        with writer.store() as store:
            assert sorted(store.tables) == sorted(names)
            for name in names:
                columns = [column[0] for column in store.table(name).description]
                assert columns == find_table(name).schema(3).names
