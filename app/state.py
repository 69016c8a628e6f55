"""What one person is looking at: the only thing that the views of a page share.

A *selection* is a set of image ids; the *focus* is the one image under test. They are never mixed:
the focus moves inside a selection without changing it. Undo and redo cover both, what is done to
the image under test, and the filters, the pattern and the kind of error that are looked at; how a
view draws them is no step of undo, but part of the address. An *upload* may take the place of the
focus: it is in no table, so it has no id, and the page lives without one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import param

from app.history import STEP, History, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from numpy.typing import NDArray

    from feature_store.patterns.cards import PatternKey

JOIN_S = 1.5
"""Seconds within which changes by the same control are one step: a drag is undone at once."""

COLOURINGS = ("true", "predicted", "correct", "confidence")
"""Values of ``colour_by`` that every store has: what the colour of a point on the map means."""

MARGIN_COLOURING = "margin"
FLIP_COLOURING = "flip:"
"""What ``colour_by`` begins with for a smallest flip; the name of the perturbation follows."""

_COLOUR_BY = (
    rf"^({'|'.join(COLOURINGS)}|{MARGIN_COLOURING}|{FLIP_COLOURING}\w+"
    r"|(images|predictions)\..+)$"
)

SHADINGS = ("", "equal", "density")
"""Values of ``shading``: every occupied pixel alike, or the fuller the more opaque."""

MANY_CLASSES = 10
"""Classes up to which each has a colour of its own."""

MANY_IMAGES = 100_000
"""Images of a split from which density says more than every pixel alike."""

MEASURES = ("mean_score", "accuracy")
"""Values of ``simulation_measure``."""

VIEWS = ("a", "b", "c", "d")


@dataclass(frozen=True)
class Region:
    """The outline that made a selection, so that the map can keep showing it.

    Parameters
    ----------
    projection : str
        Projection whose coordinates the vertices are in.
    vertices : tuple of (float, float)
        Corners in order; the outline is closed.
    """

    projection: str
    vertices: tuple[tuple[float, float], ...]


@dataclass(frozen=True, eq=False)
class Selection:
    """A set of images and where it came from.

    Parameters
    ----------
    ids : ndarray of shape (n,), int32, or None
        Sorted, unique image ids; None means every image, that is, nothing is selected.
    origin : str
        How it was made, in the words of the page ("lasso on Map"). Plain text, not escaped.
    region : Region or None
        Outline on the map, if there was one.
    """

    ids: NDArray[np.int32] | None = None
    origin: str = ""
    region: Region | None = None

    @property
    def is_all(self) -> bool:
        """Whether nothing is selected, so that every view speaks of all images."""
        return self.ids is None

    def __len__(self) -> int:
        return 0 if self.ids is None else len(self.ids)

    def __bool__(self) -> bool:
        return True

    def __contains__(self, image_id: object) -> bool:
        if self.ids is None:
            return True
        if not isinstance(image_id, (int, np.integer)):
            return False
        position = int(np.searchsorted(self.ids, image_id))
        return position < len(self.ids) and int(self.ids[position]) == int(image_id)


def sorted_ids(ids: object) -> NDArray[np.int32]:
    """Return image ids sorted and unique, as int32."""
    found = np.sort(np.asarray(ids, dtype=np.int32).ravel())
    # np.unique hashes, which takes far longer than sorting so many.
    is_new = np.ones(len(found), dtype=bool)
    is_new[1:] = found[1:] != found[:-1]
    return found[is_new]


def among(ids: NDArray[np.int32], universe: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return those of some ids that are in ``universe``; both are sorted and unique."""
    if not len(universe):
        return ids[:0]
    low, high = int(universe[0]), int(universe[-1])
    ids = ids[np.searchsorted(ids, low) : np.searchsorted(ids, high, side="right")]
    if high - low + 1 == len(universe):
        # Without gaps: to look for each of very many takes far longer.
        return ids
    found: NDArray[np.int32] = ids[universe[np.searchsorted(universe, ids)] == ids]
    return found


def usual_split(splits: Container[str]) -> str:
    """Return the split that a page shows first: the test images, or else all."""
    return "test" if "test" in splits else ""


def usual_colouring(n_classes: int) -> str:
    """Return the colouring that a map shows first: classes, as long as colours tell them apart."""
    return "true" if n_classes <= MANY_CLASSES else "correct"


def usual_shading(n_images: int) -> str:
    """Return the shading that a map of so many images shows first."""
    return "density" if n_images > MANY_IMAGES else "equal"


def _one_of(values: tuple[str, ...]) -> str:
    """Pattern that allows exactly these values; a Selector's type is lost to the type checker."""
    return f"^({'|'.join(values)})$"


class SessionState(param.Parameterized):
    """Selection, focus and settings of one session; views watch it and never each other.

    Parameters
    ----------
    splits : mapping of str to ndarray of int32
        Image ids that can be shown, by split, each sorted; ``""`` holds all of them.
    first : callable or None
        Which of some image ids comes first. A new selection without the focus moves it there, so
        that no view goes on speaking of an image that was just left out; None leaves it alone.

    Attributes
    ----------
    is_returning : bool
        Whether undo, redo or an address sets values that were chosen together. A view that
        answers to one of them by choosing another must not do so then.
    """

    focus = param.Integer(default=None, allow_None=True, doc="Image under test, or None.")
    selection = param.ClassSelector(
        class_=Selection, default=Selection(), doc="Images the page speaks of."
    )
    split = param.String(default="", doc="Split that is shown; empty for all images.")
    upload = param.Parameter(default=None, doc="Uploaded image under test instead of a focus.")
    change = param.Parameter(default=None, doc="Change of the image under test; None is identity.")
    order = param.String(
        default="confidence", doc="Order of images: confidence, margin, or flip:PERTURBATION."
    )
    path_set = param.String(default="balanced", doc="Path set that C and the patterns use.")
    filters = param.ClassSelector(
        class_=tuple, default=(), doc="Chosen filters as (layer_index, filter_index)."
    )
    pattern = param.ClassSelector(
        class_=(int, tuple), default=None, allow_None=True,
        doc="Open pattern: its id, or the items of one that may skip layers; None for none.",
    )  # fmt: skip
    pattern_skips = param.Boolean(
        default=False, doc="Whether the patterns that C lists may skip layers."
    )
    pattern_order = param.String(
        default="", doc="Which patterns C lists; empty is what suits what is looked at."
    )
    errors = param.ClassSelector(
        class_=tuple, default=None, allow_None=True,
        doc="Kind of error that C explains, (true, predicted) class; None is the commonest.",
    )  # fmt: skip
    colour_by = param.String(
        default="true", regex=_COLOUR_BY, doc="COLOURINGS, margin, flip:NAME or TABLE.COLUMN."
    )
    hidden = param.ClassSelector(
        class_=frozenset, default=frozenset(),
        doc="Entries of the map's legend that are not drawn, as (colour_by, key).",
    )  # fmt: skip
    shading = param.String(
        default="", regex=_one_of(SHADINGS), doc="Shading of the map; empty is what suits it."
    )
    projection = param.String(default="", doc="Projection that the map shows.")
    simulation_perturbation = param.String(default="", doc="Perturbation that D shows.")
    simulation_measure = param.String(default="mean_score", regex=_one_of(MEASURES))
    simulation_class = param.Integer(default=None, allow_None=True, doc="True class framed in D.")
    evidence_method = param.String(default="grad_cam", doc="Explanation that draws the evidence.")
    evidence_layer = param.String(default="", doc="Layer of the evidence; empty is the default.")
    evidence_class = param.Integer(
        default=None, allow_None=True, doc="Class of the evidence; None is the predicted one."
    )
    changed_place = param.ClassSelector(
        class_=tuple, default=None, allow_None=True,
        doc="(x, y) on the map near which the changed image lies, or None."
    )  # fmt: skip
    live_paths = param.Dict(
        default=None, allow_None=True,
        doc="Path by path set of an uploaded or changed image; None when there is neither.",
    )  # fmt: skip
    live_activations = param.ClassSelector(
        class_=tuple, default=None, allow_None=True,
        doc="Maximum of every filter by layer, of an uploaded image.",
    )  # fmt: skip
    hover = param.Integer(default=None, allow_None=True, doc="Image under the pointer.")
    maximised = param.String(default="", regex=_one_of(("", *VIEWS)))
    view = param.String(default="a", regex=_one_of(VIEWS), doc="View that keys act on.")
    page = param.String(default="explore", regex=_one_of(("explore", "about")))
    dark = param.Boolean(default=False, doc="Whether the dark theme is on.")
    can_undo = param.Boolean(default=False)
    can_redo = param.Boolean(default=False)

    def __init__(
        self,
        splits: dict[str, NDArray[np.int32]] | None = None,
        *,
        first: Callable[[NDArray[np.int32]], int | None] | None = None,
        **params: object,
    ) -> None:
        self._first = first
        self._splits = splits or {"": np.zeros(0, np.int32)}
        self._history = History()
        self._control = ("", 0.0)
        self.is_returning = False
        super().__init__(**params)

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that can be shown; the empty one is all images."""
        return tuple(self._splits)

    @property
    def universe(self) -> NDArray[np.int32]:
        """Sorted ids of the images of the split that is shown."""
        return self._splits.get(self.split, self._splits[""])

    @property
    def selected_ids(self) -> NDArray[np.int32]:
        """Sorted ids of the selection; the whole universe when nothing is selected."""
        ids = self.selection.ids
        return self.universe if ids is None else ids

    def select(
        self, ids: object, origin: str, *, how: str = "", region: Region | None = None
    ) -> None:
        """Replace the selection, or add to it or take away from it.

        Parameters
        ----------
        ids : sequence of int, or None
            Images to select, in any order; None selects all. Ids outside the shown split are left
            out, unless that leaves nothing: then all images are shown.
        origin : str
            How they were found, in the words of the page.
        how : str
            ``"add"``, ``"subtract"``; anything else replaces. To all images nothing is added.
        region : Region or None
            Outline on the map that made it; kept only where it replaces.
        """
        if ids is None:
            self._move(selection=Selection())
            return
        before = self.selection.origin
        if how == "subtract":
            ids = np.setdiff1d(self.selected_ids, sorted_ids(ids), assume_unique=True)
            origin, region = f"{before or 'all'} − {origin}", None
        elif how == "add" and not self.selection.is_all:
            ids = np.union1d(self.selected_ids, sorted_ids(ids))
            origin, region = f"{before} + {origin}", None
        wanted = among(sorted_ids(ids), self._splits[""])
        kept = among(wanted, self.universe) if self.split else wanted
        split = self.split
        if not len(kept) and len(wanted):
            kept, split = wanted, ""
        selection = Selection(ids=kept, origin=origin, region=region)
        self._move(selection=selection, focus=self._focus_in(kept), split=split)

    def clear(self) -> None:
        """Select nothing: every view speaks of all images again."""
        if not self.selection.is_all:
            self._move(selection=Selection())

    def invert(self) -> None:
        """Select exactly the images that are not selected."""
        if self.selection.is_all:
            return
        rest = np.setdiff1d(self.universe, self.selected_ids, assume_unique=True)
        origin = self.selection.origin
        named = origin.removeprefix("all but ") if origin.startswith("all but ") else None
        selection = Selection(ids=rest.astype(np.int32), origin=named or f"all but {origin}")
        self._move(selection=selection, focus=self._focus_in(selection.ids))

    def set_focus(self, image_id: int | None) -> None:
        """Put one image under test; an id that the store does not show is ignored."""
        if image_id is not None and not self.shows(image_id):
            return
        if image_id != self.focus or self.upload is not None:
            self._move(focus=image_id, upload=None)

    def set_upload(self, upload: object) -> None:
        """Put an image that is not in the store under test; the selection stays."""
        self._move(focus=None, upload=upload)

    def set_change(self, change: object, *, control: str = "") -> None:
        """Replace what is done to the image under test.

        Parameters
        ----------
        change : Change or None
            All of it; None is the identity.
        control : str
            What was operated. Changes by one control in quick succession are one step of undo;
            the empty name joins with nothing.
        """
        now = time.monotonic()
        name, before = self._control
        self._control = (control, now)
        if control and name == control and now - before < JOIN_S and self._history.past:
            self.change = change
        else:
            self._move(change=change)
            self._control = (control, now)

    def show_split(self, split: str) -> None:
        """Show another split; a selection is kept as far as it lies in it.

        Parameters
        ----------
        split : str
            A split of the store, or empty for all images; anything else is ignored.
        """
        if split != self.split and split in self._splits:
            self._move(selection=self._selection_in(split), split=split)

    def choose_filters(self, filters: tuple[tuple[int, int], ...]) -> None:
        """Choose filters, (layer_index, filter_index) each, instead of those chosen before."""
        if filters != self.filters:
            self._move(filters=filters)

    def open_pattern(self, pattern: PatternKey | None) -> None:
        """Open a pattern of the path set that is shown; None closes the open one."""
        if pattern != self.pattern:
            self._move(pattern=pattern)

    def show_path_set(self, path_set: str) -> None:
        """Show another path set; an open pattern is closed, for it is of the one before."""
        if path_set != self.path_set:
            self._move(path_set=path_set, pattern=None)

    def explain_errors(self, errors: tuple[int, int] | None, path_set: str) -> None:
        """List the patterns behind one kind of error; an open pattern is closed.

        Parameters
        ----------
        errors : tuple of (int, int) or None
            True and predicted class; None for what suits the image under test.
        path_set : str
            Path set in which they are looked for.
        """
        wanted = {
            "errors": errors, "path_set": path_set, "pattern": None, "pattern_order": "errors",
        }  # fmt: skip
        if any(getattr(self, name) != value for name, value in wanted.items()):
            self._move(**wanted)

    def follow(self, settings: Mapping[str, object], *, focus: int | None, split: str) -> None:
        """Go where an address of this page leads, as one step of undo.

        Parameters
        ----------
        settings : mapping of str to object
            Parameters and their values; none but those of an address.
        focus : int or None
            Image under test; None leaves it as it is.
        split : str
            Split to show.
        """
        wanted = dict(settings)
        if split != self.split and split in self._splits:
            wanted |= {"split": split, "selection": self._selection_in(split)}
        if focus is not None and self.shows(focus):
            wanted |= {"focus": focus, "upload": None}
        now = self._now()
        asked: dict[str, Any] = {name: wanted[name] for name in STEP if name in wanted}
        if replace(now, **asked).since(now):
            self._history.record(now)
        self._return(wanted)

    def shows(self, image_id: int) -> bool:
        """Whether the store holds a shown image with this id, in any split."""
        ids = self._splits[""]
        position = int(np.searchsorted(ids, image_id))
        return position < len(ids) and int(ids[position]) == image_id

    def undo(self) -> None:
        """Go back one step; see ``STEP`` for what it covers."""
        self._travel(self._history.past, self._history.future)

    def redo(self) -> None:
        """Go forward one step that was undone."""
        self._travel(self._history.future, self._history.past)

    def _focus_in(self, ids: NDArray[np.int32] | None) -> int | None:
        """Return the focus, or the first of ``ids`` when it is not among them."""
        if self.upload is not None:
            return None
        if ids is None or not len(ids) or self._first is None or self.focus in ids:
            return self.focus
        return self._first(ids)

    def _selection_in(self, split: str) -> Selection:
        """Return the selection as far as it lies in a split; everything if it does not."""
        selection = self.selection
        if selection.ids is None:
            return selection
        kept = np.intersect1d(selection.ids, self._splits[split], assume_unique=True)
        if not len(kept):
            return Selection()
        return Selection(ids=kept, origin=selection.origin, region=selection.region)

    def _now(self) -> Step:
        return Step(**{name: getattr(self, name) for name in STEP})

    def _move(self, **changed: object) -> None:
        """Remember this moment, and change some of it."""
        self._history.record(self._now())
        self._apply(changed)

    def _travel(self, source: list[Step], target: list[Step]) -> None:
        if not source:
            return
        now, step = self._now(), source.pop()
        target.append(now)
        changed = step.since(now)
        if "path_set" in changed:
            # Its number means another pattern in any other path set.
            changed["pattern"] = step.pattern
        self._return(changed)

    def _return(self, changed: Mapping[str, object]) -> None:
        """Bring values back that were chosen together: none of them brings its own order."""
        self.is_returning = True
        try:
            self._apply(changed)
        finally:
            self.is_returning = False

    def _apply(self, changed: Mapping[str, object]) -> None:
        self._control = ("", 0.0)
        # One update: a watcher of several of these must not see half of a step. A selection
        # equals itself alone, and param would call it changed all the same.
        self.param.update(
            **{name: value for name, value in changed.items() if value is not self.selection},
            can_undo=bool(self._history.past),
            can_redo=bool(self._history.future),
        )
