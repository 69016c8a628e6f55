"""What the search field understands: an image id, a filter, or words that choose images."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from app.runtime import ImageTable

_NUMBER = r"(\d*\.?\d+)\s*(%?)"
_COMPARISON = re.compile(
    r"\b(confidence|margin)\s*(?:is\s+)?"
    rf"(<=|>=|<|>|≤|≥|below|above|under|over|at least|at most)\s*{_NUMBER}"
)
_RANGE = re.compile(
    r"\b(confidence|margin)\s*(?:is\s+)?(?:between|from)?\s*"
    rf"{_NUMBER}\s*(?:-|–|—|to|and)\s*{_NUMBER}"
)
_SIGNS = {
    "below": "<", "under": "<", "above": ">", "over": ">", "<=": "≤", ">=": "≥",
    "at most": "≤", "at least": "≥",
}  # fmt: skip
_COMPARE = {
    "<": np.less, "≤": np.less_equal, ">": np.greater, "≥": np.greater_equal,
}  # fmt: skip
# The last "by" of the text, so that words before it may hold another.
_ORDER = re.compile(r"^(|.*[\s,])by\s+(.+)$")
_SORTED = re.compile(r"(?:^|[\s,])(?:sorted|ordered)\s*$")
_FILTER = re.compile(r"^([\w.\-]{1,80})\s*[/·:]\s*(\d{1,7})$")
_ID = re.compile(r"^(?:image\s*)?#?(\d{1,3}(?:,\d{3})+|\d{1,10})$")
_WORDS_FOR_WRONG = frozenset({"wrong", "errors", "error"})
_WORDS_FOR_RIGHT = frozenset({"right", "correct"})
_FILLERS = frozenset({"images", "image", "and", "is", "as", "class", "true", "split"})


class _NotUnderstoodError(Exception):
    """Words that mean nothing here; the message says what would, as plain text."""


@dataclass(frozen=True)
class Found:
    """What a search means; exactly one of the first three is set, or ``reason`` says why not.

    Parameters
    ----------
    image_id : int or None
        One image.
    ids : ndarray of int32, or None
        Sorted ids of the images that the words choose.
    filter : tuple of (int, int) or None
        Layer index and filter index.
    origin : str
        How the selection bar names the result.
    order : str
        How ``ids`` shall be shown: ``"confidence"``, ``"margin"``, ``"flip:PERTURBATION"``, or
        empty to keep the order there is.
    reason : str
        Why nothing was found, and what is known; plain text.
    """

    image_id: int | None = None
    ids: NDArray[np.int32] | None = None
    filter: tuple[int, int] | None = None
    origin: str = ""
    order: str = ""
    reason: str = ""


def search(
    text: str,
    *,
    images: ImageTable,
    class_names: Sequence[str],
    layers: Mapping[str, tuple[int, int]],
    universe: NDArray[np.int32],
    flips: Mapping[str, str] = MappingProxyType({}),
) -> Found:
    """Find out what a text in the search field means.

    Parameters
    ----------
    text : str
        For example ``2871``, ``cat predicted deer``, ``wrong, confidence > 0.9``,
        ``margin < 0.1 by rotation flip``, ``conv5_1/12``.
    images : ImageTable
        All images.
    class_names : sequence of str
        Names by class index; compared without case.
    layers : mapping of str to (int, int)
        Layer index and number of filters by layer name.
    universe : ndarray of int32
        Ids that are shown; words choose among them.
    flips : mapping of str to str
        Label by name of every perturbation whose smallest flips can order images.

    Returns
    -------
    Found
        One image, a set of images, a filter, or the reason why there is none.
    """
    asked = " ".join(text.lower().split())
    if not asked:
        return Found(reason="Nothing was typed.")
    number = _ID.match(asked)
    if number and asked not in {name.lower() for name in class_names}:
        return _image(int(number[1].replace(",", "")), images)
    part = _FILTER.match(" ".join(text.split()))
    if part:
        return _filter(part[1], int(part[2]), layers)
    try:
        return _words(asked, images, class_names, universe, flips)
    except _NotUnderstoodError as error:
        return Found(reason=str(error))


def _image(image_id: int, images: ImageTable) -> Found:
    if images.row(min(image_id, 2**31 - 1)) is not None:
        return Found(image_id=image_id)
    return Found(reason=f"There is no image {image_id:,} in this store.")


def _filter(name: str, index: int, layers: Mapping[str, tuple[int, int]]) -> Found:
    known = {layer.lower(): place for layer, place in layers.items()}
    # Chips say 5_1·12 of conv5_1.
    known = {layer.removeprefix("conv"): place for layer, place in known.items()} | known
    if name.lower() not in known:
        shown = ", ".join(list(layers)[:6])
        return Found(reason=f"There is no layer {name}; there are {shown}.")
    layer, filters = known[name.lower()]
    if index >= filters:
        return Found(reason=f"{name} has filters 0 to {filters - 1:,}.")
    return Found(filter=(layer, index))


def _words(
    asked: str,
    images: ImageTable,
    class_names: Sequence[str],
    universe: NDArray[np.int32],
    flips: Mapping[str, str],
) -> Found:
    text, order, order_said = _take_order(asked, class_names, flips)
    rows = images.rows(universe)
    kept = np.ones(len(rows), dtype=bool)
    said: list[str] = []
    for is_kept, words in _bounded(text, images, rows):
        kept &= is_kept
        said.append(words)
    rest = _COMPARISON.sub(" ", _RANGE.sub(" ", text))
    for name, index, role in _mentions(rest, class_names):
        column = images.predicted_class if role == "predicted" else images.true_class
        kept &= column[rows] == index
        said.append(f"predicted {name}" if role == "predicted" else name)
    rest = _without_mentions(rest, class_names)
    for word in rest.replace(",", " ").split():
        is_kept, words = _one_word(word, images, rows, class_names)
        if words:
            kept &= is_kept
            said.append(words)
    if not said and not order:
        raise _NotUnderstoodError("Name an image id, a class, a filter, or “wrong”.")
    origin = f"search {' '.join(said or [order_said])}"
    return Found(ids=images.ids[rows[kept]], origin=origin, order=order)


def _one_word(
    word: str, images: ImageTable, rows: NDArray[np.int64], class_names: Sequence[str]
) -> tuple[NDArray[np.bool_], str]:
    """Which images one word keeps, and how it is said again; empty for a filler."""
    if word in _WORDS_FOR_WRONG:
        return images.is_wrong[rows], "wrong"
    if word in _WORDS_FOR_RIGHT:
        return ~images.is_wrong[rows] & (images.true_class[rows] >= 0), "right"
    if word in images.splits:
        return images.split[rows] == images.splits.index(word), word
    if word in {"confidence", "margin"}:
        msg = f"Give the {word} a bound: “{word} < 0.3” or “{word} 0.3-0.6”."
        raise _NotUnderstoodError(msg)
    if word not in _FILLERS:
        names = ", ".join(class_names[:4])
        msg = f"“{word}” is no class, split or layer. Classes: {names} …"
        raise _NotUnderstoodError(msg)
    return np.ones(len(rows), dtype=bool), ""


def _bounded(
    text: str, images: ImageTable, rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.bool_], str]]:
    """Yield which images every bound of a score keeps, and how it is said again."""
    values = {"confidence": images.confidence[rows], "margin": images.margin[rows]}
    for name, first, percent, second, percent_too in _RANGE.findall(text):
        # In "30-60 %" the sign speaks of both.
        unit = percent or percent_too
        low, high = sorted((_share(first, unit, name), _share(second, unit, name)))
        yield (values[name] >= low) & (values[name] <= high), f"{name} {low:g}–{high:g}"
    for name, word, figure, percent in _COMPARISON.findall(_RANGE.sub(" ", text)):
        sign, bound = _SIGNS.get(word, word), _share(figure, percent, name)
        yield _COMPARE[sign](values[name], bound), f"{name} {sign} {bound:g}"


def _share(figure: str, percent: str, name: str) -> float:
    value = float(figure) / (100 if percent else 1)
    if value > 1:
        msg = f"A {name} lies between 0 and 1: write {float(figure) / 100:g} or {figure} %."
        raise _NotUnderstoodError(msg if value <= 100 else f"A {name} lies between 0 and 1.")
    return value


def _take_order(
    asked: str, class_names: Sequence[str], flips: Mapping[str, str]
) -> tuple[str, str, str]:
    """Split a text into what chooses images, the order at its end, and how that is said."""
    match = _ORDER.match(asked)
    if match is None:
        return asked, "", ""
    orders, phrase = _orders(flips), match[2].strip(" ,.")
    if phrase in orders:
        return _SORTED.sub(" ", match[1]), orders[phrase], f"by {phrase}"
    if _ORDER.match(_without_mentions(asked, class_names)) is None:
        return asked, "", ""
    known = ", ".join(
        ["confidence", "margin", *(f"{label.lower()} flip" for label in flips.values())]
    )
    missing = "" if flips else " Smallest flips come with the stage simulate."
    msg = f"There is no order by “{phrase}”. Orders: {known}.{missing}"
    raise _NotUnderstoodError(msg)


def _orders(flips: Mapping[str, str]) -> dict[str, str]:
    """Return every phrase for an order and the order it means."""
    phrases = {
        "confidence": "confidence", "lowest confidence": "confidence",
        "margin": "margin", "smallest margin": "margin",
    }  # fmt: skip
    for name, label in flips.items():
        for word in (name.lower(), name.lower().replace("_", " "), label.lower()):
            for phrase in (
                "{}",
                "{} flip",
                "smallest {} flip",
                "flip of {}",
                "smallest flip of {}",
            ):
                phrases.setdefault(phrase.format(word), f"flip:{name}")
    return phrases


def _pattern(class_names: Sequence[str]) -> re.Pattern[str]:
    # Longest first, so that "sea lion" is not read as "lion".
    names = sorted((name.lower() for name in class_names if name.strip()), key=len, reverse=True)
    choice = "|".join(re.escape(name) for name in names) or r"(?!)"
    return re.compile(rf"(?<!\w)(predicted(?: as)?\s+)?({choice})(?!\w)")


def _mentions(text: str, class_names: Sequence[str]) -> list[tuple[str, int, str]]:
    """Classes named in the text: name, index, and whether as the true or the predicted class."""
    index = {name.lower(): number for number, name in reversed(list(enumerate(class_names)))}
    return [
        (class_names[index[name]], index[name], "predicted" if before else "true")
        for before, name in _pattern(class_names).findall(text)
    ]


def _without_mentions(text: str, class_names: Sequence[str]) -> str:
    return _pattern(class_names).sub(" ", text)
