"""Find the layers of a network under test, where each is read, and what each one sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from vatun.errors import LayerError, NetworkError
from vatun.trace import NETWORK_INPUT, Call, Firing, Trace

ACTIVATIONS = frozenset(
    "relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish hardswish hardtanh hardsigmoid "
    "sigmoid tanh softplus softsign threshold logsigmoid hardshrink softshrink tanhshrink clamp "
    "clamp_min".split()
)
NORMS = frozenset("batch_norm layer_norm group_norm instance_norm local_response_norm".split())
# Calls that hand on the same values: followed without changing the site.
_TRANSPARENT = frozenset(
    "permute transpose swapaxes contiguous to float dropout dropout2d feature_dropout clone "
    "alpha_dropout feature_alpha_dropout detach".split()
)
_RESHAPING = frozenset("flatten view reshape squeeze unsqueeze expand expand_as".split())
_POOLING = frozenset("adaptive_avg_pool2d adaptive_max_pool2d mean amax max avg_pool2d".split())
_GATES = frozenset({"sigmoid", "hardsigmoid"})


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


@dataclass(frozen=True)
class _Site:
    call: int
    site: str
    channel_axis: int


class _Dissection:
    """Questions about one trace."""

    def __init__(self, module: nn.Module, trace: Trace) -> None:
        modules = dict(module.named_modules())
        self.trace = trace
        self.modules = modules
        self.fired = [
            firing
            for firing in trace.firings
            if isinstance(modules[firing.name], (nn.Conv2d, nn.Linear))
        ]
        # A firing returns at the end of its module; order by the call that began the layer.
        self.fired.sort(key=lambda firing: firing.call)
        self.layer_calls = {firing.call: firing for firing in self.fired}
        self.returned: dict[int, Firing] = {}
        for firing in trace.firings:
            # Inner modules return first: the innermost module that returns a tensor names it.
            self.returned.setdefault(firing.call, firing)
        self.gates = self._find_gates()

    def call(self, index: int) -> Call:
        return self.trace.calls[index]

    def logits(self) -> Firing:
        """Return the last layer on the way to the output."""
        waiting, seen, found = [self.trace.output], set(), []
        while waiting:
            index = waiting.pop()
            if index == NETWORK_INPUT or index in seen:
                continue
            seen.add(index)
            if index in self.layer_calls:
                found.append(index)
            else:
                waiting.extend(self.call(index).inputs)
        if not found:
            msg = "the network holds no convolution or linear layer that leads to its output"
            raise NetworkError(msg)
        return self.layer_calls[max(found)]

    def _back(self, index: int, through: frozenset[str]) -> int:
        """Return the first call, going back from ``index``, that is not one of ``through``."""
        while index != NETWORK_INPUT:
            call = self.call(index)
            if index in self.layer_calls or call.function not in through or not call.inputs:
                break
            index = call.inputs[0]
        return index

    def _find_gates(self) -> dict[int, int]:
        """Map each call of squeeze-and-excitation layers to the multiplication it feeds.

        The pattern is ``x * f(pool(x))``: only layers between such a pool and product are gates.
        """
        found: dict[int, int] = {}
        for call in self.trace.calls:
            if call.function != "mul" or len(call.inputs) != 2:
                continue
            for gate, gated in (call.inputs, call.inputs[::-1]):
                for layer in self._gate_layers(gate, gated):
                    found[layer] = call.index
        return found

    def _gate_layers(self, gate: int, gated: int) -> list[int]:
        steps = ACTIVATIONS | NORMS | _TRANSPARENT | _RESHAPING
        layers: list[int] = []
        index = gate
        while index != NETWORK_INPUT:
            call = self.call(index)
            if index in self.layer_calls:
                layers.append(index)
            elif call.function in _POOLING:
                source = self._back(call.inputs[0], _TRANSPARENT) if call.inputs else index
                return layers if source == self._back(gated, _TRANSPARENT) else []
            elif call.function not in steps:
                return []
            if not call.inputs:
                return []
            index = call.inputs[0]
        return []

    def shortcuts(self) -> set[int]:
        """Return the calls of 1x1 convolutions that only carry a block's input past the block."""
        found = set()
        for call in self.trace.calls:
            if call.function != "add" or len(call.inputs) != 2:
                continue
            for side, other in (call.inputs, call.inputs[::-1]):
                layer = self._back(side, NORMS | _TRANSPARENT)
                if layer in self.layer_calls and self._bypasses(layer, other):
                    found.add(layer)
        return found

    def _bypasses(self, layer: int, other: int) -> bool:
        window = self.call(layer).window
        if window is None or window.kernel != 1:
            return False
        firing = self.layer_calls[layer]
        start = self._back(firing.source, _POOLING | _TRANSPARENT)
        branch = self.trace.ancestors(other)
        # A branch that descends from the layer itself makes it the block's input, not a shortcut.
        if start not in branch or layer in branch:
            return False
        inside = (branch - self.trace.ancestors(start)) & set(self.layer_calls)
        windows = [self.call(index).window for index in inside if index not in self.gates]
        return len(windows) > 1 or any(each is not None and each.kernel > 1 for each in windows)

    def site(self, firing: Firing) -> _Site:
        """Follow the tensor a layer made to its activation, else its norm, else stay."""
        start = self.call(firing.call)
        is_map = isinstance(self.modules[firing.name], nn.Conv2d)
        axis = 1 if is_map else len(start.shape) - 1
        filters = start.shape[axis]
        best = _Site(firing.call, "output", axis)
        index, is_added = firing.call, False
        while True:
            step = self._next(index, is_added=is_added)
            if step is None:
                return best
            call = self.call(step)
            if call.axes is not None:
                axis = call.axes.index(axis)
            if len(call.shape) <= axis or call.shape[axis] != filters:
                return best
            if call.function in ACTIVATIONS or call.function == "mul":
                return _Site(step, "post_activation", axis)
            if call.function in NORMS:
                best = _Site(step, "post_norm", axis)
            is_added = is_added or call.function == "add"
            index = step

    def hookable(self, site: _Site) -> _Site:
        """Move a site to a later tensor of the same values that a module returns, if there is one."""
        index, axis = site.call, site.channel_axis
        while index not in self.returned:
            users = [self.call(user) for user in self.trace.consumers[index]]
            if len(users) != 1 or users[0].function not in _TRANSPARENT:
                return site
            index = users[0].index
            axis = users[0].axes.index(axis) if users[0].axes is not None else axis
        return _Site(index, site.site, axis)

    def _next(self, index: int, *, is_added: bool) -> int | None:
        """Return the call that takes the tensor of ``index`` onward as the same filters."""
        users = [self.call(user) for user in self.trace.consumers[index]]
        for user in users:
            # x * sigmoid(x) written out is one activation, SiLU.
            if user.function == "mul" and self._is_swish(user, index):
                return user.index
        for user in users:
            if user.function in NORMS and not is_added and user.inputs[0] == index:
                return user.index
        for names in (ACTIVATIONS, _TRANSPARENT):
            for user in users:
                if user.function in names and user.inputs[0] == index:
                    return user.index
        # A sum with a shortcut keeps the filters apart and its activation is what the next layer
        # sees. A second sum, or a norm after it, belongs to the stream and not to this layer.
        sums = [user for user in users if user.function == "add" and len(user.inputs) == 2]
        return sums[0].index if sums and not is_added else None

    def _is_swish(self, product: Call, index: int) -> bool:
        others = [source for source in product.inputs if source != index]
        if len(product.inputs) != 2 or len(others) != 1 or others[0] == NETWORK_INPUT:
            return False
        gate = self.call(others[0])
        return gate.function in _GATES and gate.inputs[:1] == (index,)

    def fields(self) -> list[tuple[int, int]]:
        """Return (receptive field, stride) in input pixels after every call."""
        found: list[tuple[int, int]] = []
        for call in self.trace.calls:
            inputs = list(call.inputs)
            if call.function == "mul" and call.index in self.gates.values():
                inputs = [index for index in inputs if not self._is_gate(index, call.index)]
            seen = [(1, 1) if index == NETWORK_INPUT else found[index] for index in inputs]
            reach, step = max(seen, default=(1, 1))
            step = max((stride for _, stride in seen), default=step)
            if call.window is not None:
                reach += (call.window.kernel - 1) * call.window.dilation * step
                step *= call.window.stride
            found.append((reach, step))
        return found

    def _is_gate(self, index: int, product: int) -> bool:
        layer = self._back(index, ACTIVATIONS | _TRANSPARENT | _RESHAPING)
        return self.gates.get(layer) == product


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
    parts = _Dissection(module, trace)
    logits = parts.logits()
    embedding = _embedding(parts, logits)
    reasons = {index: "squeeze and excitation" for index in parts.gates}
    reasons |= dict.fromkeys(parts.shortcuts(), "1x1 shortcut")
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


def _check_listed(layers: Sequence[str], names: Sequence[str], parts: _Dissection) -> None:
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


def _silent(parts: _Dissection) -> Iterator[SkippedLayer]:
    fired = {firing.name for firing in parts.fired}
    for name, module in parts.modules.items():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and name not in fired:
            yield SkippedLayer(layer_name=name, reason="never fires in evaluation mode")


def _embedding(parts: _Dissection, logits: Firing) -> Firing:
    """Return the last linear layer, whose input is the embedding; else the layer of the logits."""
    linear = [
        firing
        for firing in parts.fired
        if isinstance(parts.modules[firing.name], nn.Linear) and firing.call not in parts.gates
    ]
    return linear[-1] if linear else logits


def _width(parts: _Dissection, embedding: Firing) -> int:
    module = parts.modules[embedding.name]
    return module.in_channels if isinstance(module, nn.Conv2d) else int(module.in_features)  # type: ignore[arg-type]


def _describe(parts: _Dissection, taken: Sequence[Firing]) -> Iterator[LayerInfo]:
    fields = parts.fields()
    side = max(parts.trace.input_shape[2:])
    shapes = [_space(parts.call(firing.call), parts, firing) for firing in taken]
    blocks = _blocks([firing.name for firing in taken], shapes)
    for index, firing in enumerate(taken):
        site = parts.hookable(parts.site(firing))
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


def _space(call: Call, parts: _Dissection, firing: Firing) -> tuple[int, ...]:
    is_map = isinstance(parts.modules[firing.name], nn.Conv2d)
    return call.shape[2:] if is_map else call.shape[1:-1]


def _blocks(names: Sequence[str], spaces: Sequence[tuple[int, ...]]) -> list[str]:
    """Name the group of every layer: the module's own name, else a count of resolutions.

    ``layer3.1.conv2`` belongs to ``layer3``. In a plain sequence such as ``features.24`` names say
    nothing, so the layers of one resolution form a group: ``conv1``, ``conv2`` and so on.
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
