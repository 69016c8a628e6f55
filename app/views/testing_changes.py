"""Changes of the image under test: their controls, what the browser sends, and their words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from app import safe
from app.address import MAX_BOXES
from app.inference import (
    PERTURBATION_SPECS,
    REGION_FILLS,
    ROTATION_FILLS,
    Change,
    VatunError,
    change_from,
)

if TYPE_CHECKING:
    from app.inference import PerturbationSpec

MINUS = "\u2212"

_ORDER = (
    "rotation", "hue", "saturation", "brightness", "blur", "fgsm",
    "contrast", "noise", "region", "horizontal_flip", "vertical_flip",
)  # fmt: skip
_FORMATS = {
    "rotation": "degrees",
    "hue": "turns",
    "blur": "sigma",
    "region": "percent",
    "noise": "plain",
    "fgsm": "epsilon",
}
_STEPS = {
    "rotation": 1.0, "hue": 0.01, "blur": 0.001, "noise": 0.005, "region": 0.02,
    "fgsm": 0.25 / 255,
}  # fmt: skip
_HELP = {
    "blur": "Sigma of the Gaussian, as a share of the picture's shorter side",
    "noise": "Gaussian noise; its pattern is seeded by the image, so the same case comes again",
    "region": "Removes a centred square. Draw on the original picture to remove any other part",
    "fgsm": "Fast gradient sign method: the smallest push, in every pixel, away from a class",
}


def offered_specs() -> list[PerturbationSpec]:
    """Return every perturbation, in the order of the controls; those of plugins come last."""
    names = [name for name in _ORDER if name in PERTURBATION_SPECS]
    names += [name for name in PERTURBATION_SPECS if name not in _ORDER]
    return [PERTURBATION_SPECS[name] for name in names]


def control(spec: PerturbationSpec) -> dict[str, Any]:
    """Return what the browser needs to draw the control of one perturbation."""
    return {
        "name": spec.name,
        "label": safe.plain(spec.label, limit=40),
        "help": _HELP.get(spec.name, ""),
        "low": spec.low,
        "identity": spec.identity,
        "high": spec.high,
        "step": _STEPS.get(spec.name, (spec.high - spec.low) / 200),
        "format": format_of(spec),
        "is_switch": spec.is_switch,
    }


def format_of(spec: PerturbationSpec) -> str:
    """Return how a magnitude is written: a key of the formats of ``test_controls.js``."""
    if spec.is_switch:
        return "switch"
    return _FORMATS.get(spec.name, "factor" if spec.unit == "factor" else "plain")


def magnitude_text(name: str, value: float, side: int) -> str:
    """Return a magnitude as the page writes it.

    Parameters
    ----------
    name : str
        A perturbation.
    value : float
        In its unit.
    side : int
        Shorter side of the network's input in pixels.

    Returns
    -------
    str
        For example ``+35°`` or ``4/255``; a share of a side with its pixels in brackets.
    """
    kind = format_of(PERTURBATION_SPECS[name])
    if kind == "switch":
        return "on" if value else "off"
    text = {
        "degrees": lambda: f"{round(value, 1 if abs(value) >= 10 else 2):+g}°" if value else "0°",
        "turns": lambda: f"{value:+.{2 if abs(value) >= 0.01 else 3}f}" if value else "0",
        "factor": lambda: f"{value:.2f}",
        "sigma": lambda: f"{100 * value:.3g} % ({value * side:.2g} px)",
        "percent": lambda: f"{100 * value:.0f} %",
        "epsilon": lambda: f"{round(255 * value, 2):g}/255",
        "plain": lambda: f"{value:.3f}",
    }[kind]()
    return text.replace("-", MINUS)


_FLIP_DIGITS = {"degrees": 1, "turns": 3, "factor": 3, "sigma": 2, "percent": 1, "epsilon": 2}


def flip_text(name: str, value: float) -> str:
    """Return the magnitude of a flip, rounded away from the identity: to the side that flips.

    Parameters
    ----------
    name, value
        As for ``magnitude_text``.

    Returns
    -------
    str
        With as many digits as the page's controls take.
    """
    spec = PERTURBATION_SPECS[name]
    kind = format_of(spec)
    if kind == "switch":
        return "on"
    scale = {"sigma": 100, "percent": 100, "epsilon": 255}.get(kind, 1)
    digits = _FLIP_DIGITS.get(kind, 4)
    if kind == "degrees" and abs(value) < 10:
        digits = 2
    outwards = math.ceil if value > spec.identity else math.floor
    # What is a decimal already must not move on for a rounding in its last binary digit.
    shown = outwards(round(value * scale * 10**digits, 6)) / 10**digits
    sign = "+" if spec.identity == 0 and spec.low < 0 else ""
    unit = {"degrees": "°", "sigma": " %", "percent": " %", "epsilon": "/255"}.get(kind, "")
    return f"{shown:{sign}.{digits}f}{unit}".replace("-", MINUS)


def change_words(change: Change, side: int) -> str:
    """Return everything done to an image on one line, in the order of application."""
    parts = []
    if change.boxes:
        count = len(change.boxes)
        parts.append(
            f"{count} removed region{'s' if count > 1 else ''} ({change.region_fill} fill)"
        )
    for name, value in change:
        spec = PERTURBATION_SPECS[name]
        words = safe.plain(spec.label, limit=40)
        if not spec.is_switch:
            words += f" {magnitude_text(name, value, side)}"
        if name == "rotation":
            words += f" ({change.rotation_fill} corners)"
        parts.append(words)
    return " · ".join(parts) or "no change"


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
    spec = PERTURBATION_SPECS.get(name) if isinstance(name, str) else None
    magnitude = safe.number(value, spec.low, spec.high) if spec else None
    if spec is None or magnitude is None:
        return change
    if spec.is_switch:
        magnitude = float(magnitude >= 0.5)
    elif abs(magnitude - spec.identity) < 1e-9 * (spec.high - spec.low):
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
    # Shares of a thousandth: finer than any pixel, and short in a link.
    known = [round(share, 3) for share in known]
    return _rebuilt(change, boxes=[*box_corners(change), known][-MAX_BOXES:])


def without_box(change: Change, index: object) -> Change:
    """Return ``change`` without one removed region; -1 gives back all of them."""
    boxes = box_corners(change)
    at = safe.integer(index, -1, len(boxes) - 1)
    if at is None:
        return change
    return _rebuilt(change, boxes=[] if at == -1 else boxes[:at] + boxes[at + 1 :])


def with_fill(change: Change, kind: str, value: object) -> Change:
    """Return ``change`` with another fill of its regions or corners, if there is such a fill.

    Parameters
    ----------
    change : Change
        What is done to the image now.
    kind : str
        ``"region_fill"`` or ``"rotation_fill"``.
    value : object
        Unchecked.

    Returns
    -------
    Change
        A new one, or ``change`` itself.
    """
    known = REGION_FILLS if kind == "region_fill" else ROTATION_FILLS
    return _rebuilt(change, **{kind: value}) if value in known else change


def box_corners(change: Change) -> list[list[float]]:
    """Return left, top, right and bottom of each removed region, as shares."""
    return [[box.left, box.top, box.right, box.bottom] for box in change.boxes]


def position(change: Change, seq: int) -> dict[str, Any]:
    """Return where the controls stand after the browser's message number ``seq``."""
    return {
        "magnitudes": dict(change.magnitudes),
        "boxes": box_corners(change),
        "region_fill": change.region_fill,
        "rotation_fill": change.rotation_fill,
        "seq": seq,
    }


def _rebuilt(change: Change, **other: Any) -> Change:
    kept: dict[str, Any] = {
        "boxes": box_corners(change),
        "region_fill": change.region_fill,
        "rotation_fill": change.rotation_fill,
        **other,
    }
    try:
        return change_from(change.magnitudes, kept.pop("boxes"), **kept)
    except VatunError:
        return change
