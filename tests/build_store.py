"""Build the store of a project file by the real stages, in one process."""

import importlib
import os
import sys
from pathlib import Path

import torch

from pipelines.project import Project
from pipelines.runner import errors_as_lines, run_stage
from pipelines.stages import STAGES


def main() -> None:
    if "OMP_NUM_THREADS" not in os.environ:
        # Sums in another order train another network: the same one on every machine.
        torch.set_num_threads(2)
    project = Project.load(Path(sys.argv[1]))
    names = sys.argv[2:] or [name for name in STAGES if name != "train" or project.trains]
    with errors_as_lines("build_store"):
        for name in names:
            run_stage(name, importlib.import_module(f"pipelines.{name}").run, project=project)
