"""The browser side of the confusion matrix: a grid of cells, and the largest errors as a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import param

from app.components.assets import script, sheet
from app.components.one_way import OneWay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Confusion(OneWay):
    """Rows are true, columns predicted classes.

    Every name is set as text. Messages go to ``on_message`` unchecked: they come from a browser.

    Parameters
    ----------
    confusion_data : dict
        ``classes`` [{id, name, colour, n}], ``counts`` and ``selected`` (one list a row; the
        latter empty when nothing is selected), ``largest`` [{true, predicted, n, k, share,
        can_explain}], ``largest_selected`` (the same, those of the selection), ``explained``
        [[true, predicted]], ``extent``, ``part``, ``search``, ``all`` (names to search), and for
        an empty split ``headline`` and ``words``.
    """

    confusion_data = param.Dict(default={})

    _esm = script("dom.js", "confusion.js")
    _stylesheets: ClassVar[list[Any]] = [sheet("base.css", "confusion.css")]

    def __init__(
        self, on_message: Callable[[Mapping[str, Any]], None] | None = None, **params: Any
    ) -> None:
        self._on_message = on_message
        super().__init__(**params)

    def _handle_msg(self, msg: Any) -> None:
        if self._on_message and isinstance(msg, dict):
            self._on_message(msg)
