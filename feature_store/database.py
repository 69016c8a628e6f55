"""DuckDB, locked down: views over explicit files of one generation, reading statements only."""

from __future__ import annotations

import re
import tempfile
import threading
import uuid
import weakref
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from feature_store.errors import (
    QueryError,
    QueryTimeoutError,
    StoreClosedError,
    StoreCorruptError,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

_UNREADABLE = frozenset({duckdb.Error, duckdb.IOException, duckdb.SerializationException})
"""What DuckDB raises at a damaged Parquet file; its own base class where the footer is sound."""

_READING = frozenset({duckdb.StatementType.SELECT})
_SNIFF = re.compile(r"\bsniff_csv\W*\(", re.IGNORECASE)
_EXPLAIN = re.compile(r"\s*explain\s+(analyze\s+)?", re.IGNORECASE)


class Database:
    """One connection in memory, whose only data are views over Parquet files.

    Nothing outside the given files can be read, nothing can be written, no extension is loaded,
    and no variable of the calling program is visible to SQL. Safe to use from several threads.

    Parameters
    ----------
    views : mapping of str to sequence of str
        SQL expression of each view, by name.
    files : sequence of str
        The files that may be read.
    """

    def __init__(self, views: Mapping[str, str], files: Sequence[str]) -> None:
        self._views = tuple(views)
        self._lock = threading.Lock()
        self._cursors: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()
        # DuckDB makes it when a query needs it and removes it at the end; two databases in one
        # folder would overwrite each other's pages.
        spill = Path(tempfile.gettempdir()) / f"vatun-duckdb-{uuid.uuid4().hex}"
        self._connection: duckdb.DuckDBPyConnection | None = duckdb.connect(
            ":memory:",
            config={
                "python_enable_replacements": "false",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "temp_directory": str(spill),
            },
        )
        try:
            self._prepare(views, files)
        except BaseException:
            self.close()
            raise

    def _prepare(self, views: Mapping[str, str], files: Sequence[str]) -> None:
        connection = self._connected()
        allowed = ", ".join(quote_text(file) for file in files)
        connection.execute("SET parquet_metadata_cache = true")
        connection.execute(f"SET allowed_paths = [{allowed}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        for name, expression in views.items():
            try:
                connection.execute(f"CREATE VIEW {quote_name(name)} AS {expression}")
            except duckdb.Error as error:
                msg = f"view {name!r} cannot be made: {_message(error)}; run `vatun verify`"
                raise StoreCorruptError(msg) from error

    def query(self, text: str, parameters: Sequence[Any] = ()) -> duckdb.DuckDBPyRelation:
        """Run one reading statement on a cursor of its own.

        Parameters
        ----------
        text : str
            One SELECT (or WITH, FROM, VALUES, DESCRIBE, SUMMARIZE, EXPLAIN) statement.
        parameters : sequence
            Values for ``?`` or ``$1``; never format them into the text.

        Returns
        -------
        duckdb.DuckDBPyRelation
            With ``.df()``, ``.fetchall()`` and ``.to_arrow_table()``.

        Raises
        ------
        QueryError
            When the text is wrong, or would do more than read.
        StoreCorruptError
            When a file cannot be read.
        """
        check_reading(text)
        cursor = self._cursor()
        try:
            relation = cursor.sql(text, params=list(parameters) or None)
        except (duckdb.Error, UnicodeError) as error:
            raise self._reason(error, text) from None
        if relation is None:
            msg = "the query gives no rows"
            raise QueryError(msg)
        return relation

    def arrow(
        self, text: str, parameters: Sequence[Any] = (), *, timeout: float | None = None
    ) -> pa.Table:
        """Run one reading statement to its end.

        Parameters
        ----------
        text : str
            See ``query``.
        parameters : sequence
            See ``query``.
        timeout : float or None
            Deadline in seconds, 0 to ``threading.TIMEOUT_MAX``.

        Returns
        -------
        pyarrow.Table
            All rows.

        Raises
        ------
        QueryError
            When the text is wrong, or would do more than read.
        StoreCorruptError
            When a file cannot be read.
        QueryTimeoutError
            When the deadline passed; the store stays usable.
        TypeError, ValueError
            When ``timeout`` is no number, or none of seconds that can be waited.
        """
        check_reading(text)
        deadline = _deadline(timeout)
        cursor = self._cursor()
        timer = threading.Timer(deadline or 0, cursor.interrupt)
        if deadline is not None:
            timer.start()
        try:
            return cursor.sql(text, params=list(parameters) or None).to_arrow_table()
        except duckdb.InterruptException:
            msg = f"the query was stopped after {deadline:g} s"
            raise QueryTimeoutError(msg) from None
        except (duckdb.Error, UnicodeError) as error:
            raise self._reason(error, text) from None
        finally:
            timer.cancel()
            cursor.close()

    def close(self) -> None:
        """Close the connection and every cursor; relations made from them no longer answer."""
        with self._lock:
            connection, self._connection = self._connection, None
            cursors = list(self._cursors)
        for cursor in cursors:
            cursor.close()
        if connection is not None:
            connection.close()

    def _reason(self, error: Exception, text: str) -> StoreError:
        """Tell a file that cannot be read from a question that cannot be asked."""
        if type(error) not in _UNREADABLE:
            return QueryError(_message(error))
        asked = [name for name in self._views if re.search(rf"\b{re.escape(name)}\b", text)]
        table = " or ".join(asked) or "a table"
        msg = f"{table} cannot be read from its files ({_message(error)}); run `vatun verify`"
        return StoreCorruptError(msg)

    def _connected(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            msg = "this store was closed; open it again with Store.open(path)"
            raise StoreClosedError(msg)
        return self._connection

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            cursor = self._connected().cursor()
            self._cursors.add(cursor)
        return cursor


def check_reading(text: str) -> None:
    """Refuse everything but a single statement that reads.

    Raises
    ------
    QueryError
        Saying what is allowed.
    """
    if not _is_text(text) or _SNIFF.search(text):
        msg = "a query is one SELECT statement as text; functions that read files are disabled"
        raise QueryError(msg)
    try:
        statements = duckdb.extract_statements(text)
    except duckdb.Error as error:
        raise QueryError(_message(error)) from None
    if len(statements) != 1:
        msg = f"one statement at a time, got {len(statements)}"
        raise QueryError(msg)
    kind = statements[0].type
    if kind == duckdb.StatementType.EXPLAIN:
        # EXPLAIN ANALYZE runs what it explains.
        inner, count = _EXPLAIN.subn("", text, count=1)
        if count and not _EXPLAIN.match(inner):
            check_reading(inner)
            return
    if kind not in _READING:
        msg = f"a store is read-only: {kind.name} is refused, use a SELECT statement"
        raise QueryError(msg)


def _deadline(timeout: object) -> float | None:
    """Return seconds, refusing what the timer would fail at in its own thread, unnoticed."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, Real):
        msg = f"timeout is a number of seconds or None, not {timeout!r}"
        raise TypeError(msg)
    if not 0 <= float(timeout) <= threading.TIMEOUT_MAX:
        msg = f"timeout is 0 to {threading.TIMEOUT_MAX:g} seconds, not {timeout!r}"
        raise ValueError(msg)
    return float(timeout)


def _is_text(text: object) -> bool:
    try:
        return isinstance(text, str) and bool(text.encode())
    except UnicodeEncodeError:
        return False


def quote_text(text: str) -> str:
    """Return an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def quote_name(name: str) -> str:
    """Return an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _message(error: Exception) -> str:
    return str(error).strip()
