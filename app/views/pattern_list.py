"""Which patterns the network view lists: the question, and its answer from the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.views import error_list, pattern_figures, pattern_heads
from feature_store import queries
from feature_store.patterns import gapped_cards

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    from app.runtime import Runtime
    from app.state import Selection, SessionState
    from feature_store import Store
    from feature_store.patterns.cards import PatternCard, PatternKey, Recommendation
    from feature_store.patterns.enriched import ErrorEnrichment

    Items: TypeAlias = tuple[tuple[int, int], ...]

SKIPPING = ("selection", "path", "image")
"""Orders in which patterns may skip layers: without a question there are too many to list."""

_PREFERRED = ("filters", "selection", "image", "general")


def live_path(state: SessionState) -> tuple[int, ...] | None:
    """Return the path of the uploaded or changed image under the session's path set, if any."""
    paths = state.live_paths
    if (state.upload is None) != (state.live_activations is None):
        # Activations come with the path of an upload only: this one is of what was seen before.
        return None
    found = paths.get(state.path_set) if paths else None
    return None if found is None else tuple(int(winner) for winner in found)


def is_copy(state: SessionState) -> bool:
    """Return whether the live path is that of a changed copy; else it is an upload's own."""
    change = state.change
    return state.upload is None or (change is not None and not change.is_identity)


def orders(state: SessionState) -> dict[str, str]:
    """Return the ways to choose patterns that make sense now, with what the page calls them.

    Parameters
    ----------
    state : SessionState
        What the session looks at.

    Returns
    -------
    dict of str to str
        Keys of ``pattern_figures.ORDERS`` and labels, in that order.
    """
    is_there = {
        "selection": not state.selection.is_all,
        "path": live_path(state) is not None,
        "image": state.focus is not None,
        "filters": bool(state.filters),
    }
    found = {
        name: label for name, label in pattern_figures.ORDERS.items() if is_there.get(name, True)
    }
    if "path" in found and is_copy(state):
        found["path"] = "For the copy"
    return found


def preferred(state: SessionState) -> str:
    """Return the order that is taken when nobody chose one; an upload comes before all else."""
    allowed = orders(state)
    wanted = _PREFERRED if state.upload is None else ("path", *_PREFERRED)
    return next(name for name in wanted if name in allowed)


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What the list shows.

    Parameters
    ----------
    head : dict
        ``card_head`` of ``PatternCards``, without the orders.
    items : list of dict
        ``card_items``.
    total : int
        Cards there are, shown or not.
    behind : ErrorEnrichment or None
        For errors: what other ways to the same errors are compared with.
    """

    head: dict[str, Any]
    items: list[dict[str, Any]]
    total: int
    behind: ErrorEnrichment | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """What is asked, as values that the session cannot change while the answer is looked for.

    Parameters
    ----------
    order : str
        Key of ``pattern_figures.ORDERS``.
    limit : int
        Most cards.
    path_set : str
        Path set whose patterns are meant.
    selection : Selection
        Images that the cards count and do not dim.
    focus : int or None
        Image under test, if it is in the store.
    path : tuple of int or None
        Path of the uploaded or changed image.
    is_copy : bool
        Whether it is that of a changed copy.
    filters : tuple of (int, int)
        Chosen filters.
    opened : int, tuple of (int, int), or None
        Pattern that stays in the list.
    universe : ndarray of int32
        Images of the split that is shown.
    split : str
        Its name, empty for all.
    errors : tuple of (int, int) or None
        True and predicted class of the errors that are to be explained.
    skips : bool
        Whether patterns may skip layers, in an order of ``SKIPPING``.
    selected_by : tuple of (int, int)
        Items of the pattern whose members are selected, if they were selected so.
    """

    order: str
    limit: int
    path_set: str
    selection: Selection
    focus: int | None
    path: tuple[int, ...] | None
    is_copy: bool
    filters: tuple[tuple[int, int], ...]
    opened: PatternKey | None
    universe: NDArray[np.int32]
    split: str
    errors: tuple[int, int] | None = None
    skips: bool = False
    selected_by: Items = ()

    @classmethod
    def of(
        cls,
        state: SessionState,
        order: str,
        limit: int,
        *,
        errors: tuple[int, int] | None = None,
        selected_by: Items = (),
    ) -> Question:
        """Take down what the session looks at now."""
        return cls(
            selected_by=selected_by,
            errors=errors,
            order=order,
            limit=limit,
            path_set=state.path_set,
            selection=state.selection,
            focus=state.focus,
            path=live_path(state),
            is_copy=is_copy(state),
            filters=state.filters,
            opened=state.pattern,
            universe=state.universe,
            split=state.split,
            skips=state.pattern_skips and order in SKIPPING,
        )

    @property
    def _ids(self) -> NDArray[np.int32] | None:
        return None if self.selection.is_all else self.selection.ids

    @property
    def _image(self) -> int | None:
        """The one image whose patterns are listed, where it is one."""
        if self.order != "selection" or self.selection.ids is None:
            return self.focus
        # The focus may lie outside the selection.
        return int(self.selection.ids[0]) if len(self.selection) == 1 else None

    def find(self, store: Store) -> Recommendation:
        """Look for the patterns.

        Parameters
        ----------
        store : Store
            Opened store.

        Returns
        -------
        Recommendation

        Raises
        ------
        StoreError
            When the patterns are missing or damaged.
        """
        name, limit, ids = self.path_set, self.limit, self._ids
        skips = self.skips
        if self.order == "selection" and ids is not None:
            of_selection = (
                gapped_cards.gapped_of_selection if skips else queries.patterns_of_selection
            )
            return of_selection(
                store,
                name,
                ids,
                among=self.universe,
                limit=limit,
                selected_by=self.selected_by,
            )
        if self.order == "path" and self.path is not None:
            of_path = gapped_cards.gapped_of_path if skips else queries.patterns_of_path
            return of_path(store, name, self.path, limit=limit, selection=ids)
        if self.order == "image" and self.focus is not None:
            of_image = gapped_cards.gapped_of_image if skips else queries.patterns_of_image
            return of_image(store, name, self.focus, limit=limit, selection=ids)
        if self.order == "filters":
            return queries.patterns_of_filters(
                store, name, self.filters, limit=limit, selection=ids
            )
        return queries.top_patterns(store, name, order=self.order, limit=limit, selection=ids)

    def answer(self, runtime: Runtime, names: Sequence[str], modules: Sequence[str]) -> Answer:
        """Look for the patterns and write their cards; for a thread beside the event loop.

        Parameters
        ----------
        runtime : Runtime
            Store, names and thumbnails.
        names, modules : sequence of str
            Short names and module paths of the layers.

        Returns
        -------
        Answer
            With the open pattern among its cards.

        Raises
        ------
        StoreError
            When the patterns are missing or damaged.
        """
        if self.order == "errors":
            return self._behind_errors(runtime, names, modules)
        store = runtime.store
        found = self.find(store)
        cards = self._with_open(store, list(found))
        items = [
            pattern_figures.card(
                pattern,
                runtime,
                names=names,
                modules=modules,
                selection=self.selection,
                focus=self.focus,
                select=pattern_figures.select_words(
                    gapped_cards.any_members(store, self.path_set, pattern.key),
                    self.universe,
                    self.split,
                ),
                filters=self.filters if self.order == "filters" else (),
            )
            for pattern in cards
        ]
        like = pattern_heads.like_words(found, names)
        for item, pattern in zip(items, cards, strict=True):
            item["like"], item["like_help"] = like.get(pattern.key, ("", ""))
        head = pattern_heads.header(
            found,
            self.order,
            0 if self.selection.is_all else len(self.selection),
            self._image,
            mined=pattern_heads.Mined.of(store, len(names)),
            is_copy=self.is_copy,
        )
        if self.order in SKIPPING:
            head["skips"] = self.skips
        if self.selected_by and found.kind == "selection":
            kept = cards[0].items if len(cards) > len(found) else ()
            implied = pattern_heads.implied_note(found, self.selected_by, names, kept)
            head["note"] = ". ".join(filter(None, (implied, head.get("note"))))
        is_whole = len(found) < self.limit
        return Answer(head=head, items=items, total=len(items) if is_whole else found.n_found)

    def _behind_errors(
        self, runtime: Runtime, names: Sequence[str], modules: Sequence[str]
    ) -> Answer:
        if self.errors is None:
            return Answer(head=error_list.nothing(self.split), items=[], total=0)
        found = error_list.find(runtime.store, self.path_set, self.errors, self.split)
        items = error_list.items(
            found,
            runtime,
            self.path_set,
            names=names,
            modules=modules,
            selection=self.selection,
            focus=self.focus,
            universe=self.universe,
        )
        head = error_list.header(found, self.path_set)
        return Answer(head=head, items=items, total=len(items), behind=found)

    def _with_open(self, store: Store, shown: list[PatternCard]) -> list[PatternCard]:
        """Return the cards with the open one: it does not vanish when the question changes."""
        opened = self.opened
        if opened is None or any(card.key == opened for card in shown):
            return shown
        kept = gapped_cards.any_card(store, self.path_set, opened, selection=self._ids)
        if not kept.n_selected:
            # None of its members is selected: its figures are those of all images.
            kept = gapped_cards.any_card(store, self.path_set, opened)
        return [kept, *shown]
