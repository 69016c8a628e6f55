"""The browser side of the filters: every filter of the network as one mark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import param
from panel.custom import JSComponent

from app import safe
from app.components.assets import script, sheet

Picked = Callable[[int, int, bool], None]


class UnitView(JSComponent):
    """Every filter as one mark, packed in a rectangle per layer, none left out.

    Parameters
    ----------
    unit_layers : list of dict
        In order of execution: name, block (what the label says), filters, light and dark colour.
    unit_shades : bytes
        Activation percentile of each filter, 0 to 255, layer after layer; empty while unknown.
    unit_path : list of int
        Winning filter of each layer for the focus; -1 is none. Empty without a focus.
    unit_other : list of int
        Winning filter of each layer for a changed copy of the focus; it is drawn where it differs
        from ``unit_path``. Empty without a copy.
    unit_pattern, unit_chosen : list of [layer, filter]
        Filters of the open pattern, and the chosen ones; layers by position in ``unit_layers``.
    unit_label : str
        What a screen reader says of the plot.
    """

    unit_layers = param.List(default=[], item_type=dict)
    unit_shades = param.Bytes(default=b"")
    unit_path = param.List(default=[], item_type=int)
    unit_other = param.List(default=[], item_type=int)
    unit_pattern = param.List(default=[])
    unit_chosen = param.List(default=[])
    unit_label = param.String(default="")

    _esm = script("dom.js", "unit_view.js")
    _stylesheets: ClassVar[list[Any]] = [sheet("base.css", "unit_view.css")]

    def __init__(self, on_pick: Picked | None = None, **params: Any) -> None:
        self._on_pick = on_pick
        super().__init__(**params)

    def _handle_msg(self, msg: Any) -> None:
        if not self._on_pick or not isinstance(msg, dict):
            return
        layer = safe.integer(msg.get("layer"), 0, len(self.unit_layers) - 1)
        if layer is None:
            return
        chosen = safe.integer(msg.get("filter"), 0, self.unit_layers[layer]["filters"] - 1)
        if chosen is not None:
            self._on_pick(layer, chosen, msg.get("add") is True)
