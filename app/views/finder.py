"""The finder: choose images by class, verdict and confidence, the most fragile first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn
import param
from panel_material_ui.layout import Dialog

from app import orders, safe
from app.components.finder import Finder
from app.views import finder_figures as figures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from app.runtime import Runtime
    from app.state import SessionState

_PAPER = "& .MuiDialog-paper"
_SX: dict[str, Any] = {
    _PAPER: {"backgroundImage": "none", "backgroundColor": "var(--vt-surface)"},
    "& .MuiDialogTitle-root": {"fontSize": "17px", "fontWeight": 600, "padding": "12px 16px 8px"},
    "@media (max-width:760px)": {
        _PAPER: {
            "margin": 0,
            "width": "100%",
            "maxWidth": "100%",
            "height": "100%",
            "maxHeight": "100%",
            "borderRadius": 0,
        }
    },
}


class FinderDialog(pn.viewable.Viewer):
    """A dialog that finds images to test among those that are shown.

    Parameters
    ----------
    runtime : Runtime
        Shared, read-only.
    state : SessionState
        Of this session; gets the focus, the selection and its order.
    """

    open = param.Boolean(default=False, doc="Whether the dialog is shown.")

    def __init__(self, runtime: Runtime, state: SessionState) -> None:
        super().__init__()
        self._runtime = runtime
        self._state = state
        self._wanted = figures.Wanted(order=orders.order_or_default(runtime, state.order))
        self._page = 0
        self._rows: NDArray[np.int64] = np.zeros(0, np.int64)
        self._finder = Finder(self._receive, sizing_mode="stretch_width", margin=0)
        self._dialog = Dialog(
            self._finder,
            title="Find images to test",
            close_on_click=True,
            show_close_button=True,
            width_option="md",
            sizing_mode="stretch_width",
            sx=_SX,
        )
        self._dialog.link(self, open="open", bidirectional=True)
        self.param.watch(self._on_open, "open")
        state.param.watch(lambda *_: self._look_again(), "split")

    def __panel__(self) -> pn.viewable.Viewable:
        return self._dialog

    # -- what happens --------------------------------------------------------------------

    def _on_open(self, _: Any) -> None:
        """Begin with the order that the film strip has; a closed dialog costs nothing."""
        if self.open:
            order = orders.order_or_default(self._runtime, self._state.order)
            self._look(replace(self._wanted, order=order))

    def _look_again(self) -> None:
        if self.open:
            self._look(self._wanted)

    def _receive(self, message: Mapping[str, Any]) -> None:
        """Do what the browser asks, as far as it may ask that."""
        kind, value = message.get("kind"), message.get("value")
        if kind == "set":
            wanted = figures.changed(self._wanted, str(message.get("name")), value, self._runtime)
            if wanted is None or wanted == self._wanted:
                # Nothing changes, but the browser shows what it sent: tell it what holds.
                self._finder.tell_form()
            else:
                self._look(wanted)
        elif kind == "page":
            page = safe.integer(value, 0, self._last_page())
            if page is not None:
                self._page = page
                self._show()
        elif kind == "open":
            self._test(safe.integer(value, 0, 2**31 - 1))
        elif kind == "select":
            self._select()
        elif kind == "reset":
            self._look(self._wanted.without_filters())

    def _test(self, image_id: int | None) -> None:
        """Put one image under test."""
        if image_id is None or not self._state.shows(image_id):
            return
        self._state.set_focus(image_id)
        self.open = False

    def _select(self) -> None:
        """Select all images that were found, in their order."""
        if not len(self._rows):
            return
        words = figures.words_of(self._runtime, self._wanted)
        with pn.io.hold():
            # The order first: the focus of a new selection is the first image of it.
            self._state.order = self._wanted.order
            self._state.select(self._runtime.images.ids[self._rows], f"finder: {words or 'all'}")
        self.open = False

    # -- what is shown -------------------------------------------------------------------

    def _look(self, wanted: figures.Wanted) -> None:
        self._wanted = wanted
        self._page = 0
        self._rows = figures.matching(self._runtime, self._state.universe, wanted)
        self._show()

    def _last_page(self) -> int:
        return max(0, (len(self._rows) - 1) // figures.PAGE)

    def _show(self) -> None:
        self._finder.param.update(
            finder_form=self._form(),
            finder_found=self._found(),
            finder_classes=figures.class_table(self._runtime, self._wanted),
        )

    def _form(self) -> dict[str, Any]:
        runtime, wanted = self._runtime, self._wanted
        names = [safe.plain(name, limit=40) for name in runtime.class_names]
        classes = [{"value": index, "label": name} for index, name in enumerate(names)]
        free = (runtime.images.true_class < 0).any()
        why, command = ("", "") if runtime.sweeps else orders.why_no_flips(runtime)
        return {
            "truths": [*classes, *([{"value": -1, "label": "unlabelled"}] if free else [])],
            "classes": classes,
            "flips": [
                {"value": orders.FLIP + name, "label": orders.in_a_sentence(sweep.label)}
                for name, sweep in runtime.sweeps.items()
            ],
            "why": why,
            "command": command,
            "true": wanted.true_class,
            "predicted": wanted.predicted_class,
            "verdict": wanted.verdict,
            "low": wanted.low,
            "high": wanted.high,
            "order": wanted.order,
            "can_reset": wanted != wanted.without_filters(),
        }

    def _found(self) -> dict[str, Any]:
        runtime, universe, rows = self._runtime, self._state.universe, self._rows
        split = safe.plain(self._state.split, limit=20)
        first = self._page * figures.PAGE
        shown = rows[first : first + figures.PAGE]
        headline, words = (
            ("", "") if len(rows) else figures.why_none(runtime, universe, self._wanted)
        )
        return {
            "n": f"{len(rows):,}",
            "of": f"of {len(universe):,} {f'{split} ' if split else ''}images",
            "order": self._order_words(),
            "page": self._page,
            "last": self._last_page(),
            "range": f"{first + 1:,}–{first + len(shown):,}",
            "items": figures.items(runtime, shown, self._wanted.order),
            "headline": headline,
            "words": words,
        }

    def _order_words(self) -> str:
        """Say how the list is ordered, and how much of it has a flip to be ordered by."""
        runtime, order = self._runtime, self._wanted.order
        words = orders.known_orders(runtime)[order]
        if not orders.flip_of(order) or not len(self._rows):
            return words
        values = orders.order_values(runtime, order)[self._rows]
        swept, flipped = int((~np.isnan(values)).sum()), int(np.isfinite(values).sum())
        if not swept:
            split = dict(runtime.store.info.get("simulate", {})).get("split", "")
            return f"none of these was swept; swept were images of {safe.plain(split, limit=20)}"
        return f"{words} · {swept:,} swept, {flipped:,} of them flip"
