"""Watch one forward pass: which calls made which tensor from which, and which module returned it.

The trace is a graph of torch calls, not of modules, so functional and in-place activations are
seen like module ones. It needs no symbolic tracing: any control flow is followed as it happens.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

NETWORK_INPUT = -1
"""Index that stands for the tensor given to the network."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """How far one call looks along an image axis, in pixels of its input map."""

    kernel: int
    stride: int
    dilation: int = 1


@dataclass(frozen=True, kw_only=True)
class Call:
    """One torch call that returned a tensor.

    Parameters
    ----------
    index : int
        Position among the recorded calls.
    function : str
        Name without a trailing underscore or dunders: ``relu_`` and ``relu`` are one function.
    number : int
        Position among the calls of the same function in this forward pass.
    inputs : tuple of int
        Indices of the calls that made the tensors it was given; ``NETWORK_INPUT`` for the input.
    shape : tuple of int
        Shape of the (first) tensor it returned.
    axes : tuple of int or None
        For ``permute`` and ``transpose``: where each axis of the result comes from.
    window : Window or None
        For convolutions and pooling.
    """

    index: int
    function: str
    number: int
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None = None
    window: Window | None = None


@dataclass(frozen=True, kw_only=True)
class Firing:
    """One execution of a module.

    Parameters
    ----------
    name : str
        Path of the module in ``named_modules()``.
    number : int
        1 for its first execution in the forward pass, 2 for its second.
    call : int
        Index of the call that made the tensor it returned.
    source : int
        Index of the call that made the tensor it was given.
    """

    name: str
    number: int
    call: int
    source: int


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What happened in one forward pass; made by ``trace``."""

    calls: tuple[Call, ...]
    firings: tuple[Firing, ...]
    output: int
    consumers: tuple[tuple[int, ...], ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    def ancestors(self, index: int) -> set[int]:
        """Return the calls from which call ``index`` descends, itself and the input included."""
        found = {index}
        waiting = [index]
        while waiting:
            current = waiting.pop()
            if current == NETWORK_INPUT:
                continue
            fresh = set(self.calls[current].inputs) - found
            found |= fresh
            waiting.extend(fresh)
        return found


@dataclass
class _Recorder(TorchFunctionMode):
    """Collects calls while it is active."""

    calls: list[Call] = field(default_factory=list)
    producers: dict[int, int] = field(default_factory=dict)
    # Tensors are kept alive so that Python cannot give a dead one's id to another.
    alive: list[Tensor] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        given = kwargs or {}
        inputs = self.sources((args, given))
        result = func(*args, **given)
        made = list(tensors_in(result))
        if made:
            self.record(function_name(func), inputs, made, args, given)
        return result

    def sources(self, values: Any) -> tuple[int, ...]:
        """Return the calls that made the tensors among ``values``; parameters have none."""
        known = (self.producers.get(id(tensor)) for tensor in tensors_in(values))
        return tuple(index for index in known if index is not None)

    def record(
        self,
        function: str,
        inputs: tuple[int, ...],
        made: list[Tensor],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> int:
        """Add one call; the tensors it made descend from it."""
        self.counts[function] += 1
        index = len(self.calls)
        self.calls.append(
            Call(
                index=index,
                function=function,
                number=self.counts[function],
                inputs=inputs,
                shape=tuple(made[0].shape),
                axes=_axes(function, args, kwargs or {}),
                window=_window(function, args, kwargs or {}, made[0]),
            )
        )
        for tensor in made:
            self.producers[id(tensor)] = index
            self.alive.append(tensor)
        return index


def trace(module: nn.Module, images: Tensor) -> Trace:
    """Run ``module`` once and return what happened; hooks are gone afterwards.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode.
    images : Tensor of shape (batch, 3, height, width), float32
        Normalised input; one image is enough.

    Returns
    -------
    Trace
    """
    recorder = _Recorder()
    recorder.producers[id(images)] = NETWORK_INPUT
    firings: list[Firing] = []
    counts: Counter[str] = Counter()
    handles = []

    def watch(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            counts[name] += 1
            made = list(tensors_in(output))
            if not made:
                return
            call = recorder.producers.get(id(made[0]))
            sources = recorder.sources(inputs)
            if call is None:
                # An operation torch does not show to function modes (scripted or custom code).
                call = recorder.record("unseen", sources, made)
            source = sources[0] if sources else NETWORK_INPUT
            firings.append(Firing(name=name, number=counts[name], call=call, source=source))

        return hook

    try:
        for name, child in module.named_modules():
            handles.append(child.register_forward_hook(watch(name)))
        with torch.inference_mode(), recorder:
            output = module(images)
    finally:
        for handle in handles:
            handle.remove()
    tensor = next(iter(tensors_in(output)), None)
    consumers: list[list[int]] = [[] for _ in recorder.calls]
    for call in recorder.calls:
        for source in set(call.inputs) - {NETWORK_INPUT}:
            consumers[source].append(call.index)
    return Trace(
        calls=tuple(recorder.calls),
        firings=tuple(firings),
        output=NETWORK_INPUT if tensor is None else recorder.producers.get(id(tensor), -1),
        consumers=tuple(tuple(users) for users in consumers),
        input_shape=tuple(images.shape),
        output_shape=() if tensor is None else tuple(tensor.shape),
    )


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Walk the tensors of nested tuples, lists and dicts."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from tensors_in(value)
    elif isinstance(values, dict):
        for value in values.values():
            yield from tensors_in(value)


def function_name(func: Callable[..., Any]) -> str:
    """Return a call's name, the same for its method, operator and in-place forms."""
    name = getattr(func, "__name__", "unknown").strip("_")
    return {"iadd": "add", "radd": "add", "imul": "mul", "rmul": "mul", "multiply": "mul"}.get(
        name, name
    )


def _side(value: Any) -> int:
    """Return the longer of the two sides of a kernel, stride or dilation argument."""
    return max(value) if isinstance(value, (tuple, list)) else int(value)


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], place: int, name: str) -> Any:
    return args[place] if len(args) > place else kwargs.get(name)


def _axes(function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, ...] | None:
    if function not in {"permute", "transpose", "swapaxes"} or not args:
        return None
    count = args[0].ndim
    if function == "permute":
        dims = args[1] if len(args) == 2 else args[1:] or kwargs["dims"]
        dims = (dims,) if isinstance(dims, int) else dims
        return tuple(axis % count for axis in dims)
    if len(args) < 3:
        return None
    order = list(range(count))
    first, second = args[1] % count, args[2] % count
    order[first], order[second] = second, first
    return tuple(order)


def _window(
    function: str, args: tuple[Any, ...], kwargs: dict[str, Any], made: Tensor
) -> Window | None:
    if not args or not isinstance(args[0], Tensor):
        return None
    before = max(args[0].shape[2:], default=1)
    if function == "conv2d":
        weight = _argument(args, kwargs, 1, "weight")
        return Window(
            kernel=_side(tuple(weight.shape[2:])),
            stride=_side(_argument(args, kwargs, 3, "stride") or 1),
            dilation=_side(_argument(args, kwargs, 5, "dilation") or 1),
        )
    if function in {"max_pool2d", "avg_pool2d"}:
        kernel = _side(_argument(args, kwargs, 1, "kernel_size"))
        stride = _argument(args, kwargs, 2, "stride")
        return Window(kernel=kernel, stride=_side(stride) if stride else kernel)
    if args[0].ndim == 4 and (made.ndim == 2 or function.startswith("adaptive_")):
        # Global pooling and flattening see the whole map; adaptive pooling an even share of it.
        after = max(made.shape[2:], default=1)
        return Window(kernel=-(-before // after), stride=max(before // after, 1))
    if function == "mean" and made.ndim == 4 and tuple(made.shape[2:]) == (1, 1):
        return Window(kernel=before, stride=before)
    return None
