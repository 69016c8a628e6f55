"""Which patterns to show for images, filters, a path that is not in the store, or for nothing.

Every function answers from ``PatternIndex`` in memory; the first call for a path set builds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from feature_store.patterns.cards import PatternCard, Recommendation
from feature_store.patterns.index import PatternIndex, pattern_index
from feature_store.patterns.ranking import without_twins
from feature_store.patterns.statistics import benjamini_hochberg, hypergeometric_tail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from feature_store.store import Store

    Ids = NDArray[np.integer] | Sequence[int]
    Items = Sequence[tuple[int, int]]

MIN_SELECTED = 3
"""Fewer selected members than this are no evidence of anything."""

Q_LIMIT = 0.05
"""Patterns above this false-discovery rate are not recommended."""


def patterns_of_selection(
    store: Store,
    path_set: str,
    image_ids: Ids,
    *,
    among: Ids | None = None,
    limit: int = 12,
    q_limit: float = Q_LIMIT,
    selected_by: Items = (),
) -> Recommendation:
    """Recommend the patterns that are over-represented in a selection.

    The chance of at least so many selected members under random selection (hypergeometric), its
    false-discovery rate over all patterns of the path set (Benjamini-Hochberg; patterns with
    fewer than three selected members count as tests that failed). Ordered by that rate, then by
    the share of the selection that is covered. One image gets its own patterns, two images those
    that both have: no test has a say there.

    What is selected from one split is to be compared with that split: training and test images
    differ in more than what was selected (measured in ``docs/planted_bias.md``).

    Parameters
    ----------
    store : Store
        Opened store.
    path_set : str
        Path set.
    image_ids : sequence of int
        The selection.
    among : sequence of int, optional
        Images that it was selected from; by default all that were mined.
    limit : int
        Most cards.
    q_limit : float
        Largest false-discovery rate shown. Where no pattern is below, there are no cards.
    selected_by : sequence of (int, int)
        Items of the pattern whose members were selected, if the selection was made so; what it
        implies is left out, see ``implied``.

    Returns
    -------
    Recommendation
        Of kind ``"selection"``, ``"shared"`` or ``"image"``.

    Raises
    ------
    TableMissingError
        When the path set was not mined yet.
    """
    index = pattern_index(store, path_set)
    is_selected = index.selected(image_ids)
    is_among = None
    support, n_images = index.support, index.n_images
    if among is not None:
        is_among = index.selected(among)
        is_selected &= is_among
        support, n_images = index.count(is_among), int(np.count_nonzero(is_among))
    n_selected = int(np.count_nonzero(is_selected))
    if n_selected < MIN_SELECTED:
        return _of_few(index, is_selected, limit)
    counts = index.count(is_selected)
    # Patterns with no more selected members than expected are tests that failed as well: their
    # chance is far above every limit, and the family below counts them.
    expected = support * n_selected / max(n_images, 1)
    tested = np.flatnonzero((counts >= MIN_SELECTED) & (counts > expected))
    chance = hypergeometric_tail(counts[tested], n_selected, support[tested], n_images)
    rates = benjamini_hochberg(chance, tests=len(index))
    is_found = rates < q_limit
    found, rates = tested[is_found], rates[is_found]
    is_implied = implied([index.items(pattern) for pattern in found.tolist()], selected_by)
    found, rates = found[~is_implied], rates[~is_implied]
    order = np.lexsort((found, -index.rank_score[found], -counts[found], rates))
    rate_of = dict(zip(found.tolist(), rates.tolist(), strict=True))
    cards = [
        index.card(pattern, is_selected=is_selected, is_among=is_among, q=rate_of[pattern])
        for pattern in _representatives(index, found[order], limit)
    ]
    return Recommendation(
        cards=tuple(cards),
        kind="selection",
        n_found=len(found),
        n_tested=len(index),
        most_selected=int(counts.max(initial=0)),
        n_implied=int(is_implied.sum()),
    )


def implied(patterns: Sequence[Items], selected_by: Items) -> NDArray[np.bool_]:
    """Return which patterns cannot but be over-represented in the members of one.

    Who selects the members of a pattern finds it over-represented there, and so whatever holds it
    or is part of it: every member of the one is a member of the other. That tells nothing.

    Parameters
    ----------
    patterns : sequence of sequences of (int, int)
        Layers and filters.
    selected_by : sequence of (int, int)
        Items of the pattern whose members were selected; empty for any other selection.

    Returns
    -------
    ndarray of shape (n_patterns,), bool
    """
    by = frozenset(selected_by)
    sets = (frozenset(items) for items in patterns)
    return np.array([bool(by) and (one <= by or one >= by) for one in sets], dtype=bool)


def _of_few(index: PatternIndex, is_selected: NDArray[np.bool_], limit: int) -> Recommendation:
    few = np.flatnonzero(is_selected)
    found = np.arange(len(index)) if len(few) else np.zeros(0, dtype=np.int64)
    for image in few:
        found = np.intersect1d(found, index.of_image(int(image)), assume_unique=True)
    kind = "image" if len(few) == 1 else "shared"
    return _by_rank(index, found, kind, limit=limit, is_selected=is_selected)


def patterns_of_image(
    store: Store, path_set: str, image_id: int, *, limit: int = 12, selection: Ids | None = None
) -> Recommendation:
    """Recommend patterns of one image of the store, by rank score.

    Parameters
    ----------
    store : Store
        Opened store.
    path_set : str
        Path set.
    image_id : int
        Image; one without a path (unreadable) has no pattern.
    limit : int
        Most cards.
    selection : sequence of int, optional
        Images that the cards count.

    Returns
    -------
    Recommendation
        Of kind ``"image"``.

    Raises
    ------
    TableMissingError
        When the path set was not mined yet.
    """
    index = pattern_index(store, path_set)
    return _by_rank(
        index,
        index.of_image(image_id),
        "image",
        limit=limit,
        is_selected=_selected(index, selection),
    )


def patterns_of_path(
    store: Store,
    path_set: str,
    winners: NDArray[np.integer] | Sequence[int],
    *,
    limit: int = 12,
    selection: Ids | None = None,
) -> Recommendation:
    """Recommend the patterns on a path that is not in the store: an uploaded or changed image.

    Parameters
    ----------
    store : Store
        Opened store.
    path_set : str
        Path set under whose rules the winners were found.
    winners : sequence of int
        Filter of each layer, -1 for a silent one.
    limit, selection
        As for an image.

    Returns
    -------
    Recommendation
        Of kind ``"path"``.

    Raises
    ------
    TableMissingError
        When the path set was not mined yet.
    ValueError
        When the path has another number of layers than those of the store.
    """
    index = pattern_index(store, path_set)
    found = index.of_path(np.asarray(winners))
    return _by_rank(index, found, "path", limit=limit, is_selected=_selected(index, selection))


def patterns_of_filters(
    store: Store,
    path_set: str,
    filters: Sequence[tuple[int, int]],
    *,
    limit: int = 12,
    selection: Ids | None = None,
) -> Recommendation:
    """Recommend patterns that contain filters: first all of them, then as many as possible.

    Parameters
    ----------
    store, path_set, limit, selection
        As for an image.
    filters : sequence of (int, int)
        Layer and filter.

    Returns
    -------
    Recommendation
        Of kind ``"filters"``; ``n_with_all`` says how many hold every filter.

    Raises
    ------
    TableMissingError
        When the path set was not mined yet.
    """
    index = pattern_index(store, path_set)
    held = index.count_filters(filters)
    found = np.flatnonzero(held)
    order = found[np.lexsort((found, -index.rank_score[found], -held[found]))]
    n_with_all = int(np.count_nonzero(held == len(set(filters)))) if filters else 0
    return Recommendation(
        cards=_cards(index, order, limit, _selected(index, selection)),
        kind="filters",
        n_found=len(found),
        n_with_all=n_with_all,
    )


def top_patterns(
    store: Store,
    path_set: str,
    *,
    order: str = "distinctive",
    limit: int = 12,
    selection: Ids | None = None,
) -> Recommendation:
    """Recommend patterns of the whole data set.

    Parameters
    ----------
    store, path_set, limit, selection
        As for an image.
    order : str
        ``"distinctive"`` (by rank score, near twins skipped) or ``"general"`` (a greedy cover of
        the images); both are made when the patterns are mined, 500 deep.

    Returns
    -------
    Recommendation
        Of the kind named by ``order``; ``n_found`` counts every pattern of the path set.

    Raises
    ------
    TableMissingError
        When the path set was not mined yet.
    ValueError
        When there is no such order.
    """
    index = pattern_index(store, path_set)
    chosen = index.ranked(order)[: max(limit, 0)].tolist()
    known = _selected(index, selection)
    cards = tuple(index.card(pattern, is_selected=known) for pattern in chosen)
    return Recommendation(cards=cards, kind=order, n_found=len(index))


def pattern_card(
    store: Store, path_set: str, pattern_id: int, *, selection: Ids | None = None
) -> PatternCard:
    """Return the card of one pattern.

    Returns
    -------
    PatternCard
        With the members that are selected first, where there is a selection.

    Raises
    ------
    TableMissingError
        When the path set was not mined yet.
    IndexError
        When there is no such pattern.
    """
    index = pattern_index(store, path_set)
    return index.card(pattern_id, is_selected=_selected(index, selection))


def pattern_members(
    store: Store,
    path_set: str,
    pattern_id: int,
    *,
    limit: int | None = None,
    offset: int = 0,
    selection: Ids | None = None,
) -> NDArray[np.int32]:
    """Return images of a pattern, selected ones first, else in the order of their paths.

    Parameters
    ----------
    store : Store
        Opened store.
    path_set : str
        Path set.
    pattern_id : int
        Pattern.
    limit : int, optional
        Most ids; all by default.
    offset : int
        Ids to skip.
    selection : sequence of int, optional
        Selected images.

    Returns
    -------
    ndarray of int32
        Image ids.

    Raises
    ------
    TableMissingError
        When the path set was not mined yet.
    IndexError
        When there is no such pattern.
    """
    members = pattern_index(store, path_set).members(pattern_id)
    if selection is not None:
        members = members[np.argsort(~np.isin(members, np.asarray(selection)), kind="stable")]
    start = max(offset, 0)
    return members[start : None if limit is None else start + max(limit, 0)].copy()


def _selected(index: PatternIndex, selection: Ids | None) -> NDArray[np.bool_] | None:
    return None if selection is None else index.selected(selection)


def _by_rank(
    index: PatternIndex,
    found: NDArray[np.int64],
    kind: str,
    *,
    limit: int,
    is_selected: NDArray[np.bool_] | None,
) -> Recommendation:
    order = found[np.argsort(-index.rank_score[found], kind="stable")]
    return Recommendation(
        cards=_cards(index, order, limit, is_selected), kind=kind, n_found=len(found)
    )


def _cards(
    index: PatternIndex,
    order: NDArray[np.int64],
    limit: int,
    is_selected: NDArray[np.bool_] | None,
) -> tuple[PatternCard, ...]:
    return tuple(
        index.card(pattern, is_selected=is_selected)
        for pattern in _representatives(index, order, limit)
    )


def _representatives(index: PatternIndex, order: NDArray[np.int64], limit: int) -> list[int]:
    return without_twins(order.tolist(), index.members, index.n_ids, limit=max(limit, 0))
