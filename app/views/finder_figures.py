"""What the finder shows: matching images, their captions, and how easily classes flip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from app import orders, safe, theme
from feature_store import queries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.runtime import Runtime

PAGE = 60
"""Images on one page of the list."""

VERDICTS = ("any", "right", "wrong")
"""Values of ``Wanted.verdict``."""

QUANTILES = (0.1, 0.5, 0.9)
"""Shares of a class for which the table says where they flip."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What images are looked for, and which of them come first.

    Parameters
    ----------
    true_class, predicted_class : int or None
        Class index; None is any, -1 is without a label.
    verdict : str
        One of ``VERDICTS``.
    low, high : float
        Confidence, both inclusive, in [0, 1].
    order : str
        One of ``orders.known_orders``.
    """

    true_class: int | None = None
    predicted_class: int | None = None
    verdict: str = "any"
    low: float = 0.0
    high: float = 1.0
    order: str = orders.CONFIDENCE

    def without_filters(self) -> Wanted:
        """Return the same order over all images."""
        return Wanted(order=self.order)


def matching(runtime: Runtime, universe: NDArray[np.int32], wanted: Wanted) -> NDArray[np.int64]:
    """Return the rows of the images that pass every filter, in the wanted order.

    Parameters
    ----------
    runtime : Runtime
        Of the store.
    universe : ndarray of int32
        Sorted ids of the images that are shown.
    wanted : Wanted
        Filters and order.

    Returns
    -------
    ndarray of int64
        Rows of ``runtime.images``.
    """
    rows = runtime.images.rows(universe)
    kept = np.ones(len(rows), dtype=bool)
    for _, mask in _filters(runtime, rows, wanted):
        kept &= mask
    return orders.sorted_rows(runtime, rows[kept], wanted.order)


def words_of(runtime: Runtime, wanted: Wanted) -> str:
    """Say the filters in words, as the search would; empty without any."""
    none = np.zeros(0, np.int64)
    return ", ".join(words for words, _ in _filters(runtime, none, wanted))


def why_none(runtime: Runtime, universe: NDArray[np.int32], wanted: Wanted) -> tuple[str, str]:
    """Say what was looked for and why there is none; plain text."""
    if not len(universe):
        return "There are no images to show", "The split that is shown is empty."
    rows = runtime.images.rows(universe)
    found = _filters(runtime, rows, wanted)
    if not found:
        return "There are no images to show", "Nothing was looked for yet."
    masks = np.stack([mask for _, mask in found])
    spared = [np.delete(masks, place, axis=0).all(axis=0).sum() for place in range(len(masks))]
    best = int(np.argmax(spared))
    headline = f"No image: {words_of(runtime, wanted)}"
    if len(masks) > 1 and spared[best]:
        count = int(spared[best])
        verb = "is" if count == 1 else "are"
        return headline, f"Without “{found[best][0]}” there {verb} {count:,}."
    if len(masks) == 1:
        return headline, f"None of the {len(rows):,} images that are shown is."
    return headline, "There is none with any one of these left out either."


def items(runtime: Runtime, rows: NDArray[np.int64], order: str) -> list[dict[str, Any]]:
    """Return what the list draws for each image.

    Parameters
    ----------
    runtime : Runtime
        Of the store.
    rows : ndarray of int64
        Rows of ``runtime.images``, one page of them.
    order : str
        One of ``orders.known_orders``; its value stands in the caption.

    Returns
    -------
    list of dict
        ``{"id", "url", "classes", "value", "title", "is_wrong"}``; texts are plain.
    """
    table = runtime.images
    said = _values(runtime, rows, order)
    found = []
    for row, value in zip(rows.tolist(), said, strict=True):
        true = _class_name(runtime, int(table.true_class[row]))
        predicted = _class_name(runtime, int(table.predicted_class[row]))
        image_id = int(table.ids[row])
        found.append(
            {
                "id": image_id,
                "url": runtime.thumbnail_url(image_id),
                "classes": f"{true} → {predicted}",
                "value": value,
                "title": f"image {image_id:,}: true {true}, predicted {predicted} "
                f"{table.confidence[row]:.2f}; {value}",
                "is_wrong": bool(table.is_wrong[row]),
            }
        )
    return found


def class_table(runtime: Runtime, wanted: Wanted) -> dict[str, Any]:
    """Return how easily each class flips under the perturbation of the order.

    Parameters
    ----------
    runtime : Runtime
        Of the store.
    wanted : Wanted
        The class it filters by is marked.

    Returns
    -------
    dict
        ``{"title", "extent", "heads", "rows"}``, the classes that flip most easily first; empty
        for another order.
    """
    name = orders.flip_of(wanted.order)
    if not name:
        return {}
    sweep = runtime.sweeps[name]
    found = queries.flip_quantiles(runtime.store, name, quantiles=QUANTILES)
    share = found.n_flipped / found.n
    rows = [
        {
            "id": int(index),
            "name": _class_name(runtime, int(index)),
            "colour": theme.class_variable(int(index), len(runtime.class_names)),
            "n": f"{found.n[place]:,}",
            "share": f"{100 * share[place]:.0f} %",
            "never": _never(found.n[place], found.n_flipped[place], found.n_never_wrong[place]),
            "distances": [orders.distance_text(sweep, d) for d in found.distances[place]],
            "is_chosen": wanted.true_class == int(index),
        }
        for place, index in enumerate(found.true_class)
    ]
    ease = [(-share[k], *np.nan_to_num(found.distances[k], nan=np.inf)) for k in range(len(rows))]
    return {
        "title": "How easily each class flips",
        "extent": _extent(runtime, int(found.n.sum()), orders.grid_text(sweep)),
        "heads": [f"{100 * q:.0f} %" for q in QUANTILES],
        "help": "The change within which that share of a class has flipped; —: beyond the grid. "
        + _never(found.n.sum(), found.n_flipped.sum(), found.n_never_wrong.sum()),
        "rows": [rows[k] for k in sorted(range(len(rows)), key=ease.__getitem__)],
    }


def _never(n: int, n_flipped: int, n_never_wrong: int) -> str:
    """Say how many never flip; an error that only deepens does not, so errors are told apart."""
    stays = f"{n - n_flipped:,} of {n:,} never flip"
    return (
        f"{stays}, {n_never_wrong:,} of them wrong from the start."
        if n > n_flipped
        else f"{stays}."
    )


def changed(wanted: Wanted, name: str, value: object, runtime: Runtime) -> Wanted | None:
    """Return ``wanted`` with one setting replaced by what a browser sent.

    Parameters
    ----------
    wanted : Wanted
        Before.
    name : str
        ``"true"``, ``"predicted"``, ``"verdict"``, ``"low"``, ``"high"`` or ``"order"``.
    value : object
        Unchecked.
    runtime : Runtime
        Of the store: its classes and orders.

    Returns
    -------
    Wanted or None
        None when the value is none that the setting can have. A bound that passes the other one
        takes it along.
    """
    if name in {"true", "predicted"}:
        lowest = -1 if name == "true" else 0
        index = safe.integer(value, lowest, len(runtime.class_names) - 1)
        if index is None and value is not None:
            return None
        if name == "true":
            return replace(wanted, true_class=index)
        return replace(wanted, predicted_class=index)
    if name == "verdict" and isinstance(value, str) and value in VERDICTS:
        return replace(wanted, verdict=value)
    if name == "order" and isinstance(value, str) and value in orders.known_orders(runtime):
        return replace(wanted, order=value)
    bound = safe.number(value, 0.0, 1.0)
    if name == "low" and bound is not None:
        return replace(wanted, low=bound, high=max(bound, wanted.high))
    if name == "high" and bound is not None:
        return replace(wanted, low=min(bound, wanted.low), high=bound)
    return None


def _filters(
    runtime: Runtime, rows: NDArray[np.int64], wanted: Wanted
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return every filter that is set: in words, and which of the rows pass it."""
    table = runtime.images
    found: list[tuple[str, NDArray[np.bool_]]] = []
    if wanted.true_class is not None:
        name = _class_name(runtime, wanted.true_class)
        found.append((f"true {name}", table.true_class[rows] == wanted.true_class))
    if wanted.predicted_class is not None:
        name = _class_name(runtime, wanted.predicted_class)
        is_so = table.predicted_class[rows] == wanted.predicted_class
        found.append((f"predicted {name}", is_so))
    if wanted.verdict == "wrong":
        found.append(("wrong", table.is_wrong[rows]))
    elif wanted.verdict == "right":
        found.append(("right", ~table.is_wrong[rows] & (table.true_class[rows] >= 0)))
    if (wanted.low, wanted.high) != (0.0, 1.0):
        confidence = table.confidence[rows]
        is_within = (confidence >= wanted.low) & (confidence <= wanted.high)
        found.append((f"confidence {wanted.low:g}–{wanted.high:g}", is_within))
    return found


def _values(runtime: Runtime, rows: NDArray[np.int64], order: str) -> list[str]:
    """Say what the order sorts by, of each row."""
    values = orders.order_values(runtime, order)[rows]
    name = orders.flip_of(order)
    if not name:
        word = "margin" if order == orders.MARGIN else "confidence"
        return ["margin unknown" if np.isnan(v) else f"{word} {v:.2f}" for v in values]
    ids, sweep = runtime.images.ids[rows], runtime.sweeps[name]
    flips = queries.fragile_images(runtime.store, name, ids=ids, limit=len(ids))
    triples = zip(
        flips.image_id.tolist(),
        flips.magnitude.tolist(),
        flips.flipped_class.tolist(),
        strict=True,
    )
    said = {
        image: f"flips at {orders.flip_text(sweep, magnitude)} to {_class_name(runtime, to)}"
        for image, magnitude, to in triples
    }
    missing = ["not swept" if np.isnan(v) else "no flip on the grid" for v in values]
    return [said.get(i, other) for i, other in zip(ids.tolist(), missing, strict=True)]


def _extent(runtime: Runtime, n: int, grid: str) -> str:
    """Say how much of the data was swept."""
    info = dict(runtime.store.info.get("simulate", {}))
    split, total = safe.plain(info.get("split", ""), limit=20), info.get("n_available")
    where = f" of {split}" if split else ""
    of = f" ({total:,} in all)" if isinstance(total, int) and total != n else ""
    return f"of the {n:,} swept images{where}{of}" + (f", {grid}" if grid else "")


def _class_name(runtime: Runtime, index: int) -> str:
    return safe.plain(runtime.class_name(index), limit=40)
