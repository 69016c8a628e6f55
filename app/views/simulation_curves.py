"""What the simulation view draws, worked out from the table of class curves; no Panel here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app import safe, theme
from feature_store import queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from feature_store.queries import AllImages, ClassCurves, Crossing, SimulationRows

HOLDS_ABOVE = 0.8
"""Mean score (or accuracy) above which a class is said to hold."""

MAX_PANELS = 10
"""Classes that are drawn at once; up to two more do not make a list to search in."""

MOST_CLASSES = 12
"""Up to so many classes all are drawn."""

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


def shown_classes(curves: ClassCurves, measure: str, framed: int | None) -> list[int]:
    """Choose the classes that are drawn, in the order of their panels.

    Parameters
    ----------
    curves : ClassCurves
        One perturbation, every class.
    measure : str
        ``"mean_score"`` or ``"accuracy"``.
    framed : int or None
        Class that is looked at: never left out.

    Returns
    -------
    list of int
        The class that falls under the smallest change first; all up to ``MOST_CLASSES``, else the
        ``MAX_PANELS`` that fall fastest.
    """
    found = [
        queries.first_below(
            curves.magnitudes, curve, identity=curves.identity, threshold=HOLDS_ABOVE
        )
        for curve in curves.value[measure]
    ]
    hastes = [
        _haste(*each, curves.identity) for each in zip(found, curves.value[measure], strict=True)
    ]
    order = sorted(range(len(found)), key=lambda k: hastes[k])
    classes = [int(curves.true_classes[k]) for k in order]
    if len(classes) <= MOST_CLASSES:
        return classes
    kept = classes[:MAX_PANELS]
    if framed is not None and framed in classes and framed not in kept:
        kept = [framed, *kept[:-1]]
    return kept


def draw_data(
    rows: SimulationRows,
    together: AllImages,
    *,
    order: Sequence[int],
    total: int,
    class_names: Sequence[str],
    label: str,
    measure: str,
) -> dict[str, Any]:
    """Return what ``SimulationCurves`` draws.

    Parameters
    ----------
    rows : SimulationRows
        One perturbation, at least of the classes in ``order``.
    together : AllImages
        Of the same perturbation, whichever classes are drawn.
    order : sequence of int
        Class indices of the panels; see ``shown_classes``.
    total : int
        How many classes were simulated.
    class_names : sequence of str
        Raw names by class index.
    label : str
        Name of the perturbation on the screen.
    measure : str
        ``"mean_score"`` or ``"accuracy"``.

    Returns
    -------
    dict
        Plain JSON data.
    """
    value, low, high = own_curves(rows, measure)
    xs = [float(x) for x in rows.magnitudes]
    identity = rows.identity if np.isfinite(rows.identity) else xs[0]
    places = {int(index): k for k, index in enumerate(rows.true_classes)}
    drawn = [places[index] for index in order if index in places]
    names = [safe.plain(name, limit=24) for name in class_names]
    kind = rows.perturbation
    is_score = measure == "mean_score"
    panels = []
    for k in drawn:
        fall = queries.first_below(
            rows.magnitudes, value[k], identity=identity, threshold=HOLDS_ABOVE
        )
        panels.append(
            {
                **_line(int(rows.true_classes[k]), names, value[k], low[k], high[k]),
                **_notes(fall, value[k], xs, identity, kind),
                "n": int(rows.n[k]),
                "lines": _rivals(rows, k, names) if is_score else [],
            }
        )
    kept = ("id", "name", "colour", "y", "lo", "hi", "n")
    return {
        "x": xs,
        "xtexts": [f"{label} {magnitude_text(kind, x)}" for x in xs],
        "ticks": axis_ticks(xs, identity, kind),
        "identity": identity,
        "title": "All classes" if len(drawn) == total else f"{len(drawn)} of {total:,} classes",
        "subtitle": "score of the true class" if is_score else "share predicted right",
        "measure": "mean score" if is_score else "accuracy",
        "label": f"{'Mean score' if is_score else 'Accuracy'} against {label}",
        "can_search": len(drawn) < total,
        "together": _together(together, measure, rows.magnitudes),
        "overview": [{key: panel[key] for key in kept} for panel in panels],
        "panels": panels,
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
    """Say when a class falls: for the head of its panel, short, and in full."""
    if fall.magnitude is None:
        return {"note": "holds", "short": "holds", "long": f"nowhere below {HOLDS_ABOVE:g}"}
    if fall.is_below_at_identity:
        start = int(np.argmin(np.abs(np.asarray(xs) - identity)))
        return {
            "note": f"starts below {HOLDS_ABOVE:g}",
            "short": "low",
            "long": f"{values[start]:.2f} without a change, below {HOLDS_ABOVE:g} from the start",
        }
    text = magnitude_text(perturbation, fall.magnitude)
    return {
        "note": f"below {HOLDS_ABOVE:g} at {text}",
        "short": text,
        "long": f"falls below {HOLDS_ABOVE:g} at {text}",
    }


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


def _together(pooled: AllImages, measure: str, magnitudes: NDArray[np.float64]) -> dict[str, Any]:
    """Return the line of all images at the places of the axis; a gap where there is none."""
    at = np.searchsorted(magnitudes, pooled.magnitudes)

    def laid(values: NDArray[np.float64]) -> list[float | None]:
        line = np.full(len(magnitudes), np.nan)
        line[at] = values
        return _numbers(line)

    n = np.zeros(len(magnitudes), np.int64)
    n[at] = pooled.n
    return {
        "name": "all images",
        "colour": "var(--vt-ink)",
        "y": laid(pooled.value[measure]),
        "lo": laid(pooled.low[measure]),
        "hi": laid(pooled.high[measure]),
        "ns": n.tolist(),
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
            "id": classes[o],
            "name": names[classes[o]],
            "colour": "var(--vt-context)",
            "y": _numbers(rows.mean_score[k, :, o]),
        }
        for o in others
    ]
    for rank, o in enumerate(strongest):
        line = {
            "id": classes[o],
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


def axis_ticks(xs: Sequence[float], identity: float, perturbation: str) -> list[list[Any]]:
    """Return ``[magnitude, text]`` of the ends of an axis and of the identity."""
    places = sorted({xs[0], identity, xs[-1]})
    return [
        [x, "0" if x == 0 and identity == 0 else magnitude_text(perturbation, x)] for x in places
    ]


def _numbers(values: NDArray[np.floating]) -> list[float | None]:
    return [round(float(v), 4) if np.isfinite(v) else None for v in values]
