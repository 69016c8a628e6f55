"""Which images a small change flips, and how easily every class does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_store.errors import ImageNotFoundError, QueryError
from feature_store.patterns.columns import numbers
from feature_store.patterns.memory import remember
from feature_store.queries.points import PREDICTED, UNKNOWN, image_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from feature_store.store import Store

DIRECTIONS = (-1, 1)
"""Sides of the identity that a sweep walks; values of the column ``direction``."""

_DIGITS = 10
"""Decimals of a distance: grids are exact to as many, their differences are not."""


@dataclass(frozen=True, kw_only=True)
class SweptPerturbation:
    """A perturbation whose smallest flips the store holds.

    Parameters
    ----------
    name, label, unit : str
        Registered name, name on the screen, and unit of the magnitude.
    identity : float
        Magnitude that changes nothing.
    grid : tuple of float
        Magnitudes that were tried, ascending; may be empty when the stage did not note them.
    """

    name: str
    label: str
    unit: str
    identity: float
    grid: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class FragileImages:
    """Images ranked by their smallest flip, in arrays of equal length.

    Parameters
    ----------
    image_id : ndarray of int32
        Ids.
    magnitude : ndarray of float64
        Smallest magnitude that flips the image, as it is on the grid; in the perturbation's unit.
    distance : ndarray of float64
        ``abs(magnitude - identity)``, rounded to ten decimals; above 0.
    flipped_class : ndarray of int16
        Class that is predicted there.
    n_flipped, n_swept : int
        How many of the images asked for flip at all, and how many were swept.
    n_never_wrong : int
        How many of those that never flip are wrong without a change already: what never flips
        need not be robust, as an error that only deepens is no flip.
    """

    image_id: NDArray[np.int32]
    magnitude: NDArray[np.float64]
    distance: NDArray[np.float64]
    flipped_class: NDArray[np.int16]
    n_flipped: int
    n_swept: int
    n_never_wrong: int


@dataclass(frozen=True, kw_only=True, eq=False)
class FlipQuantiles:
    """How far a change has to go until a share of a class has flipped.

    Parameters
    ----------
    true_class : ndarray of shape (C,), int16
        Classes with swept images, ascending; -1 stands for images without a label.
    n, n_flipped : ndarray of shape (C,), int32
        Swept images with a finite prediction, and those that flip within the grid.
    n_never_wrong : ndarray of shape (C,), int32
        Those of the others that are wrong without a change already; 0 without a label.
    quantiles : tuple of float
        The shares asked for, each in (0, 1].
    distances : ndarray of shape (C, Q), float64
        For each share, the smallest distance from the identity within which at least that share
        of the class has flipped. An image that never flips lies beyond the grid: where too few
        flip within it, the quantile is not known and NaN.
    """

    true_class: NDArray[np.int16]
    n: NDArray[np.int32]
    n_flipped: NDArray[np.int32]
    n_never_wrong: NDArray[np.int32]
    quantiles: tuple[float, ...]
    distances: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SmallestFlip:
    """The smallest flip of one image under one perturbation, on one side of the identity.

    Parameters
    ----------
    perturbation : str
        Name of the perturbation.
    direction : int
        -1 below, +1 above the identity.
    magnitude : float or None
        In the perturbation's unit; None when no magnitude of the grid flips the image.
    flipped_class : int or None
        Class that is predicted there.
    """

    perturbation: str
    direction: int
    magnitude: float | None
    flipped_class: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Flips:
    """Flips of every swept image under one perturbation; column 0 is direction -1, 1 is +1."""

    image_id: NDArray[np.int32]
    magnitude: NDArray[np.float64]
    flipped_class: NDArray[np.int16]
    distance: NDArray[np.float64]


def swept_perturbations(store: Store) -> tuple[SweptPerturbation, ...]:
    """Return the perturbations whose smallest flips the store holds, in the order of the project.

    Parameters
    ----------
    store : Store
        Opened store.

    Returns
    -------
    tuple of SweptPerturbation
        Empty before the stage ``simulate``.
    """
    if not store.has("smallest_flips"):
        return ()
    rows = store.arrow("SELECT DISTINCT perturbation FROM smallest_flips")
    held = set(rows["perturbation"].to_pylist())
    entries = dict(store.info.get("simulate", {})).get("perturbations", [])
    return tuple(
        SweptPerturbation(
            name=str(entry["name"]),
            label=str(entry.get("label", entry["name"])),
            unit=str(entry.get("unit", "")),
            identity=float(entry["identity"]),
            grid=tuple(float(value) for value in entry.get("grid", ())),
        )
        for entry in entries
        if isinstance(entry, dict) and entry.get("name") in held and "identity" in entry
    )


def fragile_images(
    store: Store,
    perturbation: str,
    *,
    direction: int = 0,
    ids: Sequence[int] | NDArray[np.int32] | None = None,
    limit: int = 100,
    offset: int = 0,
) -> FragileImages:
    """Rank the images whose prediction flips, the most fragile first.

    Parameters
    ----------
    store : Store
        Opened store.
    perturbation : str
        Name of the perturbation.
    direction : int
        -1 or +1 looks at one side of the identity only; 0 takes the nearer of both, and the lower
        one where both are equally near.
    ids : sequence of int, optional
        Images to rank; all swept ones by default. Ids that were not swept are left out.
    limit, offset : int
        Most images, and images to skip.

    Returns
    -------
    FragileImages
        By (distance, image_id).

    Raises
    ------
    TableMissingError
        When nothing was swept yet, naming the command.
    QueryError
        When this perturbation was not swept, naming those that were, or ``direction`` is none.
    """
    if direction not in {0, *DIRECTIONS}:
        msg = f"direction is -1, 0 or +1, not {direction!r}"
        raise QueryError(msg)
    flips = _flips(store, perturbation)
    rows = np.arange(len(flips.image_id))
    if ids is not None:
        rows = rows[np.isin(flips.image_id, np.asarray(ids, dtype=np.int64))]
    distance = flips.distance[rows]
    side = distance.argmin(axis=1)
    if direction:
        side = np.full(len(rows), DIRECTIONS.index(direction))
    nearest = distance[np.arange(len(rows)), side]
    is_flipped = np.isfinite(nearest)
    # The rows ascend by id, so a stable sort leaves equal distances in that order.
    order = np.argsort(nearest, kind="stable")[: int(is_flipped.sum())]
    start = max(offset, 0)
    order = order[start : start + max(limit, 0)]
    at, way = rows[order], side[order]
    return FragileImages(
        image_id=flips.image_id[at],
        magnitude=flips.magnitude[at, way],
        distance=nearest[order],
        flipped_class=flips.flipped_class[at, way],
        n_flipped=int(is_flipped.sum()),
        n_swept=len(rows),
        n_never_wrong=int((_wrong(store, flips.image_id[rows]) & ~is_flipped).sum()),
    )


def sturdy_images(
    store: Store,
    perturbation: str,
    *,
    ids: Sequence[int] | NDArray[np.int32] | None = None,
    limit: int = 100,
) -> FragileImages:
    """Rank the images that a change hardly flips, the least fragile first.

    Parameters
    ----------
    store : Store
        Opened store.
    perturbation : str
        Name of the perturbation.
    ids : sequence of int, optional
        Images to rank; all swept ones by default. Ids that were not swept are left out.
    limit : int
        Most images.

    Returns
    -------
    FragileImages
        First those that are right without a change, then those without a label, last those that
        are wrong: an error that a change only deepens never flips. Among each, first those that no
        magnitude of the grid flips, with an infinite distance, a NaN magnitude and class -1; then
        by falling distance of the nearer flip. Equal ones by falling confidence without a change,
        then by id.

    Raises
    ------
    TableMissingError
        When nothing was swept yet, naming the command.
    QueryError
        When this perturbation was not swept, naming those that were.
    """
    flips = _flips(store, perturbation)
    rows = np.arange(len(flips.image_id))
    if ids is not None:
        rows = rows[np.isin(flips.image_id, np.asarray(ids, dtype=np.int64))]
    side = flips.distance[rows].argmin(axis=1)
    nearest = flips.distance[rows, side]
    images = image_table(store)
    places = np.searchsorted(images.image_id, flips.image_id[rows])
    is_unlabelled = images.true_class[places] == UNKNOWN
    is_wrong = _wrong(store, flips.image_id[rows])
    keys = (-images.confidence[places], -nearest, is_unlabelled, is_wrong)
    order = np.lexsort((flips.image_id[rows], *keys))[: max(limit, 0)]
    at, way = rows[order], side[order]
    is_flipped = np.isfinite(nearest[order])
    return FragileImages(
        image_id=flips.image_id[at],
        magnitude=np.where(is_flipped, flips.magnitude[at, way], np.nan),
        distance=nearest[order],
        flipped_class=np.where(is_flipped, flips.flipped_class[at, way], -1).astype(np.int16),
        n_flipped=int(np.isfinite(nearest).sum()),
        n_swept=len(rows),
        n_never_wrong=int((is_wrong & np.isinf(nearest)).sum()),
    )


def flip_quantiles(
    store: Store,
    perturbation: str,
    *,
    quantiles: Sequence[float] = (0.1, 0.25, 0.5, 0.75, 0.9),
) -> FlipQuantiles:
    """Say for every true class within which distance a share of its images flips.

    The distance of an image is that of its nearer flip. The quantile is the lower empirical one
    of a censored sample: the smallest distance d such that at least the share q of the swept
    images flips within d. Images that never flip on the grid count as beyond it, so they are in
    the share's divisor and never in its quantile.

    Parameters
    ----------
    store : Store
        Opened store.
    perturbation : str
        Name of the perturbation.
    quantiles : sequence of float
        Shares, each above 0 and at most 1.

    Returns
    -------
    FlipQuantiles
        One row for each true class that has swept images.

    Raises
    ------
    TableMissingError
        When nothing was swept yet, naming the command.
    QueryError
        When this perturbation was not swept, naming those that were, or a quantile is no share.
    """
    shares = tuple(float(share) for share in quantiles)
    if not all(0 < share <= 1 for share in shares):
        msg = f"quantiles lie above 0 and at most at 1, got {shares}"
        raise QueryError(msg)
    ids, distances = flip_distances(store, perturbation)
    images = image_table(store)
    labels = images.true_class[np.searchsorted(images.image_id, ids)]
    # By class first, then each class by itself: one sort by both takes eight times as long.
    order = np.argsort(labels, kind="stable")
    classes, starts = np.unique(labels[order], return_index=True)
    parts = [part for part in np.split(order, starts[1:]) if len(part)]
    groups = [np.sort(distances[part]) for part in parts]
    is_never_wrong = np.isinf(distances) & _wrong(store, ids)
    found = np.array([_lower_quantiles(group, shares) for group in groups], dtype=np.float64)
    return FlipQuantiles(
        true_class=classes,
        n=np.array([len(group) for group in groups], dtype=np.int32),
        n_flipped=np.array([np.isfinite(group).sum() for group in groups], dtype=np.int32),
        n_never_wrong=np.array([is_never_wrong[part].sum() for part in parts], dtype=np.int32),
        quantiles=shares,
        distances=found.reshape(len(classes), len(shares)),
    )


def flip_distances(
    store: Store, perturbation: str
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return how far every swept image is from its nearer flip.

    Parameters
    ----------
    store : Store
        Opened store.
    perturbation : str
        Name of the perturbation.

    Returns
    -------
    tuple of (ndarray of int32, ndarray of float64)
        Ids, ascending, of the swept images with a finite prediction, and their distances from the
        identity: above 0, infinite where no magnitude of the grid flips the image.

    Raises
    ------
    TableMissingError
        When nothing was swept yet, naming the command.
    QueryError
        When this perturbation was not swept, naming those that were.
    """
    flips = _flips(store, perturbation)
    # Not the least along the axis: of pairs numpy finds it nine times slower.
    return flips.image_id, np.minimum(flips.distance[:, 0], flips.distance[:, 1])


def fragility(store: Store, image_id: int) -> tuple[SmallestFlip, ...]:
    """Return the smallest flips of one image.

    Parameters
    ----------
    store : Store
        Opened store.
    image_id : int
        Id.

    Returns
    -------
    tuple of SmallestFlip
        In the order of the project's perturbations, below the identity first; empty when the
        image was not swept.

    Raises
    ------
    TableMissingError
        When nothing was swept yet, naming the command.
    ImageNotFoundError
        When there is no such image.
    """
    store.entry("smallest_flips")
    rows = store.arrow(
        "SELECT f.perturbation, f.direction, f.magnitude, f.flipped_class "
        "FROM images i LEFT JOIN smallest_flips f USING (image_id) WHERE image_id = ?",
        int(image_id),
    ).to_pylist()
    if not rows:
        msg = f"there is no image {image_id} in {store.path}"
        raise ImageNotFoundError(msg)
    order = {swept.name: place for place, swept in enumerate(swept_perturbations(store))}
    found = [SmallestFlip(**row) for row in rows if row["perturbation"] is not None]
    return tuple(
        sorted(
            found,
            key=lambda flip: (
                order.get(flip.perturbation, len(order)),
                flip.perturbation,
                flip.direction,
            ),
        )
    )


def _flips(store: Store, perturbation: str) -> _Flips:
    """Return the flips of one perturbation; read once, then shared by all callers."""
    store.entry("smallest_flips")
    known = {swept.name: swept for swept in swept_perturbations(store)}
    if perturbation not in known:
        msg = f"{perturbation!r} was not swept in {store.path}; swept were {', '.join(known)}"
        raise QueryError(msg)
    identity = known[perturbation].identity
    return remember(
        store, ("flips", perturbation), lambda: _read_flips(store, perturbation, identity)
    )


def _read_flips(store: Store, perturbation: str, identity: float) -> _Flips:
    rows = store.arrow(
        "SELECT image_id, "
        "max(magnitude) FILTER (direction = -1) AS below, "
        "max(flipped_class) FILTER (direction = -1) AS class_below, "
        "max(magnitude) FILTER (direction = 1) AS above, "
        "max(flipped_class) FILTER (direction = 1) AS class_above "
        f"FROM smallest_flips JOIN (SELECT image_id FROM {PREDICTED}) USING (image_id) "
        "WHERE perturbation = ? GROUP BY image_id ORDER BY image_id",
        perturbation,
    )
    sides: dict[str, Any] = {
        name: np.stack([numbers(rows[f"{name}{side}"], np.float64) for side in ("below", "above")])
        for name in ("", "class_")
    }
    magnitude = sides[""].T
    away = np.round(np.abs(magnitude - identity), _DIGITS)
    return _Flips(
        image_id=numbers(rows["image_id"], np.int32),
        magnitude=magnitude,
        flipped_class=np.nan_to_num(sides["class_"].T, nan=-1).astype(np.int16),
        distance=np.where(np.isnan(away), np.inf, away),
    )


def _wrong(store: Store, ids: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return which images are wrong without a change; those without a label are not."""
    images = image_table(store)
    places = np.searchsorted(images.image_id, ids)
    true = images.true_class[places]
    is_wrong: NDArray[np.bool_] = (true != UNKNOWN) & (images.predicted_class[places] != true)
    return is_wrong


def _lower_quantiles(ascending: NDArray[np.float64], shares: tuple[float, ...]) -> list[float]:
    """Return the first distance that at least each share lies within; NaN beyond the grid."""
    # 0.1 * 30 is a little more than 3 in floating point, and would ask for a fourth image.
    needed = [int(np.ceil(share * len(ascending) - 1e-9)) for share in shares]
    found = [float(ascending[max(count, 1) - 1]) for count in needed]
    return [value if np.isfinite(value) else float("nan") for value in found]
