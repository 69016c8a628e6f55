"""Writing a store: one writer, a new generation per commit, nothing visible before `CURRENT`."""

from __future__ import annotations

import copy
import json
import re
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_store.durable import copy_file, hash_file, remove_files, write_bytes
from feature_store.errors import StoreError, StoreNotFoundError, TableMissingError
from feature_store.lock import WriterLock
from feature_store.manifest import (
    CURRENT,
    MANIFEST,
    Manifest,
    Part,
    TableEntry,
    current_bytes,
    generation_folder,
    load_current,
    read_current,
)
from feature_store.parts import TableWriter
from feature_store.shards import Shards, open_shards
from feature_store.store import Store
from feature_store.sweep import GRACE_SECONDS, sweep_generations, sweep_leftovers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    import pyarrow as pa

_NAME = re.compile(r"[a-z0-9_]+")


class StoreWriter:
    """The one writer of a store; a context manager that holds its lock.

    Parameters
    ----------
    root : Path
        The store.
    lock : WriterLock
        Held.
    grace_seconds : float
        How long a generation outlives its replacement, for readers that opened it.
    """

    def __init__(
        self, root: Path, lock: WriterLock, *, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self.path = root
        self._lock = lock
        self._grace_seconds = grace_seconds

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        wait: bool = False,
        on_wait: Callable[[str], None] | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> StoreWriter:
        """Take the lock of a store, creating its folder, and sweep what a killed writer left.

        Parameters
        ----------
        path : str or Path
            Folder of the store.
        wait : bool
            Whether to wait for another writer, or refuse at once.
        on_wait : callable or None
            Called once with a sentence naming the other writer.
        grace_seconds : float
            How long a generation outlives its replacement, for readers that opened it.

        Returns
        -------
        StoreWriter
            Close it, or use it as a context manager.

        Raises
        ------
        StoreBusyError
            When another process writes the store and ``wait`` is False.
        StoreCorruptError
            When what is there is damaged.
        """
        root = Path(path).resolve()
        lock = WriterLock(root)
        lock.acquire(wait=wait, on_wait=on_wait)
        writer = cls(root, lock, grace_seconds=grace_seconds)
        try:
            manifest = writer.manifest()
            sweep_leftovers(root, manifest.generation if manifest else 0)
        except BaseException:
            lock.release()
            raise
        return writer

    def close(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def manifest(self) -> Manifest | None:
        """Return the newest committed manifest, or None in a new store."""
        try:
            return load_current(self.path)
        except StoreNotFoundError:
            return None

    def begin(self, stage: str) -> Generation:
        """Start a generation; use it as a context manager, which commits when the block ends.

        Parameters
        ----------
        stage : str
            Who writes, for the message of another writer.

        Returns
        -------
        Generation
            Holds every table of the generation before until it is written again.
        """
        self._lock.note(stage)
        return Generation(self.path, self.manifest(), grace_seconds=self._grace_seconds)

    def shards(self, stage: str, fingerprint: str) -> Shards:
        """Open the durable scratch of a stage.

        Parameters
        ----------
        stage : str
            Name of the stage.
        fingerprint : str
            Hash of all that the shards depend on; shards of other fingerprints are removed.

        Returns
        -------
        Shards
            Finished shards of an interrupted run are in it.
        """
        self._lock.note(stage)
        return open_shards(self.path, stage, fingerprint)

    def fingerprints(self, names: Iterable[str]) -> dict[str, str]:
        """Return the content fingerprints of committed tables or files.

        Parameters
        ----------
        names : iterable of str
            Tables or files.

        Returns
        -------
        dict of str to str
            Fingerprint by name.

        Raises
        ------
        TableMissingError
            When one of them is not in the store.
        """
        manifest = self.manifest()
        known = {} if manifest is None else {k: v.fingerprint for k, v in manifest.tables.items()}
        files = {} if manifest is None else {k: v.sha256 for k, v in manifest.files.items()}
        known = {**files, **known}
        names = list(names)
        missing = [name for name in names if name not in known]
        if missing:
            msg = f"{self.path} does not hold {', '.join(missing)}"
            raise TableMissingError(msg)
        return {name: known[name] for name in names}

    def write_state(self, stage: str, state: Mapping[str, Any]) -> Path:
        """Write ``state/<stage>.json``, which doit compares to decide what runs again.

        The content depends on ``state`` alone, and an equal file is left as it is: put content
        fingerprints in it, never a time.

        Parameters
        ----------
        stage : str
            Name of the stage.
        state : mapping
            Plain JSON data.

        Returns
        -------
        Path
            The file.
        """
        path = self.path / "state" / f"{_checked(stage)}.json"
        content = (json.dumps(state, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()
        if not path.is_file() or path.read_bytes() != content:
            write_bytes(path, content)
        return path

    def store(self) -> Store:
        """Open a reader on the newest generation."""
        return Store.open(self.path)


class Generation:
    """A generation in the making; see ``StoreWriter.begin``.

    Attributes
    ----------
    number : int
        Its number.
    info : dict
        Sections of the manifest, a deep copy of the generation before: change them freely.
    """

    def __init__(
        self, root: Path, previous: Manifest | None, *, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self._root = root
        self._previous = previous or Manifest(generation=0, created="")
        self._grace_seconds = grace_seconds
        self.number = self._previous.generation + 1
        self.info: dict[str, Any] = copy.deepcopy(dict(self._previous.info))
        self._tables: dict[str, TableEntry] = dict(self._previous.tables)
        self._files: dict[str, Part] = dict(self._previous.files)
        self._written: set[str] = set()

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables that the generation would hold if it were committed now."""
        return tuple(self._tables)

    def table(self, name: str, *, lineage: Mapping[str, str] | None = None) -> TableWriter:
        """Write a table piece by piece: ``with generation.table("images") as out: out.append(t)``.

        Parameters
        ----------
        name : str
            Name in the manifest, such as ``"activations/max/003"``.
        lineage : mapping of str to str
            Fingerprints of what it is made from: ``{"data": .., "weights": ..}``, or the name of a
            table with its fingerprint.

        Returns
        -------
        TableWriter
            A context manager.

        Raises
        ------
        StoreError
            When this generation wrote the table already.
        """
        if name in self._written:
            msg = f"table {name!r} is written twice in one generation"
            raise StoreError(msg)
        self._written.add(name)
        return TableWriter(self._root, self._folder, name, lineage or {}, on_finish=self._take)

    def write(
        self, name: str, rows: pa.Table, *, lineage: Mapping[str, str] | None = None
    ) -> None:
        """Write a whole table; see ``table``.

        Parameters
        ----------
        name : str
            Name in the manifest.
        rows : pyarrow.Table
            All rows, in the declared order.
        lineage : mapping of str to str
            Fingerprints of what it is made from.
        """
        with self.table(name, lineage=lineage) as out:
            out.append(rows)

    def drop(self, name: str) -> None:
        """Leave a table or file out of this generation; it need not exist."""
        self._tables.pop(name, None)
        self._files.pop(name, None)

    def drop_prefix(self, prefix: str) -> None:
        """Leave every table whose name starts with ``prefix`` out of this generation."""
        for name in [name for name in self._tables if name.startswith(prefix)]:
            self.drop(name)

    def add_file(self, name: str, source: str | Path) -> None:
        """Copy a file, such as the weights, into the store.

        Parameters
        ----------
        name : str
            Lower-case letters, digits and underscores.
        source : str or Path
            File to copy.
        """
        source = Path(source)
        path = f"{self._folder}/files/{_checked(name)}{source.suffix}"
        size, sha256 = copy_file(source, self._root / path)
        part = Part(path, size, sha256)
        before = self._previous.files.get(name)
        if before is not None and before.sha256 == sha256 and self._is_whole(before):
            remove_files([self._root / path])
            part = before
        self._files[name] = part

    def __enter__(self) -> Generation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._abandon()
            return
        try:
            self._commit()
        except BaseException:
            self._abandon()
            raise

    @property
    def _folder(self) -> str:
        return generation_folder(self.number)

    def _take(self, name: str, entry: TableEntry) -> None:
        """Enter a finished table; unchanged content stays in the files that hold it already."""
        before = self._previous.tables.get(name)
        if (
            before is not None
            and before.fingerprint == entry.fingerprint
            and len(before.parts) == len(entry.parts)
            and all(self._is_whole(part) for part in before.parts)
        ):
            remove_files(self._root / part.path for part in entry.parts)
            entry = TableEntry(entry.stage, entry.fingerprint, entry.lineage, before.parts)
        self._tables[name] = entry

    def _is_whole(self, part: Part) -> bool:
        """Whether the file holds what was written; a rerun is also the cure of a damaged one."""
        path = self._root / part.path
        try:
            return path.stat().st_size == part.bytes and hash_file(path) == part.sha256
        except OSError:
            return False

    def _commit(self) -> None:
        manifest = Manifest(
            generation=self.number,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            tables=self._tables,
            files=self._files,
            info=self.info,
        )
        content = manifest.to_bytes()
        write_bytes(self._root / self._folder / MANIFEST, content)
        write_bytes(self._root / CURRENT, current_bytes(self.number, content))
        # A leftover costs disk, not truth: the next commit tries again.
        with suppress(OSError, StoreError):
            sweep_generations(self._root, self.number, grace_seconds=self._grace_seconds)

    def _abandon(self) -> None:
        """Remove what was written, unless `CURRENT` was replaced and only the last step failed."""
        with suppress(StoreError):
            if read_current(self._root)[0] == self.number:
                return
        shutil.rmtree(self._root / self._folder, ignore_errors=True)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        msg = f"{name!r} cannot be a name in a store: use lower-case letters, digits and '_'"
        raise StoreError(msg)
    return name
