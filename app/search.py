"""What the search field understands: an image id, a filter, or words that choose images."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from app.runtime import ImageTable

_COMPARISON = re.compile(r"confidence\s*(<=|>=|<|>|below|above|under|over)\s*(\d*\.?\d+)\s*(%?)")
_FILTER = re.compile(r"^([\w.\-]{1,80})\s*[/·:]\s*(\d{1,7})$")
_ID = re.compile(r"^(?:image\s*)?#?(\d{1,3}(?:,\d{3})+|\d{1,10})$")
_WORDS_FOR_WRONG = frozenset({"wrong", "errors", "error"})
_WORDS_FOR_RIGHT = frozenset({"right", "correct"})
_FILLERS = frozenset({"images", "image", "and", "is", "as", "class", "true", "split"})


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
    reason : str
        Why nothing was found, and what is known; plain text.
    """

    image_id: int | None = None
    ids: NDArray[np.int32] | None = None
    filter: tuple[int, int] | None = None
    origin: str = ""
    reason: str = ""


def search(
    text: str,
    *,
    images: ImageTable,
    class_names: Sequence[str],
    layers: Mapping[str, tuple[int, int]],
    universe: NDArray[np.int32],
) -> Found:
    """Find out what a text in the search field means.

    Parameters
    ----------
    text : str
        For example ``2871``, ``cat predicted deer``, ``wrong, confidence > 0.9``, ``conv5_1/12``.
    images : ImageTable
        All images.
    class_names : sequence of str
        Names by class index; compared without case.
    layers : mapping of str to (int, int)
        Layer index and number of filters by layer name.
    universe : ndarray of int32
        Ids that are shown; words choose among them.

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
    return _words(asked, images, class_names, universe)


def _image(image_id: int, images: ImageTable) -> Found:
    if images.row(min(image_id, 2**31 - 1)) is not None:
        return Found(image_id=image_id)
    return Found(reason=f"There is no image {image_id:,} in this store.")


def _filter(name: str, index: int, layers: Mapping[str, tuple[int, int]]) -> Found:
    known = {layer.lower(): place for layer, place in layers.items()}
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
) -> Found:
    rows = images.rows(universe)
    kept = np.ones(len(rows), dtype=bool)
    said: list[str] = []
    for sign, value, percent in _COMPARISON.findall(asked):
        bound = float(value) / (100 if percent else 1)
        below = sign in {"<", "<=", "below", "under"}
        confidence = images.confidence[rows]
        kept &= confidence < bound if below else confidence > bound
        said.append(f"confidence {'<' if below else '>'} {bound:g}")
    rest = _COMPARISON.sub(" ", asked)
    for name, index, role in _mentions(rest, class_names):
        column = images.predicted_class if role == "predicted" else images.true_class
        kept &= column[rows] == index
        said.append(f"predicted {name}" if role == "predicted" else name)
    rest = _without_mentions(rest, class_names)
    for word in rest.replace(",", " ").split():
        if word in _WORDS_FOR_WRONG:
            kept &= images.is_wrong[rows]
            said.append("wrong")
        elif word in _WORDS_FOR_RIGHT:
            kept &= ~images.is_wrong[rows] & (images.true_class[rows] >= 0)
            said.append("right")
        elif word in images.splits:
            kept &= images.split[rows] == images.splits.index(word)
            said.append(word)
        elif word not in _FILLERS:
            names = ", ".join(class_names[:4])
            return Found(reason=f"“{word}” is no class, split or layer. Classes: {names} …")
    if not said:
        return Found(reason="Name an image id, a class, a filter, or “wrong”.")
    return Found(ids=images.ids[rows[kept]], origin=f"search {' '.join(said)}")


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
