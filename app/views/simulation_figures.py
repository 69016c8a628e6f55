"""What the maximised simulation says beside its curves, as plain data; no Panel here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app import orders, safe, theme
from app.views.simulation_curves import axis_ticks, magnitude_text
from feature_store import QueryError, queries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from feature_store import Store
    from feature_store.queries import CalibrationRows, Consistency, Falls, FragileImages

MOST_ROWS = 300
"""Rows of the ranking that travel to the page; with few classes that is all of them."""

MOST_GROUPS = 50
"""Predicted classes for which consistency is offered."""

IMAGES = 8
"""Images of the class in each of the two rows."""

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Quantiles of the smallest flip."""

_NEVER = "none"


def interval_text(low: float, high: float, digits: int = 2) -> str:
    """Return an interval as the page writes it."""
    return f"{low:.{digits}f} to {high:.{digits}f}"


def ranking(
    found: Falls,
    *,
    names: Sequence[str],
    labels: Mapping[str, str],
    shown: tuple[str, int | None],
) -> dict[str, Any]:
    """Return the table of classes and changes, the fastest fall first.

    Parameters
    ----------
    found : Falls
        Every class under every change.
    names : sequence of str
        Plain class names by index.
    labels : mapping of str to str
        Name of a change on the screen.
    shown : tuple of (str, int or None)
        Perturbation and class that are looked at.

    Returns
    -------
    dict
        Card ``ranking`` of ``SimulationMeasures``.
    """
    order = found.fastest()[:MOST_ROWS]
    is_score = found.measure == "mean_score"
    what = "mean score of the true class" if is_score else "accuracy"
    words = (
        f"Half at: where the {what} first falls below half of its value without a change, "
        "walking away from no change; in brackets the same of both ends of the 95 % band. Sorted "
        "by the share of the swept range that this takes. Lost: share of the value lost on "
        "average over the range."
    )
    part = f"{len(order):,} of {len(found):,}" if len(order) < len(found) else f"{len(found):,}"
    return {
        "note": f"{part} rows of class and change · by {'mean score' if is_score else 'accuracy'}",
        "caption": f"How fast the {what} of each class falls under each change",
        "words": [words],
        "rows": [_rank(found, int(k), names, labels, shown) for k in order],
    }


def _rank(
    found: Falls,
    k: int,
    names: Sequence[str],
    labels: Mapping[str, str],
    shown: tuple[str, int | None],
) -> dict[str, Any]:
    kind, index = str(found.perturbation[k]), int(found.true_class[k])
    holds = bool(np.isnan(found.reach[k]))

    def at(value: float) -> str:
        return "beyond" if np.isnan(value) else magnitude_text(kind, float(value))

    early, late = at(found.early[k]), at(found.late[k])
    lost = interval_text(100 * found.lost_low[k], 100 * found.lost_high[k], 0)
    return {
        "perturbation": kind,
        "label": labels.get(kind, kind),
        "id": index,
        "name": names[index],
        "colour": theme.class_variable(index, len(names)),
        "start": round(float(found.start[k]), 4),
        "start_text": f"{found.start[k]:.2f}",
        "reach": None if holds else round(float(found.reach[k]), 5),
        "half_text": "holds" if holds else at(found.magnitude[k]),
        "half_interval": "" if holds else f"({early}, {late})",
        "half_title": "Never below half within what was swept"
        if holds
        else f"95 % band: from {early} to {late}; "
        f"{100 * found.reach[k]:.0f} % of the range on this side",
        "lost": round(float(np.nan_to_num(found.lost[k])), 4),
        "lost_text": f"{100 * np.nan_to_num(found.lost[k]):.0f} %".replace("-", "−"),
        "lost_title": f"95 % band: {lost} %".replace("-", "−"),
        "n": int(found.n[k]),
        "is_on": (kind, index) == shown,
    }


def calibration(rows: CalibrationRows, *, label: str, method: str = "") -> dict[str, Any]:
    """Return the reliability diagram of every magnitude, and the error along them.

    Parameters
    ----------
    rows : CalibrationRows
        One perturbation.
    label : str
        Name of it on the screen.
    method : str
        One more sentence, such as what part of the data was swept.

    Returns
    -------
    dict
        Card ``calibration`` of ``SimulationMeasures``.
    """
    kind, xs = rows.perturbation, [float(x) for x in rows.magnitudes]
    start = rows.at_identity
    at = [_reliability(rows, k, label) for k in range(len(xs))]
    interval = interval_text(rows.error_low[start], rows.error_high[start], 3)
    said = f"{rows.error[start]:.3f} ({interval})"
    return {
        "note": f"{label}, {int(rows.n[start].sum()):,} images",
        "label": label,
        "x": xs,
        "ticks": axis_ticks(xs, xs[start], kind),
        "identity": xs[start],
        "error": _numbers(rows.error),
        "low": _numbers(rows.error_low),
        "high": _numbers(rows.error_high),
        "chance": _numbers(rows.error_by_chance),
        "along": f"Expected error against {label}",
        "legend": "band 95 % · dashed: what chance alone shows",
        "spoken": f"Expected calibration error against {label}, {said} without a change, "
        f"n {int(rows.n[start].sum()):,}",
        "at": at,
        "rows": [
            [
                magnitude_text(kind, x),
                f"{rows.error[k]:.3f}",
                interval_text(rows.error_low[k], rows.error_high[k], 3),
                f"{rows.error_by_chance[k]:.3f}",
                f"{int(rows.n[k].sum()):,}",
            ]
            for k, x in enumerate(xs)
        ],
        "words": [
            f"Dots: {rows.n.shape[1]} bins of confidence, area by images, whiskers 95 %; below "
            "the line the network is surer than it is right. Expected error: mean distance from "
            f"the line, weighted by images. {method}".strip()
        ],
    }


def _reliability(rows: CalibrationRows, k: int, label: str) -> dict[str, Any]:
    text = magnitude_text(rows.perturbation, float(rows.magnitudes[k]))
    title = "Unchanged" if k == rows.at_identity else f"{label} {text}"
    total = int(rows.n[k].sum())
    error = interval_text(rows.error_low[k], rows.error_high[k], 3)
    bins = []
    for b in np.flatnonzero(rows.n[k]):
        edges = f"{rows.edges[b]:.2f} to {rows.edges[b + 1]:.2f}"
        band = interval_text(rows.accuracy_low[k, b], rows.accuracy_high[k, b])
        confidence, accuracy = rows.mean_confidence[k, b], rows.accuracy[k, b]
        count = f"{int(rows.n[k, b]):,}"
        bins.append(
            {
                "n": int(rows.n[k, b]),
                "confidence": round(float(confidence), 4),
                "accuracy": round(float(accuracy), 4),
                "low": round(float(rows.accuracy_low[k, b]), 4),
                "high": round(float(rows.accuracy_high[k, b]), 4),
                "title": f"confidence {edges}: right {accuracy:.2f} ({band}), n {count}",
                "row": [edges, f"{confidence:.3f}", f"{accuracy:.3f}", band, count],
            }
        )
    return {
        "title": f"{title} · n {total:,}",
        "words": f"expected error {rows.error[k]:.3f} ({error})" if total else "no images",
        "spoken": f"Reliability, {title}: accuracy against confidence, n {total:,}, "
        f"expected calibration error {rows.error[k]:.3f}",
        "bins": bins,
    }


def consistency(
    store: Store, *, names: Sequence[str], labels: Mapping[str, str], split: str
) -> dict[str, Any]:
    """Return how often the prediction stays under what the project declares harmless.

    Parameters
    ----------
    store : Store
        Opened store.
    names : sequence of str
        Plain class names by index.
    labels : mapping of str to str
        Name of a change on the screen.
    split : str
        What was swept, in words.

    Returns
    -------
    dict
        Card ``consistency`` of ``SimulationMeasures``, with a message where nothing can be said.
    """
    declared = queries.harmless_changes(store)
    if not declared:
        return {
            "message": "The project declares no change harmless: name some under "
            "[simulate.harmless] of the project file, such as rotation = 15.0."
        }
    found, missing = [], []
    for name in declared:
        try:
            rows = queries.consistency(store, name)
        except QueryError:
            missing.append(f"{labels.get(name, name)} is declared harmless but was not swept.")
            continue
        if len(rows.magnitudes):
            found.append(rows)
        else:
            missing.append(f"No swept {labels.get(name, name)} lies within the harmless limit.")
    if not found:
        return {"message": " ".join(missing)}
    classes = found[0].classes[: MOST_GROUPS + 1]
    groups = [
        {
            "name": "all images" if index < 0 else f"predicted {names[index]}",
            "rows": [row for rows in found for row in _stays(rows, int(index), labels)],
        }
        for index in classes
    ]
    return {
        "note": f"{split}, prediction without a change against with it",
        "groups": groups,
        "words": [
            (
                "Share of images whose prediction stays under changes that the project declares "
                "harmless; no label is used. A network that is wrong both times is consistent too."
            ),
            *missing,
        ],
    }


def _stays(rows: Consistency, index: int, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    group = int(np.flatnonzero(rows.classes == index)[0])
    label = labels.get(rows.perturbation, rows.perturbation)
    texts = [f"{label} {magnitude_text(rows.perturbation, m)}" for m in rows.magnitudes]
    columns = list(range(len(texts)))
    if len(texts) > 1:
        texts.append(f"{label}, all of these")
        columns.append(len(rows.magnitudes))
    kept = [*rows.kept[group], rows.kept_all[group]]
    return [
        {
            "label": text,
            "share": round(float(rows.share[group, column]), 4),
            "low": round(float(rows.low[group, column]), 4),
            "high": round(float(rows.high[group, column]), 4),
            "text": f"{100 * rows.share[group, column]:.0f} %",
            "interval": interval_text(
                100 * rows.low[group, column], 100 * rows.high[group, column], 0
            )
            + " %",
            "n": f"{int(kept[column]):,} of {int(rows.n[group]):,}",
            "is_all": column == len(rows.magnitudes),
        }
        for text, column in zip(texts, columns, strict=True)
    ]


def flips(
    store: Store, perturbation: str, *, names: Sequence[str], label: str, shown: int | None
) -> dict[str, Any]:
    """Return the quantiles of the smallest flip of every class.

    Parameters
    ----------
    store : Store
        Opened store.
    perturbation : str
        Name of the change.
    names : sequence of str
        Plain class names by index.
    label : str
        Name of the change on the screen.
    shown : int or None
        Class that is looked at.

    Returns
    -------
    dict
        Card ``flips`` of ``SimulationMeasures``; the class with the smallest median first.
    """
    found = queries.flip_quantiles(store, perturbation, quantiles=SHARES)
    known_sweeps = queries.swept_perturbations(store)
    sweep = next(each for each in known_sweeps if each.name == perturbation)
    reach = queries.flip_distances(store, perturbation)[1]
    finite = reach[np.isfinite(reach)]
    widest = float(finite.max()) if len(finite) else 1.0
    middle = np.nan_to_num(found.distances, nan=np.inf)
    known = np.flatnonzero(found.true_class >= 0)
    order = sorted(known, key=lambda k: (tuple(middle[k][[2, 1, 3]]), k))
    order = _kept_in_view(order, found.true_class, shown, MOST_GROUPS)

    def text(value: float) -> str:
        return _NEVER if np.isnan(value) else orders.distance_text(sweep, value)

    return {
        "note": f"{label}: distance from no change",
        "caption": f"Share of a class that has flipped within a distance of {label}",
        "shares": ["10 %", "25 %", "half", "75 %", "90 %"],
        "rows": [
            {
                "name": names[found.true_class[k]],
                "colour": theme.class_variable(int(found.true_class[k]), len(names)),
                "texts": [text(value) for value in found.distances[k]],
                "places": [
                    None if np.isnan(value) else round(float(value) / widest, 4)
                    for value in found.distances[k]
                ],
                "never": f"{int(found.n[k] - found.n_flipped[k]):,}",
                "never_wrong": f"{int(found.n_never_wrong[k]):,}",
                "n": f"{int(found.n[k]):,}",
                "is_on": int(found.true_class[k]) == shown,
            }
            for k in order
        ],
        "words": [
            (
                f"Half of a class flips within the distance under “half”; “{_NEVER}”: fewer flip "
                "within what was swept. Distances are steps of the grid: the true ones are "
                "smaller. In brackets: of those that never flip, how many are wrong from the "
                "start; an error that only deepens is no flip."
            )
        ],
    }


def _kept_in_view(
    order: list[Any], classes: NDArray[np.int16], shown: int | None, most: int
) -> list[Any]:
    """Cut a list of places, but keep that of the class that is looked at."""
    kept = order[:most]
    mine = [k for k in order if shown is not None and classes[k] == shown]
    return kept if not mine or mine[0] in kept else [mine[0], *kept[:-1]]


def images(
    fragile: FragileImages,
    sturdy: FragileImages,
    *,
    perturbation: str,
    label: str,
    class_name: str,
    names: Sequence[str],
    split: str,
    picture: Callable[[int], dict[str, Any]],
) -> dict[str, Any]:
    """Return the most and the least fragile images of one class.

    Parameters
    ----------
    fragile, sturdy : FragileImages
        Of the class, at most ``IMAGES`` each.
    perturbation, label : str
        The change, and its name on the screen.
    class_name : str
        Plain.
    names : sequence of str
        Plain class names by index.
    split : str
        Whose images they are, in words; says so where it is not the training split.
    picture : callable
        ``{"id", "url", "title", "is_wrong", "is_focus"}`` of an image.

    Returns
    -------
    dict
        Card ``images`` of ``SimulationMeasures``.
    """

    def row(found: FragileImages) -> list[dict[str, Any]]:
        cells = []
        for image, size, other in zip(
            found.image_id, found.magnitude, found.flipped_class, strict=True
        ):
            flipped = not np.isnan(size)
            words = magnitude_text(perturbation, float(size)) if flipped else "never"
            told = f"flips to {names[other]} at {label} {words}" if flipped else "never flips"
            shown = picture(int(image))
            if shown["is_wrong"]:
                told += ", wrong from the start"
            cells.append({**shown, "title": f"{shown['title']}, {told}", "words": words})
        return cells

    n, stays = fragile.n_swept, fragile.n_swept - fragile.n_flipped
    # An error that only deepens never flips: what stays is not thereby robust.
    errors = f", {fragile.n_never_wrong:,} of them wrong from the start" if stays else ""
    if fragile.n_never_wrong:
        errors += "; right ones first"
    return {
        "note": f"{class_name} under {label} · {split}",
        "rows": [
            {
                "title": "Most fragile",
                "note": f"{fragile.n_flipped:,} of {n:,} flip; where, below each",
                "images": row(fragile),
            },
            {
                "title": "Least fragile",
                "note": f"{stays:,} of {n:,} never flip within what was swept{errors}",
                "images": row(sturdy),
            },
        ],
    }


def plain_names(class_names: Sequence[str]) -> list[str]:
    """Return class names as the page writes them."""
    return [safe.plain(name, limit=24) for name in class_names]


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [round(float(v), 4) if np.isfinite(v) else None for v in values]
