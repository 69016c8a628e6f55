"""The code in docs/store.md runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from feature_store import StoreWriter

TEXT = (Path(__file__).parents[2] / "docs" / "store.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=["store", "plain"])
def test_examples_run(demo, rows, example, capsys):
    with StoreWriter.open(demo) as writer, writer.begin("paths") as generation:
        generation.write("paths/balanced", rows("paths/balanced"))
    names = {}
    exec(example.replace("stores/digits", str(demo)), names)
    if "wrong" in names:
        assert len(names["paths"]) == 4
        assert "paths/balanced" in capsys.readouterr().out
    else:
        assert len(names["files"]) == 1
