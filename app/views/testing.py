"""The testing view: an image beside its changed copy, and what the network says of both."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import panel as pn

from app import safe
from app.components.test_bench import TestBench
from app.inference import (
    BusyError,
    Change,
    DeadlineError,
    NoNetworkError,
    SupersededError,
    VatunError,
    WorkerError,
)
from app.layer_names import short_names
from app.shell import view_frame
from app.stores import words_of
from app.views import testing_figures
from feature_store import StoreError, queries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.inference import TestResult
    from app.runtime import Runtime
    from app.state import SessionState

INFO = (
    "Scores of the image and of its changed copy, from one batch. Evidence shows where the chosen "
    "layer supports the chosen class, both pictures on one scale: it says where, not why."
)

POLL_S = 0.5
"""Seconds between two looks at the place in the queue."""

_LABEL_CSS = (
    ":host{color:var(--vt-ink-2);font:400 12px var(--vt-mono);white-space:nowrap}"
    "@media (max-width:760px){:host{display:none!important}}"
)

_EMPTY = {
    "stage": "empty",
    "headline": "No image is under test",
    "detail": "Tap a point on the map, or click a picture in the selection bar or on a pattern.",
    "cure": "Test the least confident image",
}


class TestingView(pn.viewable.Viewer):
    """View B, the image under test: what breaks it.

    Parameters
    ----------
    runtime : Runtime
        Store, network and names that all sessions share.
    state : SessionState
        What this session looks at; the view answers to its focus, change and evidence.
    """

    __test__ = False

    def __init__(self, runtime: Runtime, state: SessionState, **params: Any) -> None:
        super().__init__(**params)
        self._runtime = runtime
        self._state = state
        self._ticket = 0
        self._seq = 0
        self._result: TestResult | None = None
        self._names: dict[str, str] | None = None
        self._bench = TestBench(
            self._receive,
            bench_specs=[
                testing_figures.control(spec) for spec in testing_figures.offered_specs()
            ],
            bench_view=_EMPTY if state.focus is None else {"stage": "loading"},
            bench_change=testing_figures.position(self._change, self._seq),
            sizing_mode="stretch_both",
            margin=0,
        )
        self._label = pn.pane.HTML(
            f'<span class="focus-label">{self._title()}</span>',
            stylesheets=[_LABEL_CSS],
            margin=0,
            align="center",
        )
        state.param.watch(self._follow, ["focus", "change", "evidence_layer", "evidence_class"])
        state.param.watch(self._place, ["projection"])
        pn.state.onload(self._follow)

    def __panel__(self) -> pn.viewable.Viewable:
        return view_frame(
            "B",
            "Test",
            "What breaks this image?",
            self._bench,
            state=self._state,
            tools=[self._label],
            info=INFO,
        )

    @property
    def result(self) -> TestResult | None:
        """The answer that is drawn, or None."""
        return self._result

    @property
    def _change(self) -> Change:
        change = self._state.change
        return change if isinstance(change, Change) else Change()

    def _title(self) -> str:
        focus = self._state.focus
        return "" if focus is None else f"image {focus:,}"

    def _follow(self, *_: Any) -> None:
        """Ask the network again; the answer to an older question is not drawn any more."""
        self._ticket += 1
        self._label.object = f'<span class="focus-label">{self._title()}</span>'
        where = testing_figures.position(self._change, self._seq)
        if self._state.focus is None:
            self._runtime.inference.drop(self)
            self._result = None
            self._bench.param.update(bench_view=_EMPTY, bench_ahead=-1, bench_change=where)
            self._place()
            return
        if self._bench.bench_view.get("stage") != "ready":
            self._bench.bench_view = {"stage": "loading"}
        self._bench.bench_ahead = max(self._bench.bench_ahead, 0)
        # Only then: the browser takes this for the receipt of what it sent.
        self._bench.bench_change = where
        pn.state.execute(partial(self.answer, self._ticket))

    async def answer(self, ticket: int | None = None) -> None:
        """Run the network for what the session looks at, and draw the answer unless overtaken.

        Parameters
        ----------
        ticket : int or None
            Which question this is; None is the newest.
        """
        ticket = self._ticket if ticket is None else ticket
        state = self._state
        focus = state.focus
        if focus is None or ticket != self._ticket:
            return
        layer = state.evidence_layer
        known = self._runtime.inference.layers()
        question = self._runtime.inference.test(
            focus,
            self._change,
            # A layer without a map (a linear one) has no evidence to show.
            layer if not known or layer in known else "",
            state.evidence_class,
            session=self,
        )
        task = asyncio.ensure_future(question)
        while not (await asyncio.wait({task}, timeout=POLL_S))[0]:
            self._later(ticket, self._wait, self._runtime.inference.ahead(self))
        try:
            result = task.result()
        except SupersededError:
            return
        except (WorkerError, VatunError, StoreError) as error:
            self._later(ticket, self._fail, error)
        else:
            self._later(ticket, self._draw, result)

    def _later(self, ticket: int, act: Any, *arguments: Any) -> None:
        """Act on the document's own turn, if the question is still the newest then."""

        def turn() -> None:
            if ticket == self._ticket:
                act(*arguments)

        pn.state.execute(turn, schedule=True)

    def _wait(self, ahead: int) -> None:
        if self._bench.bench_ahead >= 0:
            self._bench.bench_ahead = ahead

    def _draw(self, result: TestResult) -> None:
        self._result = result
        runtime = self._runtime
        row = runtime.images.row(result.image_id)
        true_class = None if row is None else int(runtime.images.true_class[row])
        view = testing_figures.figures(
            result,
            names=runtime.class_names,
            true_class=true_class if true_class is not None and true_class >= 0 else None,
            layers=self._layers(),
            default_layer=runtime.inference.default_layer(),
            class_index=self._state.evidence_class,
        )
        self._bench.param.update(
            bench_images=result.images.tobytes(),
            bench_maps=result.maps.astype("<f4").tobytes(),
            bench_view=view,
            bench_ahead=-1,
        )
        self._place()

    def _layers(self) -> dict[str, str]:
        """Short name of each layer that evidence can be shown for."""
        if self._names is None:
            rows = queries.layers(self._runtime.store)
            short = dict(zip((row.layer_name for row in rows), short_names(rows), strict=True))
            self._names = {
                name: short.get(name, name) for name in self._runtime.inference.layers()
            }
        return self._names

    def _place(self, *_: Any) -> None:
        """Tell the map where the changed copy would lie; it does not move without a change."""
        result = self._result
        place = None
        if result is not None and not result.change.is_identity:
            place = result.places.get(self._state.projection)
            if place is None and result.places and not self._state.projection:
                place = next(iter(result.places.values()))
        self._state.changed_place = place

    def _fail(self, error: Exception) -> None:
        self._result = None
        words = words_of(error, self._runtime.store.path)
        notice = {"stage": "empty", "detail": safe.plain(words, limit=400), "is_error": True}
        if isinstance(error, BusyError):
            notice |= {"headline": "The network is busy", "cure": "Try again", "is_error": False}
        elif isinstance(error, DeadlineError):
            notice |= {"headline": "The network took too long", "cure": "Try again"}
        elif isinstance(error, NoNetworkError):
            notice |= {
                "headline": "This network cannot be run here",
                "detail": f"{notice['detail']} Everything that is stored still works.",
            }
        else:
            notice |= {"headline": f"Image {self._state.focus:,} cannot be tested"}
        self._bench.param.update(bench_view=notice, bench_ahead=-1)
        self._place()

    def _receive(self, message: Mapping[str, Any]) -> None:
        """Act on what the browser sent; nothing in it is trusted."""
        kind, state = message.get("kind"), self._state
        self._seq = safe.integer(message.get("seq"), 0, 2**53) or self._seq
        if kind == "set":
            self._set(
                testing_figures.with_magnitude(
                    self._change, message.get("name"), message.get("value")
                )
            )
        elif kind == "box":
            self._set(testing_figures.with_box(self._change, message.get("box")))
        elif kind == "unbox":
            self._set(testing_figures.without_box(self._change, message.get("index")))
        elif kind == "reset":
            self._set(Change())
        elif kind == "layer" and message.get("value") in self._runtime.inference.layers():
            state.evidence_layer = str(message["value"])
        elif kind == "class":
            self._choose_class(message.get("value"))
        elif kind == "stop":
            self._stop()
        elif kind == "cure":
            self._cure()

    def _set(self, change: Change) -> None:
        if change != self._change:
            self._state.change = change
        else:
            # The browser waits for an answer before it sends more.
            self._bench.bench_change = testing_figures.position(change, self._seq)

    def _choose_class(self, value: object) -> None:
        names = [str(index) for index in range(len(self._runtime.class_names))]
        if value == "":
            self._state.evidence_class = None
        elif value in names:
            self._state.evidence_class = names.index(str(value))

    def _stop(self) -> None:
        """Give up waiting: the controls go back to what the drawn figures belong to."""
        self._ticket += 1
        self._runtime.inference.drop(self)
        self._bench.bench_ahead = -1
        if self._result is not None and self._result.image_id == self._state.focus:
            with pn.io.hold():
                self._state.change = self._result.change

    def _cure(self) -> None:
        """Do what the button of a notice says."""
        if self._state.focus is not None:
            self._follow()
            return
        images = self._runtime.images
        rows = images.rows(self._state.selected_ids)
        if len(rows):
            self._state.set_focus(int(images.ids[rows[images.confidence[rows].argmin()]]))
