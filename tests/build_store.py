"""Build the store of a project file by the real stages, in one process: torch is imported once."""

import importlib
import sys
from pathlib import Path

from pipelines.project import Project
from pipelines.runner import errors_as_lines, run_stage
from pipelines.stages import STAGES


def main() -> None:
    project = Project.load(Path(sys.argv[1]))
    names = sys.argv[2:] or [name for name in STAGES if name != "train" or project.trains]
    with errors_as_lines("build_store"):
        for name in names:
            run_stage(name, importlib.import_module(f"pipelines.{name}").run, project=project)


if __name__ == "__main__":
    main()
