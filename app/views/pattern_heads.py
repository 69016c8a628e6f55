"""What stands above the list of patterns, and what its cards say of each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app import safe
from app.stores import missing_words, words_of
from app.views.pattern_figures import path_words
from feature_store import TableMissingError
from feature_store.patterns.gapped_cards import MIN_IMAGES, GappedRecommendation
from feature_store.patterns.recommend import MIN_SELECTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_store import Store, StoreError
    from feature_store.patterns.cards import PatternKey, Recommendation

PATH_SETS = {
    "balanced": "balanced",
    "mean": "mean",
    "paper": "paper",
}
"""Path sets by name, as the page calls them."""

ALIKE = (
    "Alike are patterns that share more than half of the filters of the shorter one, or more than "
    "half of their images."
)


@dataclass(frozen=True, kw_only=True)
class Mined:
    """What was asked for when the patterns of a store were mined.

    Parameters
    ----------
    min_images, min_length : int
        Least members and layers of a pattern without gaps.
    n_layers : int
        Layers of a path.
    n_sets : int
        Path sets whose patterns the store holds.
    """

    min_images: int = 5
    min_length: int = 2
    n_layers: int = 2
    n_sets: int = 1

    @classmethod
    def of(cls, store: Store, n_layers: int) -> Mined:
        """Return what a store says of itself."""
        said = store.info.get("mine")
        said = said if isinstance(said, dict) else {}
        return cls(
            min_images=safe.integer(said.get("min_images"), 1, 2**31 - 1) or cls.min_images,
            min_length=safe.integer(said.get("min_length"), 1, 2**31 - 1) or cls.min_length,
            n_layers=n_layers,
            n_sets=sum(f"patterns/{name}/patterns" in store.tables for name in PATH_SETS),
        )


def header(
    found: Recommendation,
    order: str,
    n_selected: int,
    focus: int | None,
    *,
    mined: Mined,
    is_copy: bool = False,
) -> dict[str, Any]:
    """Return title and count of the list.

    Parameters
    ----------
    found : Recommendation
        What is listed.
    order : str
        Key of ``ORDERS``.
    n_selected : int
        Images selected; 0 for all.
    focus : int or None
        Image whose patterns are listed, where it is one image's.
    mined : Mined
        What the store's patterns were mined by.
    is_copy : bool
        Whether the path whose patterns are listed is that of the changed copy; else it is an
        upload's.

    Returns
    -------
    dict
        ``title``, ``detail``, for patterns that may skip layers ``note``, and for an empty list
        ``headline``, ``words``, ``cure`` and ``cure_to``, the order or setting that it leads to.
    """
    titles = {
        "selection": "Over-represented patterns",
        "shared": "Patterns that the selected images share",
        "path": "Patterns of the changed copy"
        if is_copy
        else "Patterns on the path of your upload",
        "image": "Patterns of the image" if focus is None else f"Patterns of image {focus:,}",
        "filters": "Patterns with chosen filters",
        "distinctive": "Most distinctive patterns",
        "general": "Patterns that cover most images",
    }
    kind = found.kind if found.kind in titles else order
    few = f"{len(found)} of {found.n_found:,}"
    detail = f"{few} with q < 0.05" if found.n_tested else few
    result: dict[str, Any] = {"title": titles[kind], "detail": detail}
    if isinstance(found, GappedRecommendation):
        result |= {"note": skip_note(found), "note_help": SKIP_HELP}
    elif found.n_found > len(found) and kind != "general":
        result["detail"] += ", near twins skipped"
    if not len(found):
        result |= _nothing(kind, found, n_selected, mined, is_copy=is_copy)
    return result


SKIP_HELP = (
    "First come patterns whose filters win together most often beyond what independent layers "
    "would give, weighed by their images, and of those that are alike one: more than half of the "
    "shorter one's filters or of their images shared. Their variants follow, but for near twins, "
    "which share more than half of their images with a card. Supports count all images that were "
    "mined"
)


def implied_note(
    found: Recommendation,
    selected_by: Sequence[tuple[int, int]],
    names: Sequence[str],
    opened: Sequence[tuple[int, int]] = (),
) -> str:
    """Return that a pattern that was selected by, and what it implies, are not listed.

    All members of whatever holds it are selected, and the selected are all members of whatever is
    part of it: that these are over-represented tells nothing.

    Parameters
    ----------
    found : Recommendation
        What is listed.
    selected_by : sequence of (int, int)
        Items of the pattern that was selected by.
    names : sequence of str
        Short names of the layers.
    opened : sequence of (int, int)
        Items of the pattern whose card is listed only because it stands open.

    Returns
    -------
    str
        Plain text.
    """
    by = f"{path_words(selected_by, names)}, by which was selected"
    is_kept = bool(opened) and (set(opened) <= set(selected_by) or set(opened) >= set(selected_by))
    kept = "; the open one stays until it is closed" if is_kept else ""
    if isinstance(found, GappedRecommendation):
        return f"Without the filters of {by}{kept}"
    words = f"Left out: {by}, and what holds it or is part of it ({found.n_implied:,} in all)"
    return words + kept


def skip_note(found: GappedRecommendation) -> str:
    """Return which of the patterns that may skip layers were looked at, and in which layers."""
    if not found.n_closed:
        return "" if found.is_complete else "The search was stopped before it found any"
    some = f"the first {found.n_listed:,} of" if found.n_listed < found.n_closed else "all"
    words = f"From {some} {found.n_closed:,} patterns"
    if found.kind == "selection":
        words += f" of {found.least:,} or more selected images"
    words += ": those that differ first, then variants; near twins skipped"
    if not found.is_complete:
        words += "; the search was stopped, there are more"
    if len(found.layers) == found.n_layers:
        return f"{words}; all {found.n_layers} layers"
    return f"{words}; {len(found.layers)} of {found.n_layers} layers: the last of each block"


def failure(error: StoreError, store: Store) -> dict[str, str]:
    """Return the head of a list that could not be read: what is wrong, and what to run."""
    if isinstance(error, TableMissingError):
        headline, words = "No patterns have been mined yet", missing_words(error)
        command = error.command
    else:
        headline, words = "The patterns cannot be read", words_of(error, store.path)
        command = f"vatun verify {store.name}"
    return {"headline": headline, "words": safe.plain(words, limit=400), "command": command}


_SKIP = {"cure": "Let patterns skip layers", "cure_to": "skips"}
_DISTINCTIVE = {"cure": "Show distinctive patterns", "cure_to": "distinctive"}


def _nothing(
    kind: str, found: Recommendation, n_selected: int, mined: Mined, *, is_copy: bool
) -> dict[str, str]:
    may_skip = isinstance(found, GappedRecommendation)
    length, least = (2, MIN_IMAGES) if may_skip else (mined.min_length, mined.min_images)
    if mined.n_layers < max(length, 2):
        return _too_few_layers(length, mined.n_layers)
    # What else could find some: skipped layers, and then every pattern of the data.
    cure = _DISTINCTIVE if may_skip else _SKIP
    number = "two" if length == 2 else f"{length}"
    winners = f"winners of {number} layers" if may_skip else f"{number} neighbouring winners"
    other = " Another path set may know some." if mined.n_sets > 1 else ""
    if kind == "selection":
        return _not_more_than_chance(found, n_selected) | cure
    if kind == "shared":
        return {
            "headline": "The selected images share no pattern",
            "words": f"{n_selected:,} selected: both would have to share {winners}"
            f"{_with_more(least - 2)}. For {MIN_SELECTED} and more selected images the patterns "
            "that they have more often than others are looked for.",
        } | cure
    if kind == "filters":
        next_to = "a neighbouring layer" if length == 2 else f"{length - 1} neighbouring layers"
        return {
            "headline": "No pattern holds a chosen filter",
            "words": f"No chosen filter is the strongest of its layer in {least:,} images that "
            f"also agree in {next_to}. Choose others"
            f"{', or another path set' if mined.n_sets > 1 else ''}.",
            "cure": "Clear the choice",
        }
    if kind == "path":
        whose = "the changed copy" if is_copy else "your upload"
        return {
            "headline": "No pattern lies on this path",
            "words": f"No {least:,} images of the store share {winners} with {whose}.{other}",
        } | cure
    if kind == "image":
        others = "other image shares" if least == 2 else f"{least - 1:,} other images share"
        return {
            "headline": "This image is in no pattern",
            "words": f"No {others} {winners} of its path.{other}",
        } | cure
    if kind == "general" and found.n_found:
        some = (
            "1 pattern that was" if found.n_found == 1 else f"{found.n_found:,} patterns that were"
        )
        return {
            "headline": "No pattern says more than its layers alone",
            "words": f"In the {some} found, filters win together no more often than they would "
            "if layers did not depend on each other: listed here is what does, and covers most "
            "images.",
        } | _DISTINCTIVE
    return {
        "headline": "No pattern was found",
        "words": f"No {least:,} images share the winners of {number} neighbouring layers.",
    }


def _with_more(n: int) -> str:
    """Return with how many images more something has to be shared."""
    if n <= 0:
        return ""
    return f" with {n:,} {'image' if n == 1 else 'images'} more"


def _too_few_layers(length: int, n_layers: int) -> dict[str, str]:
    """Return why there can be no pattern: no other path set has any, either."""
    has = "no layer" if not n_layers else "1 layer" if n_layers == 1 else f"{n_layers} layers"
    return {
        "headline": f"A pattern needs {max(length, 2)} layers",
        "words": f"This store holds the filters of {has}: there is nothing that they could agree "
        "with. Setting layers of [capture] in the project file says which are kept.",
    }


def _not_more_than_chance(found: Recommendation, n_selected: int) -> dict[str, str]:
    """Return what was looked for in a selection, and why there is none."""
    if isinstance(found, GappedRecommendation) and not found.is_complete:
        return {
            "headline": "The search was stopped before its end",
            "words": f"Among the {n_selected:,} selected images are too many patterns that skip "
            f"layers: of those it came to, none with {found.least:,} or more of the images is "
            "over-represented. Select fewer, or let patterns skip no layer.",
        }
    if isinstance(found, GappedRecommendation):
        least, tried = found.least, f"up to {found.n_tested:,} patterns"
        why = f"no {least:,} selected images have one in common"
    else:
        least, tried = MIN_SELECTED, f"{found.n_tested:,} patterns"
        images = "image has" if found.most_selected == 1 else "images have"
        why = f"at most {found.most_selected:,} selected {images} one in common"
    if found.n_implied and not isinstance(found, GappedRecommendation):
        why = "only the pattern by which was selected, what holds it and what is part of it are"
    elif found.most_selected >= least:
        why = f"the commonest one holds {found.most_selected:,}, and none more than by chance"
    return {
        "headline": "No pattern is over-represented in this selection",
        "words": f"Looked for patterns with {least:,} or more of the {n_selected:,} selected "
        f"images, and more of them than by chance (q < 0.05 over {tried}): {why}.",
    }


def like_words(found: Recommendation, names: Sequence[str]) -> dict[PatternKey, tuple[str, str]]:
    """Return what cards of patterns that may skip layers say of those that are like them.

    Parameters
    ----------
    found : Recommendation
        What is listed; only a ``GappedRecommendation`` says anything.
    names : sequence of str
        Short names of the layers.

    Returns
    -------
    dict
        By pattern the words and what explains them; cards that stand alone are not in it.
    """
    if not isinstance(found, GappedRecommendation):
        return {}
    words: dict[PatternKey, tuple[str, str]] = {}
    for card, more, of in zip(found, found.more, found.variant_of, strict=True):
        if of is not None:
            above = path_words(found[of].items, names)
            words[card.key] = ("variant", f"Like {above}, which comes before it. {ALIKE}")
        elif more:
            words[card.key] = (f"{more:,} more like it", f"{ALIKE} They come below.")
    return words
