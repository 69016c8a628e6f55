"""The winners of one path set in memory, for questions about patterns that may skip layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from feature_store.patterns.contiguous import layer_columns
from feature_store.patterns.intervals import winner_codes
from feature_store.patterns.memory import remember
from feature_store.patterns.mined import population

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from feature_store.patterns.intervals import Codes
    from feature_store.store import Store

    Ids = NDArray[np.integer] | Sequence[int]

MAX_LAYERS = 20
"""Subsets of so many layers (a million) are counted within a second; of more, some are chosen."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GappedPaths:
    """The images of a path set that were mined, in the order of their ids.

    Parameters
    ----------
    ids : ndarray of shape (n_images,), int32
        Image ids, ascending.
    codes : list of ndarray of shape (n_images,)
        For each layer the filter that won, plus one; 0 where it is silent.
    default_layers : tuple of int
        Layers that are looked at when none are named.
    true_class, predicted_class : ndarray of shape (n_images,), int32
        -1 where there is no label.
    expected_wrong : ndarray of shape (n_images,), float64
        Share of wrong predictions among the images of the same true class and split.
    n_classes : int
        Number of classes.
    """

    ids: NDArray[np.int32]
    codes: list[Codes]
    default_layers: tuple[int, ...]
    true_class: NDArray[np.int32]
    predicted_class: NDArray[np.int32]
    expected_wrong: NDArray[np.float64]
    n_classes: int

    @classmethod
    def read(cls, store: Store, path_set: str) -> GappedPaths:
        """Read a path set; ``gapped_paths`` does it once."""
        images = population(store, path_set)
        table = images.paths
        codes = [winner_codes(table[name].to_numpy()) for name in layer_columns(table)]
        return cls(
            ids=images.image_ids,
            codes=codes,
            default_layers=_chosen_layers(store, len(codes)),
            true_class=images.true_class,
            predicted_class=images.predicted_class,
            expected_wrong=images.expected_wrong,
            n_classes=images.n_classes,
        )

    def rows(self, image_ids: Ids) -> NDArray[np.int64]:
        """Return the rows of images, each once; ids that were not mined are left out."""
        ids = np.unique(np.asarray(image_ids, dtype=np.int64))
        rows = np.searchsorted(self.ids, ids)
        is_there = rows < len(self.ids)
        is_there[is_there] = self.ids[rows[is_there]] == ids[is_there]
        return rows[is_there]

    def layers(self, asked: Sequence[int] | None) -> tuple[int, ...]:
        """Return the layers to look at, ascending."""
        if asked is None:
            return self.default_layers
        layers = tuple(sorted({int(layer) for layer in asked}))
        if len(layers) > MAX_LAYERS or not all(0 <= i < len(self.codes) for i in layers):
            msg = (
                f"layers are at most {MAX_LAYERS} of 0 to {len(self.codes) - 1}, got {list(asked)}"
            )
            raise ValueError(msg)
        return layers

    def members(
        self, items: Sequence[tuple[int, int]], rows: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Return the rows that have every item.

        Parameters
        ----------
        items : sequence of (int, int)
            Layer and filter; two filters of one layer have no image in common.
        rows : ndarray of int64, optional
            Only among these; by default among all.

        Returns
        -------
        ndarray of int64
            In the order of ``rows``, by default ascending.

        Raises
        ------
        ValueError
            When an item names a layer that there is not, or no filter.
        """
        for layer, filter_ in items:
            if not 0 <= layer < len(self.codes) or filter_ < 0:
                msg = f"there is no item ({layer}, {filter_}): the path set has layers 0 to "
                raise ValueError(f"{msg}{len(self.codes) - 1}, filters from 0")
            # The first item is looked for in one pass, without a copy of the column.
            column = self.codes[layer]
            rows = (
                np.flatnonzero(column == filter_ + 1)
                if rows is None
                else rows[column[rows] == filter_ + 1]
            )
        return np.arange(len(self.ids)) if rows is None else rows

    def supports(
        self,
        patterns: Sequence[Sequence[tuple[int, int]]],
        rows: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int64]:
        """Count the images that have every item of each pattern, one bit an image and item.

        Parameters
        ----------
        patterns : sequence of sequences of (int, int)
            Layers and filters.
        rows : ndarray of int64, optional
            Only among these, each once; by default among all.

        Returns
        -------
        ndarray of shape (n_patterns,), int64
        """
        bits: dict[tuple[int, int], NDArray[np.uint8]] = {}
        chosen = slice(None) if rows is None else rows
        counts = np.zeros(len(patterns), dtype=np.int64)
        for at, items in enumerate(patterns):
            for layer, filter_ in items:
                if (layer, filter_) not in bits:
                    bits[layer, filter_] = np.packbits(self.codes[layer][chosen] == filter_ + 1)
            shared = np.bitwise_and.reduce([bits[item] for item in items])
            counts[at] = np.bitwise_count(shared).sum(dtype=np.int64)
        return counts


def gapped_paths(store: Store, path_set: str) -> GappedPaths:
    """Return the winners of a path set, read on first use and kept as long as the store is.

    Returns
    -------
    GappedPaths
        Shared by all callers.

    Raises
    ------
    TableMissingError
        When the path set was not computed yet.
    """
    return remember(store, ("gapped", path_set), lambda: GappedPaths.read(store, path_set))


def _chosen_layers(store: Store, n_layers: int) -> tuple[int, ...]:
    """Return all layers, or of a deep network those that close a block."""
    if n_layers <= MAX_LAYERS:
        return tuple(range(n_layers))
    store.table("layers")
    rows = store.arrow("SELECT layer_index, kind, block FROM layers ORDER BY layer_index")
    last_of_block: dict[str, int] = {}
    linear = []
    for row in rows.to_pylist():
        if row["layer_index"] >= n_layers:
            continue
        if row["kind"] == "linear":
            linear.append(row["layer_index"])
        elif row["block"] is not None:
            last_of_block[row["block"]] = row["layer_index"]
    chosen = sorted({*last_of_block.values(), *linear})[-MAX_LAYERS:]
    if len(chosen) < 2:
        # Blocks that say nothing: layers at even distances, the last among them.
        chosen = np.linspace(0, n_layers - 1, MAX_LAYERS).astype(int).tolist()
    return tuple(chosen)
