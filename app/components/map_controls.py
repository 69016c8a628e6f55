"""What belongs to the map alone: the choice of its colours, and what lies over its picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import param

from app.components import assets
from app.components.one_way import OneWay

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = Path(__file__).parent

MAP_KEYS = {
    "+": "in", "=": "in", "-": "out", "_": "out", "0": "home", "Home": "home",
    "ArrowLeft": "left", "ArrowRight": "right", "ArrowUp": "up", "ArrowDown": "down",
}  # fmt: skip
"""What the keys do while the map has the focus of the keyboard."""


class ColourChoice(OneWay):
    """What the colour of a point means: a few buttons and a grouped list.

    Parameters
    ----------
    colour_options : list of dict
        ``{"value", "label", "short", "group", "reason"}``; without a group it is a button, with a
        reason it cannot be chosen. Set as text.
    colour_value : str
        The chosen option.
    """

    colour_options = param.List(default=[], item_type=dict)
    colour_value = param.String(default="")

    _esm = assets.script("dom.js", "map_colour.js")
    _stylesheets: ClassVar[list[Any]] = [_HERE / "controls.css", _HERE / "map_colour.css"]

    def _handle_msg(self, msg: Any) -> None:
        chosen = msg.get("value") if isinstance(msg, dict) else None
        # Compared, not hashed: it may be a list.
        for option in self.colour_options:
            if chosen == option["value"] and not option["reason"]:
                self.colour_value = option["value"]


class MapFrame(OneWay):
    """Over the picture of the map: n of N, what is hidden, the keyboard, and its empty state.

    Parameters
    ----------
    frame_data : dict
        ``label`` (of the figure, with its n), ``drawn``, ``hidden``, ``empty`` and ``why``; set
        as text.
    """

    frame_data = param.Dict(default={})

    _esm = assets.script("dom.js", "map_frame.js")
    _stylesheets: ClassVar[list[Any]] = [_HERE / "base.css", _HERE / "map_frame.css"]

    def __init__(
        self,
        on_move: Callable[[str], None] | None = None,
        on_all: Callable[[], None] | None = None,
        **params: Any,
    ) -> None:
        self._on_move = on_move
        self._on_all = on_all
        super().__init__(**params)

    def _handle_msg(self, msg: Any) -> None:
        if not isinstance(msg, dict):
            return
        key = msg.get("key")
        if isinstance(key, str) and key in MAP_KEYS and self._on_move:
            self._on_move(MAP_KEYS[key])
        if msg.get("all") is True and self._on_all:
            self._on_all()
