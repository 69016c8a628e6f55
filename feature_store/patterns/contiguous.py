"""Closed contiguous patterns by DuckDB: one GROUP BY for each window of layers.

A pattern is a run of layers, ``first`` to ``last``, with one winning filter in each; its members
are the images whose path equals it there. It is closed when no neighbouring layer has the same
winner in every member, for then no longer pattern has the same members. A layer that is silent
(winner -1) gives no item: windows that hold -1 are left out, and a neighbour that is -1 in every
member does not extend a pattern.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

SILENT = -1
"""Winner of a layer whose activations are all zero."""


@dataclass(frozen=True, kw_only=True)
class StartLayer:
    """Every closed pattern that starts at one layer.

    Sorted by the winners from this layer to the network's last one, then by id, the images of
    any pattern that starts here are one run of ``order``.

    Parameters
    ----------
    first_layer : int
        Layer index.
    order : ndarray of shape (n_images,), int32
        Image ids by position.
    last_layer : ndarray of shape (n_patterns,), int16
        Last layer of each pattern, inclusive.
    low, high : ndarray of shape (n_patterns,), int32
        Members are ``order[low:high]``. Sorted by (low, last_layer), so that a pattern follows
        every shorter one that contains it.
    """

    first_layer: int
    order: NDArray[np.int32]
    last_layer: NDArray[np.int16]
    low: NDArray[np.int32]
    high: NDArray[np.int32]


def layer_columns(paths: pa.Table) -> list[str]:
    """Return the names of the layer columns of a path table, in layer order."""
    return [name for name in paths.column_names if name.startswith("layer_")]


def check_thresholds(min_images: int, min_length: int) -> None:
    """Refuse thresholds that every set of images passes.

    Raises
    ------
    ValueError
        When one is below 1.
    """
    if min_images < 1 or min_length < 1:
        msg = f"min_images and min_length are at least 1, got {min_images} and {min_length}"
        raise ValueError(msg)


def contiguous_patterns(
    paths: pa.Table, *, min_images: int = 5, min_length: int = 2, threads: int | None = None
) -> Iterator[StartLayer]:
    """Mine the closed contiguous patterns of a path table.

    Parameters
    ----------
    paths : pyarrow.Table
        ``image_id`` and one int column ``layer_000``.. for each layer (filter index or -1).
    min_images : int
        A pattern has at least this many members.
    min_length : int
        A pattern spans at least this many layers.
    threads : int, optional
        Threads of DuckDB; its own choice by default.

    Yields
    ------
    StartLayer
        For each layer in order, also where nothing starts there. One start layer is in memory at
        a time.

    Raises
    ------
    ValueError
        When a threshold is below 1.
    """
    check_thresholds(min_images, min_length)
    columns = layer_columns(paths)
    with duckdb.connect(":memory:") as connection:
        if threads is not None:
            connection.execute(f"SET threads = {int(threads)}")
        connection.register("given_paths", paths)
        connection.execute("CREATE TEMP TABLE paths AS SELECT * FROM given_paths")
        for first in range(len(columns)):
            yield _start_layer(connection, columns, first, min_images, min_length)


def _start_layer(
    connection: duckdb.DuckDBPyConnection,
    columns: list[str],
    first: int,
    min_images: int,
    min_length: int,
) -> StartLayer:
    left = f"{columns[first - 1]}, " if first else ""
    suffix = ", ".join(columns[first:])
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE ranked AS SELECT image_id, {left}{suffix}, "
        f"(row_number() OVER (ORDER BY {suffix}, image_id) - 1)::INTEGER AS position FROM paths"
    )
    order = connection.execute("SELECT image_id FROM ranked ORDER BY position").fetchnumpy()
    found: list[tuple[int, NDArray[np.int32], NDArray[np.int32]]] = []
    for last in range(first + min_length - 1, len(columns)):
        rows = connection.execute(_window_query(columns, first, last), [min_images]).fetchnumpy()
        # Anti-monotone: a longer window holds no frequent pattern where this one holds none.
        if not len(rows["low"]):
            break
        is_closed = np.asarray(rows["is_closed"], dtype=bool)
        found.append((last, rows["low"][is_closed], rows["high"][is_closed]))
    return start_layer(first, np.asarray(order["image_id"], dtype=np.int32), found)


def _window_query(columns: list[str], first: int, last: int) -> str:
    """Write the SQL of the frequent patterns of one window: run, and whether closed."""
    window = ", ".join(columns[first : last + 1])
    heard = " AND ".join(f"{name} <> {SILENT}" for name in columns[first : last + 1])
    closed = [
        f"(min({name}) < max({name}) OR max({name}) = {SILENT})"
        for name in (
            *columns[max(first - 1, 0) : first],
            *columns[last + 1 : last + 2],
        )
    ]
    return (
        f"SELECT min(position) AS low, max(position) + 1 AS high, "
        f"{' AND '.join(closed) or 'true'} AS is_closed "
        f"FROM ranked WHERE {heard} GROUP BY {window} HAVING count(*) >= ?"
    )


def start_layer(
    first: int,
    order: NDArray[np.int32],
    found: list[tuple[int, NDArray[np.int32], NDArray[np.int32]]],
) -> StartLayer:
    """Put the patterns of every window that starts at a layer into one order.

    Parameters
    ----------
    first : int
        Layer index.
    order : ndarray of shape (n_images,), int32
        Image ids by position.
    found : list of (int, ndarray, ndarray)
        Last layer, and low and high of the patterns that end there.

    Returns
    -------
    StartLayer
        Sorted by (low, last layer).
    """
    nothing = np.zeros(0, dtype=np.int32)
    low = np.concatenate([nothing, *(low for _, low, _ in found)]).astype(np.int32)
    high = np.concatenate([nothing, *(high for _, _, high in found)]).astype(np.int32)
    last = np.repeat([last for last, _, _ in found], [len(low) for _, low, _ in found])
    by_low = np.lexsort((last, low))
    return StartLayer(
        first_layer=first,
        order=order,
        last_layer=last[by_low].astype(np.int16),
        low=low[by_low],
        high=high[by_low],
    )
