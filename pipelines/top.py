"""The images that fire a filter the most, kept while the shards go by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

from feature_store.tables import schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

KEEP = 50
"""Images kept for every filter and split."""

_FIELDS = ("activation", "image_id", "peak")


class TopImages:
    """The strongest images of every filter of every layer, by split.

    Parameters
    ----------
    filters : sequence of int
        Filters of each layer.
    splits : sequence of str
        Names of the splits.
    """

    def __init__(self, filters: Sequence[int], splits: Sequence[str]) -> None:
        self._filters = tuple(filters)
        self._splits = tuple(sorted(splits, key=lambda name: name.encode()))
        self._best: dict[tuple[int, str], tuple[NDArray[Any], ...]] = {}

    def add(
        self,
        layer: int,
        split: str,
        activations: NDArray[np.floating],
        image_ids: NDArray[np.int32],
        peaks: NDArray[np.int32],
    ) -> None:
        """Show it more images of one split, in the order of their ids.

        Parameters
        ----------
        layer : int
            Index of the layer.
        split : str
            Split of all these images.
        activations : ndarray of shape (n, filters)
            Spatial maxima.
        image_ids : ndarray of shape (n,), or (n, filters) for candidates of a shard, int32
            The images; -1 is no image.
        peaks : ndarray of shape (n, filters), int32
            Where each maximum is: row * width + column.
        """
        # Turned while it is narrow, so that all that follows reads along memory; torch widens with
        # the processor's own instruction, numpy number by number.
        turned = torch.from_numpy(activations.T.copy(order="C"))
        values = turned.to(torch.float32).numpy()
        ids = np.broadcast_to(
            image_ids[:, None] if image_ids.ndim == 1 else image_ids, activations.shape
        ).T
        # A filter that is silent, or not a number, shows no image.
        np.putmask(values, ~np.isfinite(values) | (values == 0), -np.inf)
        if image_ids.ndim == 2:
            np.putmask(values, ids < 0, -np.inf)
        rows: tuple[NDArray[Any], ...] = (values, ids, peaks.T)
        known = self._best.get((layer, split))
        if known is not None:
            both = zip(known, rows, strict=True)
            rows = tuple(np.concatenate(pair, axis=1) for pair in both)
        self._best[layer, split] = _strongest(*rows)

    def candidates(self) -> tuple[pa.Table, ...]:
        """Return what is kept, as one table that ``merge`` understands."""
        parts = []
        for (layer, split), (values, ids, peaks) in self._best.items():
            kept = values.shape[1]
            filters = np.repeat(np.arange(values.shape[0], dtype=np.int32), kept)
            parts.append(
                pa.table(
                    {
                        "layer_index": np.full(filters.size, layer, dtype=np.int16),
                        "split": pa.array([split] * filters.size).dictionary_encode(),
                        "filter_index": filters,
                        "activation": values.ravel(),
                        "image_id": np.ascontiguousarray(ids).ravel().astype(np.int32),
                        "peak": np.ascontiguousarray(peaks).ravel().astype(np.int32),
                    }
                )
            )
        return tuple(parts)

    def merge(self, table: pa.Table) -> None:
        """Add the candidates that a shard has kept; shards come in the order of their ids."""
        layers = table["layer_index"].to_numpy()
        splits = table["split"].cast(pa.string()).to_numpy(zero_copy_only=False)
        starts = [
            0,
            *(np.flatnonzero((layers[1:] != layers[:-1]) | (splits[1:] != splits[:-1])) + 1),
        ]
        columns = [table[name].to_numpy() for name in _FIELDS]
        for start, stop in zip(starts, [*starts[1:], len(layers)], strict=True):
            layer = int(layers[start])
            shape = (self._filters[layer], (stop - start) // self._filters[layer])
            values, ids, peaks = (column[start:stop].reshape(shape).T for column in columns)
            self.add(layer, str(splits[start]), values, ids, peaks)

    def tables(self, widths: Mapping[int, int]) -> Iterator[pa.Table]:
        """Yield rows of ``top_images``, one layer at a time, in their order.

        Parameters
        ----------
        widths : mapping of int to int
            Columns of the map of each layer, to find row and column of a peak.

        Yields
        ------
        pyarrow.Table
            Every filter of one layer.
        """
        for layer, filters in enumerate(self._filters):
            parts = [
                (code, self._best[layer, split])
                for code, split in enumerate(self._splits)
                if (layer, split) in self._best
            ]
            if not parts:
                continue
            columns = [_columns(code, filters, *best) for code, best in parts]
            merged = [np.concatenate(column) for column in zip(*columns, strict=True)]
            filter_index, code, rank, values, ids, peaks = merged
            order = np.lexsort((rank, code, filter_index))
            order = order[np.isfinite(values[order])]
            names = np.array(self._splits, dtype=object)
            yield pa.table(
                {
                    "layer_index": np.full(order.size, layer, dtype=np.int16),
                    "filter_index": filter_index[order],
                    "split": names[code[order]],
                    "rank": rank[order],
                    "image_id": ids[order],
                    "activation": values[order],
                    "peak_row": peaks[order] // widths[layer],
                    "peak_column": peaks[order] % widths[layer],
                },
                schema=schema("top_images"),
            )


def _strongest(
    values: NDArray[np.floating], ids: NDArray[np.int32], peaks: NDArray[np.int32]
) -> tuple[NDArray[Any], ...]:
    """Keep the highest of each row, the lowest id first among equal ones."""
    # Order of a float's bits, then of the column: unique, so that a partition is exact, and
    # columns ascend by id. Sorting whole rows would cost as much as the network.
    bits = values.view(np.int32)
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64) << 32
    keys -= np.arange(values.shape[1], dtype=np.int64)
    if values.shape[1] > KEEP:
        order = np.argpartition(keys, -KEEP, axis=1)[:, -KEEP:]
        keys = np.take_along_axis(keys, order, axis=1)
        ranked = np.take_along_axis(order, np.argsort(-keys, axis=1), axis=1)
    else:
        ranked = np.argsort(-keys, axis=1)
    return tuple(np.take_along_axis(part, ranked, axis=1) for part in (values, ids, peaks))


def _columns(
    code: int,
    filters: int,
    values: NDArray[Any],
    ids: NDArray[Any],
    peaks: NDArray[Any],
) -> tuple[NDArray[Any], ...]:
    kept = values.shape[1]
    return (
        np.repeat(np.arange(filters, dtype=np.int32), kept),
        np.full(filters * kept, code, dtype=np.int8),
        np.tile(np.arange(1, kept + 1, dtype=np.int16), filters),
        values.ravel(),
        np.ascontiguousarray(ids).ravel().astype(np.int32),
        np.ascontiguousarray(peaks).ravel().astype(np.int32),
    )
