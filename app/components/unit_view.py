"""The browser side of the filters: every filter of the network as one mark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import param

from app import safe
from app.components.assets import script, sheet
from app.components.one_way import OneWay

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Filter = tuple[int, int]
    Picked = Callable[[int, int, bool], None]
    Peeked = Callable[[int, int], None]
    Lassoed = Callable[[Sequence[Filter], int, str], None]

MOST_FILTERS = 500
"""Filters that may be chosen at the same time."""

MODES = ("replace", "add", "subtract")
"""What a lasso does to the filters that are chosen."""


class UnitView(OneWay):
    """Every filter as one mark, packed in a rectangle per layer, none left out.

    Messages of the browser are checked here; the callables get filters that exist.

    Parameters
    ----------
    on_pick : callable or None
        Told layer, filter and whether it joins the others, when a mark is clicked.
    on_peek : callable or None
        Told layer and filter of the mark on which pointer or keyboard rest; see ``show_peek``.
    on_lasso : callable or None
        Told the filters inside an outline, how many there are (at most ``MOST_FILTERS`` are
        named) and one of ``MODES``.
    unit_layers : list of dict
        In order of execution: name, block (what the label says), filters, light and dark colour.
    unit_shades : bytes
        Shade of each filter, 0 to 255, layer after layer; empty while unknown.
    unit_ends : tuple of (int, int)
        Shades that are drawn palest and darkest.
    unit_means : str
        What a shade is in words ("percentile").
    unit_path : list of int
        Winning filter of each layer for the focus; -1 is none. Empty without a focus.
    unit_other : list of int
        Winning filter of each layer for a changed copy of the focus; it is drawn where it differs
        from ``unit_path``. Empty without a copy.
    unit_pattern, unit_chosen : list of [layer, filter]
        Filters of the open pattern, and the chosen ones; layers by position in ``unit_layers``.
    unit_split : str
        Split whose strongest images the browser keeps; answers about another are dropped.
    unit_label : str
        What a screen reader says of the plot.
    """

    unit_layers = param.List(default=[], item_type=dict)
    unit_shades = param.Bytes(default=b"")
    unit_ends = param.NumericTuple(default=(0, 255), length=2)
    unit_means = param.String(default="percentile")
    unit_path = param.List(default=[], item_type=int)
    unit_other = param.List(default=[], item_type=int)
    unit_pattern = param.List(default=[])
    unit_chosen = param.List(default=[])
    unit_split = param.String(default="")
    unit_most = param.Integer(default=MOST_FILTERS)
    unit_label = param.String(default="")

    _esm = script("dom.js", "unit_view.js")
    _stylesheets: ClassVar[list[Any]] = [sheet("base.css", "unit_view.css")]

    def __init__(
        self,
        on_pick: Picked | None = None,
        on_peek: Peeked | None = None,
        on_lasso: Lassoed | None = None,
        **params: Any,
    ) -> None:
        self._on_pick = on_pick
        self._on_peek = on_peek
        self._on_lasso = on_lasso
        super().__init__(**params)

    def show_peek(
        self, layer: int, filter_index: int, split: str, images: list[dict[str, Any]], words: str
    ) -> None:
        """Send the strongest images of a filter; the browser keeps them.

        Parameters
        ----------
        layer, filter_index, split : int, int and str
            What they answer.
        images : list of dict
            ``url``, ``title`` and ``is_wrong`` of each.
        words : str
            Which images they are, plain text.
        """
        self._send_msg(
            {
                "layer": layer,
                "filter": filter_index,
                "split": split,
                "images": images,
                "words": words,
            }
        )

    def _handle_msg(self, msg: Any) -> None:
        if not isinstance(msg, dict):
            return
        kind = msg.get("kind")
        if kind == "lasso":
            self._take_lasso(msg)
            return
        item = self._known([msg.get("layer"), msg.get("filter")])
        if item is None:
            return
        if kind == "pick" and self._on_pick:
            self._on_pick(*item, msg.get("add") is True)
        elif kind == "peek" and self._on_peek:
            self._on_peek(*item)

    def _take_lasso(self, msg: dict[str, Any]) -> None:
        """Accept a lasso whose every filter exists; a forged one is refused as a whole."""
        named, mode = msg.get("filters"), msg.get("mode")
        if not self._on_lasso or mode not in MODES:
            return
        if not isinstance(named, list) or len(named) > MOST_FILTERS:
            return
        found = [self._known(item) for item in named]
        total = sum(layer["filters"] for layer in self.unit_layers)
        count = safe.integer(msg.get("count"), len(found), total)
        items = list(dict.fromkeys(item for item in found if item is not None))
        if count is not None and len(items) == len(named):
            self._on_lasso(items, count, str(mode))

    def _known(self, item: object) -> Filter | None:
        """Return a (layer, filter) that exists."""
        if not isinstance(item, list) or len(item) != 2:
            return None
        layer = safe.integer(item[0], 0, len(self.unit_layers) - 1)
        if layer is None:
            return None
        index = safe.integer(item[1], 0, self.unit_layers[layer]["filters"] - 1)
        return None if index is None else (layer, index)
