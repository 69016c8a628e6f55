"""Sets of images, tested for holding more of some errors than chance would give them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from feature_store.patterns.enriched import FoundSlice, SliceCounts
from feature_store.patterns.ranking import TWIN_JACCARD
from feature_store.patterns.statistics import (
    benjamini_hochberg,
    hypergeometric_tail,
    tarone_family,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from feature_store.patterns.enrichment import ErrorCell

MIN_ERRORS = 3
"""Fewer errors than this among the members are no evidence of anything."""


class Slices(Protocol):
    """Sets of images that are counted and tested like patterns.

    Attributes
    ----------
    noun : str
        What one of them is called, in the singular: ``"pattern"``.
    """

    noun: str

    def __len__(self) -> int: ...
    def is_known(self, image_ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether it is known of each image which sets hold it."""
        ...

    def count(self, image_ids: NDArray[np.int32]) -> NDArray[np.int64]:
        """How many of the images each set holds."""
        ...

    def members(self, place: int) -> NDArray[np.int32]:
        """Images of a set; more than were asked for may be among them."""
        ...

    def key(self, place: int) -> int:
        """Return the number of a set where it comes from: the id of a pattern."""
        ...

    def label(self, place: int) -> str:
        """Name of a set in plain words."""
        ...


class MaskSlices:
    """Sets of the images of one cell, as a table of who is in which.

    Parameters
    ----------
    noun : str
        What one of them is called, in the singular.
    image_id : ndarray of shape (n,), int32
        Images, ascending.
    is_known : ndarray of shape (n,), bool
        Whether it is known which sets hold the image.
    is_member : ndarray of shape (n_sets, n), bool
        Members.
    labels : sequence of str
        Names of the sets in plain words.
    """

    def __init__(
        self,
        noun: str,
        *,
        image_id: NDArray[np.int32],
        is_known: NDArray[np.bool_],
        is_member: NDArray[np.bool_],
        labels: Sequence[str],
    ) -> None:
        self.noun = noun
        self._image_id, self._is_known = image_id, is_known
        self._is_member, self._labels = is_member, tuple(labels)

    def __len__(self) -> int:
        return len(self._is_member)

    def is_known(self, image_ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether the sets of each image are known."""
        return np.isin(image_ids, self._image_id[self._is_known])

    def count(self, image_ids: NDArray[np.int32]) -> NDArray[np.int64]:
        """Count the images in every set."""
        is_asked = np.isin(self._image_id, image_ids)
        return np.asarray(np.count_nonzero(self._is_member[:, is_asked], axis=1))

    def members(self, place: int) -> NDArray[np.int32]:
        """Images of a set."""
        return np.asarray(self._image_id[self._is_member[place]])

    def key(self, place: int) -> int:
        """Place of a set."""
        return place

    def label(self, place: int) -> str:
        """Name of a set in plain words."""
        return self._labels[place]


class Search:
    """One cell and one family of sets, tested on the half that searches."""

    def __init__(self, cell: ErrorCell, slices: Slices, rate: float) -> None:
        if not 0 < rate < 1:
            msg = f"a false-discovery rate lies between 0 and 1, got {rate}"
            raise ValueError(msg)
        self._cell, self._slices = cell, slices
        self.is_known = slices.is_known(cell.image_id)
        # Rows of the cell.
        self.discovery = np.flatnonzero(self.is_known & cell.is_discovery)
        self.confirmation = np.flatnonzero(self.is_known & ~cell.is_discovery)
        self._members, self._hits = self._counts(self.discovery)
        most = np.minimum(self._members, self.n_errors(self.discovery))
        least = self._tail(self.discovery, most, self._members)
        self._family = np.flatnonzero(tarone_family(least, rate))
        self.n_tested = len(self._family)
        self._p = self._tail(self.discovery, self._hits, self._members)
        self._q = np.ones(len(slices))
        self._q[self._family] = benjamini_hochberg(self._p[self._family])
        self._found = np.flatnonzero(self._q < rate)
        self.n_found = len(self._found)

    def n_errors(self, rows: NDArray[np.int64]) -> int:
        """Count the errors of a half."""
        return int(np.count_nonzero(self._cell.is_error[rows]))

    def _counts(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Members of every set on a half, and errors among them."""
        ids = self._cell.image_id[rows]
        return self._slices.count(ids), self._slices.count(ids[self._cell.is_error[rows]])

    def _tail(
        self, rows: NDArray[np.int64], hits: NDArray[np.int64], members: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Chance of at least so many errors; 1 where they are too few to be evidence."""
        n_errors, n_images = self.n_errors(rows), len(rows)
        p = np.ones(len(hits))
        some = np.flatnonzero(hits >= MIN_ERRORS)
        # Thousands of patterns share a few pairs of numbers.
        pairs, back = np.unique(hits[some] * (n_images + 1) + members[some], return_inverse=True)
        tails = hypergeometric_tail(*np.divmod(pairs, n_images + 1), n_errors, n_images)
        p[some] = tails[back]
        return p

    def found(self) -> tuple[FoundSlice, ...]:
        """Test the representatives of what was found on the other half, best first."""
        if not self.n_found:
            return ()
        found = self._found
        order = np.lexsort((found, -self._members[found], -self._hits[found], self._q[found]))
        twins = self._merged(found[order])
        places = np.array(list(twins))
        members, hits = self._counts(self.confirmation)
        n_images, n_errors = len(self.confirmation), self.n_errors(self.confirmation)
        p = self._tail(self.confirmation, hits[places], members[places])
        q = benjamini_hochberg(p)
        return tuple(
            FoundSlice(
                key=self._slices.key(place),
                label=self._slices.label(place),
                p=float(self._p[place]),
                q=float(self._q[place]),
                discovery=SliceCounts(
                    n_members=int(self._members[place]),
                    n_member_errors=int(self._hits[place]),
                    n_images=len(self.discovery),
                    n_errors=self.n_errors(self.discovery),
                ),
                confirmation_p=float(p[row]),
                confirmation_q=float(q[row]),
                confirmation=SliceCounts(
                    n_members=int(members[place]),
                    n_member_errors=int(hits[place]),
                    n_images=n_images,
                    n_errors=n_errors,
                ),
                twins=tuple(self._slices.key(twin) for twin in twins[place]),
                image_ids=self._images(place),
            )
            for row, place in enumerate(twins)
        )

    def _merged(self, places: NDArray[np.int64]) -> dict[int, list[int]]:
        """Give every set that is kept those that share more than half of its errors."""
        is_error = self._cell.is_error[self.discovery]
        errors = self._cell.image_id[self.discovery[is_error]]
        kept: dict[int, list[int]] = {}
        rows = np.zeros((0, len(errors)), dtype=bool)
        for place in places.tolist():
            row = np.isin(errors, self._slices.members(place))
            shared = np.count_nonzero(rows & row, axis=1)
            overlap = shared / np.maximum(np.count_nonzero(rows | row, axis=1), 1)
            if (overlap > TWIN_JACCARD).any():
                kept[list(kept)[int(overlap.argmax())]].append(place)
                continue
            kept[place] = []
            rows = np.vstack([rows, row])
        return kept

    def _images(self, place: int) -> tuple[int, ...]:
        ids = self._cell.image_id[self.is_known]
        is_member = np.isin(ids, self._slices.members(place))
        is_error = self._cell.is_error[self.is_known]
        chosen = np.concatenate([ids[is_member & is_error], ids[is_member & ~is_error]])
        return tuple(chosen.tolist())
