"""How a table is declared: its columns with type, unit and limits, its order, its stage."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

ROWS = 65_536
"""Rows of a Parquet row group: the footer of a wide file costs by row group and column."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column, or a numbered family of columns (``digits`` > 0).

    Parameters
    ----------
    name : str
        Name, or for a family the prefix before the number.
    type : pyarrow.DataType
        Type on disk.
    note : str
        What it holds, with its unit.
    low, high : float or None
        Limits of the values, inclusive.
    nullable : bool
        Whether a row may lack it.
    digits : int
        Least number of digits of a family's numbers; 0 for a single column.
    alternatives : tuple of pyarrow.DataType
        Other types that are accepted, all columns of a family alike.
    since : str
        Schema version that brought it.
    default : object
        What a reader sees in stores older than ``since``.
    """

    name: str
    type: pa.DataType
    note: str
    low: float | None = None
    high: float | None = None
    nullable: bool = False
    digits: int = 0
    alternatives: tuple[pa.DataType, ...] = ()
    since: str = "1.0"
    default: Any = None

    def names(self, width: int) -> tuple[str, ...]:
        """Return the column names; ``width`` counts the members of a family."""
        if not self.digits:
            return (self.name,)
        return tuple(f"{self.name}{index:0{self.digits}d}" for index in range(width))

    def fields(self, width: int, data_type: pa.DataType | None = None) -> list[pa.Field]:
        """Return the Arrow fields, with note and limits as metadata."""
        metadata = {"note": self.note}
        if self.low is not None:
            metadata["low"] = f"{self.low:g}"
        if self.high is not None:
            metadata["high"] = f"{self.high:g}"
        return [
            pa.field(name, data_type or self.type, self.nullable, metadata)
            for name in self.names(width)
        ]


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table, or a family of tables whose names hold ``<placeholders>``.

    Parameters
    ----------
    name : str
        Name in the manifest; a placeholder stands for one part of the path.
    stage : str
        Stage that writes it.
    note : str
        What one row is.
    columns : tuple of Column
        In order; at most one family, and it is the last.
    sort : tuple of str
        Columns by which rows ascend (``-name`` descends); strings by their bytes.
    unique : bool
        Whether the sort key identifies a row.
    rows : int
        Rows of a Parquet row group.
    part_by : str or None
        Column each of whose values has a part file of its own.
    """

    name: str
    stage: str
    note: str
    columns: tuple[Column, ...]
    sort: tuple[str, ...] = ()
    unique: bool = False
    rows: int = ROWS
    part_by: str | None = None

    @property
    def family(self) -> Column | None:
        """The numbered family of columns, where the table is wide."""
        last = self.columns[-1]
        return last if last.digits else None

    def schema(self, width: int = 0, data_type: pa.DataType | None = None) -> pa.Schema:
        """Return the Arrow schema.

        Parameters
        ----------
        width : int
            Number of classes, filters, layers or dimensions of a wide table.
        data_type : pyarrow.DataType or None
            Type of the wide columns where it is not the declared one (float32 for a layer whose
            activations overflow float16).

        Returns
        -------
        pyarrow.Schema
            Fields carry note and limits as metadata.
        """
        fields: list[pa.Field] = []
        for column in self.columns:
            fields += column.fields(width, data_type if column.digits else None)
        return pa.schema(fields)

    def matches(self, name: str) -> bool:
        """Whether ``name`` is this table or a member of this family."""
        pattern = re.sub(r"<\w+>", "[a-z0-9_]+", self.name)
        return re.fullmatch(pattern, name) is not None
