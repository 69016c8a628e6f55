"""The confusion matrix beside the maximised map: which class is taken for which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn

from app import safe, theme
from app.components.confusion import Confusion
from app.views import error_list
from feature_store import queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from app.runtime import Runtime
    from app.state import Selection, SessionState

MOST_CLASSES = 12
"""Classes up to which all are shown."""

SHOWN_CLASSES = 15
"""Rows and columns when there are more."""

MOST_ERRORS = 40
"""Rows of the list of the largest errors."""

_SEARCHED = 5
_NAMES = 2_000


class ConfusionView(pn.viewable.Viewer):
    """Counts of the shown split by true and predicted class; a cell selects its images.

    It is drawn only while the map is maximised: what nobody sees costs nothing.

    Parameters
    ----------
    runtime : Runtime
        Shared, read-only.
    state : SessionState
        Of this session.
    """

    def __init__(self, runtime: Runtime, state: SessionState) -> None:
        super().__init__()
        self._runtime = runtime
        self._state = state
        self._search = ""
        self._split: str | None = None
        self._drawn: tuple[Selection, str] | None = None
        self._counts = np.zeros((0, 0), np.int64)
        self._explained: frozenset[tuple[int, int]] = frozenset()
        self._confusion = Confusion(self._receive, sizing_mode="stretch_both", margin=0)
        state.param.watch(lambda *_: self._follow(), ["selection", "split", "maximised"])

    def __panel__(self) -> pn.viewable.Viewable:
        return self._confusion

    # -- what people do ------------------------------------------------------------------

    def _receive(self, message: Mapping[str, Any]) -> None:
        """Do what the browser asks, as far as it may ask that."""
        kind = message.get("kind")
        last = len(self._runtime.class_names) - 1
        true = safe.integer(message.get("true"), 0, last)
        predicted = safe.integer(message.get("predicted"), 0, last)
        if kind == "search":
            self._search = safe.plain(message.get("value") or "", limit=60)
            self._draw()
        elif kind == "explain":
            if true is not None and predicted is not None:
                self._explain((true, predicted))
        elif kind == "select" and (true, predicted) != (None, None):
            ids, origin = images_of(self._runtime, self._state.universe, true, predicted)
            self._state.select(ids, origin, how=str(message.get("how")))

    def _explain(self, errors: tuple[int, int]) -> None:
        """Let the network view look for the patterns behind one kind of error, if there is any."""
        if errors not in self._explained:
            return
        shown = error_list.path_set_for_errors(self._runtime.store, self._state.path_set)
        self._state.param.update(maximised="", view="c")
        self._state.explain_errors(errors, shown)

    # -- what is shown -------------------------------------------------------------------

    def _follow(self) -> None:
        """Draw again for another selection or split; a step names them when they stay, too."""
        state = self._state
        if state.maximised != "a":
            return
        drawn = self._drawn
        if drawn is None or drawn[0] is not state.selection or drawn[1] != state.split:
            self._draw()

    def _draw(self) -> None:
        self._drawn = (self._state.selection, self._state.split)
        self._count()
        self._confusion.confusion_data = self._data()

    def _count(self) -> None:
        """Count the shown split, once until another one is shown."""
        split = self._state.split
        if split == self._split:
            return
        store = self._runtime.store
        self._split = split
        self._counts = queries.confusion_matrix(store, split=split or None)
        self._explained = frozenset(
            (cell.true_class, cell.predicted_class) for cell in error_list.cells(store, split)
        )

    def _data(self) -> dict[str, Any]:
        runtime, state, counts = self._runtime, self._state, self._counts
        if not counts.any():
            return {
                "headline": "There is nothing to compare",
                "words": "No shown image has both a label and a prediction.",
            }
        selected = None
        if state.selection.ids is not None:
            selected = queries.confusion_matrix(runtime.store, image_ids=state.selected_ids)
        shown = shown_classes(counts, _matches(runtime.class_names, self._search))
        total, names = len(runtime.class_names), runtime.class_names
        part = f"{len(shown)} of {total:,} classes" if len(shown) < total else ""
        return {
            "classes": [self._class(index) for index in shown.tolist()],
            "counts": counts[np.ix_(shown, shown)].tolist(),
            "selected": [] if selected is None else selected[np.ix_(shown, shown)].tolist(),
            "largest": self._largest(counts, selected),
            "largest_selected": [] if selected is None else self._largest(selected, selected),
            "explained": [list(cell) for cell in self._explained],
            "extent": self._extent(selected),
            "part": part and f"{part}, {'found' if self._search else 'the most confused'}",
            "search": self._search,
            "all": [safe.plain(name, limit=60) for name in names[:_NAMES]] if part else [],
        }

    def _class(self, index: int) -> dict[str, Any]:
        names = self._runtime.class_names
        return {
            "id": index,
            "name": safe.plain(names[index], limit=40),
            "colour": theme.class_variable(index, len(names)),
            "n": int(self._counts[index].sum()),
        }

    def _largest(
        self, ranked: NDArray[np.int64], selected: NDArray[np.int64] | None
    ) -> list[dict[str, Any]]:
        """Return the commonest errors of ``ranked``, with their totals in the shown split."""
        names, counts = self._runtime.class_names, self._counts
        return [
            {
                "true": true,
                "predicted": predicted,
                "names": [safe.plain(names[index], limit=40) for index in (true, predicted)],
                "n": int(counts[true, predicted]),
                "k": None if selected is None else int(selected[true, predicted]),
                "share": float(counts[true, predicted] / counts[true].sum()),
            }
            for true, predicted in largest_errors(ranked, MOST_ERRORS)
        ]

    def _extent(self, selected: NDArray[np.int64] | None) -> str:
        """Say how many images are counted, and how many of them are selected."""
        counts = self._counts
        n, of = int(counts.sum()), len(self._state.universe)
        split = safe.plain(self._state.split, limit=20)
        said = f"{n:,} {f'{split} ' if split else ''}images"
        if n != of:
            said = f"{n:,} of {of:,} {f'{split} ' if split else ''}images have a label"
        if selected is not None:
            return f"{int(selected.sum()):,} of {said}"
        return f"{said}, {n - int(np.trace(counts)):,} wrong"


def images_of(
    runtime: Runtime, universe: NDArray[np.int32], true: int | None, predicted: int | None
) -> tuple[NDArray[np.int32], str]:
    """Return the shown images of a cell, a row or a column, and how the bar names them.

    Parameters
    ----------
    runtime : Runtime
        Of the store.
    universe : ndarray of int32
        Sorted ids of the images that are shown.
    true, predicted : int or None
        Class indices; None is any class, for a whole row or column. A column holds labelled
        images only: it is the one of the matrix.

    Returns
    -------
    tuple of (ndarray of int32, str)
    """
    table = runtime.images
    rows = table.rows(universe)
    is_there = table.true_class[rows] >= 0 if true is None else table.true_class[rows] == true
    if predicted is not None:
        is_there &= table.predicted_class[rows] == predicted
    words = [
        safe.plain(runtime.class_name(index), limit=40) if index is not None else ""
        for index in (true, predicted)
    ]
    if predicted is None:
        origin = f"class {words[0]}"
    elif true is None:
        origin = f"predicted {words[1]}"
    else:
        origin = f"{words[0]} predicted right" if true == predicted else " taken for ".join(words)
    return table.ids[rows[is_there]], origin


def largest_errors(counts: NDArray[np.int64], limit: int) -> list[tuple[int, int]]:
    """Return the (true, predicted) classes of the commonest errors, the most frequent first."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    flat = wrong.ravel()
    found = np.flatnonzero(flat)
    order = found[np.argsort(-flat[found], kind="stable")][:limit]
    return [divmod(int(place), len(counts)) for place in order]


def shown_classes(counts: NDArray[np.int64], wanted: Sequence[int] = ()) -> NDArray[np.int64]:
    """Return which classes the matrix shows, ascending.

    Parameters
    ----------
    counts : ndarray of shape (n_classes, n_classes), int64
        Row: true class; column: predicted class.
    wanted : sequence of int
        Classes that are looked for: they come first, then those they are confused with.

    Returns
    -------
    ndarray of int64
        All of up to twelve classes; of more the fifteen with the most errors.
    """
    n_classes = len(counts)
    if n_classes <= MOST_CLASSES:
        return np.arange(n_classes)
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    both = wrong + wrong.T
    chosen = list(wanted)[:_SEARCHED]
    worth = both[chosen].sum(axis=0) if chosen else both.sum(axis=0)
    rest = [int(c) for c in np.argsort(-worth, kind="stable") if int(c) not in chosen]
    return np.sort(np.array([*chosen, *rest][:SHOWN_CLASSES], dtype=np.int64))


def _matches(names: Sequence[str], text: str) -> list[int]:
    """Return the classes whose name holds a text, those that begin with it first."""
    wanted = text.casefold().strip()
    if not wanted:
        return []
    found = [(name.casefold(), index) for index, name in enumerate(names)]
    hits = [(not name.startswith(wanted), index) for name, index in found if wanted in name]
    return [index for _, index in sorted(hits)]
