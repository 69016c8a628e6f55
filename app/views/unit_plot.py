"""The plot of all filters: their shades, the path of the image under test, and who is chosen."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn

from app import safe
from app.components.controls import Choice
from app.components.unit_view import MOST_FILTERS, UnitView
from app.inference import VatunError
from app.state import Selection
from app.stores import words_of
from app.views import filter_figures, pattern_figures, pattern_list
from app.worker import WorkerError
from feature_store import StoreError, TableMissingError, queries
from feature_store.errors import ImageNotFoundError
from feature_store.queries import mean_percentiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from app.runtime import Runtime
    from app.state import SessionState
    from feature_store.queries import LayerRow

PEEK_IMAGES = 4
"""Strongest images that a mark shows under the pointer."""

MANY_FILTERS = 8_000
"""Filters above which the plot is taller, so that a mark stays a mark."""

_KEPT = 16
_NOTHING_YET = object()

_ROW_CSS = (
    ":host{flex:0 0 20px!important;height:20px!important;min-height:0!important;"
    "align-items:center}"
    "@media (max-width:1599px){:host(.vt-both){flex-basis:34px!important;height:34px!important}}"
    "@media (max-width:760px){:host(.vt-both){flex-basis:76px!important;height:76px!important;"
    "flex-direction:column!important;align-items:stretch!important}}"
)
# What is hidden by its own style sheet stays hidden: that of a choice says how it is displayed.
_CHOICE_CSS = (
    ":host(.vt-none){display:none!important}"
    ".seg{height:20px;border-radius:5px;margin-right:8px}"
    ".seg button{padding:0 7px;font-size:11.5px;line-height:17px}"
    "@media (max-width:760px){:host{display:flex;padding:0 8px}.seg{height:40px;margin:0}}"
)


@dataclass(frozen=True, kw_only=True)
class Shades:
    """How the marks are shaded.

    Parameters
    ----------
    values : bytes
        One for each filter, 0 to 255, layer after layer; empty where nothing is known.
    n : int
        Images that each is the mean of.
    among : tuple of (int, int)
        Images that a percentile is taken over, and those of the store.
    """

    values: bytes = b""
    n: int = 0
    among: tuple[int, int] = (0, 0)


class UnitPlot:
    """Draws the filters, and follows the session by itself.

    Parameters
    ----------
    runtime : Runtime
        Store, network and names.
    state : SessionState
        Focus, upload, live path, path set, selection, split and chosen filters.
    layers : sequence of LayerRow
        All captured layers.

    Attributes
    ----------
    line : panel.pane.HTML
        The line above the plot.
    choice : Choice
        Whether the image under test or the selection shades, where there are both.
    units : UnitView
        The plot.
    """

    def __init__(self, runtime: Runtime, state: SessionState, layers: Sequence[LayerRow]) -> None:
        self._runtime = runtime
        self._state = state
        self._n_layers = len(layers)
        self._total = sum(int(row.filters) for row in layers)
        self._shaded: object = _NOTHING_YET
        self._shades = Shades()
        self._of_selections: dict[bytes, Shades] = {}
        self._ends = (0, 255)
        self._notice = ""
        self._peeked: tuple[int, int] | None = None
        self._is_peeking = False
        self.line = pn.pane.HTML(
            "",
            stylesheets=[filter_figures.LINE_CSS],
            margin=0,
            sizing_mode="stretch_width",
            css_classes=["vt-line"],
        )
        self.choice = Choice.of(
            {"image": "Image", "selection": "Selection"}, "image", label="Shade of the filters"
        )
        self.choice.stylesheets = [_CHOICE_CSS]
        self._row = pn.Row(
            self.line,
            self.choice,
            margin=0,
            sizing_mode="stretch_width",
            stylesheets=[_ROW_CSS],
        )
        self.units = UnitView(
            self.pick,
            self.peek,
            self.lasso,
            unit_layers=filter_figures.marks(layers),
            unit_split=state.split,
            sizing_mode="stretch_width",
            margin=0,
            css_classes=["vt-units", *(["vt-many"] if self._total > MANY_FILTERS else [])],
        )
        watch = state.param.watch
        watch(self._follow_path, ["focus", "upload", "live_paths", "live_activations", "path_set"])
        watch(self._follow_selection, ["selection", "split"])
        watch(self._follow_filters, ["filters"])
        self.choice.param.watch(self._follow_subject, ["choice_value"])

    @property
    def parts(self) -> tuple[pn.viewable.Viewable, pn.viewable.Viewable]:
        """The line with its choice, and the plot, to stand below one another."""
        return self._row, self.units

    def start(self) -> None:
        """Draw what the session looks at; the page listens now."""
        self._follow_path()
        self._follow_filters()

    def frame_pattern(self, items: Sequence[tuple[int, int]]) -> None:
        """Frame the filters of the open pattern; none without."""
        self.units.unit_pattern = [list(item) for item in items]

    # Which filters are chosen.

    def pick(self, layer: int, filter_index: int, add: bool) -> None:
        """Choose a filter; once more gives it up, with Shift it joins the others."""
        item, chosen = (layer, filter_index), self._state.filters
        if not add:
            self._state.choose_filters(() if chosen == (item,) else (item,))
        elif item in chosen:
            self._state.choose_filters(tuple(other for other in chosen if other != item))
        elif len(chosen) < MOST_FILTERS:
            self._state.choose_filters((*chosen, item))
        else:
            self._refuse(len(chosen) + 1)

    def lasso(self, filters: Sequence[tuple[int, int]], count: int, mode: str) -> None:
        """Choose the filters inside an outline.

        The one with the darkest shade comes last: the card shows the filter chosen last.

        Parameters
        ----------
        filters : sequence of (int, int)
            Those inside; fewer than ``count`` when there are more than may be chosen.
        count : int
            How many are inside.
        mode : str
            ``replace`` the chosen ones, ``add`` to them, or ``subtract``.
        """
        chosen, inside = self._state.filters, dict.fromkeys(filters)
        if mode == "subtract":
            self._state.choose_filters(tuple(item for item in chosen if item not in inside))
            return
        kept = [item for item in chosen if item not in inside] if mode == "add" else []
        if count > len(filters) or len(kept) + len(inside) > MOST_FILTERS:
            self._refuse(max(count, len(kept) + len(inside)))
        elif inside:
            self._state.choose_filters((*kept, *sorted(inside, key=self._shade_of)))

    def _shade_of(self, item: tuple[int, int]) -> int:
        values = self.units.unit_shades
        before = sum(layer["filters"] for layer in self.units.unit_layers[: item[0]])
        return values[before + item[1]] if values else 0

    def _refuse(self, count: int) -> None:
        self._notice = f"{count:,} filters are too many: at most {MOST_FILTERS} can be chosen"
        self._draw_line()

    def _follow_filters(self, *_: Any) -> None:
        self._notice = ""
        self.units.param.update(
            unit_chosen=[list(item) for item in self._state.filters], unit_label=self._spoken()
        )
        self._draw_line()

    def _spoken(self) -> str:
        units = self.units
        return filter_figures.spoken(
            self._total,
            self._n_layers,
            units.unit_path,
            units.unit_other,
            chosen=len(self._state.filters),
        )

    # The strongest images of the filter under the pointer.

    def peek(self, layer: int, filter_index: int) -> None:
        """Look for the strongest images of a filter; of several that are asked for, the last."""
        self._peeked = (layer, filter_index)
        if not self._is_peeking:
            self._is_peeking = True
            pn.state.execute(self.answer_peeks)

    async def answer_peeks(self) -> None:
        """Answer what was asked for last, one at a time, until nothing more is asked for."""
        try:
            while self._peeked is not None:
                asked, self._peeked = self._peeked, None
                split = self._state.split
                images = await asyncio.to_thread(self._strongest, asked, split)
                words = f"strongest of {safe.plain(split, limit=20) or 'all images'}"
                show = partial(
                    self.units.show_peek, *asked, split, images, words if images else ""
                )
                pn.state.execute(show, schedule=True)
        finally:
            self._is_peeking = False

    def _strongest(self, item: tuple[int, int], split: str) -> list[dict[str, Any]]:
        try:
            top = queries.top_images(
                self._runtime.store, *item, limit=PEEK_IMAGES, split=split or None
            )
        except StoreError:
            return []
        return pattern_figures.thumbs(self._runtime, top.image_id.tolist(), Selection(), None)

    # Path and shades.

    def _follow_path(self, *_: Any) -> None:
        """Draw the path of the image under test at once; its activations follow."""
        state = self._state
        live = pattern_list.live_path(state)
        self._notice = ""
        path, other = self._stored_path(), list(live or ())
        if state.upload is not None:
            path, other = other, []
        self.units.param.update(unit_path=path, unit_other=other)
        self.units.unit_label = self._spoken()
        self._follow_subject()

    def _follow_selection(self, *_: Any) -> None:
        self.units.unit_split = self._state.split
        self._follow_subject()

    def _follow_subject(self, *_: Any) -> None:
        """Shade by whatever is to shade now, unless it does already."""
        state, subject = self._state, self.subject
        is_both = not state.selection.is_all and self._image is not None
        self.choice.css_classes = [] if is_both else ["vt-none"]
        self._row.css_classes = ["vt-both"] if is_both else []
        self.line.css_classes = ["vt-line", "vt-two"] if is_both else ["vt-line"]
        # The activations of an upload come with its path; those of a stored image are asked for.
        if subject != self._shaded or (subject is not None and subject is state.upload):
            self._shaded = _NOTHING_YET
            self._draw_line()
            pn.state.execute(partial(self.shade, subject))
        else:
            self._draw_line()

    @property
    def _image(self) -> object:
        return self._state.focus if self._state.upload is None else self._state.upload

    @property
    def subject(self) -> object:
        """What shades: focus, upload or selection; None is nothing.

        The image under test comes first; the selection shades without one, or by choice.
        """
        state, image = self._state, self._image
        if state.selection.is_all:
            return image
        is_chosen = image is None or self.choice.choice_value == "selection"
        return state.selection if is_chosen else image

    def _stored_path(self) -> list[int]:
        """Return the path of the focus as the store knows it, empty without."""
        store, focus = self._runtime.store, self._state.focus
        if focus is None:
            return []
        try:
            return [int(v) for v in queries.path_of(store, self._state.path_set, focus)]
        except (TableMissingError, ImageNotFoundError):
            return []
        except StoreError as error:
            self._notice = safe.plain(words_of(error, store.path), limit=200)
            return []

    async def shade(self, subject: object) -> None:
        """Shade the filters; the first time reads many activations.

        Parameters
        ----------
        subject : int, Selection, object or None
            Focus, selection or upload whose activations are meant.
        """
        if subject != self.subject:
            return
        try:
            found = await self._shades_of(subject)
        except StoreError:
            found = Shades()

        def turn() -> None:
            if found is not None and subject == self.subject:
                self._shaded, self._shades = subject, found
                is_mean = isinstance(subject, Selection)
                self._ends = filter_figures.spread(found.values) if is_mean else (0, 255)
                self.units.param.update(
                    unit_shades=found.values,
                    unit_ends=self._ends,
                    unit_means="mean percentile of the selection" if is_mean else "percentile",
                )
                self._draw_line()

        pn.state.execute(turn, schedule=True)

    async def _shades_of(self, subject: object) -> Shades | None:
        """Return the shades by a subject; None when it was overtaken."""
        if isinstance(subject, Selection):
            return await self._mean(subject)
        if isinstance(subject, int):
            return await asyncio.to_thread(self._rank, *await self._activations(subject))
        if subject is not None and self._state.live_activations is not None:
            return await asyncio.to_thread(self._rank, *self._state.live_activations)
        return Shades()

    async def _activations(self, focus: int) -> list[NDArray[np.float32]]:
        """Return the activation of every filter for an image, by layer."""
        try:
            # One forward pass, which view B needs anyway, is quicker than reading one row of
            # thousands of columns.
            seen = await self._runtime.inference.test(focus, session=(id(self), "shade"))
        except (WorkerError, VatunError):
            return await asyncio.to_thread(queries.activations_of, self._runtime.store, focus)
        return list(seen.activations)

    def _rank(self, *activations: NDArray[np.float32]) -> Shades:
        reference = queries.activation_reference(self._runtime.store)
        return Shades(
            values=filter_figures.shades(reference.percentiles(activations)),
            n=1,
            among=(reference.n, reference.total),
        )

    async def _mean(self, selection: Selection) -> Shades | None:
        """Return the mean percentiles of a selection; those of the last ones are kept."""
        ids = selection.ids
        if ids is None or not len(ids):
            return Shades()
        key = hashlib.sha256(ids.tobytes()).digest()
        found = self._of_selections.pop(key, None)
        if found is None:
            found = await asyncio.to_thread(self._read_mean, selection)
        if found is not None:
            self._of_selections[key] = found
            while len(self._of_selections) > _KEPT:
                del self._of_selections[next(iter(self._of_selections))]
        return found

    def _read_mean(self, selection: Selection) -> Shades | None:
        store, ids = self._runtime.store, selection.ids
        if ids is None:
            return Shades()
        found = mean_percentiles(store, ids, is_wanted=lambda: self.subject is selection)
        if found is None:
            return None
        reference = queries.activation_reference(store)
        return Shades(
            values=filter_figures.shades(
                [values.round().astype(np.uint8) for values in found.values]
            ),
            n=found.n,
            among=(reference.n, reference.total),
        )

    def _draw_line(self) -> None:
        state, units = self._state, self.units
        focus = "" if state.focus is None else f"image {state.focus:,}"
        self.line.object = filter_figures.line(
            self._total,
            self._n_layers,
            "your upload" if state.upload is not None else focus,
            self._shade_words(),
            differing=filter_figures.differing(units.unit_path, units.unit_other)
            if units.unit_other
            else None,
            is_changed=self._is_changed,
            notice=self._notice,
        )

    @property
    def _is_changed(self) -> bool:
        return self._state.upload is not None and pattern_list.is_copy(self._state)

    def _shade_words(self) -> filter_figures.ShadeWords:
        """Return what the line says of the shades."""
        state, subject = self._state, self.subject
        is_selection = isinstance(subject, Selection)
        n = len(state.selection)
        whose = f"{n:,} selected" if is_selection else ""
        is_awaited = subject is state.upload and state.live_activations is None
        if subject is None:
            return filter_figures.ShadeWords()
        if self._shaded != subject or is_awaited:
            return filter_figures.ShadeWords(is_read=True, whose=whose)
        if not self._shades.values:
            return filter_figures.ShadeWords()
        if is_selection and self._shades.n != n:
            whose = f"{self._shades.n:,} of {n:,} selected"
        return filter_figures.ShadeWords(
            is_shown=True,
            whose=whose,
            among=filter_figures.among(*self._shades.among),
            ends=self._ends,
        )
