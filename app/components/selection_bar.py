"""The selection bar: how many images, how they were chosen, their errors, their pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import panel as pn
import param

from app import export, orders, safe, theme, thumbnails
from app.components.assets import script
from app.components.one_way import OneWay
from feature_store.patterns.statistics import wilson_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.runtime import Runtime
    from app.state import SessionState

_HERE = Path(__file__).parent

FILM_LENGTH = 41
"""Pictures of the film strip; the focus stands in the middle of them."""

_MIX_NAMES = 3


class SelectionBar(OneWay):
    """Draws the bar; Python fills it.

    Parameters
    ----------
    bar_data : dict
        Texts and the class mix; all of it is set as text.
    bar_film : list of dict
        ``{"id", "url", "label", "bad", "focus"}`` of each picture.
    bar_orders : list of dict
        ``{"value", "label"}`` of each order of the film strip.
    bar_exports : list of dict
        ``{"kind", "label", "detail", "can"}`` of each entry of the menu "Export".
    """

    bar_data = param.Dict(default={})
    bar_film = param.List(default=[], item_type=dict)
    bar_orders = param.List(default=[], item_type=dict)
    bar_exports = param.List(default=[], item_type=dict)

    _esm = script("export.js", "selection_bar.js")
    _stylesheets: ClassVar[list[Any]] = [
        _HERE / "bars.css",
        _HERE / "selection_bar.css",
        _HERE / "export.css",
    ]

    def __init__(self, runtime: Runtime, state: SessionState, **params: Any) -> None:
        self._runtime = runtime
        self._state = state
        self._order: NDArray[np.int32] = np.zeros(0, np.int32)
        self._counted: tuple[object, ...] = ()
        self._said: dict[str, Any] = {}
        self._offered: list[dict[str, Any]] = []
        super().__init__(**params)
        self._orders = orders.strip_orders(runtime)
        self.bar_orders = [{"value": key, "label": said} for key, said in self._orders.items()]
        self._refresh()
        state.param.watch(
            lambda *_: self._refresh(),
            ["selection", "focus", "split", "order", "can_undo", "can_redo"],
        )

    def move(self, step: int) -> None:
        """Move the focus by ``step`` pictures through the film strip, stopping at its ends."""
        if not len(self._order):
            return
        at = self._position()
        target = 0 if at is None else min(max(at + step, 0), len(self._order) - 1)
        self._state.set_focus(int(self._order[target]))

    def _handle_msg(self, msg: Any) -> None:
        if not isinstance(msg, dict):
            return
        focus = safe.integer(msg.get("focus"), 0, 2**31 - 1)
        if focus is not None:
            self._state.set_focus(focus)
        order = msg.get("order")
        if isinstance(order, str) and order in self._orders:
            self._state.order = order
        self._send_export(msg.get("export"))
        actions = {
            "previous": lambda: self.move(-1),
            "next": lambda: self.move(1),
            "invert": self._state.invert,
            "undo": self._state.undo,
            "redo": self._state.redo,
            "clear": self._state.clear,
        }
        action = actions.get(str(msg.get("act")))
        if action is not None:
            action()

    def _send_export(self, kind: object) -> None:
        """Offer the selection as a file, or all shown images when nothing is selected."""
        state = self._state
        allowed = {each["kind"] for each in self.bar_exports if each["can"]}
        if isinstance(kind, str) and kind in allowed:
            wanted = export.Export(
                runtime=self._runtime,
                kind=kind,
                ids=state.selected_ids,
                origin=state.selection.origin,
                split=state.split,
            )
            self._send_msg({"download": export.handed_over(wanted)})

    def _position(self) -> int | None:
        """Where the focus stands in the film strip's order."""
        if self._state.focus is None:
            return None
        found = np.flatnonzero(self._order == self._state.focus)
        return int(found[0]) if len(found) else None

    def _order_name(self) -> str:
        """Order of the strip; an order that this store does not have is that by confidence."""
        return orders.strip_order(self._runtime, self._state.order)

    def _refresh(self) -> None:
        """Draw the bar; what is counted stays as it is while only the focus moves."""
        state = self._state
        asked = (state.selection, state.split, self._order_name())
        if asked != self._counted:
            table = self._runtime.images
            rows = table.rows(state.selected_ids)
            self._order = orders.sorted_ids(self._runtime, rows, self._order_name())
            self._said = self._texts(rows)
            self._offered = export.offers(self._runtime, len(rows))
            self._counted = asked
        with pn.io.hold():
            self.param.update(
                bar_data={**self._said, **self._at(), "can": self._can()},
                bar_film=self._film(),
                bar_exports=self._offered,
            )

    def _can(self) -> dict[str, bool]:
        state = self._state
        return {
            "undo": state.can_undo,
            "redo": state.can_redo,
            "clear": not state.selection.is_all,
            "invert": not state.selection.is_all,
        }

    def _texts(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        state, table = self._state, self._runtime.images
        of = len(state.universe)
        # Counted once for all sessions: a million images take longer than the selection does.
        errors = self._runtime.errors
        known, all_wrong = errors.get(state.split, errors[""])
        base = _share(all_wrong, of)
        total = f"{of:,}"
        order = self._order_name()
        common = {
            **self._mix(rows),
            "order": order,
            "ordered": orders.order_words(self._runtime, rows, order),
            "swept": orders.swept_words(self._runtime, rows, order),
        }
        if state.selection.is_all:
            return {
                **common, "all": True, "n": total, "of": f"of {total} selected", "origin": "",
                "share": f"{all_wrong:,} wrong ({base})",
                "base": " · draw round points, or press / to search",
            }  # fmt: skip
        wrong = int(table.is_wrong[rows].sum())
        rate = all_wrong / known if known else 0.0
        raised = len(rows) > 0 and wilson_interval(wrong, len(rows))[0] > rate
        return {
            **common, "all": False, "n": f"{len(rows):,}", "of": f"of {total} selected",
            "origin": safe.plain(state.selection.origin, limit=60),
            "share": f"{'▲ ' if raised else ''}{wrong:,} wrong ({_share(wrong, len(rows))})",
            "raised": bool(raised),
            "base": f" · all images {base}",
            "hint": "No image matches. Undo, or clear the selection.",
        }  # fmt: skip

    def _mix(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        names = self._runtime.class_names
        classes = self._runtime.images.true_class[rows]
        counts = np.bincount(classes[classes >= 0], minlength=len(names))
        order = [int(index) for index in np.argsort(-counts, kind="stable") if counts[index]]
        mix = [
            [
                int(counts[index]),
                theme.class_variable(index, len(names)),
                f"{safe.plain(names[index])} {counts[index]:,}",
            ]
            for index in order[:20]
        ]
        said = " · ".join(
            f"{safe.plain(names[index], limit=18)} {counts[index]:,}"
            for index in order[:_MIX_NAMES]
        )
        return {"mix": mix, "mixtext": said}

    def _at(self) -> dict[str, str]:
        """Where the focus stands in the strip, and how the strip is ordered."""
        at = self._position()
        of = f"{len(self._order):,}"
        place = f"{of} images" if at is None else f"{at + 1:,} of {of}"
        return {"at": f"{place}, {self._said['ordered']}", "place": place}

    def _film(self) -> list[dict[str, Any]]:
        at = self._position() or 0
        first = max(0, min(at - FILM_LENGTH // 2, len(self._order) - FILM_LENGTH))
        shown = self._order[first : first + FILM_LENGTH]
        self._runtime.fill_thumbnails(shown, in_background=thumbnails.served_by_url())
        return [self._picture(int(image_id)) for image_id in shown]

    def _picture(self, image_id: int) -> dict[str, Any]:
        runtime = self._runtime
        table = runtime.images
        row = table.row(image_id)
        assert row is not None  # noqa: S101 - ids of the strip come from the table
        true = safe.plain(runtime.class_name(int(table.true_class[row])), limit=40)
        predicted = safe.plain(runtime.class_name(int(table.predicted_class[row])), limit=40)
        return {
            "id": image_id,
            "url": runtime.thumbnail_url(image_id),
            "label": f"image {image_id:,}: true {true}, predicted {predicted} "
            f"{table.confidence[row]:.2f}",
            "bad": bool(table.is_wrong[row]),
            "focus": image_id == self._state.focus,
        }


def _share(wrong: int, of: int) -> str:
    """Share of wrong predictions in per cent; one decimal where it is small."""
    if not of:
        return "0 %"
    percent = 100 * wrong / of
    return f"{percent:.1f} %" if percent < 10 else f"{percent:.0f} %"
