"""Legend of the map; a click selects what an entry stands for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import param
from panel.custom import JSComponent

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = Path(__file__).parent


# pmui styles every model whose class name ends in "Legend", "Axis" or "Toolbar" as Bokeh's own.
class LegendList(JSComponent):
    """Entries with colour, name and count, or a colour ramp.

    Parameters
    ----------
    legend_data : dict
        ``items`` [{key, name, colour, count}], ``ramp`` [low, high] and ``note``; set as text.
    """

    legend_data = param.Dict(default={})

    _esm = _HERE / "legend.js"
    _stylesheets: ClassVar[list[Any]] = [_HERE / "legend.css"]

    def __init__(self, on_pick: Callable[[str], None] | None = None, **params: Any) -> None:
        self._on_pick = on_pick
        super().__init__(**params)

    def _handle_msg(self, msg: Any) -> None:
        key = str(msg.get("key")) if isinstance(msg, dict) else ""
        if self._on_pick and key in {item["key"] for item in self.legend_data.get("items", [])}:
            self._on_pick(key)
