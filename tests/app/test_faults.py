"""What the page says of stores that are incomplete or damaged."""

from __future__ import annotations

import shutil

import numpy as np
import panel as pn
import pyarrow as pa
import pytest

from app.components.controls import Choice
from app.dashboard import Dashboard, _what_helps
from app.layer_names import short_names
from app.runtime import open_runtime
from app.stores import missing_words, words_of
from app.views.about import about_html
from feature_store import StoreCorruptError, StoreWriter, TableMissingError


def test_a_store_with_images_alone_names_the_next_command(tmp_path):
    ids = np.arange(3, dtype=np.int32)
    names = pa.table({"class_index": ids.astype(np.int16), "class_name": ["a", "b", "c"]})
    images = pa.table(
        {
            "image_id": ids,
            "image_key": ["x", "y", "z"],
            "split": ["test"] * 3,
            "true_class": pa.array(ids.astype(np.int16)),
            "source": ["x", "y", "z"],
            "encoded": pa.array([b"0"] * 3, pa.binary()),
            "status": ["ok"] * 3,
        }
    )
    root = tmp_path / "young"
    with StoreWriter.open(root) as writer, writer.begin("ingest") as generation:
        generation.write("classes", names)
        generation.write("images", images)
    with pytest.raises(TableMissingError) as caught:
        open_runtime(root)
    said = _what_helps(caught.value, "young", root)
    assert said[2] == "doit capture:young"
    assert not any(str(tmp_path) in words for words in said)
    assert "capture" in missing_words(caught.value)


def test_a_damaged_store_names_the_file_and_the_check(digits_path, tmp_path):
    root = tmp_path / "hurt"
    shutil.copytree(digits_path, root)
    part = max(root.glob("gen/*/predictions/*.parquet"))
    part.write_bytes(part.read_bytes()[:-8] + b"\0" * 8)
    with pytest.raises(StoreCorruptError) as caught:
        open_runtime(root)
    _, detail, command = _what_helps(caught.value, "hurt", root)
    assert "predictions/" in detail
    assert str(tmp_path) not in detail
    assert command == "vatun verify hurt"
    assert words_of(ValueError(f"{root}/gen/x"), root) == "gen/x"


@pytest.mark.parametrize("value", [{}, [], None, 3, "c"])
def test_a_forged_choice_is_none(value):
    choice = Choice.of({"a": "A", "b": "B"}, "a", label="Test")
    choice._handle_msg({"value": value})
    assert choice.choice_value == "a"


def test_the_search_takes_shown_and_module_names(runtime, monkeypatch):
    monkeypatch.setattr(pn.state, "execute", lambda *_, **__: None)
    page = Dashboard(runtime, stores=["digits"], name="digits", query={})
    for index, (shown, row) in enumerate(
        zip(short_names(runtime.layers), runtime.layers, strict=True)
    ):
        for name in (shown, row.layer_name):
            page._search(f"{name}/2")
            assert page.state.filters == ((index, 2),)


def test_about_shows_the_control_and_words_for_settings():
    grid = {"name": "rotation", "grid": [-180.0, 0.0, 180.0]}
    stage = {"settings": {"perturbations": [grid]}, "versions": {"numpy": "2.4.6"}}
    shown = about_html(
        {
            "accuracy": {"test": {"n": 5, "n_labelled": 5, "accuracy": 0.7}},
            "info": {
                "train": {"control": {"accuracy_by_split": {"test": 0.988}}},
                "provenance": {"simulate": stage, "mine": {"versions": {"numpy": "2.4.6"}}},
            },
        },
        [],
    )
    assert "control without the planted bias" in shown
    assert "98.80 %" in shown
    assert "rotation: −180 to 180, 3 points" in shown
    assert shown.count("numpy 2.4.6") == 1
