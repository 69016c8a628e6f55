"""Errors of project files and stages; each ends a command with one line."""

from vatun.errors import VatunError


class ProjectError(VatunError, ValueError):
    """A project file holds something that is not allowed."""


class DataError(VatunError):
    """The data of a project is missing, unreadable, or not what the project says it is."""


class StageError(VatunError):
    """A stage cannot go on; the message says what to change or run."""
