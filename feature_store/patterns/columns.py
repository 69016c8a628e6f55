"""Columns of an answer as numpy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


def numbers(column: pa.ChunkedArray, dtype: type[T]) -> NDArray[T]:
    """Copy a column of numbers.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
        Numbers or booleans.
    dtype : type
        numpy type of the result; null becomes NaN in a float one.

    Returns
    -------
    ndarray of shape (n_rows,)
        Of the given type.
    """
    values: NDArray[T] = column.to_numpy().astype(dtype)
    return values
