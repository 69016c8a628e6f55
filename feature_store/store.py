"""Reading a store: one generation, resolved once, by SQL or table by table."""

from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from feature_store.database import Database, quote_name, quote_text
from feature_store.describe import describe, stale_tables
from feature_store.errors import StoreCorruptError, StoreError, TableMissingError
from feature_store.manifest import Manifest, Part, TableEntry, load_current, read_current
from feature_store.tables import SCHEMA_VERSION, find_table
from feature_store.verify import Problem, verify_generation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    import duckdb
    import pyarrow as pa


class Store:
    """A reader of one generation; later commits do not change what it answers.

    Open it with ``Store.open(path)``; it is a context manager and may be shared by threads.

    Examples
    --------
    >>> with Store.open("stores/digits") as store:  # doctest: +SKIP
    ...     store.table("predictions").limit(3).df()
    ...     store.sql("SELECT avg(confidence) FROM predictions WHERE is_correct = ?", True).df()
    """

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.path = root
        self._manifest = manifest
        self.manifest: Mapping[str, Any] = MappingProxyType(manifest.to_dict())
        self._class_names: tuple[str, ...] | None = None
        views = {
            view_name(name): _view(root, name, entry, manifest.schema_version)
            for name, entry in manifest.tables.items()
        }
        files = [
            str(root / part.path) for entry in manifest.tables.values() for part in entry.parts
        ]
        self._database = Database(views, files)

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open the newest generation of a store; imports neither torch nor a view library.

        Parameters
        ----------
        path : str or Path
            Folder of the store.

        Returns
        -------
        Store
            Close it, or use it as a context manager.

        Raises
        ------
        StoreNotFoundError
            When nothing was committed there.
        StoreVersionError
            When a newer major version wrote it.
        StoreCorruptError
            When a file is missing, has another size than it was written with, or leaves the store.
        """
        root = Path(path).resolve()
        manifest = load_current(root)
        for part in manifest.parts():
            _check_size(root, part)
        try:
            return cls(root, manifest)
        except StoreCorruptError as error:
            # DuckDB does not always say in which file it could not read the footer.
            problems = [str(problem) for problem in verify_generation(root, manifest)]
            msg = f"{root} is damaged: {'; '.join(problems) or error}"
            raise StoreCorruptError(msg) from None

    def close(self) -> None:
        """Close the database; relations made from this store no longer answer."""
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Store {self.name} generation {self.generation}, {len(self.tables)} tables>"

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.path.name

    @property
    def generation(self) -> int:
        """Number of the generation that this reader sees."""
        return self._manifest.generation

    @property
    def info(self) -> Mapping[str, Any]:
        """Sections that the stages set: model, input, data set, settings, provenance."""
        return MappingProxyType(dict(self._manifest.info))

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables, as in the manifest."""
        return tuple(sorted(self._manifest.tables))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes by class index."""
        if self._class_names is None:
            names = self.arrow("SELECT class_name FROM classes ORDER BY class_index")
            self._class_names = tuple(names["class_name"].to_pylist())
        return self._class_names

    def has(self, name: str) -> bool:
        """Whether the generation holds a table."""
        return name in self._manifest.tables

    def entry(self, name: str) -> TableEntry:
        """Return what the manifest says about a table.

        Parameters
        ----------
        name : str
            Name in the manifest.

        Returns
        -------
        TableEntry
            Stage, fingerprint, lineage and parts.

        Raises
        ------
        TableMissingError
            Naming the command that writes it.
        """
        if not isinstance(name, str):
            msg = f"the name of a table is text, not {name!r}"
            raise TableMissingError(msg)
        try:
            return self._manifest.tables[name]
        except KeyError:
            raise self._missing(name) from None

    def table(self, name: str) -> duckdb.DuckDBPyRelation:
        """Return a whole table, lazily.

        Parameters
        ----------
        name : str
            Name in the manifest, such as ``"paths/balanced"``.

        Returns
        -------
        duckdb.DuckDBPyRelation
            With ``.df()``, ``.to_arrow_table()`` and all of DuckDB's relational methods.
        """
        self.entry(name)
        return self._database.query(f"SELECT * FROM {quote_name(view_name(name))}")

    def sql(self, query: str, *parameters: object) -> duckdb.DuckDBPyRelation:
        """Ask one reading SQL statement; a slash in a table's name is written ``__``.

        Parameters
        ----------
        query : str
            One statement; values are ``?`` or ``$1``.
        *parameters : object
            The values.

        Returns
        -------
        duckdb.DuckDBPyRelation
            With ``.df()``, ``.fetchall()`` and ``.to_arrow_table()``.

        Raises
        ------
        QueryError
            When the statement is wrong or would do more than read.
        """
        return self._database.query(query, parameters)

    def arrow(self, query: str, *parameters: object, timeout: float | None = None) -> pa.Table:
        """Ask one reading SQL statement and return all rows.

        Parameters
        ----------
        query : str
            One statement; values are ``?`` or ``$1``.
        *parameters : object
            The values.
        timeout : float or None
            Deadline in seconds.

        Returns
        -------
        pyarrow.Table
            All rows.

        Raises
        ------
        QueryError
            When the statement is wrong or would do more than read.
        QueryTimeoutError
            When the deadline passed.
        TypeError, ValueError
            When ``timeout`` is no number, or none of seconds that can be waited.
        """
        return self._database.arrow(query, parameters, timeout=timeout)

    def file(self, name: str) -> Path:
        """Return the path of a stored file.

        Parameters
        ----------
        name : str
            Such as ``"weights"``.

        Returns
        -------
        Path
            Inside the store.

        Raises
        ------
        TableMissingError
            When the generation holds no such file.
        """
        try:
            return self.path / self._manifest.files[name].path
        except KeyError:
            known = ", ".join(self._manifest.files) or "none"
            msg = f"{self.path} holds no file {name!r}; its files: {known}"
            raise TableMissingError(msg) from None

    def verify(self, *, progress: Callable[[int, int], None] | None = None) -> list[Problem]:
        """Compare every byte of this generation with the hashes taken when it was written.

        Parameters
        ----------
        progress : callable or None
            Called with the bytes done and the bytes in all.

        Returns
        -------
        list of Problem
            Empty when all is well.
        """
        return verify_generation(self.path, self._manifest, progress=progress)

    def stale_tables(self) -> dict[str, str]:
        """Return the tables that descend from other data or weights than the rest, and why."""
        return stale_tables(self._manifest, self.name)

    def describe(self) -> dict[str, Any]:
        """Return what `vatun info --json` prints: tables, sizes, accuracy by split, provenance."""
        return describe(self, self._manifest)

    def newer_generation(self) -> int | None:
        """Return the number of a generation committed since this one was opened, or None."""
        try:
            number, _ = read_current(self.path)
        except StoreError:
            return None
        return number if number > self.generation else None

    def _missing(self, name: str) -> TableMissingError:
        stage = find_table(name).stage
        command = f"doit {stage}:{self.name}"
        msg = f"table {name!r} is missing from {self.path}; run `{command}`"
        return TableMissingError(msg, command=command)


def view_name(name: str) -> str:
    """Return the SQL name of a table: ``paths/balanced`` is ``paths__balanced``."""
    return name.replace("/", "__")


def _check_size(root: Path, part: Part) -> None:
    path = root / part.path
    try:
        size = path.stat().st_size
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}), though the store needs it"
        raise StoreCorruptError(msg) from None
    if not Path(os.path.realpath(path)).is_relative_to(root):
        msg = f"{path} is a link that leaves the store"
        raise StoreCorruptError(msg)
    if size != part.bytes:
        msg = f"{path} has {size:,} bytes, {part.bytes:,} were written; run `vatun verify {root}`"
        raise StoreCorruptError(msg)


def _view(root: Path, name: str, entry: TableEntry, version: str) -> str:
    """Return the SELECT behind a view; columns that an older minor version lacks get defaults."""
    files = ", ".join(quote_text(str(root / part.path)) for part in entry.parts)
    added = ""
    if version != SCHEMA_VERSION:
        for column in find_table(name).columns:
            if _minor(column.since) > _minor(version) and not column.digits:
                default = "NULL" if column.default is None else quote_text(str(column.default))
                added += f", CAST({default} AS {_sql_type(column.type)}) AS {column.name}"
    return f"SELECT *{added} FROM read_parquet([{files}])"


def _minor(version: str) -> int:
    return int(version.partition(".")[2] or 0)


def _sql_type(data_type: pa.DataType) -> str:
    names = {
        "int8": "TINYINT",
        "int16": "SMALLINT",
        "int32": "INTEGER",
        "float": "FLOAT",
        "double": "DOUBLE",
        "string": "VARCHAR",
        "bool": "BOOLEAN",
    }
    return names[str(data_type)]
