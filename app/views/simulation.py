"""View D, the simulation, shows how every class holds up under each change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import panel as pn

from app import safe, shell
from app.components.controls import Choice
from app.components.curves import SimulationCurves
from app.inference import PERTURBATION_SPECS, Change, VatunError
from app.state import MEASURES
from app.views.simulation_curves import HOLDS_ABOVE, draw_data
from feature_store import queries

if TYPE_CHECKING:
    from app.runtime import Runtime
    from app.state import SessionState
    from feature_store.queries import SimulationRows

_MEASURE_NAMES = {"mean_score": "Mean score", "accuracy": "Accuracy"}

_BESIDE = (
    f"Beside each class: the change at which it falls below {HOLDS_ABOVE:g}; "
    f"\u201c< {HOLDS_ABOVE:g}\u201d is below it even unchanged."
)

_N_CSS = (
    ":host{min-width:0!important;overflow:hidden;font:400 12px/1.3 var(--vt-font);"
    "color:var(--vt-ink-2)}span{white-space:nowrap}"
)
_BODY_CSS = (
    ":host{min-height:0!important;overflow:hidden;padding:0 10px 4px;box-sizing:border-box}"
    # On a low window the view is folded to its head.
    "@media (min-width:761px) and (max-height:700px){:host{padding-bottom:0}}"
)


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
        self._tables: dict[str, SimulationRows] = {}
        stale = runtime.store.stale_tables().get("simulation")
        if stale is not None or not runtime.store.has("simulation") or not self._specs:
            self._frame = self._empty(stale)
            return
        if state.simulation_perturbation not in self._specs:
            first = "rotation" if "rotation" in self._specs else next(iter(self._specs))
            state.simulation_perturbation = first
        self._curves = SimulationCurves(
            self._pick_class, self._pick_magnitude, sizing_mode="stretch_both", margin=0
        )
        self._frame = self._build()
        state.param.watch(
            lambda *_: self._refresh(), ["simulation_perturbation", "simulation_measure"]
        )
        state.param.watch(lambda *_: self._draw_now(), ["change"])
        state.param.watch(lambda *_: self._draw_frame(), ["simulation_class", "focus"])
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
        said = pn.pane.HTML(
            f'<span title="{_BESIDE}">{safe.label(self._extent(), limit=200)}</span>',
            stylesheets=[_N_CSS],
            margin=0,
            align="center",
            css_classes=["vt-wide"],
        )
        body = pn.Column(
            self._curves,
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

    def _table(self, perturbation: str) -> SimulationRows:
        if perturbation not in self._tables:
            self._tables[perturbation] = queries.simulation_rows(self._runtime.store, perturbation)
        return self._tables[perturbation]

    def _refresh(self) -> None:
        state = self._state
        name = state.simulation_perturbation
        if name not in self._specs:
            return
        spec = self._specs[name]
        data = draw_data(
            self._table(name),
            class_names=self._runtime.class_names,
            label=_label(name, spec),
            measure=state.simulation_measure,
        )
        with pn.io.hold():
            self._curves.param.update(curves_data=data, curves_now=self._now())

    def _now(self) -> float:
        """Magnitude of the focus image's change, of the perturbation that is shown."""
        name = self._state.simulation_perturbation
        change = self._state.change
        identity = float(self._specs[name].get("identity", 0.0))
        return float(change.magnitudes.get(name, identity)) if change is not None else identity

    def _draw_now(self) -> None:
        self._curves.curves_now = self._now()

    def _draw_frame(self) -> None:
        """Frame the panel of the chosen class, else of the focus image's true class."""
        framed = self._state.simulation_class
        if framed is None:
            row = self._runtime.images.row(self._state.focus)
            if row is not None and self._runtime.images.true_class[row] >= 0:
                framed = int(self._runtime.images.true_class[row])
        self._curves.curves_framed = framed

    def _pick_class(self, index: int) -> None:
        runtime, state = self._runtime, self._state
        if index >= len(runtime.class_names):
            return
        table = runtime.images
        rows = table.rows(state.universe)
        with pn.io.hold():
            state.simulation_class = index
            state.select(
                table.ids[rows[table.true_class[rows] == index]],
                f"class {safe.plain(runtime.class_names[index], limit=40)} on Simulation",
            )

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
