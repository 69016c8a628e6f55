"""The command line ``vatun``."""

import json
import shutil
import subprocess
import sys

import pytest

from pipelines import cli


def run(*arguments):
    command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done


def test_info_says_what_a_store_holds(tiny_path, capsys):
    assert cli.main(["info", str(tiny_path)]) == 0
    text = capsys.readouterr().out
    assert "network: small_vgg, 3 classes" in text
    assert "split all: 60 images, accuracy" in text
    assert "patterns/balanced/patterns" in text


def test_info_as_json_holds_accuracy_and_provenance(tiny_path, capsys):
    assert cli.main(["info", str(tiny_path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["accuracy"]["all"]["n_labelled"] == 60
    assert facts["tables"]["images"]["rows"] == 60
    assert set(facts["info"]["provenance"]) == {
        "ingest", "capture", "paths", "mine", "embed", "simulate",
    }  # fmt: skip
    for entry in facts["info"]["provenance"].values():
        assert {"settings", "versions", "seed", "data_fingerprint", "started"} <= set(entry)


def test_verify_finds_a_wrong_byte_and_names_the_file(tiny_path, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_path, copy)
    assert run("verify", copy).returncode == 0
    part = sorted(copy.glob("gen/*/activations/max/001/*.parquet"))[-1]
    data = bytearray(part.read_bytes())
    data[len(data) // 3] ^= 4
    part.write_bytes(data)
    done = run("verify", copy)
    assert done.returncode == 1
    assert part.relative_to(copy).as_posix() in done.stdout + done.stderr
    part.write_bytes(data[:-5])
    done = run("verify", copy)
    assert done.returncode == 1
    assert part.relative_to(copy).as_posix() in done.stdout + done.stderr


def test_mistakes_are_one_line(tmp_path):
    done = run("info", tmp_path / "none")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("vatun: ")
    assert run("frobnicate").returncode == 2


def test_text_from_data_cannot_reach_the_terminal_as_a_command():
    assert cli._plain("a\x1b[2Jb\u202ec\n") == "a?[2Jb?c?"


@pytest.mark.parametrize("words", [["info", "--help"], ["verify", "--help"]])
def test_help_imports_neither_torch_nor_the_store(words):
    code = (
        "import sys; from pipelines import cli\n"
        f"try: cli.main({words})\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'panel', 'duckdb'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True)
