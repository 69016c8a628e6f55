"""A stage as a row of a table, and as a task of doit; never imports torch."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from stat import S_ISDIR
from typing import TYPE_CHECKING, Any

from doit.exceptions import TaskFailed
from doit.tools import config_changed

from pipelines.project import Project

if TYPE_CHECKING:
    from pathlib import Path

Settings = Callable[[Project], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step from the data to the store.

    Parameters
    ----------
    name : str
        A verb; ``python -m pipelines.<name> PROJECT`` runs it.
    doc : str
        One line for ``doit list``.
    settings : callable
        The part of a project that its result depends on.
    reads : tuple of str
        Stages whose tables it reads.
    foreign : callable or None
        A cheap description of what it reads from outside the store: names, sizes, times.
    files : callable or None
        Files outside the store that it reads, compared by content.
    revision : int
        Raised by hand when the meaning of what it writes changes.
    """

    name: str
    doc: str
    settings: Settings
    reads: tuple[str, ...] = ()
    foreign: Callable[[Project], Mapping[str, Any]] | None = None
    files: Callable[[Project], tuple[Path, ...]] | None = None
    revision: int = 1

    def state(self, project: Project) -> Path:
        """Return the file that says what the stage has written."""
        return project.store / "state" / f"{self.name}.json"

    def reads_of(self, project: Project) -> tuple[str, ...]:
        """Return the stages it waits for; ``train`` only where it makes the weights."""
        return tuple(name for name in self.reads if name != "train" or project.trains)

    def resolved(self, project: Project) -> dict[str, Any]:
        """Return the settings and the revision: what decides the result, besides what is read."""
        return {"revision": self.revision, **self.settings(project)}

    def task(self, project: Project, stages: Mapping[str, Stage]) -> dict[str, Any]:
        """Return the task that doit runs."""
        # The whole environment and the terminal are the process's own: it shows its progress.
        command = [sys.executable, "-m", f"pipelines.{self.name}", str(project.path)]
        files = self.files(project) if self.files else ()
        return {
            "basename": self.name,
            "name": project.name,
            "doc": self.doc,
            # Its own process: memory of a GPU is returned, and `doit list` never imports torch.
            "actions": [(run_process, [command])],
            "file_dep": [
                *(str(stages[name].state(project)) for name in self.reads_of(project)),
                # The stage itself says how to get a file that is missing, and better than doit.
                *(str(file) for file in files if file.is_file()),
            ],
            "targets": [str(self.state(project))],
            "uptodate": [_Settled(self, project)],
            "verbosity": 2,
        }


def run_process(command: list[str]) -> TaskFailed | None:
    """Run a stage on this terminal; what went wrong it has said itself, in one line.

    Parameters
    ----------
    command : list of str
        The program and its arguments.

    Returns
    -------
    TaskFailed or None
        For doit, which then runs nothing that follows.
    """
    with subprocess.Popen(command) as process:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            # Ctrl-C reaches the stage too; it says so and ends by itself.
            status = process.wait()
    if status == 0:
        return None
    # No report of doit's own beneath the stage's line.
    return TaskFailed(f"{command[2]} ended with status {status}", report=False)


class _Settled(config_changed):  # type: ignore[misc]
    """Whether the settings and the foreign data are what they were at the last success.

    The digest is taken when the task's turn comes, so that ``doit list`` looks at no data.
    """

    def __init__(self, stage: Stage, project: Project) -> None:
        super().__init__({})
        self._stage = stage
        self._project = project

    def _calc_digest(self) -> str:
        foreign = self._stage.foreign(self._project) if self._stage.foreign else {}
        return digest({"settings": self._stage.resolved(self._project), "foreign": foreign})


def digest(data: Mapping[str, Any]) -> str:
    """Return a short hash of JSON data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:32]


def describe_files(path: Path | None) -> dict[str, Any]:
    """Return names, sizes and times of a file or of all in a folder, as one hash."""
    # No content is read, so that asking whether 100 GB have changed takes seconds.
    if path is None or not path.exists():
        return {"present": False}
    hasher = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        try:
            status = file.stat()
        except OSError:
            # A dangling link is told apart by its name alone.
            status = file.lstat()
        name = file.relative_to(path).as_posix()
        if not S_ISDIR(status.st_mode):
            line = f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n"
            hasher.update(line.encode(errors="surrogateescape"))
    return {"present": True, "files": hasher.hexdigest()[:32]}
