"""The browser side of the gallery: one page of thumbnails, its order and the way to the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import param

from app.components.assets import script, sheet
from app.components.one_way import OneWay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Gallery(OneWay):
    """Thumbnails in rows, never more than one page of them.

    Every name is set as text. Messages go to ``on_message`` unchecked: they come from a browser.

    Parameters
    ----------
    gallery_head : dict
        ``n``, ``of``, ``order``, ``swept``, ``page``, ``last``, ``range``; for an empty selection
        ``headline`` and ``words``.
    gallery_items : list of dict
        ``{"id", "url", "title", "caption", "is_wrong"}`` of each image of the page.
    gallery_focus : int
        Image under test, -1 for none.
    gallery_orders : list of dict
        ``{"value", "label"}`` of each order.
    gallery_large : bool
        Whether thumbnails are large, with the names of their classes.
    """

    gallery_head = param.Dict(default={})
    gallery_items = param.List(default=[], item_type=dict)
    gallery_focus = param.Integer(default=-1)
    gallery_orders = param.List(default=[], item_type=dict)
    gallery_large = param.Boolean(default=False)

    _from_browser = ("gallery_large",)

    _esm = script("dom.js", "gallery.js")
    _stylesheets: ClassVar[list[Any]] = [sheet("base.css", "gallery.css")]

    def __init__(
        self, on_message: Callable[[Mapping[str, Any]], None] | None = None, **params: Any
    ) -> None:
        self._on_message = on_message
        super().__init__(**params)

    def _handle_msg(self, msg: Any) -> None:
        if self._on_message and isinstance(msg, dict):
            self._on_message(msg)
