"""What a what-if costs beyond the network: ``python -m benchmarks.whatif [--quick]``.

VGG-16 with batch norm at 32 x 32 with random weights, on the processor. A what-if starts from the
bytes of an image file, as an upload does, and ends with the logits of the original and the
changed image. Times are processor time, in turn with the bare forward passes of the same batch.
"""

from __future__ import annotations

import statistics
import time
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from benchmarks._report import Row, interleave, options, report
from vatun.network import Network, load_network
from vatun.perturb import apply_change
from vatun.preprocess import load_image, to_input
from vatun.response import response_curve
from vatun.specs import PERTURBATION_SPECS, Box, Change, InputSpec, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE = 32
FILL = (0.4914, 0.4822, 0.4465)
CHANGE = Change(magnitudes={"hue": 0.2, "rotation": 25.0}, boxes=(Box(0.1, 0.2, 0.4, 0.6),))
AGAINST = "bare forward of the same batches, fp32, processor time"


def main() -> None:
    """Measure, print, and write the rows."""
    given = options(__doc__)
    torch.manual_seed(0)
    network = load_network(
        ModelSpec(builder="vgg16_cifar", classes=10),
        InputSpec(height=SIDE, width=SIDE, mean=FILL, std=(0.247, 0.2435, 0.2616)),
        device="cpu",
    )
    files = [encoded("JPEG"), encoded("PNG")]
    rows = [
        whatif_row(network, files, rounds=20 if given.quick else 100),
        curves_row(network, files[0], rounds=3 if given.quick else 10),
    ]
    report(rows, given)


def encoded(kind: str) -> bytes:
    """Return a file of smooth noise at the size of the input."""
    coarse = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    out = BytesIO()
    Image.fromarray(coarse).resize((SIDE, SIDE)).save(out, kind)
    return out.getvalue()


def whatif_row(network: Network, files: list[bytes], *, rounds: int) -> Row:
    """Time bytes to logits of the original and the changed image, as one batch of two."""

    def whatif() -> None:
        for file in files:
            image = to_input(load_image(file, network.input)).unsqueeze(0)
            changed = apply_change(image, CHANGE, seeds=[0], fill=FILL)
            network.logits(torch.cat((image, changed)))

    ratio = over_forward(network, whatif, batches=[2] * len(files), rounds=rounds)
    return Row(
        name="whatif_over_forward",
        value=ratio,
        unit="ratio",
        against=f"{AGAINST}; 32 x 32 JPEG and PNG; hue, rotation and a box",
        goal="<= 1.3",
    )


def curves_row(network: Network, file: bytes, *, rounds: int) -> Row:
    """Time the response curves of one image under every perturbation, gradient included."""
    image = to_input(load_image(file, network.input)).unsqueeze(0)

    def curves() -> None:
        for name in PERTURBATION_SPECS:
            response_curve(network, image, name, fill=FILL, label=0)

    batches = [len(spec.grid) for spec in PERTURBATION_SPECS.values()]
    return Row(
        name="curves_over_forward",
        value=over_forward(network, curves, batches=batches, rounds=rounds),
        unit="ratio",
        against=f"{AGAINST}; {sum(batches)} copies in {len(batches)} curves",
    )


def over_forward(
    network: Network, work: Callable[[], None], *, batches: list[int], rounds: int
) -> float:
    """Return how many times what the bare forward passes of ``batches`` take the work takes."""
    ready = [network.normalise(torch.rand(size, 3, SIDE, SIDE)) for size in batches]

    @torch.inference_mode()
    def bare() -> None:
        for images in ready:
            network.module(images)

    seconds = interleave({"bare": bare, "work": work}, rounds=rounds, clock=time.process_time)
    return statistics.median(seconds["work"]) / statistics.median(seconds["bare"])


if __name__ == "__main__":
    main()
