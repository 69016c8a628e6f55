"""What the app shows of errors: kinds of them, and what is over-represented among one kind."""

from __future__ import annotations

from dataclasses import dataclass

from feature_store.patterns.statistics import lift_interval


@dataclass(frozen=True, kw_only=True)
class ConfusionCell:
    """One kind of error.

    Parameters
    ----------
    true_class, predicted_class : int
        Class indices; they differ.
    n : int
        Images of the true class that are predicted as the other.
    n_true : int
        Images of the true class.
    share : float
        ``n`` over ``n_true``, in (0, 1].
    """

    true_class: int
    predicted_class: int
    n: int
    n_true: int
    share: float


@dataclass(frozen=True, kw_only=True)
class SliceCounts:
    """A set of images on one half.

    Parameters
    ----------
    n_members, n_member_errors : int
        Members, and errors among them.
    n_images, n_errors : int
        Images of the true class on this half, and errors among them.
    """

    n_members: int
    n_member_errors: int
    n_images: int
    n_errors: int

    @property
    def share(self) -> float | None:
        """Share of the members that are errors, in [0, 1]; None without members."""
        return self.n_member_errors / self.n_members if self.n_members else None

    @property
    def coverage(self) -> float | None:
        """Share of the errors that are members, in [0, 1]; None without errors."""
        return self.n_member_errors / self.n_errors if self.n_errors else None

    @property
    def lift(self) -> float | None:
        """How many times more often a member is an error than an image of the true class."""
        if not (self.n_members and self.n_errors):
            return None
        return self.n_member_errors * self.n_images / (self.n_members * self.n_errors)

    @property
    def lift_interval(self) -> tuple[float, float]:
        """95 % interval of the lift; of use only on the half that did not choose the set."""
        low, high = lift_interval(
            self.n_member_errors, self.n_members, self.n_errors, self.n_images
        )
        return float(low), float(high)


@dataclass(frozen=True, kw_only=True)
class FoundSlice:
    """A set of images that is over-represented among the errors.

    Parameters
    ----------
    key : int
        Id of the pattern, or number of the cluster or group.
    label : str
        In plain words.
    p, q : float
        Hypergeometric tail on the half that searches, and its false-discovery rate over all that
        were tested there.
    discovery : SliceCounts
        On the half that searches: chosen for being high, hence flattering.
    confirmation_p, confirmation_q : float
        The same on the other half; its rate is over the representatives of what was found.
    confirmation : SliceCounts
        On the other half: what to quote.
    twins : tuple of int
        Keys of other sets found, with more than half of the errors in common: the same thing.
    image_ids : tuple of int
        Members among the images of the true class, both halves, the errors first.
    """

    key: int
    label: str
    p: float
    q: float
    discovery: SliceCounts
    confirmation_p: float
    confirmation_q: float
    confirmation: SliceCounts
    twins: tuple[int, ...]
    image_ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ErrorEnrichment:
    """What is over-represented among one kind of error, or why nothing is.

    Parameters
    ----------
    noun : str
        What was tested, in the singular: ``"pattern"``, ``"filter"``, ``"cluster"`` or
        ``"pixel group"``.
    true_class, predicted_class : int
        The errors: images of the one, predicted as the other.
    class_names : tuple of (str, str)
        Their names, as in the store.
    split : str or None
        Part of the data set; None for all of it.
    path_set : str or None
        Path set of patterns and filters; None for the others.
    layers : str or tuple of int
        Layers that patterns and filters may lie in, as asked; empty for the others.
    rate : float
        Declared false-discovery rate of ``confirmed``.
    seed : int
        Of the halves.
    n_images, n_errors : tuple of (int, int)
        Distinct images of the true class and errors among them: on the half that searches, on
        the one that confirms.
    n_copies : int
        Images left out because another one has the same pixels.
    n_unknown : int
        Images left out because it is not known what they belong to (no path, not decodable).
    n_candidates, n_tested : int
        Sets in all, and those large enough that their errors could have mattered.
    n_found : int
        Sets below the rate on the half that searches, twins included.
    confirmed : tuple of FoundSlice
        Found on one half and confirmed on the other, best first. Only these are results.
    unconfirmed : tuple of FoundSlice
        Found on one half and not confirmed: for the record, not to be shown as results.
    halves : str
        How the halves were drawn, in words.
    reason : str
        Why nothing is confirmed, in words; empty where something is.
    """

    noun: str
    true_class: int
    predicted_class: int
    class_names: tuple[str, str]
    split: str | None
    path_set: str | None
    layers: str | tuple[int, ...]
    rate: float
    seed: int
    n_images: tuple[int, int]
    n_errors: tuple[int, int]
    n_copies: int
    n_unknown: int
    n_candidates: int
    n_tested: int
    n_found: int
    confirmed: tuple[FoundSlice, ...]
    unconfirmed: tuple[FoundSlice, ...]
    halves: str
    reason: str

    def sentence(self, found: FoundSlice) -> str:
        """Say in words what was found, by the half that did not choose it."""
        true, predicted = self.class_names
        there = found.confirmation
        low, high = there.lift_interval
        return (
            f"{there.n_member_errors} of its {there.n_members} images of {true} on this half are "
            f"predicted {predicted}, {there.lift or 0:.1f} times ({low:.1f} to {high:.1f}) the "
            f"share among all of {true} there ({there.n_errors} of {there.n_images}); found on "
            f"the other half "
            f"(q {_figure(found.q)}), confirmed here (p {_figure(found.confirmation_p)})"
        )

    def why_nothing(self) -> str:
        """Say in words why nothing is confirmed; names of classes are as the store has them."""
        true, predicted = self.class_names
        errors = f"{true} predicted {predicted}"
        n_errors, some = sum(self.n_errors), f"{self.noun}s"
        if not sum(self.n_images):
            return f"there is no image of {true} to look at"
        if not n_errors:
            return f"no image of {true} is predicted {predicted}"
        if not self.n_candidates:
            return f"there are no {some} to test"
        count = f"{n_errors:,} {'error' if n_errors == 1 else 'errors'} of {errors}"
        if not self.n_tested:
            return (
                f"{count}: too few to tell. With {self.n_errors[0]:,} of them on the half that "
                f"searches, none of the {self.n_candidates:,} {some} could reach "
                f"q < {self.rate:g}, whichever images they were"
            )
        if not self.n_found:
            return (
                f"no {self.noun} is over-represented among the {count} at q < {self.rate:g} "
                f"({self.n_tested:,} of {self.n_candidates:,} {some} tested, on "
                f"{self.n_errors[0]:,} of the errors)"
            )
        return (
            f"nothing is confirmed for the {count}: of {self.n_tested:,} {some}, "
            f"{self.n_found:,} looked over-represented on one half of the images at "
            f"q < {self.rate:g}, and none was on the other half"
        )


def _figure(chance: float) -> str:
    return f"= {chance:.2g}" if chance >= 1e-4 else "< 0.0001"


@dataclass(frozen=True, kw_only=True)
class PermutationCheck:
    """How often a search reports anything where there is nothing to find.

    Parameters
    ----------
    n : int
        Permutations of the errors within their true class.
    n_found : int
        Runs in which anything was below the rate on the half that searches.
    n_reported : int
        Runs in which anything was also confirmed: an answer that shows something.
    """

    n: int
    n_found: int
    n_reported: int
