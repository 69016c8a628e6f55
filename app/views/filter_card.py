"""The card of a chosen filter: what fires it, where, and for which classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app import safe, theme
from app.views import pattern_figures
from feature_store import StoreError, queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.inference import InputSpec
    from app.runtime import Runtime
    from app.state import SessionState
    from feature_store.queries import FilterHistogram, LayerRow

TOP_IMAGES = 20
"""Images shown of a chosen filter."""

MOST_CHIPS = 3
"""Chosen filters up to which the card names every one; above, it names the last."""

MOST_COLOURS = 10
"""Classes up to which every one has its colour in the histogram; above, the strongest have."""


def top_images(runtime: Runtime, state: SessionState) -> queries.TopImages:
    """Return the images of the split that fire the filter chosen last the most."""
    layer, filter_index = state.filters[-1]
    return queries.top_images(
        runtime.store, layer, filter_index, limit=TOP_IMAGES, split=state.split or None
    )


def card(
    runtime: Runtime,
    state: SessionState,
    layers: Sequence[LayerRow],
    names: Sequence[str],
) -> dict[str, Any]:
    """Return what the card of the filter chosen last says.

    Parameters
    ----------
    runtime : Runtime
        Store, names, thumbnails, and how an image becomes the network's input.
    state : SessionState
        Chosen filters, split, selection and focus.
    layers : sequence of LayerRow
        All captured layers.
    names : sequence of str
        Their short names.

    Returns
    -------
    dict
        ``card_strip`` of ``PatternCards``; every name is plain text.
    """
    layer = layers[state.filters[-1][0]]
    top = top_images(runtime, state)
    images = pattern_figures.thumbs(runtime, top.image_id.tolist(), state.selection, state.focus)
    patches = _patches(runtime, layer, top)
    return {
        **_head(state, layers, names),
        "images": [
            {**image, "patch": patch} for image, patch in zip(images, patches, strict=True)
        ],
        "sees": _sees(layer, patches),
        "histogram": _histogram(runtime, state),
    }


def without_images(
    state: SessionState, layers: Sequence[LayerRow], names: Sequence[str], problem: str
) -> dict[str, Any]:
    """Return a card that names the filters and says why no images are shown."""
    words = safe.plain(problem, limit=400)
    return {**_head(state, layers, names), "images": [], "sees": "", "problem": words}


def _head(state: SessionState, layers: Sequence[LayerRow], names: Sequence[str]) -> dict[str, Any]:
    filters = state.filters
    return {
        "label": "filter",
        "lead": _lead(state),
        "count": len(filters),
        "chips": pattern_figures.chips(
            filters if len(filters) <= MOST_CHIPS else filters[-1:],
            names,
            [row.layer_name for row in layers],
        ),
    }


def _lead(state: SessionState) -> str:
    """Say of which images and of which filter the strongest ones are shown."""
    n = len(state.filters)
    where = safe.plain(state.split, limit=20) or "all splits"
    whose = "" if n == 1 else " the last" if n <= MOST_CHIPS else f" the last of {n:,} filters"
    return f"Strongest images of {where} for{whose}"


def _patches(
    runtime: Runtime, layer: LayerRow, top: queries.TopImages
) -> list[dict[str, Any] | None]:
    spec, store = runtime.inference.input, runtime.store
    is_input = store.info.get("dataset", {}).get("store_images") == "input"
    places = zip(
        top.peak_row.tolist(),
        top.peak_column.tolist(),
        top.width.tolist(),
        top.height.tolist(),
        strict=True,
    )
    return [
        patch(
            layer,
            row,
            column,
            spec,
            None if is_input or not (width and height) else (width, height),
        )
        for row, column, width, height in places
    ]


def patch(
    layer: LayerRow, row: int, column: int, spec: InputSpec, size: tuple[int, int] | None
) -> dict[str, Any] | None:
    """Return the part of a picture that a filter sees where it fires.

    Its centre is that of the map's cell, as for convolutions that pad both sides alike; its side
    is the receptive field, cut at the border of the input.

    Parameters
    ----------
    layer : LayerRow
        Size of the map and receptive field.
    row, column : int
        Where the map is highest.
    spec : InputSpec
        How the picture became the network's input.
    size : tuple of (int, int) or None
        Width and height of the picture in pixels; None when it is the input itself.

    Returns
    -------
    dict or None
        ``part``, the left, top, width and height as shares of the picture; ``box``, the same of
        the square that a thumbnail shows of it; ``shape``, width over height of the patch. None
        where the filter sees all of the input.
    """
    reach = layer.receptive_field
    if reach is None or layer.kind == "linear" or reach >= max(spec.width, spec.height):
        return None
    left, right = _span(column, layer.width, spec.width, reach)
    top, bottom = _span(row, layer.height, spec.height, reach)
    across, down = _placed(spec, size)
    left, right = (across[0] + across[1] * value for value in (left, right))
    top, bottom = (down[0] + down[1] * value for value in (top, bottom))
    width, height = size or (spec.width, spec.height)
    part = (left, top, right - left, bottom - top)
    # A thumbnail shows the middle square.
    wide, tall = max(width / height, 1.0), max(height / width, 1.0)
    box = (
        0.5 + (left - 0.5) * wide,
        0.5 + (top - 0.5) * tall,
        (right - left) * wide,
        (bottom - top) * tall,
    )
    return {
        "part": [round(value, 5) for value in part],
        "box": [round(value, 5) for value in box],
        "shape": round((part[2] * width) / (part[3] * height), 5),
    }


def _span(cell: int, cells: int, side: int, reach: int) -> tuple[float, float]:
    """Return the ends of a receptive field along one side of the input, in pixels of it."""
    middle = (cell + 0.5) * side / max(cells, 1)
    return max(middle - reach / 2, 0.0), min(middle + reach / 2, float(side))


def _placed(
    spec: InputSpec, size: tuple[int, int] | None
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return offset and step that take pixels of the input to shares of the picture, by axis."""
    if size is None or spec.crop is None:
        return (0.0, 1 / spec.width), (0.0, 1 / spec.height)
    scale = 1.0 if spec.resize is None else spec.resize / min(size)
    width, height = size[0] * scale, size[1] * scale
    return (
        ((width - spec.width) / 2 / width, 1 / width),
        ((height - spec.height) / 2 / height, 1 / height),
    )


def _sees(layer: LayerRow, patches: Sequence[dict[str, Any] | None]) -> str:
    if layer.kind == "linear":
        return "a hidden unit: it sees the whole picture"
    if not any(patches):
        return "sees the whole picture"
    reach = layer.receptive_field
    return f"sees {reach} × {reach} pixels: below each picture, where it fires"


def _histogram(runtime: Runtime, state: SessionState) -> dict[str, Any]:
    layer, filter_index = state.filters[-1]
    try:
        found = queries.filter_histogram(
            runtime.store, layer, filter_index, split=state.split or None
        )
    except StoreError:
        # A store may keep no activations: the pictures are there all the same.
        return {}
    return histogram(found, runtime.class_names, split=safe.plain(state.split, limit=20))


def histogram(
    found: FilterHistogram, class_names: Sequence[str], *, split: str = ""
) -> dict[str, Any]:
    """Return the histogram of a filter as the card draws it.

    Parameters
    ----------
    found : FilterHistogram
        Counts by class.
    class_names : sequence of str
        Names by class index.
    split : str
        Split of the images, plain text; empty for all.

    Returns
    -------
    dict
        ``stacks``: name, colour and counts of each class, strongest mean first, the rest in one;
        ``low`` and ``high`` ends; ``silent``; ``n``; ``words``, what it shows in one sentence.
    """
    names = [safe.plain(name, limit=40) for name in class_names]
    order = [int(i) for i in np.argsort(-np.nan_to_num(found.means, nan=-np.inf), kind="stable")]
    kept = order if len(names) <= MOST_COLOURS else order[: MOST_COLOURS - 1]
    stacks = [
        {
            "name": names[index],
            "colour": theme.class_variable(index, len(names)),
            "counts": found.counts[index].tolist(),
        }
        for index in kept
    ]
    rest = [index for index in range(len(names) + 1) if index not in kept]
    others = found.counts[rest].sum(axis=0)
    if others.any():
        label = "no label" if len(rest) == 1 else "other classes"
        stacks.append({"name": label, "colour": "var(--vt-context)", "counts": others.tolist()})
    silent = int(found.silent.sum())
    strongest = [
        f"{names[i]} {found.means[i]:.2f}" for i in order[:3] if np.isfinite(found.means[i])
    ]
    words = f"Activation of {found.n_images:,} {f'{split} ' if split else ''}images by true class"
    if strongest:
        words += f"; highest means: {', '.join(strongest)}"
    if silent:
        words += f"; exactly 0 in {silent:,}, which are not drawn"
    return {
        "stacks": stacks,
        "low": f"{found.edges[0]:.3g}",
        "high": f"{found.edges[-1]:.3g}",
        "silent": silent,
        "n": found.n_images,
        "top": f"highest mean: {strongest[0]}" if strongest else "activation",
        "words": f"{words}.",
    }
