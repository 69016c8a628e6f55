"""What the tool says of one network, held against what was planted in it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks._planted_networks import LEARNT
from benchmarks._planted_ways import (
    DEPTH,
    PATH_SETS,
    SPLIT,
    CellAnswers,
    cell_answers,
    dealt_anew,
    families,
    patterns_within,
    whole_answers,
)
from feature_store import Store
from feature_store.patterns.enrichment import (
    confusion_cells,
    error_cell,
    permutation_check,
)
from feature_store.patterns.index import pattern_index
from feature_store.patterns.naming import image_statistics_name
from feature_store.patterns.recommend import (
    pattern_card,
    pattern_members,
    patterns_of_selection,
)
from feature_store.patterns.telling import reference_means, telling_filters_of
from vatun.ablate import ablate
from vatun.preprocess import to_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks._planted_networks import Cue, Made
    from feature_store.patterns.enriched import ConfusionCell
    from feature_store.patterns.index import PatternIndex

SHARE = 0.8
"""Least share of a suspect's judged images that carry the cue, for it to be the cue's."""

MIN_JUDGED = 3
"""Fewer judged images than this show nothing."""

TOP = 5
"""First suspects that are counted for coverage."""

CELLS = 3
"""Kinds of errors looked at for a cue that is alone."""

CELLS_OF_SEVERAL = 2
"""Kinds of errors looked at for each of several cues."""

CONTROL_CELLS = 5
"""Commonest kinds of errors of a network for the count of reports."""

TELLING = 16
MOST_IMAGES = 128

WORDS = {
    "texture": {"high edges", "high contrast", "sharp"},
    "cast": {"orange", "yellow", "red", "vivid"},
    "mark": {"purple", "red", "vivid"},
    "blur": {"blurred", "low edges"},
    "position": set[str](),
}
"""Words that would name a cue; there is none for a place."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One list of suspects of one question.

    Parameters
    ----------
    hits : tuple of bool
        For each suspect, best first, whether it is a planted cue's.
    covered : float
        Share of the planted errors, among the judged images, that the relevant ones of the first
        five hold.
    """

    hits: tuple[bool, ...]
    covered: float

    def precision(self, depth: int) -> float:
        """Share of the first ``depth`` suspects, or of as many as there are, that are the cue's.

        0 where there are none.
        """
        first = self.hits[:depth]
        return sum(first) / len(first) if first else 0.0


def score(suspects: Sequence[np.ndarray], judged: np.ndarray, cues: Sequence[Cue]) -> Score:
    """Hold a list against the truth.

    Parameters
    ----------
    suspects : sequence of ndarray of int
        Image ids, best first.
    judged : ndarray of shape (n,), bool
        By image id: images on which suspects are judged.
    cues : sequence of Cue
        What is planted. Images of a cue's own class say nothing about it.

    Returns
    -------
    Score
        A suspect is relevant when at least three of its images are judged and at least 0.8 of
        those carry one cue.
    """
    hits: list[bool] = []
    covered = np.zeros(len(judged), dtype=bool)
    wanted = np.zeros(len(judged), dtype=bool)
    for cue in cues:
        wanted |= cue.is_planted & judged
    for place, ids in enumerate(suspects[:DEPTH]):
        is_hit = False
        for cue in cues:
            inside = ids[judged[ids] & cue.is_judged[ids]]
            if len(inside) < MIN_JUDGED or cue.carries[inside].mean() < SHARE:
                continue
            is_hit = True
            if place < TOP:
                covered[inside[cue.is_planted[inside]]] = True
        hits.append(is_hit)
    share = int(covered.sum()) / max(int(wanted.sum()), 1)
    return Score(hits=tuple(hits), covered=share)


def examine(made: Made, *, permutations: int) -> dict[str, Any]:
    """Ask a network everything and score the answers.

    Parameters
    ----------
    made : Made
        The network and its truth.
    permutations : int
        Of the errors of its commonest kind.

    Returns
    -------
    dict
        JSON data; see ``benchmarks._planted_tables`` for what is read of it.
    """
    learnt = tuple(cue for cue in made.cues if cue.flips >= LEARNT)
    is_shortcut = made.plan.mode == "shortcut"
    with Store.open(made.path) as store:
        cells = confusion_cells(store, SPLIT)
        found: dict[str, Any] = {
            "plan": asdict(made.plan),
            "accuracy": made.accuracy,
            "cues": [
                {"kind": cue.kind, "target": cue.target, "flips": cue.flips,
                 "planted": int(cue.is_planted.sum())}
                for cue in made.cues
            ],
            "whole": {},
            "cells": [],
            "reports": [_report(store, made, each) for each in cells[:CONTROL_CELLS]],
            "wrong": _wrong(store, made, permutations),
            "permuted": _permuted(store, cells[0], permutations) if cells else {},
        }  # fmt: skip
        if is_shortcut and learnt:
            lists = whole_answers(store, made, seed=made.plan.seed)
            found["whole"] = {
                way: asdict(score(suspects, made.images.is_test, learnt))
                for way, suspects in lists.items()
            }
            most = CELLS if len(learnt) == 1 else CELLS_OF_SEVERAL
            for cue in learnt:
                found["cells"] += _cells(store, made, cue, cells, most=most)
    return found


def _answers(store: Store, made: Made, each: ConfusionCell) -> CellAnswers:
    return cell_answers(
        store,
        true_class=each.true_class,
        predicted_class=each.predicted_class,
        seed=made.plan.seed,
    )


def _half(made: Made, answers: CellAnswers) -> np.ndarray:
    """Mark the images of the half that confirms."""
    judged = np.zeros(len(made.images), dtype=bool)
    judged[answers.cell.image_id[~answers.cell.is_discovery]] = True
    return judged


def _cells(
    store: Store, made: Made, cue: Cue, cells: Sequence[ConfusionCell], *, most: int
) -> list[dict[str, Any]]:
    """Score the commonest kinds of errors that are mostly of a cue."""
    found: list[dict[str, Any]] = []
    for each in cells:
        is_error = (
            made.images.is_test
            & (made.images.label == each.true_class)
            & (made.predicted == each.predicted_class)
        )
        n_planted = int(np.count_nonzero(cue.is_planted & is_error))
        if each.predicted_class != cue.target or 2 * n_planted < each.n or len(found) == most:
            continue
        answers = _answers(store, made, each)
        judged = _half(made, answers)
        entry = {
            "kind": cue.kind,
            "errors": each.n,
            "planted": n_planted,
            "ways": {
                way: asdict(score(suspects, judged, [cue]))
                for way, suspects in answers.suspects.items()
            },
            "named": _names(store, answers, cue),
        }
        if not found:
            entry["ablation"] = _ablation(store, made, answers, cue)
        found.append(entry)
    return found


def _report(store: Store, made: Made, each: ConfusionCell) -> dict[str, Any]:
    """Say which ways report anything of a kind of error, and which blame a cue."""
    answers = _answers(store, made, each)
    judged = _half(made, answers)
    return {
        "errors": each.n,
        "reported": answers.reported,
        "blamed": {
            way: any(score(answers.suspects[way], judged, made.cues).hits)
            for way in answers.reported
        },
    }


def _wrong(store: Store, made: Made, permutations: int) -> dict[str, Any]:
    """Say what the patterns of the wrong images report, and of errors dealt out anew."""
    tested = np.flatnonzero(made.images.is_test)
    label, is_wrong = made.images.label[tested], (made.predicted != made.images.label)[tested]
    judged = made.images.is_test
    found: dict[str, Any] = {}
    for path_set in PATH_SETS:
        index = pattern_index(store, path_set)

        def against_all(ids: np.ndarray, path_set: str = path_set) -> list[int]:
            cards = patterns_of_selection(store, path_set, ids, limit=TOP)
            return [card.pattern_id for card in cards]

        def within(ids: np.ndarray, index: PatternIndex = index) -> list[int]:
            return patterns_within(index, ids, tested, limit=TOP)

        for name, ask in (("images", against_all), ("within the split", within)):
            suspects = [index.members(pattern) for pattern in ask(tested[is_wrong])]
            random = np.random.default_rng([made.plan.seed, 2])
            runs = [tested[dealt_anew(label, is_wrong, random)] for _ in range(permutations)]
            found[f"patterns of the wrong {name}, {path_set}"] = {
                "reported": bool(suspects),
                "blamed": any(score(suspects, judged, made.cues).hits),
                "permuted": {
                    "n": permutations,
                    "n_reported": sum(bool(ask(ids)) for ids in runs),
                },
            }
    return found


def _permuted(store: Store, each: ConfusionCell, permutations: int) -> dict[str, Any]:
    cell = error_cell(
        store, true_class=each.true_class, predicted_class=each.predicted_class, split=SPLIT
    )
    return {
        way: asdict(permutation_check(cell, slices, permutations=permutations))
        for way, slices in families(store, cell).items()
    }


def _names(store: Store, answers: CellAnswers, cue: Cue) -> dict[str, Any]:
    """Name the first confirmed pattern by its pixels, and the images that carry the cue."""
    ids = answers.cell.image_id
    sets = {"carriers": ids[cue.carries[ids]]}
    sets |= {way: np.array(each.image_ids) for way, each in answers.best.items()}
    found = {}
    for way, members in sets.items():
        name = image_statistics_name(store, members, against=ids).name
        is_right = any(word in name.split(", ") for word in WORDS[cue.kind])
        found[way] = {"name": name, "is_right": is_right}
    return found


def _ablation(store: Store, made: Made, answers: CellAnswers, cue: Cue) -> dict[str, Any]:
    """Replace filters on the planted errors of the first confirmed pattern, as the app does."""
    found: dict[str, Any] = {}
    carriers = np.flatnonzero(cue.carries & made.images.is_test)
    for path_set in PATH_SETS:
        best = answers.best.get(f"patterns, {path_set}")
        if best is None:
            continue
        members = pattern_members(store, path_set, best.key)
        errors = members[cue.is_planted[members]][:MOST_IMAGES]
        if not len(errors):
            continue
        telling = telling_filters_of(store, members, limit=TELLING)
        of_cue = telling_filters_of(store, carriers, limit=TELLING)
        sets = {
            "own": pattern_card(store, path_set, best.key).items,
            "telling": tuple((each.layer_index, each.filter_index) for each in telling),
            "telling of the cue": tuple((each.layer_index, each.filter_index) for each in of_cue),
        }
        images = to_input(made.images.pixels[errors])
        for name, filters in sets.items():
            means = reference_means(store, {layer for layer, _ in filters})
            result = ablate(made.network, images, filters, means=means, seed=0)
            after = result.after.argmax(axis=1)
            found[f"{name}, {path_set}"] = {
                "verdict": result.judgement.verdict,
                "flips": float(result.flips.mean()),
                "random_flips": float(result.random_flips.mean()),
                "repaired": float((after == made.images.label[errors]).mean()),
                "filters": len(filters),
                "images": len(errors),
            }
    return found
