"""Photographs of mixed sizes, a network of torchvision with random weights: a complete store."""

import numpy as np
import pytest
from PIL import Image

from feature_store import Store
from pipelines.project import Project

PROJECT = """
seed = 5
[dataset]
source = "image_folder"
path = "../data"
splits = ["all"]
[model]
builder = "torchvision:{builder}"
[preprocess]
resize = {resize}
crop = {crop}
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
[capture]
batch_size = 16
[simulate]
images_per_class = {swept}
perturbations = ["hue", "fgsm", "region"]
"""


def build_photos(workshop, folder, *, count, builder, side, swept):
    generator = np.random.default_rng(1)
    for index in range(count):
        height, width = generator.integers(48, 260, 2)
        small = generator.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        label = "abc"[index % 3]
        target = folder / "data" / label / f"{index:03d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(small).resize((int(width), int(height))).save(target, quality=85)
    project = folder / "projects" / "photos.toml"
    project.parent.mkdir()
    text = PROJECT.format(builder=builder, resize=side + side // 8, crop=side, swept=swept)
    project.write_text(text)
    workshop.build(project)
    return Project.load(project).store


def check(path, *, count, filters, swept):
    with Store.open(path) as store:
        assert store.verify() == []
        assert store.stale_tables() == {}
        layers = store.arrow("select * from layers order by layer_index")
        assert sum(layers["filters"].to_pylist()) == filters
        for index in range(layers.num_rows):
            for statistic in ("max", "mean"):
                assert store.has(f"activations/{statistic}/{index:03d}")
        for path_set in ("paper", "mean", "balanced"):
            rows = store.arrow(f"select count(*) as n from paths__{path_set}")
            assert rows["n"].to_pylist() == [count]
            assert store.has(f"patterns/{path_set}/patterns")
        sizes = store.arrow("select count(distinct (width, height)) as n from images")
        assert sizes["n"][0].as_py() > count // 2
        grid = 11 + 9 + 9
        assert store.arrow("select count(*) as n from sweeps")["n"].to_pylist() == [
            3 * swept * grid
        ]
        top = store.arrow(
            "select max(rank) as r, count(distinct layer_index) as n from top_images"
        )
        assert top.to_pylist() == [{"r": min(50, count), "n": layers.num_rows}]


def test_a_small_one(workshop, tmp_path):
    path = build_photos(workshop, tmp_path, count=30, builder="resnet18", side=64, swept=2)
    check(path, count=30, filters=64 + 4 * 64 + 4 * 128 + 4 * 256 + 4 * 512, swept=2)


@pytest.mark.accept
def test_three_hundred_photographs_through_resnet50(workshop, tmp_path):
    path = build_photos(workshop, tmp_path, count=300, builder="resnet50", side=96, swept=10)
    check(path, count=300, filters=22_720, swept=10)
