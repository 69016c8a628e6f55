"""The browser side of the recommended patterns: a list of cards and the images of a filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import param

from app.components.assets import script, sheet
from app.components.one_way import OneWay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class PatternCards(OneWay):
    """Cards of patterns with members, class mix and figures; asks for more at the end.

    Every name is set as text. Messages go to ``on_message`` unchecked: they come from a browser.

    Parameters
    ----------
    card_items : list of dict
        Cards that are loaded, in order.
    card_total : int
        How many there are; while more than are loaded, reaching the end asks for more.
    card_open : int or str
        Id of the open pattern, -1 for none; one that may skip layers is named by its items.
    card_head : dict
        title, detail, orders, order; with ``headline`` the list gives way to that notice. With
        ``skips`` it is offered that patterns may skip layers, and says whether they do.
    card_more : dict
        id of the open pattern, a page of its members, their mean image and what they look like,
        see ``app.views.pattern_detail``; empty until it is known.
    card_evidence : dict
        Mean evidence of the open pattern, see ``app.views.pattern_evidence``; empty before.
    card_ablation : dict
        What replacing filters did, and to which target, see ``app.views.ablation``; empty before.
    card_strip : dict
        Card of the chosen filter, see ``app.views.filter_card``; empty without one.
    """

    card_items = param.List(default=[], item_type=dict)
    card_total = param.Integer(default=0)
    card_open = param.Parameter(default=-1)
    card_head = param.Dict(default={})
    card_more = param.Dict(default={})
    card_evidence = param.Dict(default={})
    card_ablation = param.Dict(default={})
    card_strip = param.Dict(default={})

    _esm = script(
        "dom.js", "test_pictures.js", "thumbs.js", "ablation.js", "filter_card.js",
        "pattern_detail.js", "pattern_cards.js",
    )  # fmt: skip
    _stylesheets: ClassVar[list[Any]] = [sheet("base.css", "pattern_cards.css")]

    def __init__(
        self, on_message: Callable[[Mapping[str, Any]], None] | None = None, **params: Any
    ) -> None:
        self._on_message = on_message
        super().__init__(**params)

    def _handle_msg(self, msg: Any) -> None:
        if self._on_message and isinstance(msg, dict):
            self._on_message(msg)
