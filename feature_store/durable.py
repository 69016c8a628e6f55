"""Files that survive a kill and a power cut: written beside, synchronised, then renamed.

Every byte of a store passes through this module by ``os.write``, ``os.fsync`` and ``os.replace``,
so that the tests can fail each single call and record the order of all of them.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from feature_store.errors import DiskFullError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

TEMPORARY = ".tmp-"
"""Part of the name of every unfinished file; nobody reads them, the next writer sweeps them."""

_CHUNK = 1 << 20
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def sync_folder(folder: Path) -> None:
    """Make the names inside ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create ``folder`` and its missing parents, and make each new name durable in its parent."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with _room_for(folder):
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


class DurableFile(io.RawIOBase):
    """A new file that appears under its name only when complete, and is hashed while written.

    Use it as a context manager: an error inside leaves neither the file nor its temporary sibling.

    Parameters
    ----------
    path : Path
        Where the file appears on success; an existing file is replaced.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.bytes = 0
        self._hash = hashlib.sha256()
        self._temporary = path.with_name(f".{path.name}{TEMPORARY}{os.getpid()}")
        make_folder(path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with _room_for(path):
            self._descriptor = os.open(self._temporary, flags, 0o644)

    @property
    def sha256(self) -> str:
        """Hash of what was written so far, hexadecimal."""
        return self._hash.hexdigest()

    def writable(self) -> bool:
        """Tell pyarrow that this is an output."""
        return True

    def write(self, data: Any, /) -> int:
        """Write all of ``data``, whatever the system takes at once.

        Returns
        -------
        int
            Number of bytes. After ``discard`` they go nowhere: a Parquet writer that is given up
            still wants to write its footer.
        """
        view = memoryview(data).cast("B")
        if self._descriptor < 0:
            return len(view)
        rest = view
        with _room_for(self.path, len(view)):
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        self._hash.update(view)
        self.bytes += len(view)
        return len(view)

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self.bytes

    def __enter__(self) -> DurableFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.publish()
        else:
            self.discard()

    def publish(self) -> None:
        """Synchronise the file, give it its name, synchronise the folder.

        Raises
        ------
        OSError
            When the system refuses; the temporary file is removed.
        """
        try:
            with _room_for(self.path, self.bytes):
                os.fsync(self._descriptor)
                self._close_descriptor()
                os.replace(self._temporary, self.path)  # noqa: PTH105 - what the tests fail
                sync_folder(self.path.parent)
        except OSError:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove what was written."""
        self._close_descriptor()
        self._temporary.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file; what was not published is removed."""
        if self._descriptor >= 0:
            self.discard()
        super().close()

    def _close_descriptor(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


@contextmanager
def _room_for(path: Path, needed: int = 0) -> Iterator[None]:
    """Turn "no space left" into a message with the bytes needed and free."""
    try:
        yield
    except DiskFullError:
        raise
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        folder = next(parent for parent in path.parents if parent.is_dir())
        free = shutil.disk_usage(folder).free
        msg = (
            f"no room for {path}: {needed:,} more bytes are needed, {free:,} bytes are free "
            f"({os.strerror(error.errno)}); free some space and run the same command again, "
            "what is finished is kept"
        )
        raise DiskFullError(error.errno, msg) from error


def write_bytes(path: Path, data: bytes) -> str:
    """Write a whole file durably and return its sha256."""
    with DurableFile(path) as file:
        file.write(data)
    return file.sha256


def copy_file(source: Path, path: Path) -> tuple[int, str]:
    """Copy ``source`` durably to ``path``.

    Parameters
    ----------
    source, path : Path
        From and to.

    Returns
    -------
    tuple of int and str
        Size in bytes and sha256.

    Raises
    ------
    StoreError
        When the source is not a regular file.
    """
    if not source.is_file():
        msg = f"cannot store {source}: it is not a file"
        raise StoreError(msg)
    with source.open("rb") as stream, DurableFile(path) as file:
        while chunk := stream.read(_CHUNK):
            file.write(chunk)
    return file.bytes, file.sha256


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files, ignoring those that are gone; a leftover is swept by a later writer."""
    for path in paths:
        path.unlink(missing_ok=True)
