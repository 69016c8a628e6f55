"""Which colour each point of the map has, which points are shown, and what is drawn over what."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from app import theme
from app.class_slots import class_slots
from app.picture import Marks, Rest, Subject, mark_radius
from app.views import map_measures
from feature_store import queries

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from app.aggregate import PointIndex, Viewport
    from app.runtime import Runtime
    from app.state import Selection

_DIM_SHARE = 0.3
"""Share of its own colour that a point keeps when it is not selected."""

_DIM_OPACITY = 0.62
_MANY = 50_000
"""Points in view from which on those that are not selected are not drawn point by point."""

_KEPT = 16
"""Columns of a projection kept in memory."""

_FLAT = 10
"""Values up to which each has a colour of its own."""


class PointColumns:
    """Values of the points of one projection in the order of its index, shared by all sessions.

    It must not hold the runtime or the index: it is kept for as long as the index lives.

    Parameters
    ----------
    runtime : Runtime
        Of the store.
    ids : ndarray of int32
        Image id of each point.
    """

    def __init__(self, runtime: Runtime, ids: NDArray[np.int32]) -> None:
        table = runtime.images
        at = np.minimum(np.searchsorted(table.ids, ids), max(len(table.ids) - 1, 0))
        self.rows: NDArray[np.int32] = at.astype(np.int32)
        self._known = table.ids[at] == ids if len(table.ids) else np.zeros(len(ids), bool)
        self._cache: OrderedDict[tuple[str, ...], NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def shown(self, runtime: Runtime, split: str) -> NDArray[np.bool_]:
        """Return which points belong to a split; the empty name means all."""

        def make() -> NDArray[np.bool_]:
            table = runtime.images
            if split not in table.splits:
                return self._known
            return np.asarray(self._known & (table.split[self.rows] == table.splits.index(split)))

        return self.kept(("shown", split), make)

    def codes(self, runtime: Runtime, by: str) -> NDArray[Any]:
        """Return the entry of the legend that each point belongs to, or its step of the ramp.

        Parameters
        ----------
        runtime : Runtime
            Of the store.
        by : str
            A colouring.

        Returns
        -------
        ndarray of int16 or int32
            Class index; 0 right and 1 wrong; step of the ramp; index of the value of a category.
            -1 where nothing is known.
        """
        return self.kept(("codes", by), lambda: _codes(runtime, by)[self.rows])

    def doubt(self, runtime: Runtime, by: str) -> NDArray[np.float32]:
        """Return what is least for the point that gives a pixel its colour."""

        def make() -> NDArray[np.float32]:
            doubt: NDArray[np.float32] = map_measures.numbers(runtime, by).doubt()[self.rows]
            return doubt

        return self.kept(("doubt", by), make)

    def kept(self, key: tuple[str, ...], make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return what ``make`` made for this key, from memory where it is there."""
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        made = make()
        with self._lock:
            self._cache[key] = made
            while len(self._cache) > _KEPT:
                self._cache.popitem(last=False)
        return made


_columns: WeakKeyDictionary[PointIndex, PointColumns] = WeakKeyDictionary()
_making = threading.Lock()


def point_columns(runtime: Runtime, index: PointIndex) -> PointColumns:
    """Return the shared columns of a projection."""
    with _making:
        if index not in _columns:
            _columns[index] = PointColumns(runtime, index.ids)
        return _columns[index]


def _codes(runtime: Runtime, by: str) -> NDArray[Any]:
    """Codes of every image, in the order of ``runtime.images``."""
    table = runtime.images
    kind = map_measures.colourings(runtime)[by].kind
    codes: NDArray[Any]
    if kind == "class":
        codes = table.predicted_class if by == "predicted" else table.true_class
    elif kind == "correct":
        codes = np.where(table.true_class < 0, -1, table.is_wrong).astype(np.int16)
    elif kind == "number":
        codes = map_measures.numbers(runtime, by).levels()
    else:
        found = queries.column_values(runtime.store, by).codes
        codes = np.full(len(table.ids), -1, np.int32) if found is None else found
    return codes


class MapColours:
    """What one session sees of the points of one projection.

    Parameters
    ----------
    runtime : Runtime
        Shared.
    index : PointIndex
        Points of the projection.
    """

    def __init__(self, runtime: Runtime, index: PointIndex) -> None:
        self.runtime = runtime
        self.index = index
        self._columns = point_columns(runtime, index)
        self.by = "true"
        self.slots: dict[int, int] = {}
        self.hidden: frozenset[tuple[str, str]] = frozenset()
        self._selection: Selection | None = None
        self._split: str | None = None
        self.shown = np.zeros(len(index), bool)
        self.visible = self.shown
        self.chosen: NDArray[np.bool_] | None = None

    # -- what the session asks for -------------------------------------------------------

    def follow(
        self,
        *,
        by: str,
        split: str,
        selection: Selection,
        hidden: frozenset[tuple[str, str]],
    ) -> None:
        """Take over what a session wants to see.

        Parameters
        ----------
        by : str
            A colouring of the store.
        split : str
            Split that is shown; empty for all images.
        selection : Selection
            Its points keep their colour; the others are dimmed, never removed.
        hidden : frozenset of (str, str)
            Entries of the legend that are not drawn, as (colouring, key).
        """
        old = (self.by, self._split, self._selection)
        if selection is not self._selection:
            self._selection = selection
            self.chosen = self._chosen(selection)
        if (split, hidden) != (self._split, self.hidden):
            self._split, self.hidden = split, hidden
            self.shown = self._columns.shown(self.runtime, split)
            self.visible = self._visible()
        self.by = by
        if old != (by, split, selection):
            self.slots = self._choose_slots(self.slots if old[0] == by else {})

    def _chosen(self, selection: Selection) -> NDArray[np.bool_] | None:
        if selection.ids is None:
            return None
        chosen = np.zeros(len(self.index), dtype=bool)
        chosen[self.index.positions(selection.ids)] = True
        return chosen

    def _visible(self) -> NDArray[np.bool_]:
        if not self.hidden:
            return self.shown
        visible = self.shown.copy()
        known = map_measures.colourings(self.runtime)
        for by, key in self.hidden:
            code = code_of(key)
            if by in known and code is not None:
                visible &= ~self.belongs(by, code)
        return visible

    def belongs(self, by: str, code: int) -> NDArray[np.bool_]:
        """Return which points belong to one entry of a legend."""
        return np.asarray(self.codes(by) == code)

    def codes(self, by: str) -> NDArray[Any]:
        """Return the entry of the legend, or step of the ramp, of each point; -1 for none."""
        return self._columns.codes(self.runtime, by)

    def rows_of(self, points: NDArray[Any]) -> NDArray[np.int32]:
        """Return the rows in ``runtime.images`` of some points, given as a mask or positions."""
        rows: NDArray[np.int32] = self._columns.rows[points]
        return rows

    def of_split(self, name: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return what is worked out once for all images of the split, for all sessions."""
        return self._columns.kept((name, self._split or ""), make)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Least and greatest x, then least and greatest y of the split."""
        found = self.of_split("bounds", lambda: np.array(self.index.bounds(self.shown)))
        return (float(found[0]), float(found[1]), float(found[2]), float(found[3]))

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Points that the legend counts: those of the selection within the split."""
        return self.shown if self.chosen is None else self.shown & self.chosen

    # -- colours -------------------------------------------------------------------------

    @property
    def kind(self) -> str:
        """Kind of the colouring; see ``map_measures.Colouring``."""
        return map_measures.colourings(self.runtime)[self.by].kind

    def value_names(self) -> Sequence[str]:
        """Return the raw names of the classes or values that the colouring tells apart."""
        if self.kind == "class":
            return self.runtime.class_names
        if self.kind == "category":
            return queries.column_values(self.runtime.store, self.by).names
        return ()

    def _choose_slots(self, old: dict[int, int]) -> dict[int, int]:
        """Return which values hold which colour of the palette.

        Those of classes are the same in every view. Up to ten other values all have one; of more
        the nine that are commonest in the selection, and one that held a colour before and still
        does keeps it.

        Returns
        -------
        dict of int to int
            Slot of the palette by value.
        """
        if self.kind == "class" and self._selection is not None:
            return class_slots(self.runtime, self._split or "", self._selection)
        if self.kind != "category":
            return {}
        count = len(self.value_names())
        if count <= _FLAT:
            return {value: value for value in range(count)}
        codes = self.codes(self.by)
        weights = np.bincount(codes[self.counted & (codes >= 0)], minlength=count)
        best = [int(value) for value in np.argsort(-weights, kind="stable")[: theme.MAX_COLOURED]]
        kept = {value: slot for value, slot in old.items() if value in best}
        free = [slot for slot in range(theme.MAX_COLOURED) if slot not in kept.values()]
        fresh = [value for value in best if value not in kept]
        return kept | dict(zip(fresh, free, strict=False))

    def palette(self, *, dark: bool) -> NDArray[np.float32]:
        """Return red, green and blue in [0, 1] of every code; the last row serves -1."""
        tokens = theme.tokens(dark=dark)
        grey = tokens["context"]
        if self.kind == "number":
            return np.concatenate([self._ramp(dark=dark), _floats([grey])])
        if self.kind == "correct":
            return _floats([grey, tokens["wrong"], grey])
        colours = theme.class_colours([str(slot) for slot in range(_FLAT)], dark=dark)
        slots = self.slots
        named = [
            colours[str(slots[value])] if value in slots else grey
            for value in range(len(self.value_names()))
        ]
        return _floats([*named, grey])

    def _ramp(self, *, dark: bool) -> NDArray[np.float32]:
        stops = _floats(list(theme.CONFIDENCE_RAMP))
        if self.is_reversed(dark=dark):
            stops = stops[::-1]
        at = np.linspace(0, len(stops) - 1, map_measures.LEVELS)
        parts = [np.interp(at, range(len(stops)), stops[:, channel]) for channel in range(3)]
        return np.stack(parts, axis=-1).astype(np.float32)

    def is_reversed(self, *, dark: bool) -> bool:
        """Whether the ramp runs from light to dark: what stands out is dark on light."""
        return dark != (map_measures.numbers_extreme(self.by) == "greatest")

    # -- what is drawn -------------------------------------------------------------------

    def inside(self, view: Viewport) -> NDArray[np.bool_]:
        """Return which visible points lie in view."""
        x, y = self.index.x, self.index.y
        mask = self.visible & (x >= view.x_range[0]) & (x <= view.x_range[1])
        return mask & (y >= view.y_range[0]) & (y <= view.y_range[1])

    def layers(self, inside: NDArray[np.bool_], *, dark: bool) -> list[Marks | Rest]:
        """Return what to draw, from bottom to top.

        Parameters
        ----------
        inside : ndarray of bool
            Points in view.
        dark : bool
            Theme.

        Returns
        -------
        list of Marks or Rest
            The unselected (as what is left, where there are very many points), then the
            selected; of each, the wrong ones on top in "correct", and
            what is not known below in a colouring by a number.
        """
        count = int(inside.sum())
        radius, colours = mark_radius(count), self.palette(dark=dark)
        subject = self._subject(inside, colours) if count >= _MANY else None
        if self.chosen is None:
            drawn = self._split_wrong(inside, colours, radius=radius, opacity=1.0)
            return [replace(each, subject=subject) for each in drawn]
        context = _floats([theme.tokens(dark=dark)["context"]])[0]
        dimmed = _DIM_SHARE * colours + (1 - _DIM_SHARE) * context
        is_chosen = self.chosen
        chosen = self._split_wrong(inside & is_chosen, colours, radius=1.5 * radius, opacity=1.0)

        def others() -> list[Marks]:
            left = inside & ~is_chosen
            return self._split_wrong(left, dimmed, radius=radius, opacity=_DIM_OPACITY)

        if subject is None:
            return [*others(), *chosen]
        rest = Rest(
            subject, chosen[0], lambda: others()[0], _DIM_SHARE, context,
            radius=radius, opacity=_DIM_OPACITY,
        )  # fmt: skip
        return [rest, *chosen]

    def _subject(self, inside: NDArray[np.bool_], colours: NDArray[np.float32]) -> Subject | None:
        """Return all points in view, where they are one layer of mean colours."""
        codes = self.codes(self.by)
        if self.by == "correct" or self.kind == "number" or codes.dtype != np.int16:
            return None
        return Subject(self.index.x, self.index.y, codes, inside, colours)

    def _split_wrong(
        self,
        mask: NDArray[np.bool_],
        colours: NDArray[np.float32],
        *,
        radius: float,
        opacity: float,
    ) -> list[Marks]:
        if self.by == "correct":
            wrong = self.codes("correct") == 1
            return [
                self._marks(mask & ~wrong, colours, radius, opacity),
                # Smaller than a pixel, a larger mark would hide those beside it.
                self._marks(mask & wrong, colours, (1.25 if radius >= 1 else 1) * radius, opacity),
            ]
        if self.kind == "number":
            unknown = self.codes(self.by) < 0
            return [
                self._marks(mask & unknown, colours, radius, opacity),
                self._marks(mask & ~unknown, colours, radius, opacity),
            ]
        return [self._marks(mask, colours, radius, opacity)]

    def _marks(
        self,
        mask: NDArray[np.bool_],
        colours: NDArray[np.float32],
        radius: float,
        opacity: float,
    ) -> Marks:
        # All of them are taken as they lie, without a copy.
        at = slice(None) if mask.all() else np.flatnonzero(mask)
        codes = self.codes(self.by)[at]
        doubt = self._columns.doubt(self.runtime, self.by)[at] if self.kind == "number" else None
        return Marks(
            self.index.x[at],
            self.index.y[at],
            colours if codes.dtype == np.int16 else colours[codes],
            radius=radius,
            opacity=opacity,
            doubt=doubt,
            codes=codes if codes.dtype == np.int16 else None,
        )


def code_of(key: str) -> int | None:
    """Return the code that a key of the legend stands for, or None when it is no key."""
    digits = key.removeprefix("-")
    return int(key) if digits.isascii() and digits.isdecimal() and len(key) < 8 else None


def _floats(colours: list[str]) -> NDArray[np.float32]:
    rows = [theme.rgb(colour) for colour in colours]
    return np.array(rows, np.float32).reshape(-1, 3) / np.float32(255)
