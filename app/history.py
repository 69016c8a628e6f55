"""The steps that undo and redo of one session go back and forward."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.state import Selection
    from feature_store.patterns.cards import PatternKey

UNDO_STEPS = 50
"""Steps that undo remembers."""


@dataclass(frozen=True)
class Step:
    """One remembered moment: what is selected, under test, and looked at in the network.

    Parameters
    ----------
    selection, focus, split, change, upload, path_set, filters, pattern, errors, pattern_order
        As in ``SessionState``.
    """

    selection: Selection
    focus: int | None
    split: str
    change: object
    upload: object
    path_set: str
    filters: tuple[tuple[int, int], ...]
    pattern: PatternKey | None
    errors: tuple[int, int] | None
    pattern_order: str

    def since(self, other: Step) -> dict[str, Any]:
        """Return by name the values that are others than in ``other``."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in STEP}
        # A selection and an upload equal themselves alone.
        return {
            name: now
            for name, (now, before) in pairs.items()
            if now is not before and (name in {"selection", "upload"} or now != before)
        }


STEP = tuple(each.name for each in fields(Step))
"""Parameters of a session that undo and redo bring back."""


@dataclass
class History:
    """Steps back and forward from now."""

    past: list[Step] = field(default_factory=list)
    future: list[Step] = field(default_factory=list)

    def record(self, step: Step) -> None:
        """Remember ``step`` as the past of what comes next."""
        self.past.append(step)
        del self.past[:-UNDO_STEPS]
        self.future.clear()
