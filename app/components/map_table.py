"""The browser side of the map as a table: one page of rows that sort and open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import param

from app.components.assets import script, sheet
from app.components.one_way import OneWay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class MapTable(OneWay):
    """Rows of images, never more than one page of them.

    Every name is set as text. Messages go to ``on_message`` unchecked: they come from a browser.

    Parameters
    ----------
    table_open : bool
        Whether it is shown in place of the map.
    table_head : dict
        ``n``, ``of``, ``columns`` [{key, text, number}], ``sort``, ``down``, ``page``, ``last``,
        ``range``.
    table_rows : list of dict
        ``{"id", "cells", "is_wrong"}`` of each image of the page; a cell for each column.
    table_focus : int
        Image under test, -1 for none.
    """

    table_open = param.Boolean(default=False)
    table_head = param.Dict(default={})
    table_rows = param.List(default=[], item_type=dict)
    table_focus = param.Integer(default=-1)

    _esm = script("dom.js", "map_table.js")
    _stylesheets: ClassVar[list[Any]] = [sheet("base.css", "map_table.css")]

    def __init__(
        self, on_message: Callable[[Mapping[str, Any]], None] | None = None, **params: Any
    ) -> None:
        self._on_message = on_message
        super().__init__(**params)

    def _handle_msg(self, msg: Any) -> None:
        if self._on_message and self.table_open and isinstance(msg, dict):
            self._on_message(msg)
