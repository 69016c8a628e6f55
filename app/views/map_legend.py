"""What the legend of the map says, what a click in it selects, and what is hidden by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app import safe, theme
from app.views import map_measures
from app.views.map_colours import code_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.state import Selection
    from app.views.map_colours import MapColours

_CORRECT = ((0, "right", "var(--vt-context)"), (1, "wrong", "var(--vt-wrong)"))
_UNKNOWN = {"class": "no label", "correct": "no label", "category": "unknown"}
_SUGGESTED = 500
"""Names that the field for finding a class offers; what is typed is looked for among all."""

_NAME_LENGTH = 40


def legend_data(colours: MapColours) -> dict[str, Any]:
    """Return what the legend shows: each entry with its count in the selection.

    Parameters
    ----------
    colours : MapColours
        What the session sees.

    Returns
    -------
    dict
        ``items`` [{key, name, colour, count, hidden}], ``ramp`` {low, high, title, reversed} for
        a number, ``note`` and ``names`` to find an entry that has no colour; texts are plain.
    """
    if colours.kind == "number":
        return _of_numbers(colours)
    codes = colours.codes(colours.by)[colours.counted]
    unknown = int((codes < 0).sum())
    if colours.kind == "correct":
        items = [
            _item(colours, code, name, colour, int((codes == code).sum()))
            for code, name, colour in _CORRECT
        ]
        note = "wrong ones are drawn on top"
        return {"items": [*items, *_missing(colours, unknown)], "note": note}
    names = colours.value_names()
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    slots = colours.slots
    order = (
        range(len(names))
        if len(slots) == len(names)
        else sorted(slots, key=lambda value: (-counts[value], value))
    )
    items = [
        _item(
            colours, value, _name(names[value]), theme.slot_variable(slots[value]),
            int(counts[value]),
        )
        for value in order
    ]  # fmt: skip
    found: dict[str, Any] = {"items": [*items, *_missing(colours, unknown)], "note": ""}
    rest = len(names) - len(slots)
    if rest:
        what = "classes" if colours.kind == "class" else "values"
        images = int(counts.sum() - counts[list(slots)].sum())
        found["note"] = f"{rest:,} other {what} in grey, {images:,} images"
        largest = np.argsort(-counts, kind="stable")[:_SUGGESTED]
        found["names"] = [_name(names[value]) for value in largest if counts[value]]
        found["find"] = f"Find one of {len(names):,} {what}"
    return found


def _of_numbers(colours: MapColours) -> dict[str, Any]:
    one = map_measures.numbers(colours.runtime, colours.by)
    codes = colours.codes(colours.by)[colours.counted]
    found = map_measures.colourings(colours.runtime)[colours.by]
    values = one.values[colours.rows_of(colours.counted)]
    known = values[np.isfinite(values)]
    title = f"Smallest flip, {found.label}" if found.group == "Smallest flip" else found.label
    end = ""
    if len(known):
        reached = known.min() if one.extreme == "least" else known.max()
        end = f"{one.extreme} {map_measures.reading(colours.runtime, colours.by, float(reached))}"
    note = f"a pixel shows its {one.extreme}" + (f" · {end}" if end else "")
    unknown = int((codes < 0).sum())
    return {
        "ramp": {
            "low": one.low_text,
            "high": one.high_text,
            "title": title,
            "reversed": colours.is_reversed(dark=False),
        },
        "items": _missing(colours, unknown, one.missing),
        "note": note,
    }


def _missing(colours: MapColours, count: int, name: str = "") -> list[dict[str, Any]]:
    """Entry of the images of which nothing is known, where there are any or they are hidden."""
    if not count and (colours.by, "-1") not in colours.hidden:
        return []
    name = name or _UNKNOWN[colours.kind]
    return [_item(colours, -1, name, "var(--vt-context)", count)]


def _item(colours: MapColours, code: int, name: str, colour: str, count: int) -> dict[str, Any]:
    hidden = (colours.by, str(code)) in colours.hidden
    return {
        "key": str(code), "name": name, "colour": colour, "count": f"{count:,}", "hidden": hidden,
    }  # fmt: skip


def _name(name: str) -> str:
    return safe.plain(name, limit=_NAME_LENGTH)


def picked(colours: MapColours, key: str) -> tuple[NDArray[np.int32], str] | None:
    """Return the image ids of one entry of the legend and how the bar names them.

    Parameters
    ----------
    colours : MapColours
        What the session sees.
    key : str
        Of an entry.

    Returns
    -------
    tuple of (ndarray of int32, str), or None
        None for a key that names nothing. Hidden entries count as well: they are asked for.
    """
    code = code_of(key)
    if code is None or not -1 <= code < max(len(colours.value_names()), 2):
        return None
    if colours.kind == "number" and code >= 0:
        return None
    mask = colours.shown & colours.belongs(colours.by, code)
    ids: NDArray[np.int32] = colours.index.ids[mask]
    return ids, _origin(colours, code)


def _origin(colours: MapColours, code: int) -> str:
    found = map_measures.colourings(colours.runtime)[colours.by]
    if code < 0:
        missing = _UNKNOWN.get(colours.kind)
        missing = missing or map_measures.numbers(colours.runtime, colours.by).missing
        return f"{found.label.lower()}: {missing}"
    if colours.kind == "correct":
        return f"{_CORRECT[code][1]} on Map"
    name = _name(colours.value_names()[code])
    said = {"true": "class", "predicted": "predicted"}.get(colours.by, f"{found.label.lower()}:")
    return f"{said} {name}"


def sought(colours: MapColours, text: str) -> tuple[NDArray[np.int32], str] | None:
    """Return the images of the values whose name is, or else contains, a text.

    Parameters
    ----------
    colours : MapColours
        What the session sees; its colouring tells classes or values apart.
    text : str
        What was typed; not trusted.

    Returns
    -------
    tuple of (ndarray of int32, str), or None
        None where no name contains it.
    """
    wanted = safe.plain(text, limit=_NAME_LENGTH).casefold()
    names = [_name(name).casefold() for name in colours.value_names()]
    exact = [value for value, name in enumerate(names) if name == wanted]
    values = exact or [value for value, name in enumerate(names) if wanted and wanted in name]
    if not values:
        return None
    if len(values) == 1:
        return picked(colours, str(values[0]))
    mask = colours.shown & np.isin(colours.codes(colours.by), values)
    what = "classes" if colours.kind == "class" else "values"
    ids: NDArray[np.int32] = colours.index.ids[mask]
    return ids, f"{len(values)} {what} with “{safe.plain(text, limit=_NAME_LENGTH)}”"


def toggled(
    colours: MapColours, key: str, hidden: frozenset[tuple[str, str]]
) -> frozenset[tuple[str, str]]:
    """Return what is hidden after the eye of one entry was pressed."""
    code = code_of(key)
    if code is None or not -1 <= code < max(len(colours.value_names()), 2):
        return hidden
    return hidden ^ {(colours.by, str(code))}


def drawn_words(colours: MapColours, in_view: int) -> str:
    """Say how many images are drawn, of all that the split holds."""
    return f"{in_view:,} of {int(colours.shown.sum()):,} drawn"


def hidden_words(colours: MapColours, selection: Selection) -> str:
    """Say what the legend hides and how many images that are; empty when it hides nothing."""
    if not colours.hidden:
        return ""
    known = map_measures.colourings(colours.runtime)
    by = {entry[0] for entry in colours.hidden}
    count = len(colours.hidden)
    first = next(iter(by))
    if len(by) == 1 and known[first].kind == "class":
        what = f"{count} of {len(colours.runtime.class_names)} classes hidden"
    elif len(by) == 1 and known[first].kind == "correct" and count == 1:
        code = code_of(next(iter(colours.hidden))[1])
        what = f"{'no label' if code == -1 else _CORRECT[code or 0][1]} hidden"
    else:
        what = f"{count} {'entry' if count == 1 else 'entries'} of the legend hidden"
    out = colours.shown & ~colours.visible
    words = f"{what}, {int(out.sum()):,} images"
    if selection.ids is not None and colours.chosen is not None:
        selected = int((out & colours.chosen).sum())
        words += f", {selected:,} of them selected" if selected else ""
    return words
