"""Where an image that is not on the map would lie: among its nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from feature_store import Store

NEIGHBOURS = 10
"""Images that a place is the mean of."""

MEMORY_LIMIT = 1_000_000_000
"""Bytes that the embeddings may take; larger stores place nothing."""


@dataclass(frozen=True, eq=False)
class _Known:
    """Ids, features by dimension (dimensions, n), their squared lengths, and places (n, 2)."""

    ids: NDArray[np.int32]
    features: NDArray[np.float32]
    lengths: NDArray[np.float32]
    places: Mapping[str, NDArray[np.float32]]


class Atlas:
    """Nearest neighbours in the embedding, and where they lie on each projection.

    Nothing is refitted: the answer is approximate and should be drawn as such.

    Parameters
    ----------
    store : Store
        Read at once: seconds for a store of 60,000 images.
    """

    def __init__(self, store: Store) -> None:
        self._known = _read(store)

    def place(
        self, embedding: NDArray[np.floating]
    ) -> tuple[tuple[int, ...], dict[str, tuple[float, float]]]:
        """Return the nearest images and the weighted mean of their places.

        Parameters
        ----------
        embedding : ndarray of shape (dimensions,)
            Hidden features of an image.

        Returns
        -------
        tuple of int
            Image ids, nearest first; empty when the store has no embeddings or no projection.
        dict of str to (float, float)
            x and y by projection. Weights fall with the distance; an image of the store that is
            met exactly gives its own place.
        """
        known = self._known
        if not len(known.ids):
            return (), {}
        target = np.asarray(embedding, dtype=np.float32)
        # |a - b|^2 up to the constant |b|^2: one product of matrix and vector.
        rough = known.lengths - 2.0 * (target @ known.features)
        count = min(NEIGHBOURS, len(rough))
        nearest = np.argpartition(rough, count - 1)[:count]
        spread = np.linalg.norm(known.features[:, nearest].astype(np.float64).T - target, axis=1)
        order = np.argsort(spread, kind="stable")
        nearest, spread = nearest[order], spread[order]
        # Stored embeddings are float16: what differs by less than their rounding is the same.
        floor = max(1e-3 * float(np.linalg.norm(target)), 1e-9)
        weights = 1.0 / np.maximum(spread, floor) ** 2
        if spread[0] <= floor:
            weights = (spread <= floor).astype(np.float64)
        weights /= weights.sum()
        places = {
            name: (float(weights @ xy[nearest, 0]), float(weights @ xy[nearest, 1]))
            for name, xy in known.places.items()
        }
        return tuple(int(image) for image in known.ids[nearest]), places


def _read(store: Store) -> _Known:
    nothing = _Known(
        np.zeros(0, np.int32), np.zeros((0, 0), np.float32), np.zeros(0, np.float32), {}
    )
    if not (store.has("embeddings") and store.has("projections")):
        return nothing
    entry = store.arrow("select count(*) as n from embeddings")
    names = [name for name in store.table("embeddings").columns if name != "image_id"]
    if int(entry["n"][0].as_py()) * len(names) * 4 > MEMORY_LIMIT:
        return nothing
    table = store.arrow("select * from embeddings order by image_id")
    ids = table["image_id"].to_numpy().astype(np.int32)
    features = np.stack([table[name].to_numpy().astype(np.float32, copy=False) for name in names])
    lengths = np.einsum("dn,dn->n", features, features)
    usable = np.isfinite(lengths)
    places: dict[str, NDArray[np.float32]] = {}
    points = store.arrow("select projection, image_id, x, y from projections order by image_id")
    projections = np.asarray(points["projection"].to_pylist(), dtype=object)
    images = points["image_id"].to_numpy()
    both = np.stack([points["x"].to_numpy(), points["y"].to_numpy()], axis=1).astype(np.float32)
    for name in dict.fromkeys(projections.tolist()):
        own = projections == name
        xy = np.full((len(ids), 2), np.nan, np.float32)
        at = np.searchsorted(ids, images[own])
        at = np.minimum(at, len(ids) - 1)
        met = ids[at] == images[own]
        xy[at[met]] = both[own][met]
        places[str(name)] = xy
        usable &= np.isfinite(xy).all(axis=1)
    if not usable.all():
        ids, features, lengths = ids[usable], features[:, usable], lengths[usable]
        places = {name: xy[usable] for name, xy in places.items()}
    return _Known(ids, features, lengths, places)
