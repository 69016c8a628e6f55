"""What a pattern must be compared with: simpler ways to the same errors, on the same halves.

Three are searched for and tested as patterns are: single filters that win a layer, clusters of the
embedding, and groups of images by their pixels. The others take no search: the images predicted as
the wrong class, and the images of the true class with the highest score of the wrong one or with
the smallest margin. By predicted class and score errors are found better than any pattern can find
them, for these know the prediction; what a pattern adds is what its images share inside the
network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from feature_store.patterns.columns import numbers
from feature_store.patterns.contiguous import SILENT, layer_columns
from feature_store.patterns.enriched import SliceCounts
from feature_store.patterns.enrichment import RATE, allowed_layers, enrichment_of, error_cell
from feature_store.patterns.memory import remember
from feature_store.patterns.naming import COLOURS, MEASURES, WORDS, colour_places, statistics_of
from feature_store.patterns.slices import MaskSlices

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from feature_store.patterns.enriched import ErrorEnrichment
    from feature_store.patterns.enrichment import ErrorCell
    from feature_store.store import Store

CLUSTERS = 20
"""Clusters of the embedding within one class, where it has enough images."""

PER_CLUSTER = 10
"""A class has at most one cluster for so many images."""


@dataclass(frozen=True, kw_only=True)
class PlainSlice:
    """Images picked by a rule that nobody had to search for.

    Parameters
    ----------
    name : str
        ``"predicted"``, ``"score"`` or ``"margin"``.
    label : str
        The rule in words.
    counts : SliceCounts
        ``"predicted"``: over the images of every true class that the split has. Else: over the
        half that confirms.
    n_wrong : int
        Members predicted wrong in any way.
    """

    name: str
    label: str
    counts: SliceCounts
    n_wrong: int


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """What stands beside the patterns of one kind of error.

    Parameters
    ----------
    filters : ErrorEnrichment or None
        Single winning filters of the same path set and layers, tested as patterns are: what a
        pattern adds to its parts. None for an answer that has no path set.
    clusters : ErrorEnrichment
        Clusters of the embedding within the true class, tested as patterns are.
    pixels : ErrorEnrichment
        Groups of the true class by their pixels, tested as patterns are.
    plain : tuple of PlainSlice
        Rules without a search, with as many members as the strongest pattern has.
    """

    filters: ErrorEnrichment | None
    clusters: ErrorEnrichment
    pixels: ErrorEnrichment
    plain: tuple[PlainSlice, ...]


def enrichment_baselines(
    store: Store,
    enrichment: ErrorEnrichment,
    *,
    clusters: int = CLUSTERS,
    progress: Callable[[int, int], None] | None = None,
) -> Baselines:
    """Return every baseline of an answer, on its halves and at its rate.

    Parameters
    ----------
    store : Store
        Opened store.
    enrichment : ErrorEnrichment
        Answer of ``error_enrichment``.
    clusters : int
        See ``cluster_enrichment``.
    progress : callable, optional
        Called with the images whose pixels were measured and those to measure.

    Returns
    -------
    Baselines

    Raises
    ------
    TableMissingError
        When there are no embeddings or scores.
    """
    true_class, split, rate = enrichment.true_class, enrichment.split, enrichment.rate
    predicted, seed = enrichment.predicted_class, enrichment.seed
    cell = error_cell(
        store, true_class=true_class, predicted_class=predicted, split=split, seed=seed
    )
    by_filter = None
    if enrichment.path_set is not None:
        slices = filter_slices(store, cell, enrichment.path_set, enrichment.layers)
        by_filter = replace(
            enrichment_of(store, cell, slices, true_class=true_class, split=split, rate=rate),
            path_set=enrichment.path_set,
            layers=enrichment.layers,
        )
    by_cluster = cluster_slices(store, cell, clusters=clusters)
    by_pixels = pixel_slices(store, cell, progress=progress)
    best = enrichment.confirmed[0].confirmation.n_members if enrichment.confirmed else None
    return Baselines(
        filters=by_filter,
        clusters=enrichment_of(
            store, cell, by_cluster, true_class=true_class, split=split, rate=rate
        ),
        pixels=enrichment_of(
            store, cell, by_pixels, true_class=true_class, split=split, rate=rate
        ),
        plain=plain_slices(store, cell, true_class=true_class, split=split, size=best),
    )


def cluster_enrichment(
    store: Store,
    *,
    true_class: int,
    predicted_class: int,
    split: str | None = None,
    clusters: int = CLUSTERS,
    rate: float = RATE,
    seed: int = 0,
) -> ErrorEnrichment:
    """Find the clusters of the embedding that are over-represented among one kind of error.

    Parameters
    ----------
    store : Store
        Opened store.
    true_class, predicted_class, split, rate, seed
        See ``error_enrichment``: equal ones give equal halves.
    clusters : int
        Number of clusters within the true class.

    Returns
    -------
    ErrorEnrichment
        The embedding is what the prediction is read from: expect clusters to find errors.

    Raises
    ------
    TableMissingError
        When there are no embeddings.
    ValueError
        When a class, the split or the rate is none.
    """
    cell = error_cell(
        store, true_class=true_class, predicted_class=predicted_class, split=split, seed=seed
    )
    slices = cluster_slices(store, cell, clusters=clusters)
    return enrichment_of(store, cell, slices, true_class=true_class, split=split, rate=rate)


def pixel_enrichment(
    store: Store,
    *,
    true_class: int,
    predicted_class: int,
    split: str | None = None,
    rate: float = RATE,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ErrorEnrichment:
    """Find what of the pixels is over-represented among one kind of error.

    Parameters
    ----------
    store : Store
        Opened store.
    true_class, predicted_class, split, rate, seed
        See ``error_enrichment``: equal ones give equal halves.
    progress : callable, optional
        Called with the images measured and those to measure.

    Returns
    -------
    ErrorEnrichment
        Of the lowest and highest thirds of brightness, contrast, saturation, edges and
        sharpness, the thirds between, and the colours.

    Raises
    ------
    ValueError
        When a class, the split or the rate is none.
    """
    cell = error_cell(
        store, true_class=true_class, predicted_class=predicted_class, split=split, seed=seed
    )
    slices = pixel_slices(store, cell, progress=progress)
    return enrichment_of(store, cell, slices, true_class=true_class, split=split, rate=rate)


def filter_slices(
    store: Store, cell: ErrorCell, path_set: str, layers: str | Sequence[int] = "conv"
) -> MaskSlices:
    """Group the images of a cell by the filter that wins each layer.

    Parameters
    ----------
    store : Store
        Opened store.
    cell : ErrorCell
        Images of one true class.
    path_set : str
        ``paper``, ``mean`` or ``balanced``.
    layers : str or sequence of int
        See ``error_enrichment``.

    Returns
    -------
    MaskSlices
        One set for each filter that wins for at least two of the images; a layer that is silent
        has no winner.

    Raises
    ------
    TableMissingError
        When the paths were not computed yet.
    ValueError
        When a layer is none.
    """
    store.table(f"paths/{path_set}")
    rows = store.arrow(
        f'SELECT * FROM "paths__{path_set}" WHERE image_id IN (SELECT unnest(?::INTEGER[])) '
        "ORDER BY image_id",
        cell.image_id.tolist(),
    )
    names = layer_columns(rows)
    is_known = np.isin(cell.image_id, numbers(rows["image_id"], np.int32))
    winners = np.full((len(names), len(cell.image_id)), SILENT, dtype=np.int64)
    for layer, name in enumerate(names):
        winners[layer, is_known] = numbers(rows[name], np.int64)
    masks = [np.zeros((0, len(cell.image_id)), dtype=bool)]
    labels = []
    for layer in np.flatnonzero(allowed_layers(store, layers, len(names))).tolist():
        filters, counts = np.unique(winners[layer], return_counts=True)
        filters = filters[(counts > 1) & (filters != SILENT)]
        masks.append(winners[layer] == filters[:, None])
        labels += [f"filter {filter_} of layer {layer}" for filter_ in filters.tolist()]
    return MaskSlices(
        "filter",
        image_id=cell.image_id,
        is_known=is_known,
        is_member=np.concatenate(masks),
        labels=labels,
    )


def cluster_slices(store: Store, cell: ErrorCell, *, clusters: int = CLUSTERS) -> MaskSlices:
    """Cluster the images of a cell by their embedding with k-means, errors or not.

    Parameters
    ----------
    store : Store
        Opened store.
    cell : ErrorCell
        Images of one true class.
    clusters : int
        Most clusters; at most one for every 10 images.

    Returns
    -------
    MaskSlices
        Remembered while the store is open.

    Raises
    ------
    TableMissingError
        When there are no embeddings.
    """
    store.table("embeddings")
    # All that the clusters depend on: the images, not which of them are errors.
    key = ("clusters", cell.image_id.tobytes(), clusters)
    return remember(store, key, lambda: _cluster(store, cell.image_id, clusters))


def _cluster(store: Store, image_id: NDArray[np.int32], clusters: int) -> MaskSlices:
    from sklearn.cluster import KMeans

    rows = store.arrow(
        "SELECT * FROM embeddings WHERE image_id IN (SELECT unnest(?::INTEGER[])) "
        "ORDER BY image_id",
        image_id.tolist(),
    )
    ids = numbers(rows["image_id"], np.int32)
    columns = [numbers(rows[name], np.float32) for name in rows.column_names if name[0] == "e"]
    values = np.stack(columns, axis=1) if columns else np.zeros((len(ids), 0), np.float32)
    is_finite = np.isfinite(values).all(axis=1)
    ids, values = ids[is_finite], values[is_finite]
    is_known = np.isin(image_id, ids)
    # More clusters than distinct points do not exist.
    n = min(clusters, len(ids) // PER_CLUSTER, len(np.unique(values, axis=0)))
    label = np.full(len(image_id), -1)
    if n > 0:
        label[is_known] = KMeans(n, n_init=3, random_state=0).fit_predict(values)
    return MaskSlices(
        "cluster",
        image_id=image_id,
        is_known=is_known,
        is_member=label == np.arange(n)[:, None],
        labels=[f"cluster {place + 1} of {n} of the embedding" for place in range(n)],
    )


def pixel_slices(
    store: Store, cell: ErrorCell, *, progress: Callable[[int, int], None] | None = None
) -> MaskSlices:
    """Group the images of a cell by their pixels, errors or not.

    Parameters
    ----------
    store : Store
        Opened store.
    cell : ErrorCell
        Images of one true class.
    progress : callable, optional
        Called with the images measured and those to measure.

    Returns
    -------
    MaskSlices
        Thirds of each amount within these images, and colours: a hue has no lowest and highest
        third, for it runs in a circle.
    """
    measured = statistics_of(store, cell.image_id, progress=progress)
    is_known = np.isfinite(measured[:, 0])
    masks, labels = [], []
    for column, measure in enumerate(MEASURES):
        values = np.where(is_known, measured[:, column], np.nan)
        if not is_known.any():
            break
        low, high = np.nanquantile(values, [1 / 3, 2 / 3])
        below, above = WORDS[measure]
        masks += [values <= low, (values > low) & (values <= high), values > high]
        labels += [f"{below} (lowest third)", f"medium {measure}", f"{above} (highest third)"]
    colours = np.where(is_known, colour_places(measured[:, len(MEASURES)]), -1)
    for place, colour in enumerate(COLOURS):
        masks.append(colours == place)
        labels.append(f"{colour} (mean colour)")
    return MaskSlices(
        "pixel group",
        image_id=cell.image_id,
        is_known=is_known,
        is_member=np.stack(masks),
        labels=labels,
    )


def plain_slices(
    store: Store,
    cell: ErrorCell,
    *,
    true_class: int,
    split: str | None = None,
    size: int | None = None,
) -> tuple[PlainSlice, ...]:
    """Return what is found without a search.

    Parameters
    ----------
    store : Store
        Opened store.
    cell : ErrorCell
        The errors and the halves.
    true_class : int
        Class of the images.
    split : str, optional
        Part of the data set; all by default.
    size : int, optional
        Members of the slices by score and by margin: as many as the pattern beside them has, so
        that their shares compare. By default as many as there are errors on the half.

    Returns
    -------
    tuple of PlainSlice
        ``"predicted"``: of the images predicted as the wrong class, whatever their true one, how
        many are these errors; it holds them all. ``"score"`` and ``"margin"``: images of the true
        class on the half that confirms, by highest score of the wrong class and by smallest
        margin; ties go by id.

    Raises
    ------
    TableMissingError
        When there are no scores.
    """
    wrong = cell.predicted_class
    where = "true" if split is None else "i.split = ?"
    given = () if split is None else (split,)
    rows = store.arrow(
        "SELECT i.true_class, p.predicted_class FROM images i JOIN predictions p USING (image_id) "
        f"WHERE i.status = 'ok' AND p.status = 'ok' AND i.true_class IS NOT NULL AND {where}",
        *given,
    )
    true = numbers(rows["true_class"], np.int64)
    is_predicted = numbers(rows["predicted_class"], np.int64) == wrong
    n_cell = int(np.count_nonzero(is_predicted & (true == true_class)))
    predicted = PlainSlice(
        name="predicted",
        label=f"predicted {store.class_names[wrong]}, of every true class",
        counts=SliceCounts(
            n_members=int(np.count_nonzero(is_predicted)),
            n_member_errors=n_cell,
            n_images=len(true),
            n_errors=n_cell,
        ),
        n_wrong=int(np.count_nonzero(is_predicted & (true != wrong))),
    )
    half = np.flatnonzero(~cell.is_discovery)
    n_errors = int(np.count_nonzero(cell.is_error[half]))
    n = min(n_errors if size is None else size, len(half))
    store.table("scores")
    found = store.arrow(
        f"SELECT s.c{wrong:04d} AS score, p.margin FROM scores s JOIN predictions p "
        "USING (image_id) WHERE image_id IN (SELECT unnest(?::INTEGER[])) ORDER BY image_id",
        cell.image_id[half].tolist(),
    )
    # A missing one comes last either way.
    orders = {
        "score": (-numbers(found["score"], np.float64), "highest score of"),
        "margin": (numbers(found["margin"], np.float64), "smallest margin"),
    }
    ranked = []
    for name, (values, words) in orders.items():
        chosen = half[np.argsort(values, kind="stable")[:n]]
        outcome = cell.outcome[chosen]
        name_of = f" {store.class_names[wrong]}" if name == "score" else ""
        ranked.append(
            PlainSlice(
                name=name,
                label=f"the {n:,} images with the {words}{name_of}",
                counts=SliceCounts(
                    n_members=n,
                    n_member_errors=int(np.count_nonzero(outcome == wrong)),
                    n_images=len(half),
                    n_errors=n_errors,
                ),
                n_wrong=int(np.count_nonzero(outcome != true_class)),
            )
        )
    return (predicted, *ranked)
