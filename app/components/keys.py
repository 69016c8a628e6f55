"""Keys of the page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import param

from app import safe
from app.components.one_way import OneWay

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = Path(__file__).parent

HELP = (
    ("← →", "move the focus through the selection"),
    ("1 2 3 4", "go to a view"),
    ("f", "maximise the view, or give it back its place"),
    ("Esc", "close what is on top, one thing at a time, then clear the selection"),
    ("/", "search"),
    ("i", "select the others"),
    ("z, Shift z", "undo, redo"),
    ("+ − 0", "zoom the map or show all of it, while it has the keyboard; arrows move it"),
    ("[ ]", "evidence of the previous, the next layer"),
    ("r", "reset the changes of the image"),
    ("?", "this list"),
)
"""What each key does, for the help dialog."""


class Keys(OneWay):
    """Listens on the document; silent while someone types.

    Parameters
    ----------
    keys_modifier : str
        ``"shift"``, ``"alt"`` or empty: what is held down while a region is drawn.
    """

    keys_modifier = param.String(default="")

    _esm = _HERE / "keys.js"

    def __init__(
        self,
        on_key: Callable[[str], None] | None = None,
        on_address: Callable[[str], None] | None = None,
        **params: Any,
    ) -> None:
        self._on_key = on_key
        self._on_address = on_address
        self._moves = 0
        super().__init__(**params)

    def go_to(self, view: str) -> None:
        """Give the keyboard to the frame of a view.

        Parameters
        ----------
        view : str
            ``"a"`` to ``"d"``.
        """
        self._send_msg({"view": view})

    def write_address(self, text: str, *, is_step: bool) -> None:
        """Show an address; the newest of a burst wins.

        Parameters
        ----------
        text : str
            Query with its question mark, or empty.
        is_step : bool
            Whether Back shall return to what was shown before.
        """
        self._send_msg({"address": text, "step": is_step, "moves": self._moves})

    def _handle_msg(self, msg: Any) -> None:
        if not isinstance(msg, dict):
            return
        modifier, key, address = msg.get("modifier"), msg.get("key"), msg.get("address")
        self._moves = safe.integer(msg.get("moves"), 0, 2**31) or self._moves
        if isinstance(modifier, str) and modifier in {"", "shift", "alt"}:
            self.keys_modifier = modifier
        if isinstance(key, str) and self._on_key:
            self._on_key(key[:12])
        if isinstance(address, str) and self._on_address:
            self._on_address(address[:4000])
