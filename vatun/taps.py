"""Read, or replace, chosen tensors during one forward pass.

Plain forward hooks do it. Only where an activation is a function call and no module returns it, a
function mode is active besides. Both see the calling thread alone, so many threads may ask one
shared network at the same time.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vatun.errors import LayerError, NetworkError
from vatun.trace import function_name, tensors_in

if TYPE_CHECKING:
    from types import TracebackType

    from vatun.layers import TapPoint

Receiver = Callable[[int, Tensor], Tensor | None]
"""Takes the position of a tap and its tensor; returns a tensor to put in its place, or None."""


class Taps:
    """Hand tensors of forward passes to a receiver; a context manager that leaves no hook behind.

    Parameters
    ----------
    module : nn.Module
        The network; several threads may tap it at once.
    points : sequence of TapPoint
        Where to read.
    receive : callable
        Called once for each point in every forward pass.
    before : mapping of str to callable, optional
        Called with the first input of a module before it runs.
    """

    def __init__(
        self,
        module: nn.Module,
        points: Sequence[TapPoint],
        receive: Receiver,
        *,
        before: tuple[str, Callable[[Tensor], None]] | None = None,
    ) -> None:
        self._module = module
        self._receive = receive
        self._before = before
        self._hooked: dict[str, dict[int, int]] = {}
        self._called: dict[tuple[str, int], int] = {}
        for position, point in enumerate(points):
            if point.module is None:
                self._called[point.function, point.number] = position
            else:
                self._hooked.setdefault(point.module, {})[point.firing] = position
        self._count = len(points)
        self._thread = 0
        self._fired: Counter[str] = Counter()
        self._received = 0
        self._handles: list[Any] = []

    def __enter__(self) -> Taps:
        self._thread = threading.get_ident()
        modules = dict(self._module.named_modules())
        try:
            for name, firings in self._hooked.items():
                hook = self._hook(name, firings)
                self._handles.append(modules[name].register_forward_hook(hook))
            if self._before is not None:
                name, watch = self._before
                self._handles.append(modules[name].register_forward_pre_hook(self._early(watch)))
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._remove()

    def run(self, inputs: Tensor) -> Tensor:
        """Run the network once and return its logits.

        Returns
        -------
        Tensor of shape (n, classes)

        Raises
        ------
        LayerError
            When a tap did not fire: the control flow of the network depends on its data.
        """
        self._fired.clear()
        self._received = 0
        if self._called:
            with _FunctionTaps(self._called, self._deliver):
                output = self._module(inputs)
        else:
            output = self._module(inputs)
        if self._received != self._count:
            silent = self._count - self._received
            msg = (
                f"{silent} of {self._count} layers did not fire: the network takes another way "
                "for these images than in the dry run; list the layers that always fire"
            )
            raise LayerError(msg)
        return first_tensor(output)

    def _deliver(self, position: int, tensor: Tensor) -> Tensor | None:
        self._received += 1
        return self._receive(position, tensor)

    def _hook(
        self, name: str, firings: dict[int, int]
    ) -> Callable[[nn.Module, tuple[Any, ...], Any], Any]:
        def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
            if threading.get_ident() != self._thread:
                return None
            self._fired[name] += 1
            position = firings.get(self._fired[name])
            return None if position is None else self._deliver(position, first_tensor(output))

        return hook

    def _early(
        self, watch: Callable[[Tensor], None]
    ) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            if threading.get_ident() == self._thread:
                watch(first_tensor(inputs))

        return hook

    def _remove(self) -> None:
        while self._handles:
            self._handles.pop().remove()


class _FunctionTaps(TorchFunctionMode):
    """Counts the calls of a few functions and delivers the chosen ones; modes are per thread."""

    def __init__(
        self,
        called: dict[tuple[str, int], int],
        deliver: Callable[[int, Tensor], Tensor | None],
    ) -> None:
        super().__init__()
        self._called = called
        self._deliver = deliver
        self._names = {name for name, _ in called}
        self._counts: Counter[str] = Counter()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        name = function_name(func)
        if name not in self._names:
            return result
        self._counts[name] += 1
        position = self._called.get((name, self._counts[name]))
        if position is None:
            return result
        replaced = self._deliver(position, first_tensor(result))
        return result if replaced is None else replaced


def first_tensor(values: Any) -> Tensor:
    """Return the first tensor of a module's output: the logits of networks with several outputs.

    Returns
    -------
    Tensor

    Raises
    ------
    NetworkError
        When there is none.
    """
    found = next(tensors_in(values), None)
    if found is None:
        msg = f"a tensor was expected from the network, got {type(values).__name__}"
        raise NetworkError(msg)
    return found
