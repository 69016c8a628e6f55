"""Run stages in processes that have imported torch already: forks of one that only imports.

A stage that is started anew spends two seconds of a core on its imports before its first line.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
STAGES = ("ingest", "train", "capture", "paths", "mine", "embed", "simulate")


def call(module: str, *arguments: str, timeout: float = 600.0) -> subprocess.CompletedProcess[str]:
    """Call ``main`` of a module as its command line would; return how its process ended."""
    with tempfile.TemporaryDirectory() as folder:
        out, errors = Path(folder, "out"), Path(folder, "errors")
        process = _server().Process(target=_run, args=(module, arguments, out, errors))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired([module, *arguments], timeout)
        return subprocess.CompletedProcess(
            args=[module, *arguments],
            returncode=process.exitcode,
            stdout=out.read_text(),
            stderr=errors.read_text(),
        )


def run_stage(name: str) -> None:
    """Run one stage as ``python -m pipelines.<name>`` does; its arguments are in ``sys.argv``."""
    from pipelines.runner import main

    main(name, importlib.import_module(f"pipelines.{name}").run)


@cache
def _server() -> multiprocessing.context.ForkServerContext:
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([f"pipelines.{name}" for name in STAGES])
    return server


def _run(module: str, arguments: tuple[str, ...], out: Path, errors: Path) -> None:
    """Be the process: its streams are files, its words are those of the command."""
    for stream, path in ((1, out), (2, errors)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
    os.chdir(ROOT)
    sys.argv = [module, *arguments]
    try:
        name = module.removeprefix("pipelines.")
        if name in STAGES:
            run_stage(name)
        else:
            importlib.import_module(module).main()
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
