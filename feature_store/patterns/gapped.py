"""Patterns that may skip layers: too many to list, so each question is answered when it is asked.

A gapped pattern is any set of two or more items, at most one a layer; its members are the images
whose path has them all. It is closed when no further item is shared by every member. All answers
are exact. One image holds a pattern for every subset of its path, so that the support of all of
them follows from counting which layers agree with each other image, and summing over supersets;
a selection is searched for its closed patterns, each reached in one way only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np

from feature_store.patterns.closed import closed_masks, closed_sets, superset_sums
from feature_store.patterns.contiguous import check_thresholds
from feature_store.patterns.gapped_paths import GappedPaths, gapped_paths
from feature_store.patterns.intervals import SILENT_CODE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from feature_store.store import Store

    Ids = NDArray[np.integer] | Sequence[int]


@dataclass(frozen=True, kw_only=True)
class GappedPattern:
    """One closed pattern that may skip layers.

    Parameters
    ----------
    items : tuple of (int, int)
        Layer and filter, by layer.
    support : int
        Members among the images searched.
    bits : float
        Support x log2 of support over what independent layers would give; ranks the answer.
    """

    items: tuple[tuple[int, int], ...]
    support: int
    bits: float


@dataclass(frozen=True, kw_only=True)
class GappedPatterns(Sequence[GappedPattern]):
    """Closed gapped patterns, best first, and how they were found; a sequence of its patterns.

    Parameters
    ----------
    patterns : tuple of GappedPattern
        By bits, the largest first.
    kind : str
        ``"image"``, ``"path"`` or ``"selection"``.
    layers : tuple of int
        Layers whose items were looked at, ascending.
    n_layers : int
        Layers of the path set; more than ``layers`` where some were chosen.
    n_images : int
        Images searched: all that were mined, or those of the selection. Support and closedness
        are taken among them.
    n_found : int
        Closed patterns found; more than ``patterns`` where the answer was cut.
    is_complete : bool
        Whether these are all there are in the given layers. When False the search ended at its
        cap or deadline: ``n_found`` is what it had reached, not the best of them all.
    """

    patterns: tuple[GappedPattern, ...]
    kind: str
    layers: tuple[int, ...]
    n_layers: int
    n_images: int
    n_found: int
    is_complete: bool = True

    def __len__(self) -> int:
        return len(self.patterns)

    def __iter__(self) -> Iterator[GappedPattern]:
        return iter(self.patterns)

    @overload
    def __getitem__(self, index: int) -> GappedPattern: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[GappedPattern]: ...
    def __getitem__(self, index: int | slice) -> GappedPattern | Sequence[GappedPattern]:
        return self.patterns[index]


def gapped_patterns_of_image(
    store: Store,
    path_set: str,
    image_id: int,
    *,
    min_images: int = 5,
    min_length: int = 2,
    layers: Sequence[int] | None = None,
    limit: int = 100,
) -> GappedPatterns:
    """Find the closed patterns of one image, layers skipped where need be.

    Parameters
    ----------
    store : Store
        Opened store.
    path_set : str
        Path set.
    image_id : int
        Image; one without a path (unreadable) has no pattern.
    min_images, min_length : int
        Least number of members, the image among them, and of items.
    layers : sequence of int, optional
        At most 20 layer indices. By default all layers; in a network with more than 20 the last
        convolution of each block and the hidden linear layers, the deepest 20 of them.
    limit : int
        Most patterns in the answer; ``n_found`` counts all.

    Returns
    -------
    GappedPatterns
        Of kind ``"image"``, complete.

    Raises
    ------
    TableMissingError
        When the path set was not computed yet.
    ValueError
        When a threshold is below 1, or the layers are too many or unknown.
    """
    paths = gapped_paths(store, path_set)
    used = paths.layers(layers)
    rows = paths.rows([image_id])
    wanted = {layer: int(paths.codes[layer][rows[0]]) for layer in used} if len(rows) else {}
    return _of_codes(paths, wanted, "image", used, min_images, min_length, limit)


def gapped_patterns_of_path(
    store: Store,
    path_set: str,
    winners: NDArray[np.integer] | Sequence[int],
    *,
    min_images: int = 5,
    min_length: int = 2,
    layers: Sequence[int] | None = None,
    limit: int = 100,
) -> GappedPatterns:
    """Find the closed patterns on a path that is not in the store: an uploaded or changed image.

    Parameters
    ----------
    store : Store
        Opened store.
    path_set : str
        Path set under whose rules the winners were found.
    winners : sequence of int
        Filter of each layer of the path set, -1 for a silent one.
    min_images, min_length, layers, limit
        As for an image; members are images of the store.

    Returns
    -------
    GappedPatterns
        Of kind ``"path"``, complete. On a path that no image has, closed means that no further
        item of the path is shared by every member.

    Raises
    ------
    TableMissingError
        When the path set was not computed yet.
    ValueError
        When the path has another number of layers than those of the store, a threshold is below
        1, or the layers are too many or unknown.
    """
    paths = gapped_paths(store, path_set)
    used = paths.layers(layers)
    path = np.asarray(winners, dtype=np.int64)
    if path.shape != (len(paths.codes),):
        msg = f"a path has {len(paths.codes)} layers here, got shape {path.shape}"
        raise ValueError(msg)
    wanted = {layer: int(path[layer]) + 1 for layer in used}
    return _of_codes(paths, wanted, "path", used, min_images, min_length, limit)


def gapped_patterns_of_selection(
    store: Store,
    path_set: str,
    image_ids: Ids,
    *,
    min_images: int = 5,
    min_length: int = 2,
    layers: Sequence[int] | None = None,
    limit: int = 100,
    max_found: int = 20_000,
    timeout: float | None = 0.5,
    is_against_all: bool = False,
) -> GappedPatterns:
    """Find the closed patterns inside a selection; images outside of it do not count.

    Parameters
    ----------
    store : Store
        Opened store.
    path_set : str
        Path set.
    image_ids : sequence of int
        The selection, in any order; repeats, and images that were not mined, do not count.
    min_images, min_length, layers, limit
        As for an image; members are selected images.
    max_found : int
        The search ends soon after so many patterns.
    timeout : float or None
        Deadline of the search in seconds.
    is_against_all : bool
        Whether ``bits`` takes the shares of the items among all images, so that what the
        selection has more often than others counts. By default among the selected: what all of
        them have tells nothing of any.

    Returns
    -------
    GappedPatterns
        Of kind ``"selection"``; ``is_complete`` says whether the search came to its end.

    Raises
    ------
    TableMissingError
        When the path set was not computed yet.
    ValueError
        When a threshold is below 1, or the layers are too many or unknown.
    """
    check_thresholds(min_images, min_length)
    paths = gapped_paths(store, path_set)
    used = paths.layers(layers)
    rows = paths.rows(image_ids)
    codes = [paths.codes[layer][rows] for layer in used]
    sets = closed_sets(
        codes,
        min_images=min_images,
        min_length=min_length,
        max_found=max_found,
        timeout=timeout,
    )
    logs = np.zeros((len(codes), len(sets.masks)))
    for bit, column in enumerate(codes):
        among = paths.codes[used[bit]] if is_against_all else column
        count = np.bincount(among)
        logs[bit] = np.log2(count[column[sets.first_rows]] / max(len(among), 1))
    bits = _bits(sets.masks, sets.support, logs, len(rows))
    best = np.lexsort((sets.first_rows, sets.masks, -sets.support, -bits))[: max(limit, 0)]
    patterns = [
        GappedPattern(
            items=tuple(
                (layer, int(codes[bit][sets.first_rows[at]]) - 1)
                for bit, layer in enumerate(used)
                if sets.masks[at] >> bit & 1
            ),
            support=int(sets.support[at]),
            bits=float(bits[at]),
        )
        for at in best
    ]
    return GappedPatterns(
        patterns=tuple(patterns),
        kind="selection",
        layers=used,
        n_layers=len(paths.codes),
        n_images=len(rows),
        n_found=len(sets.masks),
        is_complete=sets.is_complete,
    )


def gapped_members(
    store: Store,
    path_set: str,
    items: Sequence[tuple[int, int]],
    *,
    selection: Ids | None = None,
) -> NDArray[np.int32]:
    """Return the images that have every item of a pattern.

    Parameters
    ----------
    store : Store
        Opened store.
    path_set : str
        Path set.
    items : sequence of (int, int)
        Layer and filter; two filters of one layer have no image in common.
    selection : sequence of int, optional
        Only members among these images.

    Returns
    -------
    ndarray of int32
        Image ids, ascending.

    Raises
    ------
    TableMissingError
        When the path set was not computed yet.
    ValueError
        When an item names a layer that there is not, or no filter.
    """
    paths = gapped_paths(store, path_set)
    rows = None if selection is None else paths.rows(selection)
    return paths.ids[paths.members(items, rows)]


def _of_codes(
    paths: GappedPaths,
    wanted: dict[int, int],
    kind: str,
    used: tuple[int, ...],
    min_images: int,
    min_length: int,
    limit: int,
) -> GappedPatterns:
    """Count which of the wanted items each image has, and read every subset off the counts."""
    check_thresholds(min_images, min_length)
    heard = [(layer, code) for layer, code in wanted.items() if code != SILENT_CODE]
    agreement = np.zeros(len(paths.ids), dtype=np.int32)
    logs = np.zeros((len(heard), 1))
    for bit, (layer, code) in enumerate(heard):
        has = paths.codes[layer] == code
        agreement |= has.astype(np.int32) << bit
        n_members = int(np.count_nonzero(has))
        logs[bit] = np.log2(max(n_members, 1) / max(len(has), 1))
    support = superset_sums(np.bincount(agreement, minlength=1 << len(heard)))
    masks = np.flatnonzero(closed_masks(support) & (support >= min_images))
    masks = masks[np.bitwise_count(masks) >= min_length]
    bits = _bits(masks, support[masks], logs, len(paths.ids))
    best = masks[np.lexsort((masks, -support[masks], -bits))][: max(limit, 0)]
    bits_of = dict(zip(masks.tolist(), bits.tolist(), strict=True))
    return GappedPatterns(
        patterns=tuple(
            GappedPattern(
                items=tuple(
                    (layer, code - 1) for bit, (layer, code) in enumerate(heard) if mask >> bit & 1
                ),
                support=int(support[mask]),
                bits=bits_of[mask],
            )
            for mask in best.tolist()
        ),
        kind=kind,
        layers=used,
        n_layers=len(paths.codes),
        n_images=len(paths.ids),
        n_found=len(masks),
    )


def _bits(
    masks: NDArray[np.int64],
    support: NDArray[np.int64],
    logs: NDArray[np.float64],
    n_images: int,
) -> NDArray[np.float64]:
    """Return support x log2 lift, given log2 of the share of images that have each item."""
    lift = np.log2(np.maximum(support, 1) / max(n_images, 1))
    for bit, log in enumerate(logs):
        lift = lift - np.where(masks >> bit & 1, log, 0.0)
    return np.asarray(support * lift)
