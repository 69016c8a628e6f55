"""The mean evidence of an open pattern: where the network looked in its members."""

from __future__ import annotations

import asyncio
import base64
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn

from app import pattern_key, safe, theme
from app.inference import SupersededError, VatunError, WorkerError
from app.layer_names import short_names
from app.stores import words_of
from app.views.card_part import CardPart
from feature_store import StoreError, queries

if TYPE_CHECKING:
    from app.components.pattern_cards import PatternCards
    from app.inference import MeanEvidence
    from app.runtime import Runtime
    from app.state import SessionState


class PatternEvidence(CardPart):
    """Fills ``card_evidence`` of the cards, when it is asked for.

    The layer is the one whose evidence the test view shows; when that changes, what is shown here
    is drawn again.

    Parameters
    ----------
    runtime, state, cards
        As for ``CardPart``.
    """

    def __init__(self, runtime: Runtime, state: SessionState, cards: PatternCards) -> None:
        super().__init__(runtime, state, cards)
        state.param.watch(lambda *_: self.stop(), ["pattern", "path_set"])
        state.param.watch(self._follow_layer, ["evidence_layer"])

    def stop(self) -> None:
        """End the work under way and clear the answer."""
        self._new_ticket()
        if self._cards.card_evidence:
            self._runtime.inference.drop_mean_evidence(self)
            self._cards.card_evidence = {}

    def end(self) -> None:
        """End the work under way; there is no page to draw on any more."""
        self._new_ticket()
        self._runtime.inference.drop_mean_evidence(self)

    def ask(self) -> None:
        """Start to draw the evidence of the open pattern."""
        pattern = self._state.pattern
        if pattern is None:
            return
        ticket = self._new_ticket()
        self._cards.card_evidence = self._running(0.0)
        pn.state.execute(partial(self.answer, ticket))

    def _follow_layer(self, *_: Any) -> None:
        if self._cards.card_evidence:
            self.ask()

    def _running(self, share: float) -> dict[str, Any]:
        pattern = self._state.pattern
        key = "" if pattern is None else pattern_key.card_id(pattern)
        return {"id": key, "is_running": True, "share": share}

    async def answer(self, ticket: int) -> None:
        """Average the evidence in the strongest members, and draw it.

        Parameters
        ----------
        ticket : int
            Which question this is; only the newest is drawn.
        """
        state, inference = self._state, self._runtime.inference
        pattern, path_set, layer = state.pattern, state.path_set, state.evidence_layer
        if pattern is None or ticket != self._ticket:
            return
        store = self._runtime.store
        try:
            ids, strength = await asyncio.to_thread(
                queries.members_by_strength, store, path_set, pattern
            )
            if ticket != self._ticket:
                return
            found = await inference.mean_evidence(
                ids.tolist(),
                layer=layer,
                progress=lambda done, n: self._draw(ticket, self._running(done / max(n, 1))),
                session=self,
            )
        except SupersededError:
            return
        except (VatunError, WorkerError) as error:
            said: dict[str, Any] = {"problem": safe.plain(str(error), limit=300)}
        except (StoreError, IndexError) as error:
            words = words_of(error, store.path) if isinstance(error, StoreError) else str(error)
            said = {"problem": safe.plain(words, limit=300)}
        else:
            is_ranked = bool(np.isfinite(strength).all())
            said = figures(found, self._short(found.layer), is_ranked=is_ranked)
        self._draw(ticket, {"id": pattern_key.card_id(pattern), **said})

    def _short(self, layer: str) -> str:
        layers = self._runtime.layers
        names = dict(
            zip((row.layer_name for row in layers), short_names(list(layers)), strict=True)
        )
        return safe.plain(names.get(layer, layer), limit=40)

    def _draw(self, ticket: int, shown: dict[str, Any]) -> None:
        def draw() -> None:
            self._cards.card_evidence = shown

        self._turn(ticket, draw)


def figures(found: MeanEvidence, layer: str, *, is_ranked: bool) -> dict[str, Any]:
    """Return what is drawn of mean evidence.

    Parameters
    ----------
    found : MeanEvidence
        The answer.
    layer : str
        Short name of the layer.
    is_ranked : bool
        Whether the members were averaged by their strength.

    Returns
    -------
    dict
        ``picture`` and ``map`` as base64 of uint8 RGB and of float32, their sizes, ``max``, and
        ``words`` and ``help``, plain text.
    """
    n, (height, width) = len(found.images), found.map.shape
    top = float(found.map.max())
    unread, quiet = found.taken - n, found.silent
    which = "strongest" if is_ranked else "first"
    of = f"{n:,} {'member' if n == 1 else 'members'}"
    if found.asked > found.taken:
        of = f"the {n:,} {which} of {found.asked:,} members"
    words = f"Evidence in {layer}: mean of {of}"
    if top <= 0:
        words = f"No positive evidence in {layer} in any of {of}"
    elif quiet:
        words += f"; {quiet:,} have none"
    if unread:
        words += f"; {unread:,} cannot be read"
    return {
        "picture": _base64(found.picture),
        "width": found.picture.shape[1],
        "height": found.picture.shape[0],
        "map": _base64(found.map.astype("<f4")),
        "map_width": width,
        "map_height": height,
        "max": top,
        "inferno": list(theme.EVIDENCE_RAMP),
        "words": words,
        "help": (
            f"{words}. Grad-CAM of each for the class that it is predicted, raw maps averaged, "
            "over their mean picture; the line is at half of the highest mean. It says where, "
            "not why: members may have the feature in different places."
        ),
    }


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
