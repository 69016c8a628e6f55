"""Find the layers of a network under test, where each is read, and what each one sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from vatun.errors import LayerError, NetworkError
from vatun.sites import Dissection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vatun.trace import Call, Firing, Trace


@dataclass(frozen=True, kw_only=True)
class TapPoint:
    """Where a tensor is read during a forward pass.

    Parameters
    ----------
    module : str or None
        Path of a module that returns the tensor; None when a function call made it.
    firing : int
        Which execution of that module, from 1.
    function : str
        Name of the call, used when ``module`` is None.
    number : int
        Which call of that function, from 1.
    channel_axis : int
        Axis of the filters; the batch is axis 0, all other axes are space.
    """

    module: str | None
    firing: int
    function: str
    number: int
    channel_axis: int


@dataclass(frozen=True, kw_only=True)
class LayerInfo:
    """One captured layer.

    Parameters
    ----------
    layer_index : int
        Position by first firing, from 0.
    layer_name : str
        ``named_modules()`` path; ``#2`` is appended for a second execution of one module.
    kind : str
        ``"conv"`` or ``"linear"``.
    filters : int
        Number of filters.
    height, width : int
        Size of the activation map; 1 x 1 for a vector.
    site : str
        ``"post_activation"``, ``"post_norm"`` or ``"output"``: where the activation is read.
    receptive_field : int
        Theoretical side, in input pixels, of what one position sees along the longest path.
        It may exceed the input. Gates (squeeze and excitation) are left out of it.
    stride : int
        Input pixels between neighbouring positions; for a vector, the longer side of the input.
    block : str
        Group for drawing, such as ``conv5`` or ``layer3``.
    point : TapPoint
        Where the activation is read.
    """

    layer_index: int
    layer_name: str
    kind: str
    filters: int
    height: int
    width: int
    site: str
    receptive_field: int
    stride: int
    block: str
    point: TapPoint


@dataclass(frozen=True, kw_only=True)
class SkippedLayer:
    """A convolution or linear layer that is not captured, and why."""

    layer_name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """Layers of a network, its skipped layers, and where its embedding is read."""

    layers: tuple[LayerInfo, ...]
    skipped: tuple[SkippedLayer, ...]
    logits_layer: str
    embedding_layer: str
    embedding_dimensions: int
    firings: Mapping[str, int]


def dissect(
    module: nn.Module,
    trace: Trace,
    *,
    layers: Sequence[str] | None = None,
    include_logits: bool = False,
) -> Anatomy:
    """Find the layers of a traced network.

    Parameters
    ----------
    module : nn.Module
        The network that was traced.
    trace : Trace
        Its forward pass on one image.
    layers : sequence of str or None
        Layers to take, by name; None takes every convolution and hidden linear layer that fired,
        without 1x1 shortcuts, squeeze-and-excitation layers and the layer of the logits.
    include_logits : bool
        Take the layer of the logits too.

    Returns
    -------
    Anatomy
        Layers ordered by first firing.

    Raises
    ------
    LayerError
        When a listed layer does not exist or did not fire.
    NetworkError
        When nothing is left to capture.
    """
    parts = Dissection(module, trace)
    logits = parts.logits()
    embedding = _embedding(parts, logits)
    reasons = dict.fromkeys(parts.gates, "squeeze and excitation")
    reasons |= dict.fromkeys(parts.shortcuts, "1x1 shortcut")
    if not include_logits:
        reasons[logits.call] = "classifier output"
    names = [_label(firing) for firing in parts.fired]
    if layers is not None:
        _check_listed(layers, names, parts)
        kept = set(layers) | ({_label(logits)} if include_logits else set())
        reasons = {f.call: "not listed" for f in parts.fired if _label(f) not in kept}
    taken = [firing for firing in parts.fired if firing.call not in reasons]
    if not taken:
        msg = "no layer is left to capture; list the layers to take in the project file"
        raise NetworkError(msg)
    skipped = [
        SkippedLayer(layer_name=_label(firing), reason=reasons[firing.call])
        for firing in parts.fired
        if firing.call in reasons
    ]
    return Anatomy(
        layers=tuple(_describe(parts, taken)),
        skipped=(*skipped, *_silent(parts)),
        logits_layer=_label(logits),
        embedding_layer=embedding.name,
        embedding_dimensions=_width(parts, embedding),
        firings={firing.name: firing.number for firing in parts.fired},
    )


def _label(firing: Firing) -> str:
    return firing.name if firing.number == 1 else f"{firing.name}#{firing.number}"


def _check_listed(layers: Sequence[str], names: Sequence[str], parts: Dissection) -> None:
    for name in layers:
        if name not in names:
            module = parts.modules.get(name.partition("#")[0])
            fault = (
                "no such module"
                if module is None
                else "it never fires in evaluation mode"
                if isinstance(module, (nn.Conv2d, nn.Linear))
                else "it is neither a convolution nor a linear layer"
            )
            msg = f"layer {name!r} cannot be captured: {fault}; layers: {', '.join(names)}"
            raise LayerError(msg)


def _silent(parts: Dissection) -> Iterator[SkippedLayer]:
    fired = {firing.name for firing in parts.fired}
    for name, module in parts.modules.items():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and name not in fired:
            yield SkippedLayer(layer_name=name, reason="never fires in evaluation mode")


def _embedding(parts: Dissection, logits: Firing) -> Firing:
    """Return the last linear layer, whose input is the embedding; else the layer of the logits."""
    linear = [
        firing
        for firing in parts.fired
        if isinstance(parts.modules[firing.name], nn.Linear) and firing.call not in parts.gates
    ]
    return linear[-1] if linear else logits


def _width(parts: Dissection, embedding: Firing) -> int:
    module = parts.modules[embedding.name]
    return module.in_channels if isinstance(module, nn.Conv2d) else int(module.in_features)


def _describe(parts: Dissection, taken: Sequence[Firing]) -> Iterator[LayerInfo]:
    fields = parts.fields()
    side = max(parts.trace.input_shape[2:])
    shapes = [_space(parts.call(firing.call), parts, firing) for firing in taken]
    blocks = _blocks([firing.name for firing in taken], shapes)
    sites = [parts.hookable(site) for site in parts.sites(taken)]
    for index, (firing, site) in enumerate(zip(taken, sites, strict=True)):
        call = parts.call(site.call)
        space = [
            side for axis, side in enumerate(call.shape) if axis not in {0, site.channel_axis}
        ]
        returned = parts.returned.get(site.call)
        reach, step = fields[site.call]
        step = step if space else side
        yield LayerInfo(
            layer_index=index,
            layer_name=_label(firing),
            kind="conv" if isinstance(parts.modules[firing.name], nn.Conv2d) else "linear",
            filters=call.shape[site.channel_axis],
            height=space[0] if space else 1,
            width=space[1] if len(space) > 1 else 1,
            site=site.site,
            receptive_field=reach,
            stride=step,
            block=blocks[index],
            point=TapPoint(
                module=returned.name if returned else None,
                firing=returned.number if returned else 0,
                function=call.function,
                number=call.number,
                channel_axis=site.channel_axis,
            ),
        )


def _space(call: Call, parts: Dissection, firing: Firing) -> tuple[int, ...]:
    is_map = isinstance(parts.modules[firing.name], nn.Conv2d)
    return call.shape[2:] if is_map else call.shape[1:-1]


def _blocks(names: Sequence[str], spaces: Sequence[tuple[int, ...]]) -> list[str]:
    """Name the group of every layer: the module's own name, else a count of resolutions.

    ``layer3.1.conv2`` belongs to ``layer3``. In a plain sequence such as ``features.24`` names say
    nothing, so the layers of one resolution form a group: ``conv1``, ``conv2`` and so on.

    Returns
    -------
    list of str
    """
    maps = [name.split(".") for name, space in zip(names, spaces, strict=True) if space]
    shared: list[str] = []
    while (holder := _holder(maps, shared)) is not None:
        shared.append(holder)
    blocks, stage, last = [], 0, None
    for name, space in zip(names, spaces, strict=True):
        parts = name.split(".")
        depth = len(shared) if space and parts[: len(shared)] == shared else 0
        inner = parts[min(depth, len(parts) - 1)]
        if space and space != last:
            stage, last = stage + 1, space
        blocks.append(f"conv{stage}" if space and inner.isdigit() else inner)
    return blocks


def _holder(maps: Sequence[Sequence[str]], shared: Sequence[str]) -> str | None:
    """Return the module inside ``shared`` that holds too many layers to name a group."""
    depth = len(shared)
    inside = [parts for parts in maps if list(parts[:depth]) == list(shared)]
    for name in {parts[depth] for parts in inside if len(parts) > depth}:
        held = [parts for parts in inside if len(parts) > depth + 1 and parts[depth] == name]
        has_names = all(not parts[depth + 1].isdigit() for parts in held)
        if len(held) == len(maps) > 1 or (2 * len(held) > len(maps) and has_names):
            return name
    return None
