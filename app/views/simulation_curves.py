"""What the simulation view draws, worked out from the table of class curves; no Panel here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app import safe, theme
from feature_store import queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from feature_store.queries import Crossing, SimulationRows

HOLDS_ABOVE = 0.8
"""Mean score (or accuracy) above which a class is said to hold."""

MAX_PANELS = 10
_RIVALS = 3
_RIVAL_FLOOR = 0.05


def own_curves(
    rows: SimulationRows, measure: str
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the curve of each true class itself, with the ends of its 95 % band.

    Parameters
    ----------
    rows : SimulationRows
        One perturbation.
    measure : str
        ``"mean_score"`` or ``"accuracy"``.

    Returns
    -------
    tuple of ndarray of shape (true classes, magnitudes)
        Value, lower and upper end, in [0, 1].
    """
    if measure == "accuracy":
        return rows.accuracy, rows.accuracy_low, rows.accuracy_high
    return rows.own(rows.mean_score), rows.own(rows.low), rows.own(rows.high)


def magnitude_text(perturbation: str, value: float) -> str:
    """Return a magnitude as the page writes it, with its unit and a true minus sign."""
    if perturbation == "rotation":
        text = f"{value:.0f}°"
    elif perturbation == "fgsm":
        text = f"{value * 255:.2g}/255"
    elif perturbation in {"blur", "region"}:
        text = f"{100 * value:.3g} %"
    elif perturbation in {"saturation", "contrast", "brightness"}:
        text = f"{value:.2g}×"
    elif perturbation in {"horizontal_flip", "vertical_flip"}:
        text = "on" if value else "off"
    else:
        text = f"{value:.2g}"
    return text.replace("-", "−")


def draw_data(
    rows: SimulationRows,
    *,
    class_names: Sequence[str],
    label: str,
    measure: str,
) -> dict[str, Any]:
    """Return what ``SimulationCurves`` draws.

    Parameters
    ----------
    rows : SimulationRows
        One perturbation.
    class_names : sequence of str
        Raw names by class index.
    label : str
        Name of the perturbation on the screen.
    measure : str
        ``"mean_score"`` or ``"accuracy"``.

    Returns
    -------
    dict
        Plain JSON data; the panels are ordered by how early their class falls, at most ten.
    """
    value, low, high = own_curves(rows, measure)
    xs = [float(x) for x in rows.magnitudes]
    identity = rows.identity if np.isfinite(rows.identity) else xs[0]
    falls = [
        queries.first_below(rows.magnitudes, curve, identity=identity, threshold=HOLDS_ABOVE)
        for curve in value
    ]
    order = sorted(range(len(falls)), key=lambda k: _haste(falls[k], value[k], identity))
    order = order[:MAX_PANELS]
    names = [safe.plain(name, limit=24) for name in class_names]
    kind = rows.perturbation
    lines = [_line(int(rows.true_classes[k]), names, value[k], low[k], high[k]) for k in order]
    is_score = measure == "mean_score"
    return {
        "x": xs,
        "xtexts": [f"{label} {magnitude_text(kind, x)}" for x in xs],
        "ticks": _ticks(xs, identity, kind),
        "identity": identity,
        "title": "All classes"
        if len(order) == len(falls)
        else f"{len(order)} of {len(falls):,} classes",
        "subtitle": "score of the true class" if is_score else "share predicted right",
        "label": f"{'Mean score' if is_score else 'Accuracy'} against {label}",
        "overview": lines,
        "panels": [
            {
                **line,
                **_notes(falls[k], value[k], xs, identity, kind),
                "lines": _rivals(rows, k, names) if is_score else [],
            }
            for k, line in zip(order, lines, strict=True)
        ],
    }


def _haste(
    fall: Crossing, values: NDArray[np.float32], identity: float
) -> tuple[bool, float, float]:
    """Sort key: the class that falls under the smallest change comes first."""
    distance = 0.0 if fall.magnitude is None else abs(fall.magnitude - identity)
    return fall.holds, distance, float(np.nan_to_num(values).mean())


def _notes(
    fall: Crossing,
    values: NDArray[np.float32],
    xs: list[float],
    identity: float,
    perturbation: str,
) -> dict[str, str]:
    """How a panel's head says when its class falls: in words, and short."""
    if fall.magnitude is None:
        return {"note": "holds", "short": "holds"}
    if fall.is_below_at_identity:
        start = int(np.argmin(np.abs(np.asarray(xs) - identity)))
        return {
            "note": f"{values[start]:.2f} unchanged",
            "short": f"< {HOLDS_ABOVE:g}",
        }
    text = magnitude_text(perturbation, fall.magnitude)
    return {"note": f"< {HOLDS_ABOVE:g} at {text}", "short": text}


def _line(
    index: int,
    names: Sequence[str],
    value: NDArray[np.float32],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
) -> dict[str, Any]:
    return {
        "id": index,
        "name": names[index],
        "colour": theme.class_variable(index, len(names)),
        "y": _numbers(value),
        "lo": _numbers(low),
        "hi": _numbers(high),
    }


def _rivals(rows: SimulationRows, k: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """Lines of the other output classes: the strongest dashed and named, the rest grey."""
    scores = np.nan_to_num(rows.mean_score[k])
    classes = [int(index) for index in rows.output_classes]
    peaks = scores.max(axis=0)
    ranked = [o for o in np.argsort(-peaks, kind="stable") if classes[o] != rows.true_classes[k]]
    strongest = [o for o in ranked[:_RIVALS] if peaks[o] >= _RIVAL_FLOOR]
    others = [o for o in ranked[:MAX_PANELS] if o not in strongest]
    lines: list[dict[str, Any]] = [
        {
            "name": names[classes[o]],
            "colour": "var(--vt-context)",
            "y": _numbers(rows.mean_score[k, :, o]),
        }
        for o in others
    ]
    for rank, o in enumerate(strongest):
        line = {
            "name": names[classes[o]],
            "colour": theme.class_variable(classes[o], len(names)),
            "y": _numbers(rows.mean_score[k, :, o]),
            "dash": True,
        }
        if rank == 0:
            margin = len(scores) // 5
            at = int(np.clip(scores[:, o].argmax(), margin, len(scores) - 1 - margin))
            line["mark"] = [float(rows.magnitudes[at]), float(scores[at, o])]
        lines.append(line)
    return lines


def _ticks(xs: list[float], identity: float, perturbation: str) -> list[list[Any]]:
    places = sorted({xs[0], identity, xs[-1]})
    return [
        [x, "0" if x == 0 and identity == 0 else magnitude_text(perturbation, x)] for x in places
    ]


def _numbers(values: NDArray[np.float32]) -> list[float | None]:
    return [round(float(v), 4) if np.isfinite(v) else None for v in values]
