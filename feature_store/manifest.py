"""What a generation consists of: the manifest, and `CURRENT`, the one file that changes."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from feature_store.errors import StoreCorruptError, StoreNotFoundError, StoreVersionError
from feature_store.tables import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORMAT = "vatun-store"
CURRENT = "CURRENT"
MANIFEST = "MANIFEST.json"

_VERSION = re.compile(r"[0-9]{1,6}\.[0-9]{1,6}")
_SECTIONS = ("model", "input", "dataset", "view", "capture", "train", "simulate", "provenance")
_CURRENT_LINE = re.compile(rb"gen/([0-9]{6,}) ([0-9a-f]{64})\n")


@dataclass(frozen=True)
class Part:
    """One immutable file; ``path`` is relative to the store, ``rows`` is 0 for other files."""

    path: str
    bytes: int
    sha256: str
    rows: int = 0


@dataclass(frozen=True)
class TableEntry:
    """One table of a generation.

    Parameters
    ----------
    stage : str
        Stage that wrote it.
    fingerprint : str
        Hash of its content, whatever the compression, the batches and the time of writing.
    lineage : mapping of str to str
        Fingerprints of what it was made from.
    parts : tuple of Part
        Parquet files in order.
    """

    stage: str
    fingerprint: str
    lineage: Mapping[str, str]
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        """Size of the files."""
        return sum(part.bytes for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "stage": self.stage,
            "fingerprint": self.fingerprint,
            "rows": self.rows,
            "lineage": dict(self.lineage),
            "parts": [asdict(part) for part in self.parts],
        }


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything a generation holds; files of earlier generations are named, never copied.

    Parameters
    ----------
    generation : int
        Number, ascending by one with every commit.
    created : str
        Time of the commit, ISO 8601, UTC.
    tables, files : mapping
        Tables and other files (such as the weights) by name.
    info : mapping
        Sections that the stages set: model, data set, settings, provenance.
    """

    generation: int
    created: str
    tables: Mapping[str, TableEntry] = field(default_factory=dict)
    files: Mapping[str, Part] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    schema_version: str = SCHEMA_VERSION

    def parts(self) -> list[Part]:
        """Return every file that this generation names."""
        return [
            *(part for entry in self.tables.values() for part in entry.parts),
            *self.files.values(),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "format": FORMAT,
            "schema_version": self.schema_version,
            "generation": self.generation,
            "created": self.created,
            "tables": {name: entry.to_dict() for name, entry in sorted(self.tables.items())},
            "files": {name: _file_dict(part) for name, part in sorted(self.files.items())},
            "info": self.info,
        }

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        return (text + "\n").encode()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Manifest:
        """Rebuild from ``to_dict``; raises KeyError, TypeError or ValueError when damaged."""
        tables = {
            name: TableEntry(
                stage=entry["stage"],
                fingerprint=entry["fingerprint"],
                lineage=dict(entry["lineage"]),
                parts=tuple(_part(part) for part in entry["parts"]),
            )
            for name, entry in data["tables"].items()
        }
        files = {name: _part(part) for name, part in data["files"].items()}
        for section in _SECTIONS:
            if not isinstance(data["info"].get(section, {}), dict):
                msg = f"section {section!r} of its info is not an object"
                raise TypeError(msg)
        return cls(
            generation=int(data["generation"]),
            created=str(data["created"]),
            tables=tables,
            files=files,
            info=dict(data["info"]),
            schema_version=data["schema_version"],
        )


def _file_dict(part: Part) -> dict[str, Any]:
    return {"path": part.path, "bytes": part.bytes, "sha256": part.sha256}


def _part(data: Mapping[str, Any]) -> Part:
    part = Part(
        str(data["path"]), int(data["bytes"]), str(data["sha256"]), int(data.get("rows", 0))
    )
    pure = PurePosixPath(part.path)
    if "\0" in part.path or not part.path.isprintable():
        msg = f"path {part.path!r} is no name of a file"
        raise ValueError(msg)
    if pure.is_absolute() or "\\" in part.path or ".." in pure.parts or pure.parts[0] != "gen":
        msg = f"path {part.path!r} leaves the store"
        raise ValueError(msg)
    return part


def _major(version: object) -> int:
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        msg = f"schema_version is {version!r}"
        raise ValueError(msg)
    return int(version.partition(".")[0])


def generation_folder(generation: int) -> str:
    """Return the folder of a generation, relative to the store."""
    return f"gen/{generation:06d}"


def current_bytes(generation: int, manifest: bytes) -> bytes:
    """Return the content of `CURRENT` for a manifest."""
    return f"{generation_folder(generation)} {hashlib.sha256(manifest).hexdigest()}\n".encode()


def read_current(root: Path) -> tuple[int, str]:
    """Read `CURRENT`.

    Parameters
    ----------
    root : Path
        The store.

    Returns
    -------
    tuple of int and str
        Number of the current generation, and the hash of its manifest.

    Raises
    ------
    StoreNotFoundError
        When nothing was committed here.
    StoreCorruptError
        When `CURRENT` is not as it was written.
    """
    path = root / CURRENT
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        msg = f"{root} holds no store; build one with `doit store:{root.name}`"
        raise StoreNotFoundError(msg) from None
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror})"
        raise StoreCorruptError(msg) from None
    match = _CURRENT_LINE.fullmatch(content)
    if match is None or generation_folder(int(match[1])) != f"gen/{match[1].decode()}":
        msg = (
            f"{path} is damaged; restore it from a backup, or remove {root} and run "
            f"`doit store:{root.name}`"
        )
        raise StoreCorruptError(msg)
    return int(match[1]), match[2].decode()


def load_manifest(path: Path, sha256: str | None = None) -> Manifest:
    """Read a manifest.

    Parameters
    ----------
    path : Path
        ``<store>/gen/<number>/MANIFEST.json``.
    sha256 : str or None
        Its hash, when it must be exactly the one that was committed.

    Returns
    -------
    Manifest
        With every path inside the store.

    Raises
    ------
    StoreCorruptError
        When it is missing or damaged, or names a file outside the store.
    StoreVersionError
        When a newer major version wrote it.
    """
    root = path.parents[2]
    cure = f"restore it from a backup, or remove {root} and run `doit store:{root.name}`"
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}), though {CURRENT} names it; {cure}"
        raise StoreCorruptError(msg) from None
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        msg = f"{path} is damaged: its hash is not the one in {CURRENT}; {cure}"
        raise StoreCorruptError(msg)
    try:
        data = json.loads(content)
        known = isinstance(data, dict) and data["format"] == FORMAT
        version = data["schema_version"] if known else ""
        major = _major(version)
    except (ValueError, KeyError) as error:
        msg = f"{path} is damaged: it is not a manifest ({error}); {cure}"
        raise StoreCorruptError(msg) from None
    if major > int(SCHEMA_VERSION.partition(".")[0]):
        msg = (
            f"{root} was written with schema {version}, and this VATUN reads {SCHEMA_VERSION}: "
            "update VATUN, or open the store with the version that wrote it"
        )
        raise StoreVersionError(msg)
    try:
        return Manifest.from_dict(data)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        msg = f"{path} is damaged: {error}; {cure}"
        raise StoreCorruptError(msg) from None


def load_current(root: Path) -> Manifest:
    """Resolve `CURRENT` once and read the manifest that it names.

    Parameters
    ----------
    root : Path
        The store.

    Returns
    -------
    Manifest
        The current generation.

    Raises
    ------
    StoreCorruptError
        When the manifest is of another generation than `CURRENT` says.
    """
    generation, sha256 = read_current(root)
    path = root / generation_folder(generation) / MANIFEST
    manifest = load_manifest(path, sha256)
    if manifest.generation != generation:
        msg = f"{path} is of generation {manifest.generation}; restore {root} from a backup"
        raise StoreCorruptError(msg)
    return manifest
