"""Replace the filters of a pattern, or those picked by hand, and say what that does to scores."""

from __future__ import annotations

import asyncio
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn

from app import safe
from app.inference import SupersededError, VatunError, WorkerError
from app.stores import words_of
from app.views.card_part import CardPart
from app.views.testing_evidence import signed
from feature_store import StoreError
from feature_store.patterns.gapped_cards import any_card, any_members
from feature_store.patterns.telling import telling_filters_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from app.inference import AblationResult

TELLING = 16
"""Filters that tell the images from the rest best, where those are replaced."""

TARGETS = ("pattern", "filters")
REPLACEMENTS = ("mean", "zero")
IMAGES = ("members", "selection", "errors")
_WHOSE = {
    "members": "members",
    "selection": "selected images",
    "errors": "errors",
    "all": "images",
}
SETS = ("own", "telling")


class Ablation(CardPart):
    """Fills ``card_ablation`` of the cards: what is asked, how far it is, and the verdict.

    Parameters
    ----------
    runtime, state, cards
        As for ``CardPart``.
    """

    _errors: Mapping[Any, Sequence[int]] = MappingProxyType({})

    def put_errors(self, errors: Mapping[int, Sequence[int]]) -> None:
        """Name the errors that patterns are shown for, by pattern."""
        if errors != self._errors and self._cards.card_ablation.get("images") == "errors":
            # What was said of the errors was said of others.
            self.stop()
        self._errors = errors

    def forget(self, target: str) -> None:
        """Take back what was said of a pattern or of filters: they are others now."""
        if self._cards.card_ablation.get("target") == target:
            self.stop()

    def forget_selection(self) -> None:
        """Take back what was said of a selection: it is another one now."""
        if self._cards.card_ablation.get("images") == "selection":
            self.stop()

    def stop(self) -> None:
        """End the work under way and clear the answer."""
        self.end()
        self._cards.card_ablation = {}

    def end(self) -> None:
        """End the work under way and leave the page alone."""
        self._new_ticket()
        self._runtime.inference.drop_ablation(self)

    def ask(self, message: Mapping[str, Any]) -> None:
        """Start an ablation that the browser asked for; nothing in the message is trusted."""
        target, replacement = message.get("target"), message.get("replacement")
        images, chosen = message.get("images"), message.get("filters")
        known = ((target, TARGETS), (replacement, REPLACEMENTS), (images, IMAGES), (chosen, SETS))
        if not all(value in names for value, names in known):
            return
        if (self._state.pattern if target == "pattern" else self._state.filters or None) is None:
            return
        ticket = self._new_ticket()
        asked = {
            "target": target, "replacement": replacement, "images": images, "filters": chosen,
        }  # fmt: skip
        self._cards.card_ablation = {**asked, "is_running": True, "share": 0.0}
        pn.state.execute(partial(self.answer, ticket, asked))

    async def answer(self, ticket: int, asked: dict[str, Any]) -> None:
        """Run an ablation and say what it found.

        Parameters
        ----------
        ticket : int
            Which question this is; only the newest is drawn.
        asked : dict
            target, replacement, images and filters.
        """

        def progress(done: int, passes: int) -> None:
            self._draw(ticket, {**asked, "is_running": True, "share": done / max(passes, 1)})

        try:
            ids, filters = await asyncio.to_thread(self._subject, asked)
            if ticket != self._ticket:
                return
            result = await self._runtime.inference.ablate(
                ids.tolist(),
                filters,
                replacement=asked["replacement"],
                progress=progress,
                session=self,
            )
        except SupersededError:
            return
        except (VatunError, WorkerError) as error:
            said: dict[str, Any] = {"problem": safe.plain(str(error), limit=300)}
        except (StoreError, IndexError) as error:
            store = self._runtime.store
            words = words_of(error, store.path) if isinstance(error, StoreError) else str(error)
            said = {"problem": safe.plain(words, limit=300)}
        else:
            is_all = asked["images"] == "selection" and self._state.selection.is_all
            whose = _WHOSE["all" if is_all else asked["images"]]
            said = words_of_result(result, whose, self._true_classes(result.images))
        self._draw(ticket, {**asked, **said})

    def _true_classes(self, images: Sequence[int]) -> NDArray[np.int64]:
        table = self._runtime.images
        rows = [table.row(image) for image in images]
        return np.array([-1 if row is None else int(table.true_class[row]) for row in rows])

    def _draw(self, ticket: int, shown: dict[str, Any]) -> None:
        def draw() -> None:
            self._cards.card_ablation = shown

        self._turn(ticket, draw)

    def _subject(
        self, asked: Mapping[str, Any]
    ) -> tuple[NDArray[np.int32], tuple[tuple[int, int], ...]]:
        """Return the images and the filters that are meant."""
        store, state = self._runtime.store, self._state
        selection = state.universe if state.selection.ids is None else state.selection.ids
        if asked["target"] == "filters":
            ids, filters = selection, state.filters
        else:
            pattern = -1 if state.pattern is None else state.pattern
            members = any_members(store, state.path_set, pattern)
            filters = any_card(store, state.path_set, pattern).items
            if asked["filters"] == "telling":
                found = telling_filters_of(store, members, limit=TELLING)
                filters = tuple((each.layer_index, each.filter_index) for each in found)
            errors = np.asarray(self._errors.get(pattern, members))
            ids = {"members": members, "selection": selection, "errors": errors}[asked["images"]]
        return np.asarray(ids, dtype=np.int32), tuple(filters)


def words_of_result(
    result: AblationResult, whose: str, truth: NDArray[np.integer]
) -> dict[str, Any]:
    """Return what the card says of an ablation.

    Parameters
    ----------
    result : AblationResult
        The answer.
    whose : str
        What the images are called, in the plural.
    truth : ndarray of int
        True class of each image; -1 where there is none.

    Returns
    -------
    dict
        ``verdict``, ``subject``, ``lines`` and ``help``, all plain text.
    """
    found = result.judgement
    n, random = len(result.images), np.array(found.random_effects)
    of = f"{n:,} {whose}" if n == result.asked else f"{n:,} of {result.asked:,} {whose}"
    cost = f"Score of the predicted class {signed(-found.effect)} on {of}; random sets "
    before, after = result.predicted
    fixed = int(((after == truth) & (before != truth)).sum())
    broken = int(((before == truth) & (after != truth)).sum())
    flips = (
        f"{result.flips:,} of {n:,} predictions change: {fixed:,} to right, {broken:,} to wrong"
    )
    beyond = f"Beyond random {signed(-found.difference)}, 95 % interval "
    lines = [
        f"{cost}{signed(-float(random.mean()))} ± {random.std():.2f}",
        f"{flips}; random {100 * float(np.mean(result.random_flips)):.0f} %",
        f"{beyond}{signed(-found.high)} to {signed(-found.low)}",
    ]
    reason = found.reason[:1].upper() + found.reason[1:]
    kept = "their mean over the reference split" if result.replacement == "mean" else "zero"
    some = "filter" if len(result.filters) == 1 else "filters"
    return {
        "verdict": found.verdict,
        "subject": f"{len(result.filters)} {some} by {result.replacement}",
        "lines": [*lines, f"{reason}."],
        "help": (
            f"{len(result.filters)} {some} replaced by {kept}, against {len(random)} random sets "
            "of as many filters of the same layers. A cause costs more score than they do; a "
            "marker does not: it only accompanies what the network uses."
        ),
    }
