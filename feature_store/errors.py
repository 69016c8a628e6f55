"""Errors of the store: each is named for its situation and says what to run."""


class StoreError(Exception):
    """Base of every error that ``feature_store`` raises on purpose."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """There is no store in this folder, or nothing has been committed to it yet."""


class StoreVersionError(StoreError):
    """The store was written by a newer major version of the schema than this program reads."""


class StoreCorruptError(StoreError):
    """A file of the store is missing, cut short, or does not hold what was written."""


class StoreBusyError(StoreError):
    """Another process is writing this store; the command line answers with exit code 75."""


class StoreClosedError(StoreError, ValueError):
    """The store was closed and is asked again."""


class DiskFullError(StoreError, OSError):
    """The disk has no room for what is being written; the previous generation stays readable."""

    def __str__(self) -> str:
        return str(self.args[-1])


class TableMissingError(StoreError, LookupError):
    """A table was not computed yet; the message names the command that writes it.

    Parameters
    ----------
    message : str
        What is missing, and what to run.
    command : str
        The command alone, where there is one.
    """

    def __init__(self, message: str, *, command: str = "") -> None:
        super().__init__(message)
        self.command = command


class ImageNotFoundError(StoreError, LookupError):
    """The store holds no such image, or not what is asked of it."""


class UnknownTableError(StoreError, LookupError):
    """No table of the schema has this name."""


class SchemaError(StoreError, ValueError):
    """Rows to be written do not have the declared columns, types or order."""


class QueryError(StoreError, ValueError):
    """A query is not a single reading statement, is wrong, or asks for what is not there."""


class QueryTimeoutError(StoreError, TimeoutError):
    """A query was stopped at its deadline."""
