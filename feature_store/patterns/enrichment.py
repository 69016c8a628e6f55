"""Which patterns are over-represented among one kind of error: true class A, predicted class B.

Only images of class A are looked at: among all images every pattern of class B would "explain" the
error. They are cut into two halves at random. On one of them every pattern is tested and the
false-discovery rate controlled; what is found there must show again on the other half. Whatever
can be counted like a pattern (a cluster, a tercile of brightness) is tested by the same rules, so
that patterns and baselines stand side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from feature_store.patterns.columns import numbers
from feature_store.patterns.enriched import ConfusionCell, ErrorEnrichment, PermutationCheck
from feature_store.patterns.index import PatternIndex, pattern_index
from feature_store.patterns.memory import remember
from feature_store.patterns.slices import Search, Slices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from feature_store.store import Store

RATE = 0.05
"""Declared false-discovery rate."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ErrorCell:
    """The images of one true class, which of them are the errors, and the halves.

    Parameters
    ----------
    image_id : ndarray of shape (n,), int32
        Distinct images of the true class, ascending: of copies the lowest id.
    outcome : ndarray of shape (n,), int64
        Predicted class of each.
    predicted_class : int
        The one that makes an image an error.
    is_discovery : ndarray of shape (n,), bool
        The half that searches.
    n_copies : int
        Images left out because another one has the same pixels.
    seed : int
        Of the halves.
    """

    image_id: NDArray[np.int32]
    outcome: NDArray[np.int64]
    predicted_class: int
    is_discovery: NDArray[np.bool_]
    n_copies: int
    seed: int

    @property
    def is_error(self) -> NDArray[np.bool_]:
        """Images of the cell of the confusion matrix."""
        return np.asarray(self.outcome == self.predicted_class)

    def permuted(self, seed: int) -> ErrorCell:
        """Deal the outcomes out anew among the images, and draw the halves again by them."""
        dealt = np.random.default_rng(seed).permutation(self.outcome)
        return replace(self, outcome=dealt, is_discovery=draw_halves(dealt, seed=seed), seed=seed)


class PatternSlices:
    """The patterns of a path set whose items all lie in the allowed layers.

    Parameters
    ----------
    index : PatternIndex
        The path set.
    allowed : ndarray of shape (n_layers,), bool
        Layers that may hold an item.
    """

    noun = "pattern"

    def __init__(self, index: PatternIndex, allowed: NDArray[np.bool_]) -> None:
        self._index = index
        before = np.concatenate([[0], np.cumsum(allowed)])
        inside = before[index.last_layer + 1] - before[index.first_layer]
        self._keys = np.flatnonzero(inside == index.last_layer - index.first_layer + 1)

    def __len__(self) -> int:
        return len(self._keys)

    def is_known(self, image_ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether each image was mined."""
        is_mined = np.zeros(max(self._index.n_ids, int(image_ids.max(initial=-1)) + 1), bool)
        is_mined[: self._index.n_ids] = self._index.selected(image_ids)
        return np.asarray(is_mined[image_ids])

    def count(self, image_ids: NDArray[np.int32]) -> NDArray[np.int64]:
        """Count the images in every pattern, by prefix sums over the positions."""
        counts = self._index.count(self._index.selected(image_ids))
        return np.asarray(counts[self._keys])

    def members(self, place: int) -> NDArray[np.int32]:
        """Images of a pattern, of every class."""
        return self._index.members(self.key(place))

    def key(self, place: int) -> int:
        """Id of a pattern."""
        return int(self._keys[place])

    def label(self, place: int) -> str:
        """Name a pattern by its number."""
        return f"pattern {self.key(place)}"


def confusion_cells(store: Store, split: str | None = None) -> tuple[ConfusionCell, ...]:
    """Return the kinds of errors there are, the most frequent first.

    Parameters
    ----------
    store : Store
        Opened store.
    split : str, optional
        Part of the data set; all by default.

    Returns
    -------
    tuple of ConfusionCell
        Ties by class. Images with the same pixels all count, as in the confusion matrix.

    Raises
    ------
    ValueError
        When there is no such split.
    """
    known, n_classes = _labelled(store), len(store.class_names)
    rows = known.rows(split)
    pairs = known.true_class[rows] * n_classes + known.predicted_class[rows]
    table = np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)
    n_true = table.sum(axis=1)
    np.fill_diagonal(table, 0)
    order = np.argsort(-table, axis=None, kind="stable")[: np.count_nonzero(table)]
    cells = (divmod(int(place), n_classes) for place in order)
    return tuple(
        ConfusionCell(
            true_class=true,
            predicted_class=predicted,
            n=int(table[true, predicted]),
            n_true=int(n_true[true]),
            share=float(table[true, predicted] / n_true[true]),
        )
        for true, predicted in cells
    )


def draw_halves(outcome: NDArray[np.int64], *, seed: int) -> NDArray[np.bool_]:
    """Cut images of one class into halves that hold the same number of each outcome, or one more.

    Parameters
    ----------
    outcome : ndarray of shape (n,), int64
        Predicted class of each image.
    seed : int
        Equal seeds give equal halves.

    Returns
    -------
    ndarray of shape (n,), bool
        The half that searches.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(outcome))
    order = shuffled[np.argsort(outcome[shuffled], kind="stable")]
    is_discovery = np.empty(len(outcome), dtype=bool)
    # In turn, over the outcomes one after the other: the halves differ by at most one image too.
    is_discovery[order] = (np.arange(len(outcome)) + rng.integers(2)) % 2 == 0
    return is_discovery


def error_cell(
    store: Store, *, true_class: int, predicted_class: int, split: str | None = None, seed: int = 0
) -> ErrorCell:
    """Gather the images of a true class and draw their halves.

    Every kind of error of the class gets the same halves, and so does every path set and baseline.

    Parameters
    ----------
    store : Store
        Opened store.
    true_class, predicted_class : int
        The kind of error.
    split : str, optional
        Part of the data set; all by default.
    seed : int
        Of the halves.

    Returns
    -------
    ErrorCell
        Of images that are readable, labelled and have finite predictions.

    Raises
    ------
    ValueError
        When the classes are equal or unknown, or there is no such split.
    """
    n_classes = len(store.class_names)
    if not (0 <= true_class < n_classes and 0 <= predicted_class < n_classes):
        msg = f"classes are 0 to {n_classes - 1}, got {true_class} and {predicted_class}"
        raise ValueError(msg)
    if true_class == predicted_class:
        msg = f"class {true_class} predicted as itself is no error"
        raise ValueError(msg)
    known = _labelled(store)
    rows = known.rows(split)
    rows = rows[known.true_class[rows] == true_class]
    # Copies share path and prediction: counted apart they would pass for independent evidence,
    # and one on each half would confirm the other.
    _, first = np.unique(known.original[rows], return_index=True)
    distinct = rows[np.sort(first)]
    outcome = known.predicted_class[distinct]
    return ErrorCell(
        image_id=known.image_id[distinct],
        outcome=outcome,
        predicted_class=predicted_class,
        is_discovery=draw_halves(outcome, seed=seed),
        n_copies=len(rows) - len(distinct),
        seed=seed,
    )


def error_enrichment(
    store: Store,
    path_set: str = "mean",
    *,
    true_class: int,
    predicted_class: int,
    split: str | None = None,
    layers: str | Sequence[int] = "conv",
    rate: float = RATE,
    seed: int = 0,
) -> ErrorEnrichment:
    """Find the patterns that are over-represented among one kind of error.

    Parameters
    ----------
    store : Store
        Opened store.
    path_set : str
        ``paper``, ``mean`` or ``balanced``.
    true_class, predicted_class : int
        The kind of error.
    split : str, optional
        Part of the data set; all by default.
    layers : str or sequence of int
        Layers that a pattern may lie in: ``"conv"`` (the last hidden layers all but are the
        prediction), ``"all"``, or layer indices.
    rate : float
        Declared false-discovery rate, in (0, 1).
    seed : int
        Of the halves.

    Returns
    -------
    ErrorEnrichment
        With the reason in words where there is nothing.

    Raises
    ------
    TableMissingError
        When the path set was not mined yet.
    ValueError
        When a class, the split, a layer or the rate is none.
    """
    cell = error_cell(
        store, true_class=true_class, predicted_class=predicted_class, split=split, seed=seed
    )
    slices = pattern_slices(store, path_set, layers)
    answer = enrichment_of(store, cell, slices, true_class=true_class, split=split, rate=rate)
    named = layers if isinstance(layers, str) else tuple(int(at) for at in layers)
    return replace(answer, path_set=path_set, layers=named)


def pattern_slices(store: Store, path_set: str, layers: str | Sequence[int]) -> PatternSlices:
    """Return the patterns of a path set that lie in some layers; see ``error_enrichment``.

    Returns
    -------
    PatternSlices
        Counted by ``enrichment_of``.

    Raises
    ------
    TableMissingError
        When the path set was not mined yet.
    ValueError
        When a layer is none.
    """
    index = pattern_index(store, path_set)
    return PatternSlices(index, allowed_layers(store, layers, index.n_layers))


def allowed_layers(store: Store, layers: str | Sequence[int], n_layers: int) -> NDArray[np.bool_]:
    """Mark the layers of a path that are looked at; see ``error_enrichment``.

    Returns
    -------
    ndarray of shape (n_layers,), bool
        By layer index.

    Raises
    ------
    ValueError
        When a layer is none.
    """
    allowed = np.zeros(n_layers, dtype=bool)
    if layers == "all":
        allowed[:] = True
    elif layers == "conv":
        store.table("layers")
        rows = store.arrow("SELECT layer_index FROM layers WHERE kind = 'conv'")
        conv = numbers(rows["layer_index"], np.int64)
        allowed[conv[conv < n_layers]] = True
    elif isinstance(layers, str) or not all(0 <= int(at) < n_layers for at in layers):
        msg = f"layers are 'conv', 'all' or indices below {n_layers}, got {layers!r}"
        raise ValueError(msg)
    else:
        allowed[[int(at) for at in layers]] = True
    return allowed


def enrichment_of(
    store: Store,
    cell: ErrorCell,
    slices: Slices,
    *,
    true_class: int,
    split: str | None,
    rate: float = RATE,
) -> ErrorEnrichment:
    """Test any sets of images as patterns are tested; see ``error_enrichment``.

    On the half that searches: the chance of at least so many errors among the members, were the
    errors dealt out at random among the images of the class (hypergeometric). Sets that could not
    become significant whatever the errors leave the family (Tarone); sets with fewer than three
    errors stay in it and fail. Benjamini-Hochberg over the family: proven for independent and for
    positively dependent tests, conservative for discrete ones; ``permutation_check`` measures it.
    Sets with more than half of their errors in common are merged, by that half alone, and the
    representatives are tested again on the other half, with Benjamini-Hochberg over them: merging
    after the first test alone would void its rate.

    Returns
    -------
    ErrorEnrichment
        With the reason in words where there is nothing.

    Raises
    ------
    ValueError
        When the rate is not in (0, 1).

    References
    ----------
    Y. Benjamini and Y. Hochberg, "Controlling the false discovery rate", 1995.
    Y. Benjamini and D. Yekutieli, "The control of the false discovery rate in multiple testing
    under dependency", 2001.
    R. E. Tarone, "A modified Bonferroni method for discrete data", 1990; P. B. Gilbert, "A
    modified false discovery rate multiple-comparisons procedure for discrete data", 2005.
    """
    search = Search(cell, slices, rate)
    found = search.found()
    confirmed = tuple(entry for entry in found if entry.confirmation_q < rate)
    names = store.class_names
    answer = ErrorEnrichment(
        noun=slices.noun,
        true_class=true_class,
        predicted_class=cell.predicted_class,
        class_names=(names[true_class], names[cell.predicted_class]),
        split=split,
        path_set=None,
        layers=(),
        rate=rate,
        seed=cell.seed,
        n_images=(len(search.discovery), len(search.confirmation)),
        n_errors=(search.n_errors(search.discovery), search.n_errors(search.confirmation)),
        n_copies=cell.n_copies,
        n_unknown=int(np.count_nonzero(~search.is_known)),
        n_candidates=len(slices),
        n_tested=search.n_tested,
        n_found=search.n_found,
        confirmed=confirmed,
        unconfirmed=tuple(entry for entry in found if entry.confirmation_q >= rate),
        halves=(
            f"at random (seed {cell.seed}) among the distinct images of {names[true_class]}, "
            "every predicted class shared out evenly; copies of an image count once"
        ),
        reason="",
    )
    return answer if confirmed else replace(answer, reason=answer.why_nothing())


def permutation_check(
    cell: ErrorCell, slices: Slices, *, permutations: int = 200, rate: float = RATE, seed: int = 0
) -> PermutationCheck:
    """Search where there is nothing to find: with the errors dealt out anew within the class.

    Parameters
    ----------
    cell : ErrorCell
        The images; their errors are permuted, and the halves drawn again.
    slices : Slices
        What is tested.
    permutations : int
        Runs.
    rate : float
        Declared false-discovery rate, in (0, 1).
    seed : int
        Of the first run; the others count up.

    Returns
    -------
    PermutationCheck
        Every report is false here, so that ``n_reported / n`` may not exceed the rate but by
        chance.

    Raises
    ------
    ValueError
        When the rate is not in (0, 1).
    """
    n_found = n_reported = 0
    for run in range(permutations):
        found = Search(cell.permuted(seed + run), slices, rate).found()
        n_found += bool(found)
        n_reported += any(entry.confirmation_q < rate for entry in found)
    return PermutationCheck(n=permutations, n_found=n_found, n_reported=n_reported)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Labelled:
    """Every labelled image with a prediction, by ascending id."""

    image_id: NDArray[np.int32]
    original: NDArray[np.int64]
    true_class: NDArray[np.int64]
    predicted_class: NDArray[np.int64]
    split: NDArray[np.int64]
    splits: tuple[str, ...]

    def rows(self, split: str | None) -> NDArray[np.int64]:
        """Rows of a split; of all images for None."""
        if split is None:
            return np.arange(len(self.image_id))
        if split not in self.splits:
            msg = f"there is no split {split!r}; known: {', '.join(self.splits)}"
            raise ValueError(msg)
        return np.flatnonzero(self.split == self.splits.index(split))


def _labelled(store: Store) -> _Labelled:
    return remember(store, "labelled images", lambda: _read_labelled(store))


def _read_labelled(store: Store) -> _Labelled:
    # The lowest id with the same pixels stands for a hash of 64 digits.
    rows = store.arrow(
        "SELECT image_id, i.split, i.true_class, p.predicted_class, min(image_id) OVER "
        "(PARTITION BY coalesce(i.image_key, image_id::VARCHAR)) AS original "
        "FROM images i JOIN predictions p USING (image_id) WHERE i.status = 'ok' "
        "AND p.status = 'ok' AND i.true_class IS NOT NULL ORDER BY image_id"
    )
    names = sorted(set(rows["split"].unique().to_pylist()))
    coded = rows["split"].combine_chunks().dictionary_encode()
    place = np.array([names.index(name) for name in coded.dictionary.to_pylist()], dtype=np.int64)
    return _Labelled(
        image_id=numbers(rows["image_id"], np.int32),
        original=numbers(rows["original"], np.int64),
        true_class=numbers(rows["true_class"], np.int64),
        predicted_class=numbers(rows["predicted_class"], np.int64),
        split=place[coded.indices.to_numpy(zero_copy_only=False)],
        splits=tuple(names),
    )
