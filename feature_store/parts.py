"""Parquet parts: rows are checked, brought into row groups, hashed and written in one pass."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.conform import SortCheck, conform
from feature_store.durable import DurableFile, remove_files
from feature_store.errors import SchemaError
from feature_store.fingerprint import update_hash
from feature_store.manifest import Part, TableEntry
from feature_store.tables import find_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

_GROUP_BYTES = 128 << 20


class TableWriter:
    """Writes one table of a generation, row group by row group.

    Memory is bounded by one row group (at most about 128 MiB of it). Nothing is visible before the
    generation is committed, and an error inside the ``with`` block removes the parts.

    Parameters
    ----------
    root : Path
        The store.
    folder : str
        Folder of the generation, relative to the store.
    name : str
        Name of the table in the manifest.
    lineage : mapping of str to str
        Fingerprints of what the table is made from.
    on_finish : callable
        Receives name and entry once the parts are durable.
    """

    def __init__(
        self,
        root: Path,
        folder: str,
        name: str,
        lineage: Mapping[str, str],
        *,
        on_finish: Callable[[str, TableEntry], None],
    ) -> None:
        self.name = name
        self._on_finish = on_finish
        self.lineage = dict(lineage)
        self._root = root
        self._folder = f"{folder}/{name}"
        self._table = find_table(name)
        self._order = SortCheck(name, self._table)
        self._schema: pa.Schema | None = None
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._file: DurableFile | None = None
        self._parquet: pq.ParquetWriter | None = None
        self._part_rows = 0
        self._part_value: object = None
        self._parts: list[Part] = []
        self._content = hashlib.sha256()

    def append(self, rows: pa.Table) -> None:
        """Add rows, which follow those before in the sort order.

        Parameters
        ----------
        rows : pyarrow.Table
            Columns as declared in ``feature_store.tables``; a nullable column may be left out.

        Raises
        ------
        SchemaError
            When columns, types or order are not as declared, naming column and row.
        """
        rows = conform(self.name, self._table, rows, self._schema)
        if self._schema is None:
            self._schema = rows.schema
        if not rows.num_rows:
            return
        self._order.check(rows)
        for piece in self._by_part(rows):
            self._pending.append(piece)
            self._pending_rows += piece.num_rows
            group = self._group_rows(piece)
            while self._pending_rows >= group:
                self._write_group(group)

    def finish(self) -> None:
        """Make the parts durable and hand over the entry for the manifest.

        Raises
        ------
        SchemaError
            When not even an empty table gave the columns.
        """
        if self._schema is None:
            msg = f"table {self.name!r}: append at least an empty table, which gives the columns"
            raise SchemaError(msg)
        self._flush()
        if not self._parts and self._parquet is None:
            self._open_part()
        self._close_part()
        parts = tuple(self._parts)
        fingerprint = self._content.hexdigest()
        self._on_finish(self.name, TableEntry(self._table.stage, fingerprint, self.lineage, parts))

    def discard(self) -> None:
        """Remove what was written."""
        if self._file is not None:
            self._abandon_part()
        remove_files(self._root / part.path for part in self._parts)
        self._parts.clear()

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            try:
                self.finish()
            except BaseException:
                self.discard()
                raise
        else:
            self.discard()

    def _by_part(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Yield rows that share a part file, ending the file where the declared column changes."""
        if self._table.part_by is None:
            yield rows
            return
        values = rows.column(self._table.part_by).to_numpy()
        borders = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
        for start, stop in pairwise(borders):
            value = values[start]
            if self._part_value is not None and value != self._part_value:
                self._flush()
                self._close_part()
            self._part_value = value
            yield rows.slice(start, stop - start)

    def _group_rows(self, rows: pa.Table) -> int:
        """Rows of a row group: as declared, or fewer where rows are large."""
        if self._table.rows < 4_096:
            return self._table.rows
        width = max(1, sum(_width(field.type) for field in rows.schema))
        return max(1_024, min(self._table.rows, _GROUP_BYTES // width))

    def _flush(self) -> None:
        if self._pending_rows:
            self._write_group(self._pending_rows)

    def _write_group(self, count: int) -> None:
        pending = pa.concat_tables(self._pending)
        group = pending.slice(0, count).combine_chunks()
        rest = pending.slice(count)
        self._pending = [rest] if rest.num_rows else []
        self._pending_rows = rest.num_rows
        parquet = self._parquet or self._open_part()
        update_hash(self._content, group)
        parquet.write_table(group, row_group_size=count)
        self._part_rows += count

    def _open_part(self) -> pq.ParquetWriter:
        if self._schema is None:
            msg = f"table {self.name!r}: no columns are known yet"
            raise SchemaError(msg)
        path = self._root / self._folder / f"part-{len(self._parts):05d}.parquet"
        self._file = DurableFile(path)
        # The schema enters the hash once per part, so that an empty table has a content too.
        self._content.update(str(self._schema.remove_metadata()).encode())
        self._parquet = pq.ParquetWriter(
            self._file, self._schema, **_parquet_options(self._schema)
        )
        self._part_rows = 0
        return self._parquet

    def _close_part(self) -> None:
        if self._parquet is None or self._file is None:
            return
        file = self._file
        self._parquet.close()
        self._parquet = None
        file.publish()
        path = file.path.relative_to(self._root).as_posix()
        self._parts.append(Part(path, file.bytes, file.sha256, self._part_rows))
        self._file = None

    def _abandon_part(self) -> None:
        """Remove a half-written part; the Parquet footer has nowhere to go any more."""
        if self._file is not None:
            self._file.discard()
            self._file = None
        if self._parquet is not None:
            self._parquet.close()
            self._parquet = None


def _width(data_type: pa.DataType) -> int:
    """Bytes of a value; those of varying length are guessed."""
    try:
        return max(1, int(data_type.bit_width) // 8)
    except ValueError:
        return 64


def _parquet_options(schema: pa.Schema) -> dict[str, object]:
    """Return the settings of the Parquet writer."""
    plain = [field.name for field in schema if not pa.types.is_binary(field.type)]
    half = {field.name for field in schema if pa.types.is_float16(field.type)}
    return {
        # Image files are compressed already.
        "compression": {
            field.name: "none" if pa.types.is_binary(field.type) else "zstd" for field in schema
        },
        "compression_level": dict.fromkeys(plain, 3),
        # Smallest and largest image file would only swell the footer.
        "write_statistics": plain,
        "use_dictionary": [name for name in plain if name not in half],
        "write_page_checksum": True,
        "store_schema": True,
    }
