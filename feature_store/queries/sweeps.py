"""Single images under a sweep: which ones a point of a curve stands for, and which stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from feature_store.errors import QueryError
from feature_store.patterns.columns import numbers
from feature_store.patterns.memory import remember
from feature_store.patterns.statistics import wilson_interval
from feature_store.queries.simulation import identity_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from feature_store.store import Store

_NEAR = 1e-9
"""Magnitudes nearer than this are one: grids are exact to more digits than that."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SweptImages:
    """The images behind a point of a class curve.

    Parameters
    ----------
    image_id : ndarray of int32
        Ascending.
    n_swept : int
        Images of the true class that were swept, with a finite prediction at this magnitude.
    magnitude : float
        The magnitude of the grid that was meant.
    """

    image_id: NDArray[np.int32]
    n_swept: int
    magnitude: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Consistency:
    """How often the prediction stays that of the unchanged image; no label is needed.

    G groups: all images first, then those of each class that is predicted without a change.

    Parameters
    ----------
    perturbation : str
        What was done.
    limit : float
        Largest change from the identity that the project declares harmless.
    magnitudes : ndarray of shape (M,), float64
        Harmless magnitudes that were swept, ascending, without the identity.
    classes : ndarray of shape (G,), int16
        -1 for all images, then class indices, ascending.
    n : ndarray of shape (G,), int64
        Swept images with a finite prediction at the identity.
    kept : ndarray of shape (G, M), int64
        Images whose prediction stays at one magnitude.
    kept_all : ndarray of shape (G,), int64
        Images whose prediction stays at every one of them.
    share, low, high : ndarray of shape (G, M + 1), float64
        Share and 95 % Wilson interval at each magnitude, and at all of them in the last column.
    """

    perturbation: str
    limit: float
    magnitudes: NDArray[np.float64]
    classes: NDArray[np.int16]
    n: NDArray[np.int64]
    kept: NDArray[np.int64]
    kept_all: NDArray[np.int64]
    share: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def swept_images(
    store: Store,
    perturbation: str,
    magnitude: float,
    *,
    true_class: int,
    predicted_class: int | None = None,
) -> SweptImages:
    """Find the images of one true class that are predicted wrong, or as one class.

    Parameters
    ----------
    store : Store
        Opened store.
    perturbation : str
        Name of the perturbation.
    magnitude : float
        The nearest one of the grid is taken.
    true_class : int
        Class of the images.
    predicted_class : int, optional
        What they are predicted as; by default anything but the true class.

    Returns
    -------
    SweptImages
        Only of images that were swept.

    Raises
    ------
    TableMissingError
        When nothing was swept yet, naming the command.
    QueryError
        When this perturbation was not swept, naming those that were.
    """
    grid = swept_magnitudes(store, perturbation)
    nearest = float(grid[np.argmin(np.abs(grid - magnitude))])
    rows = store.arrow(
        "SELECT image_id, s.predicted_class FROM sweeps s JOIN images i USING (image_id) "
        "WHERE s.perturbation = ? AND s.magnitude BETWEEN ? AND ? AND i.true_class = ? "
        "AND s.predicted_class IS NOT NULL ORDER BY image_id",
        perturbation,
        nearest - _NEAR,
        nearest + _NEAR,
        int(true_class),
    )
    ids = numbers(rows["image_id"], np.int32)
    predicted = numbers(rows["predicted_class"], np.int16)
    is_meant = predicted != true_class if predicted_class is None else predicted == predicted_class
    return SweptImages(image_id=ids[is_meant], n_swept=len(ids), magnitude=nearest)


def swept_magnitudes(store: Store, perturbation: str) -> NDArray[np.float64]:
    """Return the magnitudes of which the store keeps single images, ascending.

    Parameters
    ----------
    store : Store
        Opened store.
    perturbation : str
        Name of the perturbation.

    Returns
    -------
    ndarray of float64
        At least one.

    Raises
    ------
    TableMissingError
        When nothing was swept yet, naming the command.
    QueryError
        When this perturbation was not swept, naming those that were.
    """
    store.entry("sweeps")
    grids = remember(store, "swept_magnitudes", lambda: _grids(store))
    if perturbation not in grids:
        msg = f"{perturbation!r} was not swept in {store.path}; swept were {', '.join(grids)}"
        raise QueryError(msg)
    return grids[perturbation]


def _grids(store: Store) -> dict[str, NDArray[np.float64]]:
    rows = store.arrow(
        "SELECT perturbation, list(DISTINCT magnitude) AS grid FROM sweeps "
        "GROUP BY perturbation ORDER BY perturbation"
    ).to_pylist()
    return {row["perturbation"]: np.sort(np.array(row["grid"], np.float64)) for row in rows}


def harmless_changes(store: Store) -> dict[str, float]:
    """Return what the project declares harmless: largest change from the identity, by name."""
    declared = dict(store.info.get("simulate", {})).get("harmless", {})
    return {str(name): float(limit) for name, limit in dict(declared).items()}


def consistency(store: Store, perturbation: str) -> Consistency:
    """Count how many predictions a harmless change leaves alone; counted once for a store.

    Parameters
    ----------
    store : Store
        Opened store.
    perturbation : str
        One of ``harmless_changes``.

    Returns
    -------
    Consistency
        Without a magnitude where none of the grid is harmless; not to be written.

    Raises
    ------
    TableMissingError
        When nothing was swept yet, naming the command.
    QueryError
        When this change is not declared harmless, or was not swept.
    """
    limits = harmless_changes(store)
    if perturbation not in limits:
        msg = f"{perturbation!r} is not declared harmless; declared are {', '.join(limits)}"
        raise QueryError(msg)
    grid = swept_magnitudes(store, perturbation)
    return remember(
        store,
        ("consistency", perturbation),
        lambda: _consistency(store, perturbation, limits[perturbation], grid),
    )


def _consistency(
    store: Store, perturbation: str, limit: float, grid: NDArray[np.float64]
) -> Consistency:
    identity = identity_of(store, perturbation)
    away = np.abs(grid - identity)
    chosen = grid[(away <= limit + _NEAR) & (away > _NEAR)]
    rows = store.arrow(
        "WITH original AS (SELECT image_id, predicted_class FROM sweeps WHERE perturbation = ? "
        "AND abs(magnitude - ?) <= ? AND predicted_class IS NOT NULL) "
        "SELECT o.image_id, o.predicted_class AS class_index, s.magnitude, "
        "coalesce(s.predicted_class = o.predicted_class, false) AS stays "
        "FROM original o LEFT JOIN sweeps s ON s.image_id = o.image_id AND s.perturbation = ? "
        "AND abs(s.magnitude - ?) BETWEEN ? AND ? ORDER BY o.image_id, s.magnitude",
        perturbation, identity, _NEAR, perturbation, identity, _NEAR, limit + _NEAR,
    )  # fmt: skip
    ids = numbers(rows["image_id"], np.int32)
    _, first, image = np.unique(ids, return_index=True, return_inverse=True)
    original = numbers(rows["class_index"], np.int16)[first]
    stays = np.zeros((len(first), len(chosen)), dtype=np.bool_)
    if len(chosen):
        at = np.searchsorted(chosen, numbers(rows["magnitude"], np.float64) - _NEAR)
        stays[image, at] = numbers(rows["stays"], np.bool_)
    classes = np.unique(original)
    groups = [np.ones(len(first), np.bool_), *(original == index for index in classes)]
    n = np.array([group.sum() for group in groups], np.int64)
    kept = np.array([stays[group].sum(axis=0) for group in groups], np.int64)
    kept_all = np.array([stays[group].all(axis=1).sum() for group in groups], np.int64)
    both = np.concatenate([kept.reshape(len(n), -1), kept_all[:, None]], axis=1)
    low, high = wilson_interval(both, n[:, None])
    return Consistency(
        perturbation=perturbation,
        limit=limit,
        magnitudes=chosen,
        classes=np.concatenate([[-1], classes]).astype(np.int16),
        n=n,
        kept=kept.reshape(len(n), -1),
        kept_all=kept_all,
        share=both / np.maximum(n, 1)[:, None],
        low=low,
        high=high,
    )
