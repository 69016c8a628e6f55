"""Header of the page and tabs of the phone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import param

from app.components.one_way import OneWay

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = Path(__file__).parent
_LONGEST_SEARCH = 200


class HeaderBar(OneWay):
    """Name, pages, search, store, theme and help.

    Parameters
    ----------
    header_data : dict
        ``pages`` [{id, label}], ``page``, ``store``, ``stores``, ``splits`` [{id, label}],
        ``split``, ``line``, ``examples`` [[text, meaning]], ``dark``. All of it is set as text.
    """

    header_data = param.Dict(default={})

    _esm = _HERE / "header.js"
    _stylesheets: ClassVar[list[Any]] = [_HERE / "bars.css"]

    def __init__(self, **params: Any) -> None:
        self._on_message: Callable[[str, str], None] | None = None
        super().__init__(**params)

    def listen(self, on_message: Callable[[str, str], None]) -> None:
        """Call ``on_message(name, value)`` for "search", "theme", "help", "page" and "split"."""
        self._on_message = on_message

    def show_found(self) -> None:
        """Close the search: what was asked for is on the page."""
        self._tell({"found": True})

    def show_none(self, reason: str) -> None:
        """Say under the search why nothing was found; plain text."""
        self._tell({"none": reason})

    def _tell(self, message: dict[str, Any]) -> None:
        self._send_msg(message)

    def _handle_msg(self, msg: Any) -> None:
        if not isinstance(msg, dict) or self._on_message is None:
            return
        for name in ("search", "theme", "help", "page", "split"):
            if name in msg:
                value = msg[name]
                self._on_message(name, value[:_LONGEST_SEARCH] if isinstance(value, str) else "")


class PhoneTabs(OneWay):
    """Four tabs, one per view.

    Parameters
    ----------
    tabs_view : str
        ``"a"`` to ``"d"``.
    """

    tabs_view = param.String(default="a")

    _esm = _HERE / "tabs.js"
    _stylesheets: ClassVar[list[Any]] = [_HERE / "bars.css"]

    def _handle_msg(self, msg: Any) -> None:
        view = msg.get("view") if isinstance(msg, dict) else None
        if view in ("a", "b", "c", "d"):
            self.tabs_view = view
