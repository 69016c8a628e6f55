"""One writer per store: a file lock, beside which the holder says who it is."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import filelock

from feature_store.durable import TEMPORARY, make_folder
from feature_store.errors import StoreBusyError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_POLL_SECONDS = 0.2


class WriterLock:
    """The right to write a store; the system releases it when the process ends, however it ends.

    Parameters
    ----------
    root : Path
        The store; its folder is created.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        # Not a singleton, not per thread: every StoreWriter stands for itself.
        self._lock = filelock.FileLock(root / ".lock", thread_local=False)
        self._holder = root / ".lock.json"
        try:
            make_folder(root)
        except OSError as error:
            raise self._unwritable(error) from None

    def acquire(self, *, wait: bool = False, on_wait: Callable[[str], None] | None = None) -> None:
        """Take the lock.

        Parameters
        ----------
        wait : bool
            Whether to wait for the holder, or to refuse at once.
        on_wait : callable or None
            Called once with a sentence naming the holder, when waiting begins.

        Raises
        ------
        StoreBusyError
            When another process holds it and ``wait`` is False; names pid, host and stage.
        """
        if not self._try():
            if not wait:
                msg = f"{self.describe_holder()}; wait until it has ended, or stop it"
                raise StoreBusyError(msg)
            if on_wait is not None:
                on_wait(f"waiting: {self.describe_holder()}")
            while not self._try():
                time.sleep(_POLL_SECONDS)
        self.note(None)

    def note(self, stage: str | None) -> None:
        """Write down who holds the lock and for which stage; not durable, only informative."""
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "stage": stage,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        beside = self._holder.with_name(f".lock.json{TEMPORARY}{os.getpid()}")
        # Only a courtesy to other writers: a full disk must not stop the work here.
        with suppress(OSError):
            beside.write_text(json.dumps(holder), encoding="utf-8")
            beside.replace(self._holder)

    def release(self) -> None:
        """Give the lock back."""
        with suppress(OSError):
            self._holder.unlink(missing_ok=True)
        self._lock.release()

    def describe_holder(self) -> str:
        """Return a sentence that names who writes the store."""
        try:
            holder = json.loads(self._holder.read_text(encoding="utf-8"))
            who = f"process {int(holder['pid'])} on {holder['host']}"
            stage = f" ({holder['stage']})" if holder.get("stage") else ""
            return f"{self._root} is being written by {who}{stage} since {holder['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return f"{self._root} is being written by another process"

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(f"{self._root} cannot be written: {error.strerror or error}")

    def _try(self) -> bool:
        try:
            self._lock.acquire(blocking=False)
        except filelock.Timeout:
            return False
        except OSError as error:
            raise self._unwritable(error) from None
        return True
