"""What the test view draws of one answer, as plain data for its browser component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app import safe, theme
from app.inference import ATTACKS, PERTURBATION_SPECS, Change, change_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.inference import PerturbationSpec, TestResult

MINUS = "\u2212"

SHOWN_CLASSES = 5
"""Classes with a score bar, besides the true one and the one predicted first."""

MAX_BOXES = 8
"""Regions that can be removed at the same time."""

_ORDER = ("rotation", "hue", "saturation", "contrast", "brightness", "blur", "noise")
_LAST = ("region", "horizontal_flip", "vertical_flip")
_FORMATS = {
    "rotation": "degrees",
    "hue": "turns",
    "blur": "pixels",
    "region": "percent",
    "noise": "plain",
}
_STEPS = {"rotation": 1.0, "hue": 0.01, "blur": 0.001, "noise": 0.005, "region": 0.02}


def offered_specs() -> list[PerturbationSpec]:
    """Return the perturbations that have a control, in the order of the controls."""
    known = [name for name in PERTURBATION_SPECS if name not in ATTACKS]
    added = [name for name in known if name not in _ORDER + _LAST]
    names = [name for name in (*_ORDER, *added, *_LAST) if name in known]
    return [PERTURBATION_SPECS[name] for name in names]


def control(spec: PerturbationSpec) -> dict[str, Any]:
    """Return what the browser needs to draw the control of one perturbation."""
    return {
        "name": spec.name,
        "label": safe.plain(spec.label, limit=40),
        "low": spec.low,
        "identity": spec.identity,
        "high": spec.high,
        "step": _STEPS.get(spec.name, (spec.high - spec.low) / 200),
        "format": _FORMATS.get(spec.name, "factor"),
        "is_switch": spec.is_switch,
    }


def with_magnitude(change: Change, name: object, value: object) -> Change:
    """Return ``change`` with a magnitude that the browser sent; nonsense changes nothing.

    Parameters
    ----------
    change : Change
        What is done to the image now.
    name, value : object
        Unchecked: a perturbation that has a control, and a number that is clamped to its range.

    Returns
    -------
    Change
        A new one, or ``change`` itself.
    """
    spec = next((spec for spec in offered_specs() if spec.name == name), None)
    magnitude = safe.number(value, spec.low, spec.high) if spec else None
    if spec is None or magnitude is None:
        return change
    if spec.is_switch:
        magnitude = float(magnitude >= 0.5)
    elif abs(magnitude - spec.identity) < 1e-3 * (spec.high - spec.low):
        # The slider's arithmetic must not miss the identity by a rounding.
        magnitude = spec.identity
    return change.with_magnitude(spec.name, magnitude)


def with_box(change: Change, corners: object) -> Change:
    """Return ``change`` with one more removed region that the browser sent, if it is one."""
    if not isinstance(corners, (list, tuple)) or len(corners) != 4:
        return change
    shares = [safe.number(value, 0.0, 1.0) for value in corners]
    known = [share for share in shares if share is not None]
    if len(known) != 4 or known[2] - known[0] < 0.01 or known[3] - known[1] < 0.01:
        return change
    boxes = [*box_corners(change), known][-MAX_BOXES:]
    return change_from(change.magnitudes, boxes)


def without_box(change: Change, index: object) -> Change:
    """Return ``change`` without one removed region; -1 gives back all of them."""
    boxes = box_corners(change)
    at = safe.integer(index, -1, len(boxes) - 1)
    if at is None:
        return change
    kept = [] if at == -1 else boxes[:at] + boxes[at + 1 :]
    return change_from(change.magnitudes, kept)


def box_corners(change: Change) -> list[list[float]]:
    """Return left, top, right and bottom of each removed region, as shares."""
    return [[box.left, box.top, box.right, box.bottom] for box in change.boxes]


def position(change: Change, seq: int) -> dict[str, Any]:
    """Return where the controls stand after the browser's message number ``seq``."""
    return {"magnitudes": dict(change.magnitudes), "boxes": box_corners(change), "seq": seq}


def figures(
    result: TestResult,
    *,
    names: Sequence[str],
    true_class: int | None,
    layers: Mapping[str, str],
    default_layer: str,
    class_index: int | None,
) -> dict[str, Any]:
    """Return everything that is drawn of one answer, but for the pixels.

    Parameters
    ----------
    result : TestResult
        The answer.
    names : sequence of str
        Raw class names by index.
    true_class : int or None
        Label of the image.
    layers : mapping of str to str
        Layers that evidence can be shown for, with their short names.
    default_layer : str
        Layer to offer where the chosen one has nothing to show.
    class_index : int or None
        Class that the evidence is held at; None follows the prediction.

    Returns
    -------
    dict
        ``bench_view`` of ``TestBench``; every name is plain text.
    """
    plain = [safe.plain(name, limit=60) for name in names]
    height, width = result.images.shape[1:3]
    return {
        "stage": "ready",
        "image": {
            "id": f"{result.image_id:,}",
            "width": width,
            "height": height,
            "same": result.change.is_identity,
        },
        "inferno": list(theme.EVIDENCE_RAMP),
        "verdict": _verdict(result, plain, true_class),
        "evidence": _evidence(result, plain, layers, default_layer),
        "layers": [
            {"value": name, "label": f"Grad-CAM · {short}"} for name, short in layers.items()
        ],
        "layer": result.layer,
        "classes": [
            {"value": "", "label": "predicted of each"},
            *({"value": str(index), "label": name} for index, name in enumerate(plain)),
        ],
        "class_value": "" if class_index is None else str(class_index),
        "scores": _scores(result, plain, true_class),
        "chips": _chips(result),
    }


def _verdict(result: TestResult, names: Sequence[str], true_class: int | None) -> dict[str, Any]:
    before, after = (
        {
            "name": names[index],
            "score": float(result.scores[row, index]),
            "colour": theme.class_variable(index, len(names)),
        }
        for row, index in enumerate(result.predicted)
    )
    first = f"{before['name']} {before['score']:.2f}"
    second = f"{after['name']} {after['score']:.2f}"
    if result.change.is_identity:
        spoken = first
    elif result.is_flipped:
        spoken = f"{first} changes to {second}: prediction flipped"
    else:
        spoken = f"{first} changes to {second}: prediction holds"
    return {
        "before": before,
        "after": after,
        "is_changed": not result.change.is_identity,
        "is_flipped": result.is_flipped,
        "truth": "" if true_class is None else names[true_class],
        "is_wrong": true_class is not None and result.predicted[0] != true_class,
        "spoken": spoken,
    }


def _evidence(
    result: TestResult, names: Sequence[str], layers: Mapping[str, str], default_layer: str
) -> dict[str, Any]:
    height, width = result.maps.shape[1:]
    highest = [float(part.max()) for part in result.maps]
    has_little = min(height, width) < 4 or max(highest) <= 0
    return {
        "width": width,
        "height": height,
        "layer": layers.get(result.layer, safe.plain(result.layer, limit=40)),
        "names": [names[index] for index in result.classes],
        "max": highest,
        "better": default_layer if has_little and default_layer != result.layer else "",
        "better_label": layers.get(default_layer, ""),
    }


def _scores(
    result: TestResult, names: Sequence[str], true_class: int | None
) -> list[dict[str, Any]]:
    before, after = result.scores
    order = np.lexsort((-before, -after))
    shown = [int(index) for index in order[:SHOWN_CLASSES]]
    shown += [index for index in (result.predicted[0], true_class) if index is not None]
    shown = sorted(dict.fromkeys(shown), key=lambda index: -float(after[index]))
    return [
        {
            "name": names[index],
            "colour": theme.class_variable(index, len(names)),
            "before": float(before[index]),
            "after": float(after[index]),
            "is_true": index == true_class,
        }
        for index in shown
    ]


def _chips(result: TestResult) -> list[dict[str, str]]:
    def pair(values: tuple[float, float], *, sign: bool) -> str:
        texts = [f"{value:{'+' if sign else ''}.2f}".replace("-", MINUS) for value in values]
        return texts[0] if result.change.is_identity else " → ".join(texts)

    return [
        {
            "text": f"margin {pair(result.margin, sign=True)}",
            "help": "Score of the class predicted first, less the best other score",
        },
        {
            "text": f"entropy {pair(result.entropy, sign=False)}",
            "help": "Of the scores, in nats: 0 is certain",
        },
    ]
