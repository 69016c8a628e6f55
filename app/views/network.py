"""The network view: every filter, the path of the image under test, and the patterns it is in."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import panel as pn

from app import pattern_key, safe, sessions
from app.components.controls import Choice
from app.components.pattern_cards import PatternCards
from app.layer_names import short_names
from app.shell import view_frame
from app.stores import words_of
from app.views import (
    error_list,
    filter_card,
    pattern_figures,
    pattern_forecast,
    pattern_heads,
    pattern_list,
)
from app.views.ablation import Ablation
from app.views.pattern_detail import PatternDetail
from app.views.pattern_evidence import PatternEvidence
from app.views.unit_plot import UnitPlot
from feature_store import StoreError, queries
from feature_store.patterns.gapped_cards import any_card, any_members

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from param.parameterized import Event

    from app.runtime import Runtime
    from app.state import SessionState
    from app.views.pattern_list import Answer, Question
    from feature_store.patterns.cards import PatternCard, PatternKey
    from feature_store.patterns.enriched import ErrorEnrichment

INFO = (
    "One mark per filter, none left out; shade is the activation's percentile among the images of "
    "the store, for a selection the mean over its images. Draw round filters to choose them. "
    "A pattern is a set of images whose strongest filters agree in neighbouring layers, or with "
    "Skip layers in any: a shared pattern is a marker, it need not be a cause. "
    "Replace puts the mean in its filters' place, beside random filters. Behind an error searches "
    "one half of the images and confirms on the other. q: false-discovery rate; ×: times more "
    "than by chance."
)

PAGE = 20
"""Cards that are loaded at a time."""

_comparer = ThreadPoolExecutor(1, thread_name_prefix="vatun-compare")
"""A comparison takes seconds: several at once would leave no thread to those who only look."""

_BODY_CSS = (
    ":host{min-height:0!important}"
    ".vt-units{flex:0 0 150px!important;height:150px!important}"
    ".vt-units.vt-many{flex-basis:224px!important;height:224px!important}"
    ".vt-cards{min-height:0!important}"
    "@media (min-width:1600px){.vt-units{flex-basis:196px!important;height:196px!important}"
    ".vt-units.vt-many{flex-basis:320px!important;height:320px!important}}"
    "@media (max-width:760px){.vt-units{flex-basis:170px!important;height:170px!important}"
    ".vt-units.vt-many{flex-basis:250px!important;height:250px!important}}"
)

# The question beside the name keeps its place on a laptop.
_SETS_CSS = (
    "@media (min-width:761px) and (max-width:1599px){.seg button{padding:0 5px;font-size:12px}}"
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
        self._upload: object = None
        self._ticket = 0
        self._limit = PAGE
        self._open: PatternCard | None = None
        self._made_by: dict[str, tuple[str, tuple[tuple[int, int], ...]]] = {}
        self._question: Question | None = None
        known = pattern_heads.PATH_SETS.items()
        sets = {name: label for name, label in known if self._has_set(name)}
        self._sets = Choice.of(sets, state.path_set, label="Path set")
        self._sets.css_classes = ["vt-wide"]
        self._sets.stylesheets = [*self._sets.stylesheets, _SETS_CSS]
        self._plot = UnitPlot(runtime, state, self._layers)
        self._cards = PatternCards(
            self._receive, sizing_mode="stretch_both", margin=0, css_classes=["vt-cards"]
        )
        self._detail = PatternDetail(runtime, state, self._cards)
        self._ablation = Ablation(runtime, state, self._cards)
        self._evidence = PatternEvidence(runtime, state, self._cards)
        self._watch()

    def __panel__(self) -> pn.viewable.Viewable:
        body = pn.Column(
            *self._plot.parts,
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
            # Without options its frame would stand there as a stray line.
            tools=[self._sets] if self._sets.choice_options else [],
            info=INFO,
        )

    def _watch(self) -> None:
        watch = self._state.param.watch
        watch(self._follow_selection, ["selection", "split"])
        watch(self._follow_focus, ["focus", "upload"])
        watch(self._follow_live, ["live_paths", "live_activations"])
        watch(self._follow_errors, ["errors"])
        watch(self._follow_skips, ["pattern_skips"])
        # A link sets these together: one that is set to what it was counts as set all the same.
        watch(self._follow_filters, ["filters", "pattern_order"], onlychanged=False)
        watch(self._follow_pattern, ["path_set", "pattern"], onlychanged=False)
        self._sets.param.watch(self._choose_set, ["choice_value"])
        # What is sent before the browser listens would be lost.
        pn.state.onload(self._start)
        sessions.on_closed(self._leave)

    def _leave(self) -> None:
        """End what was asked for: nobody is there to see it."""
        self._ticket += 1
        self._ablation.end()
        self._evidence.end()

    def _start(self) -> None:
        self._plot.start()
        self._open_card()
        self._draw_strip()
        self._list_again()

    def _has_set(self, name: str) -> bool:
        return self._runtime.store.has(f"paths/{name}")

    # What the page does, and what follows here.

    def _follow_selection(self, *_: Any) -> None:
        self._detail.draw()
        self._ablation.forget_selection()
        self._draw_strip()
        # Who looks behind an error goes on doing so: images are selected on the way.
        if self.order != "errors" and not self._state.is_returning:
            self._state.pattern_order = "selection" if not self._state.selection.is_all else ""
        else:
            self._list_again()

    def _follow_focus(self, *_: Any) -> None:
        is_same = self._state.upload is self._upload
        self._upload = self._state.upload
        self._detail.draw()
        if not is_same and not self._state.is_returning:
            # An upload brings its own order, and takes it along when it goes.
            self._state.pattern_order = ""
        # While a pattern is open its list stays: one looks through its members.
        elif self.order == "image" and self._state.pattern is None:
            self._list_again()
        else:
            self._mark_focus()

    def _follow_live(self, *_: Any) -> None:
        """Follow the path of an upload or of the changed copy: it is found after each change."""
        order, asked = self.order, self._question.order if self._question else ""
        if order != asked or (order == "path" and self._state.pattern is None):
            self._list_again()
        elif "title" in self._cards.card_head:
            self._cards.card_head = {**self._cards.card_head, "orders": self._offered()}

    def _follow_errors(self, *_: Any) -> None:
        if self.order == "errors":
            self._list_again()

    def _follow_skips(self, *_: Any) -> None:
        if self.order in pattern_list.SKIPPING:
            self._list_again()

    def _follow_filters(self, *events: Event) -> None:
        """Follow the chosen filters and the order; filters bring theirs unless both were set."""
        named = {event.name for event in events}
        if "filters" in named:
            self._ablation.forget("filters")
            self._draw_strip()
        if "pattern_order" in named or self._state.is_returning:
            self._list_again()
        else:
            self._state.pattern_order = "filters" if self._state.filters else ""

    def _follow_pattern(self, *events: Event) -> None:
        """Follow the open pattern and the path set; without its set a pattern is closed."""
        changed = {event.name for event in events if event.old != event.new}
        if "path_set" in changed:
            self._sets.choice_value = self._state.path_set
            if "pattern" not in {event.name for event in events}:
                self._state.pattern = None
            self._list_again()
        if changed:
            self._open_card()

    def _open_card(self) -> None:
        pattern = self._state.pattern
        self._open = None
        if pattern is not None:
            try:
                self._open = any_card(self._runtime.store, self._state.path_set, pattern)
            except (StoreError, IndexError):
                self._state.pattern = None
                return
        self._plot.frame_pattern(self._open.items if self._open else ())
        self._cards.card_open = -1 if pattern is None else pattern_key.card_id(pattern)
        self._detail.follow()
        self._ablation.forget("pattern")

    def _choose_set(self, *_: Any) -> None:
        if self._has_set(self._sets.choice_value):
            self._state.show_path_set(self._sets.choice_value)

    def _draw_strip(self) -> None:
        """Show the card of the chosen filter."""
        state = self._state
        if not state.filters:
            self._cards.card_strip = {}
            return
        try:
            card = filter_card.card(self._runtime, state, self._layers, self._names)
        except StoreError as error:
            words = words_of(error, self._runtime.store.path)
            card = filter_card.without_images(state, self._layers, self._names, words)
        self._cards.card_strip = {**card, "few": self._forecast()}

    def _forecast(self) -> dict[str, str]:
        """Return what is said before the chosen filters are replaced on the selection."""
        state = self._state
        return pattern_forecast.of_filters(
            state.filters,
            [row.filters for row in self._layers],
            len(state.selected_ids),
            is_all=state.selection.is_all,
        )

    @property
    def plot(self) -> UnitPlot:
        """The plot of all filters."""
        return self._plot

    # Patterns.

    @property
    def order(self) -> str:
        """How the listed patterns are chosen: a key of ``pattern_figures.ORDERS``."""
        chosen = self._state.pattern_order
        if chosen in pattern_list.orders(self._state):
            return chosen
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
        order, cells = self.order, []
        try:
            errors = self._chosen_errors() if order == "errors" else None
            question = pattern_list.Question.of(
                self._state, order, self._limit, errors=errors, selected_by=self._selected_by
            )
            self._question = question
            if order == "errors":
                cells = error_list.offered(self._runtime, question.split)
            found = await asyncio.to_thread(
                question.answer, self._runtime, self._names, self._modules
            )
        except StoreError as error:
            head = pattern_heads.failure(error, self._runtime.store)
            self._turn(ticket, partial(self._fail, head))
            return
        self._turn(ticket, partial(self._draw, found, question, cells))
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

        def compare() -> list[str]:
            if ticket != self._ticket:
                return []
            return error_list.compare(self._runtime.store, found, self._names)

        try:
            notes = await asyncio.get_running_loop().run_in_executor(_comparer, compare)
        except StoreError as error:
            words = pattern_heads.failure(error, self._runtime.store)["words"]
            notes = [f"No comparison: {words}"]

        def draw() -> None:
            self._cards.card_head = {**self._cards.card_head, "notes": notes}

        self._turn(ticket, draw)

    def _draw(self, found: Answer, question: Question, cells: list[dict[str, str]]) -> None:
        head = {**found.head, "orders": self._offered(), "order": question.order}
        if question.order == "errors":
            head["cells"] = cells
            head["cell"] = "-".join(map(str, question.errors or ()))
        errors = error_list.errors_of(found.behind)
        self._detail.put_first(errors)
        self._ablation.put_errors(errors)
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
            self._choose_order(str(message["value"]))
        elif kind == "cell":
            self._choose_errors(message.get("value"))
        elif kind == "more" and len(self._cards.card_items) < self._cards.card_total:
            if message.get("have") == len(self._cards.card_items):
                self._limit += PAGE
                self._ask()
        elif kind == "page":
            self._detail.turn(message.get("step"))
        elif kind == "skips" and isinstance(message.get("value"), bool):
            state.pattern_skips = message["value"]
        elif kind == "mean_evidence":
            self._evidence.ask()
        elif kind == "stop_evidence":
            self._evidence.stop()
        elif kind == "ablate":
            self._ablation.ask(message)
        elif kind == "stop_ablation":
            self._ablation.stop()
        elif kind == "unfilter":
            state.choose_filters(())
        elif kind == "cure":
            self._cure()

    def _choose_order(self, order: str) -> None:
        state = self._state
        if order == "errors":
            shown = error_list.path_set_for_errors(self._runtime.store, state.path_set)
            state.explain_errors(state.errors, shown)
        else:
            state.pattern_order = order

    def _choose_errors(self, value: object) -> None:
        """Explain another kind of error, if the page offered it."""
        known = {item["value"] for item in self._cards.card_head.get("cells", ())}
        if isinstance(value, str) and value in known:
            true, _, predicted = value.partition("-")
            # A pattern that was found behind one kind of error says nothing of another.
            self._state.explain_errors((int(true), int(predicted)), self._state.path_set)

    def _listed(self, pattern: object) -> PatternKey | None:
        key = pattern_key.read(pattern)
        known = {item["id"] for item in self._cards.card_items}
        return key if key is not None and pattern_key.card_id(key) in known else None

    def _open_pattern(self, pattern: object) -> None:
        self._state.open_pattern(self._listed(pattern))

    def _select(self, pattern: object) -> None:
        """Select every member of a pattern; the selection bar names it."""
        listed = self._listed(pattern)
        if listed is None:
            return
        store, path_set = self._runtime.store, self._state.path_set
        items = any_card(store, path_set, listed).items
        members = any_members(store, path_set, listed)
        words = pattern_figures.path_words(items, self._names)
        origin = f"{path_set} pattern {words}"
        self._made_by[origin] = (path_set, items)
        self._state.select(members, origin)

    @property
    def _selected_by(self) -> tuple[tuple[int, int], ...]:
        """Items of the pattern of this path set by which was selected; empty without."""
        path_set, items = self._made_by.get(self._state.selection.origin, ("", ()))
        return items if path_set == self._state.path_set else ()

    def _select_top(self) -> None:
        if self._state.filters:
            last = pattern_figures.path_words(self._state.filters[-1:], self._names)
            try:
                top = filter_card.top_images(self._runtime, self._state)
            except StoreError:
                # The card of the filter says what is wrong.
                return
            self._state.select(top.image_id, f"strongest for {last}")

    def _cure(self) -> None:
        if self.order == "filters":
            self._state.choose_filters(())
        elif self.order == "errors":
            self._state.show_path_set(error_list.BEST_PATH_SET)
        elif self._cards.card_head.get("cure_to") == "skips":
            self._state.pattern_skips = True
        else:
            self._state.pattern_order = "distinctive"
