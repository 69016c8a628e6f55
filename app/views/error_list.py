"""Patterns behind one kind of error, beside what finds the same errors without any pattern."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from app import safe
from app.layer_names import filter_name
from app.views import pattern_figures
from feature_store import queries
from feature_store.patterns.baselines import enrichment_baselines
from feature_store.patterns.enrichment import confusion_cells, error_enrichment

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from app.runtime import Runtime
    from app.state import Selection, SessionState
    from feature_store import Store
    from feature_store.patterns.baselines import Baselines
    from feature_store.patterns.cards import PatternCard
    from feature_store.patterns.enriched import ConfusionCell, ErrorEnrichment, FoundSlice

BEST_PATH_SET = "mean"
"""Path set that explains the most errors (``docs/planted_bias.md``)."""

LEAD = "Without a pattern: "
"""Begin of the first line of the comparison, which sums up the others."""

_FILTER = re.compile(r"filter (\d+) of layer (\d+)")
_CLUSTER = re.compile(r"cluster (\d+) of \d+ of the embedding")
_SHORT = {"predicted": "the prediction", "margin": "small margins"}
_LIMITS = {
    "predicted": " (both halves)",
    "score": ", which is nearly how the error is defined",
}

_CLEAN = "; clusters are found in networks without a shortcut, too"

MOST_CELLS = 60
"""Kinds of errors that are offered, the most frequent ones."""


def cells(store: Store, split: str) -> tuple[ConfusionCell, ...]:
    """Return the kinds of errors of a split, the most frequent first; empty for all images."""
    return confusion_cells(store, split or None)[:MOST_CELLS]


def path_set_for_errors(store: Store, shown: str) -> str:
    """Return the path set to begin with behind an error: the best one, or what is shown."""
    return BEST_PATH_SET if store.has(f"patterns/{BEST_PATH_SET}/patterns") else shown


def chosen_cell(runtime: Runtime, state: SessionState) -> tuple[int, int] | None:
    """Return the (true, predicted) classes that are meant: chosen, the focus's, or the commonest.

    Parameters
    ----------
    runtime : Runtime
        Predictions.
    state : SessionState
        What was chosen, focus and split.

    Returns
    -------
    tuple of (int, int) or None
        None where the split has no errors.
    """
    known = [(cell.true_class, cell.predicted_class) for cell in cells(runtime.store, state.split)]
    row = None if state.focus is None else runtime.images.row(state.focus)
    table = runtime.images
    of_focus = (
        None if row is None else (int(table.true_class[row]), int(table.predicted_class[row]))
    )
    wanted = [state.errors, of_focus, *known[:1]]
    return next((cell for cell in wanted if cell in known), None)


def offered(runtime: Runtime, split: str) -> list[dict[str, str]]:
    """Return the kinds of errors to choose from, as plain text."""
    return [
        {
            "value": f"{cell.true_class}-{cell.predicted_class}",
            "label": f"{_name(runtime, cell.true_class)} → "
            f"{_name(runtime, cell.predicted_class)} ({cell.n:,})",
        }
        for cell in cells(runtime.store, split)
    ]


def find(store: Store, path_set: str, cell: tuple[int, int], split: str) -> ErrorEnrichment:
    """Search the patterns of convolutions; see ``error_enrichment``."""
    true, predicted = cell
    return error_enrichment(
        store, path_set, true_class=true, predicted_class=predicted, split=split or None
    )


def items(
    found: ErrorEnrichment,
    runtime: Runtime,
    path_set: str,
    *,
    names: Sequence[str],
    modules: Sequence[str],
    selection: Selection,
    focus: int | None,
    universe: NDArray[np.int32],
) -> list[dict[str, Any]]:
    """Return the cards of the confirmed patterns, each with what it was confirmed by.

    Parameters
    ----------
    found : ErrorEnrichment
        The answer.
    runtime : Runtime
        Store, names and thumbnails.
    path_set : str
        Path set of the patterns.
    names, modules : sequence of str
        Short names and module paths of the layers.
    selection : Selection
        Images that are not dimmed.
    focus : int or None
        Image with the magenta frame.
    universe : ndarray of int32
        Images of the split that is shown.

    Returns
    -------
    list of dict
        ``card_items`` of ``PatternCards``; the images are the errors first.
    """
    made = []
    for each in found.confirmed:
        pattern = queries.pattern_card(runtime.store, path_set, each.key)
        card = pattern_figures.card(
            pattern,
            runtime,
            names=names,
            modules=modules,
            selection=selection,
            focus=focus,
            select=pattern_figures.select_words(
                queries.pattern_members(runtime.store, path_set, each.key),
                universe,
                found.split or "",
            ),
        )
        there = each.confirmation
        card |= {
            "images": pattern_figures.thumbs(runtime, each.image_ids[:16], selection, focus),
            "count": f"{there.n_member_errors:,}",
            "of": f" of its {there.n_members:,} {_name(runtime, found.true_class)} "
            "images on this half",
            "count_help": _counted(found, each, pattern),
            "lift": f"{there.lift or 0:.1f}×",
            "q": f"q {each.confirmation_q:.2g}",
            "why": safe.plain(_sentence(found, each), limit=400),
        }
        made.append(card)
    return made


def _counted(found: ErrorEnrichment, each: FoundSlice, card: PatternCard) -> str:
    """Return what the counts on a card are of: part of the members alone."""
    true, predicted = (safe.plain(name, limit=24) for name in found.class_names)
    there = each.confirmation
    return (
        f"Of its {card.support:,} members {there.n_members:,} are images of {true} on the half "
        f"that confirms, and {there.n_member_errors:,} of those are predicted {predicted}. The "
        "mix of classes and the share of wrong predictions count all members"
    )


def errors_of(found: ErrorEnrichment | None) -> dict[int, tuple[int, ...]]:
    """Return the errors among the members of each confirmed pattern, by pattern."""
    return {
        each.key: each.image_ids[
            : each.discovery.n_member_errors + each.confirmation.n_member_errors
        ]
        for each in (found.confirmed if found else ())
    }


def header(found: ErrorEnrichment, path_set: str) -> dict[str, Any]:
    """Return the head of the list: what was tested, or why nothing is shown.

    Parameters
    ----------
    found : ErrorEnrichment
        The answer.
    path_set : str
        Path set of the patterns.

    Returns
    -------
    dict
        ``title``, ``detail``, ``notes``; and for an empty list ``headline``, ``words`` and
        ``cure``.
    """
    head: dict[str, Any] = {
        "title": "Patterns",
        "detail": f"{len(found.confirmed)} confirmed of {found.n_tested:,} tested",
        "notes": [f"{LEAD}comparing with clusters, filters, pixels and scores …"],
    }
    if found.confirmed:
        return head
    words = found.reason[:1].upper() + found.reason[1:]
    head |= {
        "headline": "Nothing is confirmed behind these errors",
        "words": safe.plain(f"{words}. Path set {path_set}, convolutions only.", limit=500),
    }
    if path_set != BEST_PATH_SET:
        head["cure"] = f"Look in path set {BEST_PATH_SET}"
    return head


def nothing(split: str) -> dict[str, Any]:
    """Return the head where no image is predicted wrong."""
    where = f" of {safe.plain(split, limit=20)}" if split else ""
    return {
        "title": "Patterns",
        "detail": "",
        "headline": "There are no errors",
        "words": f"Every labelled image{where} is predicted right.",
    }


def compare(store: Store, found: ErrorEnrichment, names: Sequence[str]) -> list[str]:
    """Return what finds these errors without a pattern, in one sentence each.

    Parameters
    ----------
    store : Store
        Opened store.
    found : ErrorEnrichment
        The answer that they stand beside.
    names : sequence of str
        Short names of the layers.

    Returns
    -------
    list of str
        Plain text; the first line sums up the others.
    """
    baselines = enrichment_baselines(store, found)
    lines = [_summary(baselines), *_lines(baselines, names)]
    return [safe.plain(line[:1].upper() + line[1:], limit=300) for line in lines]


def _summary(baselines: Baselines) -> str:
    """Return in one line how many of the images that each way finds are these errors."""
    ways = (
        (baselines.clusters, "clusters"),
        (baselines.filters, "filters"),
        (baselines.pixels, "pixels"),
    )
    parts = []
    for found, what in ways:
        if found is not None and found.confirmed:
            there = found.confirmed[0].confirmation
            parts.append((what, f"{there.n_member_errors:,} of {there.n_members:,}"))
        elif found is not None:
            parts.append((what, "none"))
    for plain in baselines.plain:
        if plain.name in _SHORT:
            counts = plain.counts
            found_there = f"{counts.n_member_errors:,} of {counts.n_members:,}"
            parts.append((_SHORT[plain.name], found_there))
    # The verb is said once.
    verbs = [" find", *[""] * len(parts)]
    words = [f"{what}{verb} {n}" for (what, n), verb in zip(parts, verbs, strict=False)]
    return f"{LEAD}{', '.join(words)}" if words else f"{LEAD}nothing to compare with"


def _lines(baselines: Baselines, names: Sequence[str]) -> list[str]:
    lines = []
    for found, what in (
        (baselines.clusters, "Clusters of the embedding"),
        (baselines.filters, "Single filters"),
        (baselines.pixels, "Pixels"),
    ):
        if found is None:
            continue
        if not found.confirmed:
            lines.append(f"{what}: none confirmed ({found.n_tested:,} tested)")
            continue
        best = found.confirmed[0]
        there = best.confirmation
        share = f"{there.n_member_errors:,} of {there.n_members:,}"
        lines.append(
            f"{what}: {_short(best.label, names)}, {share} are this error, "
            f"{there.lift or 0:.1f}×{_CLEAN if found is baselines.clusters else ''}"
        )
    for plain in baselines.plain:
        counts = plain.counts
        lines.append(
            f"{plain.label}: {counts.n_member_errors:,} of {counts.n_members:,} are this error"
            f"{_LIMITS.get(plain.name, '')}"
        )
    return lines


def _short(label: str, names: Sequence[str]) -> str:
    """Call filters and clusters as the page does."""
    label = _FILTER.sub(lambda at: filter_name(names[int(at[2])], int(at[1])), label)
    return _CLUSTER.sub(r"no. \1", label)


def _sentence(found: ErrorEnrichment, each: FoundSlice) -> str:
    text = found.sentence(each)
    if each.twins:
        n, holds = len(each.twins), "pattern holds" if len(each.twins) == 1 else "patterns hold"
        text += f". {n:,} more {holds} mostly the same errors"
    return text


def _name(runtime: Runtime, index: int) -> str:
    return safe.plain(runtime.class_name(index), limit=24)
