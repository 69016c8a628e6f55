"""Rows are held to what the schema declares: columns, types, missing values, order."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_store.errors import SchemaError

if TYPE_CHECKING:
    from feature_store.declare import Column, Table


def conform(name: str, table: Table, rows: pa.Table, schema: pa.Schema | None = None) -> pa.Table:
    """Return ``rows`` in the declared column order, with absent nullable columns as nulls.

    Parameters
    ----------
    name : str
        Name of the table, for messages.
    table : Table
        Declaration.
    rows : pyarrow.Table
        Rows to be written.
    schema : pyarrow.Schema or None
        Schema of the rows before, which these must share.

    Returns
    -------
    pyarrow.Table
        Same values; the schema carries notes and limits.

    Raises
    ------
    SchemaError
        Naming the column, what it is and what it should be.
    """
    expected = schema or _expected(name, table, rows)
    _refuse_unknown(name, expected, rows)
    given = set(rows.column_names)
    optional = {column.name for column in table.columns if column.nullable and not column.digits}
    columns = [
        pa.nulls(rows.num_rows, field.type)
        if field.name in optional and field.name not in given
        else _column(name, field, rows, given)
        for field in expected
    ]
    return pa.Table.from_arrays(columns, schema=expected)


def sort_table(table: Table, rows: pa.Table) -> pa.Table:
    """Return ``rows`` in the declared order of ``table``."""
    keys = [_key(column) for column in table.sort]
    order = [(name, "descending" if down else "ascending") for name, down in keys]
    return rows.sort_by(order) if order else rows


def _expected(name: str, table: Table, rows: pa.Table) -> pa.Schema:
    """Return the schema of the table at the width of these rows."""
    family = table.family
    if family is None:
        return table.schema()
    single = {column.name for column in table.columns if not column.digits}
    found = [column for column in rows.column_names if column not in single]
    if not found:
        msg = f"table {name!r}: there is no column {family.names(1)[0]!r}"
        raise SchemaError(msg)
    return table.schema(len(found), _family_type(name, family, rows.schema.field(found[0]).type))


def _family_type(name: str, family: Column, found: pa.DataType) -> pa.DataType:
    allowed = (family.type, *family.alternatives)
    if found not in allowed:
        types = " or ".join(str(kind) for kind in allowed)
        msg = f"table {name!r}: columns {family.names(1)[0]}.. are {found}, must be {types}"
        raise SchemaError(msg)
    return found


def _refuse_unknown(name: str, expected: pa.Schema, rows: pa.Table) -> None:
    names = Counter(rows.column_names)
    known_names = set(expected.names)
    unknown = [column for column in names if column not in known_names]
    repeated = [column for column, count in names.items() if count > 1]
    if unknown or repeated:
        wrong = ", ".join(repr(column) for column in (unknown or repeated)[:5])
        known = ", ".join(expected.names[:12]) + (", .." if len(expected.names) > 12 else "")
        what = "unknown" if unknown else "repeated"
        msg = f"table {name!r}: {what} column {wrong}; its columns are {known}"
        raise SchemaError(msg)


def _column(
    name: str, field: pa.Field, rows: pa.Table, given: set[str]
) -> pa.ChunkedArray | pa.Array:
    if field.name not in given:
        msg = f"table {name!r}: column {field.name!r} is missing"
        raise SchemaError(msg)
    column = rows.column(field.name)
    if column.type == pa.null() and field.nullable:
        return pa.nulls(rows.num_rows, field.type)
    if not column.type.equals(field.type):
        msg = f"table {name!r}: column {field.name!r} is {column.type}, must be {field.type}"
        raise SchemaError(msg)
    if column.null_count and not field.nullable:
        row = pc.index(pc.is_null(column), value=True).as_py()
        msg = f"table {name!r}: column {field.name!r} has no value in row {row}"
        raise SchemaError(msg)
    return column


class SortCheck:
    """Checks that rows ascend by the declared key, also from one batch to the next.

    Parameters
    ----------
    name : str
        Name of the table, for messages.
    table : Table
        Declaration of the key.
    """

    def __init__(self, name: str, table: Table) -> None:
        self._name = name
        self._keys = [_key(column) for column in table.sort]
        self._unique = table.unique
        self._last: pa.Table | None = None
        self._rows = 0

    def check(self, rows: pa.Table) -> None:
        """Check a batch of at least one row.

        Raises
        ------
        SchemaError
            Naming the first row that is out of order or repeated.
        """
        if not self._keys:
            return
        keys = rows.select([name for name, _ in self._keys])
        joined = keys if self._last is None else pa.concat_tables([self._last, keys])
        wrong = self._wrong(joined)
        if wrong.any():
            place = int(np.argmax(wrong)) + 1
            row = self._rows + place - (joined.num_rows - keys.num_rows)
            before, here = (joined.slice(place - step, 1).to_pylist()[0] for step in (1, 0))
            order = ", ".join(f"{name} down" if down else name for name, down in self._keys)
            kind = "repeats the key of" if before == here else "must not follow"
            msg = f"table {self._name!r}: row {row} {here} {kind} {before}; sort by {order}"
            raise SchemaError(msg)
        self._last = keys.slice(keys.num_rows - 1)
        self._rows += keys.num_rows

    def _wrong(self, keys: pa.Table) -> np.ndarray:
        """Return bool[rows - 1]: whether a row may not follow the one before."""
        count = keys.num_rows - 1
        equal = np.ones(count, bool)
        wrong = np.zeros(count, bool)
        for name, down in self._keys:
            column = keys.column(name)
            before, after = column.slice(0, count), column.slice(1)
            if down:
                before, after = after, before
            wrong |= equal & _flags(pc.greater(before, after))
            equal &= _flags(pc.equal(before, after))
        return wrong | equal if self._unique else wrong


def _flags(values: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.fill_null(values, fill_value=False).to_numpy(), dtype=bool)


def _key(column: str) -> tuple[str, bool]:
    """Split a sort key into its column and whether it descends."""
    return column.removeprefix("-"), column.startswith("-")
