"""What an open pattern card shows besides: its members, their mean, and what they look like."""

from __future__ import annotations

import asyncio
import base64
import io
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import panel as pn
from PIL import Image

from app import pattern_key, safe
from app.inference import VatunError, decode_image, fit_image
from app.stores import words_of
from app.views import pattern_figures
from app.views.card_part import CardPart
from app.views.pattern_forecast import few_words
from feature_store import StoreError, queries
from feature_store.patterns.naming import image_statistics_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from app.components.pattern_cards import PatternCards
    from app.inference import InputSpec
    from app.runtime import Runtime
    from app.state import SessionState
    from feature_store.patterns.cards import PatternKey

PAGE = 24
"""Members shown at a time."""

AVERAGED = 200
"""Most members that the mean image is taken over, the strongest ones."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Members:
    """The members of the open pattern, as far as they are known.

    Parameters
    ----------
    pattern, path_set : int or tuple of (int, int), and str
        Which pattern.
    ids : ndarray of int32
        Strongest first.
    is_ranked : bool
        Whether their strength is known; else they come by id.
    splits : str
        How many are of each split; empty where the data has one.
    looks : dict
        ``mean``, ``mean_words``, ``name`` and ``name_words``; empty until they are found.
    """

    pattern: PatternKey
    path_set: str
    ids: NDArray[np.int32]
    is_ranked: bool
    splits: str = ""
    looks: dict[str, str] = field(default_factory=dict)


class PatternDetail(CardPart):
    """Fills ``card_more`` of the cards for the open pattern.

    Parameters
    ----------
    runtime, state, cards
        As for ``CardPart``.
    """

    def __init__(self, runtime: Runtime, state: SessionState, cards: PatternCards) -> None:
        super().__init__(runtime, state, cards)
        self._members: Members | None = None
        self._page = 0
        self._first: dict[PatternKey, NDArray[np.int32]] = {}

    def put_first(self, images: Mapping[int, Sequence[int]]) -> None:
        """Name members that come before the others, by pattern: the errors that are explained."""
        self._first = {key: np.array(ids, dtype=np.int32) for key, ids in images.items()}
        self.draw()

    def follow(self) -> None:
        """Follow the open pattern: its members are looked for beside the event loop."""
        self._members, self._page = None, 0
        self._cards.card_more = {}
        if self._state.pattern is not None:
            asked = (self._state.path_set, self._state.pattern)
            pn.state.execute(partial(self.answer, *asked))

    def draw(self) -> None:
        """Draw the page of members that is open; selection and focus may have changed."""
        members, state = self._members, self._state
        if members is None:
            return
        total = len(members.ids)
        start = self._page * PAGE
        ids = None if state.selection.is_all else state.selection.ids
        order = "strongest first" if members.is_ranked else "by id: no activations are kept"
        errors = self._first.get(members.pattern)
        if errors is not None:
            ids, order = errors, f"these errors, then {order}"
        shown = queries.page_of(members.ids, ids, start=start, count=PAGE)
        self._cards.card_more = {
            "id": pattern_key.card_id(members.pattern),
            "images": pattern_figures.thumbs(self._runtime, shown, state.selection, state.focus),
            "where": f"{start + 1:,} to {start + len(shown):,} of {total:,}, {order}",
            "has_before": self._page > 0,
            "has_after": start + PAGE < total,
            "splits": members.splits,
            "few": few_words(total, len(state.selected_ids), 0 if errors is None else len(errors)),
            **members.looks,
        }

    def turn(self, step: object) -> None:
        """Go to the next page of members or the one before; the step comes from a browser."""
        by = safe.integer(step, -1, 1)
        if by is None or self._members is None:
            return
        last = max(len(self._members.ids) - 1, 0) // PAGE
        self._page = min(max(self._page + by, 0), last)
        self.draw()

    async def answer(self, path_set: str, pattern: PatternKey) -> None:
        """Find the members, draw them, then say what they look like.

        Parameters
        ----------
        path_set, pattern : str, and int or tuple of (int, int)
            The pattern that was opened.
        """
        runtime = self._runtime
        try:
            members = await asyncio.to_thread(_members, runtime, path_set, pattern)
            self._show(members)
            looks = await asyncio.to_thread(_looks, runtime, members.ids)
        except IndexError:
            # Of another path set by now.
            return
        except StoreError as error:
            words = words_of(error, runtime.store.path)
            self._say((path_set, pattern), safe.plain(words, limit=300))
            return
        self._show(replace(members, looks=looks))

    def _say(self, asked: tuple[str, PatternKey], problem: str) -> None:
        """Say why the members, or what they look like, cannot be shown."""

        def turn() -> None:
            if asked == (self._state.path_set, self._state.pattern):
                shown = {"id": pattern_key.card_id(asked[1]), "problem": problem}
                self._cards.card_more = {**self._cards.card_more, **shown}

        pn.state.execute(turn, schedule=True)

    def _show(self, members: Members) -> None:
        def turn() -> None:
            if (members.path_set, members.pattern) == (self._state.path_set, self._state.pattern):
                self._members = members
                self.draw()

        pn.state.execute(turn, schedule=True)


def _members(runtime: Runtime, path_set: str, pattern: PatternKey) -> Members:
    ids, strength = queries.members_by_strength(runtime.store, path_set, pattern)
    return Members(
        pattern=pattern,
        path_set=path_set,
        ids=ids,
        is_ranked=bool(np.isfinite(strength).all()),
        splits=split_words(ids, runtime.splits),
    )


def split_words(members: NDArray[np.int32], splits: Mapping[str, NDArray[np.int32]]) -> str:
    """Return how many members are of each split.

    Parameters
    ----------
    members : ndarray of int32
        Image ids, each once.
    splits : mapping of str to ndarray of int32
        Image ids by split; the empty name holds all.

    Returns
    -------
    str
        Such as ``"380 train · 95 test"``; empty where all images are of one split.
    """
    return " · ".join(
        f"{np.isin(members, ids, assume_unique=True).sum():,} {safe.plain(name, limit=20)}"
        # What the network was trained on comes first.
        for name, ids in sorted(splits.items(), key=lambda split: split[0] != "train")
        if name
    )


def _looks(runtime: Runtime, ids: NDArray[np.int32]) -> dict[str, str]:
    """Return the mean image of the members, and the words that tell them from the rest."""
    averaged = ids[:AVERAGED]
    read = partial(queries.image_bytes, runtime.store)
    mean, count = mean_image(averaged, read, runtime.inference.input)
    named = image_statistics_name(runtime.store, ids)
    words = f"Mean of {count:,} members"
    if len(ids) > count:
        words = f"Mean of {count:,} of {len(ids):,} members, the strongest"
    return {
        "mean": mean,
        "mean_words": words,
        "name": named.name,
        "name_words": named.sentence,
    }


def mean_image(
    ids: NDArray[np.int32], read: Callable[[int], bytes], spec: InputSpec
) -> tuple[str, int]:
    """Return the mean of some images at the size of the network's input.

    Parameters
    ----------
    ids : ndarray of int32
        Images.
    read : callable
        Returns the encoded bytes of one.
    spec : InputSpec
        Size of the input, and how images come to it.

    Returns
    -------
    url : str
        A PNG as a data URL; empty when no image can be read.
    count : int
        Images that it is the mean of.
    """
    total = np.zeros((spec.height, spec.width, 3), dtype=np.float64)
    count = 0
    for image in ids.tolist():
        try:
            total += fit_image(decode_image(read(image)), spec)
        except (StoreError, VatunError, OSError):
            continue
        count += 1
    if not count:
        return "", 0
    out = io.BytesIO()
    Image.fromarray(np.rint(total / count).astype(np.uint8)).save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}", count
