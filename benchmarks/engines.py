"""Whether both miners write the same tables: ``python -m benchmarks.engines STORE``.

Mines every path set of a store with DuckDB and with the interval miner, and compares the four
tables of each, whole: every pattern with its figures, every member, every item. Prints what was
compared, and ends in an error at the first difference.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pyarrow as pa

from feature_store import Store
from feature_store.patterns.tables import mine

ENGINES = ("duckdb", "interval")


def main() -> None:
    """Compare the engines on a store and print a line for each table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path, metavar="STORE", help="folder of a built store")
    given = parser.parse_args()
    with Store.open(given.store) as store:
        sets = sorted(
            name.removeprefix("paths/") for name in store.tables if name.startswith("paths/")
        )
        if not sets:
            raise SystemExit(f"{given.store} has no paths: run doit paths first")
        for path_set in sets:
            compare(store, path_set)


def compare(store: Store, path_set: str) -> None:
    """Mine a path set twice; print the tables' sizes, or exit where they differ.

    Parameters
    ----------
    store : Store
        With the paths.
    path_set : str
        ``paper``, ``mean`` or ``balanced``.

    Raises
    ------
    SystemExit
        At the first table that differs.
    """
    mined: dict[str, dict[str, pa.Table]] = {}
    for engine in ENGINES:
        started = time.process_time()
        pieces = mine(store, path_set, engine=engine)
        mined[engine] = {name: pa.concat_tables(list(parts)) for name, parts in pieces.items()}
        print(f"{path_set}: {engine} took {time.process_time() - started:.1f} s of processor time")
    one, other = (mined[engine] for engine in ENGINES)
    for name, table in one.items():
        if not table.equals(other[name]):
            raise SystemExit(f"{path_set}: the engines differ in {name}")
        print(f"{path_set}: {name:15} {table.num_rows:>12,} rows, equal")


if __name__ == "__main__":
    main()
