"""Record the graph of a gradient, whatever mode the caller is in."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from vatun.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def graph() -> Iterator[None]:
    """Let operations inside the block be differentiated.

    The caller may be inside inference mode, whose tensors cannot carry a graph.

    Yields
    ------
    None

    Raises
    ------
    NetworkError
        When the network reads a tensor that an earlier forward pass left with it: without a
        gradient a network runs in inference mode, and what it makes there has no graph.
    RuntimeError
        As torch raises it, where it is anything else.
    """
    try:
        with torch.inference_mode(mode=False), torch.enable_grad():
            yield
    except RuntimeError as error:
        # Torch has no type of its own for it.
        if "inference tensor" not in str(error).lower():
            raise
        msg = (
            "there is no gradient: the network keeps a tensor that it made in an earlier forward "
            "pass, where none was wanted. Make it in __init__ (register_buffer), or anew in "
            "every forward pass"
        )
        raise NetworkError(msg) from error
