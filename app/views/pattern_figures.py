"""What the network view draws of patterns, as plain data for its browser component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app import pattern_key, safe, theme
from app.layer_names import filter_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from app.runtime import Runtime
    from app.state import Selection
    from feature_store.patterns.cards import PatternCard

MINUS = "\u2212"

MOST_PIES = 10
"""Classes up to which a pattern's mix is a pie; above, it is a list of bars."""

_RAMP = 13

ORDERS = {
    "selection": "For the selection",
    "path": "On its path",
    "image": "For this image",
    "filters": "With the filter",
    "errors": "Behind an error",
    "general": "General",
    "distinctive": "Distinctive",
}
"""Ways to choose patterns, as the page calls them."""


def layer_colour(layer: int, layers: int) -> str:
    """Return the CSS colour of a layer on the ramp; it follows the theme."""
    at = layer * (_RAMP - 1) / max(layers - 1, 1)
    low = min(int(at), _RAMP - 2)
    share = round(100 * (at - low))
    return f"color-mix(in srgb, var(--vt-layer-{low + 1}) {share}%, var(--vt-layer-{low}))"


def chips(
    items: Sequence[tuple[int, int]],
    names: Sequence[str],
    modules: Sequence[str],
    *,
    is_path: bool = False,
    chosen: Sequence[tuple[int, int]] = (),
) -> list[dict[str, Any]]:
    """Return one chip for each (layer, filter).

    Parameters
    ----------
    items : sequence of (int, int)
        Layer and filter.
    names, modules : sequence of str
        Short names and module paths of the layers.
    is_path : bool
        Whether they follow each other on a path: then layers between two of them are skipped.
    chosen : sequence of (int, int)
        Filters that are chosen on the page.

    Returns
    -------
    list of dict
        ``text``, ``colour``, ``title``, ``is_chosen`` and ``skipped``: the layers before it that
        are skipped, each with ``colour`` and ``name``.
    """
    before = [layer for layer, _ in items[:-1]] if is_path else []
    starts = [None, *before] if is_path else [None] * len(items)
    return [
        {
            "text": filter_name(names[layer], index),
            "colour": layer_colour(layer, len(names)),
            "title": safe.plain(f"{names[layer]} ({modules[layer]}), filter {index}"),
            "is_chosen": (layer, index) in chosen,
            "skipped": [
                {"colour": layer_colour(between, len(names)), "name": safe.plain(names[between])}
                for between in range(layer if start is None else start + 1, layer)
            ],
        }
        for start, (layer, index) in zip(starts, items, strict=True)
    ]


def path_words(items: Sequence[tuple[int, int]], names: Sequence[str]) -> str:
    """Return a pattern in one line, as the selection bar names it; … stands for skipped layers."""
    words, last = "", None
    for layer, index in items:
        mark = "" if last is None else " › " if layer == last + 1 else " … "
        words += mark + filter_name(names[layer], index)
        last = layer
    return words


def thumbs(
    runtime: Runtime, ids: Sequence[int], selection: Selection, focus: int | None
) -> list[dict[str, Any]]:
    """Return thumbnails: dimmed when not selected, marked when predicted wrong."""
    return [
        {
            "id": int(image),
            "url": runtime.thumbnail_url(int(image)),
            "is_dim": image not in selection,
            "is_focus": image == focus,
            **_said_of(runtime, int(image)),
        }
        for image in ids
    ]


def select_words(members: NDArray[np.int32], universe: NDArray[np.int32], split: str) -> str:
    """Return what the button says that selects the members; of a split, only those in it."""
    within = int(np.isin(members, universe, assume_unique=True).sum())
    if within in {0, len(members)}:
        return f"Select its {len(members):,} images"
    # The counts beside it are of all splits.
    return f"Select the {within:,} of its {len(members):,} in {safe.plain(split, limit=20)}"


def _said_of(runtime: Runtime, image: int) -> dict[str, Any]:
    row = runtime.images.row(image)
    if row is None:
        return {"is_wrong": False, "title": f"image {image:,}"}
    table = runtime.images
    truth = safe.plain(runtime.class_name(int(table.true_class[row])), limit=40)
    predicted = safe.plain(runtime.class_name(int(table.predicted_class[row])), limit=40)
    score = float(table.confidence[row])
    return {
        "is_wrong": bool(table.is_wrong[row]),
        "title": f"image {image:,}: true {truth}, predicted {predicted} {score:.2f}",
    }


def card(
    pattern: PatternCard,
    runtime: Runtime,
    *,
    names: Sequence[str],
    modules: Sequence[str],
    selection: Selection,
    focus: int | None,
    select: str = "",
    filters: Sequence[tuple[int, int]] = (),
) -> dict[str, Any]:
    """Return what one card says.

    Parameters
    ----------
    pattern : PatternCard
        The pattern and its figures.
    runtime : Runtime
        Names, thumbnails and predictions.
    names, modules : sequence of str
        Short names and module paths of the layers.
    selection : Selection
        Images that are not dimmed.
    focus : int or None
        Image with the magenta frame.
    select : str
        Words of the button that selects its members.
    filters : sequence of (int, int)
        Chosen filters, where it is listed because it holds some of them.

    Returns
    -------
    dict
        One of ``card_items``; every name is plain text.
    """
    classes = [safe.plain(name, limit=40) for name in runtime.class_names]
    is_counted = not selection.is_all and pattern.n_selection > 0
    # Of one or two images, or beside a list that was not asked for the selection, it was not
    # tested, nor taken within a split: then it means nothing.
    is_tested = is_counted and pattern.q is not None
    words = path_words(pattern.items, names)
    return {
        "id": pattern_key.card_id(pattern.key),
        "spoken": f"{words}, {pattern.support} images",
        "select": select,
        "chips": chips(pattern.items, names, modules, is_path=True, chosen=filters),
        "why": _held(pattern, filters),
        "badge": _badge(pattern),
        "badge_range": _range(pattern),
        "badge_help": _purity(pattern, classes),
        "images": thumbs(runtime, pattern.image_ids[:16], selection, focus),
        "truth": _shares(pattern.true_counts, classes),
        "predicted": _shares(pattern.predicted_counts, classes),
        "is_bars": len(classes) > MOST_PIES,
        "count": f"{pattern.n_selected if is_counted else pattern.support:,}",
        "of": f" of {pattern.n_selection:,} selected" if is_counted else _images(runtime),
        "in_all": _in_all(pattern) if is_counted else "",
        "count_help": _reason(pattern) if is_counted else "",
        "lift": "" if pattern.lift is None or not is_tested else _times(pattern.lift),
        "q": "" if pattern.q is None else f"q {_power(pattern.q)}",
        "wrong": "" if pattern.wrong_share is None else _percent(pattern.wrong_share),
        "expected": "" if pattern.expected_wrong is None else _percent(pattern.expected_wrong),
        "is_raised": pattern.is_error_raised,
        "wrong_help": _interval(pattern),
    }


def _images(runtime: Runtime) -> str:
    """Return what a pattern's support counts: images of every split, whichever is shown."""
    # The splits of a runtime are those of the data, and all of them together.
    return " images of all splits" if len(runtime.splits) > 2 else " images"


def _in_all(pattern: PatternCard) -> str:
    """Return how many members there are among the images that the selection is from."""
    if pattern.n_among == pattern.support:
        return f"{pattern.support:,} in all"
    return f"{pattern.n_among:,} in its split"


def _badge(pattern: PatternCard) -> str:
    if pattern.purity is None:
        return "unlabelled"
    return f"{pattern.badge or 'mixed'} {_percent(pattern.purity)}"


def _range(pattern: PatternCard) -> str:
    """Return the interval of the purity, for the badge."""
    if pattern.purity_low is None or pattern.purity_high is None:
        return ""
    return f"{100 * pattern.purity_low:.0f}–{100 * pattern.purity_high:.0f}"


def _purity(pattern: PatternCard, classes: Sequence[str]) -> str:
    if pattern.purity is None or pattern.top_class is None:
        return "No member has a label"
    top = classes[pattern.top_class]
    return (
        f"{_percent(pattern.purity)} of the members are {top}, 95 % interval "
        f"{_range(pattern)} %. Unique: members of few classes; general: of most"
    )


def _reason(pattern: PatternCard) -> str:
    """Return in words why a pattern is recommended for a selection."""
    words = (
        f"{pattern.n_selected:,} of the {pattern.n_selection:,} selected images are among its "
        f"{pattern.n_among:,} members"
    )
    if pattern.n_among != pattern.support:
        words += f" in the split that they are from ({pattern.support:,} in all)"
    if pattern.q is None:
        return f"{words}; whether that is more than by chance was not tested"
    if pattern.lift is not None:
        words += f", {_times(pattern.lift)} as many as by chance"
    return f"{words}; q {_power(pattern.q)}: false-discovery rate over all patterns tried"


def _held(pattern: PatternCard, filters: Sequence[tuple[int, int]]) -> str:
    """Return how many of several chosen filters a pattern holds."""
    held = len(set(filters).intersection(pattern.items))
    if len(filters) < 2:
        return ""
    if held == len(set(filters)):
        return f"Holds all {held} chosen filters"
    return f"Holds {held} of the {len(set(filters))} chosen filters"


def _interval(pattern: PatternCard) -> str:
    if pattern.wrong_low is None or pattern.wrong_high is None:
        return ""
    low, high = _percent(pattern.wrong_low), _percent(pattern.wrong_high)
    return (
        f"{pattern.wrong} of {pattern.labelled} predicted wrong, 95 % interval {low} to {high}; "
        "beside it the share that its mix of classes and splits alone would give. Members of "
        "every split count"
    )


def _shares(counts: Any, classes: Sequence[str]) -> list[dict[str, Any]]:
    order = np.argsort(-np.asarray(counts), kind="stable")
    return [
        {
            "name": classes[index],
            "n": int(counts[index]),
            "colour": theme.class_variable(int(index), len(classes)),
        }
        for index in order
        if counts[index] > 0
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _times(lift: float) -> str:
    return f"{lift:.1f}×" if lift < 9.95 else f"{lift:.0f}×"


def _power(q: float) -> str:
    if q >= 0.001:
        return f"{q:.3f}"
    if q <= 0:
        return "< 1e−300"
    mantissa, exponent = f"{q:.0e}".split("e")
    return f"{mantissa}e{MINUS}{abs(int(exponent))}"
