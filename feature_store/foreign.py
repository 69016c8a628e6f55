"""Read Parquet files that others wrote: data sets, never stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class ForeignFileError(StoreError):
    """A Parquet file of somebody else is missing, damaged, or lacks a column."""


def parquet_schema(path: Path) -> pa.Schema:
    """Return the schema of a Parquet file, with its metadata.

    Returns
    -------
    pa.Schema
        Of the whole file.

    Raises
    ------
    ForeignFileError
        When the file cannot be read as Parquet.
    """
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise ForeignFileError(f"{path} cannot be read as Parquet: {error}") from error


def parquet_rows(path: Path) -> int:
    """Return the number of rows of a Parquet file.

    Returns
    -------
    int
        From the footer.

    Raises
    ------
    ForeignFileError
        When the file cannot be read as Parquet.
    """
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise ForeignFileError(f"{path} cannot be read as Parquet: {error}") from error


def parquet_batches(
    path: Path, columns: Sequence[str], *, rows: int = 1024
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a Parquet file in their order, a few at a time.

    Parameters
    ----------
    path : Path
        The file.
    columns : sequence of str
        Columns to read.
    rows : int
        Most rows of one batch; bounds the memory.

    Yields
    ------
    pa.RecordBatch
        With exactly ``columns``.

    Raises
    ------
    ForeignFileError
        When a column is missing (naming those there are), or a page is damaged.
    """
    names = parquet_schema(path).names
    for column in columns:
        if column not in names:
            msg = f"{path} has no column {column!r}; its columns: {', '.join(names)}"
            raise ForeignFileError(msg)
    try:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=rows, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise ForeignFileError(f"{path} is damaged: {error}") from error
