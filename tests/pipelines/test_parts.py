"""Parts of the stages that are functions of arrays."""

import os

import numpy as np
import pyarrow as pa
import pytest
import torch

from feature_store import Shards, Store
from pipelines import capture, lanes
from pipelines.checkpoint import Checkpoint
from pipelines.errors import StageError
from pipelines.inputs import Batch, prefetch
from pipelines.packing import group_by_bytes, pack, unpack
from pipelines.project import EmbedSection, Project
from pipelines.projections import PROJECTIONS, curve_order, find_projection
from pipelines.results import Prediction, prediction_table, to_half, wide_table
from pipelines.stage import describe_files
from pipelines.top import KEEP, TopImages
from pipelines.train import Data, Trainer, augment, one_cycle
from vatun.errors import UnknownNameError


def test_packed_arrays_come_back():
    generator = np.random.default_rng(0)
    for kind in (np.float16, np.float32):
        values = generator.normal(size=(7, 5)).astype(kind)
        column = pa.chunked_array([pack(values)]).slice(2, 4)
        assert unpack(column, 5).dtype == kind
        np.testing.assert_array_equal(unpack(column, 5), values[2:6])
    both = pa.chunked_array([pack(values[:3]), pack(values[3:])])
    np.testing.assert_array_equal(unpack(both, 5), values)
    assert list(group_by_bytes({"a": 3, "b": 3, "c": 9, "d": 1}, limit=6)) == [
        ["a", "b"],
        ["c"],
        ["d"],
    ]


def test_a_prediction_that_is_not_finite_is_never_an_argmax():
    logits = np.array([[0, 2, 1], [0, np.nan, 1], [np.inf, 0, 0]], dtype=np.float32)
    prediction = Prediction.of(logits)
    rows = prediction_table(
        np.arange(3, dtype=np.int32), np.array([1, 1, -1]), prediction
    ).to_pylist()
    assert [row["status"] for row in rows] == ["ok", "not_finite", "not_finite"]
    assert [row["predicted_class"] for row in rows] == [1, None, None]
    assert [row["is_correct"] for row in rows] == [True, None, None]
    assert rows[0]["confidence"] == pytest.approx(torch.softmax(torch.tensor([0.0, 2, 1]), 0)[1])
    assert rows[0]["loss"] == pytest.approx(-np.log(rows[0]["confidence"]), rel=1e-5)
    table = wide_table(
        "scores", np.arange(3, dtype=np.int32), prediction.scores, is_usable=prediction.is_finite
    )
    assert table["c0001"].null_count == 2


def test_what_float16_cannot_hold_stays_in_float32():
    assert to_half(np.array([[1.0, 65504.0]], dtype=np.float32)).dtype == np.float16
    assert to_half(np.array([[1.0, 70000.0]], dtype=np.float32)).dtype == np.float32
    assert to_half(np.array([[1.0, np.inf]], dtype=np.float32)).dtype == np.float16
    # Every pattern of bits that float16 can be asked for: ties, subnormal numbers, both zeros.
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    exact = halves[np.isfinite(halves)].astype(np.float32)
    values = np.concatenate([exact, (exact[:-1] + exact[1:]) / 2])[None]
    np.testing.assert_array_equal(
        to_half(values).view(np.uint16), values.astype(np.float16).view(np.uint16)
    )


@pytest.mark.parametrize("shard", [40, 64, 1000])
def test_top_images_do_not_depend_on_the_shards(shard):
    generator = np.random.default_rng(1)
    # Few distinct values: ties are the rule.
    values = generator.integers(0, 40, (300, 6)).astype(np.float16)
    values[:, 5] = 0
    peaks = generator.integers(0, 12, (300, 6)).astype(np.int32)
    splits = np.array(["train", "test", "train"] * 100)
    ids = np.arange(300, dtype=np.int32)
    merged = TopImages([6], ["test", "train"])
    for start in range(0, 300, shard):
        part = slice(start, start + shard)
        mine = TopImages([6], ["test", "train"])
        for split in ("test", "train"):
            chosen = splits[part] == split
            mine.add(0, split, values[part][chosen], ids[part][chosen], peaks[part][chosen])
        merged.merge(pa.concat_tables(mine.candidates()))
    rows = next(merged.tables({0: 4})).to_pylist()
    for filter_index in range(6):
        for split in ("test", "train"):
            chosen = [i for i in ids if splits[i] == split and values[i, filter_index] != 0]
            chosen.sort(key=lambda i: (-values[i, filter_index], i))
            found = [
                row for row in rows if (row["filter_index"], row["split"]) == (filter_index, split)
            ]
            assert [row["image_id"] for row in found] == chosen[:KEEP]
            assert [row["rank"] for row in found] == list(range(1, len(found) + 1))
            for row in found:
                peak = peaks[row["image_id"], filter_index]
                assert (row["peak_row"], row["peak_column"]) == divmod(peak, 4)


def batch_of(count):
    return Batch(
        image_ids=np.arange(count, dtype=np.int32),
        labels=np.zeros(count, dtype=np.int64),
        pixels=np.zeros((count, 3, 2, 2), dtype=np.uint8),
        sources=[""] * count,
    )


@pytest.mark.parametrize("room", [1, 5, 64])
def test_a_batch_is_halved_when_memory_runs_out(room):
    sizes = []

    def work(batch):
        if len(batch) > room:
            raise torch.OutOfMemoryError
        sizes.append(len(batch))
        return batch.image_ids

    results = lanes.halving(work, batch_of(64))
    np.testing.assert_array_equal(np.concatenate(results), np.arange(64))
    assert max(sizes) <= room


def test_a_single_image_that_does_not_fit_ends_the_stage():
    def work(batch):
        raise torch.OutOfMemoryError

    with pytest.raises(StageError, match="not even one image"):
        lanes.halving(work, batch_of(4))


def test_shards_are_ranges_of_ids_whatever_is_missing():
    ids = np.array([0, 1, 5, 9, 10, 30], dtype=np.int32)
    images = capture.Images(ids=ids, labels=ids, splits=ids)
    shards = images.shards(10)
    assert [key for key, _ in shards] == [
        "images-000000000", "images-000000010", "images-000000030",
    ]  # fmt: skip
    assert [part.tolist() for _, part in shards] == [[0, 1, 2, 3], [4], [5]]


def test_the_batch_size_does_not_change_the_store(workshop, tmp_path):
    contents = []
    for size in (7, 60):
        changes = (("[embed]", f"[capture]\nbatch_size = {size}\n[embed]"),)
        project = workshop.make(tmp_path / str(size), changes=changes)
        workshop.build(project, "ingest", "capture")
        with Store.open(Project.load(project).store) as store:
            scores = store.arrow("select * exclude image_id from scores order by image_id")
            values = store.arrow("select * from activations__mean__004 order by image_id")
            contents.append(
                [
                    np.stack([column.to_numpy() for column in table.columns])
                    for table in (scores, values)
                ]
            )
    np.testing.assert_allclose(contents[0][0], contents[1][0], atol=1e-5)
    np.testing.assert_allclose(contents[0][1], contents[1][1], atol=2e-3)


def test_prefetch_keeps_order_passes_errors_on_and_stops():
    def numbers():
        yield from range(5)
        raise KeyError("here")

    walker = prefetch(numbers(), ahead=2)
    assert [next(walker) for _ in range(5)] == list(range(5))
    with pytest.raises(KeyError, match="here"):
        next(walker)
    endless = prefetch(iter(int, 1), ahead=2)
    assert next(endless) == 0
    endless.close()


def test_one_cycle_rises_for_a_fifth_and_falls_to_nothing():
    rates = [one_cycle(step / 100, peak=0.1) for step in range(100)]
    assert max(rates) == pytest.approx(0.1, rel=1e-3)
    assert rates.index(max(rates)) == 20
    assert rates[-1] < 1e-3


def test_augmenting_moves_mirrors_and_cuts_but_keeps_the_images():
    images = torch.arange(3 * 32 * 32, dtype=torch.int64).remainder(251).to(torch.uint8)
    images = images.view(1, 3, 32, 32).repeat(64, 1, 1, 1)
    before = images.clone()

    def changed(*kinds):
        return augment(images, kinds, torch.Generator().manual_seed(1))

    assert torch.equal(changed(), images)
    flipped = changed("flip")
    is_flipped = (flipped == images.flip(3)).flatten(1).all(1)
    assert 16 < int(is_flipped.sum()) < 48
    assert torch.equal(flipped[~is_flipped], images[~is_flipped])
    cut = changed("cutout")
    assert 0 < float((cut != images).float().mean()) < 0.07
    cropped = changed("crop")
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    shifts = {
        (i, j)
        for i in range(9)
        for j in range(9)
        if torch.equal(padded[0, :, i : i + 32, j : j + 32], cropped[0])
    }
    assert shifts
    assert torch.equal(images, before)
    assert torch.equal(changed("crop", "flip", "cutout"), changed("crop", "flip", "cutout"))


def test_a_checkpoint_goes_on_where_it_stopped_and_runs_no_code(tmp_path):
    def fresh():
        torch.manual_seed(0)
        module = torch.nn.Linear(3, 2)
        return module, torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)

    module, optimiser = fresh()
    module(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    checkpoint = Checkpoint(tmp_path / "c.pt", "key")
    assert checkpoint.load(*fresh()) == 0
    checkpoint.save(module, optimiser, 4)
    other, other_optimiser = fresh()
    assert checkpoint.load(other, other_optimiser) == 4
    assert torch.equal(other.weight, module.weight)
    assert Checkpoint(tmp_path / "c.pt", "another").load(*fresh()) == 0
    marker = tmp_path / "marker"

    class Evil:
        def __reduce__(self):
            return (marker.write_text, ("ran",))

    torch.save({"key": "key", "epochs": 1, "module": Evil()}, tmp_path / "c.pt")
    assert checkpoint.load(*fresh()) == 0
    assert not marker.exists()


def test_interrupted_training_ends_with_the_same_weights(workshop, tmp_path):
    changes = (("[embed]", "[train]\nepochs = 3\nbatch_size = 16\naugment = ['flip']\n[embed]"),)
    project = Project.load(workshop.make(tmp_path, changes=changes))
    generator = torch.Generator().manual_seed(0)
    data = Data(
        pixels=torch.randint(256, (48, 3, 32, 32), generator=generator, dtype=torch.uint8),
        labels=torch.randint(3, (48,), generator=generator),
    )
    trainer = Trainer(project=project, recipe=project.train, classes=3, device=torch.device("cpu"))

    class Stopping(Checkpoint):
        def save(self, module, optimiser, epochs):
            super().save(module, optimiser, epochs)
            if epochs == 1:
                raise KeyboardInterrupt

    straight = trainer.fit(data, Checkpoint(tmp_path / "straight.pt", "key"))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(data, Stopping(tmp_path / "stopped.pt", "key"))
    resumed = trainer.fit(data, Checkpoint(tmp_path / "stopped.pt", "key"))
    for one, other in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_projections_are_deterministic_and_found_by_name():
    assert set(PROJECTIONS) == {"tsne", "pca", "umap"}
    with pytest.raises(UnknownNameError, match="known: tsne, pca, umap"):
        find_projection("lda")
    values = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    section = EmbedSection(jobs=1)
    first, second = (find_projection("pca")(values, section, 1) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (40, 2)


def test_the_curve_passes_every_point_of_a_grid_once_and_never_jumps():
    side = 16
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
    points = grid.astype(np.float32)
    order = curve_order(points)
    assert sorted(order) == list(range(side * side))
    steps = np.abs(np.diff(points[order], axis=0)).sum(axis=1)
    assert steps.max() == 1


def test_a_folder_is_described_by_names_sizes_and_times(tmp_path):
    assert describe_files(tmp_path / "none") == {"present": False}
    (tmp_path / "a").write_text("1")
    first = describe_files(tmp_path)
    assert describe_files(tmp_path) == first
    (tmp_path / "b").write_text("1")
    assert describe_files(tmp_path) != first


def test_shards_of_other_inputs_are_not_taken(tmp_path):
    shards = Shards(tmp_path)
    shards.publish("one", {"rows": pa.table({"x": [1]})})
    assert shards.done("one")
    assert not shards.done("two")


def test_odd_files_are_described_and_told_apart(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")
    before = describe_files(tmp_path)
    (tmp_path / "dangling.png").symlink_to("none")
    assert describe_files(tmp_path) != before
