"""Read a trace: which calls are layers, where a layer's activation is, what is not a layer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from vatun.errors import NetworkError
from vatun.trace import NETWORK_INPUT, Call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vatun.trace import Firing, Trace

ACTIVATIONS = frozenset({
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish",
    "hardswish", "hardtanh", "hardsigmoid", "sigmoid", "tanh", "softplus", "softsign", "threshold",
    "logsigmoid", "hardshrink", "softshrink", "tanhshrink", "clamp", "clamp_min",
})  # fmt: skip
NORMS = frozenset({"batch_norm", "layer_norm", "group_norm", "instance_norm"})
# Calls that hand on the same values: followed without changing the site.
_TRANSPARENT = frozenset({
    "permute", "transpose", "swapaxes", "contiguous", "to", "float", "clone", "detach", "dropout",
    "dropout2d", "feature_dropout", "alpha_dropout", "feature_alpha_dropout",
})  # fmt: skip
_RESHAPING = frozenset({
    "flatten", "unflatten", "view", "reshape", "squeeze", "unsqueeze", "expand", "expand_as",
    "getitem",
})  # fmt: skip
_POOLING = frozenset({
    "adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "mean", "amax", "max",
})  # fmt: skip
_GATES = frozenset({"sigmoid", "hardsigmoid"})


@dataclass(frozen=True)
class Site:
    """The call whose tensor holds a layer's activation.

    Parameters
    ----------
    call : int
        Index in the trace.
    site : str
        ``"post_activation"``, ``"post_norm"`` or ``"output"``.
    channel_axis : int
        Axis of the filters in that tensor.
    """

    call: int
    site: str
    channel_axis: int


class Dissection:
    """Questions about one trace.

    Parameters
    ----------
    module : nn.Module
        The network that was traced.
    trace : Trace
        Its forward pass on one image.

    Attributes
    ----------
    fired : list of Firing
        Executions of convolutions and linear layers, in order.
    layer_calls : dict of int to Firing
        The same by the call that made their output.
    returned : dict of int to Firing
        For every call, the innermost module that returned its tensor.
    gates : dict of int to int
        Calls of squeeze-and-excitation layers, and the multiplication each one feeds.
    shortcuts : set of int
        Calls of 1x1 convolutions that only carry a block's input past the block.
    """

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
        self.shortcuts = self._find_shortcuts()

    def call(self, index: int) -> Call:
        """Return the call at ``index``."""
        return self.trace.calls[index]

    def logits(self) -> Firing:
        """Return the last layer on the way to the output.

        Returns
        -------
        Firing

        Raises
        ------
        NetworkError
            When no layer leads to the output.
        """
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

        Returns
        -------
        dict of int to int
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

    def _find_shortcuts(self) -> set[int]:
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

    def sites(self, firings: Sequence[Firing]) -> list[Site]:
        """Return where each layer is read; layers that meet in one sum are read before it.

        Returns
        -------
        list of Site
            No tensor twice: what no layer has alone is no layer's activation.
        """
        found = [
            self.site(firing, through_sum=firing.call not in self.shortcuts) for firing in firings
        ]
        times = Counter(site.call for site in found)
        return [
            self.site(firing, through_sum=False) if times[site.call] > 1 else site
            for firing, site in zip(firings, found, strict=True)
        ]

    def site(self, firing: Firing, *, through_sum: bool = True) -> Site:
        """Follow the tensor a layer made to its activation, else its norm, else stay.

        Parameters
        ----------
        firing : Firing
            The layer.
        through_sum : bool
            Whether the activation of a sum that the layer is a part of may be its own.

        Returns
        -------
        Site
        """
        start = self.call(firing.call)
        is_map = isinstance(self.modules[firing.name], nn.Conv2d)
        axis = 1 if is_map else len(start.shape) - 1
        filters = start.shape[axis]
        best = Site(firing.call, "output", axis)
        index, is_added = firing.call, False
        while True:
            step = self._next(index, is_added=is_added)
            if step is None:
                return best
            call = self.call(step)
            if call.function == "add" and not through_sum:
                return best
            if call.axes is not None:
                axis = call.axes.index(axis)
            if len(call.shape) <= axis or call.shape[axis] != filters:
                return best
            if call.function in ACTIVATIONS or call.function == "mul":
                return Site(step, "post_activation", axis)
            if call.function in NORMS:
                best = Site(step, "post_norm", axis)
            is_added = is_added or call.function == "add"
            index = step

    def hookable(self, site: Site) -> Site:
        """Move a site to a later tensor of the same values that a module returns, if any."""
        index, axis = site.call, site.channel_axis
        while index not in self.returned:
            users = [self.call(user) for user in self.trace.consumers[index]]
            if len(users) != 1 or users[0].function not in _TRANSPARENT:
                return site
            index = users[0].index
            axis = users[0].axes.index(axis) if users[0].axes is not None else axis
        return Site(index, site.site, axis)

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
