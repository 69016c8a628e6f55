"""A reader sees one generation, whole, and says what is missing and what to run."""

from __future__ import annotations

import concurrent.futures
import json

import pyarrow as pa
import pytest

import feature_store.store
import feature_store.tables
from feature_store import (
    Store,
    StoreClosedError,
    StoreCorruptError,
    StoreNotFoundError,
    StoreVersionError,
    StoreWriter,
    TableMissingError,
    UnknownTableError,
)
from feature_store.declare import Column, Table
from feature_store.manifest import current_bytes
from feature_store.verify import verify_store


def rewrite_manifest(root, change) -> None:
    """Change the manifest by hand and sign it again, as another program might."""
    number = int((root / "CURRENT").read_text().split()[0].removeprefix("gen/"))
    path = root / f"gen/{number:06d}/MANIFEST.json"
    data = json.loads(path.read_text())
    change(data)
    content = json.dumps(data).encode()
    path.write_bytes(content)
    (root / "CURRENT").write_bytes(current_bytes(number, content))


def test_tables_answer_by_name_and_by_sql(demo):
    with Store.open(demo) as store:
        assert store.name == "demo"
        assert store.path == demo
        assert store.generation == 2
        assert store.tables == (
            "activations/max/000",
            "classes",
            "images",
            "paths/paper",
            "predictions",
        )
        assert store.has("paths/paper")
        assert not store.has("paths/balanced")
        assert store.class_names == ("class 0", "class 1", "class 2", "class 3")
        assert store.table("paths/paper").fetchall() == [(i, i, i) for i in range(4)]
        query = "SELECT image_id, f0000 FROM activations__max__000 WHERE image_id >= ?"
        assert store.sql(query, 2).fetchall() == [(2, 2.0), (3, 3.0)]
        assert store.arrow(query, 3).to_pylist() == [{"image_id": 3, "f0000": 3.0}]
        assert list(store.sql("FROM images LIMIT 1").df()["source"]) == ["0.png"]
        assert store.file("weights").read_bytes() == bytes(range(256)) * 20


def test_columns_left_out_are_null(demo):
    with Store.open(demo) as store:
        assert store.sql("SELECT DISTINCT margin, loss FROM predictions").fetchall() == [
            (None, None)
        ]


def test_missing_table_names_the_command(demo):
    with Store.open(demo) as store:
        with pytest.raises(TableMissingError, match=r"run `doit mine:demo`"):
            store.table("patterns/paper/patterns")
        with pytest.raises(LookupError, match="no table is called 'pathz/paper'; known: classes"):
            store.table("pathz/paper")
        with pytest.raises(UnknownTableError):
            store.table("../paths/paper")
        with pytest.raises(TableMissingError, match="no file 'model'; its files: weights"):
            store.file("model")


def test_no_store_says_how_to_build_one(tmp_path):
    with pytest.raises(StoreNotFoundError, match="build one with `doit store:nothing`"):
        Store.open(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError):
        Store.open(tmp_path / "file")


def test_a_closed_store_says_so(demo):
    store = Store.open(demo)
    relation = store.table("images")
    store.close()
    store.close()
    with pytest.raises(StoreClosedError, match="closed"):
        store.sql("SELECT 1")
    with pytest.raises(Exception, match="closed"):
        relation.fetchall()


def test_opening_writes_nothing(demo):
    def state():
        return {path: path.stat().st_mtime_ns for path in demo.rglob("*")}

    before = state()
    with Store.open(demo) as store:
        store.verify()
        store.describe()
        store.table("images").df()
    assert state() == before


def test_a_reader_keeps_its_generation(commit):
    root = commit("images", value=1, info={"turn": 1})
    with Store.open(root) as old:
        assert old.newer_generation() is None
        commit("images", value=2, info={"turn": 2})
        assert old.newer_generation() == 2
        assert old.info["turn"] == 1
        assert old.sql("SELECT DISTINCT encoded FROM images").fetchall() == [(b"\x01" * 10,)]
        with Store.open(root) as new:
            assert new.info["turn"] == 2
            assert new.sql("SELECT DISTINCT encoded FROM images").fetchall() == [(b"\x02" * 10,)]


def test_threads_share_a_store(demo):
    query = "SELECT sum(image_id) FROM images WHERE image_id < ?"
    with Store.open(demo) as store, concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [index % 5 for index in range(200)]
        got = pool.map(lambda limit: store.sql(query, limit).fetchall()[0][0], asked)
        assert list(got) == [sum(range(limit)) if limit else None for limit in asked]


def test_info_is_plain_data_about_everything(demo):
    with Store.open(demo) as store:
        info = store.describe()
    json.dumps(info)
    assert info["tables"]["images"]["rows"] == 4
    assert info["bytes"] == sum(
        entry["bytes"] for kind in ("tables", "files") for entry in info[kind].values()
    )
    assert info["accuracy"] == {
        "test": {"n": 2, "n_labelled": 2, "accuracy": 1.0},
        "train": {"n": 2, "n_labelled": 2, "accuracy": 0.0},
    }
    assert info["schema_version"] == "1.0"
    assert info["stale"] == {}


def test_stale_tables_are_named(commit, rows):
    root = commit("predictions", "activations/max/000", lineage={"weights": "a" * 64})
    with StoreWriter.open(root) as writer:
        with writer.begin("paths") as generation:
            generation.write("paths/paper", rows("paths/paper"), lineage={"weights": "a" * 64})
        with writer.begin("capture") as generation:
            for name in ("predictions", "activations/max/000"):
                generation.write(name, rows(name, value=1), lineage={"weights": "b" * 64})
    with Store.open(root) as store:
        stale = store.stale_tables()
    assert list(stale) == ["paths/paper"]
    assert stale["paths/paper"] == (
        "made from weights aaaaaaaaaaaa, but activations/max/000 now has bbbbbbbbbbbb; "
        "run `doit paths:demo`"
    )


def test_a_table_made_from_an_older_table_is_stale(commit, rows):
    root = commit("images")
    with StoreWriter.open(root) as writer:
        lineage = writer.fingerprints(["images"])
        with writer.begin("capture") as generation:
            generation.write("predictions", rows("predictions"), lineage=lineage)
        with writer.store() as store:
            assert store.stale_tables() == {}
        with writer.begin("paths") as generation:
            lineage = writer.fingerprints(["predictions"])
            generation.write("paths/paper", rows("paths/paper"), lineage=lineage)
        with writer.begin("ingest") as generation:
            generation.write("images", rows("images", value=9))
        with writer.store() as store:
            stale = store.stale_tables()
        assert sorted(stale) == ["paths/paper", "predictions"]
        assert "run `doit capture:demo`" in stale["predictions"]
        assert stale["paths/paper"].startswith("made from predictions, which is out of date")


def test_newer_major_version_is_refused(demo):
    rewrite_manifest(demo, lambda data: data.update(schema_version="2.3"))
    with pytest.raises(StoreVersionError, match=r"schema 2\.3.*reads 1\.0"):
        Store.open(demo)


def test_newer_minor_version_is_read(demo):
    rewrite_manifest(demo, lambda data: data.update(schema_version="1.9"))
    with Store.open(demo) as store:
        assert store.class_names[0] == "class 0"


def test_older_minor_version_is_filled_with_defaults(demo, monkeypatch):
    tables = dict(feature_store.tables.TABLES)
    old = tables["classes"]
    added = (
        Column(name="weight", type=pa.float32(), note="", since="1.2", default=1.5),
        Column(name="colour", type=pa.string(), note="", since="1.2"),
    )
    values = {**vars(old), "columns": (*old.columns, *added)}
    tables["classes"] = Table(**values)
    monkeypatch.setattr(feature_store.tables, "TABLES", tables)
    monkeypatch.setattr(feature_store.store, "SCHEMA_VERSION", "1.2")
    with Store.open(demo) as store:
        rows = store.sql("SELECT weight, colour FROM classes").fetchall()
    assert rows == [(1.5, None)] * 4


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "gen/../../x", "a\\..\\b", "state/x"]
)
def test_paths_that_leave_the_store_are_refused(demo, path):
    def change(data):
        data["tables"]["images"]["parts"][0]["path"] = path

    rewrite_manifest(demo, change)
    with pytest.raises(StoreCorruptError, match="leaves the store"):
        Store.open(demo)


def test_a_link_out_of_the_store_is_refused(demo, tmp_path):
    with Store.open(demo) as store:
        part = demo / store.entry("images").parts[0].path
    outside = tmp_path / "outside.parquet"
    part.rename(outside)
    part.symlink_to(outside)
    with pytest.raises(StoreCorruptError, match="link that leaves the store"):
        Store.open(demo)


@pytest.mark.parametrize("letters", ["we ird'", "[x]*?", 'quo"te', "ünïcode"])
def test_any_folder_name_works(tmp_path, rows, letters):
    root = tmp_path / letters
    with StoreWriter.open(root) as writer, writer.begin("ingest") as generation:
        generation.write("classes", rows("classes"))
    with Store.open(root) as store:
        assert len(store.class_names) == 4
        assert store.verify() == []


@pytest.mark.parametrize(
    "content", [b"", b"gen/000002", b"gen/000002 \n", b"\x00" * 80, b"gen/2 " + b"a" * 64 + b"\n"]
)
def test_torn_current(demo, content):
    (demo / "CURRENT").write_bytes(content)
    with pytest.raises(StoreCorruptError, match="CURRENT is damaged"):
        Store.open(demo)


def test_current_of_a_deleted_generation(demo):
    (demo / "CURRENT").write_bytes(b"gen/000077 " + b"a" * 64 + b"\n")
    with pytest.raises(StoreCorruptError, match=r"000077/MANIFEST\.json cannot be read"):
        Store.open(demo)


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 1},
        {"schema_version": "0.x"},
        {"info": {"model": "vgg16"}},
        {"files": {"weights": {"path": "gen/a\0b", "bytes": 1, "sha256": ""}}},
        {"files": {"weights": {"path": "gen/\ud800", "bytes": 1, "sha256": ""}}},
    ],
)
def test_a_manifest_of_other_types_is_damaged(demo, change):
    rewrite_manifest(demo, lambda data: data.update(change))
    with pytest.raises(StoreCorruptError, match="damaged"):
        Store.open(demo)
    assert len(verify_store(demo)) == 1


def test_current_that_is_a_folder(demo):
    (demo / "CURRENT").unlink()
    (demo / "CURRENT").mkdir()
    with pytest.raises(StoreCorruptError, match="CURRENT cannot be read"):
        Store.open(demo)
    assert [problem.path for problem in verify_store(demo)] == ["CURRENT"]


def test_what_is_no_name_is_no_table(demo):
    with Store.open(demo) as store:
        for name in (None, [], 3):
            with pytest.raises(TableMissingError):
                store.table(name)
