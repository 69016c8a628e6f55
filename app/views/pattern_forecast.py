"""What is said before filters are replaced: what it takes, and whether there can be a verdict."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from app.inference import MAX_IMAGES, MAX_SHARED, MIN_IMAGES, MIN_SETS, ROOM

if TYPE_CHECKING:
    from collections.abc import Sequence


def few_words(n_members: int, n_selected: int, n_errors: int = 0) -> dict[str, Any]:
    """Return what is said before filters are replaced on too few images, by kind of images.

    Parameters
    ----------
    n_members, n_selected, n_errors : int
        Members of the pattern, images of the selection, and errors among the members that the
        pattern is shown for.

    Returns
    -------
    dict
        ``members``, ``selection`` and ``errors``; empty where there are enough. ``use`` is one of
        the first two that has enough where those that come first are too few; ``n_errors``.
    """
    words = {
        "members": _few(n_members, "member is", "members are"),
        "selection": _few(n_selected, "selected image is", "selected images are"),
        "errors": _few(n_errors, "error is", "errors are") if n_errors else "",
    }
    use = ""
    if words["members"]:
        use = "" if words["selection"] else "selection"
    elif words["errors"]:
        use = "members"
    return {**words, "use": use, "n_errors": n_errors}


def of_filters(
    filters: Sequence[tuple[int, int]], widths: Sequence[int], n_images: int, *, is_all: bool
) -> dict[str, str]:
    """Return what is said before filters that were picked by hand are replaced.

    Random sets hold as many filters of the same layers. In a layer with less than eight filters
    for each tested one they are drawn from all of it, so that a share of each is tested filters;
    when that is too much, a set is compared with what is much the same set.

    Parameters
    ----------
    filters : sequence of (int, int)
        Layer and filter, each once.
    widths : sequence of int
        Filters of every layer.
    n_images : int
        Images on which they are replaced.
    is_all : bool
        Whether those are all images of the split, as nothing is selected.

    Returns
    -------
    dict
        ``cost``, and ``selection``: why there can be no verdict, or not every one, and the cost;
        empty where both can come out.
    """
    some = f"{n_images:,}" if n_images <= MAX_IMAGES else f"{MAX_IMAGES:,} of {n_images:,}"
    images = "image" if n_images == 1 else "images"
    cost = f"It takes {MIN_SETS + 2} passes of the network over {some} {images}."
    kind = ("image is", "images are") if is_all else ("selected image is", "selected images are")
    words = _few(n_images, *kind) or _too_many(filters, widths)
    return {"cost": cost, "selection": f"{words} {cost}" if words else ""}


def shared_share(filters: Sequence[tuple[int, int]], widths: Sequence[int]) -> float:
    """Return the mean share of tested filters that is to be expected in random sets.

    Parameters
    ----------
    filters, widths
        As for ``of_filters``.

    Returns
    -------
    float
        In [0, 1]; the sets are drawn as ``vatun.ablate.Ablator`` says.
    """
    counts = Counter(layer for layer, _ in filters)
    shared = sum(n * n / widths[layer] for layer, n in counts.items() if widths[layer] < ROOM * n)
    return shared / max(len(filters), 1)


def _too_many(filters: Sequence[tuple[int, int]], widths: Sequence[int]) -> str:
    counts = Counter(layer for layer, _ in filters)
    n, shared = len(filters), shared_share(filters, widths)
    if shared == 1:
        return (
            f"These are all {n:,} filters of their layers: there are no others to compare with, "
            "so it will be “cannot tell”."
        )
    words = ""
    if shared > MAX_SHARED:
        of = sum(widths[layer] for layer in counts)
        layers = "their layer" if len(counts) == 1 else f"their {len(counts)} layers"
        words = (
            f"{n:,} of the {of:,} filters of {layers} are too many: random sets would hold "
            f"{100 * shared:.0f} % of them too. It cannot be “marker”, and “cause” only if they "
            "cost more than every such set. "
            f"Choose less than {100 * MAX_SHARED:.0f} % of a layer."
        )
    sets = math.prod(
        math.comb(widths[layer] if widths[layer] < ROOM * n else widths[layer] - n, n)
        for layer, n in counts.items()
    )
    if sets < MIN_SETS:
        words += f" Only {sets:,} different sets of as many filters exist to compare with."
    return words.strip()


def _few(n: int, one: str, many: str) -> str:
    if n >= MIN_IMAGES:
        return ""
    return (
        f"{n:,} {one if n == 1 else many} too few for a verdict: it will be “cannot tell”. "
        f"{MIN_IMAGES} are needed."
    )
