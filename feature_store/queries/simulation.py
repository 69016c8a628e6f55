"""Scores and accuracy of whole classes under a growing change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_store.errors import QueryError
from feature_store.patterns.statistics import Z_95, wilson_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from feature_store.store import Store


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulationRows:
    """One perturbation, all magnitudes, by true class and by class whose score is averaged.

    T true classes, M magnitudes, O output classes. What was not simulated is NaN.

    Parameters
    ----------
    perturbation, split : str
        What was done, and to which part of the data set.
    true_classes : ndarray of shape (T,), int16
        Classes of the images.
    output_classes : ndarray of shape (O,), int16
        Classes whose scores are averaged.
    magnitudes : ndarray of shape (M,), float64
        Ascending, in the unit of the perturbation.
    identity : float
        The magnitude that changes nothing; NaN when the store does not say.
    n : ndarray of shape (T,), int32
        Images of each true class.
    mean_score, low, high : ndarray of shape (T, M, O), float32
        Mean softmax score and its 95 % band (normal, cut to [0, 1]).
    accuracy, accuracy_low, accuracy_high : ndarray of shape (T, M), float32
        Share predicted right and its 95 % Wilson interval.
    """

    perturbation: str
    split: str
    true_classes: NDArray[np.int16]
    output_classes: NDArray[np.int16]
    magnitudes: NDArray[np.float64]
    identity: float
    n: NDArray[np.int32]
    mean_score: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    accuracy: NDArray[np.float32]
    accuracy_low: NDArray[np.float32]
    accuracy_high: NDArray[np.float32]

    def own(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Pick the score of each true class itself.

        Parameters
        ----------
        values : ndarray of shape (T, M, O)
            ``mean_score``, ``low`` or ``high``.

        Returns
        -------
        ndarray of shape (T, M), float32
            NaN where the true class is not among the output classes.
        """
        is_own = self.true_classes[:, None] == self.output_classes[None, :]
        picked = np.where(is_own[:, None, :], values, 0.0).sum(axis=2)
        return np.where(is_own.any(axis=1)[:, None], picked, np.nan).astype(np.float32)


@dataclass(frozen=True)
class Crossing:
    """Where a curve first falls below a threshold, walking away from the identity.

    Parameters
    ----------
    magnitude : float or None
        Nearest to the identity, between grid points by a straight line; None when it holds.
    is_below_at_identity : bool
        Whether it lies below without any change already.
    """

    magnitude: float | None
    is_below_at_identity: bool = False

    @property
    def holds(self) -> bool:
        """Whether the curve stays at or above the threshold everywhere."""
        return self.magnitude is None


def simulated_perturbations(store: Store) -> tuple[str, ...]:
    """Return the names of the perturbations that were simulated; none before that stage."""
    if not store.has("simulation"):
        return ()
    rows = store.arrow("SELECT DISTINCT perturbation FROM simulation ORDER BY perturbation")
    found = rows["perturbation"].to_pylist()
    order = [entry["name"] for entry in declared_perturbations(store)]
    return tuple(sorted(found, key=lambda name: (name not in order, [*order, name].index(name))))


def simulated_splits(store: Store) -> tuple[str, ...]:
    """Return the splits that were simulated; none before that stage."""
    if not store.has("simulation"):
        return ()
    rows = store.arrow("SELECT DISTINCT split FROM simulation ORDER BY split")
    return tuple(rows["split"].to_pylist())


def simulation_rows(
    store: Store,
    perturbation: str,
    *,
    split: str | None = None,
    true_classes: Sequence[int] | None = None,
    output_classes: Sequence[int] | None = None,
) -> SimulationRows:
    """Read how classes fare under one perturbation.

    With very many classes ask for few of them: the result has a value for each pair.

    Parameters
    ----------
    store : Store
        Opened store.
    perturbation : str
        Name of the perturbation.
    split : str, optional
        Part of the data set; may be left out when there is one.
    true_classes, output_classes : sequence of int, optional
        Classes of the images, and classes whose scores are averaged; all by default.

    Returns
    -------
    SimulationRows
        With 95 % bands.

    Raises
    ------
    TableMissingError
        When nothing was simulated yet.
    QueryError
        When this perturbation or split was not simulated, naming those that were.
    """
    store.table("simulation")
    part = simulated_part(store, perturbation, split)
    conditions, parameters = ["perturbation = ?", "split = ?"], [perturbation, part]
    lists: list[object] = []
    for name, classes in (("true_class", true_classes), ("output_class", output_classes)):
        if classes is not None:
            conditions.append(f"{name} IN (SELECT unnest(?::INTEGER[]))")
            lists.append([int(index) for index in classes])
    rows = store.arrow(
        "SELECT true_class, magnitude, output_class, n, accuracy, mean_score, "
        f"standard_deviation FROM simulation WHERE {' AND '.join(conditions)}",
        *parameters,
        *lists,
    ).to_pydict()
    return _spread(rows, perturbation, part, identity_of(store, perturbation))


def simulated_part(store: Store, perturbation: str, split: str | None) -> str:
    """Return the split to read, the first that was simulated where none is given.

    Returns
    -------
    str

    Raises
    ------
    QueryError
        When this perturbation or split was not simulated, naming those that were.
    """
    splits, known = simulated_splits(store), simulated_perturbations(store)
    part = split if split is not None else (splits[0] if splits else "")
    if perturbation not in known or part not in splits:
        msg = (
            f"{perturbation!r} was not simulated on the split {part!r}; there are the "
            f"perturbations {', '.join(known)} on the splits {', '.join(splits)}"
        )
        raise QueryError(msg)
    return part


def identity_of(store: Store, perturbation: str) -> float:
    """Return the magnitude that changes nothing; NaN when the store does not say."""
    for entry in declared_perturbations(store):
        if entry["name"] == perturbation:
            return float(entry.get("identity", "nan"))
    return float("nan")


def declared_perturbations(store: Store) -> list[dict[str, Any]]:
    """Return the simulated perturbations as the stage noted them: name, unit, identity, grid."""
    entries = dict(store.info.get("simulate", {})).get("perturbations", [])
    return [dict(entry) for entry in entries if isinstance(entry, dict)]


def _spread(
    rows: dict[str, list[float]], perturbation: str, split: str, identity: float
) -> SimulationRows:
    """Lay rows out as arrays by class and magnitude, and add the bands."""
    true, at_true = np.unique(np.array(rows["true_class"], np.int16), return_inverse=True)
    size, at_size = np.unique(np.array(rows["magnitude"], np.float64), return_inverse=True)
    out, at_out = np.unique(np.array(rows["output_class"], np.int16), return_inverse=True)
    shape = (len(true), len(size), len(out))
    mean, deviation = (np.full(shape, np.nan) for _ in range(2))
    accuracy, n = np.full(shape[:2], np.nan), np.zeros(shape[:2])
    mean[at_true, at_size, at_out] = np.array(rows["mean_score"], dtype=np.float64)
    deviation[at_true, at_size, at_out] = np.array(rows["standard_deviation"], dtype=np.float64)
    accuracy[at_true, at_size] = np.array(rows["accuracy"], dtype=np.float64)
    n[at_true, at_size] = rows["n"]
    half = Z_95 * deviation / np.sqrt(np.maximum(n, 1))[:, :, None]
    low, high = wilson_interval(np.rint(np.nan_to_num(accuracy) * n), n)
    return SimulationRows(
        perturbation=perturbation,
        split=split,
        true_classes=true,
        output_classes=out,
        magnitudes=size,
        identity=identity,
        n=n.max(axis=1, initial=0).astype(np.int32),
        mean_score=mean.astype(np.float32),
        low=np.clip(mean - half, 0.0, 1.0).astype(np.float32),
        high=np.clip(mean + half, 0.0, 1.0).astype(np.float32),
        accuracy=accuracy.astype(np.float32),
        accuracy_low=low.astype(np.float32),
        accuracy_high=high.astype(np.float32),
    )


def first_below(
    magnitudes: NDArray[np.floating],
    values: NDArray[np.floating],
    *,
    identity: float,
    threshold: float = 0.8,
) -> Crossing:
    """Find the smallest change under which a curve falls below a threshold.

    Parameters
    ----------
    magnitudes : ndarray of shape (M,)
        Ascending; the identity is one of them.
    values : ndarray of shape (M,)
        Such as the mean score of a class; NaN where nothing is known ends the walk.
    identity : float
        The magnitude that changes nothing.
    threshold : float
        What the curve is held to.

    Returns
    -------
    Crossing
        The crossing nearest to the identity on either side. A curve that comes back up later is
        not excused.
    """
    grid = np.asarray(magnitudes, dtype=np.float64)
    curve = np.asarray(values, dtype=np.float64)
    start = int(np.argmin(np.abs(grid - identity)))
    if curve[start] < threshold:
        return Crossing(float(grid[start]), is_below_at_identity=True)
    found = []
    for step in (-1, 1):
        at = start
        while 0 <= at + step < len(grid) and curve[at] >= threshold:
            before, at = at, at + step
            if curve[at] < threshold:
                share = (curve[before] - threshold) / (curve[before] - curve[at])
                found.append(float(grid[before] + share * (grid[at] - grid[before])))
    nearest = min(found, key=lambda size: abs(size - grid[start]), default=None)
    return Crossing(nearest)
