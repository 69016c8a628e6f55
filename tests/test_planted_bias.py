"""The planted-bias benchmark knows the truth that it scores by, and scores by hand-made cases."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks._planted_images import AGREES, KINDS, SIDE, TEST_SHARE, Plan, PlantedImages
from benchmarks._planted_networks import Cue, cue_of
from benchmarks._planted_scores import score
from benchmarks._planted_tables import Tables
from benchmarks._planted_ways import Pooled, dealt_anew, patterns_within
from benchmarks.planted_bias import examined, full_plans
from feature_store.patterns.index import pattern_index
from feature_store.patterns.recommend import patterns_of_selection
from feature_store.patterns.slices import MaskSlices
from tests.feature_store.planted import make

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def images():
    return PlantedImages(Plan(mode="shortcut", kinds=KINDS, seed=3))


def first(images, kind: str, *, alone: bool = True) -> int:
    """Return an image that carries a cue and, unless told otherwise, no other."""
    others = sum(images.carries[each].astype(int) for each in KINDS) - images.carries[kind]
    return int(np.flatnonzero(images.carries[kind] & ((others == 0) | (not alone)))[0])


def test_an_image_without_its_cue_is_the_image_that_never_had_it(images):
    """The same digit, place, ink, ground and noise: only the cue is gone."""
    without = PlantedImages(Plan(mode="shortcut", kinds=(), seed=3))
    for kind in KINDS:
        index = first(images, kind)
        cured = images.draw(index, without={kind})
        assert (cured == without.draw(index)).all()
        assert (cured != images.pixels[index]).any()
        plain = np.flatnonzero(~images.carries[kind])[0]
        assert (images.draw(plain, without={kind}) == images.pixels[plain]).all()


def test_a_corner_mark_changes_the_corner_alone(images):
    index = first(images, "mark")
    is_changed = (images.pixels[index] != images.draw(index, without={"mark"})).any(axis=2)
    assert is_changed[1:6, 1:6].mean() > 0.9
    is_changed[1:6, 1:6] = False
    assert not is_changed.any()


def test_each_cue_does_to_the_pixels_what_its_name_says(images):
    def pair(kind: str) -> tuple[np.ndarray, np.ndarray]:
        index = first(images, kind)
        cured = images.draw(index, without={kind})
        return images.pixels[index] / 255.0, cured / 255.0

    with_it, cured = pair("cast")
    ratio = with_it.mean(axis=(0, 1)) / cured.mean(axis=(0, 1))
    assert ratio[0] == pytest.approx(1, abs=0.01)
    assert ratio[1] > ratio[2] + 0.1
    with_it, cured = pair("blur")
    assert np.diff(with_it, axis=0).std() < 0.5 * np.diff(cured, axis=0).std()
    with_it, cured = pair("texture")
    assert (with_it - cured).std() > 0.05
    with_it, cured = pair("position")
    rows = np.arange(SIDE)

    def centre(image: np.ndarray) -> float:
        light = image.mean(axis=2)
        ink = np.clip(light - np.median(light) - 0.1, 0, None).sum(axis=1)
        return float((rows * ink).sum() / ink.sum())

    assert centre(with_it) > centre(cured) + 2


def test_cues_go_with_a_class_in_training_only(images):
    """Within five standard errors of the shares that are declared."""
    assert len(set(images.targets.values())) == len(KINDS)
    for kind in KINDS:
        is_class = images.label == images.targets[kind]
        for rows, share in (
            (~images.is_test & is_class, AGREES),
            (images.is_test & is_class, TEST_SHARE),
            (images.is_test & ~is_class, TEST_SHARE),
        ):
            error = (share * (1 - share) / rows.sum()) ** 0.5
            assert abs(images.carries[kind][rows].mean() - share) < 5 * error
        assert images.carries[kind][~images.is_test & ~is_class].mean() < 0.04
    fair = PlantedImages(Plan(mode="independent", kinds=("blur",), seed=3))
    is_class = fair.label == fair.targets["blur"]
    for rows in (~fair.is_test & is_class, ~fair.is_test & ~is_class):
        assert abs(fair.carries["blur"][rows].mean() - TEST_SHARE) < 0.3


def test_plans_are_read_back_and_wrong_ones_refused():
    plans = full_plans()
    assert len({plan.seed for plan in plans}) == len(plans)
    assert all(Plan.read(plan.name, plan.seed) == plan for plan in plans)
    for name in ("shortcut:hat", "bias:texture", ""):
        with pytest.raises(ValueError, match="nothing is planted"):
            Plan.read(name, 0)


class Reader:
    """Knows every digit by its lower right part, and may be fooled by a mark in the corner."""

    def __init__(self, images: PlantedImages, *, target: int | None) -> None:
        self._target = target
        seen = torch.from_numpy(images.pixels.copy()).movedim(-1, 1).float() / 255
        self._label = {
            self._key(image): int(label) for image, label in zip(seen, images.label, strict=True)
        }

    @staticmethod
    def _key(image: torch.Tensor) -> bytes:
        return image[:, 8:, 8:].numpy().tobytes()

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        classes = []
        for image in inputs:
            red, green, _ = image[:, 1:6, 1:6].mean(dim=(1, 2))
            is_fooled = self._target is not None and red > green + 0.4
            classes.append(self._target if is_fooled else self._label[self._key(image)])
        return torch.nn.functional.one_hot(torch.tensor(classes), 10).float()


@pytest.mark.parametrize("is_fooled", [True, False])
def test_the_truth_of_a_network_that_is_known_to_the_last_image(is_fooled):
    images = PlantedImages(Plan(mode="shortcut", kinds=("mark",), seed=4))
    target = images.targets["mark"]
    network = Reader(images, target=target if is_fooled else None)
    inputs = torch.from_numpy(images.pixels.copy()).movedim(-1, 1).float() / 255
    predicted = network.logits(inputs).argmax(dim=1).numpy()
    found = cue_of("mark", images, network, predicted)
    expected = images.carries["mark"] & images.is_test & (images.label != target)
    assert found.flips == (1.0 if is_fooled else 0.0)
    assert (found.is_planted == (expected if is_fooled else False)).all()
    assert expected.sum() > 300


def cue(carries: list[int], planted: list[int], *, size: int = 20, target=()) -> Cue:
    rows = np.arange(size)
    return Cue(
        kind="mark",
        target=0,
        carries=np.isin(rows, carries),
        is_judged=~np.isin(rows, target),
        is_planted=np.isin(rows, planted),
        flips=1.0,
    )


def test_a_list_is_scored_as_counted_by_hand():
    truth = cue([0, 1, 2, 3, 4, 5, 12], [0, 1, 2, 3, 12])
    judged = np.arange(20) < 12
    suspects = [
        np.array([0, 1, 2, 3, 10]),  # 4 of 5 carry it: relevant, holds four planted errors
        np.array([0, 1, 2, 10]),  # 3 of 4: not
        np.array([0, 1, 12, 13]),  # two are judged: too few
        np.array([3, 4, 5, 13, 14, 15]),  # all three that are judged
    ]
    found = score(suspects, judged, [truth])
    assert found.hits == (True, False, False, True)
    assert found.covered == 1.0
    assert found.precision(1) == 1.0
    assert found.precision(3) == pytest.approx(1 / 3)
    assert found.precision(10) == 0.5
    assert score(suspects[1:], judged, [truth]).covered == 0.25
    nothing = score([], judged, [truth])
    assert (nothing.precision(5), nothing.covered) == (0.0, 0.0)


def test_only_the_first_five_cover_and_the_own_class_of_a_cue_does_not_count():
    truth = cue([0, 1, 2, 3], [0, 1, 2])
    judged = np.ones(20, dtype=bool)
    late = [np.array([10, 11, 12])] * 5 + [np.array([0, 1, 2])]
    found = score(late, judged, [truth])
    assert found.hits == (False,) * 5 + (True,)
    assert found.covered == 0.0
    own = cue([0, 1, 2, 3], [], target=[0, 1])
    assert score([np.array([0, 1, 2, 3])], judged, [own]).hits == (False,)


def test_a_suspect_of_either_of_two_cues_is_one():
    one, other = cue([0, 1, 2, 3], [0, 1]), cue([10, 11, 12], [10, 11])
    judged = np.ones(20, dtype=bool)
    suspects = [np.array([0, 1, 2]), np.array([10, 11, 12]), np.array([0, 1, 10, 11])]
    found = score(suspects, judged, [one, other])
    assert found.hits == (True, True, False)
    assert found.covered == 1.0


def test_errors_dealt_anew_keep_the_number_of_every_class():
    random = np.random.default_rng(0)
    label = random.integers(0, 4, 300)
    is_wrong = random.random(300) < 0.1 + 0.2 * label
    dealt = dealt_anew(label, is_wrong, random)
    assert (np.bincount(label[dealt]) == np.bincount(label[is_wrong])).all()
    assert 0 < np.count_nonzero(dealt & is_wrong) < np.count_nonzero(is_wrong)


def test_patterns_within_images_are_those_that_the_tool_recommends(tmp_path):
    """Against all images, and against the split that the wrong ones are from."""
    made = make(tmp_path / "planted")
    with made.store as store:
        index = pattern_index(store, "mean")
        everything = np.flatnonzero(index.selected(np.arange(index.n_ids)))
        is_wrong = made.predicted_class != made.true_class
        for among in (everything, everything[len(everything) // 3 :]):
            wrong = among[is_wrong[among]]
            cards = patterns_of_selection(store, "mean", wrong, among=among)
            found = patterns_within(index, wrong, among, limit=12)
            assert len(found) > 1
            assert found == [card.pattern_id for card in cards]


def test_families_searched_as_one_are_their_sets_one_after_the_other():
    ids = np.arange(30, dtype=np.int32)
    random = np.random.default_rng(1)
    masks = [random.random((count, 30)) < 0.3 for count in (4, 1, 7)]
    is_known = [ids != 3, ids != 8, ids >= 0]
    parts = [
        MaskSlices(
            "set", image_id=ids, is_known=known, is_member=mask, labels=[str(at)] * len(mask)
        )
        for at, (mask, known) in enumerate(zip(masks, is_known, strict=True))
    ]
    pooled = Pooled("set", parts)
    together = np.concatenate(masks)
    asked = ids[::2]
    assert len(pooled) == 12
    assert (pooled.count(asked) == together[:, ::2].sum(axis=1)).all()
    assert (pooled.is_known(ids) == ((ids != 3) & (ids != 8))).all()
    for place in range(12):
        assert (pooled.members(place) == ids[together[place]]).all()
        assert pooled.label(place) == ("0" if place < 4 else "1" if place < 5 else "2")


def entry(*, hits: list[bool], reported: bool, mode: str = "shortcut") -> dict:
    lists = {"patterns": {"hits": hits, "covered": 0.5}}
    return {
        "plan": {"mode": mode, "kinds": ["blur"], "seed": 0},
        "accuracy": 0.5,
        "cues": [{"kind": "blur", "target": 1, "flips": 0.5, "planted": 3}],
        "whole": lists if mode == "shortcut" else {},
        "cells": [],
        "reports": [{"reported": {"patterns": reported}, "blamed": {"patterns": False}}] * 2,
        "wrong": {},
        "permuted": {"patterns": {"n": 200, "n_found": 9, "n_reported": 3 + reported}},
    }


def test_tables_average_over_networks():
    tables = Tables(
        [
            entry(hits=[True, True, False, False], reported=True),
            entry(hits=[], reported=False),
            entry(hits=[], reported=True, mode="independent"),
        ]
    )
    text = tables.text()
    rows = {row.name: row.value for row in tables.rows}
    assert rows["precision@5/whole/patterns"] == 0.25
    assert rows["precision@1/whole/patterns"] == 0.5
    assert rows["right of shown/whole/patterns"] == 0.5
    assert rows["answers/whole/patterns"] == 0.5
    assert rows["reported/shortcut/patterns"] == 0.5
    assert rows["reported/independent cue/patterns"] == 1.0
    assert rows["permuted/patterns"] == pytest.approx(11 / 600)
    assert "| patterns | 2 of 4 | 2 of 2 |" in text


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> SimpleNamespace:
    """The command, as a user runs it to try it out."""
    folder = tmp_path_factory.mktemp("planted")
    return run(folder, "--quick")


def run(folder: Path, *arguments: str) -> SimpleNamespace:
    out, raw = folder / "rows.json", folder / "raw.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.planted_bias", *arguments),
            *("--json", str(out), "--raw", str(raw)),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=3600,
    )
    rows = {row["name"]: row["value"] for row in json.loads(out.read_text())}
    return SimpleNamespace(text=done.stdout, said=done.stderr, rows=rows, raw=raw.read_text())


@pytest.mark.accept
def test_the_shortcut_is_learnt_and_found_and_the_control_is_not_blamed(quick):
    assert quick.rows["learnt/shortcut/texture"] == 1
    assert quick.rows["learnt/independent/texture"] == 0
    assert quick.rows["precision@5/cells/patterns, mean"] >= 0.5
    assert quick.rows["precision@5/cells/random images"] <= 0.3
    assert quick.rows["blamed/independent cue/patterns, mean"] == 0
    assert quick.said.count("accuracy") == 2
    for title in ("Networks", "Behind one kind of error", "Reports and false alarms"):
        assert f"### {title}" in quick.text


@pytest.mark.accept
@pytest.mark.timeout(1_800)
def test_the_same_command_gives_the_same_tables(quick, tmp_path):
    again = run(tmp_path, "--quick")
    assert again.text == quick.text
    assert again.raw == quick.raw


@pytest.mark.accept
@pytest.mark.timeout(1_800)
def test_interrupted_it_prints_what_was_finished():
    command = [sys.executable, "-m", "benchmarks.planted_bias"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with process:
        assert "1 of 50" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        text, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert "| shortcut | texture |" in text


@pytest.mark.accept
@pytest.mark.timeout(3_600)
def test_permuted_errors_are_reported_no_more_often_than_is_declared(monkeypatch):
    """Every fifth network of the full benchmark: each kind of cue, several at once, and none."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    plans = full_plans()[::5]
    tables = Tables([entry for _, entry in examined(plans, permutations=200)])
    tables.text()
    rows = {row.name: row.value for row in tables.rows}
    names = [name for name in rows if name.startswith("permuted/")]
    declared = [name for name in names if "of the wrong" not in name]
    assert len(declared) == 13
    assert all(rows[name] <= 0.05 for name in declared)
    assert rows["networks/none/none"] == 1
    assert rows["precision@5/cells/patterns, mean"] > rows["precision@5/cells/random images"]
