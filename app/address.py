"""The case under test in the page's address: a link opens the same image with the same changes.

The image is named by the hash of its pixels, not by its id, so a link means the same in another
store of the same data. An upload is in no store and cannot travel in a link.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app import map_address, pattern_key, safe
from app.inference import Change, VatunError, change_from
from app.state import usual_split
from feature_store import StoreError, queries
from feature_store.patterns.gapped_cards import any_members

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.runtime import Runtime
    from app.state import SessionState
    from feature_store import Store
    from feature_store.patterns.cards import PatternKey

NAMES = (
    "image", "change", "removed", "fill", "corners", "evidence", "layer", "class", "pattern",
    "paths", "filters", "order", "errors", "split", *map_address.NAMES,
)  # fmt: skip
"""Parts of the address that a case is made of."""

WATCHED = (
    "focus", "upload", "change", "evidence_method", "evidence_layer", "evidence_class", "pattern",
    "path_set", "filters", "pattern_order", "errors", "split", "dark",
    *map_address.WATCHED,
)  # fmt: skip
"""Parameters of the session on which the address depends."""

STEPS = frozenset({"focus", "upload", "pattern", "path_set", "filters", "errors"})
"""Those of them whose change is a step of the browser's history: Back returns to before it."""

ALL = "all"
"""What an address calls all images, which have no split of their own."""

MAX_FILTERS = 40
"""Chosen filters that an address names; more are left out of it."""

PATTERN_ORDERS = ("selection", "path", "image", "filters", "errors", "distinctive", "general")
"""Ways to choose the listed patterns that an address may name."""

MAX_BOXES = 8
"""Regions that can be removed at the same time."""

_LONGEST = 1000


@dataclass(frozen=True, kw_only=True)
class Case:
    """What an address asks for; checked, but the image, layer and class may not exist here.

    Parameters
    ----------
    image : str
        Id or key of an image, or empty.
    change : Change
        What to do to it.
    method, layer : str
        Explanation and layer of the evidence; empty for the default.
    class_index : int or None
        Class that the evidence is held at.
    pattern : int, tuple of (int, int), or None
        Open pattern: its id, or the items of one that may skip layers.
    path_set : str
        Path set that the pattern is of; empty for the default.
    filters : tuple of (int, int)
        Chosen filters, layer and filter.
    order : str
        Which patterns are listed; empty for what suits the rest.
    errors : tuple of (int, int) or None
        True and predicted class of the errors that are explained.
    split : str
        Split that is shown, ``all`` for all images; empty for the usual one.
    map_case : MapCase
        What the map shows.
    refused : tuple of str
        Parts that were no use, for the page to say.
    """

    image: str = ""
    change: Change = field(default_factory=Change)
    method: str = ""
    layer: str = ""
    class_index: int | None = None
    pattern: PatternKey | None = None
    path_set: str = ""
    filters: tuple[tuple[int, int], ...] = ()
    order: str = ""
    errors: tuple[int, int] | None = None
    split: str = ""
    map_case: map_address.MapCase = field(default_factory=map_address.MapCase)
    refused: tuple[str, ...] = ()


def read(query: Mapping[str, str]) -> Case:
    """Read a case from the parts of an address; nothing in it is trusted.

    Parameters
    ----------
    query : mapping of str to str
        First value of each part.

    Returns
    -------
    Case
        What cannot be used is left out and named in ``refused``.
    """
    parts = {name: query.get(name, "")[:_LONGEST] for name in NAMES}
    refused: list[str] = []
    try:
        change = _change(parts)
    except (VatunError, ValueError, TypeError, OverflowError) as error:
        change = Change()
        refused.append(f"The change in this address cannot be used: {error}.")
    filters = _pairs(parts["filters"])
    if filters is None:
        refused.append(f"The filters are at most {MAX_FILTERS} pairs such as 3-12, with commas.")
    order = parts["order"]
    if order and order not in PATTERN_ORDERS:
        refused.append(f"Patterns are not listed by {order[:40]}.")
        order = ""
    errors = _pairs(parts["errors"])
    if errors is None or len(errors) > 1 or any(true == other for true, other in errors):
        refused.append("The kind of error is two classes such as 3-5, true and predicted.")
        errors = ()
    pattern, class_index = pattern_key.read(parts["pattern"]), _whole(parts["class"])
    for name, found in (("pattern", pattern), ("class", class_index)):
        if parts[name] and found is None:
            refused.append(f"There is no {name} {parts[name][:40]}.")
    map_case, unusable = map_address.read(parts)
    return Case(
        image=parts["image"],
        change=change,
        method=parts["evidence"],
        layer=parts["layer"],
        class_index=class_index,
        pattern=pattern,
        path_set=parts["paths"],
        filters=filters or (),
        order=order,
        errors=errors[0] if errors else None,
        split=parts["split"],
        map_case=map_case,
        refused=tuple(safe.plain(text, limit=300) for text in (*refused, *unusable)),
    )


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What an address means in one store.

    Parameters
    ----------
    image : int or None
        Image under test, if the address names one that is shown.
    split : str
        Split that is shown; empty for all images.
    settings : dict
        Other parameters of the session.
    view : str
        View that the address is about: a phone, which shows one at a time, opens there.
    refused : tuple of str
        Sentences about what was left out.
    """

    image: int | None
    split: str
    settings: dict[str, Any]
    view: str
    refused: tuple[str, ...]


def resolve(case: Case, runtime: Runtime, state: SessionState) -> Resolved:
    """Look up in a store what a case names, and name what is not there."""
    refused = list(case.refused)
    image = find_image(case.image, runtime.store) if case.image else None
    if case.image and (image is None or not state.shows(image)):
        refused.append("The image of this address is not in this store.")
        image = None
    method = case.method or "grad_cam"
    if not runtime.inference.has_method(method):
        refused.append(f"There is no evidence called {safe.plain(method, limit=60)}.")
        method = "grad_cam"
    layer, class_index = case.layer, case.class_index
    if layer and layer not in {row.layer_name for row in runtime.layers}:
        refused.append(f"There is no layer {safe.plain(layer, limit=60)}.")
        layer = ""
    if class_index is not None and class_index >= len(runtime.class_names):
        refused.append(f"There is no class {class_index}.")
        class_index = None
    known = [row for row in case.filters if _is_filter(row, runtime)]
    if len(known) < len(case.filters):
        missing = [pair for pair in case.filters if pair not in known]
        refused.append(f"There is no filter {_words(missing)}.")
    errors = case.errors
    if errors is not None and max(errors) >= len(runtime.class_names):
        refused.append(f"There is no kind of error {_words([errors])}.")
        errors = None
    split = usual_split(state.splits) if not case.split else case.split
    split = "" if split == ALL and ALL not in state.splits else split
    if split not in state.splits:
        refused.append(f"There is no split {safe.plain(split, limit=60)}.")
        split = usual_split(state.splits)
    has_paths = bool(case.path_set) and runtime.store.has(f"paths/{case.path_set}")
    path_set = case.path_set if has_paths else state.path_set
    pattern = case.pattern
    if case.path_set and not has_paths:
        refused.append(f"There is no path set {safe.plain(case.path_set, limit=60)}.")
        # Its number means another one in any other path set.
        pattern = None
    if pattern is not None and not _is_pattern(runtime.store, path_set, pattern):
        refused.append(f"The path set {path_set} has no pattern {pattern_key.text_of(pattern)}.")
        pattern = None
    shown, unknown = map_address.resolve(case.map_case, runtime, state, split=split)
    refused += unknown
    settings = {
        **shown,
        "change": None if case.change.is_identity else case.change,
        "evidence_method": method,
        "evidence_layer": layer,
        "evidence_class": class_index,
        "path_set": path_set,
        "pattern": pattern,
        # Too many for any link: Back and Forward leave them alone.
        "filters": state.filters
        if not case.filters and len(state.filters) > MAX_FILTERS
        else tuple(dict.fromkeys(known)),
        "pattern_order": case.order,
        "errors": errors,
    }
    # What these say is shown by no view but the network's.
    view = "c" if pattern is not None or known or case.order else "a"
    return Resolved(image=image, split=split, settings=settings, view=view, refused=tuple(refused))


def write(state: SessionState, runtime: Runtime) -> dict[str, str]:
    """Return the parts of the address that say what a session tests; identities are left out."""
    store = runtime.store
    parts: dict[str, str] = map_address.write(state, runtime)
    if state.focus is not None:
        parts["image"] = queries.short_key(store, state.focus) or str(state.focus)
    change = state.change
    if isinstance(change, Change) and state.upload is None:
        magnitudes = [f"{name}:{_text(value)}" for name, value in change]
        boxes = [
            ",".join(_text(value) for value in (box.left, box.top, box.right, box.bottom))
            for box in change.boxes
        ]
        parts |= {"change": ";".join(magnitudes), "removed": ";".join(boxes)}
        if boxes and change.region_fill != Change().region_fill:
            parts["fill"] = change.region_fill
        if "rotation" in change.magnitudes and change.rotation_fill != Change().rotation_fill:
            parts["corners"] = change.rotation_fill
    if state.evidence_method != "grad_cam":
        parts["evidence"] = state.evidence_method
    parts["layer"] = state.evidence_layer
    parts["class"] = "" if state.evidence_class is None else str(state.evidence_class)
    if state.pattern is not None:
        parts["pattern"] = pattern_key.text_of(state.pattern)
    if len(state.filters) <= MAX_FILTERS:
        parts["filters"] = _words(state.filters)
    if state.pattern_order in PATTERN_ORDERS and state.pattern_order != _usual_order(state):
        parts["order"] = state.pattern_order
    if state.errors is not None and parts.get("order") == "errors":
        parts["errors"] = _words([state.errors])
    if state.split != usual_split(state.splits):
        parts["split"] = state.split or ALL
    is_usual = state.path_set == usual_path_set(store)
    if {"pattern", "order"} & set(parts) or state.filters or not is_usual:
        parts["paths"] = state.path_set
    return {name: text for name, text in parts.items() if text}


def usual_path_set(store: Store) -> str:
    """Return the path set that a store shows first."""
    return str(dict(store.info.get("view") or {}).get("path_set", "balanced"))


def find_image(text: str, store: Store) -> int | None:
    """Return the image that an address names: a short number is an id, 16 digits are a key."""
    if text.isdecimal() and text.isascii() and len(text) < queries.KEY_LENGTH:
        return int(text) if len(text) < 10 else None
    return queries.image_of_key(store, text)


def _usual_order(state: SessionState) -> str:
    """Return the order that a link without one gives; a selection is in no link."""
    if state.pattern_order == "selection":
        return "selection"
    return "filters" if 0 < len(state.filters) <= MAX_FILTERS else "image"


def _is_pattern(store: Store, path_set: str, pattern: PatternKey) -> bool:
    try:
        any_members(store, path_set, pattern)
    except IndexError:
        return False
    except StoreError:
        # The network view says what is wrong with the patterns, and what to run.
        return True
    return True


def _is_filter(pair: tuple[int, int], runtime: Runtime) -> bool:
    layer, index = pair
    return layer < len(runtime.layers) and index < runtime.layers[layer].filters


def _pairs(text: str) -> tuple[tuple[int, int], ...] | None:
    """Read pairs of whole numbers such as ``3-12,5-7``; None when it is anything else."""
    if not text:
        return ()
    items = [item.partition("-") for item in text.split(",")]
    pairs = [(_whole(left), _whole(right)) for left, _, right in items]
    found = tuple((a, b) for a, b in pairs if a is not None and b is not None)
    return found if len(found) == len(items) <= MAX_FILTERS else None


def _words(pairs: Sequence[tuple[int, int]]) -> str:
    """Return pairs as ``_pairs`` reads them."""
    return ",".join(f"{left}-{right}" for left, right in pairs)


def _change(parts: Mapping[str, str]) -> Change:
    magnitudes = {}
    for item in filter(None, parts["change"].split(";")):
        name, _, value = item.partition(":")
        magnitudes[name] = _number(value, name)
    boxes = [
        [_number(value, "removed region") for value in item.split(",")]
        for item in filter(None, parts["removed"].split(";"))
    ]
    if any(len(corners) != 4 for corners in boxes):
        msg = "a removed region needs four numbers: left, top, right, bottom"
        raise ValueError(msg)
    if len(boxes) > MAX_BOXES:
        msg = f"at most {MAX_BOXES} regions can be removed"
        raise ValueError(msg)
    return change_from(
        magnitudes, boxes,
        region_fill=parts["fill"] or Change().region_fill,
        rotation_fill=parts["corners"] or Change().rotation_fill,
    )  # fmt: skip


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        msg = f"{what}: {text[:40]!r} is no number"
        raise ValueError(msg) from None


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _text(value: float) -> str:
    """Shortest decimals that tell magnitudes apart: a link is read by people too."""
    return f"{value:.10g}" if math.isfinite(value) else ""
