"""Orders of images: which of them the film strip and the finder show first.

``confidence`` and ``margin`` put the least sure image first, ``flip:NAME`` the one that the
smallest change of that perturbation flips. Images without a value come last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app import safe
from app.views.simulation_curves import magnitude_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.runtime import Runtime
    from feature_store.queries import SweptPerturbation

CONFIDENCE = "confidence"
MARGIN = "margin"
FLIP = "flip:"
"""What the order by smallest flip begins with; the name of the perturbation follows."""


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
        One of ``known_orders``.

    Returns
    -------
    ndarray of shape (n_images,), float
        Scores in [0, 1], or distances in the unit of the perturbation: infinite where nothing on
        the grid flips the image. NaN where nothing is known.
    """
    name = flip_of(order)
    if name:
        return runtime.flip_distance(name)
    return runtime.images.margin if order == MARGIN else runtime.images.confidence


def sorted_rows(runtime: Runtime, rows: NDArray[np.int64], order: str) -> NDArray[np.int64]:
    """Return rows of ``runtime.images`` in an order, equal ones as they came.

    Parameters
    ----------
    runtime : Runtime
        Of the store.
    rows : ndarray of int64
        Rows to sort.
    order : str
        One of ``known_orders``.

    Returns
    -------
    ndarray of int64
        Infinite values, then unknown ones, at the end.
    """
    # A stable argsort leaves NaN after infinity.
    found: NDArray[np.int64] = rows[np.argsort(order_values(runtime, order)[rows], kind="stable")]
    return found


def order_words(runtime: Runtime, rows: NDArray[np.int64], order: str) -> str:
    """Say how images are ordered; with a smallest flip, how many of them have one to sort by."""
    swept = swept_words(runtime, rows, order)
    return known_orders(runtime)[order] + (f" ({swept})" if swept else "")


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
