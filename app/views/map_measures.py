"""What the colour of a point may mean: what a store offers, and its value for every image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from app import orders, safe
from app.state import COLOURINGS, FLIP_COLOURING, MARGIN_COLOURING
from feature_store import queries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.runtime import Runtime
    from feature_store.queries import StoredColumn

LEVELS = 256
"""Steps of a ramp that can be told apart in a picture of eight bits."""

TAILS = (1, 99)
"""Percentiles that bound the ramp of a value without a natural end, so that no outlier eats it."""

_NAMES = {
    "true": "True class",
    "predicted": "Predicted",
    "correct": "Correct",
    "confidence": "Confidence",
    MARGIN_COLOURING: "Margin",
    "images.split": "Split",
    "images.source": "Source folder",
    "images.width": "Width",
    "images.height": "Height",
    "predictions.loss": "Loss",
    "predictions.entropy": "Entropy",
    "predictions.true_score": "Score of the true class",
}
_UNITS = {
    "images.width": "px",
    "images.height": "px",
    "predictions.loss": "nats",
    "predictions.entropy": "nats",
}
_GROUPS = {"images": "Image", "predictions": "Prediction"}
_FLIPS = "Smallest flip"

# Values that lie in [0, 1] whatever the images are.
_SCORES = frozenset({"confidence", MARGIN_COLOURING, "predictions.true_score"})

# Of these a low value is the remarkable one; of anything else a high one.
_LOW_IS_DOUBT = _SCORES


@dataclass(frozen=True, kw_only=True)
class Colouring:
    """One meaning that colour can have.

    Parameters
    ----------
    key : str
        Value of ``SessionState.colour_by``.
    label : str
        Short name, plain text.
    group : str
        Heading that it stands under in the list; empty for the four that have a button.
    kind : str
        ``"class"``, ``"correct"``, ``"number"`` or ``"category"``.
    reason : str
        Why it cannot be chosen; empty when it can.
    """

    key: str
    label: str
    group: str
    kind: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """A number for every image, and the ramp that shows it.

    Parameters
    ----------
    values : ndarray of shape (n_images,), float64
        In the order of ``runtime.images``; NaN where it is not known.
    low, high : float
        Values at the ends of the ramp; what lies beyond has the colour of the end.
    low_text, high_text : str
        How the legend writes them, with their unit; they say when values lie beyond.
    extreme : str
        ``"least"`` or ``"greatest"``: the one of a pixel's images that gives it its colour, and
        the end of the ramp that stands out.
    missing : str
        What it means that the value is not known.
    """

    values: NDArray[np.float64]
    low: float
    high: float
    low_text: str
    high_text: str
    extreme: str
    missing: str = "unknown"

    def levels(self) -> NDArray[np.int16]:
        """Return the step of the ramp for every image, -1 where the value is not known."""
        span = max(self.high - self.low, 1e-12)
        share = np.clip((self.values - self.low) / span, 0, 1)
        steps = np.round(np.nan_to_num(share) * (LEVELS - 1)).astype(np.int16)
        steps[np.isnan(self.values)] = -1
        return steps

    def doubt(self) -> NDArray[np.float32]:
        """Return what is least for the image that stands out most; the unknown ones come last."""
        values = self.values if self.extreme == "least" else -self.values
        return np.where(np.isnan(values), np.inf, values).astype(np.float32)


_colourings: WeakKeyDictionary[Runtime, dict[str, Colouring]] = WeakKeyDictionary()


def colourings(runtime: Runtime) -> dict[str, Colouring]:
    """Return all that the points of a store may be coloured by, by key, in the order of the list.

    Parameters
    ----------
    runtime : Runtime
        Of the store.

    Returns
    -------
    dict of str to Colouring
        What is the same for every image is there too, with the reason why it is of no use.
    """
    # Asked for at every zoom; a store that is open does not change.
    if runtime not in _colourings:
        _colourings[runtime] = _colourings_of(runtime)
    return _colourings[runtime]


def _colourings_of(runtime: Runtime) -> dict[str, Colouring]:
    kinds = {"true": "class", "predicted": "class", "correct": "correct"}
    found = [
        Colouring(key=key, label=_NAMES[key], group="", kind=kinds.get(key, "number"))
        for key in COLOURINGS
    ]
    margin = Colouring(
        key=MARGIN_COLOURING, label=_NAMES[MARGIN_COLOURING], group="Prediction", kind="number"
    )
    columns = [
        _of_column(column)
        for column in queries.stored_columns(runtime.store)
        if column.key not in {"predictions.confidence", "predictions.margin"}
    ]
    flips = [
        Colouring(
            key=FLIP_COLOURING + name, label=safe.plain(sweep.label, limit=40), group=_FLIPS,
            kind="number",
        )
        for name, sweep in runtime.sweeps.items()
    ]  # fmt: skip
    predicted = [found_one for found_one in columns if found_one.group == "Prediction"]
    others = [found_one for found_one in columns if found_one.group != "Prediction"]
    return {one.key: one for one in (*found, margin, *predicted, *flips, *others)}


def _of_column(column: StoredColumn) -> Colouring:
    label = _NAMES.get(column.key) or safe.plain(column.name.replace("_", " "), limit=40)
    reason = ""
    if column.is_constant:
        value = safe.plain(column.least, limit=24)
        reason = f"{value} everywhere" if value else "never given"
    return Colouring(
        key=column.key, label=label, group=_GROUPS[column.table], kind=column.kind, reason=reason
    )


def numbers(runtime: Runtime, key: str) -> Numbers:
    """Return the numbers behind a colouring of that kind.

    Parameters
    ----------
    runtime : Runtime
        Of the store.
    key : str
        A colouring of kind ``"number"``.

    Returns
    -------
    Numbers
        Aligned to ``runtime.images``.

    Raises
    ------
    StoreError
        When the store has no such column or sweep.
    """
    name = orders.flip_of(key)
    if name:
        return _flip_numbers(runtime, name)
    if key in {"confidence", MARGIN_COLOURING}:
        values = getattr(runtime.images, key).astype(np.float64)
    else:
        found = queries.column_values(runtime.store, key).numbers
        values = np.full(len(runtime.images.ids), np.nan) if found is None else found
    extreme = numbers_extreme(key)
    if key in _SCORES:
        return Numbers(
            values=values, low=0.0, high=1.0, low_text="0", high_text="1", extreme=extreme
        )
    known = values[np.isfinite(values)]
    if not len(known):
        return Numbers(values=values, low=0, high=1, low_text="–", high_text="–", extreme=extreme)
    low, high = (float(bound) for bound in np.percentile(known, TAILS))
    if low == high:
        low, high = float(known.min()), float(known.max())
    unit = f" {_UNITS[key]}" if key in _UNITS else ""
    below, above = known.min() < low, known.max() > high
    return Numbers(
        values=values,
        low=low,
        high=high,
        low_text=f"{'≤ ' if below else ''}{number_text(low)}",
        high_text=f"{'≥ ' if above else ''}{number_text(high)}{unit}",
        extreme=extreme,
    )


def numbers_extreme(key: str) -> str:
    """Return which of a pixel's images gives it its colour: ``"least"`` or ``"greatest"``."""
    return "least" if orders.flip_of(key) or key in _LOW_IS_DOUBT else "greatest"


def _flip_numbers(runtime: Runtime, name: str) -> Numbers:
    """How far an image is from its smallest flip; one that never flips stands at the far end."""
    sweep = runtime.sweeps[name]
    distances = runtime.flip_distance(name)
    reach = max((abs(value - sweep.identity) for value in sweep.grid), default=0.0)
    known = distances[np.isfinite(distances)]
    furthest = float(known.max()) if len(known) else 1.0
    far = reach or furthest
    holds = bool(np.isinf(distances).any())
    away = {abs(value - sweep.identity) for value in sweep.grid} - {0.0}
    if holds and len(away) == 1:
        # A change that is on or off: whoever flips does so at the same distance.
        return Numbers(
            values=distances, low=far, high=2 * far, low_text=orders.distance_text(sweep, far),
            high_text="no flip", extreme="least", missing="not swept",
        )  # fmt: skip
    return Numbers(
        values=distances,
        low=0.0,
        high=far,
        low_text=orders.distance_text(sweep, 0.0).removeprefix("±"),
        high_text=orders.distance_text(sweep, far) + (" or no flip" if holds else ""),
        extreme="least",
        missing="not swept",
    )


def value_text(runtime: Runtime, key: str, row: int) -> str:
    """Return what the card says of one image in a colouring beyond the first four, plain text.

    Parameters
    ----------
    runtime : Runtime
        Of the store.
    key : str
        A colouring.
    row : int
        Row of ``runtime.images``.

    Returns
    -------
    str
        Empty where the card says it already.
    """
    one = colourings(runtime).get(key)
    if one is None or key in COLOURINGS:
        return ""
    if one.kind == "category":
        column = queries.column_values(runtime.store, key)
        code = -1 if column.codes is None else int(column.codes[row])
        return f"{one.label}: {safe.plain(column.names[code], limit=40) if code >= 0 else '–'}"
    what = f"{one.label} flip" if orders.flip_of(key) else one.label
    return f"{what}: {reading(runtime, key, numbers_value(runtime, key, row))}"


def reading(runtime: Runtime, key: str, value: float) -> str:
    """Return one value of a colouring by a number as the page writes it, with its unit."""
    name = orders.flip_of(key)
    if np.isnan(value):
        return "not swept" if name else "unknown"
    if name:
        if np.isinf(value):
            return "none on the grid"
        return orders.distance_text(runtime.sweeps[name], value)
    unit = f" {_UNITS[key]}" if key in _UNITS else ""
    return (f"{value:.2f}" if key in _SCORES else number_text(value)) + unit


def numbers_value(runtime: Runtime, key: str, row: int) -> float:
    """Return the number of one image without building the ramp of all."""
    name = orders.flip_of(key)
    if name:
        return float(runtime.flip_distance(name)[row])
    if key in {"confidence", MARGIN_COLOURING}:
        return float(getattr(runtime.images, key)[row])
    found = queries.column_values(runtime.store, key).numbers
    return float("nan") if found is None else float(found[row])


def number_text(value: float) -> str:
    """Return a number in three digits, not below a thousandth, with a true minus sign."""
    whole = float(value).is_integer() and abs(value) < 1e15
    small = abs(value) < 0.001
    text = (
        f"{value:,.0f}" if whole or abs(value) >= 1000 else f"{value:{'.3f' if small else '.3g'}}"
    )
    return text.replace("-", "−")
