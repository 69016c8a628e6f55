"""What follows the scores of the test view: evidence, trust, curves and flips, one by one.

Each is asked only while nothing newer is: a slider in motion asks for scores alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from app import safe
from app.inference import SupersededError, VatunError, WorkerError
from app.layer_names import short_names
from app.views import testing_curves, testing_evidence
from feature_store import StoreError, queries

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from app.components.test_bench import TestBench
    from app.inference import Evidence, Image, TestResult
    from app.runtime import Runtime
    from app.state import SessionState
    from vatun.response import Flip, ResponseCurve

EVIDENCE_PAUSE_S = 0.06
"""Seconds of rest before the evidence of a change is asked for."""

MORE_PAUSE_S = 0.2
"""Seconds of rest before trust, curves and flips are."""

DEFAULT_CURVES = ("rotation",)
"""Curves that are drawn before the browser says how many it has room for."""

_FAULTS = (WorkerError, VatunError, StoreError)


class Answers:
    """Asks for all that follows the scores, and draws it.

    Parameters
    ----------
    runtime, state : Runtime, SessionState
        As for the view.
    bench : TestBench
        Where it is drawn.
    later : callable
        ``(ticket, act, *arguments)``: acts on the document's turn, unless overtaken.
    session : hashable
        Who asks.
    """

    def __init__(
        self,
        runtime: Runtime,
        state: SessionState,
        bench: TestBench,
        *,
        later: Callable[..., None],
        session: Hashable,
    ) -> None:
        self._runtime = runtime
        self._state = state
        self._bench = bench
        self._later = later
        self._session = session
        self._short: dict[str, str] | None = None
        self._evidence: Evidence | None = None
        self._image: Image | None = None
        self._curves: dict[str, ResponseCurve] = {}
        self._flips: dict[str, dict[int, Flip]] = {}
        self.wanted: tuple[str, ...] = DEFAULT_CURVES
        self.is_randomised = False

    def evidence_of(self, result: TestResult) -> Evidence | None:
        """Return the maps that belong to ``result``, if they are drawn."""
        found, state = self._evidence, self._state
        if found is None or found.image != result.image or found.change != result.change:
            return None
        layer = self._runtime.inference.evidence_layer(state.evidence_method, state.evidence_layer)
        asked = (state.evidence_method, layer, state.evidence_class)
        return found if (found.method, found.layer, found.class_index) == asked else None

    def await_evidence(self, result: TestResult) -> None:
        """Say that the maps on the screen belong to an earlier question."""
        state = self._state
        is_same = self._evidence is not None and self._evidence.image == result.image
        self.is_randomised = False
        if self.evidence_of(result) is None:
            self._bench.bench_evidence = {
                **(self._bench.bench_evidence if is_same else {}),
                **self._choices(state.evidence_method, state.evidence_layer),
                "stage": "pending",
            }
        if result.image != self._image:
            self._image = result.image
            self._curves, self._flips = {}, {}
            self._bench.bench_curves = {}

    async def follow(self, result: TestResult, is_newest: Callable[[], bool], ticket: int) -> None:
        """Ask for everything that follows ``result``, until something newer is asked.

        Parameters
        ----------
        result : TestResult
            Scores that are drawn.
        is_newest : callable
            Whether they still are what the session wants to see.
        ticket : int
            Their number, for ``later``.
        """
        try:
            await asyncio.sleep(EVIDENCE_PAUSE_S)
            evidence = await self._explain(result, ticket) if is_newest() else None
            await asyncio.sleep(MORE_PAUSE_S)
            if is_newest() and evidence is not None:
                await self._trust(evidence, ticket)
            await self._respond(result, is_newest, ticket)
        except SupersededError:
            return

    async def _explain(self, result: TestResult, ticket: int) -> Evidence | None:
        state = self._state
        try:
            evidence = await self._runtime.inference.explain(
                result.image, result.change,
                method=state.evidence_method, layer=state.evidence_layer,
                class_index=state.evidence_class, session=self._session,
            )  # fmt: skip
        except SupersededError:
            raise
        except _FAULTS as error:
            self._later(ticket, self._say_no_evidence, error)
            return None
        self._later(ticket, self._draw_evidence, evidence)
        return evidence

    async def _trust(self, evidence: Evidence, ticket: int) -> None:
        inference = self._runtime.inference
        try:
            words: dict[str, Any] = {
                "trust": testing_evidence.trust_words(
                    await inference.trust(evidence, session=self._session)
                )
            }
            self._later(ticket, self._add_evidence, evidence, words)
            if self.is_randomised:
                self.is_randomised = False
                self._later(ticket, self._add_evidence, evidence, {"randomised": "…"})
                tests = await inference.randomise(evidence, session=self._session)
                words = {"randomised": testing_evidence.randomised_words(tests)}
                self._later(ticket, self._add_evidence, evidence, words)
        except SupersededError:
            raise
        except _FAULTS as error:
            said = safe.plain(error, limit=200)
            self._later(ticket, self._add_evidence, evidence, {"randomised": said})

    async def _respond(
        self, result: TestResult, is_newest: Callable[[], bool], ticket: int
    ) -> None:
        inference = self._runtime.inference
        # Asked for, not kept: a change may be known from a question with other corners.
        change = self._state.change
        fill = result.change.rotation_fill if change is None else change.rotation_fill
        try:
            for name in self.wanted:
                if not is_newest():
                    return
                curve = await inference.curve(
                    result.image, name, rotation_fill=fill, session=self._session
                )
                self._later(ticket, self._draw_curve, curve)
            for name in self.wanted:
                for direction in inference.directions(name):
                    if not is_newest():
                        return
                    flip = await inference.flip(
                        result.image, name, direction,
                        rotation_fill=fill, session=self._session,
                    )  # fmt: skip
                    self._later(ticket, self._draw_flip, flip)
        except SupersededError:
            raise
        except _FAULTS as error:
            self._later(ticket, self._say_no_curves, error)

    # What is drawn.

    def _layers(self) -> dict[str, str]:
        """Short name of each layer."""
        if self._short is None:
            rows = queries.layers(self._runtime.store)
            self._short = dict(
                zip((row.layer_name for row in rows), short_names(rows), strict=True)
            )
        return self._short

    def _draw_evidence(self, evidence: Evidence) -> None:
        if evidence is self._evidence and self._bench.bench_evidence.get("stage") == "ready":
            return
        inference = self._runtime.inference
        methods, short = inference.methods(), self._layers()
        self._evidence = evidence
        self._bench.param.update(
            bench_maps=evidence.maps.astype("<f4").tobytes(),
            bench_evidence={
                "stage": "ready",
                **self._choices(evidence.method, evidence.layer),
                **testing_evidence.figures(
                    evidence,
                    names=self._runtime.class_names,
                    label=methods[evidence.method][0],
                    short=short,
                    better_layer=self._better_layer(evidence),
                ),
            },
        )

    def _choices(self, method: str, layer: str) -> dict[str, Any]:
        """Return what can be chosen, and what is."""
        index = self._state.evidence_class
        layer = self._runtime.inference.evidence_layer(method, layer)
        return {
            "choices": testing_evidence.choices(self._runtime.inference.methods(), self._layers()),
            "value": f"{method}|{layer}",
            "class_value": "" if index is None else str(index),
        }

    def _better_layer(self, evidence: Evidence) -> str:
        """Return the layer to offer where this one has nothing to show."""
        inference = self._runtime.inference
        if evidence.layer != inference.default_layer():
            return inference.default_layer()
        layers = inference.methods()[evidence.method][1]
        at = layers.index(evidence.layer)
        return layers[at - 1] if at else ""

    def _add_evidence(self, evidence: Evidence, more: dict[str, Any]) -> None:
        if evidence is self._evidence and self._bench.bench_evidence.get("stage") == "ready":
            self._bench.bench_evidence = {**self._bench.bench_evidence, **more}

    def _say_no_evidence(self, error: Exception) -> None:
        state = self._state
        self._evidence = None
        # What may be chosen instead is the way out.
        self._bench.bench_evidence = {
            **self._choices(state.evidence_method, state.evidence_layer),
            "stage": "failed",
            "message": safe.plain(error, limit=200),
        }

    def _draw_curve(self, curve: ResponseCurve) -> None:
        # A change of the image leaves its curves as they are: the same answers come again.
        if self._curves.get(curve.perturbation) is not curve:
            self._curves[curve.perturbation] = curve
            # Flips of the curve before, with other corners, are none of this one.
            self._flips.pop(curve.perturbation, None)
            self._show_curve(curve.perturbation)

    def _draw_flip(self, flip: Flip) -> None:
        known = self._flips.setdefault(flip.perturbation, {})
        if known.get(flip.direction) is not flip:
            known[flip.direction] = flip
            self._show_curve(flip.perturbation)

    def _show_curve(self, name: str) -> None:
        curve = self._curves.get(name)
        if curve is None:
            return
        runtime = self._runtime
        size = runtime.inference.input
        side = min(size.height, size.width)
        row = runtime.images.row(self._image) if isinstance(self._image, int) else None
        label = -1 if row is None else int(runtime.images.true_class[row])
        figure = testing_curves.curve_figure(
            curve, names=runtime.class_names, true_class=label if label >= 0 else None, side=side
        )
        figure["flip"] = testing_curves.flip_figure(
            self._flips.get(name, {}), runtime.inference.directions(name),
            names=runtime.class_names,
        )  # fmt: skip
        drawn = {key: each for key, each in self._bench.bench_curves.items() if key}
        self._bench.bench_curves = {**drawn, name: figure}

    def _say_no_curves(self, error: Exception) -> None:
        self._bench.bench_curves = {
            **self._bench.bench_curves,
            "": {"message": safe.plain(error, limit=200)},
        }
