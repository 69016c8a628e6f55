"""Hash of a table's content that does not depend on batches, buffers or the Parquet writer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from hashlib import _Hash


def update_hash(digest: _Hash, rows: pa.Table) -> None:
    """Add rows to ``digest``, column by column.

    Parameters
    ----------
    digest : hash object
        Receives the bytes.
    rows : pyarrow.Table
        One row group: the same rows in the same groups give the same digest.
    """
    digest.update(np.int64(rows.num_rows).tobytes())
    for column in rows.columns:
        array = column.combine_chunks()
        chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
        for chunk in chunks:
            _update_array(digest, chunk)


def _update_array(digest: _Hash, array: pa.Array) -> None:
    if array.null_count:
        nulls = pc.is_null(array).to_numpy(zero_copy_only=False)
        digest.update(b"null" + np.packbits(nulls).tobytes())
    kind = array.type
    if pa.types.is_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array), 0)
        digest.update(_bytes(lengths.to_numpy(zero_copy_only=False)))
        _update_array(digest, array.flatten())
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        _update_bytes(digest, pc.fill_null(array, b"" if pa.types.is_binary(kind) else ""))
    elif pa.types.is_boolean(kind):
        values = pc.fill_null(array, fill_value=False).to_numpy(zero_copy_only=False)
        digest.update(np.packbits(values).tobytes())
    else:
        # The bytes beneath a null are whatever the writer's buffer held.
        values = array.to_numpy(zero_copy_only=False) if not array.null_count else _filled(array)
        digest.update(_bytes(values))


def _bytes(values: np.ndarray) -> memoryview:
    return np.ascontiguousarray(values).data.cast("B")


def _filled(array: pa.Array) -> np.ndarray:
    view = array.view(pa.int16()) if pa.types.is_float16(array.type) else array
    return pc.fill_null(view, 0).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _update_bytes(digest: _Hash, array: pa.Array) -> None:
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    digest.update(_bytes(np.diff(ends)))
    if data is not None and len(ends):
        digest.update(memoryview(data)[int(ends[0]) : int(ends[-1])])
