"""Every way in which the tool ranks suspects, asked of a store as the app asks it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from feature_store.patterns.baselines import cluster_slices, filter_slices, pixel_slices
from feature_store.patterns.enrichment import enrichment_of, error_cell, pattern_slices
from feature_store.patterns.index import pattern_index
from feature_store.patterns.ranking import without_twins
from feature_store.patterns.recommend import (
    MIN_SELECTED,
    Q_LIMIT,
    patterns_of_selection,
    top_patterns,
)
from feature_store.patterns.statistics import (
    benjamini_hochberg,
    hypergeometric_tail,
    wilson_interval,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks._planted_networks import Made
    from feature_store import Store
    from feature_store.patterns.enriched import ErrorEnrichment, FoundSlice
    from feature_store.patterns.enrichment import ErrorCell
    from feature_store.patterns.index import PatternIndex
    from feature_store.patterns.slices import Slices

PATH_SETS = ("balanced", "mean", "paper")
DEPTH = 10
"""So many suspects of a list are looked at."""

CLUSTERS = 20
SPLIT = "test"

Suspect = np.ndarray
"""Images that are said to belong together, by id."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CellAnswers:
    """What is said of one kind of error.

    Parameters
    ----------
    cell : ErrorCell
        Its images and halves.
    true_class : int
        Of the images.
    suspects : dict of str to list of ndarray
        Lists, best first, by way.
    reported : dict of str to bool
        For the ways that declare a false-discovery rate: whether anything is confirmed.
    best : dict of str to FoundSlice
        First confirmed pattern by path set, where there is one.
    """

    cell: ErrorCell
    true_class: int
    suspects: dict[str, list[np.ndarray]]
    reported: dict[str, bool]
    best: dict[str, FoundSlice]


def whole_answers(store: Store, made: Made, *, seed: int) -> dict[str, list[np.ndarray]]:
    """Return the lists that need no kind of error, best first.

    Parameters
    ----------
    store : Store
        Of the network.
    made : Made
        Its predictions.
    seed : int
        Of the random lists.

    Returns
    -------
    dict of str to list of ndarray
        Image ids of the suspects, of any split, by way.
    """
    images = made.images
    tested = np.flatnonzero(images.is_test)
    is_wrong = made.predicted != images.label
    errors = tested[is_wrong[tested]]
    random = np.random.default_rng([seed, 0])
    found: dict[str, list[np.ndarray]] = {}
    dealt = tested[dealt_anew(images.label[tested], is_wrong[tested], random)]
    for path_set in PATH_SETS:
        index = pattern_index(store, path_set)
        lists = {
            "distinctive": top_patterns(store, path_set, order="distinctive", limit=DEPTH),
            "general": top_patterns(store, path_set, order="general", limit=DEPTH),
            "of the wrong images": patterns_of_selection(store, path_set, errors, limit=DEPTH),
            "of errors dealt anew": patterns_of_selection(store, path_set, dealt, limit=DEPTH),
        }
        for name, cards in lists.items():
            found[f"patterns {name}, {path_set}"] = [
                index.members(card.pattern_id) for card in cards
            ]
        found[f"patterns of the wrong within the split, {path_set}"] = [
            index.members(at) for at in patterns_within(index, errors, tested, limit=DEPTH)
        ]
        drawn = random.choice(len(index), min(DEPTH, len(index)), replace=False)
        found[f"random patterns, {path_set}"] = [index.members(int(at)) for at in drawn]
    found["clusters of the embedding"] = _most_wrong(
        [tested[label == at] for label in [_clusters(store, tested)] for at in range(CLUSTERS)],
        is_wrong,
    )
    predicted = made.predicted[tested]
    found["predicted classes"] = _most_wrong(
        [tested[predicted == at] for at in range(len(store.class_names))], is_wrong
    )
    found["random images"] = _random_sets(tested, 20, random)
    return found


def patterns_within(
    index: PatternIndex, selection: np.ndarray, universe: np.ndarray, *, limit: int
) -> list[int]:
    """Rank as ``patterns_of_selection`` does, without the cards.

    Wrong images of the test split differ from the training images in more than their errors, so
    the tool compares them with their split; against all images is what it did before.

    Parameters
    ----------
    index : PatternIndex
        The path set.
    selection, universe : ndarray of int
        Image ids; the first are among the second.
    limit : int
        Most patterns.

    Returns
    -------
    list of int
        Patterns, best first; none where no rate is below 0.05.
    """
    is_selected, is_there = index.selected(selection), index.selected(universe)
    counts, support = index.count(is_selected), index.count(is_there)
    n_selected, n_images = int(is_selected.sum()), int(is_there.sum())
    tested = np.flatnonzero((counts >= MIN_SELECTED) & (counts * n_images > support * n_selected))
    chance = hypergeometric_tail(counts[tested], n_selected, support[tested], n_images)
    rates = benjamini_hochberg(chance, tests=len(index))
    is_found = rates < Q_LIMIT
    found, rates = tested[is_found], rates[is_found]
    order = np.lexsort((found, -index.rank_score[found], -counts[found], rates))
    return without_twins(found[order].tolist(), index.members, index.n_ids, limit=limit)


def dealt_anew(label: np.ndarray, is_wrong: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Deal the errors of every class out anew among its images.

    Parameters
    ----------
    label : ndarray of shape (n,), int
        True classes.
    is_wrong : ndarray of shape (n,), bool
        The errors.
    random : numpy.random.Generator
        Of the deal.

    Returns
    -------
    ndarray of shape (n,), bool
        As many of every class.
    """
    dealt = np.zeros(len(label), dtype=bool)
    for class_index in np.unique(label):
        rows = np.flatnonzero(label == class_index)
        dealt[rows] = random.permutation(is_wrong[rows])
    return dealt


def _most_wrong(sets: Iterable[np.ndarray], is_wrong: np.ndarray) -> list[np.ndarray]:
    """Order sets by the lower bound of their share of errors."""
    some = [ids for ids in sets if len(ids)]
    wrong = np.array([np.count_nonzero(is_wrong[ids]) for ids in some])
    low, _ = wilson_interval(wrong, np.array([len(ids) for ids in some]))
    return [some[at] for at in np.argsort(-low, kind="stable")[:DEPTH]]


def _clusters(store: Store, ids: np.ndarray) -> np.ndarray:
    from sklearn.cluster import KMeans

    rows = store.arrow(
        "SELECT * EXCLUDE (image_id) FROM embeddings WHERE image_id IN "
        "(SELECT unnest(?::INTEGER[])) ORDER BY image_id",
        ids.tolist(),
    )
    values = np.stack([column.to_numpy() for column in rows.columns], axis=1)
    return np.asarray(
        KMeans(CLUSTERS, n_init=3, random_state=0).fit_predict(values.astype(np.float32))
    )


def _random_sets(ids: np.ndarray, size: int, random: np.random.Generator) -> list[np.ndarray]:
    return [random.choice(ids, min(size, len(ids)), replace=False) for _ in range(DEPTH)]


class Pooled:
    """Several families searched as one, with one false-discovery rate over all of them.

    A candidate that the tool does not have: no path set need be chosen.

    Parameters
    ----------
    noun : str
        What one set is called.
    parts : sequence of Slices
        The families. All of them know the same images.
    """

    def __init__(self, noun: str, parts: Sequence[Slices]) -> None:
        self.noun = noun
        self._parts = tuple(parts)
        self._first = np.concatenate([[0], np.cumsum([len(part) for part in parts])])

    def __len__(self) -> int:
        return int(self._first[-1])

    def is_known(self, image_ids: np.ndarray) -> np.ndarray:
        """Whether every family knows each image."""
        known = [part.is_known(image_ids) for part in self._parts]
        return np.asarray(np.logical_and.reduce(known))

    def count(self, image_ids: np.ndarray) -> np.ndarray:
        """Count the images in every set."""
        return np.concatenate([part.count(image_ids) for part in self._parts])

    def _place(self, place: int) -> tuple[Slices, int]:
        at = int(np.searchsorted(self._first, place, side="right")) - 1
        return self._parts[at], place - int(self._first[at])

    def members(self, place: int) -> np.ndarray:
        """Images of a set."""
        part, inside = self._place(place)
        return part.members(inside)

    def key(self, place: int) -> int:
        """Place of a set."""
        return place

    def label(self, place: int) -> str:
        """Name of a set in plain words."""
        part, inside = self._place(place)
        return part.label(inside)


def families(store: Store, cell: ErrorCell) -> dict[str, Slices]:
    """Return everything that is searched for behind one kind of error, by way.

    Parameters
    ----------
    store : Store
        Opened store.
    cell : ErrorCell
        The errors.

    Returns
    -------
    dict of str to Slices
        Patterns and single filters, clusters and pixel groups; ``"all"`` path sets at once.
    """
    found: dict[str, Slices] = {}
    patterns = [pattern_slices(store, path_set, "conv") for path_set in PATH_SETS]
    found |= {f"patterns, {name}": part for name, part in zip(PATH_SETS, patterns, strict=True)}
    found["patterns, all"] = Pooled("pattern", patterns)
    for path_set in PATH_SETS:
        whole = pattern_slices(store, path_set, "all")
        found[f"patterns with the linear layer, {path_set}"] = whole
    filters = [filter_slices(store, cell, path_set) for path_set in PATH_SETS]
    found |= {
        f"single filters, {name}": part for name, part in zip(PATH_SETS, filters, strict=True)
    }
    found["single filters, all"] = Pooled("filter", filters)
    found["clusters of the embedding"] = cluster_slices(store, cell)
    found["pixels"] = pixel_slices(store, cell)
    return found


def cell_answers(store: Store, *, true_class: int, predicted_class: int, seed: int) -> CellAnswers:
    """Return the lists behind one kind of error of the test images, best first.

    Parameters
    ----------
    store : Store
        Of the network.
    true_class, predicted_class : int
        The kind of error.
    seed : int
        Of the random lists; the halves are the app's.

    Returns
    -------
    CellAnswers
        Suspects of searches hold images of both halves; those of the rules without a search hold
        images of the half that confirms.
    """
    cell = error_cell(store, true_class=true_class, predicted_class=predicted_class, split=SPLIT)
    suspects: dict[str, list[np.ndarray]] = {}
    reported: dict[str, bool] = {}
    best: dict[str, FoundSlice] = {}
    for way, slices in families(store, cell).items():
        answer: ErrorEnrichment = enrichment_of(
            store, cell, slices, true_class=true_class, split=SPLIT
        )
        reported[way] = bool(answer.confirmed)
        suspects[way] = [np.array(each.image_ids) for each in answer.confirmed[:DEPTH]]
        if answer.confirmed:
            best[way] = answer.confirmed[0]
    suspects |= _plain(store, cell)
    random = np.random.default_rng([seed, 1, true_class, predicted_class])
    half = cell.image_id[~cell.is_discovery]
    for path_set in PATH_SETS:
        suspects[f"random patterns, {path_set}"] = _random_patterns(
            pattern_slices(store, path_set, "conv"), half, random
        )
    suspects["random images"] = _random_sets(half, 8, random)
    return CellAnswers(
        cell=cell, true_class=true_class, suspects=suspects, reported=reported, best=best
    )


def _plain(store: Store, cell: ErrorCell) -> dict[str, list[np.ndarray]]:
    """Return the rules of ``plain_slices`` with their images: each gives a list of one."""
    half = ~cell.is_discovery
    ids, is_error = cell.image_id[half], cell.is_error[half]
    rows = store.arrow(
        f"SELECT s.c{cell.predicted_class:04d} AS score, p.margin FROM scores s "
        "JOIN predictions p USING (image_id) WHERE image_id IN (SELECT unnest(?::INTEGER[])) "
        "ORDER BY image_id",
        ids.tolist(),
    )
    n = int(np.count_nonzero(is_error))
    score, margin = (rows[name].to_numpy().astype(np.float64) for name in ("score", "margin"))
    return {
        "highest score of the class": [ids[np.argsort(-score, kind="stable")[:n]]],
        "smallest margin": [ids[np.argsort(margin, kind="stable")[:n]]],
        "the errors themselves": [ids[is_error]],
    }


def _random_patterns(
    slices: Slices, half: np.ndarray, random: np.random.Generator
) -> list[np.ndarray]:
    """Return patterns drawn among those with as many images of the half as a result needs."""
    large = np.flatnonzero(slices.count(half) >= 3)
    drawn = random.choice(large, min(DEPTH, len(large)), replace=False)
    return [slices.members(int(at)) for at in drawn]
