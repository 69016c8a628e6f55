"""Short names of layers for labels, chips and lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from app import safe

if TYPE_CHECKING:
    from collections.abc import Sequence


class NamedLayer(Protocol):
    """What a row of the table ``layers`` has that names need."""

    @property
    def layer_name(self) -> str:
        """Path in the network's modules."""

    @property
    def block(self) -> str | None:
        """Block of the network."""


def block_of(layer: NamedLayer) -> str:
    """Return the block that a layer is drawn under; its own path where none is known."""
    return safe.plain(layer.block or layer.layer_name, limit=24)


def short_names(layers: Sequence[NamedLayer]) -> list[str]:
    """Return a name such as ``conv5_3`` for each layer: its block, and its place in it.

    Parameters
    ----------
    layers : sequence of layer rows
        In order of execution.

    Returns
    -------
    list of str
        Plain text, not escaped. A block of one layer has no number.
    """
    blocks = [block_of(layer) for layer in layers]
    seen: dict[str, int] = {}
    names = []
    for block in blocks:
        seen[block] = seen.get(block, 0) + 1
        names.append(f"{block}_{seen[block]}" if blocks.count(block) > 1 else block)
    return names


def filter_name(layer: str, filter_index: int) -> str:
    """Return what a chip says of a filter: ``5_3·371`` for filter 371 of ``conv5_3``."""
    shown = layer.removeprefix("conv")
    return f"{shown if shown[:1].isdigit() else layer}·{filter_index}"
