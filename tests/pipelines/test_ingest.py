"""Loaders and the rows they give, bad images among them."""

import io
import json
import os
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from feature_store import Store, StoreWriter
from pipelines import digits, tables  # noqa: F401 - register their loaders
from pipelines.errors import DataError
from pipelines.loaders import LOADERS, encode_png, find_loader, loader
from pipelines.project import DatasetSection, Project
from vatun.errors import UnknownNameError
from vatun.preprocess import decode_image, pixel_key


def png(value, side=32):
    return encode_png(np.full((side, side, 3), value, dtype=np.uint8))


def walk(**settings):
    section = DatasetSection(**settings)
    listing = find_loader(section.source)(section, 0)
    records = list(listing.records)
    assert len(records) == listing.total
    return listing.classes, records


def test_loaders_are_registered_once_and_found_by_name():
    # A benchmark may have registered one of its own in this process.
    ours = {name for name, found in LOADERS.items() if found.__module__.startswith("pipelines.")}
    assert ours == {"digits", "parquet", "image_folder", "table", "torchvision"}
    with pytest.raises(UnknownNameError, match="known: digits, image_folder, parquet"):
        find_loader("folder")
    with pytest.raises(ValueError, match="already registered"):
        loader(digits.digits)


def test_digits_follow_the_colored_mnist_protocol():
    strokes, labels, is_test = digits.read_digits(7)
    assert (len(labels), int(is_test.sum())) == (1797, 500)
    hues = digits.background_hues(labels, is_test, bias=0.9, seed=7)
    agrees = np.rint(hues * 10).astype(int) % 10 == labels
    assert abs(agrees[~is_test].mean() - 0.9) < 0.02
    assert abs(agrees[is_test].mean() - 0.1) < 0.04
    drawn = digits.draw(strokes[0], hues[0])
    assert (drawn.shape, drawn.dtype) == ((32, 32, 3), np.uint8)


def test_digits_are_the_same_every_time():
    first, second = walk(source="digits"), walk(source="digits")
    assert first == second
    assert [record.split for record in first[1]] == ["train"] * 1297 + ["test"] * 500


def test_parquet_reads_names_from_the_metadata_and_any_order_of_columns(tmp_path):
    names = {"info": {"features": {"label": {"names": ["cat", "dog"]}}}}
    for split, values in (("train", [0, 1, None]), ("test", [1])):
        images = [{"bytes": png(10 * i), "path": f"{split}/{i}.png"} for i in range(len(values))]
        table = pa.table({"label": pa.array(values, pa.int64()), "img": images})
        table = table.replace_schema_metadata({"huggingface": json.dumps(names)})
        pq.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    classes, records = walk(source="parquet", path=tmp_path)
    assert classes == ("cat", "dog")
    assert [record.label for record in records] == [0, 1, None, 1]
    assert [record.split for record in records] == ["train"] * 3 + ["test"]
    assert records[0].source == "train/0.png"


def test_parquet_without_names_takes_the_labels_themselves(tmp_path):
    table = pa.table({"picture": [png(0), png(1)], "kind": ["b", "a"]})
    pq.write_table(table, tmp_path / "all.parquet")
    columns = {"image": "picture", "label": "kind"}
    classes, records = walk(source="parquet", path=tmp_path, splits=("all",), columns=columns)
    assert (classes, [record.label for record in records]) == (("a", "b"), [1, 0])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": "img"}, "has no column 'img'; its columns: image, label"),
        ({"picture": "image"}, "known: image, label, split"),
    ],
)
def test_parquet_names_what_is_missing(tmp_path, columns, message):
    pq.write_table(pa.table({"image": [png(0)] * 2, "label": [0, 1]}), tmp_path / "all.parquet")
    with pytest.raises(DataError, match=message):
        walk(source="parquet", path=tmp_path, splits=("all",), columns=columns)
    with pytest.raises(DataError, match=r"has none of val\.parquet"):
        walk(source="parquet", path=tmp_path, splits=("val",))
    (tmp_path / "junk.parquet").write_bytes(b"PAR1junk")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        walk(source="parquet", path=tmp_path, splits=("junk",))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_table_of_paths(tmp_path, kind):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png(3))
    table = pa.table({
        "path": ["a.png", "b.png", "gone.png"], "label": ["x", "y", ""],
        "part": ["train", "test", "test"],
    })  # fmt: skip
    path = tmp_path / f"list.{kind}"
    if kind == "csv":
        pa.csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    classes, records = walk(source="table", path=path, columns={"split": "part"})
    assert classes == ("x", "y")
    assert [(r.split, r.label, r.file.name) for r in records] == [
        ("train", 0, "a.png"), ("test", 1, "b.png"), ("test", None, "gone.png"),
    ]  # fmt: skip
    with pytest.raises(DataError, match='columns needs split = "NAME"'):
        walk(source="table", path=path)


def test_image_folder_with_and_without_splits(tmp_path):
    for split in ("train", "test"):
        for name in ("b", "a"):
            target = tmp_path / split / name / "1.png"
            target.parent.mkdir(parents=True)
            target.write_bytes(png(1))
    (tmp_path / "train" / "a" / "notes.txt").write_text("not an image")
    classes, records = walk(source="image_folder", path=tmp_path)
    assert classes == ("a", "b")
    assert [r.source for r in records] == [
        "train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png",
    ]  # fmt: skip
    classes, records = walk(source="image_folder", path=tmp_path / "train", splits=("all",))
    assert [(r.split, r.label) for r in records] == [("all", 0), ("all", 1)]
    with pytest.raises(DataError, match=r'for class folders alone: splits = \["all"\]'):
        walk(source="image_folder", path=tmp_path / "train")
    with pytest.raises(DataError, match="no folder for the split 'val'"):
        walk(source="image_folder", path=tmp_path, splits=("train", "val"))


def test_torchvision_downloads_nothing_unasked(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="download = true lets it"):
        walk(source="torchvision", name="CIFAR10", path=tmp_path)
    with pytest.raises(DataError, match="needs name"):
        walk(source="torchvision", name="NoSuchSet", path=tmp_path)

    class Small(list):
        classes = ("even", "odd")

        def __init__(self, *, root, train, download):
            assert (root, download) == (str(tmp_path), False)
            super().__init__((Image.new("L", (9, 8), i), i % 2) for i in range(3 if train else 1))

    from torchvision import datasets

    monkeypatch.setattr(datasets, "Small", Small, raising=False)
    classes, records = walk(source="torchvision", name="Small", path=tmp_path)
    assert classes == ("even", "odd")
    assert [(r.split, r.label) for r in records] == [
        ("train", 0), ("train", 1), ("train", 0), ("test", 0),
    ]  # fmt: skip
    assert decode_image(records[0].encoded).shape == (8, 9, 3)


@pytest.fixture
def ingested(workshop, tmp_path):
    """Return a function that ingests a tiny project after a change of its images."""

    def ingest(change, count=300, changes=()):
        project = workshop.make(tmp_path, count=count, changes=changes)
        change(tmp_path / "data")
        return project, workshop.run(project, "ingest")

    return ingest


def test_bad_images_become_rows_that_say_why(ingested, tmp_path):
    def spoil(data):
        (data / "red" / "0000.png").write_bytes(b"not an image")
        cut = (data / "green" / "0001.png").read_bytes()
        (data / "green" / "0001.png").write_bytes(cut[: len(cut) // 2])
        huge = Image.new("1", (9000, 9000))
        huge.save(data / "blue" / "0002.png")
        (data / "red" / "dangling.png").symlink_to("none.png")
        os.mkfifo(data / "red" / "pipe.png")
        with (data / "red" / "sparse.png").open("wb") as file:
            file.truncate(1 << 40)
        (data / "red" / os.fsdecode(b"caf\xe9.png")).write_bytes(png(9))

    project, done = ingested(spoil, count=600)
    assert done.returncode == 0, done.stderr
    with Store.open(Project.load(project).store) as store:
        rows = store.arrow("select * from images where status != 'ok'").to_pylist()
        assert {row["source"]: row["status"] for row in rows} == {
            "red/0000.png": "undecodable",
            "green/0001.png": "undecodable",
            "blue/0002.png": "too_large",
            "red/dangling.png": "missing",
            "red/pipe.png": "undecodable",
            "red/sparse.png": "too_large",
        }
        assert all(row["message"] and row["image_key"] is None for row in rows)
        assert store.info["dataset"]["status_counts"] == {
            "ok": 598,
            "undecodable": 3,
            "too_large": 2,
            "missing": 1,
        }
        names = store.arrow("select source from images where source like 'red/caf%'")
        assert names["source"].to_pylist() == ["red/caf\ufffd.png"]
        good = store.arrow("select * from images where source = 'blue/0005.png'").to_pylist()[0]
    pixels = decode_image((tmp_path / "data" / "blue" / "0005.png").read_bytes())
    assert good["image_key"] == pixel_key(pixels)
    assert good["encoded"] == (tmp_path / "data" / "blue" / "0005.png").read_bytes()
    assert (good["width"], good["height"], good["true_class"]) == (32, 32, 0)


def test_more_than_one_percent_of_bad_images_stop_the_run(ingested):
    def spoil(data):
        for file in sorted((data / "red").iterdir())[:6]:
            file.write_bytes(b"")

    project, done = ingested(spoil)
    assert done.returncode == 2
    assert "6 of 300 images cannot be used (undecodable 6), more than 1%" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (Project.load(project).store / "state" / "ingest.json").exists()


def test_duplicates_and_the_mean_colour_are_counted(ingested, tmp_path):
    def copy(data):
        (data / "red" / "9999.png").write_bytes((data / "red" / "0000.png").read_bytes())

    project, done = ingested(copy, count=60)
    assert done.returncode == 0, done.stderr
    with Store.open(Project.load(project).store) as store:
        dataset = store.info["dataset"]
    assert dataset["duplicates"]["within_splits"] == 1
    assert dataset["duplicates"]["across_splits"] == 0
    means = [
        np.asarray(Image.open(io.BytesIO(file.read_bytes()))).mean(axis=(0, 1)) / 255
        for file in (tmp_path / "data").rglob("*.png")
    ]
    np.testing.assert_allclose(dataset["pixel_mean"], np.mean(means, axis=0), atol=1e-5)


def test_images_may_be_stored_at_the_size_of_the_input_or_not_at_all(ingested, workshop, tmp_path):
    changes = (("splits", 'store_images = "input"\nsplits'), ("resize = 32", "resize = 16"))
    project, done = ingested(lambda data: None, count=30, changes=changes)
    assert done.returncode == 0, done.stderr
    with Store.open(Project.load(project).store) as store:
        row = store.arrow("select encoded, width from images limit 1").to_pylist()[0]
    assert decode_image(row["encoded"]).shape == (16, 16, 3)
    assert row["width"] == 32
    project.write_text(project.read_text().replace('"input"', '"path"'))
    assert workshop.run(project, "ingest").returncode == 0
    with Store.open(Project.load(project).store) as store:
        row = store.arrow("select encoded, source from images limit 1").to_pylist()[0]
        assert store.info["dataset"]["folder"] == str(tmp_path / "data")
    assert row == {"encoded": None, "source": "blue/0002.png"}


def test_a_busy_store_is_waited_for_and_its_holder_named(workshop, tmp_path):
    project = workshop.make(tmp_path, count=6)
    with StoreWriter.open(Project.load(project).store):
        waiting = workshop.start(project, "ingest")
        line = SimpleNamespace(text="")
        while "waiting" not in line.text:
            line.text = waiting.stderr.readline()
            assert line.text
        assert waiting.poll() is None
    assert waiting.wait(timeout=60) == 0
    waiting.stdout.close()
    waiting.stderr.close()
