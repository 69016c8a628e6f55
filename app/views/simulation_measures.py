"""The measures that stand beside the curves of the simulation once it is maximised."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn

from app import safe
from app.components.measures import SimulationMeasures
from app.stores import words_of
from app.views import simulation_figures as figures
from feature_store import StoreError, queries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from app.runtime import Runtime
    from app.state import SessionState


class MeasuresView(pn.viewable.Viewer):
    """Ranking, smallest flips, images of the class, calibration and consistency.

    Asked for only while the view is maximised, beside the event loop; what one session has asked
    the store remembers for all.

    Parameters
    ----------
    runtime : Runtime
        Shared, read-only.
    state : SessionState
        Of this session.
    labels : mapping of str to str
        Name on the screen of every perturbation that was simulated.
    on_magnitude : callable
        Told the magnitude that was chosen on a chart.
    """

    def __init__(
        self,
        runtime: Runtime,
        state: SessionState,
        *,
        labels: Mapping[str, str],
        on_magnitude: Callable[[float], None],
    ) -> None:
        super().__init__()
        self._runtime = runtime
        self._state = state
        self._labels = labels
        self._on_magnitude = on_magnitude
        self._names = figures.plain_names(runtime.class_names)
        self._ticket = 0
        self._asked: tuple[Any, ...] = ()
        self.cards = SimulationMeasures(
            self._receive, sizing_mode="stretch_width", margin=0, css_classes=["vt-measures"]
        )
        state.param.watch(
            self._follow,
            [
                "maximised", "simulation_perturbation", "simulation_measure", "simulation_class",
                "focus",
            ],
        )  # fmt: skip

    def __panel__(self) -> pn.viewable.Viewable:
        return self.cards

    @property
    def shown_class(self) -> int | None:
        """Class that is looked at: the chosen one, else that of the focus, else the first."""
        if self._state.simulation_class is not None:
            return self._state.simulation_class
        row = self._runtime.images.row(self._state.focus)
        found = int(self._runtime.images.true_class[row]) if row is not None else -1
        return found if found >= 0 else 0

    def _follow(self, *_: Any) -> None:
        if self._state.maximised != "d":
            return
        state = self._state
        asked = (
            state.simulation_perturbation,
            state.simulation_measure,
            self.shown_class,
            state.focus,
        )
        if asked == self._asked:
            return
        self._asked = asked
        self._ticket += 1
        self.cards.measures_data = {**self.cards.measures_data, "is_computing": True}
        pn.state.execute(partial(self.answer, self._ticket))

    async def answer(self, ticket: int) -> None:
        """Work out all cards, and draw them unless something newer was asked.

        Parameters
        ----------
        ticket : int
            Which question this is.
        """
        if ticket != self._ticket:
            return
        data = await asyncio.to_thread(self.figures)

        def turn() -> None:
            if ticket == self._ticket:
                self.cards.measures_data = data

        pn.state.execute(turn, schedule=True)

    def figures(self) -> dict[str, Any]:
        """Return what all cards say of what the session looks at.

        Returns
        -------
        dict
            ``measures_data`` of ``SimulationMeasures``; a table that is missing is said in words.
        """
        store, state, labels, names = self._runtime.store, self._state, self._labels, self._names
        name, shown = state.simulation_perturbation, self.shown_class
        label = labels.get(name, name)
        makers: dict[str, Callable[[], dict[str, Any]]] = {
            "ranking": lambda: figures.ranking(
                queries.falls(store, state.simulation_measure),
                names=names,
                labels=labels,
                shown=(name, shown),
            ),
            "images": lambda: self._images(name, shown),
            "flips": lambda: figures.flips(store, name, names=names, label=label, shown=shown),
            "calibration": lambda: figures.calibration(
                queries.calibration_rows(store, name), label=label
            ),
            "consistency": lambda: figures.consistency(
                store, names=names, labels=labels, split=self._swept()
            ),
        }
        return {key: self._or_words(make) for key, make in makers.items()}

    def _or_words(self, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            return make()
        except StoreError as error:
            said = safe.plain(words_of(error, self._runtime.store.path), limit=200)
            return {"message": f"This store cannot say: {said}"}

    def _swept(self) -> str:
        simulated = dict(self._runtime.store.info.get("simulate", {}))
        n, total = simulated.get("n", 0), simulated.get("n_available", 0)
        return f"{n:,} of {total:,} {safe.plain(simulated.get('split', ''), limit=20)} images"

    def _images(self, perturbation: str, shown: int | None) -> dict[str, Any]:
        runtime, store = self._runtime, self._runtime.store
        table = runtime.images
        ids = table.ids[table.true_class == shown]
        simulated = dict(store.info.get("simulate", {}))
        split = safe.plain(simulated.get("split", ""), limit=20)
        reference = str(dict(store.info.get("dataset", {})).get("reference_split", "train"))
        is_other = simulated.get("split") != reference
        said = f"{split} images"
        if is_other:
            said += f", as {safe.plain(reference, limit=20)} was not swept"
        return figures.images(
            queries.fragile_images(store, perturbation, ids=ids, limit=figures.IMAGES),
            queries.sturdy_images(store, perturbation, ids=ids, limit=figures.IMAGES),
            perturbation=perturbation,
            label=self._labels.get(perturbation, perturbation),
            class_name=self._names[shown or 0],
            names=self._names,
            split=said,
            picture=self._picture,
        )

    def _picture(self, image: int) -> dict[str, Any]:
        runtime = self._runtime
        row = runtime.images.row(image)
        table = runtime.images
        predicted = self._names[int(table.predicted_class[row])] if row is not None else "?"
        confidence = float(table.confidence[row]) if row is not None else np.nan
        return {
            "id": image,
            "url": runtime.thumbnail_url(image),
            "title": f"image {image}, predicted {predicted} {confidence:.2f}",
            "is_wrong": bool(row is not None and table.is_wrong[row]),
            "is_focus": image == self._state.focus,
        }

    def _receive(self, message: Mapping[str, Any]) -> None:
        """Act on what the browser sent; nothing in it is trusted."""
        kind, state = message.get("kind"), self._state
        if kind == "focus":
            image = safe.integer(message.get("image"), 0, 2**31 - 1)
            if image is not None:
                state.set_focus(image)
        elif kind == "now":
            magnitude = safe.number(message.get("value"), -1e9, 1e9)
            if magnitude is not None:
                self._on_magnitude(magnitude)
        elif kind == "row":
            index = safe.integer(message.get("class"), 0, len(self._names) - 1)
            name = message.get("perturbation")
            if index is not None and isinstance(name, str) and name in self._labels:
                state.param.update(simulation_perturbation=name, simulation_class=index)
