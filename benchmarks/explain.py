"""What an explanation costs, and whether threads can share it: ``python -m benchmarks.explain``.

VGG-16 with batch norm, one image of 32 x 32, one core, fp32. The floor is the same work in the
fewest lines: a hook that starts the graph at the layer, one pass forward, one back to it. Weights
are random, or real where VATUN_WEIGHTS names them.
"""

from __future__ import annotations

import copy
import os
import resource
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks._report import Row, interleave, options, report
from vatun.explain import EXPLANATIONS, grad_cam, grad_cam_layers
from vatun.network import load_network
from vatun.specs import InputSpec, ModelSpec

with warnings.catch_warnings():
    # Captum 0.9 and grad-cam 1.5 warn when they are imported.
    warnings.simplefilter("ignore")
    from captum.attr import LayerGradCam
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from vatun.network import Network

CLASS = 3
CALLS = 5
"""Calls that one timing holds."""

# Where the activation of the last, a middle and an early convolution is: module and layer.
LAST = ("features.42", "features.40")
MIDDLE = ("features.22", "features.20")
EARLY = ("features.9", "features.7")
THREADS = 8


def main() -> None:
    """Measure, print, and write the rows."""
    given = options(__doc__)
    torch.set_num_threads(1)
    network = load()
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    rows = cost_rows(network, image, rounds=10 if given.quick else 40)
    rows.append(thread_row(network, image, answers=400 if given.quick else 1000))
    rows.append(memory_row(network, image, calls=2000))
    report(rows, given)


def load() -> Network:
    """Return the network under test."""
    named = os.environ.get("VATUN_WEIGHTS")
    torch.manual_seed(0)
    return load_network(
        ModelSpec(builder="vgg16_cifar", classes=10),
        InputSpec(height=32, width=32, mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)),
        weights=Path(named) if named else None,
        device="cpu",
    )


def floor(network: Network, image: Tensor, module: str) -> Tensor:
    """Return the Grad-CAM of one module in the fewest lines: nothing is checked or shared."""
    kept = []

    def start(_: torch.nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[0].clone()

    handle = network.module.get_submodule(module).register_forward_hook(start)
    logits = network.module(network.normalise(image))
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, CLASS], kept[0])
    return (gradient.mean(dim=(2, 3), keepdim=True) * kept[0].detach()).sum(dim=1).relu()


def library(network: Network, image: Tensor, *, frozen: bool) -> Callable[[], object]:
    """Return pytorch-grad-cam's call for the last layer, its object made once."""
    module = copy.deepcopy(network.module).requires_grad_(not frozen)
    cam = GradCAM(model=module, target_layers=[module.get_submodule(LAST[0])])
    targets = [ClassifierOutputTarget(CLASS)]
    # With frozen parameters the library's backward pass needs another start: the image.
    inputs = network.normalise(image).requires_grad_(frozen)
    return lambda: cam(input_tensor=inputs, targets=targets)


def captum(network: Network, image: Tensor) -> Callable[[], object]:
    """Return captum's call for the last layer, its object made once."""
    module = copy.deepcopy(network.module).requires_grad_()
    oracle = LayerGradCam(module, module.get_submodule(LAST[0]))
    inputs = network.normalise(image)
    return lambda: oracle.attribute(inputs, target=CLASS, relu_attributions=True)


def cost_rows(network: Network, image: Tensor, *, rounds: int) -> list[Row]:
    """Compare what an answer costs, all in turn; the best round of each counts."""
    three = [EARLY[1], MIDDLE[1], LAST[1]]
    calls: dict[str, Callable[[], object]] = {
        "forward": lambda: network.logits(image),
        "floor, last": lambda: floor(network, image, LAST[0]),
        "ours, last": lambda: grad_cam(network, image, [CLASS], layer=LAST[1]),
        "floor, middle": lambda: floor(network, image, MIDDLE[0]),
        "ours, middle": lambda: grad_cam(network, image, [CLASS], layer=MIDDLE[1]),
        "three": lambda: grad_cam_layers(network, image, [CLASS], layers=three),
        "library": library(network, image, frozen=False),
        "library, frozen": library(network, image, frozen=True),
        "captum": captum(network, image),
    }
    for layer in (LAST, MIDDLE):
        ours = grad_cam(network, image, [CLASS], layer=layer[1])
        if not torch.equal(ours, floor(network, image, layer[0])):
            msg = f"the floor does not compute the map of {layer[1]}"
            raise RuntimeError(msg)
    repeated = {name: repeat(call) for name, call in calls.items()}
    seconds = interleave(repeated, rounds=rounds, clock=time.process_time)
    best = {name: min(values) for name, values in seconds.items()}

    def row(name: str, above: str, below: str, against: str, goal: str = "") -> Row:
        value = best[above] / best[below]
        return Row(name=name, value=value, unit="ratio", against=against, goal=goal)

    floors = "the same pass forward and back in the fewest lines, processor time"
    return [
        row("gradcam_last_over_floor", "ours, last", "floor, last", floors, "<= 1.1"),
        row("gradcam_middle_over_floor", "ours, middle", "floor, middle", floors, "<= 1.1"),
        row(
            "gradcam_three_layers_over_forward",
            "three",
            "forward",
            f"one forward pass; layers {', '.join(three)} in one pass",
            "<= 2.4",
        ),
        row(
            "pytorch_grad_cam_over_ours",
            "library",
            "ours, last",
            "our Grad-CAM of the last layer; the network as it is loaded",
            ">= 2.5",
        ),
        row(
            "pytorch_grad_cam_frozen_over_ours",
            "library, frozen",
            "ours, last",
            "the same with the parameters frozen, as ours are",
        ),
        row("captum_over_ours", "captum", "ours, last", "our Grad-CAM of the last layer"),
        Row(
            name="forward_ms",
            value=1000 * best["forward"] / CALLS,
            unit="ms",
            against="itself, processor time",
        ),
    ]


def repeat(call: Callable[[], object]) -> Callable[[], None]:
    """Return a function that calls ``CALLS`` times, long enough to be timed."""

    def repeated() -> None:
        for _ in range(CALLS):
            call()

    return repeated


def thread_row(network: Network, image: Tensor, *, answers: int) -> Row:
    """Count wrong answers of eight threads that ask one network about different things."""
    questions = [
        (EXPLANATIONS[method], layer, index)
        for method in ("grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam")
        for layer, index in ((LAST[1], 0), (MIDDLE[1], 1), (EARLY[1], 2))
    ]
    expected = [each.apply(network, image, [index], layer=la) for each, la, index in questions]
    wrong: list[int] = []

    def ask(first: int) -> None:
        for turn in range(first, answers, THREADS):
            number = turn % len(questions)
            entry, layer, index = questions[number]
            try:
                found = entry.apply(network, image, [index], layer=layer)
                right = torch.allclose(found, expected[number], rtol=1e-5, atol=0)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a wrong answer
                print(f"{entry.name}, {layer}: {error!r}", file=sys.stderr)
                right = False
            if not right:
                wrong.append(turn)

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Row(
        name="threads_wrong_of_1000",
        value=1000 * len(wrong) / answers,
        unit="answers",
        against=f"one thread alone; {THREADS} threads share one network, {answers:,} answers",
        goal="<= 0",
    )


def memory_row(network: Network, image: Tensor, *, calls: int) -> Row:
    """Return by how much the process grows over many answers."""
    for _ in range(100):
        grad_cam(network, image, [CLASS], layer=LAST[1])
    before = resident_megabytes()
    for _ in range(calls):
        grad_cam(network, image, [CLASS], layer=LAST[1])
    return Row(
        name="resident_growth_mb_over_2000",
        value=resident_megabytes() - before,
        unit="MB",
        against=f"itself after 100 calls; {calls:,} more of Grad-CAM at {LAST[1]}",
        goal="< 10",
    )


def resident_megabytes() -> float:
    """Return the memory that the process holds now; where that is not told, its peak."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
