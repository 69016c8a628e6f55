"""Which patterns that may skip layers to show, with everything that their cards say.

They are in no table: each question is answered by ``feature_store.patterns.gapped`` when it is
asked, the best of the answer are looked at, and a few become cards: first those that differ, then
their variants. The questions are those of ``feature_store.patterns.recommend``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from feature_store.patterns.cards import Described, PatternCard, PatternKey, Recommendation
from feature_store.patterns.gapped import (
    gapped_members,
    gapped_patterns_of_image,
    gapped_patterns_of_path,
    gapped_patterns_of_selection,
)
from feature_store.patterns.gapped_choice import GappedChoice, choose
from feature_store.patterns.gapped_paths import GappedPaths, gapped_paths
from feature_store.patterns.ranking import rank_scores
from feature_store.patterns.recommend import (
    MIN_SELECTED,
    Q_LIMIT,
    pattern_card,
    pattern_members,
)
from feature_store.patterns.statistics import benjamini_hochberg, hypergeometric_tail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from feature_store.patterns.gapped import GappedPatterns
    from feature_store.store import Store

    Ids = NDArray[np.integer] | Sequence[int]
    Items = tuple[tuple[int, int], ...]

LISTED = 200
"""Patterns of an image or a path among which representatives are chosen, the best by bits."""

TESTED = 500
"""Patterns of a selection that are tested, the best by bits."""

MIN_IMAGES = 5
"""Members of a pattern among all images."""

LEAST_SHARE = 50
"""A pattern of a selection holds at least one in so many of it, so that the search ends."""


@dataclass(frozen=True, kw_only=True)
class GappedRecommendation(Recommendation):
    """Patterns that may skip layers to show, best first, and how they were found.

    Parameters
    ----------
    n_closed : int
        Closed patterns that the search reached.
    n_listed : int
        Those of them that were looked at, the best by bits.
    layers : tuple of int
        Layers that were looked at.
    n_layers : int
        Layers there are.
    least : int
        Least members: among all images, or for a selection among the selected.
    is_complete : bool
        Whether the search came to its end.
    more : tuple of int
        For each card how many more patterns are like it; 0 for variants.
    variant_of : tuple of (int or None)
        For each card the place of the one that it is like; None for those that differ, which come
        first. See ``feature_store.patterns.gapped_choice``.
    """

    n_closed: int
    n_listed: int
    layers: tuple[int, ...]
    n_layers: int
    least: int = MIN_IMAGES
    is_complete: bool = True
    more: tuple[int, ...] = ()
    variant_of: tuple[int | None, ...] = ()


def gapped_of_image(
    store: Store, path_set: str, image_id: int, *, limit: int = 12, selection: Ids | None = None
) -> GappedRecommendation:
    """Recommend patterns of one image that may skip layers.

    Parameters
    ----------
    store, path_set, image_id, limit, selection
        As for ``patterns_of_image``.

    Returns
    -------
    GappedRecommendation
        Of kind ``"image"``, by bits; ``n_found`` counts every closed pattern.

    Raises
    ------
    TableMissingError
        When the path set was not computed yet.
    """
    found = gapped_patterns_of_image(store, path_set, image_id, limit=LISTED)
    return _by_bits(gapped_paths(store, path_set), found, "image", limit, selection)


def gapped_of_path(
    store: Store,
    path_set: str,
    winners: NDArray[np.integer] | Sequence[int],
    *,
    limit: int = 12,
    selection: Ids | None = None,
) -> GappedRecommendation:
    """Recommend patterns that may skip layers on a path that is not in the store.

    Parameters
    ----------
    store, path_set, winners, limit, selection
        As for ``patterns_of_path``.

    Returns
    -------
    GappedRecommendation
        Of kind ``"path"``, by bits.

    Raises
    ------
    TableMissingError
        When the path set was not computed yet.
    ValueError
        When the path has another number of layers than those of the store.
    """
    found = gapped_patterns_of_path(store, path_set, winners, limit=LISTED)
    return _by_bits(gapped_paths(store, path_set), found, "path", limit, selection)


def gapped_of_selection(
    store: Store,
    path_set: str,
    image_ids: Ids,
    *,
    among: Ids | None = None,
    limit: int = 12,
    q_limit: float = Q_LIMIT,
    selected_by: Items = (),
) -> GappedRecommendation:
    """Recommend patterns that may skip layers and are over-represented in a selection.

    The closed patterns inside the selection are searched; the best by bits are tested as
    contiguous ones are. The family of the false-discovery rate is every pattern that could have
    come up: each set of two or more layers cuts the images into at most ``n_images / 5`` groups
    of five. So the rates are upper bounds. In a selection that was made by a pattern every closed
    pattern holds that one; what they hold besides is tested.

    Parameters
    ----------
    store, path_set, image_ids, among, limit, q_limit, selected_by
        As for ``patterns_of_selection``.

    Returns
    -------
    GappedRecommendation
        Of kind ``"selection"``, ``"shared"`` or ``"image"``; of a selection ``n_found`` counts
        the tested patterns below the limit.

    Raises
    ------
    TableMissingError
        When the path set was not computed yet.
    """
    paths = gapped_paths(store, path_set)
    rows = paths.rows(image_ids)
    base = None if among is None else paths.rows(among)
    n_images = len(paths.ids) if base is None else len(base)
    if base is not None:
        rows = np.intersect1d(rows, base, assume_unique=True)
    if len(rows) < MIN_SELECTED:
        return _of_few(store, path_set, paths, rows, limit)
    least = max(MIN_SELECTED, -(-len(rows) // LEAST_SHARE))
    found = gapped_patterns_of_selection(
        store, path_set, paths.ids[rows], min_images=least, limit=TESTED, is_against_all=True
    )
    items = _without([pattern.items for pattern in found], selected_by)
    in_all = paths.supports(items)
    support = in_all if base is None else paths.supports(items, base)
    held = paths.supports(items, rows)
    is_more = held * n_images > support * len(rows)
    tested = np.flatnonzero((in_all >= MIN_IMAGES) & is_more)
    chance = hypergeometric_tail(held[tested], len(rows), support[tested], n_images)
    family = (2 ** len(found.layers) - len(found.layers) - 1) * (len(paths.ids) // MIN_IMAGES)
    rates = benjamini_hochberg(chance, tests=family)
    order = np.lexsort((tested, -held[tested], rates))
    order = order[rates[order] < q_limit]
    patterns = [items[tested[at]] for at in order]
    choice = _choice(paths, patterns, limit)
    cards = tuple(
        _card(paths, patterns[at], paths.ids[rows], float(rates[order[at]]), base=base)
        for at in choice.shown
    )
    return GappedRecommendation(
        cards=cards,
        more=choice.more,
        variant_of=choice.variant_of,
        kind="selection",
        n_found=len(patterns),
        n_tested=family,
        most_selected=int(held.max(initial=0)),
        n_implied=len(found) - len(items),
        n_closed=found.n_found,
        n_listed=len(found),
        layers=found.layers,
        n_layers=found.n_layers,
        least=least,
        is_complete=found.is_complete,
    )


def any_card(
    store: Store, path_set: str, pattern: PatternKey, *, selection: Ids | None = None
) -> PatternCard:
    """Return the card of a pattern, be it in the store or one that may skip layers.

    Parameters
    ----------
    store : Store
        Opened store.
    path_set : str
        Path set.
    pattern : int or tuple of (int, int)
        Its id, or its items.
    selection : sequence of int, optional
        Images that the card counts.

    Returns
    -------
    PatternCard

    Raises
    ------
    TableMissingError
        When the path set was not mined or computed yet.
    IndexError
        When there is no such pattern.
    """
    if isinstance(pattern, int):
        return pattern_card(store, path_set, pattern, selection=selection)
    # Items that nobody has make no pattern.
    any_members(store, path_set, pattern)
    return _card(gapped_paths(store, path_set), pattern, selection)


def any_members(store: Store, path_set: str, pattern: PatternKey) -> NDArray[np.int32]:
    """Return the members of a pattern, be it in the store or one that may skip layers.

    Parameters
    ----------
    store, path_set, pattern
        As for ``any_card``.

    Returns
    -------
    ndarray of int32
        Image ids.

    Raises
    ------
    TableMissingError
        When the path set was not mined or computed yet.
    IndexError
        When there is no such pattern.
    """
    if isinstance(pattern, int):
        return pattern_members(store, path_set, pattern)
    try:
        members = gapped_members(store, path_set, pattern)
    except ValueError as error:
        raise IndexError(str(error)) from None
    if not len(members) or not 2 <= len(pattern) == len({layer for layer, _ in pattern}):
        msg = f"no pattern has the items {list(pattern)}: no image has them all, or they are few"
        raise IndexError(msg)
    return members


def _without(patterns: Sequence[Items], selected_by: Items) -> list[Items]:
    """Return patterns without the filters that all of the selection has, while two are left."""
    left = (tuple(item for item in items if item not in selected_by) for items in patterns)
    return [items for items in left if len(items) >= 2]


def _of_few(
    store: Store, path_set: str, paths: GappedPaths, rows: NDArray[np.int64], limit: int
) -> GappedRecommendation:
    """Answer for up to two images: patterns on what their paths share."""
    codes = np.array([column[rows].astype(np.int64) for column in paths.codes])
    codes = codes.reshape(len(paths.codes), len(rows))
    is_shared = (codes == codes[:, :1]).all(axis=1) & bool(len(rows))
    winners = np.where(is_shared, codes[:, 0] - 1 if len(rows) else -1, -1)
    found = gapped_patterns_of_path(store, path_set, winners, limit=LISTED)
    kind = "image" if len(rows) == 1 else "shared"
    return _by_bits(paths, found, kind, limit, paths.ids[rows])


def _by_bits(
    paths: GappedPaths,
    found: GappedPatterns,
    kind: str,
    limit: int,
    selection: Ids | None,
) -> GappedRecommendation:
    patterns = [pattern.items for pattern in found]
    choice = _choice(paths, patterns, limit)
    return GappedRecommendation(
        cards=tuple(_card(paths, patterns[at], selection) for at in choice.shown),
        more=choice.more,
        variant_of=choice.variant_of,
        kind=kind,
        n_found=found.n_found,
        n_closed=found.n_found,
        n_listed=len(found),
        layers=found.layers,
        n_layers=found.n_layers,
    )


def _choice(paths: GappedPaths, patterns: Sequence[Items], limit: int) -> GappedChoice:
    return choose(
        patterns, lambda at: paths.members(patterns[at]), len(paths.ids), limit=max(limit, 0)
    )


def _card(
    paths: GappedPaths,
    items: Items,
    selection: Ids | None,
    q: float | None = None,
    *,
    base: NDArray[np.int64] | None = None,
) -> PatternCard:
    rows = paths.members(items)
    chosen = np.zeros(0, np.int64) if selection is None else paths.rows(selection)
    true = paths.true_class[rows]
    labelled = int(np.count_nonzero(true >= 0))
    counts = np.bincount(true[true >= 0], minlength=paths.n_classes)
    expected = paths.expected_wrong[rows].sum() / labelled if labelled else None
    score = rank_scores(
        counts.max(initial=0, keepdims=True),
        np.array([labelled]),
        np.array([len(rows)]),
        np.array([len(items)]),
    )
    described = Described(
        ids=paths.ids[rows],
        true_class=true,
        predicted_class=paths.predicted_class[rows],
        is_selected=np.isin(rows, chosen),
        is_among=np.ones(len(rows), dtype=bool) if base is None else np.isin(rows, base),
        n_classes=paths.n_classes,
        n_images=len(paths.ids) if base is None else len(base),
        n_selection=len(chosen),
    )
    return described.card(
        tuple(items),
        rank_score=float(score[0]),
        expected_wrong=None if expected is None else float(np.clip(expected, 0, 1)),
        q=q,
    )
