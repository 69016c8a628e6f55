"""What a stage says when the network under test, or a person, ends it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pipelines import capture as capture_stage
from pipelines import ingest
from pipelines.errors import StageError
from pipelines.inputs import Batch
from pipelines.lanes import Lanes, to_device
from pipelines.project import Project
from pipelines.runner import run_stage
from vatun.capture import capture
from vatun.errors import NetworkError, VatunError
from vatun.network import prepare_network
from vatun.specs import InputSpec, ModelSpec

PLAIN = InputSpec(height=8, width=8, mean=(0.0,) * 3, std=(1.0,) * 3)


class Picky(nn.Module):
    """Raises where a whole image is brighter than anything is expected to be."""

    def __init__(self, num_classes):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, num_classes)

    def forward(self, images):
        maps = self.stem(images).relu()
        if bool((images.mean(dim=(1, 2, 3)) > 0.9).any()):
            raise ValueError("a white image\nhas no edges")
        return self.head(maps.mean(dim=(2, 3)))


def picky(num_classes):
    return Picky(num_classes)


def network_of(module):
    torch.manual_seed(0)
    return prepare_network(module, ModelSpec(builder="own", classes=3), PLAIN, device="cpu")


def batch_with(*white, count=48):
    """Return grey images, those at ``white`` apart."""
    pixels = np.full((count, 3, 8, 8), 90, dtype=np.uint8)
    pixels[list(white)] = 255
    ids = np.arange(100, 100 + count, dtype=np.int32)
    return Batch(
        image_ids=ids,
        labels=np.zeros(count, dtype=np.int64),
        pixels=pixels,
        sources=[f"cat/{image_id}.png" for image_id in ids],
    )


def captured(network, batch):
    return capture(network, to_device(batch.pixels, network), peaks=True)


def fault(module, batch, work=captured):
    network = network_of(module)
    with pytest.raises(VatunError) as raised, Lanes(network, batch_size=64) as lanes:
        list(lanes.run(work, [batch]))
    assert not any(part._forward_hooks for part in network.module.modules())
    return raised.value


@pytest.mark.parametrize("place", [0, 1, 30, 47])
def test_the_image_on_which_a_network_fails_is_named(place):
    error = fault(Picky(3), batch_with(place))
    assert type(error) is StageError
    said = str(error)
    assert (
        f"fails on image {100 + place} (cat/{100 + place}.png): ValueError: a white image" in said
    )
    assert f"{__file__}, line {line_of('raise ValueError')}" in said
    assert "take the image out of the data set" in said
    assert isinstance(error.__cause__, ValueError)


def line_of(text):
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_of_several_such_images_the_first_is_named():
    assert "fails on image 107 (" in str(fault(Picky(3), batch_with(7, 8, 40)))


def test_a_network_that_fails_on_every_image_is_not_laid_on_one():
    said = str(fault(Picky(3), batch_with(*range(48))))
    assert "image 100 (cat/100.png) and on others, such as image 147 (cat/147.png)" in said
    assert "out of the data set" not in said


def test_a_network_that_fails_on_many_images_only_says_so():
    def work(network, batch):
        if len(batch) == 48:
            raise RuntimeError("only 24 at a time")
        return captured(network, batch)

    said = str(fault(Picky(3), batch_with(), work))
    assert "fails on 48 images together (the images 100 to 147)" in said
    assert "only 24 at a time" in said


def test_what_a_gpu_will_not_say_twice_is_not_asked_again():
    asked = []

    def work(network, batch):
        asked.append(len(batch))
        raise torch.AcceleratorError("device-side assert triggered")

    said = str(fault(Picky(3), batch_with(), work))
    assert asked == [48]
    assert "fails on one of the images 100 to 147" in said


def test_what_is_wrong_with_the_network_itself_stays_what_it_is():
    def work(network, batch):
        raise NetworkError("there is no gradient")

    error = fault(Picky(3), batch_with(), work)
    assert type(error) is NetworkError
    assert str(error) == "there is no gradient"


def test_a_stage_names_the_image_by_its_file(workshop, tmp_path):
    changes = (('"small_vgg"', '"tests.pipelines.test_faults:picky"'),)
    path = workshop.make(tmp_path, changes=changes)
    white = tmp_path / "data" / "green" / "0031.png"
    Image.new("RGB", (32, 32), "white").save(white)
    project = Project.load(path)
    run_stage("ingest", ingest.run, project=project)
    with pytest.raises(StageError, match=r"fails on image \d+ \(green/0031.png\): ValueError"):
        run_stage("capture", capture_stage.run, project=project)


def test_ctrl_c_while_torch_is_imported_is_one_line():
    command = [sys.executable, "-m", "pipelines.capture", "no.toml"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
        stderr=subprocess.PIPE,
        text=True,
        # A job in the background ignores Ctrl-C, and what it starts would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        imported = []
        # A part of torch is there, torch itself is not.
        while not imported or not imported[-1].startswith("torch."):
            imported.append(process.stderr.readline().rpartition("|")[2].strip())
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "pipelines.lanes" not in said, "it was to be stopped before its own modules"
    last = said.strip().splitlines()[-1]
    assert last == "capture: interrupted; what is finished is kept, run it again to go on"
