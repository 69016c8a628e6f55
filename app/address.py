"""The case under test in the page's address: a link opens the same image with the same changes.

The image is named by the hash of its pixels, not by its id, so a link means the same in another
store of the same data. An upload is in no store and cannot travel in a link.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app import safe
from app.inference import Change, VatunError, change_from
from feature_store import queries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.runtime import Runtime
    from app.state import SessionState
    from feature_store import Store

NAMES = (
    "image", "change", "removed", "fill", "corners", "evidence", "layer", "class", "pattern",
    "paths",
)  # fmt: skip
"""Parts of the address that a case is made of."""

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
    pattern : int or None
        Open pattern.
    path_set : str
        Path set that the pattern is of; empty for the default.
    refused : tuple of str
        Parts that were no use, for the page to say.
    """

    image: str = ""
    change: Change = field(default_factory=Change)
    method: str = ""
    layer: str = ""
    class_index: int | None = None
    pattern: int | None = None
    path_set: str = ""
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
    return Case(
        image=parts["image"],
        change=change,
        method=parts["evidence"],
        layer=parts["layer"],
        class_index=_whole(parts["class"]),
        pattern=_whole(parts["pattern"]),
        path_set=parts["paths"],
        refused=tuple(safe.plain(text, limit=300) for text in refused),
    )


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What an address means in one store.

    Parameters
    ----------
    image : int or None
        Image under test, if the address names one that is shown.
    settings : dict
        Other parameters of the session.
    refused : tuple of str
        Sentences about what was left out.
    """

    image: int | None
    settings: dict[str, Any]
    refused: tuple[str, ...]


def resolve(case: Case, runtime: Runtime, state: SessionState) -> Resolved:
    """Look up in a store what a case names, and name what is not there."""
    refused = list(case.refused)
    image = find_image(case.image, runtime.store) if case.image else None
    if case.image and (image is None or not state.shows(image)):
        refused.append("The image of this address is not in this store.")
        image = None
    layer, class_index = case.layer, case.class_index
    if layer and layer not in {row.layer_name for row in runtime.layers}:
        refused.append(f"There is no layer {safe.plain(layer, limit=60)}.")
        layer = ""
    if class_index is not None and class_index >= len(runtime.class_names):
        refused.append(f"There is no class {class_index}.")
        class_index = None
    has_paths = bool(case.path_set) and runtime.store.has(f"paths/{case.path_set}")
    settings = {
        "change": None if case.change.is_identity else case.change,
        "evidence_method": case.method or "grad_cam",
        "evidence_layer": layer,
        "evidence_class": class_index,
        "path_set": case.path_set if has_paths else state.path_set,
        "pattern": case.pattern,
    }
    return Resolved(image=image, settings=settings, refused=tuple(refused))


def write(state: SessionState, store: Store) -> dict[str, str]:
    """Return the parts of the address that say what a session tests; identities are left out."""
    parts: dict[str, str] = {}
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
        parts |= {"pattern": str(state.pattern), "paths": state.path_set}
    return {name: text for name, text in parts.items() if text}


def find_image(text: str, store: Store) -> int | None:
    """Return the image that an address names: a short number is an id, 16 digits are a key."""
    if text.isdecimal() and text.isascii() and len(text) < queries.KEY_LENGTH:
        return int(text) if len(text) < 10 else None
    return queries.image_of_key(store, text)


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
