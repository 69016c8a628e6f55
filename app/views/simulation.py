"""View D, the simulation, shows how every class holds up under each change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import panel as pn

from app import safe, shell
from app.components.controls import Choice
from app.components.curves import SimulationCurves
from app.inference import PERTURBATION_SPECS, Change, VatunError
from app.state import MEASURES
from app.views.simulation_curves import HOLDS_ABOVE, draw_data, magnitude_text, shown_classes
from app.views.simulation_measures import MeasuresView
from feature_store import StoreError, queries

if TYPE_CHECKING:
    from app.runtime import Runtime
    from app.state import SessionState
    from feature_store.queries import SimulationRows

_MEASURE_NAMES = {"mean_score": "Mean score", "accuracy": "Accuracy"}

_BESIDE = (
    f"Beside each class: the change at which it falls below {HOLDS_ABOVE:g}; "
    f"\u201clow\u201d: below it without a change already; \u201cholds\u201d: nowhere below it. "
    "The panels stand in that order, the first to fall first."
)

_N_CSS = (
    ":host{min-width:0!important;overflow:hidden;font:400 12px/1.3 var(--vt-font);"
    "color:var(--vt-ink-2)}span{white-space:nowrap}"
    "@media (max-width:1599px){:host(:not(.all)) .roomy{display:none}}"
)
_BODY_CSS = (
    ":host{min-height:0!important;overflow:hidden;padding:0 10px 4px;box-sizing:border-box}"
    # On a low window the view is folded to its head.
    "@media (min-width:761px) and (max-height:700px){:host{padding-bottom:0}}"
    ":host(.all){overflow-y:auto}:host(.all) .vt-curves{flex:0 0 44%!important;"
    "min-height:250px!important}:host(.all) .vt-measures{flex:none!important}"
    ":host(:not(.all)) .vt-measures{display:none!important}"
    "@media (max-width:760px){:host(.all) .vt-curves{flex:0 0 620px!important}}"
)

_KEPT = 24
"""Tables of curves that a session keeps."""

FOUND = 12
"""Class names that the search offers."""


class SimulationView(pn.viewable.Viewer):
    """Curves of every true class under one perturbation, from the store.

    Parameters
    ----------
    runtime : Runtime
        Shared, read-only.
    state : SessionState
        Of this session; the line of the current magnitude is its change.
    """

    def __init__(self, runtime: Runtime, state: SessionState) -> None:
        super().__init__()
        self._runtime = runtime
        self._state = state
        simulated = dict(runtime.store.info.get("simulate", {}))
        self._specs = {
            str(spec["name"]): spec
            for spec in simulated.get("perturbations", [])
            if isinstance(spec, dict) and "name" in spec
        }
        self._simulated = simulated
        self._tables: dict[tuple[str, tuple[int, ...]], SimulationRows] = {}
        stale = runtime.store.stale_tables().get("simulation")
        if stale is not None or not runtime.store.has("simulation") or not self._specs:
            self._frame = self._empty(stale)
            return
        if state.simulation_perturbation not in self._specs:
            first = "rotation" if "rotation" in self._specs else next(iter(self._specs))
            state.simulation_perturbation = first
        self._curves = SimulationCurves(
            self._pick_class,
            self._pick_magnitude,
            self._pick_point,
            self._find_class,
            sizing_mode="stretch_both",
            margin=0,
            css_classes=["vt-curves"],
        )
        self._measures = MeasuresView(
            runtime,
            state,
            labels={name: _label(name, spec) for name, spec in self._specs.items()},
            on_magnitude=self._pick_magnitude,
        )
        self._frame = self._build()
        state.param.watch(
            lambda *_: self._refresh(), ["simulation_perturbation", "simulation_measure"]
        )
        state.param.watch(lambda *_: self._draw_now(), ["change"])
        state.param.watch(lambda *_: self._draw_frame(), ["simulation_class", "focus"])
        state.param.watch(lambda *_: self._draw_size(), ["maximised"])
        self._refresh()
        self._draw_frame()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._frame

    def _empty(self, stale: str | None) -> pn.Column:
        headline, detail = (
            ("No simulation of this store yet", "The changes were not swept over the classes.")
            if stale is None
            else ("The simulation belongs to another network or data", stale)
        )
        return shell.view_frame(
            "D",
            "Simulation",
            "How does every class hold up?",
            shell.message(
                headline,
                detail,
                command=f"doit simulate:{self._runtime.name}",
            ),
            state=self._state,
            info=shell.INFO["d"],
        )

    def _build(self) -> pn.Column:
        state = self._state
        changes = Choice.of(
            {name: _label(name, spec) for name, spec in self._specs.items()},
            state.simulation_perturbation,
            label="Change",
            kind="select",
        )
        changes.link(state, choice_value="simulation_perturbation", bidirectional=True)
        measures = Choice.of(
            {name: _MEASURE_NAMES[name] for name in MEASURES},
            state.simulation_measure,
            label="Measure",
            kind="auto",
        )
        measures.link(state, choice_value="simulation_measure", bidirectional=True)
        self._said = said = pn.pane.HTML(
            f'<span title="{_BESIDE}">{safe.label(self._extent(), limit=200)}'
            f'<span class="roomy"> · beside a name: below {HOLDS_ABOVE:g}, '
            "first to fall first</span></span>",
            stylesheets=[_N_CSS],
            margin=0,
            align="center",
            css_classes=["vt-wide"],
        )
        self._body = body = pn.Column(
            self._curves,
            self._measures,
            sizing_mode="stretch_both",
            margin=0,
            stylesheets=[_BODY_CSS],
            css_classes=["vt-body"],
        )
        return shell.view_frame(
            "D",
            "Simulation",
            "How does every class hold up?",
            body,
            state=state,
            tools=[changes, measures, said],
            info=shell.INFO["d"],
        )

    def _extent(self) -> str:
        """How much of the data was swept; never left out."""
        simulated = self._simulated
        n, total = simulated.get("n"), simulated.get("n_available")
        split = safe.plain(simulated.get("split", ""), limit=20)
        each = simulated.get("images_per_class")
        parts = []
        if isinstance(n, int) and isinstance(total, int):
            per = f", {each:,} per class" if isinstance(each, int) and n < total else ""
            parts.append(f"{n:,} of {total:,} {split} images{per}")
        parts.append("95 % band")
        return " · ".join(parts)

    def _table(self, perturbation: str, classes: tuple[int, ...]) -> SimulationRows:
        """Read the curves of some classes; with very many, of no others."""
        key = (perturbation, tuple(sorted(classes)))
        if key not in self._tables:
            if len(self._tables) >= _KEPT:
                self._tables.clear()
            self._tables[key] = queries.simulation_rows(
                self._runtime.store, perturbation, true_classes=key[1]
            )
        return self._tables[key]

    def _refresh(self) -> None:
        state = self._state
        name = state.simulation_perturbation
        if name not in self._specs:
            return
        curves = queries.class_curves(self._runtime.store, name)
        order = shown_classes(curves, state.simulation_measure, self._framed())
        self._drawn = set(order)
        data = draw_data(
            self._table(name, tuple(order)),
            queries.all_images(self._runtime.store, name),
            order=order,
            total=len(curves.true_classes),
            class_names=self._runtime.class_names,
            label=_label(name, self._specs[name]),
            measure=state.simulation_measure,
        )
        with pn.io.hold():
            self._curves.param.update(curves_data=data, curves_now=self._now(), curves_said="")
            self._measures.cards.measures_now = self._now()

    def _now(self) -> float:
        """Magnitude of the focus image's change, of the perturbation that is shown."""
        name = self._state.simulation_perturbation
        change = self._state.change
        identity = float(self._specs[name].get("identity", 0.0))
        return float(change.magnitudes.get(name, identity)) if change is not None else identity

    def _draw_now(self) -> None:
        self._curves.curves_now = self._measures.cards.measures_now = self._now()

    def _draw_size(self) -> None:
        """Show every measure while the view is maximised."""
        is_all = self._state.maximised == "d"
        self._body.css_classes = ["vt-body", "all"] if is_all else ["vt-body"]
        self._said.css_classes = ["vt-wide", "all"] if is_all else ["vt-wide"]

    def _framed(self) -> int | None:
        """Return the chosen class, else the true class of the focus."""
        framed = self._state.simulation_class
        if framed is None:
            row = self._runtime.images.row(self._state.focus)
            if row is not None and self._runtime.images.true_class[row] >= 0:
                framed = int(self._runtime.images.true_class[row])
        return framed

    def _draw_frame(self) -> None:
        """Frame the panel of the class that is looked at; bring it in if it is not drawn."""
        framed = self._framed()
        chosen = self._state.simulation_class
        if chosen is not None and chosen not in self._drawn:
            self._refresh()
        self._curves.curves_framed = framed

    def _pick_class(self, index: int) -> None:
        runtime, state = self._runtime, self._state
        if index >= len(runtime.class_names):
            return
        table = runtime.images
        rows = table.rows(state.universe)
        name = safe.plain(runtime.class_names[index], limit=40)
        # Selected first: what shows the selection at once need not wait for the curves.
        state.select(
            table.ids[rows[table.true_class[rows] == index]],
            f"{name if name.startswith('class ') else f'class {name}'} on Simulation",
        )
        state.simulation_class = index

    def _pick_point(self, index: int, magnitude: float, predicted: int | None) -> None:
        """Select the images behind a point of a curve."""
        runtime, state = self._runtime, self._state
        name = state.simulation_perturbation
        if max(index, predicted or 0) >= len(runtime.class_names):
            return
        try:
            found = queries.swept_images(
                runtime.store, name, magnitude, true_class=index, predicted_class=predicted
            )
        except StoreError:
            self._curves.curves_said = "This store keeps no single images of its sweeps."
            return
        names = [safe.plain(name, limit=24) for name in runtime.class_names]
        where = f"{_label(name, self._specs[name])} {magnitude_text(name, found.magnitude)}"
        what = "wrong" if predicted is None else f"predicted {names[predicted]}"
        if not len(found.image_id):
            self._curves.curves_said = (
                f"None of {found.n_swept:,} swept {names[index]} images is {what} at {where}."
            )
            return
        self._curves.curves_said = ""
        state.select(
            found.image_id,
            f"{names[index]} {what} at {where}, {len(found.image_id):,} of "
            f"{found.n_swept:,} swept",
        )
        state.simulation_class = index

    def _find_class(self, text: str, is_final: bool) -> None:
        """Offer the classes whose name holds what was typed; the last word frames one."""
        typed = text.strip().casefold()
        names = [safe.plain(name, limit=24) for name in self._runtime.class_names]
        ranked = sorted(
            (not name.casefold().startswith(typed), len(name), k)
            for k, name in enumerate(names)
            if typed and typed in name.casefold()
        )
        if not is_final:
            self._curves.curves_found = [names[k] for _, _, k in ranked[:FOUND]]
        elif ranked:
            exact = [k for _, _, k in ranked if names[k].casefold() == typed]
            self._curves.curves_said = ""
            self._state.simulation_class = exact[0] if exact else ranked[0][2]
        else:
            self._curves.curves_said = f"No class is called {safe.plain(text, limit=40)}."

    def _pick_magnitude(self, magnitude: float) -> None:
        name = self._state.simulation_perturbation
        change = self._state.change or Change()
        try:
            self._state.set_change(change.with_magnitude(name, magnitude), control=name)
        except VatunError:
            # A store may sweep beyond the limits that the sliders of B have.
            return


def _label(name: str, spec: dict[str, Any]) -> str:
    known = PERTURBATION_SPECS.get(name)
    return known.label if known is not None else safe.plain(spec.get("label", name), limit=40)
