"""What every stage shares: its process, its lock on the store, its provenance and its state."""

from __future__ import annotations

import argparse
import platform
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from feature_store import Store, StoreBusyError, StoreError
from feature_store.writer import StoreWriter
from pipelines.endings import interrupted, leave
from pipelines.errors import StageError
from pipelines.progress import say
from pipelines.project import Project
from pipelines.stage import Stage, digest
from pipelines.stages import STAGES
from vatun.errors import VatunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from feature_store import Generation, Shards

_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "pyarrow",
    "duckdb",
    "scikit-learn",
    "openTSNE",
    "Pillow",
)


@dataclass(kw_only=True)
class Run:
    """One run of one stage: the project, the open writer, and what the result is made from.

    Parameters
    ----------
    project : Project
        What the project file says.
    stage : Stage
        Which stage it is.
    writer : StoreWriter
        Holds the lock of the store.
    inputs : dict
        Settings, what is read and the foreign data: the result is a function of these.
    scratch : list of Shards
        What may go once the state file is written; before, a kill would lose finished work.
    """

    project: Project
    stage: Stage
    writer: StoreWriter
    inputs: dict[str, Any]
    started: float = field(default_factory=time.time)
    scratch: list[Shards] = field(default_factory=list)

    @property
    def key(self) -> str:
        """A hash of everything that decides the result; the shards of a run are kept under it."""
        return digest(self.inputs)

    def store(self) -> Store:
        """Return a reader of what is committed."""
        return self.writer.store()

    def shards(self) -> Shards:
        """Return the durable scratch of this stage for exactly these inputs."""
        return self.writer.shards(self.stage.name, self.key)

    def lineage(self) -> dict[str, str]:
        """Return what the tables descend from: fingerprints by the name of a table or file."""
        found = {}
        for written in self.inputs["reads"].values():
            found.update(written)
        return found

    @contextmanager
    def commit(self, **facts: Any) -> Iterator[Generation]:
        """Open the next generation; when the block ends it is current, with its provenance.

        Parameters
        ----------
        **facts : JSON data
            Further provenance, such as the device.

        Yields
        ------
        Generation
            To write tables and sections of ``info`` to.
        """
        with self.writer.begin(stage=self.stage.name) as generation:
            yield generation
            provenance = dict(generation.info.get("provenance", {}))
            provenance[self.stage.name] = {
                "settings": self.inputs["settings"],
                "inputs": self.key,
                "reads": self.inputs["reads"],
                "data_fingerprint": digest(self.inputs["foreign"]),
                "seed": self.project.seed,
                "versions": _versions(),
                "started": datetime.fromtimestamp(self.started, tz=UTC).isoformat(
                    timespec="seconds"
                ),
                "seconds": round(time.time() - self.started, 3),
                **facts,
            }
            generation.info["provenance"] = provenance
            generation.info.setdefault("project", self.project.name)

    def finish(self, **written: str) -> None:
        """Leave the state file that doit waits for: hashes of what was written and read.

        Parameters
        ----------
        **written : str
            Hash of anything written besides tables, such as weights.
        """
        manifest = self.writer.manifest()
        tables = {} if manifest is None else manifest.tables
        names = [name for name, entry in tables.items() if entry.stage == self.stage.name]
        state = {
            "stage": self.stage.name,
            "writes": {**self.writer.fingerprints(sorted(names)), **written},
            "reads": self.inputs["reads"],
        }
        self.writer.write_state(self.stage.name, state)


def main(name: str, run: Callable[[Run], Mapping[str, str] | None]) -> None:
    """Run a stage from the command line, in its own process.

    Parameters
    ----------
    name : str
        Name of the stage.
    run : callable
        Does the work and commits it; may return hashes of what it wrote besides tables.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m pipelines.{name}", description=STAGES[name].doc
    )
    parser.add_argument("project", type=Path, help="the project file")
    parser.add_argument("--force", action="store_true", help="run even when nothing has changed")
    arguments = parser.parse_args()
    with errors_as_lines(name):
        # pyarrow imports pandas, where it is installed, at its first conversion. In a thread, with
        # Ctrl-C in the middle, that leaves Python's import lock held, and the process hangs.
        pa.array([0])
        run_stage(name, run, project=Project.load(arguments.project), force=arguments.force)


def run_stage(
    name: str,
    run: Callable[[Run], Mapping[str, str] | None],
    *,
    project: Project,
    force: bool = False,
) -> None:
    """Bring one stage of a project up to date, waiting for the lock of its store.

    Parameters
    ----------
    name : str
        Name of the stage.
    run : callable
        Does the work, see ``main``.
    project : Project
        The project.
    force : bool
        Run even when the store holds the result of exactly these inputs.
    """
    stage = STAGES[name]

    def tell(sentence: str) -> None:
        say(f"{name}: {sentence}")

    with StoreWriter.open(project.store, wait=True, on_wait=tell) as writer:
        inputs = _inputs(stage, project)
        current = Run(project=project, stage=stage, writer=writer, inputs=inputs)
        if not force and _is_done(current):
            say(f"{name}:{project.name} is up to date")
            return
        written = run(current)
        current.finish(**(written or {}))
        for shards in current.scratch:
            shards.clear()
        say(f"{name}:{project.name} took {time.time() - current.started:.1f} s")


@contextmanager
def errors_as_lines(name: str) -> Iterator[None]:
    """End the process with one line instead of a traceback for what is not a fault of ours.

    Yields
    ------
    None
        Exit status 2 for errors that say what to do, 75 for a busy store, 130 for Ctrl-C.
    """
    try:
        yield
    except StoreBusyError as error:
        leave(name, error, status=75)
    except (VatunError, StoreError) as error:
        leave(name, error, status=2)
    except KeyboardInterrupt:
        interrupted(name)


def _inputs(stage: Stage, project: Project) -> dict[str, Any]:
    reads = {}
    for name in stage.reads_of(project):
        reads[name] = read_state(STAGES[name], project)["writes"]
    return {
        "settings": stage.resolved(project),
        "reads": reads,
        "foreign": stage.foreign(project) if stage.foreign else {},
        "files": {
            str(index): _sha256(file)
            for index, file in enumerate(stage.files(project) if stage.files else ())
            # A folder in its place is refused by the stage.
            if file.is_file()
        },
    }


def read_state(stage: Stage, project: Project) -> dict[str, Any]:
    """Return what a stage has left, see ``Run.finish``.

    Returns
    -------
    dict
        ``stage``, ``writes`` and ``reads``.

    Raises
    ------
    StageError
        Naming the command that runs it.
    """
    import json

    try:
        state: dict[str, Any] = json.loads(stage.state(project).read_text())
    except (OSError, ValueError):
        msg = f"{stage.name} has not run yet: run `doit {stage.name}:{project.name}`"
        raise StageError(msg) from None
    return state


def _is_done(run: Run) -> bool:
    """Whether the store already holds the result of exactly these inputs."""
    try:
        state = read_state(run.stage, run.project)
        store = run.store()
    except (StageError, StoreError):
        return False
    done = store.info.get("provenance", {}).get(run.stage.name, {}).get("inputs") == run.key
    tables = store.manifest["tables"]
    return done and all(
        tables.get(name, {}).get("fingerprint", value) == value
        for name, value in state["writes"].items()
    )


def _sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
