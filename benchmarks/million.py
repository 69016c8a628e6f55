"""The map at a million images: ``python -m benchmarks.million [--quick] [--json FILE]``.

Two stores are written through the real store code, one of 10 classes and one of 1,000, into a
temporary folder, unless ``--stores FOLDER`` names one that holds ``million10`` and
``million1000``. ``python -m benchmarks.million build FOLDER --classes 10`` only writes one.

Work is processor time of the server's process, so another program's share is left out, but not
the caches it takes away. Each store is measured in a process of its own, then served by ``panel
serve`` for the memory of sessions.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks._million_store import build
from benchmarks._report import Options, Row, report

CLASSES = (10, 1_000)
IMAGES = 1_000_000
QUICK_IMAGES = 100_000


def main() -> None:
    """Build a store, or measure, print and write the rows."""
    given = _arguments()
    if given.command == "build":
        build(given.folder, n_images=given.images, n_classes=given.classes)
    elif given.command == "measure":
        from benchmarks._million_work import measure

        rows = measure(given.folder, quick=given.quick)
        print(json.dumps([vars(row) for row in rows]))
    else:
        rows = _measure_all(given.stores, quick=given.quick)
        report(rows, Options(quick=given.quick, json=given.json))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller stores, fewer rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--stores", type=Path, metavar="FOLDER", help="stores built before")
    commands = parser.add_subparsers(dest="command")
    builder = commands.add_parser("build", help="write one store")
    builder.add_argument("folder", type=Path)
    builder.add_argument("--classes", type=int, default=CLASSES[0])
    builder.add_argument("--images", type=int, default=IMAGES)
    one = commands.add_parser("measure", help="measure one store, rows as JSON")
    one.add_argument("folder", type=Path)
    one.add_argument("--quick", action="store_true")
    return parser.parse_args()


def _measure_all(stores: Path | None, *, quick: bool) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for n_classes in CLASSES:
            path = (stores or Path(folder)) / f"million{n_classes}"
            if not (path / "CURRENT").is_file():
                build(path, n_images=QUICK_IMAGES if quick else IMAGES, n_classes=n_classes)
            rows += _measured(path, quick=quick)
            rows += _sessions(path, quick=quick)
    return rows


def _measured(path: Path, *, quick: bool) -> list[Row]:
    """Measure one store in a process of its own: memory that another left would count."""
    command = [sys.executable, "-m", "benchmarks.million", "measure", str(path)]
    done = subprocess.run(
        [*command, *(["--quick"] if quick else [])], check=True, stdout=subprocess.PIPE, text=True
    )
    return [Row(**row) for row in json.loads(done.stdout.splitlines()[-1])]


def _sessions(path: Path, *, quick: bool) -> list[Row]:
    from benchmarks._million_sessions import session_rows

    return session_rows(path, count=3 if quick else 10)


if __name__ == "__main__":
    main()
