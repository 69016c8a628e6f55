"""Build feature stores: `doit list --all`, `doit`, `doit store:cifar10_vgg16`."""

from pathlib import Path

from pipelines.errors import ProjectError
from pipelines.project import Project
from pipelines.stages import broken_task, tasks

DOIT_CONFIG = {"default_tasks": ["store:digits"]}


def task_stores():
    """Bring the feature store of every project up to date."""
    for path in sorted((Path(__file__).parent / "projects").glob("*.toml")):
        try:
            project = Project.load(path)
        except ProjectError as error:
            yield broken_task(path, str(error))
        else:
            yield from tasks(project)
