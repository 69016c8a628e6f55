"""How a command ends before its time: with one line, from its first import on."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

INTERRUPTED = 130


def leave(name: str, message: object, *, status: int) -> None:
    """Say one line and end the process."""
    sys.stdout.flush()
    sys.stderr.write(f"\n{name}: {' '.join(str(message).split())}\n")
    sys.stderr.flush()
    # Threads of torch and of decoders must not keep the process, nor print on its way out.
    os._exit(status)


def interrupted(name: str) -> None:
    """End a stage that was stopped by Ctrl-C."""
    message = "interrupted; what is finished is kept, run it again to go on"
    leave(name, message, status=INTERRUPTED)


def heed_interrupts() -> None:
    """End with one line where Ctrl-C comes while the modules of a stage are still imported."""
    sys.excepthook = _last_words


def _last_words(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        interrupted(Path(sys.argv[0]).stem)
    sys.__excepthook__(kind, error, trace)
