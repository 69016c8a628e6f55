"""The feature store: Parquet tables, their commit protocol, and every DuckDB query."""

from feature_store.errors import (
    DiskFullError,
    QueryError,
    QueryTimeoutError,
    SchemaError,
    StoreBusyError,
    StoreClosedError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    StoreVersionError,
    TableMissingError,
    UnknownTableError,
)
from feature_store.shards import Shards
from feature_store.store import Store
from feature_store.tables import SCHEMA_VERSION, TABLES
from feature_store.verify import Problem, verify_store
from feature_store.writer import Generation, StoreWriter

__all__ = [
    "SCHEMA_VERSION",
    "TABLES",
    "DiskFullError",
    "Generation",
    "Problem",
    "QueryError",
    "QueryTimeoutError",
    "SchemaError",
    "Shards",
    "Store",
    "StoreBusyError",
    "StoreClosedError",
    "StoreCorruptError",
    "StoreError",
    "StoreNotFoundError",
    "StoreVersionError",
    "StoreWriter",
    "TableMissingError",
    "UnknownTableError",
    "verify_store",
]
