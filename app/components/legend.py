"""Legend of the map: a name selects what it stands for, its swatch shows or hides it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import param

from app.components import assets
from app.components.one_way import OneWay

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = Path(__file__).parent
_LONGEST = 200


# pmui styles every model whose class name ends in "Legend", "Axis" or "Toolbar" as Bokeh's own.
class LegendList(OneWay):
    """Entries with colour, name and count, or a colour ramp.

    Parameters
    ----------
    legend_data : dict
        ``items`` [{key, name, colour, count, hidden}], ``ramp`` {low, high, title, reversed},
        ``note``, and ``names`` and ``find`` where not every name has an entry; set as text.
    on_pick, on_hide : callable
        Called with the key of an entry whose name, or swatch, was pressed.
    on_find : callable
        Called with what was typed to find a name.
    """

    legend_data = param.Dict(default={})

    _esm = assets.script("dom.js", "legend.js")
    _stylesheets: ClassVar[list[Any]] = [_HERE / "legend.css"]

    def __init__(
        self,
        on_pick: Callable[[str], None] | None = None,
        on_hide: Callable[[str], None] | None = None,
        on_find: Callable[[str], None] | None = None,
        **params: Any,
    ) -> None:
        self._on_pick = on_pick
        self._on_hide = on_hide
        self._on_find = on_find
        super().__init__(**params)

    def _handle_msg(self, msg: Any) -> None:
        if not isinstance(msg, dict):
            return
        keys = {item["key"] for item in self.legend_data.get("items", [])}
        for name, act in (("key", self._on_pick), ("hide", self._on_hide)):
            asked = msg.get(name)
            if act and isinstance(asked, str) and asked in keys:
                act(asked)
        text = msg.get("find")
        if self._on_find and isinstance(text, str) and self.legend_data.get("names"):
            self._on_find(text[:_LONGEST])
