"""Ways to draw the embedding on a plane: a registry of functions of an array."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import StageError
from pipelines.progress import bar
from pipelines.project import EmbedSection
from vatun.errors import UnknownNameError

COMPONENTS = 50
"""Principal components that t-SNE and UMAP see."""

Floats = NDArray[np.float32]
Projection = Callable[[Floats, EmbedSection, int], Floats]

_projections: dict[str, Projection] = {}

PROJECTIONS: Mapping[str, Projection] = MappingProxyType(_projections)
"""Every projection by name; ``(values, section, seed)`` gives x and y of each row."""


def projection(function: Projection) -> Projection:
    """Register a projection under its own name.

    Returns
    -------
    callable
        ``function``.

    Raises
    ------
    ValueError
        When the name is taken.
    """
    name = getattr(function, "__name__", "")
    if name in _projections:
        raise ValueError(f"projection {name!r} is already registered")
    _projections[name] = function
    return function


def find_projection(name: str) -> Projection:
    """Return the projection called ``name``.

    Returns
    -------
    callable
        The function.

    Raises
    ------
    UnknownNameError
        Listing the registered names.
    """
    try:
        return _projections[name]
    except KeyError:
        msg = f"unknown projection {name!r}; known: {', '.join(_projections)}"
        raise UnknownNameError(msg) from None


def principal_components(values: Floats, count: int) -> Floats:
    """Return the first principal components, each with its largest loading positive.

    Parameters
    ----------
    values : ndarray of shape (n, dimensions), float32
    count : int
        Components; fewer where there are fewer images or dimensions.

    Returns
    -------
    ndarray of shape (n, count), float32
    """
    from sklearn.decomposition import PCA

    count = min(count, *values.shape)
    # The covariance matrix is small and its eigenvectors need no random numbers.
    reduced = PCA(count, svd_solver="covariance_eigh").fit_transform(values.astype(np.float64))
    return np.asarray(reduced, dtype=np.float32)


@projection
def tsne(values: Floats, section: EmbedSection, seed: int) -> Floats:
    """Draw neighbours as neighbours: 50 principal components, then t-SNE from a PCA start.

    Returns
    -------
    ndarray of shape (n, 2), float32
        x and y.

    References
    ----------
    van der Maaten, Hinton, "Visualizing data using t-SNE", 2008; Policar, Strazar, Zupan,
    "openTSNE", 2024, doi:10.18637/jss.v109.i03.
    """
    from openTSNE import TSNE

    count = len(values)
    with bar(total=_ITERATIONS, label="t-SNE", unit="step") as progress:
        model = TSNE(
            perplexity=min(section.perplexity, max((count - 1) / 3, 1)),
            early_exaggeration_iter=_EARLY,
            n_iter=_ITERATIONS - _EARLY,
            initialization="pca",
            # Interpolation is quicker than the tree from about this size on.
            negative_gradient_method="fft" if count >= 10_000 else "bh",
            n_jobs=section.jobs,
            random_state=seed,
            callbacks=lambda step, error, embedding: progress.update(_EVERY) and None,  # noqa: ARG005
            callbacks_every_iters=_EVERY,
        )
        return np.asarray(model.fit(principal_components(values, COMPONENTS)), dtype=np.float32)


_EARLY = 250
_ITERATIONS = 750
_EVERY = 10


@projection
def pca(values: Floats, section: EmbedSection, seed: int) -> Floats:  # noqa: ARG001 - one signature
    """Draw the two directions of largest variance."""
    reduced = principal_components(values, 2)
    if reduced.shape[1] < 2:
        reduced = np.pad(reduced, ((0, 0), (0, 2 - reduced.shape[1])))
    return reduced


@projection
def umap(values: Floats, section: EmbedSection, seed: int) -> Floats:
    """Draw by UMAP, of 50 principal components; needs the package ``umap-learn``.

    Returns
    -------
    ndarray of shape (n, 2), float32
        x and y.

    Raises
    ------
    StageError
        When it is not installed.
    """
    try:
        from umap import UMAP
    except ImportError as error:
        msg = "the projection umap needs a package: `pip install umap-learn`"
        raise StageError(msg) from error
    neighbours = min(max(round(section.perplexity / 2), 2), len(values) - 1)
    # A seed makes it run on one thread; that is the price of a map that stays.
    model: Any = UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1)
    return np.asarray(model.fit_transform(principal_components(values, COMPONENTS)), np.float32)


def curve_order(points: Floats) -> NDArray[np.int64]:
    """Return the order of points along a Hilbert curve: close on the map, close on the disk.

    Parameters
    ----------
    points : ndarray of shape (n, 2), float32

    Returns
    -------
    ndarray of shape (n,), int64
        Positions of the points, first on the curve first.

    References
    ----------
    Hilbert, "Ueber die stetige Abbildung einer Linie auf ein Flaechenstueck", 1891.
    """
    bits = 16
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.maximum(high - low, 1e-12) * ((1 << bits) - 1)
    x, y = scaled.astype(np.int64).T
    place = np.zeros(len(points), dtype=np.int64)
    side = 1 << (bits - 1)
    while side:
        right, upper = (x & side) > 0, (y & side) > 0
        place += side * side * ((3 * right) ^ upper)
        # Turn the quadrant so that the curve enters and leaves it where its neighbours do.
        mirrored = ~upper & right
        x, y = (
            np.where(mirrored, side - 1 - (x & (side - 1)), x),
            np.where(mirrored, side - 1 - (y & (side - 1)), y),
        )
        x, y = np.where(~upper, y, x), np.where(~upper, x, y)
        side >>= 1
    return np.argsort(place, kind="stable")
