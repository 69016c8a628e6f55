"""How fast every class falls under every change; one table that ranks them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from feature_store.errors import QueryError
from feature_store.patterns.memory import remember
from feature_store.patterns.statistics import Z_95, wilson_interval
from feature_store.queries.simulation import (
    identity_of,
    simulated_part,
    simulated_perturbations,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from feature_store.store import Store

MEASURES = ("mean_score", "accuracy")
"""What can be held against a change: mean score of the true class, and share predicted right."""

REST = 0.5
"""Share of the value without a change below which a class has fallen."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassCurves:
    """One perturbation: for each of T true classes its own curve over M magnitudes.

    Parameters
    ----------
    perturbation, split : str
        What was done, and to which part of the data set.
    true_classes : ndarray of shape (T,), int16
        Ascending.
    magnitudes : ndarray of shape (M,), float64
        Ascending, in the unit of the perturbation.
    identity : float
        The magnitude that changes nothing.
    n : ndarray of shape (T,), int64
        Images of each class.
    value, low, high : dict of str to ndarray of shape (T, M), float64
        By measure: the curve and the ends of its 95 % band (of the mean score normal, cut to
        [0, 1]; of the accuracy Wilson's). NaN where nothing is known.
    """

    perturbation: str
    split: str
    true_classes: NDArray[np.int16]
    magnitudes: NDArray[np.float64]
    identity: float
    n: NDArray[np.int64]
    value: dict[str, NDArray[np.float64]]
    low: dict[str, NDArray[np.float64]]
    high: dict[str, NDArray[np.float64]]

    @property
    def at_identity(self) -> int:
        """Place of the magnitude that changes nothing."""
        return int(np.argmin(np.abs(self.magnitudes - self.identity)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Falls:
    """How fast each class falls under each perturbation, in arrays of equal length.

    Parameters
    ----------
    measure : str
        One of ``MEASURES``.
    perturbation : ndarray of str
        Name of the change.
    true_class : ndarray of int16
        Class of the images.
    n : ndarray of int64
        How many they are.
    start : ndarray of float64
        Value without a change.
    magnitude : ndarray of float64
        Where the curve first falls below half of ``start``, walking away from the identity on
        either side and by a straight line between grid points; the identity where ``start`` is 0,
        NaN where the curve holds.
    early, late : ndarray of float64
        Where the lower and the upper end of the band fall below the same threshold, on the side of
        ``magnitude``; NaN where they do not, that is, beyond the grid. The bands are pointwise.
    reach : ndarray of float64
        Distance of ``magnitude`` from the identity as a share of what was swept on that side, in
        [0, 1]: what ranks changes of different units; NaN where the curve holds.
    lost, lost_low, lost_high : ndarray of float64
        Share of ``start`` that is lost on average over the magnitudes swept (trapezoids, both
        sides of the identity weighing alike), and the same of the upper and lower end of the band.
    """

    measure: str
    perturbation: NDArray[np.str_]
    true_class: NDArray[np.int16]
    n: NDArray[np.int64]
    start: NDArray[np.float64]
    magnitude: NDArray[np.float64]
    early: NDArray[np.float64]
    late: NDArray[np.float64]
    reach: NDArray[np.float64]
    lost: NDArray[np.float64]
    lost_low: NDArray[np.float64]
    lost_high: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.true_class)

    def fastest(self) -> NDArray[np.int64]:
        """Return the places of the rows, the one that falls under the smallest reach first.

        Returns
        -------
        ndarray of int64
            Rows that hold come last, those that lose most first among them.
        """
        order = np.lexsort((-self.lost, np.nan_to_num(self.reach, nan=np.inf)))
        return np.asarray(order, dtype=np.int64)


def class_curves(store: Store, perturbation: str, *, split: str | None = None) -> ClassCurves:
    """Read every class's own curve under one perturbation, also where classes are very many.

    Parameters
    ----------
    store : Store
        Opened store.
    perturbation : str
        Name of the perturbation.
    split : str, optional
        Part of the data set; may be left out when there is one.

    Returns
    -------
    ClassCurves
        Read once, then shared by all callers; not to be written.

    Raises
    ------
    TableMissingError
        When nothing was simulated yet, naming the command.
    QueryError
        When this perturbation or split was not simulated, naming those that were.
    """
    store.entry("simulation")
    return remember(
        store, ("curves", perturbation, split), lambda: _curves(store, perturbation, split)
    )


def falls(
    store: Store, measure: str = MEASURES[0], *, perturbations: Sequence[str] | None = None
) -> Falls:
    """Say how fast every class falls under every change.

    Parameters
    ----------
    store : Store
        Opened store.
    measure : str
        One of ``MEASURES``.
    perturbations : sequence of str, optional
        Changes to look at; all that were simulated by default.

    Returns
    -------
    Falls
        A row for each perturbation and true class, in the order of the project and of the classes.

    Raises
    ------
    TableMissingError
        When nothing was simulated yet, naming the command.
    QueryError
        When a perturbation was not simulated, or there is no such measure.
    """
    if measure not in MEASURES:
        msg = f"a measure is one of {', '.join(MEASURES)}, not {measure!r}"
        raise QueryError(msg)
    store.entry("simulation")
    names = simulated_perturbations(store) if perturbations is None else tuple(perturbations)
    tables = [class_curves(store, name) for name in names]
    parts = [fall_of(table, measure) for table in tables]
    rows = {
        name: np.concatenate([np.zeros(0), *(part[name] for part in parts)])
        for name in (
            "start",
            "magnitude",
            "early",
            "late",
            "reach",
            "lost",
            "lost_low",
            "lost_high",
        )
    }
    sizes = [len(table.true_classes) for table in tables]
    return Falls(
        measure=measure,
        perturbation=np.repeat(np.array(names, dtype=np.str_), sizes),
        true_class=np.concatenate([np.zeros(0, np.int16), *(t.true_classes for t in tables)]),
        n=np.concatenate([np.zeros(0, np.int64), *(t.n for t in tables)]),
        **rows,
    )


def fall_of(curves: ClassCurves, measure: str) -> dict[str, NDArray[np.float64]]:
    """Return the columns of ``Falls`` for one perturbation, each of shape (T,).

    Parameters
    ----------
    curves : ClassCurves
        One perturbation.
    measure : str
        One of ``MEASURES``.

    Returns
    -------
    dict of str to ndarray of shape (T,), float64
        ``start``, ``magnitude``, ``early``, ``late``, ``reach``, ``lost``, ``lost_low`` and
        ``lost_high``.
    """
    grid, at = curves.magnitudes, curves.at_identity
    value, low, high = (each[measure] for each in (curves.value, curves.low, curves.high))
    start = value[:, at]
    limit = REST * start
    count = len(start)
    sides = [side for side in (-1, 1) if 0 <= at + side < len(grid)]
    crossings = {
        name: np.array([_first_below(grid, each, at, side, limit) for side in sides]).reshape(
            len(sides), count
        )
        for name, each in (("magnitude", value), ("early", low), ("late", high))
    }
    away = np.abs(crossings["magnitude"] - grid[at])
    spans = np.array([abs((grid[0] if side < 0 else grid[-1]) - grid[at]) for side in sides])
    early_away = np.abs(crossings["early"] - grid[at])
    # Where the curve holds, the lower end of the band may still fall, on either side.
    nearest = np.where(np.isnan(away).all(axis=0), _argmin(early_away), _argmin(away))
    picked = {name: each[nearest, np.arange(count)] for name, each in crossings.items()}
    reach = np.abs(picked["magnitude"] - grid[at]) / spans[nearest]
    is_nothing = start <= 0
    picked = {name: np.where(is_nothing, grid[at], each) for name, each in picked.items()}
    lost = {
        name: _lost(grid, each, at, start)
        for name, each in (("lost", value), ("lost_low", high), ("lost_high", low))
    }
    return {"start": start, **picked, "reach": np.where(is_nothing, 0.0, reach), **lost}


def _argmin(away: NDArray[np.float64]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.where(np.isnan(away), np.inf, away).argmin(axis=0)
    return found


def _first_below(
    grid: NDArray[np.float64],
    curves: NDArray[np.float64],
    at: int,
    side: int,
    limit: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Find where curves of shape (T, M) first fall below limits of shape (T,), on one side.

    Returns
    -------
    ndarray of shape (T,), float64
        NaN where a curve holds; a gap in a curve ends the walk.
    """
    places = np.arange(at, len(grid) if side > 0 else -1, side)
    walk, steps = curves[:, places], grid[places]
    is_below = walk < limit[:, None]
    stops = is_below | np.isnan(walk)
    first = stops.argmax(axis=1)
    rows = np.arange(len(walk))
    found = stops.any(axis=1) & is_below[rows, first]
    before = np.maximum(first - 1, 0)
    upper, lower = walk[rows, before], walk[rows, first]
    # The band may lie below the limit without a change already: then it falls there.
    drop = np.where(first > 0, upper - lower, 1.0)
    share = np.where(first > 0, (upper - limit) / np.where(drop > 0, drop, 1.0), 0.0)
    crossing = steps[before] + share * (steps[first] - steps[before])
    return np.where(found, crossing, np.nan)


def _lost(
    grid: NDArray[np.float64], curves: NDArray[np.float64], at: int, start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Average the loss, as a share of the start, over the magnitudes on both sides."""
    start_or_nan = np.where(start > 0, start, np.nan)
    loss = 1.0 - curves / start_or_nan[:, None]
    parts = [
        np.trapezoid(loss[:, cut], grid[cut], axis=1) / (grid[cut][-1] - grid[cut][0])
        for cut in (slice(0, at + 1), slice(at, len(grid)))
        if len(grid[cut]) > 1
    ]
    return np.mean(parts, axis=0) if parts else np.zeros(len(start))


def _curves(store: Store, perturbation: str, split: str | None) -> ClassCurves:
    part = simulated_part(store, perturbation, split)
    rows = store.arrow(
        "SELECT true_class, magnitude, n, accuracy, mean_score, standard_deviation "
        "FROM simulation WHERE perturbation = ? AND split = ? AND output_class = true_class",
        perturbation,
        part,
    ).to_pydict()
    true, at_true = np.unique(np.array(rows["true_class"], np.int16), return_inverse=True)
    grid, at_size = np.unique(np.array(rows["magnitude"], np.float64), return_inverse=True)
    shape = (len(true), len(grid))

    def spread(name: str) -> NDArray[np.float64]:
        laid = np.full(shape, np.nan)
        laid[at_true, at_size] = np.array(rows[name], np.float64)
        return laid

    n = np.nan_to_num(spread("n"))
    score, accuracy = spread("mean_score"), spread("accuracy")
    half = Z_95 * spread("standard_deviation") / np.sqrt(np.maximum(n, 1))
    low, high = wilson_interval(np.rint(np.nan_to_num(accuracy) * n), n)
    identity = identity_of(store, perturbation)
    return ClassCurves(
        perturbation=perturbation,
        split=part,
        true_classes=true,
        magnitudes=grid,
        identity=identity if np.isfinite(identity) else float(grid[0]),
        n=n.max(axis=1, initial=0).astype(np.int64),
        value={"mean_score": score, "accuracy": accuracy},
        low={"mean_score": np.clip(score - half, 0.0, 1.0), "accuracy": low},
        high={"mean_score": np.clip(score + half, 0.0, 1.0), "accuracy": high},
    )
