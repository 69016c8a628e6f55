"""The patterns of one path set in memory, for answers within milliseconds.

The members of a pattern are a run of positions, so that a few arrays of one integer for each
image and layer answer every question: who has a pattern, which patterns an image has, and how many
images of a selection each pattern holds.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from feature_store.patterns.cards import Described
from feature_store.patterns.columns import numbers
from feature_store.patterns.memory import remember

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from feature_store.patterns.cards import PatternCard
    from feature_store.store import Store

_COLUMNS = (
    "first_layer, last_layer, lo, hi, items, expected_wrong, rank_score, q_class, "
    "distinctive_rank, general_rank"
)


class PatternIndex:
    """Patterns, members and classes of one path set; read-only, so that threads may share it.

    Parameters
    ----------
    store : Store
        Opened store; it is read once.
    path_set : str
        ``paper``, ``mean`` or ``balanced``.

    Raises
    ------
    TableMissingError
        When the path set was not mined yet.

    Attributes
    ----------
    n_images, n_layers, n_classes : int
        Images that were mined, layers of a path, classes.
    support, first_layer, last_layer : ndarray of shape (n_patterns,)
        Members, first and last layer (inclusive) of each pattern.
    rank_score : ndarray of shape (n_patterns,), float64
        Higher is shown earlier.
    n_ids : int
        One more than the largest image id.
    """

    def __init__(self, store: Store, path_set: str) -> None:
        folder = f"patterns/{path_set}/"
        for table in ("patterns", "pattern_images"):
            store.table(folder + table)
        name = folder.replace("/", "__")
        rows = store.arrow(f'SELECT {_COLUMNS} FROM "{name}patterns" ORDER BY pattern_id')
        self.first_layer = numbers(rows["first_layer"], np.int64)
        self.last_layer = numbers(rows["last_layer"], np.int64)
        self._low = numbers(rows["lo"], np.int64)
        self._high = numbers(rows["hi"], np.int64)
        self.support = self._high - self._low
        self.rank_score = numbers(rows["rank_score"], np.float64)
        self._expected_wrong = numbers(rows["expected_wrong"], np.float64)
        self._q_class = numbers(rows["q_class"], np.float64)
        self._places = {
            order: numbers(rows[f"{order}_rank"], np.float64)
            for order in ("distinctive", "general")
        }
        self._read_items(rows["items"])
        self._read_order(
            store.arrow(
                f'SELECT first_layer, image_id FROM "{name}pattern_images" '
                "ORDER BY first_layer, position"
            )
        )
        self._read_classes(store)

    def _read_items(self, items: pa.ChunkedArray) -> None:
        lists = items.combine_chunks()
        self._offsets = np.concatenate([[0], np.cumsum(self.last_layer - self.first_layer + 1)])
        self._filters = lists.flatten().to_numpy().astype(np.int64)
        lengths = np.diff(self._offsets)
        self._item_pattern = np.repeat(np.arange(len(lengths)), lengths)
        step = np.arange(len(self._filters)) - np.repeat(self._offsets[:-1], lengths)
        self._item_layer = np.repeat(self.first_layer, lengths) + step

    def _read_order(self, rows: pa.Table) -> None:
        first = numbers(rows["first_layer"], np.int64)
        self.n_layers = int(first[-1]) + 1 if len(first) else 0
        self._order = numbers(rows["image_id"], np.int32).reshape(self.n_layers, -1)
        self.n_images = self._order.shape[1]
        self.n_ids = int(self._order[0].max()) + 1 if self.n_images else 0
        self._is_mined = np.zeros(self.n_ids, dtype=bool)
        self._is_mined[self._order[:1]] = True
        # Images that were not mined have no position.
        self._position = np.full((self.n_layers, self.n_ids), -1, dtype=np.int32)
        for position, order in zip(self._position, self._order, strict=True):
            position[order] = np.arange(self.n_images, dtype=np.int32)
        # Patterns are sorted by first layer: those of a layer are neighbours.
        borders = np.searchsorted(self.first_layer, np.arange(self.n_layers + 1))
        self._of_layer = [slice(*pair) for pair in pairwise(borders)]

    def _read_classes(self, store: Store) -> None:
        rows = store.arrow(
            "SELECT image_id, coalesce(i.true_class, -1) AS true_class, "
            "coalesce(p.predicted_class, -1) AS predicted_class "
            "FROM images i JOIN predictions p USING (image_id) WHERE image_id < ?",
            self.n_ids,
        )
        self.n_classes = len(store.class_names)
        self._true, self._predicted = (np.full(self.n_ids, -1, dtype=np.int64) for _ in range(2))
        at = numbers(rows["image_id"], np.int64)
        self._true[at] = numbers(rows["true_class"], np.int64)
        self._predicted[at] = numbers(rows["predicted_class"], np.int64)

    def __len__(self) -> int:
        return len(self.support)

    def members(self, pattern_id: int) -> NDArray[np.int32]:
        """Return the images of a pattern, in the order of their paths from its first layer on.

        Parameters
        ----------
        pattern_id : int
            Pattern.

        Returns
        -------
        ndarray of shape (support,), int32
            Image ids; a view, not to be written.

        Raises
        ------
        IndexError
            When there is no such pattern.
        """
        if not 0 <= pattern_id < len(self):
            msg = f"there is no pattern {pattern_id}: the path set has {len(self):,}"
            raise IndexError(msg)
        run = slice(int(self._low[pattern_id]), int(self._high[pattern_id]))
        order: NDArray[np.int32] = self._order[int(self.first_layer[pattern_id])]
        return order[run]

    def items(self, pattern_id: int) -> tuple[tuple[int, int], ...]:
        """Return the (layer, filter) pairs of a pattern."""
        filters = self._filters[self._offsets[pattern_id] : self._offsets[pattern_id + 1]]
        first = int(self.first_layer[pattern_id])
        return tuple((first + step, int(filter_)) for step, filter_ in enumerate(filters))

    def selected(self, image_ids: NDArray[np.integer] | Sequence[int]) -> NDArray[np.bool_]:
        """Mark a selection.

        Parameters
        ----------
        image_ids : sequence of int
            Ids in any order; repeats, and images that were not mined, do not count.

        Returns
        -------
        ndarray of shape (n_ids,), bool
            By image id.
        """
        is_selected = np.zeros(self.n_ids, dtype=bool)
        ids = np.asarray(image_ids, dtype=np.int64)
        is_selected[ids[(ids >= 0) & (ids < self.n_ids)]] = True
        return is_selected & self._is_mined

    def count(self, is_selected: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Count the selected images in every pattern.

        Parameters
        ----------
        is_selected : ndarray of shape (n_ids,), bool
            As ``selected`` returns it.

        Returns
        -------
        ndarray of shape (n_patterns,), int64
            Members that are selected.
        """
        ids = np.flatnonzero(is_selected)
        counts = np.zeros(len(self), dtype=np.int64)
        for layer, rows in enumerate(self._of_layer):
            # How many of them lie before each position.
            is_there = np.zeros(self.n_images + 1, dtype=np.int32)
            is_there[self._position[layer, ids] + 1] = 1
            before = np.cumsum(is_there, dtype=np.int32)
            counts[rows] = before[self._high[rows]] - before[self._low[rows]]
        return counts

    def of_image(self, image_id: int) -> NDArray[np.int64]:
        """Return the patterns of an image, ascending; none for an image that was not mined."""
        if not (0 <= image_id < self.n_ids and self.n_layers):
            return np.zeros(0, dtype=np.int64)
        position = self._position[:, image_id][self.first_layer]
        return np.flatnonzero((self._low <= position) & (position < self._high))

    def of_path(self, winners: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the patterns whose items all lie on a path.

        Parameters
        ----------
        winners : ndarray of shape (n_layers,), int
            Filter of each layer, -1 for a silent one.

        Returns
        -------
        ndarray of int64
            Patterns, ascending.

        Raises
        ------
        ValueError
            When the path has another number of layers.
        """
        path = np.asarray(winners, dtype=np.int64)
        if path.shape != (self.n_layers,):
            msg = f"a path has {self.n_layers} layers here, got shape {path.shape}"
            raise ValueError(msg)
        agrees = self._filters == path[self._item_layer]
        matched = np.bincount(self._item_pattern[agrees], minlength=len(self))
        return np.flatnonzero(matched == np.diff(self._offsets))

    def count_filters(self, filters: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        """Count, for every pattern, how many of the given (layer, filter) pairs it holds."""
        counts = np.zeros(len(self), dtype=np.int64)
        for layer, filter_ in dict.fromkeys(filters):
            has = (self._item_layer == layer) & (self._filters == filter_)
            counts[self._item_pattern[has]] += 1
        return counts

    def ranked(self, order: str) -> NDArray[np.int64]:
        """Return the patterns of a stored order, ``"distinctive"`` or ``"general"``, best first.

        Returns
        -------
        ndarray of int64
            Patterns; those beyond the stored depth are left out.

        Raises
        ------
        ValueError
            When there is no such order.
        """
        if order not in self._places:
            msg = f"no order is called {order!r}; known: {', '.join(self._places)}"
            raise ValueError(msg)
        places = self._places[order]
        return np.argsort(places, kind="stable")[: np.count_nonzero(~np.isnan(places))]

    def card(
        self,
        pattern_id: int,
        *,
        is_selected: NDArray[np.bool_] | None = None,
        is_among: NDArray[np.bool_] | None = None,
        q: float | None = None,
    ) -> PatternCard:
        """Describe a pattern.

        Parameters
        ----------
        pattern_id : int
            Pattern.
        is_selected : ndarray of shape (n_ids,), bool, optional
            As ``selected`` returns it.
        is_among : ndarray of shape (n_ids,), bool, optional
            Images that the selection is compared with; by default all that were mined.
        q : float, optional
            False-discovery rate of its over-representation in the selection.

        Returns
        -------
        PatternCard
            With counts taken over its members.

        Raises
        ------
        IndexError
            When there is no such pattern.
        """
        members = self.members(pattern_id)
        if is_selected is None:
            is_selected = np.zeros(self.n_ids, dtype=bool)
        if is_among is None:
            is_among = self._is_mined
        described = Described(
            ids=members,
            true_class=self._true[members],
            predicted_class=self._predicted[members],
            is_selected=is_selected[members],
            is_among=is_among[members],
            n_classes=self.n_classes,
            n_images=int(np.count_nonzero(is_among)),
            n_selection=int(np.count_nonzero(is_selected)),
        )
        return described.card(
            self.items(pattern_id),
            pattern_id=pattern_id,
            rank_score=float(self.rank_score[pattern_id]),
            expected_wrong=_known(self._expected_wrong[pattern_id]),
            q=q,
            q_class=_known(self._q_class[pattern_id]),
        )


def _known(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)


def pattern_index(store: Store, path_set: str) -> PatternIndex:
    """Return the index of a path set, built on first use and kept as long as the store is.

    Returns
    -------
    PatternIndex
        Shared by all callers.

    Raises
    ------
    TableMissingError
        When the path set was not mined yet.
    """
    return remember(store, ("patterns", path_set), lambda: PatternIndex(store, path_set))
