"""Every mined pattern as numbers, and the long tables that follow from them alone."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_store.patterns.contiguous import contiguous_patterns, layer_columns
from feature_store.patterns.intervals import interval_patterns
from feature_store.tables import schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from feature_store.store import Store

MINERS = MappingProxyType({"duckdb": contiguous_patterns, "interval": interval_patterns})
"""What finds the patterns, by the name of its engine; they give the same answer."""

DUCKDB_IMAGES = 200_000
"""``auto`` leaves more images to the interval miner: there it is ten times as fast."""

DUCKDB_LAYERS = 20
"""``auto`` leaves more layers to it too: DuckDB groups once for every window of layers."""

_CELLS = 4_000_000
_IMAGES_AT_ONCE = 16_384


@dataclass(frozen=True, kw_only=True)
class Population:
    """The images whose paths are mined, in id order: readable, with finite predictions.

    Parameters
    ----------
    paths : pyarrow.Table
        ``image_id`` and the winners of each layer.
    true_class, predicted_class : ndarray of shape (n_images,), int32
        -1 where there is no label.
    is_wrong : ndarray of shape (n_images,), bool
        False where there is no label.
    expected_wrong : ndarray of shape (n_images,), float64
        Share of wrong predictions among the images of the same true class and split: what the
        mix of a group of images alone leads one to expect. 0 where there is no label.
    n_classes : int
        Number of classes.
    """

    paths: pa.Table
    true_class: NDArray[np.int32]
    predicted_class: NDArray[np.int32]
    is_wrong: NDArray[np.bool_]
    expected_wrong: NDArray[np.float64]
    n_classes: int

    @property
    def image_ids(self) -> NDArray[np.int32]:
        """Ids, ascending."""
        return np.asarray(self.paths["image_id"].to_numpy(), dtype=np.int32)


def population(store: Store, path_set: str) -> Population:
    """Read what mining needs from a store.

    Returns
    -------
    Population
        Images that are readable and have finite predictions.

    Raises
    ------
    TableMissingError
        When the paths were not computed yet.
    """
    name = f"paths/{path_set}"
    store.table(name)
    rows = store.arrow(
        f'SELECT p.*, coalesce(i.true_class, -1)::INTEGER AS "true", i.split AS split, '
        f'r.predicted_class::INTEGER AS predicted FROM "{name.replace("/", "__")}" p '
        f"JOIN images i USING (image_id) JOIN predictions r USING (image_id) "
        f"WHERE i.status = 'ok' AND r.status = 'ok' ORDER BY image_id"
    )
    true_class = rows["true"].to_numpy().astype(np.int32)
    predicted = rows["predicted"].to_numpy().astype(np.int32)
    is_labelled = true_class >= 0
    is_wrong = is_labelled & (true_class != predicted)
    splits = rows["split"].combine_chunks().dictionary_encode()
    stratum = np.where(is_labelled, true_class, 0) + len(store.class_names) * np.asarray(
        splits.indices.to_numpy(zero_copy_only=False), dtype=np.int64
    )
    images = np.bincount(stratum, weights=is_labelled)
    wrong = np.bincount(stratum, weights=is_wrong)
    rate = wrong / np.maximum(images, 1)
    return Population(
        paths=rows.select(["image_id", *layer_columns(rows)]),
        true_class=true_class,
        predicted_class=predicted,
        is_wrong=is_wrong,
        expected_wrong=np.where(is_labelled, rate[stratum], 0.0),
        n_classes=len(store.class_names),
    )


@dataclass(frozen=True, kw_only=True)
class MinedPatterns:
    """All patterns, one row each, sorted by (first, low, last).

    Parameters
    ----------
    first, last, low, high : ndarray of shape (n_patterns,), int64
        First and last layer, and the run of positions: members are ``orders[first][low:high]``.
    orders : tuple of ndarray of shape (n_images,), int64
        For each first layer, rows of the population by position.
    ids : ndarray of shape (n_images,), int32
        Image id of each row of the population.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    orders: tuple[NDArray[np.int64], ...]
    ids: NDArray[np.int32]

    @property
    def support(self) -> NDArray[np.int64]:
        """Members of each pattern."""
        return self.high - self.low

    @property
    def length(self) -> NDArray[np.int64]:
        """Layers of each pattern."""
        return self.last - self.first + 1

    def members(self, pattern: int) -> NDArray[np.int64]:
        """Rows of the population that have a pattern."""
        order = self.orders[int(self.first[pattern])]
        return order[int(self.low[pattern]) : int(self.high[pattern])]

    def of_layer(self, layer: int) -> slice:
        """Give the rows of the patterns that start at a layer: they are neighbours."""
        start, stop = np.searchsorted(self.first, [layer, layer + 1])
        return slice(int(start), int(stop))

    def sums(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        """Sum ``values``, one for each image, over the members of every pattern."""
        totals = np.zeros(len(self.first))
        for layer, order in enumerate(self.orders):
            rows = self.of_layer(layer)
            running = np.concatenate([[0.0], np.cumsum(values[order], dtype=np.float64)])
            totals[rows] = running[self.high[rows]] - running[self.low[rows]]
        return totals

    def parents(self) -> tuple[NDArray[np.int32], list[NDArray[np.int32]]]:
        """Link each pattern to the next smaller run around it that starts at the same layer.

        Returns
        -------
        parent : ndarray of shape (n_patterns,), int32
            -1 where no pattern is around it.
        innermost : list of ndarray of shape (n_images,), int32
            For each first layer, the innermost pattern by position, or -1.
        """
        parent = np.full(len(self.first), -1, dtype=np.int32)
        innermost = []
        for layer in range(len(self.orders)):
            deepest = np.full(len(self.ids), -1, dtype=np.int32)
            rows = np.arange(len(self.first), dtype=np.int32)[self.of_layer(layer)]
            for last in range(layer, len(self.orders)):
                # Runs of one window are apart, so that a layer is written in one go.
                level = rows[self.last[rows] == last]
                parent[level] = deepest[self.low[level]]
                deepest[runs(self.low[level], self.support[level])] = np.repeat(
                    level, self.support[level]
                )
            innermost.append(deepest)
        return parent, innermost

    def pattern_images(self) -> Iterator[pa.Table]:
        """Make the table ``pattern_images``, one piece for each first layer."""
        for layer, order in enumerate(self.orders):
            yield table_of(
                "pattern_images",
                {
                    "first_layer": np.full(len(order), layer, dtype=np.int16),
                    "position": np.arange(len(order), dtype=np.int32),
                    "image_id": self.ids[order],
                },
            )

    def image_patterns(self) -> Iterator[pa.Table]:
        """Make the table ``image_patterns``, some images at a time."""
        parent, innermost = self.parents()
        by_image = [np.empty_like(deepest) for deepest in innermost]
        for deepest, order, target in zip(innermost, self.orders, by_image, strict=True):
            target[order] = deepest
        for start in range(0, len(self.ids), _IMAGES_AT_ONCE):
            rows = slice(start, start + _IMAGES_AT_ONCE)
            yield _lists_of(self.ids[rows], [found[rows] for found in by_image], parent)


def _lists_of(
    image_ids: NDArray[np.int32], innermost: list[NDArray[np.int32]], parent: NDArray[np.int32]
) -> pa.Table:
    """Climb from the innermost patterns of each image to the outermost, and list all."""
    images, patterns = [], []
    for found in innermost:
        current = found
        rows = np.flatnonzero(current >= 0)
        while rows.size:
            images.append(rows)
            patterns.append(current[rows])
            current = np.where(current >= 0, parent[current], -1)
            rows = np.flatnonzero(current >= 0)
    image = np.concatenate([np.zeros(0, dtype=np.int64), *images])
    pattern = np.concatenate([np.zeros(0, dtype=np.int32), *patterns])
    pattern = pattern[np.lexsort((pattern, image))]
    ends = np.cumsum(np.bincount(image, minlength=len(image_ids)))
    lists = pa.ListArray.from_arrays(
        pa.array(np.concatenate([[0], ends]), pa.int32()), pa.array(pattern, pa.int32())
    )
    return table_of("image_patterns", {"image_id": image_ids, "pattern_ids": lists})


def runs(low: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Concatenate ``range(low, low + length)`` of every row."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.asarray(np.arange(total) + np.repeat(low - (ends - lengths), lengths))


def choose_engine(engine: str, *, n_images: int, n_layers: int) -> str:
    """Resolve the engine ``"auto"``.

    Parameters
    ----------
    engine : str
        ``"auto"``, ``"duckdb"`` or ``"interval"``.
    n_images, n_layers : int
        Size of the paths.

    Returns
    -------
    str
        ``"duckdb"`` or ``"interval"``.

    Raises
    ------
    ValueError
        When there is no such engine.
    """
    if engine == "auto":
        fits = n_images <= DUCKDB_IMAGES and n_layers <= DUCKDB_LAYERS
        return "duckdb" if fits else "interval"
    if engine not in MINERS:
        msg = f"no engine is called {engine!r}; known: auto, {', '.join(MINERS)}"
        raise ValueError(msg)
    return engine


def collect(
    images: Population, *, min_images: int, min_length: int, engine: str = "auto"
) -> MinedPatterns:
    """Mine a population with the engine that is named."""
    ids = images.image_ids
    chosen = choose_engine(engine, n_images=len(ids), n_layers=len(layer_columns(images.paths)))
    mine = MINERS[chosen]
    starts = list(mine(images.paths, min_images=min_images, min_length=min_length))
    nothing = np.zeros(0, dtype=np.int64)
    # Ids are dense within a store, so that a table of them is short.
    row_of = np.zeros(int(ids.max(initial=-1)) + 1, dtype=np.int64)
    row_of[ids] = np.arange(len(ids))

    def joined(parts: list[NDArray[np.generic]]) -> NDArray[np.int64]:
        return np.concatenate([nothing, *parts]).astype(np.int64)

    return MinedPatterns(
        first=np.repeat([s.first_layer for s in starts], [len(s.low) for s in starts]),
        last=joined([s.last_layer for s in starts]),
        low=joined([s.low for s in starts]),
        high=joined([s.high for s in starts]),
        orders=tuple(row_of[s.order] for s in starts),
        ids=ids,
    )


def count_chunks(
    mined: MinedPatterns, codes: NDArray[np.int32], n_codes: int
) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Count the members of each pattern by code, some patterns at a time; code -1 is left out."""
    for layer, order in enumerate(mined.orders):
        of_layer = mined.of_layer(layer)
        at = of_layer.start
        while at < of_layer.stop:
            grown = np.cumsum(mined.support[at : of_layer.stop] + n_codes)
            stop = at + max(int(np.searchsorted(grown, _CELLS)), 1)
            rows = slice(at, min(stop, of_layer.stop))
            support = mined.support[rows]
            found = codes[order[runs(mined.low[rows], support)]]
            pattern = np.repeat(np.arange(len(support)), support)
            keys = (pattern * n_codes + found)[found >= 0]
            counts = np.bincount(keys, minlength=len(support) * n_codes)
            yield rows, counts.reshape(len(support), n_codes)
            at = rows.stop


def first_winners(
    images: Population, mined: MinedPatterns, layer: int, rows: slice
) -> NDArray[np.int32]:
    """Filter of each pattern of ``rows`` in a layer, read from its first member."""
    column = images.paths[layer_columns(images.paths)[layer]].to_numpy()
    order = mined.orders[int(mined.first[rows.start])]
    return np.asarray(column[order[mined.low[rows]]], dtype=np.int32)


def table_of(name: str, columns: Mapping[str, NDArray[np.generic] | pa.Array]) -> pa.Table:
    """Lay columns out as the pattern table ``name`` declares them."""
    declared = schema(f"patterns/any/{name}")
    arrays = [
        (array if isinstance(array, pa.Array) else pa.array(array)).cast(field.type)
        for field, array in ((field, columns[field.name]) for field in declared)
    ]
    return pa.Table.from_arrays(arrays, schema=declared)
