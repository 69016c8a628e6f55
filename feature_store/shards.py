"""Durable scratch of a stage: a finished shard is published atomically, never computed again."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.durable import DurableFile, write_bytes
from feature_store.errors import StoreCorruptError, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")


class Shards:
    """Shards of one stage for one fingerprint of everything that they depend on.

    Worker processes may each open the same folder: publishing is atomic, and a shard is a pure
    function of its key, so the last of two equal ones wins.

    Parameters
    ----------
    folder : Path
        ``<store>/state/shards/<stage>/<fingerprint>``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keys(self) -> tuple[str, ...]:
        """Return the keys of the finished shards, sorted."""
        names = sorted(path.stem for path in self.folder.glob("*.json"))
        return tuple(name for name in names if self.done(name))

    def done(self, key: str) -> bool:
        """Whether the shard was published and its files have the size they should have."""
        return self._sidecar(key) is not None

    def publish(
        self, key: str, tables: Mapping[str, pa.Table], meta: Mapping[str, Any] | None = None
    ) -> None:
        """Make a finished shard durable; it counts as done only when all of it is on disk.

        Parameters
        ----------
        key : str
            Letters, digits, dots, dashes and underscores.
        tables : mapping of str to pyarrow.Table
            Any tables; they need not be declared.
        meta : mapping or None
            Plain JSON data about the shard.
        """
        files = {}
        for name, table in tables.items():
            path = self._path(key, f".{_key(name.replace('/', '__'))}.parquet")
            files[name] = {"file": path.name, "rows": table.num_rows, **_write(path, table)}
        body = {"files": files, "meta": dict(meta or {})}
        content = json.dumps({**body, "check": _check(body)}, sort_keys=True)
        write_bytes(self._path(key, ".json"), content.encode())

    def read(self, key: str, name: str) -> pa.Table:
        """Return one table of a finished shard; its hash is checked.

        Parameters
        ----------
        key, name : str
            Shard and table.

        Returns
        -------
        pyarrow.Table
            As it was published.

        Raises
        ------
        StoreError
            When the shard or the table does not exist.
        StoreCorruptError
            When its bytes are not what was written; the shard then no longer counts as done.
        """
        files = self._need(key)["files"]
        if name not in files:
            msg = f"shard {key!r} has no table {name!r}; it has {', '.join(files)}"
            raise StoreError(msg)
        path = self.folder / files[name]["file"]
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != files[name]["sha256"]:
            self._path(key, ".json").unlink(missing_ok=True)
            msg = f"{path} is damaged; run the same command again, only this shard is recomputed"
            raise StoreCorruptError(msg)
        return pq.read_table(pa.BufferReader(data))

    def meta(self, key: str) -> dict[str, Any]:
        """Return what was noted about a finished shard."""
        return dict(self._need(key)["meta"])

    def clear(self) -> None:
        """Remove all shards, once the tables made of them are committed."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _need(self, key: str) -> dict[str, Any]:
        sidecar = self._sidecar(key)
        if sidecar is None:
            msg = f"shard {key!r} in {self.folder} is not finished"
            raise StoreError(msg)
        return sidecar

    def _sidecar(self, key: str) -> dict[str, Any] | None:
        try:
            data = json.loads(self._path(key, ".json").read_bytes())
            check = data.pop("check")
            whole = check == _check(data) and all(
                (self.folder / file["file"]).stat().st_size == file["bytes"]
                for file in data["files"].values()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return data if whole else None

    def _path(self, key: str, ending: str) -> Path:
        return self.folder / f"{_key(key)}{ending}"


def open_shards(root: Path, stage: str, fingerprint: str) -> Shards:
    """Open the scratch of a stage, removing what was computed under other fingerprints."""
    stage_folder = root / "state" / "shards" / _key(stage)
    for other in stage_folder.iterdir() if stage_folder.is_dir() else ():
        if other.name != fingerprint:
            shutil.rmtree(other, ignore_errors=True)
    return Shards(stage_folder / _key(fingerprint))


def _write(path: Path, table: pa.Table) -> dict[str, Any]:
    # Numbers and bytes of a network hardly repeat, and nobody searches a shard by its statistics.
    repeating = [field.name for field in table.schema if not _is_dense(field.type)]
    with DurableFile(path) as file:
        pq.write_table(
            table,
            file,
            compression="zstd",
            compression_level=1,
            write_page_checksum=True,
            use_dictionary=repeating or False,
            write_statistics=False,
        )
    return {"bytes": file.bytes, "sha256": file.sha256}


def _is_dense(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_fixed_size_binary(kind))


def _check(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _key(text: str) -> str:
    """Return ``text`` when it is safe as a file name.

    Returns
    -------
    str
        The same text.

    Raises
    ------
    StoreError
        When it is not.
    """
    if not _KEY.fullmatch(text):
        msg = f"{text!r} cannot name a shard: use letters, digits, '.', '-' and '_'"
        raise StoreError(msg)
    return text
