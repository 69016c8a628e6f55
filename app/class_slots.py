"""Which classes hold a colour of their own: one answer for every view of a page.

Up to ten classes all do. Of more, the nine that are most confused among the images that a session
looks at. Every view names the colour of a class by ``theme.class_variable``; the map, which is a
picture, takes it from here.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from app import theme
from app.state import MANY_CLASSES, Selection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.runtime import Runtime

_ALL = Selection()

# A selection never changes, so what it leads to is worked out once.
_found: WeakKeyDictionary[Runtime, WeakKeyDictionary[Selection, dict[str, dict[int, int]]]]
_found = WeakKeyDictionary()
_finding = threading.Lock()


def class_slots(runtime: Runtime, split: str, selection: Selection) -> dict[int, int]:
    """Return which classes hold which colour of the palette.

    Parameters
    ----------
    runtime : Runtime
        Of the store.
    split : str
        Split that is shown; empty for all images.
    selection : Selection
        Of the session.

    Returns
    -------
    dict of int to int
        Slot of the palette by class index, not to be changed. A class that holds a colour in the
        whole split keeps it in every selection in which it holds one. The same selection always
        gives the same colours.
    """
    count = len(runtime.class_names)
    if count <= MANY_CLASSES:
        return {index: index for index in range(count)}
    with _finding:
        by_selection = _found.setdefault(runtime, WeakKeyDictionary())
        known = by_selection.setdefault(_ALL if selection.is_all else selection, {})
        slots = known.get(split)
    if slots is None:
        kept = {} if selection.is_all else class_slots(runtime, split, _ALL)
        weights = _confusion(runtime, split, selection)
        # Where few classes are left, those that have a colour anyway come before the others.
        is_kept = np.isin(np.arange(count), list(kept))
        order = np.lexsort((~is_kept, -weights))
        slots = known[split] = _assigned(order[: theme.MAX_COLOURED].tolist(), kept)
    return slots


def _assigned(best: list[int], kept: dict[int, int]) -> dict[int, int]:
    """Give slots to classes, the ones they had to those that had one."""
    held = {index: kept[index] for index in best if index in kept}
    free = [slot for slot in range(theme.MAX_COLOURED) if slot not in held.values()]
    fresh = [index for index in best if index not in held]
    return held | dict(zip(fresh, free, strict=False))


def _confusion(runtime: Runtime, split: str, selection: Selection) -> NDArray[np.float64]:
    """Return how often each class is part of an error, and below one more, its images."""
    table, count = runtime.images, len(runtime.class_names)
    rows = np.arange(len(table.ids)) if selection.ids is None else table.rows(selection.ids)
    if split in table.splits:
        rows = rows[table.split[rows] == table.splits.index(split)]
    true, predicted = table.true_class[rows], table.predicted_class[rows]
    is_wrong = table.is_wrong[rows]
    images = _counted(true, count)
    errors = _counted(true[is_wrong], count) + _counted(predicted[is_wrong], count)
    weights: NDArray[np.float64] = errors + images / (images.max() + 1)
    return weights


def _counted(classes: NDArray[np.int16], count: int) -> NDArray[np.int64]:
    return np.bincount(classes[classes >= 0], minlength=count)
