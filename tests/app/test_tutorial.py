"""The tutorial's links give what the tutorial says, on the real images and weights it names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest
import torch

from app import address
from vatun.network import load_network
from vatun.perturb import apply_change
from vatun.preprocess import decode_image, pixel_key, to_input
from vatun.specs import InputSpec, ModelSpec

TEXT = " ".join((Path(__file__).parents[2] / "docs" / "testing.md").read_text().split())
# A link, and the last class and score of the emphasised words that follow it.
STEPS = re.findall(
    r"\((http://localhost:5006/app\?[^)]*)\)[^*]*"
    r"\*[^*]*?(\w+) (0\.\d\d)(?:, prediction flipped)?\*",
    TEXT,
)


@pytest.fixture(scope="module")
def images():
    """Return the test images that the links name, by the beginning of their key."""
    folder = os.environ.get("VATUN_CIFAR10")
    if not folder:
        pytest.skip("VATUN_CIFAR10 names no folder of CIFAR-10")
    wanted = {parse_qs(urlsplit(url).query)["image"][0] for url, _, _ in STEPS}
    found = {}
    for row in pq.read_table(Path(folder) / "test.parquet", columns=["img"])["img"]:
        pixels = decode_image(row["bytes"].as_py())
        key = pixel_key(pixels)[:16]
        if key in wanted:
            found.setdefault(key, to_input(pixels)[None])
    assert found.keys() == wanted
    return found


@pytest.fixture(scope="module")
def network():
    weights = os.environ.get("VATUN_WEIGHTS")
    if not weights:
        pytest.skip("VATUN_WEIGHTS names no weights")
    names = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
    size = InputSpec(
        height=32, width=32, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)
    )
    spec = ModelSpec(builder="vgg16_cifar", classes=10)
    return load_network(spec, size, weights=Path(weights), device="cpu", class_names=names)


def test_every_link_has_an_outcome():
    assert len(STEPS) == TEXT.count("(http://localhost:5006/app?") == 9


@pytest.mark.parametrize(("url", "name", "score"), STEPS)
def test_a_link_gives_what_is_said(url, name, score, images, network):
    query = {key: values[0] for key, values in parse_qs(urlsplit(url).query).items()}
    case = address.read(query)
    assert case.refused == ()
    assert case.layer in {layer.layer_name for layer in network.layers}
    # The store fills removed regions with the mean pixel of the training images.
    fill = (0.49125, 0.48209, 0.446521)
    changed = apply_change(images[case.image], case.change, seeds=[0], fill=fill)
    scores = network.logits(changed).softmax(dim=1)[0]
    assert network.classes[int(scores.argmax())] == name
    assert float(scores.max()) == pytest.approx(float(score), abs=0.0051)
    assert torch.isfinite(scores).all()
