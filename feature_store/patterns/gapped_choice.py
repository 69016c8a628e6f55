"""In which order patterns that may skip layers are shown: different things before variants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_store.patterns.ranking import Members, Shown, without_twins

if TYPE_CHECKING:
    from collections.abc import Sequence

    Items = Sequence[tuple[int, int]]

ALIKE_ITEMS = 0.5
"""A pattern that shares more than this part of the shorter one's filters is a variant of it."""


@dataclass(frozen=True, kw_only=True)
class GappedChoice:
    """Patterns to show, by their place in the answer.

    Parameters
    ----------
    shown : tuple of int
        First those that differ, best first, then their variants, best first.
    more : tuple of int
        For each of those that differ, how many patterns of the answer are like it; 0 for variants.
    variant_of : tuple of (int or None)
        For each variant the place in ``shown`` of what it is like; None for those that differ.
    """

    shown: tuple[int, ...]
    more: tuple[int, ...]
    variant_of: tuple[int | None, ...]


def are_alike(one: Items, other: Items) -> bool:
    """Return whether two patterns share more than half of the filters of the shorter one."""
    shared = len(set(one).intersection(other))
    return shared > ALIKE_ITEMS * min(len(one), len(other))


def choose(patterns: Sequence[Items], members: Members, n_ids: int, *, limit: int) -> GappedChoice:
    """Put patterns that differ before variants of the same filters or of the same images.

    Patterns that may skip layers come in families: each further layer that some of the images
    agree in makes another one. Going down the answer, a pattern is a variant of the first one kept
    that it shares more than half of the shorter one's filters or more than half of the images
    with; any other one is kept. So of all that are kept no two are alike.

    Parameters
    ----------
    patterns : sequence of sequences of (int, int)
        Layer and filter of each, best first.
    members : callable
        Rows of a pattern's images by its place, within ``range(n_ids)``.
    n_ids : int
        Images there are.
    limit : int
        Most patterns to show. A larger limit only adds to the end of either part.

    Returns
    -------
    GappedChoice
        Without near twins: no two that are shown share more than half of their images.
    """
    kept: list[int] = []
    alike: dict[int, int] = {}
    shown = Shown(n_ids, limit)
    for place, items in enumerate(patterns):
        by_items = (at for at, first in enumerate(kept) if are_alike(patterns[first], items))
        like = next(by_items, None)
        # The images need not be looked at where no earlier one could be like it.
        if like != 0:
            ids = members(place)
            twin = shown.twin_of(ids)
            like = twin if like is None or (twin is not None and twin < like) else like
        if like is not None:
            alike[place] = kept[like]
        elif len(kept) < limit:
            kept.append(place)
            shown.add(ids)
    order = without_twins([*kept, *alike], members, n_ids, limit=max(limit, 0))
    counts = list(alike.values())
    return GappedChoice(
        shown=tuple(order),
        more=tuple(counts.count(place) if place not in alike else 0 for place in order),
        variant_of=tuple(kept.index(alike[place]) if place in alike else None for place in order),
    )
