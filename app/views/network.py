"""The network view: every filter, the path of the image under test, and the patterns it is in."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import panel as pn

from app import safe
from app.components.controls import Choice
from app.components.pattern_cards import PatternCards
from app.components.unit_view import UnitView
from app.inference import VatunError
from app.layer_names import short_names
from app.shell import view_frame
from app.views import error_list, filter_card, filter_figures, pattern_figures, pattern_list
from app.views.ablation import Ablation
from app.views.pattern_detail import PatternDetail
from app.worker import WorkerError
from feature_store import StoreError, queries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from app.runtime import Runtime
    from app.state import SessionState
    from app.views.pattern_list import Answer, Question
    from feature_store.patterns.cards import PatternCard
    from feature_store.patterns.enriched import ErrorEnrichment

INFO = (
    "One mark per filter, none left out; shade is the activation's percentile among all images. "
    "A pattern is a set of images whose strongest filters agree in neighbouring layers: a shared "
    "pattern is a marker, it need not be a cause. Replace puts the mean in its filters' place, "
    "beside random filters. Behind an error searches one half of the images and confirms on the "
    "other. q: false-discovery rate; ×: times more than by chance."
)

PAGE = 20
"""Cards that are loaded at a time."""

_NOTHING_YET = object()

_BODY_CSS = (
    ":host{min-height:0!important}"
    ".vt-line{flex:0 0 20px!important;height:20px!important}"
    ".vt-units{flex:0 0 150px!important;height:150px!important}"
    ".vt-cards{min-height:0!important}"
    "@media (min-width:1600px){.vt-units{flex-basis:196px!important;height:196px!important}}"
    "@media (max-width:760px){.vt-units{flex-basis:170px!important;height:170px!important}}"
)


class NetworkView(pn.viewable.Viewer):
    """View C, the network under test: which features it used.

    Parameters
    ----------
    runtime : Runtime
        Store and names that all sessions share.
    state : SessionState
        What this session looks at; the view answers to selection, focus, upload, the path of an
        uploaded or changed image, path set, filters and open pattern.
    """

    def __init__(self, runtime: Runtime, state: SessionState, **params: Any) -> None:
        super().__init__(**params)
        self._runtime = runtime
        self._state = state
        self._layers = queries.layers(runtime.store)
        self._names = short_names(self._layers)
        self._modules = [row.layer_name for row in self._layers]
        self._total = sum(int(row.filters) for row in self._layers)
        self._shaded: object = _NOTHING_YET
        self._upload: object = None
        self._ticket = 0
        self._limit = PAGE
        self._order = ""
        self._open: PatternCard | None = None
        self._question: Question | None = None
        known = pattern_list.PATH_SETS.items()
        sets = {name: label for name, label in known if self._has_set(name)}
        self._sets = Choice.of(sets, state.path_set, label="Path set")
        self._sets.css_classes = ["vt-wide"]
        self._line = pn.pane.HTML(
            "",
            stylesheets=[filter_figures.LINE_CSS],
            margin=0,
            sizing_mode="stretch_width",
            css_classes=["vt-line"],
        )
        self._units = UnitView(
            self._pick,
            unit_layers=filter_figures.marks(self._layers),
            sizing_mode="stretch_width",
            margin=0,
            css_classes=["vt-units"],
        )
        self._cards = PatternCards(
            self._receive, sizing_mode="stretch_both", margin=0, css_classes=["vt-cards"]
        )
        self._detail = PatternDetail(runtime, state, self._cards)
        self._ablation = Ablation(runtime, state, self._cards)
        self._watch()

    def __panel__(self) -> pn.viewable.Viewable:
        body = pn.Column(
            self._line,
            self._units,
            self._cards,
            sizing_mode="stretch_both",
            margin=0,
            stylesheets=[_BODY_CSS],
        )
        return view_frame(
            "C",
            "Network",
            "Which features did it use?",
            body,
            state=self._state,
            tools=[self._sets],
            info=INFO,
        )

    def _watch(self) -> None:
        watch = self._state.param.watch
        watch(self._follow_selection, ["selection", "split"])
        watch(self._follow_focus, ["focus", "upload"])
        watch(self._follow_live, ["live_paths", "live_activations"])
        watch(self._follow_filters, ["filters"])
        watch(self._follow_path_set, ["path_set"])
        watch(self._follow_pattern, ["pattern"])
        self._sets.param.watch(self._choose_set, ["choice_value"])
        # What is sent before the browser listens would be lost.
        pn.state.onload(self._start)

    def _start(self) -> None:
        self._draw_focus()
        self._follow_pattern()
        self._follow_filters()

    def _has_set(self, name: str) -> bool:
        return self._runtime.store.has(f"paths/{name}")

    # What the page does, and what follows here.

    def _follow_selection(self, *_: Any) -> None:
        self._detail.draw()
        self._ablation.forget_selection()
        self._order = "selection" if not self._state.selection.is_all else ""
        self._list_again()

    def _follow_focus(self, *_: Any) -> None:
        is_same = self._state.upload is self._upload
        self._upload = self._state.upload
        self._draw_focus()
        self._detail.draw()
        if not is_same:
            # An upload brings its own order, and takes it along when it goes.
            self._order = ""
            self._list_again()
        # While a pattern is open its list stays: one looks through its members.
        elif self.order == "image" and self._state.pattern is None:
            self._list_again()
        else:
            self._mark_focus()

    def _follow_live(self, *_: Any) -> None:
        """Follow the path of an upload or of the changed copy: it is found after each change."""
        self._draw_focus()
        order, asked = self.order, self._question.order if self._question else ""
        if order != asked or (order == "path" and self._state.pattern is None):
            self._list_again()
        elif "title" in self._cards.card_head:
            self._cards.card_head = {**self._cards.card_head, "orders": self._offered()}

    def _follow_filters(self, *_: Any) -> None:
        self._units.unit_chosen = [list(item) for item in self._state.filters]
        self._order = "filters" if self._state.filters else ""
        self._ablation.forget("filters")
        self._draw_strip()
        self._list_again()

    def _follow_path_set(self, *_: Any) -> None:
        self._sets.choice_value = self._state.path_set
        self._state.pattern = None
        self._draw_focus()
        self._list_again()

    def _follow_pattern(self, *_: Any) -> None:
        pattern = self._state.pattern
        self._open = None
        if pattern is not None:
            try:
                self._open = queries.pattern_card(
                    self._runtime.store, self._state.path_set, pattern
                )
            except (StoreError, IndexError):
                self._state.pattern = None
                return
        items = self._open.items if self._open else ()
        self._units.unit_pattern = [list(item) for item in items]
        self._cards.card_open = -1 if pattern is None else pattern
        self._detail.follow()
        self._ablation.forget("pattern")

    def _choose_set(self, *_: Any) -> None:
        if self._has_set(self._sets.choice_value):
            self._state.path_set = self._sets.choice_value

    # Filters.

    def _draw_focus(self) -> None:
        """Draw the path of the image under test at once; its activations follow."""
        state = self._state
        live = pattern_list.live_path(state)
        path, other = self._stored_path(), list(live or ())
        if state.upload is not None:
            path, other = other, []
        self._units.param.update(
            unit_path=path,
            unit_other=other,
            unit_label=filter_figures.spoken(self._total, len(self._layers), path, other),
        )
        subject = state.focus if state.upload is None else state.upload
        # The activations of an upload come with its path; those of a stored image are asked for.
        if subject != self._shaded or state.upload is not None:
            self._draw_line("" if subject is None else "reading")
            pn.state.execute(partial(self._shade, subject))
        else:
            self._draw_line("shown" if self._units.unit_shades else "")

    def _stored_path(self) -> list[int]:
        """Return the path of the focus as the store knows it, empty without."""
        store, focus = self._runtime.store, self._state.focus
        if focus is None:
            return []
        try:
            return [int(v) for v in queries.path_of(store, self._state.path_set, focus)]
        except StoreError:
            return []

    async def _shade(self, subject: object) -> None:
        """Shade the filters by an image; the first time reads many activations.

        Parameters
        ----------
        subject : int, object or None
            Focus or upload whose activations are meant.
        """
        shades = b""
        try:
            if isinstance(subject, int):
                shades = filter_figures.shades(await self._percentiles(subject))
            elif subject is not None and self._state.live_activations is not None:
                live = list(self._state.live_activations)
                shades = filter_figures.shades(await asyncio.to_thread(self._rank, live))
        except StoreError:
            shades = b""

        def turn() -> None:
            state = self._state
            if subject == (state.focus if state.upload is None else state.upload):
                self._draw_shades(subject, shades)

        pn.state.execute(turn, schedule=True)

    async def _percentiles(self, focus: int) -> list[NDArray[np.uint8]]:
        """Return the percentile of every filter of an image, by layer."""
        store = self._runtime.store
        try:
            # One forward pass, which view B needs anyway, is quicker than reading one row of
            # thousands of columns.
            seen = await self._runtime.inference.test(focus, session=(id(self), "shade"))
        except (WorkerError, VatunError):
            return await asyncio.to_thread(queries.activation_percentiles, store, focus)
        return await asyncio.to_thread(self._rank, list(seen.activations))

    def _rank(self, activations: list[NDArray[np.float32]]) -> list[NDArray[np.uint8]]:
        return queries.activation_reference(self._runtime.store).percentiles(activations)

    def _draw_shades(self, subject: object, shades: bytes) -> None:
        self._shaded = subject
        is_awaited = self._state.upload is not None and self._state.live_activations is None
        self._draw_line("shown" if shades else "reading" if is_awaited else "")
        self._units.unit_shades = shades

    def _draw_line(self, shades: str) -> None:
        state = self._state
        focus = "" if state.focus is None else f"image {state.focus:,}"
        path, other = self._units.unit_path, self._units.unit_other
        self._line.object = filter_figures.line(
            self._total,
            len(self._layers),
            "your upload" if state.upload is not None else focus,
            shades=shades,
            differing=filter_figures.differing(path, other) if other else None,
            is_changed=state.upload is not None and pattern_list.is_copy(state),
        )

    def _pick(self, layer: int, filter_index: int, add: bool) -> None:
        """Choose a filter; once more gives it up, with Shift it joins the others."""
        item, chosen = (layer, filter_index), self._state.filters
        if add:
            kept = tuple(other for other in chosen if other != item)
            self._state.filters = kept if item in chosen else (*chosen, item)
        else:
            self._state.filters = () if chosen == (item,) else (item,)

    def _draw_strip(self) -> None:
        """Show the card of the chosen filter."""
        state = self._state
        if not state.filters:
            self._cards.card_strip = {}
            return
        self._cards.card_strip = filter_card.card(self._runtime, state, self._layers, self._names)

    # Patterns.

    @property
    def order(self) -> str:
        """How the listed patterns are chosen: a key of ``pattern_figures.ORDERS``."""
        if self._order in pattern_list.orders(self._state):
            return self._order
        return pattern_list.preferred(self._state)

    def _offered(self) -> list[dict[str, str]]:
        return [
            {"value": name, "label": label}
            for name, label in pattern_list.orders(self._state).items()
        ]

    def _list_again(self) -> None:
        self._limit = PAGE
        self._ask()

    def _mark_focus(self) -> None:
        """Move the frame of the focus without asking for the patterns again."""
        focus = self._state.focus

        def marked(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [{**image, "is_focus": image["id"] == focus} for image in images]

        self._cards.card_items = [
            {**item, "images": marked(item["images"])} for item in self._cards.card_items
        ]
        strip = self._cards.card_strip
        if strip:
            self._cards.card_strip = {**strip, "images": marked(strip["images"])}

    def _ask(self) -> None:
        """Look for patterns off the event loop; the newest question alone is drawn."""
        self._ticket += 1
        self._cards.card_head = {**self._cards.card_head, "is_computing": True}
        pn.state.execute(partial(self.answer, self._ticket))

    async def answer(self, ticket: int | None = None) -> None:
        """Find the patterns of what the session looks at, and draw them unless overtaken.

        Parameters
        ----------
        ticket : int or None
            Which question this is; None is the newest.
        """
        ticket = self._ticket if ticket is None else ticket
        if ticket != self._ticket:
            return
        errors = self._chosen_errors() if self.order == "errors" else None
        question = pattern_list.Question.of(self._state, self.order, self._limit, errors=errors)
        self._question = question
        try:
            found = await asyncio.to_thread(
                question.answer, self._runtime, self._names, self._modules
            )
        except StoreError as error:
            head = pattern_figures.failure(error, self._runtime.store)
            self._turn(ticket, partial(self._fail, head))
            return
        self._turn(ticket, partial(self._draw, found, question))
        if found.behind is not None:
            await self._compare(ticket, found.behind)

    def _turn(self, ticket: int, draw: Callable[[], None]) -> None:
        """Draw on the document's thread, unless another question was asked since."""

        def turn() -> None:
            if ticket == self._ticket:
                draw()

        pn.state.execute(turn, schedule=True)

    async def _compare(self, ticket: int, found: ErrorEnrichment) -> None:
        """Say what finds the same errors without a pattern; it takes longer than the patterns."""
        try:
            notes = await asyncio.to_thread(
                error_list.compare, self._runtime.store, found, self._names
            )
        except StoreError as error:
            words = pattern_figures.failure(error, self._runtime.store)["words"]
            notes = [f"No comparison: {words}"]

        def draw() -> None:
            self._cards.card_head = {**self._cards.card_head, "notes": notes}

        self._turn(ticket, draw)

    def _draw(self, found: Answer, question: Question) -> None:
        head = {**found.head, "orders": self._offered(), "order": question.order}
        if question.order == "errors":
            head["cells"] = error_list.offered(self._runtime, question.split)
            head["cell"] = "-".join(map(str, question.errors or ()))
        self._detail.put_first(error_list.errors_of(found.behind))
        self._cards.param.update(card_items=found.items, card_total=found.total, card_head=head)

    def _chosen_errors(self) -> tuple[int, int] | None:
        return error_list.chosen_cell(self._runtime, self._state)

    def _fail(self, head: dict[str, str]) -> None:
        self._cards.param.update(card_items=[], card_total=0, card_head=head)

    def _receive(self, message: Mapping[str, Any]) -> None:
        """Act on what the browser sent; nothing in it is trusted."""
        kind, state = message.get("kind"), self._state
        if kind == "open":
            self._open_pattern(message.get("id"))
        elif kind == "select":
            self._select(message.get("id"))
        elif kind == "select_top":
            self._select_top()
        elif kind == "focus":
            image = safe.integer(message.get("image"), 0, 2**31 - 1)
            if image is not None:
                state.set_focus(image)
        elif kind == "order" and message.get("value") in list(pattern_list.orders(state)):
            self._order = str(message["value"])
            if self._order == "errors":
                state.pattern = None
            self._list_again()
        elif kind == "cell":
            self._choose_errors(message.get("value"))
        elif kind == "more" and len(self._cards.card_items) < self._cards.card_total:
            if message.get("have") == len(self._cards.card_items):
                self._limit += PAGE
                self._ask()
        elif kind == "page":
            self._detail.turn(message.get("step"))
        elif kind == "ablate":
            self._ablation.ask(message)
        elif kind == "stop_ablation":
            self._ablation.stop()
        elif kind == "unfilter":
            state.filters = ()
        elif kind == "cure":
            self._cure()

    def _choose_errors(self, value: object) -> None:
        """Explain another kind of error, if the page offered it."""
        known = {item["value"] for item in self._cards.card_head.get("cells", ())}
        if isinstance(value, str) and value in known:
            true, _, predicted = value.partition("-")
            self._state.errors = (int(true), int(predicted))
            self._list_again()

    def _listed(self, pattern: object) -> int | None:
        known = {item["id"] for item in self._cards.card_items}
        return int(pattern) if isinstance(pattern, int) and pattern in known else None

    def _open_pattern(self, pattern: object) -> None:
        self._state.pattern = self._listed(pattern)

    def _select(self, pattern: object) -> None:
        """Select every member of a pattern; the selection bar names it."""
        listed = self._listed(pattern)
        if listed is None:
            return
        store, path_set = self._runtime.store, self._state.path_set
        items = queries.pattern_card(store, path_set, listed).items
        members = queries.pattern_members(store, path_set, listed)
        words = pattern_figures.path_words(items, self._names)
        self._state.select(members, f"{path_set} pattern {words}")

    def _select_top(self) -> None:
        if self._state.filters:
            last = pattern_figures.path_words(self._state.filters[-1:], self._names)
            top = filter_card.top_images(self._runtime, self._state)
            self._state.select(top.image_id, f"strongest for {last}")

    def _cure(self) -> None:
        if self.order == "filters":
            self._state.filters = ()
        elif self.order == "errors":
            self._state.path_set = error_list.BEST_PATH_SET
        else:
            self._order = "distinctive"
            self._list_again()
