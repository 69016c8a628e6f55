"""What may import what, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VIEWS = ("panel", "holoviews", "bokeh", "datashader")
NETWORK = ("torch", "torchvision")


def loaded_after(code: str, names: tuple[str, ...]) -> list[str]:
    """Run ``code`` in a fresh interpreter; return which of ``names`` it has imported."""
    program = f"{code}\nimport sys\nprint(*[n for n in {names!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("feature_store", (*NETWORK, *VIEWS)),
        ("feature_store.patterns", (*NETWORK, *VIEWS)),
        ("feature_store.queries", (*NETWORK, *VIEWS)),
        ("vatun", (*NETWORK, *VIEWS)),
        ("vatun.specs", (*NETWORK, *VIEWS, "duckdb", "pyarrow")),
        ("vatun.errors", (*NETWORK, *VIEWS)),
        ("pipelines.project", (*NETWORK, *VIEWS)),
        # `doit list` must answer at once.
        ("pipelines.stages", (*NETWORK, *VIEWS)),
        ("pipelines.cli", (*NETWORK, *VIEWS)),
        ("app.state", NETWORK),
        # The first page is served before torch is there.
        ("app.dashboard", NETWORK),
    ],
)
def test_importing_is_cheap(module, banned):
    assert loaded_after(f"import {module}", banned) == []


def test_opening_a_store_imports_neither_torch_nor_panel(tmp_path):
    code = f"""
from feature_store import Store, StoreWriter
from feature_store.tables import schema
with StoreWriter.open({str(tmp_path / "demo")!r}) as writer:
    with writer.begin("ingest") as generation:
        generation.write("classes", schema("classes").empty_table())
with Store.open({str(tmp_path / "demo")!r}) as store:
    store.describe()
    store.table("classes").fetchall()
"""
    assert loaded_after(code, (*NETWORK, *VIEWS)) == []


def test_import_contracts_hold():
    program = "from importlinter.cli import lint_imports_command as main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_main_has_absolute_imports_only():
    """A relative import in the served file would make a second copy of every module."""
    tree = ast.parse((ROOT / "app" / "main.py").read_text())
    relative = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    assert relative == []


def test_modules_stay_readable():
    """No module of the four packages is longer than 500 lines."""
    long = {
        str(path.relative_to(ROOT)): count
        for package in ("vatun", "feature_store", "pipelines", "app")
        for path in (ROOT / package).rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 500
    }
    assert long == {}
