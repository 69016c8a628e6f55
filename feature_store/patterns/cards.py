"""What the app shows of a pattern, and of a list of recommended ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
        Row in the table ``patterns``.
    items : tuple of (int, int)
        Layer and filter, from the first layer to the last.
    support : int
        Members.
    n_selected, n_selection : int
        Members that are selected, and images selected; both 0 without a selection.
    lift : float or None
        How many times more members are selected than by chance; None without a selection.
    q : float or None
        False-discovery rate of the over-representation over all patterns of the path set;
        None when it was not tested.
    purity, purity_low : float or None
        Share of the commonest true class among labelled members, and its 95 % Wilson lower
        bound; None without labels.
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
    lift: float | None
    q: float | None
    purity: float | None
    purity_low: float | None
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
    """

    cards: tuple[PatternCard, ...]
    kind: str
    n_found: int
    n_tested: int = 0
    n_with_all: int = 0

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
