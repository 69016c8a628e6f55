"""The browser side of the finder: filters, the list of images, and the table of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import param

from app.components.assets import script, sheet
from app.components.one_way import OneWay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Finder(OneWay):
    """Filters on the left, images on the right.

    Every name is set as text. Messages go to ``on_message`` unchecked: they come from a browser.

    Parameters
    ----------
    finder_form : dict
        truths, classes and flips (``{"value", "label"}``), why and command where there are no
        flips, and what is set: true, predicted, verdict, low, high, order, can_reset.
    finder_found : dict
        n, of, order, page, last, range, items; headline and words when there are none.
    finder_classes : dict
        title, extent, heads, help and rows; empty without an order by smallest flip.
    """

    finder_form = param.Dict(default={})
    finder_found = param.Dict(default={})
    finder_classes = param.Dict(default={})

    _esm = script("dom.js", "finder.js")
    _stylesheets: ClassVar[list[Any]] = [sheet("base.css", "finder.css")]

    def __init__(
        self, on_message: Callable[[Mapping[str, Any]], None] | None = None, **params: Any
    ) -> None:
        self._on_message = on_message
        super().__init__(**params)

    def tell_form(self) -> None:
        """Have the browser show again what is set: it sent something that cannot be."""
        self._send_msg({"again": True})

    def _handle_msg(self, msg: Any) -> None:
        if self._on_message and isinstance(msg, dict):
            self._on_message(msg)
