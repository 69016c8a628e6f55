"""What the app shows of a pattern, and of a list of recommended ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, overload

import numpy as np

from feature_store.patterns.statistics import class_entropy, wilson_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

PatternKey: TypeAlias = "int | tuple[tuple[int, int], ...]"
"""Names a pattern: its id in the store, or the items of one that may skip layers."""

CARD_IMAGES = 20
"""So many members travel with a card."""

UNIQUE_BELOW = 0.35
"""Class entropy, as a share of the largest, below which a pattern belongs to few classes."""

GENERAL_ABOVE = 0.75
"""Class entropy above which a pattern is shared by most classes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PatternCard:
    """One pattern, with everything its card says.

    Parameters
    ----------
    pattern_id : int
        Row in the table ``patterns``; -1 for one that may skip layers, which is in no table.
    items : tuple of (int, int)
        Layer and filter, from the first layer to the last.
    support : int
        Members.
    n_selected, n_selection : int
        Members that are selected, and images selected; both 0 without a selection.
    n_among : int
        Members among the images that the selection is compared with; all of them by default.
    lift : float or None
        How many times more members are selected than by chance; None without a selection.
    q : float or None
        False-discovery rate of the over-representation over all patterns of the path set;
        None when it was not tested.
    purity, purity_low, purity_high : float or None
        Share of the commonest true class among labelled members, and its 95 % Wilson interval;
        None without labels.
    top_class : int or None
        Commonest true class.
    true_counts, predicted_counts : ndarray of shape (n_classes,), int64
        Members by class.
    labelled : int
        Members with a true class: the base of every share of wrong predictions.
    wrong : int
        Members predicted wrong.
    wrong_share, wrong_low, wrong_high : float or None
        Share of wrong predictions and its 95 % Wilson interval.
    expected_wrong : float or None
        Share that the same mix of classes and splits has among all images.
    is_error_raised : bool
        Whether the whole interval lies above what is expected.
    class_entropy : float or None
        Entropy of the true classes as a share of the largest possible, in [0, 1].
    badge : str
        ``"unique"`` (entropy below 0.35), ``"general"`` (above 0.75) or ``""``.
    rank_score : float
        Wilson bound of purity x log2 support x sqrt length.
    q_class : float or None
        False-discovery rate of the commonest class's over-representation.
    image_ids : tuple of int
        First members: selected ones before the others, both in the order of their paths.
    """

    pattern_id: int
    items: tuple[tuple[int, int], ...]
    support: int
    n_selected: int
    n_selection: int
    n_among: int
    lift: float | None
    q: float | None
    purity: float | None
    purity_low: float | None
    purity_high: float | None
    top_class: int | None
    true_counts: NDArray[np.int64]
    predicted_counts: NDArray[np.int64]
    labelled: int
    wrong: int
    wrong_share: float | None
    wrong_low: float | None
    wrong_high: float | None
    expected_wrong: float | None
    is_error_raised: bool
    class_entropy: float | None
    badge: str
    rank_score: float
    q_class: float | None
    image_ids: tuple[int, ...]

    @property
    def key(self) -> PatternKey:
        """What names the pattern: its id, or its items where it has none."""
        return self.items if self.pattern_id < 0 else self.pattern_id


@dataclass(frozen=True, kw_only=True, eq=False)
class Described:
    """The members of a pattern as its card counts them.

    Parameters
    ----------
    ids : ndarray of shape (support,), int32
        Members, in the order in which the card shows them.
    true_class, predicted_class : ndarray of shape (support,), int
        Their classes, -1 where there is no label.
    is_selected : ndarray of shape (support,), bool
        Whether they are selected.
    is_among : ndarray of shape (support,), bool
        Whether they belong to the images that the selection is compared with.
    n_classes, n_images, n_selection : int
        Classes, images that the selection is compared with, and how many of those are selected.
    """

    ids: NDArray[np.int32]
    true_class: NDArray[np.integer]
    predicted_class: NDArray[np.integer]
    is_selected: NDArray[np.bool_]
    is_among: NDArray[np.bool_]
    n_classes: int
    n_images: int
    n_selection: int

    def card(
        self,
        items: tuple[tuple[int, int], ...],
        *,
        rank_score: float,
        expected_wrong: float | None,
        pattern_id: int = -1,
        q: float | None = None,
        q_class: float | None = None,
    ) -> PatternCard:
        """Count the members for a card.

        Parameters
        ----------
        items, rank_score, expected_wrong, pattern_id, q, q_class
            As in ``PatternCard``.

        Returns
        -------
        PatternCard
        """
        true = self.true_class
        true_counts = np.bincount(true[true >= 0], minlength=self.n_classes)
        labelled = int(true_counts.sum())
        wrong = int(np.count_nonzero((true >= 0) & (true != self.predicted_class)))
        top = int(true_counts.max(initial=0))
        low, high = (float(bound) for bound in wilson_interval(wrong, labelled))
        purity = tuple(float(bound) for bound in wilson_interval(top, labelled))
        entropy = float(class_entropy(true_counts)) if labelled else None
        n_selected = int(np.count_nonzero(self.is_selected))
        n_among = int(np.count_nonzero(self.is_among))
        chance = self.n_selection * n_among / max(self.n_images, 1)
        first = np.argsort(~self.is_selected, kind="stable")[:CARD_IMAGES]
        predicted = self.predicted_class
        return PatternCard(
            pattern_id=pattern_id,
            items=items,
            support=len(self.ids),
            n_selected=n_selected,
            n_selection=self.n_selection,
            n_among=n_among,
            lift=n_selected / chance if chance else None,
            q=q,
            purity=top / labelled if labelled else None,
            purity_low=purity[0] if labelled else None,
            purity_high=purity[1] if labelled else None,
            top_class=int(true_counts.argmax()) if labelled else None,
            true_counts=true_counts,
            predicted_counts=np.bincount(predicted[predicted >= 0], minlength=self.n_classes),
            labelled=labelled,
            wrong=wrong,
            wrong_share=wrong / labelled if labelled else None,
            wrong_low=low if labelled else None,
            wrong_high=high if labelled else None,
            expected_wrong=expected_wrong,
            # The bound of 0 of n is 0 but for rounding.
            is_error_raised=wrong > 0 and expected_wrong is not None and low > expected_wrong,
            class_entropy=entropy,
            badge=badge_of(entropy),
            rank_score=rank_score,
            q_class=q_class,
            image_ids=tuple(int(image) for image in self.ids[first]),
        )


@dataclass(frozen=True, kw_only=True)
class Recommendation(Sequence[PatternCard]):
    """Patterns to show, best first, and how they were found. It is a sequence of its cards.

    Parameters
    ----------
    cards : tuple of PatternCard
        Near twins (more than half of the images shared) are left out.
    kind : str
        ``"selection"`` (over-represented), ``"shared"`` (held by both of two images),
        ``"image"``, ``"path"``, ``"filters"``, ``"distinctive"`` or ``"general"``.
    n_found : int
        Patterns that answer the question, twins included.
    n_tested : int
        Patterns among which the false-discovery rate was controlled; 0 where nothing was tested.
    n_with_all : int
        For filters: how many of ``n_found`` hold all of them. Those come first.
    most_selected : int
        For a selection of three and more: how many selected images share one pattern, at most.
    n_implied : int
        For a selection that was made by a pattern: how many are left out because it implies them.
    """

    cards: tuple[PatternCard, ...]
    kind: str
    n_found: int
    n_tested: int = 0
    n_with_all: int = 0
    most_selected: int = 0
    n_implied: int = 0

    def __len__(self) -> int:
        return len(self.cards)

    def __iter__(self) -> Iterator[PatternCard]:
        return iter(self.cards)

    @overload
    def __getitem__(self, index: int) -> PatternCard: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PatternCard]: ...
    def __getitem__(self, index: int | slice) -> PatternCard | Sequence[PatternCard]:
        return self.cards[index]


def badge_of(class_entropy: float | None) -> str:
    """Name a pattern ``"unique"`` or ``"general"`` by the entropy of its classes, or neither."""
    if class_entropy is None:
        return ""
    if class_entropy < UNIQUE_BELOW:
        return "unique"
    return "general" if class_entropy > GENERAL_ABOVE else ""
