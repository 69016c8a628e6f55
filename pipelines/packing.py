"""Arrays in the rows of a shard: a column an array, not a filter, so that writing is quick."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


def pack(values: NDArray[np.floating]) -> pa.Array:
    """Return an array of shape (n, width), float16 or float32, as n rows of bytes."""
    rows, width = values.shape
    data = np.ascontiguousarray(values)
    kind = pa.binary(width * data.itemsize)
    return pa.Array.from_buffers(kind, rows, [None, pa.py_buffer(data)])


def unpack(column: pa.ChunkedArray, width: int) -> NDArray[np.floating]:
    """Return what ``pack`` was given; the type follows from the number of bytes."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    size = array.type.byte_width // width
    flat: NDArray[np.floating] = np.frombuffer(
        array.buffers()[1], dtype=np.float16 if size == 2 else np.float32
    )
    start = array.offset * width
    return flat[start : start + len(array) * width].reshape(len(array), width)


def group_by_bytes(sizes: dict[str, int], *, limit: int) -> Iterator[list[str]]:
    """Yield groups of names whose sizes add up to at most ``limit``, or single larger ones."""
    group: list[str] = []
    total = 0
    for name, size in sizes.items():
        if group and total + size > limit:
            yield group
            group, total = [], 0
        group.append(name)
        total += size
    if group:
        yield group
