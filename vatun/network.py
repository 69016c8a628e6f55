"""The network under test: its module, its input, its layers, and how to run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vatun.builders import build
from vatun.errors import LayerError, NetworkError, SpecError
from vatun.layers import Anatomy, LayerInfo, SkippedLayer, dissect
from vatun.taps import first_tensor
from vatun.trace import trace
from vatun.weights import load_weights, save_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vatun.specs import InputSpec, ModelSpec

__all__ = ["Network", "load_network", "prepare_network", "save_weights"]

BATCH = 64
"""Images in one pass of an explanation or an ablation; bounds memory, changes no answer."""

REPEATS = 1e-4
"""How far apart two answers to one image may be, as a share of the largest logit: sums in another
order move the last bits."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A classifier ready to be tested: in evaluation mode, its parameters frozen.

    Several threads may use one at the same time.

    Parameters
    ----------
    module : nn.Module
        Takes normalised images, returns logits.
    spec : ModelSpec
        What was built.
    input : InputSpec
        What it takes.
    device : torch.device
        Where it runs.
    classes : tuple of str
        Class names by class index.
    anatomy : Anatomy
        Its layers, found in a dry run.
    """

    module: nn.Module
    spec: ModelSpec
    input: InputSpec
    device: torch.device
    classes: tuple[str, ...]
    anatomy: Anatomy

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """Captured layers by first firing."""
        return self.anatomy.layers

    @property
    def skipped_layers(self) -> tuple[SkippedLayer, ...]:
        """Convolutions and linear layers that are not captured, with the reason."""
        return self.anatomy.skipped

    @property
    def embedding_layer(self) -> str:
        """Path of the module whose input is the embedding."""
        return self.anatomy.embedding_layer

    @property
    def embedding_dimensions(self) -> int:
        """Width of the embedding."""
        return self.anatomy.embedding_dimensions

    def layer(self, name: str) -> LayerInfo:
        """Return the captured layer called ``name``.

        Returns
        -------
        LayerInfo

        Raises
        ------
        LayerError
            Listing the captured layers.
        """
        for layer in self.layers:
            if layer.layer_name == name:
                return layer
        known = ", ".join(layer.layer_name for layer in self.layers)
        msg = f"layer {name!r} is not captured; captured: {known}"
        raise LayerError(msg)

    def normalise(self, images: Tensor) -> Tensor:
        """Return images as the module takes them; differentiable.

        Parameters
        ----------
        images : Tensor of shape (n, 3, height, width), float32 in [0, 1]

        Returns
        -------
        Tensor of the same shape
            On the network's device.

        Raises
        ------
        SpecError
            When the shape or type is not that of the input.
        """
        expected = (3, self.input.height, self.input.width)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            shape = tuple(images.shape)
            msg = f"images must have shape (n, {', '.join(map(str, expected))}), got {shape}"
            raise SpecError(msg)
        if not images.is_floating_point():
            msg = f"images must be float in [0, 1], got {images.dtype}"
            raise SpecError(msg)
        moved = images.to(self.device)
        mean = torch.tensor(self.input.mean, dtype=moved.dtype, device=self.device)
        std = torch.tensor(self.input.std, dtype=moved.dtype, device=self.device)
        result = (moved - mean.view(3, 1, 1)) / std.view(3, 1, 1)
        # The layout of the convolutions' weights: the same sums, read along memory.
        return result.contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, differentiable in the images.

        Parameters
        ----------
        images : Tensor of shape (n, 3, height, width), float32 in [0, 1]

        Returns
        -------
        Tensor of shape (n, classes)
        """
        return first_tensor(self.module(self.normalise(images)))

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """Return logits without a graph.

        Parameters
        ----------
        images : Tensor of shape (n, 3, height, width), float32 in [0, 1]

        Returns
        -------
        Tensor of shape (n, classes), float32
        """
        return self.forward(images)


def load_network(
    spec: ModelSpec,
    input_spec: InputSpec,
    *,
    weights: Path | None = None,
    device: str = "auto",
    class_names: Sequence[str] = (),
) -> Network:
    """Build a network, load its weights and find its layers.

    On CUDA, TF32 is switched off for the whole process: winners are compared to the last bit.

    Parameters
    ----------
    spec : ModelSpec
        What to build.
    input_spec : InputSpec
        What it takes.
    weights : Path or None
        File to load; None leaves the random weights of the builder.
    device : str
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    class_names : sequence of str
        Names by class index; empty gives ``"0"``, ``"1"`` and so on.

    Returns
    -------
    Network

    Raises
    ------
    WeightsError
        When the file does not fit.
    NetworkError
        When the network cannot be built or run.
    """
    module = build(spec.builder, spec.classes)
    if weights is not None:
        load_weights(module, weights)
    return prepare_network(module, spec, input_spec, device=device, class_names=class_names)


def prepare_network(
    module: nn.Module,
    spec: ModelSpec,
    input_spec: InputSpec,
    *,
    device: str = "auto",
    class_names: Sequence[str] = (),
) -> Network:
    """Make a network under test of a module; the module is frozen and moved, not copied.

    Parameters
    ----------
    module : nn.Module
        Takes (n, 3, height, width) normalised images, returns (n, classes) logits.
    spec, input_spec, device, class_names
        As for ``load_network``.

    Returns
    -------
    Network

    Raises
    ------
    NetworkError
        When the module cannot be run on such an input, does not give such an output, or gives
        another one each time.
    """
    names = tuple(class_names) or tuple(str(index) for index in range(spec.classes))
    if len(names) != spec.classes:
        msg = f"{len(names)} class names for a network of {spec.classes} classes"
        raise NetworkError(msg)
    place = _device(device)
    module.eval().requires_grad_(requires_grad=False)
    module.to(device=place, dtype=torch.float32)
    module.to(memory_format=torch.channels_last)
    images = torch.zeros(1, 3, input_spec.height, input_spec.width, device=place)
    try:
        seen = trace(module, images.contiguous(memory_format=torch.channels_last))
    except Exception as error:
        # The network is anybody's code: whatever it raises, name the network.
        size = f"{input_spec.height} x {input_spec.width}"
        said = (str(error).splitlines() or [type(error).__name__])[0]
        msg = f"{spec.builder} cannot take a {size} image: {said}"
        raise NetworkError(msg) from error
    if seen.output_shape != (1, spec.classes):
        msg = f"{spec.builder} returns {seen.output_shape} for one image, not (1, {spec.classes})"
        raise NetworkError(msg)
    _check_repeats(module, images.shape, spec.builder, place)
    anatomy = dissect(module, seen, layers=spec.layers, include_logits=spec.include_logits)
    return Network(
        module=module,
        spec=spec,
        input=input_spec,
        device=place,
        classes=names,
        anatomy=anatomy,
    )


def _check_repeats(
    module: nn.Module, shape: Sequence[int], name: str, device: torch.device
) -> None:
    """Refuse a network that answers one image in two ways: nothing measured of it would hold."""
    # Not the dry run's image: dropout leaves one that is zero everywhere as it is.
    images = torch.randn(tuple(shape), generator=torch.Generator().manual_seed(0)).to(device)
    images = images.contiguous(memory_format=torch.channels_last)
    try:
        with torch.inference_mode():
            first, second = (first_tensor(module(images)).double() for _ in range(2))
    except Exception:  # noqa: BLE001
        # The network is anybody's code, and has answered the dry run: what it cannot do with
        # this image is said when it meets one of the data set that is like it.
        return
    apart = float((first - second).abs().nan_to_num().max())
    if not apart > REPEATS * float(first.abs().max()):
        return
    msg = (
        f"{name} gives one image two answers, with logits up to {apart:.3g} apart: something "
        "random is left on in evaluation mode, such as functional.dropout without "
        "training=self.training, or a noise layer. Switch it off where self.training is False"
    )
    raise NetworkError(msg)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        if not torch.cuda.is_available():
            msg = "no CUDA device is available; use device = 'cpu'"
            raise NetworkError(msg)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(name)
