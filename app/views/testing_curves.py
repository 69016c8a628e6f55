"""What the test view draws of response curves and smallest flips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app import safe, theme
from app.inference import PERTURBATION_SPECS
from app.views.testing_changes import flip_text, format_of, magnitude_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vatun.response import Flip, ResponseCurve

MAX_LINES = 5
"""Classes with a line of their own, besides the one predicted first and the true one."""


def curve_figure(
    curve: ResponseCurve, *, names: Sequence[str], true_class: int | None, side: int
) -> dict[str, Any]:
    """Return what is drawn of one response curve.

    Parameters
    ----------
    curve : ResponseCurve
        Scores of one image along one perturbation.
    names : sequence of str
        Raw class names by index.
    true_class : int or None
        Label of the image.
    side : int
        Shorter side of the network's input in pixels.

    Returns
    -------
    dict
        ``name``, ``label``, ``x``, ``ticks``, ``identity``, ``lines`` (the class that was first
        predicted is bold), ``marks`` where the prediction changes, and a sentence for screen
        readers. Names are plain text.
    """
    spec = PERTURBATION_SPECS[curve.perturbation]
    first = int(curve.predicted[curve.identity])
    scores = np.nan_to_num(curve.scores)
    best = np.argsort(-scores.max(axis=0), kind="stable")[:MAX_LINES].tolist()
    shown = list(dict.fromkeys([first, *best, *([] if true_class is None else [true_class])]))
    marks: list[dict[str, Any]] = [
        {
            "at": change.position,
            "text": f"{_plain(names, change.from_class)} → {_plain(names, change.to_class)} "
            f"near {magnitude_text(spec.name, change.position, side)}",
        }
        for change in curve.changes
    ]
    text = [magnitude_text(spec.name, value, side) for value in curve.magnitudes]
    return {
        "name": spec.name,
        "label": safe.plain(spec.label, limit=40),
        "x": list(curve.magnitudes),
        "texts": text,
        "identity": spec.identity,
        "ticks": _ticks(curve, text),
        "lines": [
            {
                "name": _plain(names, index),
                "colour": theme.class_variable(index, len(names)),
                "y": [None if np.isnan(v) else float(v) for v in curve.scores[:, index]],
                "first": index == first,
                "true": index == true_class,
            }
            for index in shown
        ],
        "marks": marks,
        "spoken": f"{spec.label}: {_plain(names, first)} at identity; "
        + ("; ".join(mark["text"] for mark in marks) or "the prediction never changes"),
        "is_switch": format_of(spec) == "switch",
    }


def flip_figure(
    flips: Mapping[int, Flip], directions: Sequence[int], *, names: Sequence[str]
) -> dict[str, Any]:
    """Return what is said of the smallest flips of one perturbation.

    Parameters
    ----------
    flips : mapping of int to Flip
        By direction; those that are not known yet are missing.
    directions : sequence of int
        Directions that the perturbation has.
    names
        As for ``curve_figure``.

    Returns
    -------
    dict
        ``short`` names the nearest flip, ``long`` all of them; ``nearest`` is its magnitude, and
        ``at`` are those of all.
    """
    parts: list[str] = []
    nearest: tuple[float, float, str] | None = None
    for direction in directions:
        flip = flips.get(direction)
        if flip is None:
            continue
        if flip.magnitude is None:
            sign = {-1: "below", 1: "above"}[direction] if len(directions) > 1 else ""
            parts.append(f"none {sign}".strip())
            continue
        identity = PERTURBATION_SPECS[flip.perturbation].identity
        text = flip_text(flip.perturbation, flip.magnitude)
        parts.append(f"{text} {_plain(names, flip.flipped_class or 0)}")
        distance = abs(flip.magnitude - identity)
        if nearest is None or distance < nearest[0]:
            nearest = (distance, flip.magnitude, text)
    is_known = len(parts) == len(directions)
    short = nearest[2] if nearest else "no flip" if is_known else ""
    return {
        "short": short,
        "long": " · ".join(parts) if nearest else short,
        "flips": nearest is not None,
        "nearest": nearest[1] if nearest else None,
        "known": is_known,
        "at": [flip.magnitude for flip in flips.values() if flip.magnitude is not None],
    }


def _ticks(curve: ResponseCurve, text: Sequence[str]) -> list[list[Any]]:
    last = len(curve.magnitudes) - 1
    places = dict.fromkeys([0, curve.identity, last])
    # Pixels in brackets have no room on an axis.
    short = [each.partition(" (")[0].removeprefix("+") for each in text]
    return [[curve.magnitudes[place], short[place]] for place in places]


def _plain(names: Sequence[str], index: int) -> str:
    return safe.plain(names[index], limit=40)
