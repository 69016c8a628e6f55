"""How much of the bare forward pass the stages keep: ``python -m benchmarks.capture [--quick]``.

VGG-16 with batch norm at 32 x 32, fp32, the same batch size throughout. The stages run as doit
runs them, from Parquet to shards: read, decode, normalise, forward, reduce, write. The sweep takes
a sample of every class through every change on its default grid. Images and weights are random, or
real where VATUN_CIFAR10 and VATUN_WEIGHTS name them.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from benchmarks._report import Row, interleave, options, report
from feature_store import Store
from pipelines import capture, ingest, simulate
from pipelines.project import Project
from pipelines.runner import run_stage
from vatun.capture import Capturer

if TYPE_CHECKING:
    from vatun.network import Network

BATCH = 128
CLASSES = 10
PROJECT = """
store = "store"
seed = 1
[dataset]
source = "parquet"
path = "data"
columns = {{ image = "img", label = "label" }}
splits = ["test"]
reference_split = "test"
[model]
builder = "vgg16_cifar"
classes = 10
{weights}
[preprocess]
resize = 32
mean = [0.4914, 0.4822, 0.4465]
std = [0.2470, 0.2435, 0.2616]
[capture]
batch_size = {batch}
[simulate]
split = "test"
images_per_class = {swept}
"""


def main() -> None:
    """Measure, print, and write the rows."""
    given = options(__doc__)
    count, swept, rounds = (512, 3, 3) if given.quick else (8192, 20, 3)
    with tempfile.TemporaryDirectory() as scratch:
        project = make_project(Path(scratch), count=count, swept=swept)
        run_stage("ingest", ingest.run, project=project)
        run_stage("capture", capture.run, project=project)
        store = Store.open(project.store)
        network = simulate.stored_network(project, store)
        forward, kept, sweeps = [], [], []
        for _ in range(rounds):
            forward.append(forward_rate(network, count=count))
            kept.append(capture_rate(project))
            sweeps.append(sweep_rate(project))
        report(
            [
                *stage_rows(forward, kept, sweeps),
                *hook_rows(network, rounds=2 * rounds),
                size_row(Store.open(project.store), count=count),
            ],
            given,
        )


def make_project(folder: Path, *, count: int, swept: int) -> Project:
    """Write a data set of ``count`` images and a project file for it."""
    (folder / "data").mkdir()
    source = os.environ.get("VATUN_CIFAR10")
    if source:
        table = pq.read_table(Path(source) / "test.parquet", columns=["img", "label"])[:count]
    else:
        table = random_images(count)
    pq.write_table(table, folder / "data" / "test.parquet")
    weights = os.environ.get("VATUN_WEIGHTS")
    named = f"weights = {json.dumps(str(Path(weights).resolve()))}" if weights else ""
    path = folder / "benchmark.toml"
    path.write_text(PROJECT.format(weights=named, batch=BATCH, swept=swept))
    return Project.load(path)


def random_images(count: int) -> pa.Table:
    """Return JPEGs of smooth noise, in the layout of Hugging Face's CIFAR-10."""
    generator = np.random.default_rng(0)
    rows = []
    for index in range(count):
        coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        out = BytesIO()
        Image.fromarray(coarse).resize((32, 32)).save(out, "JPEG", quality=75)
        rows.append({"bytes": out.getvalue(), "path": f"test/{index:05d}.jpg"})
    names = [f"class {index}" for index in range(CLASSES)]
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    label = pa.array(np.arange(count) % CLASSES, type=pa.int64())
    table = pa.table({"img": pa.array(rows), "label": label})
    return table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


def forward_rate(network: Network, *, count: int) -> float:
    """Return images a second of the module alone, on input that is ready in memory."""
    images = network.normalise(torch.rand(BATCH, 3, 32, 32))
    started = time.perf_counter()
    with torch.inference_mode():
        for _ in range(count // BATCH):
            network.module(images)
    return count // BATCH * BATCH / (time.perf_counter() - started)


def capture_rate(project: Project) -> float:
    """Return images a second of the stage from stored images to written shards."""
    run_stage("capture", capture.run, project=project, force=True)
    store = Store.open(project.store)
    rows = store.manifest["tables"]["images"]["rows"]
    # The stage first looks at a few images; they go through the network like the others.
    return float((rows + capture.PROBE) / store.info["capture"]["seconds"])


def sweep_rate(project: Project) -> float:
    """Return changed images a second of the stage, gradients of the attack included."""
    run_stage("simulate", simulate.run, project=project, force=True)
    return float(Store.open(project.store).info["simulate"]["images_per_second"])


def stage_rows(forward: list[float], kept: list[float], sweeps: list[float]) -> list[Row]:
    """Compare the stages with the forward pass, by medians."""
    floor = statistics.median(forward)
    against = f"bare forward, fp32, batch {BATCH}, {torch.get_num_threads()} threads"
    return [
        Row(
            name="capture_throughput_over_forward",
            value=statistics.median(kept) / floor,
            unit="ratio",
            against=against,
            goal=">= 0.85",
        ),
        Row(
            name="sweep_throughput_over_forward",
            value=statistics.median(sweeps) / floor,
            unit="ratio",
            against=f"{against}; the passes of the attack's gradients are not counted for it",
            goal=">= 0.85",
        ),
        Row(name="forward_rate", value=floor, unit="images/s", against="itself"),
    ]


def hook_rows(network: Network, *, rounds: int) -> list[Row]:
    """Compare a captured forward pass with a bare one, without any reading or writing."""
    images = torch.rand(BATCH, 3, 32, 32)
    ready = network.normalise(images)

    @torch.inference_mode()
    def bare() -> None:
        network.module(ready)

    def captured() -> None:
        with Capturer(network, peaks=True) as capturer:
            capturer(images)

    functions = {"bare": bare, "captured": captured}
    seconds = interleave(functions, rounds=rounds, clock=time.process_time)
    ratio = statistics.median(seconds["bare"]) / statistics.median(seconds["captured"])
    against = "bare forward, processor time; maxima, means, peaks and embedding are kept"
    return [Row(name="hooks_over_forward", value=ratio, unit="ratio", against=against)]


def size_row(store: Store, *, count: int) -> Row:
    """Return what the capture of one image takes on disk."""
    tables = store.manifest["tables"].values()
    size = sum(
        part["bytes"] for table in tables if table["stage"] == "capture" for part in table["parts"]
    )
    filters = store.arrow("select sum(filters)::bigint as n from layers")["n"][0].as_py()
    raw = 4 * 2 * int(filters)
    return Row(
        name="store_bytes_per_image",
        value=size / count,
        unit="bytes",
        against=f"{raw:,} bytes as float32 maxima and means; top images included",
    )


if __name__ == "__main__":
    main()
