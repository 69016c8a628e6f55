"""Orders of images: which of them the film strip and the finder show first.

``confidence`` and ``margin`` put the least sure image first, ``flip:NAME`` the one that the
smallest change of that perturbation flips. Images without a value come last. The film strip and
the gallery know two more: ``errors`` begins with the surest wrong predictions, ``id`` goes by id.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from app import safe
from app.views.simulation_curves import magnitude_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.runtime import Runtime
    from feature_store.queries import SweptPerturbation

CONFIDENCE = "confidence"
MARGIN = "margin"
ERRORS = "errors"
ID = "id"
FLIP = "flip:"
"""What the order by smallest flip begins with; the name of the perturbation follows."""

_MANY = 5_000
_KEPT = 4

_wholes: WeakKeyDictionary[Runtime, OrderedDict[str, _Whole]] = WeakKeyDictionary()
_sorting = threading.Lock()


def known_orders(runtime: Runtime) -> dict[str, str]:
    """Return every order of a store and how the page says it, plain text."""
    flips = {
        FLIP + name: f"smallest {in_a_sentence(sweep.label)} flip first"
        for name, sweep in runtime.sweeps.items()
    }
    return {CONFIDENCE: "least confident first", MARGIN: "smallest margin first", **flips}


def order_or_default(runtime: Runtime, order: object) -> str:
    """Return ``order`` where the store has it, else the order by confidence."""
    return order if isinstance(order, str) and order in known_orders(runtime) else CONFIDENCE


def strip_orders(runtime: Runtime) -> dict[str, str]:
    """Return every order of the film strip and the gallery, and how the page says it."""
    known = known_orders(runtime)
    added = {ERRORS: "most confident errors first", ID: "by id"}
    first = {name: known[name] for name in (CONFIDENCE, MARGIN)}
    return {**first, **added, **known}


def strip_order(runtime: Runtime, order: object) -> str:
    """Return ``order`` where the film strip has it, else the order by confidence."""
    return order if isinstance(order, str) and order in strip_orders(runtime) else CONFIDENCE


def flip_of(order: str) -> str:
    """Return the perturbation of an order by smallest flip; empty for any other order."""
    return order.removeprefix(FLIP) if order.startswith(FLIP) else ""


def order_values(runtime: Runtime, order: str) -> NDArray[np.floating]:
    """Return what an order sorts by, of every image, aligned to ``runtime.images.ids``.

    Parameters
    ----------
    runtime : Runtime
        Of the store.
    order : str
        One of ``strip_orders``.

    Returns
    -------
    ndarray of shape (n_images,), float
        Scores in [0, 1], for ``errors`` negated where the prediction is wrong; for ``id`` the
        ids; or distances in the unit of the perturbation: infinite where nothing on the grid
        flips the image. NaN where nothing is known.
    """
    name = flip_of(order)
    if name:
        return runtime.flip_distance(name)
    table = runtime.images
    if order == ERRORS:
        return np.where(table.is_wrong, -table.confidence, table.confidence)
    if order == ID:
        return table.ids.astype(np.float64)
    return table.margin if order == MARGIN else table.confidence


def sorted_rows(runtime: Runtime, rows: NDArray[np.int64], order: str) -> NDArray[np.int64]:
    """Return rows of ``runtime.images`` in an order, equal ones as they came.

    Parameters
    ----------
    runtime : Runtime
        Of the store.
    rows : ndarray of int64
        Rows to sort.
    order : str
        One of ``strip_orders``.

    Returns
    -------
    ndarray of int64
        Infinite values, then unknown ones, at the end. Not to be written.
    """
    if len(rows) <= _MANY or not (rows[1:] > rows[:-1]).all():
        return rows[_argsort(order_values(runtime, order)[rows])]
    whole = _whole(runtime, order)
    if len(rows) == len(whole.rows):
        return whole.rows
    # Of very many, sorting their places in the order of all is quicker than sorting their values.
    found: NDArray[np.int64] = whole.rows[np.sort(whole.places[rows])]
    return found


def sorted_ids(runtime: Runtime, rows: NDArray[np.int64], order: str) -> NDArray[np.int32]:
    """Return the image ids of rows in an order; see ``sorted_rows``.

    Returns
    -------
    ndarray of int32
        Not to be written: where all images are asked for, sessions share it.
    """
    found = sorted_rows(runtime, rows, order)
    if len(found) > _MANY and len(found) == len(runtime.images.ids):
        return _whole(runtime, order).ids
    return runtime.images.ids[found]


@dataclass(frozen=True, eq=False)
class _Whole:
    """All rows of a store in an order, their image ids, and the place of every row in it."""

    rows: NDArray[np.int64]
    ids: NDArray[np.int32]
    places: NDArray[np.int32]


def _whole(runtime: Runtime, order: str) -> _Whole:
    """Return all images in an order: sorted once, then shared by the sessions of the process."""
    with _sorting:
        kept = _wholes.setdefault(runtime, OrderedDict())
        if order not in kept:
            rows = _argsort(order_values(runtime, order))
            places = np.empty(len(rows), np.int32)
            places[rows] = np.arange(len(rows), dtype=np.int32)
            kept[order] = made = _Whole(rows, runtime.images.ids[rows], places)
            for shared in (made.rows, made.ids, made.places):
                shared.flags.writeable = False
            while len(kept) > _KEPT:
                kept.popitem(last=False)
        kept.move_to_end(order)
        return kept[order]


def _argsort(values: NDArray[np.floating]) -> NDArray[np.int64]:
    # A stable argsort leaves NaN after infinity.
    return np.argsort(values, kind="stable")


def order_words(runtime: Runtime, rows: NDArray[np.int64], order: str) -> str:
    """Say how images are ordered; with a smallest flip, how many of them have one to sort by."""
    swept = swept_words(runtime, rows, order)
    return strip_orders(runtime)[order] + (f" ({swept})" if swept else "")


def swept_words(runtime: Runtime, rows: NDArray[np.int64], order: str) -> str:
    """Say how many images were swept, for an order by smallest flip; else empty."""
    if not flip_of(order):
        return ""
    return f"{int((~np.isnan(order_values(runtime, order)[rows])).sum()):,} swept"


def why_no_flips(runtime: Runtime) -> tuple[str, str]:
    """Return why a store has no smallest flips to show, and the command that writes them."""
    command = f"doit simulate:{runtime.name}"
    stale = runtime.store.stale_tables().get("smallest_flips")
    if stale is not None:
        return safe.plain(f"The smallest flips are out of date: {stale}", limit=300), command
    return "No changes were swept over the images of this store yet.", command


def flip_text(sweep: SweptPerturbation, magnitude: float) -> str:
    """Return the magnitude of a flip as the page writes it: signed where 0 lies in the middle."""
    text = magnitude_text(sweep.name, magnitude)
    return f"+{text}" if magnitude > 0 and is_two_sided(sweep) and sweep.identity == 0 else text


def distance_text(sweep: SweptPerturbation, distance: float) -> str:
    """Return a distance from the identity as the page writes it; a dash where it is not known."""
    if not np.isfinite(distance):
        return "—"
    # A distance of 0.4 from the factor 1 is not the factor 0.4.
    text = magnitude_text(sweep.name, distance).removesuffix("×")
    return f"±{text}" if is_two_sided(sweep) else text


def grid_text(sweep: SweptPerturbation) -> str:
    """Say how fine the magnitudes lie that were tried."""
    steps = np.diff(sweep.grid)
    if len(steps) > 1 and np.allclose(steps, steps[0]):
        return f"grid of {magnitude_text(sweep.name, float(steps[0])).removesuffix('×')}"
    return f"{len(sweep.grid)} magnitudes" if len(steps) > 1 else ""


def is_two_sided(sweep: SweptPerturbation) -> bool:
    """Whether the identity lies inside the grid, so that a change has two directions."""
    return bool(sweep.grid) and sweep.grid[0] < sweep.identity < sweep.grid[-1]


def in_a_sentence(label: str) -> str:
    """Return the label of a perturbation without its capital; an abbreviation keeps its own."""
    text = safe.plain(label, limit=40)
    return text if text.isupper() else text[:1].lower() + text[1:]
