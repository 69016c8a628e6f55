"""The map as a table: the images that it draws, or the selected of them, a page at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app import safe
from app.components.map_table import MapTable
from app.views import map_measures
from app.views.gallery import test_image
from feature_store import queries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from app.runtime import Runtime
    from app.state import SessionState
    from app.views.map_colours import MapColours

PAGE = 100
"""Rows of a page."""

BOX_CSS = (
    ".map-table{position:absolute!important;inset:0;width:100%!important;height:100%!important;"
    "z-index:5}"
    # Not removed, so that the figure keeps its size; what is hidden is no stop of the Tab key.
    ":host(.tabled)>:not(.map-table){visibility:hidden!important}"
)
"""Sheet of the box of the map, beside ``map_parts.BOX_CSS``."""

_OWN = {"true": "True", "predicted": "Predicted", "confidence": "Confidence"}
_CORRECT = {-1: "no label", 0: "right", 1: "wrong"}


class MapTableView:
    """Rows of the images that the map draws, sorted by one of its columns.

    Parameters
    ----------
    runtime : Runtime
        Shared, read-only.
    state : SessionState
        Of this session.
    on_close : callable
        Called when the map is wanted again.
    on_home : callable
        Called when all images are wanted in view.
    """

    def __init__(
        self,
        runtime: Runtime,
        state: SessionState,
        *,
        on_close: Callable[[], None],
        on_home: Callable[[], None],
    ) -> None:
        self._runtime = runtime
        self._state = state
        self._on_close = on_close
        self._on_home = on_home
        self._by = "true"
        self._sort, self._down = "confidence", False
        self._page = 0
        self._rows: NDArray[np.int64] = np.zeros(0, np.int64)
        self.table = MapTable(self._receive, margin=0, css_classes=["map-table"])

    @property
    def ids(self) -> NDArray[np.int32]:
        """Ids of the images of all pages, in their order."""
        return self._runtime.images.ids[self._rows]

    # -- what is shown -------------------------------------------------------------------

    def show(self, colours: MapColours, inside: NDArray[np.bool_]) -> None:
        """Show the images that are drawn.

        Parameters
        ----------
        colours : MapColours
            What the session sees.
        inside : ndarray of bool
            Points in view. Where there is a selection, only its images make rows.
        """
        shown = inside if colours.chosen is None else inside & colours.chosen
        rows = colours.rows_of(shown).astype(np.int64)
        self._by = colours.by
        if self._sort not in {key for key, *_ in self._columns()}:
            self._sort, self._down = "confidence", False
        self._rows = rows[np.argsort(self._runtime.images.ids[rows])]
        self._of = int(colours.shown.sum())
        self._sort_rows()
        self._page = 0
        self._draw()

    def mark(self) -> None:
        """Mark the row of the image under test."""
        self.table.table_focus = -1 if self._state.focus is None else self._state.focus

    def _columns(self) -> list[tuple[str, str, bool]]:
        """Key, heading, and whether it is a number, of each column."""
        columns = [
            ("id", "Image", True),
            ("true", "True", False),
            ("predicted", "Predicted", False),
        ]
        columns.append(("confidence", "Confidence", True))
        if self._by not in _OWN:
            one = map_measures.colourings(self._runtime)[self._by]
            label = f"{one.label} flip" if one.group == "Smallest flip" else one.label
            columns.append((self._by, label, one.kind == "number"))
        return columns

    def _sort_rows(self) -> None:
        """Sort by the chosen column; equal ones by id, unknown ones last."""
        values = self._values(self._sort)[self._rows].astype(np.float64)
        order = np.argsort(-values if self._down else values, kind="stable")
        self._rows = self._rows[order]

    def _values(self, key: str) -> NDArray[Any]:
        """Return what a column is sorted by, of every image; NaN where nothing is known."""
        runtime, table = self._runtime, self._runtime.images
        if key == "id":
            return table.ids
        if key == "confidence":
            return table.confidence
        if key == "correct":
            return np.where(table.true_class < 0, np.nan, table.is_wrong)
        if key in _OWN:
            codes = table.true_class if key == "true" else table.predicted_class
            return _places(runtime.class_names, codes)
        if map_measures.colourings(runtime)[key].kind == "category":
            column = queries.column_values(runtime.store, key)
            return _places(column.names, column.codes)
        return map_measures.numbers(runtime, key).values

    def _draw(self) -> None:
        first = self._page * PAGE
        shown = self._rows[first : first + PAGE]
        said = "drawn" if self._state.selection.is_all else "selected and drawn"
        self.table.param.update(
            table_head={
                "n": f"{len(self._rows):,}",
                "of": f"of {self._of:,} {said}",
                "columns": [
                    {"key": key, "text": text, "number": number}
                    for key, text, number in self._columns()
                ],
                "sort": self._sort,
                "down": self._down,
                "page": self._page,
                "last": self._last_page(),
                "range": f"{first + 1:,}–{first + len(shown):,}" if len(shown) else "",
            },
            table_rows=[self._row(int(row)) for row in shown],
        )
        self.mark()

    def _last_page(self) -> int:
        return max(0, (len(self._rows) - 1) // PAGE)

    def _row(self, row: int) -> dict[str, Any]:
        runtime, table = self._runtime, self._runtime.images
        cells = [
            f"{int(table.ids[row]):,}",
            safe.plain(runtime.class_name(int(table.true_class[row])), limit=40),
            safe.plain(runtime.class_name(int(table.predicted_class[row])), limit=40),
            f"{table.confidence[row]:.2f}",
        ]
        if self._by == "correct":
            code = -1 if table.true_class[row] < 0 else int(table.is_wrong[row])
            cells.append(_CORRECT[code])
        elif self._by not in _OWN:
            cells.append(self._value(row))
        return {
            "id": int(table.ids[row]), "cells": cells, "is_wrong": bool(table.is_wrong[row]),
        }  # fmt: skip

    def _value(self, row: int) -> str:
        """Return what one image has in the colouring that is shown, plain text."""
        runtime = self._runtime
        if map_measures.colourings(runtime)[self._by].kind == "category":
            column = queries.column_values(runtime.store, self._by)
            code = -1 if column.codes is None else int(column.codes[row])
            return safe.plain(column.names[code], limit=40) if code >= 0 else "–"
        value = map_measures.numbers_value(runtime, self._by, row)
        return map_measures.reading(runtime, self._by, value)

    # -- what people do ------------------------------------------------------------------

    def _receive(self, message: Mapping[str, Any]) -> None:
        """Do what the browser asks, as far as it may ask that."""
        kind, value = message.get("kind"), message.get("value")
        if kind == "close":
            self._on_close()
        elif kind == "home":
            self._on_home()
        elif kind == "page":
            page = safe.integer(value, 0, self._last_page())
            if page is not None:
                self._page = page
                self._draw()
        elif kind == "sort" and any(value == key for key, *_ in self._columns()):
            self._down = not self._down if value == self._sort else False
            self._sort = str(value)
            self._rows = np.sort(self._rows)
            self._sort_rows()
            self._page = 0
            self._draw()
        elif kind == "open":
            test_image(self._state, safe.integer(value, 0, 2**31 - 1))


def _places(names: Any, codes: NDArray[Any] | None) -> NDArray[np.float64]:
    """Return the place of each value among the names in alphabetical order; NaN for none."""
    if codes is None or not len(names):
        return np.full(0 if codes is None else len(codes), np.nan)
    order = sorted(range(len(names)), key=lambda k: (str(names[k]).casefold(), k))
    place = np.empty(len(names))
    place[order] = np.arange(len(names))
    return np.where(codes < 0, np.nan, place[np.maximum(codes, 0)])
