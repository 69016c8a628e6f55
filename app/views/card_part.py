"""What fills one part of the pattern cards: asks beside the event loop, draws on its thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import panel as pn

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.components.pattern_cards import PatternCards
    from app.runtime import Runtime
    from app.state import SessionState


class CardPart:
    """Fills one parameter of the cards.

    Parameters
    ----------
    runtime : Runtime
        The network and the store.
    state : SessionState
        Open pattern, path set, chosen filters, selection, focus and split.
    cards : PatternCards
        Where it is shown.
    """

    def __init__(self, runtime: Runtime, state: SessionState, cards: PatternCards) -> None:
        self._runtime = runtime
        self._state = state
        self._cards = cards
        self._ticket = 0

    def _new_ticket(self) -> int:
        """Begin a question: what older ones still bring is no longer drawn."""
        self._ticket += 1
        return self._ticket

    def _turn(self, ticket: int, draw: Callable[[], None]) -> None:
        """Draw on the document's thread, unless something newer was asked since."""

        def turn() -> None:
            if ticket == self._ticket:
                draw()

        pn.state.execute(turn, schedule=True)
