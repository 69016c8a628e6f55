"""The testing view: an image beside its changed copy, and what the network says of both."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import panel as pn

from app import safe, sessions
from app.components.controls import ActionButtons
from app.components.test_bench import TestBench
from app.inference import (
    PERTURBATION_SPECS,
    BusyError,
    Change,
    DeadlineError,
    NoNetworkError,
    SupersededError,
    VatunError,
    WorkerError,
)
from app.shell import view_frame
from app.stores import words_of
from app.views import testing_changes, testing_figures
from app.views.testing_answers import Answers
from app.views.testing_held import MAX_HELD, Held
from app.views.testing_uploads import Uploads
from feature_store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from app.inference import Image, TestResult
    from app.runtime import Runtime
    from app.state import SessionState

INFO = (
    "Scores of the image and of its changed copy. Evidence shows where the chosen layer supports "
    "the chosen class, both pictures on one scale: it says where, not why. Response curves show "
    "the score of each class while one change grows, the others at identity; ▼ marks each place "
    "where the predicted class changes, and curves may come back."
)

POLL_S = 0.5
"""Seconds between two looks at the place in the queue."""

_LABEL_CSS = (
    ":host{color:var(--vt-ink-2);font:400 12px var(--vt-mono);white-space:nowrap;min-width:0;"
    "overflow:hidden;text-overflow:ellipsis}"
    "@media (max-width:760px){:host{display:none!important}}"
)

_EMPTY = {
    "stage": "empty",
    "headline": "No image is under test",
    "detail": "Tap a point on the map, click a picture in the selection bar or on a pattern, find "
    "one by its classes, or upload your own.",
    "cure": "Test the least confident image",
}


class TestingView(pn.viewable.Viewer):
    """View B, the image under test: what breaks it.

    Parameters
    ----------
    runtime : Runtime
        Store, network and names that all sessions share.
    state : SessionState
        What this session looks at; the view answers to its focus, upload, change and evidence.
    find : callable, optional
        Opens the search for images; without it there is no button for that.
    """

    __test__ = False

    def __init__(
        self,
        runtime: Runtime,
        state: SessionState,
        *,
        find: Callable[[], None] | None = None,
        **params: Any,
    ) -> None:
        super().__init__(**params)
        self._runtime = runtime
        self._state = state
        self._find = find
        self._ticket = 0
        self._seq = 0
        self._number = 0
        self._held: list[Held] = []
        self._result: TestResult | None = None
        self._bench = TestBench(
            self._receive,
            bench_specs=self._controls(),
            bench_view=_EMPTY if self._image is None else {"stage": "loading"},
            bench_change=testing_changes.position(self._change, self._seq),
            sizing_mode="stretch_both",
            margin=0,
        )
        self._answers = Answers(runtime, state, self._bench, later=self._later, session=self)
        self._uploads = Uploads(state, runtime.inference)
        self._label = pn.pane.HTML(
            f'<span class="focus-label">{safe.label(self._title())}</span>',
            stylesheets=[_LABEL_CSS],
            margin=0,
            align="center",
        )
        state.param.watch(
            self._follow,
            ["focus", "upload", "change", "evidence_method", "evidence_layer", "evidence_class"],
        )
        state.param.watch(self._place, ["projection"])
        pn.state.onload(self._follow)
        sessions.on_closed(self._leave)

    def __panel__(self) -> pn.viewable.Viewable:
        tools: list[Any] = [self._label]
        if self._find is not None:
            find = self._find
            tools.append(
                ActionButtons(
                    lambda _: find(),
                    action_items=[{"id": "find", "label": "Find images", "text": "Find"}],
                    margin=0,
                    align="center",
                )
            )
        tools.append(self._uploads.button)
        return view_frame(
            "B",
            "Test",
            "What breaks this image?",
            self._bench,
            state=self._state,
            tools=tools,
            info=INFO,
        )

    @property
    def result(self) -> TestResult | None:
        """The answer that is drawn, or None."""
        return self._result

    @property
    def _image(self) -> Image | None:
        upload: Image | None = self._state.upload
        return self._state.focus if upload is None else upload

    @property
    def _change(self) -> Change:
        change = self._state.change
        return change if isinstance(change, Change) else Change()

    def _title(self) -> str:
        return "" if self._image is None else _name_of(self._image)

    def _controls(self) -> list[dict[str, Any]]:
        return [testing_changes.control(spec) for spec in testing_changes.offered_specs()]

    def _follow(self, *_: Any) -> None:
        """Ask the network again; the answer to an older question is not drawn any more."""
        self._ticket += 1
        self._runtime.inference.interrupt(self)
        self._label.object = f'<span class="focus-label">{safe.label(self._title())}</span>'
        where = testing_changes.position(self._change, self._seq)
        if self._image is None:
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
        """Run the network for what the session looks at, and draw the answers unless overtaken.

        The scores come first; evidence, trust and curves follow while nothing else is asked.

        Parameters
        ----------
        ticket : int or None
            Which question this is; None is the newest.
        """
        ticket = self._ticket if ticket is None else ticket
        image = self._image
        if image is None or ticket != self._ticket:
            return
        question = self._runtime.inference.test(image, self._change, session=self)
        task = asyncio.ensure_future(question)
        while not (await asyncio.wait({task}, timeout=POLL_S))[0]:
            self._later(ticket, self._wait, self._runtime.inference.ahead(self))
        try:
            result = task.result()
        except SupersededError:
            return
        except (WorkerError, VatunError, StoreError) as error:
            self._later(ticket, self._fail, error)
            return
        self._later(ticket, self._draw, result)
        await self._answers.follow(result, lambda: ticket == self._ticket, ticket)

    def _later(self, ticket: int, act: Any, *arguments: Any) -> None:
        """Act on the document's own turn, if the question is still the newest then."""

        def turn() -> None:
            if ticket == self._ticket:
                act(*arguments)

        pn.state.execute(turn, schedule=True)

    def _leave(self) -> None:
        """Ask nothing more: the page is gone."""
        self._ticket += 1
        self._runtime.inference.drop(self)
        self._uploads.close()

    def _wait(self, ahead: int) -> None:
        if self._bench.bench_ahead >= 0:
            self._bench.bench_ahead = ahead

    def _draw(self, result: TestResult) -> None:
        self._result = result
        view = testing_figures.figures(
            result, names=self._runtime.class_names, title=self._title()
        )
        specs = self._controls()
        if specs != self._bench.bench_specs:
            # Perturbations of a plugin are known once the network is loaded.
            self._bench.bench_specs = specs
        self._answers.await_evidence(result)
        self._bench.param.update(
            bench_images=result.images.tobytes(), bench_view=view, bench_ahead=-1
        )
        self._place()

    def _place(self, *_: Any) -> None:
        """Tell the other views of the picture that is in no table: its place, path and filters."""
        result = self._result
        place, paths, activations = None, None, None
        if result is not None and not (
            result.change.is_identity and isinstance(result.image, int)
        ):
            paths = dict(result.paths)
            place = result.places.get(self._state.projection)
            if place is None and result.places and not self._state.projection:
                place = next(iter(result.places.values()))
            if not isinstance(result.image, int):
                activations = result.activations
        with pn.io.hold():
            self._state.param.update(
                changed_place=place, live_paths=paths, live_activations=activations
            )

    def _fail(self, error: Exception) -> None:
        self._result = None
        words = safe.plain(words_of(error, self._runtime.store.path), limit=400)
        notice = {"stage": "empty", "detail": words, "is_error": True}
        if isinstance(error, BusyError):
            notice |= {"headline": "The network is busy", "cure": "Try again", "is_error": False}
        elif isinstance(error, DeadlineError):
            notice |= {"headline": "The network took too long", "cure": "Try again"}
        elif isinstance(error, NoNetworkError):
            notice |= {
                "headline": "This network cannot be run here",
                "detail": f"{words.rstrip('.')}. Everything that is stored still works.",
            }
        else:
            title = self._title()
            notice |= {"headline": f"{title[:1].upper()}{title[1:]} cannot be tested"}
        self._bench.param.update(bench_view=notice, bench_ahead=-1)
        self._place()

    def _receive(self, message: Mapping[str, Any]) -> None:
        """Act on what the browser sent; nothing in it is trusted."""
        self._seq = max(safe.integer(message.get("seq"), 0, 2**53) or 0, self._seq)
        kind = message.get("kind")
        if isinstance(kind, str):
            self._act(kind, message)
        if self._bench.bench_change["seq"] != self._seq:
            # The browser waits for a receipt before it sends more.
            self._bench.bench_change = testing_changes.position(self._change, self._seq)

    def _act(self, kind: str, message: Mapping[str, Any]) -> None:
        change = self._change
        if kind == "set":
            name = message.get("name")
            made = testing_changes.with_magnitude(change, name, message.get("value"))
            self._set(made, control=str(name))
        elif kind == "box":
            self._set(testing_changes.with_box(change, message.get("box")))
        elif kind == "unbox":
            self._set(testing_changes.without_box(change, message.get("index")))
        elif kind in {"region_fill", "rotation_fill"}:
            self._set(testing_changes.with_fill(change, kind, message.get("value")))
        elif kind == "reset":
            self._set(Change())
        elif kind == "undo":
            self._state.undo()
        elif kind == "evidence":
            self._choose_evidence(message.get("value"))
        elif kind == "class":
            self._choose_class(message.get("value"))
        elif kind == "curves":
            self._choose_curves(message.get("names"))
        elif kind == "randomise" and self._result is not None:
            self._answers.is_randomised = True
            self._again()
        elif kind == "hold":
            self._hold()
        elif kind in {"open", "release"}:
            self._held_case(kind, message.get("number"))
        elif kind == "stop":
            self._stop()
        elif kind == "cure":
            self._cure()

    def _set(self, change: Change, *, control: str = "") -> None:
        if change != self._change:
            self._state.set_change(change, control=control)
        elif testing_changes.position(change, 0) != testing_changes.position(self._change, 0):
            # A fill without a gap for it changes nothing, but it is remembered.
            self._state.set_change(change, control="fill")

    def _choose_evidence(self, value: object) -> None:
        method, _, layer = str(value).partition("|")
        layers = self._runtime.inference.methods().get(method, ("", ()))[1]
        if layer in layers:
            self._state.param.update(
                evidence_method=method, evidence_layer=layer or self._state.evidence_layer
            )

    def _choose_class(self, value: object) -> None:
        names = [str(index) for index in range(len(self._runtime.class_names))]
        if value == "":
            self._state.evidence_class = None
        elif value in names:
            self._state.evidence_class = names.index(str(value))

    def _choose_curves(self, names: object) -> None:
        """Note which curves the browser has room for, and draw those that are missing."""
        if not isinstance(names, list):
            return
        wanted = tuple(dict.fromkeys(n for n in names if str(n) in PERTURBATION_SPECS))
        if wanted != self._answers.wanted:
            self._answers.wanted = wanted
            self._again()

    def _again(self) -> None:
        """Go on with what follows the scores that are drawn."""
        result, ticket = self._result, self._ticket
        if result is not None and result.change == self._change and result.image == self._image:
            pn.state.execute(
                partial(self._answers.follow, result, lambda: ticket == self._ticket, ticket)
            )

    def _hold(self) -> None:
        result = self._result
        if result is None or any(case.result is result for case in self._held):
            return
        self._number += 1
        held = Held(
            self._number,
            _name_of(result.image),
            result,
            self._answers.evidence_of(result),
        )
        self._held = [*self._held, held][-MAX_HELD:]
        self._draw_held()

    def _held_case(self, kind: str, number: object) -> None:
        held = next((case for case in self._held if case.number == number), None)
        if held is None:
            return
        if kind == "release":
            self._held.remove(held)
            self._draw_held()
            return
        state, result = self._state, held.result
        with pn.io.hold():
            self._put(result.image)
            if held.evidence is not None:
                state.param.update(
                    evidence_method=held.evidence.method,
                    evidence_layer=held.evidence.layer or state.evidence_layer,
                    evidence_class=held.evidence.class_index,
                )
            state.set_change(result.change)

    def _put(self, image: Image) -> None:
        """Put an image under test."""
        if isinstance(image, int):
            self._state.set_focus(image)
        else:
            self._state.set_upload(image)

    def _draw_held(self) -> None:
        names = self._runtime.class_names
        self._bench.bench_held = [held.figure(names) for held in self._held]

    def _stop(self) -> None:
        """Give up waiting: the controls go back to what the drawn figures belong to."""
        self._ticket += 1
        self._runtime.inference.drop(self)
        self._bench.bench_ahead = -1
        result, state = self._result, self._state
        if result is None:
            return
        with pn.io.hold():
            if result.image != self._image:
                self._put(result.image)
            state.set_change(result.change, control="stop")

    def _cure(self) -> None:
        """Do what the button of a notice says."""
        if self._image is not None:
            self._follow()
            return
        images = self._runtime.images
        rows = images.rows(self._state.selected_ids)
        if len(rows):
            self._state.set_focus(int(images.ids[rows[images.confidence[rows].argmin()]]))


def _name_of(image: Image) -> str:
    """Return what the page calls an image; not escaped."""
    return f"image {image:,}" if isinstance(image, int) else f"upload {image.name}"
