"""The tables of one path set's patterns, computed from a store's paths, labels and predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_store.patterns.contiguous import layer_columns
from feature_store.patterns.mined import (
    MinedPatterns,
    Population,
    choose_engine,
    collect,
    count_chunks,
    first_winners,
    population,
    table_of,
)
from feature_store.patterns.ranking import greedy_cover, rank_scores, without_twins
from feature_store.patterns.statistics import (
    benjamini_hochberg,
    class_entropy,
    hypergeometric_tail,
    wilson_interval,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from feature_store.store import Store

PatternTables = Mapping[str, Iterator[pa.Table]]
"""By table name below ``patterns/<path_set>/``: pieces in sort order."""

DENSE_CLASSES = 50
"""Up to so many classes the counts of every class are kept with a pattern."""

RANKED = 500
"""So many patterns get a place in the stored orders."""


def engine_of(store: Store, path_set: str, engine: str = "auto") -> str:
    """Return which engine mines a path set of a store.

    Parameters
    ----------
    store : Store
        With ``paths/<path_set>``.
    path_set : str
        ``paper``, ``mean`` or ``balanced``.
    engine : str
        ``"auto"`` (DuckDB up to 200,000 images and 20 layers, the interval miner beyond),
        ``"duckdb"`` or ``"interval"``.

    Returns
    -------
    str
        ``"duckdb"`` or ``"interval"``; both give the same tables.

    Raises
    ------
    TableMissingError
        When the paths were not computed yet.
    ValueError
        When there is no such engine.
    """
    paths = store.table(f"paths/{path_set}")
    n_layers = sum(name.startswith("layer_") for name in paths.columns)
    return choose_engine(engine, n_images=len(paths), n_layers=n_layers)


def mine(
    store: Store,
    path_set: str,
    *,
    min_images: int = 5,
    min_length: int = 2,
    engine: str = "auto",
) -> PatternTables:
    """Mine the closed contiguous patterns of a path set.

    Parameters
    ----------
    store : Store
        With images, classes, predictions and ``paths/<path_set>``.
    path_set : str
        ``paper``, ``mean`` or ``balanced``.
    min_images, min_length : int
        Least number of members and of layers.
    engine : str
        As ``engine_of`` takes it.

    Returns
    -------
    mapping of str to iterator of pyarrow.Table
        ``patterns``, ``pattern_images`` (one piece a first layer), ``image_patterns`` and
        ``pattern_items``, each in the declared order. Mining is over when this returns; the
        pieces of the long tables are made while they are written.

    Raises
    ------
    TableMissingError
        When the paths were not computed yet.
    ValueError
        When there is no such engine.
    """
    return pattern_tables(
        population(store, path_set),
        min_images=min_images,
        min_length=min_length,
        engine=engine_of(store, path_set, engine),
    )


def pattern_tables(
    images: Population, *, min_images: int = 5, min_length: int = 2, engine: str = "auto"
) -> PatternTables:
    """Mine a population; see ``mine``."""
    mined = collect(images, min_images=min_images, min_length=min_length, engine=engine)
    described = _describe(images, mined)
    return {
        "patterns": iter([described]),
        "pattern_images": mined.pattern_images(),
        "image_patterns": mined.image_patterns(),
        "pattern_items": iter([_pattern_items(described)]),
    }


def _items_and_bits(
    images: Population, mined: MinedPatterns
) -> tuple[pa.ListArray, NDArray[np.float64]]:
    """Return the items, and log2 of support over that of independent layers."""
    n_images = max(len(mined.ids), 1)
    ends = np.cumsum(mined.length)
    flat = np.zeros(int(ends[-1]) if len(ends) else 0, dtype=np.int32)
    bits = np.log2(np.maximum(mined.support, 1) / n_images)
    logs = []
    for name in layer_columns(images.paths):
        frequency = np.bincount(images.paths[name].to_numpy() + 1)
        logs.append(np.log2(np.maximum(frequency, 1) / n_images))
    for first in range(len(mined.orders)):
        rows = mined.of_layer(first)
        if rows.start == rows.stop:
            continue
        for layer in range(first, len(mined.orders)):
            reaches = mined.last[rows] >= layer
            filters = first_winners(images, mined, layer, rows)[reaches]
            at = (ends[rows] - mined.length[rows] + layer - first)[reaches]
            flat[at] = filters
            bits[np.arange(rows.start, rows.stop)[reaches]] -= logs[layer][filters + 1]
    offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(flat, pa.int32())), bits


@dataclass(frozen=True, kw_only=True)
class _Classes:
    """Classes of the members of each pattern."""

    counts: pa.Array
    top: NDArray[np.int64]
    top_count: NDArray[np.int64]
    total: NDArray[np.int64]
    entropy: NDArray[np.float64]


def _classes(mined: MinedPatterns, codes: NDArray[np.int32], n_classes: int) -> _Classes:
    n_patterns = len(mined.first)
    top, top_count, total = (np.zeros(n_patterns, dtype=np.int64) for _ in range(3))
    entropy = np.zeros(n_patterns)
    dense = []
    for rows, counts in count_chunks(mined, codes, n_classes):
        top[rows], top_count[rows] = counts.argmax(axis=1), counts.max(axis=1)
        total[rows], entropy[rows] = counts.sum(axis=1), class_entropy(counts)
        if n_classes <= DENSE_CLASSES:
            dense.append(counts.ravel())
    return _Classes(
        counts=_count_lists(dense, n_patterns, n_classes),
        top=top,
        top_count=top_count,
        total=total,
        entropy=entropy,
    )


def _count_lists(dense: list[NDArray[np.int64]], n_patterns: int, n_classes: int) -> pa.Array:
    if n_classes > DENSE_CLASSES:
        return pa.nulls(n_patterns, pa.list_(pa.int32()))
    flat = np.concatenate([np.zeros(0, dtype=np.int64), *dense])
    offsets = pa.array(np.arange(n_patterns + 1) * n_classes, pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(flat, pa.int32()))


def _describe(images: Population, mined: MinedPatterns) -> pa.Table:
    """Make the table ``patterns``."""
    true = _classes(mined, images.true_class, images.n_classes)
    predicted = _classes(mined, images.predicted_class, images.n_classes)
    is_known = true.total > 0
    items, bits = _items_and_bits(images, mined)
    # Where no image at all has a label, the predictions are what a pattern can single out.
    ranked_by = true if is_known.any() else predicted
    score = rank_scores(ranked_by.top_count, ranked_by.total, mined.support, mined.length)
    best_first = np.argsort(-score, kind="stable").tolist()
    n_images = len(mined.ids)
    distinctive = without_twins(best_first, mined.members, n_images, limit=RANKED)
    general = greedy_cover(bits, mined.support, mined.members, n_images, limit=RANKED)
    parent, _ = mined.parents()
    expected = mined.sums(images.expected_wrong) / np.maximum(true.total, 1)
    n_patterns = len(mined.first)
    return table_of(
        "patterns",
        {
            "pattern_id": np.arange(n_patterns),
            "first_layer": mined.first,
            "last_layer": mined.last,
            "lo": mined.low,
            "hi": mined.high,
            "support": mined.support,
            "items": items,
            "class_counts": true.counts,
            "predicted_counts": predicted.counts,
            "top_class": _nullable(true.top, is_known),
            "purity_lcb": _nullable(wilson_interval(true.top_count, true.total)[0], is_known),
            "class_entropy": _nullable(np.clip(true.entropy, 0, 1), is_known),
            "log2_lift": bits,
            "q_class": _nullable(_class_rates(images, true), is_known),
            "wrong": _nullable(np.rint(mined.sums(images.is_wrong)), is_known),
            "expected_wrong": _nullable(np.clip(expected, 0, 1), is_known),
            "rank_score": score,
            "distinctive_rank": _places(distinctive, n_patterns),
            "general_rank": _places(general, n_patterns),
            "parent_id": _nullable(parent, parent >= 0),
        },
    )


def _class_rates(images: Population, true: _Classes) -> NDArray[np.float64]:
    """False-discovery rate of the over-representation of each pattern's commonest class."""
    labels = images.true_class[images.true_class >= 0]
    totals = np.bincount(labels, minlength=images.n_classes)
    chance = hypergeometric_tail(true.top_count, true.total, totals[true.top], len(labels))
    # The commonest class was picked among all of them: as many looks at the data.
    return benjamini_hochberg(np.minimum(chance * images.n_classes, 1.0))


def _nullable(values: NDArray[np.generic], is_known: NDArray[np.bool_]) -> pa.Array:
    return pa.array(values, mask=~is_known)


def _places(chosen: list[int], n_patterns: int) -> pa.Array:
    """Place of each pattern in an order, from 1; null for those that have none."""
    places = np.zeros(n_patterns, dtype=np.int32)
    places[chosen] = np.arange(1, len(chosen) + 1)
    return _nullable(places, places > 0)


def _pattern_items(patterns: pa.Table) -> pa.Table:
    """Turn the items round: patterns by filter, best first."""
    items = patterns["items"].combine_chunks()
    lengths = np.diff(items.offsets.to_numpy())
    rows = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.repeat(items.offsets.to_numpy()[:-1], lengths)
    layer = patterns["first_layer"].to_numpy()[rows] + np.arange(len(rows)) - starts
    filters = items.values.to_numpy()
    score = patterns["rank_score"].to_numpy()
    order = np.lexsort((rows, -score[rows], filters, layer))
    return table_of(
        "pattern_items",
        {
            "layer_index": layer[order],
            "filter_index": filters[order],
            "rank_score": score[rows[order]],
            "pattern_id": rows[order],
            "support": patterns["support"].to_numpy()[rows[order]],
        },
    )
