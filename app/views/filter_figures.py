"""What the network view draws of filters, as plain data for its browser component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app import safe, theme
from app.layer_names import block_of, short_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from feature_store.queries import LayerRow

LINE_CSS = (
    ":host{color:var(--vt-ink-2);font:400 var(--vt-fs-small)/20px var(--vt-font);"
    "padding:0 10px;box-sizing:border-box;overflow:hidden}"
    "b{color:var(--vt-ink);font-weight:600}"
    ".l{display:flex;gap:12px;white-space:nowrap}.l .w{overflow:hidden;text-overflow:ellipsis}"
    ".k{margin-left:auto;flex:none;display:flex;gap:10px}"
    ".k span{display:inline-flex;align-items:center;gap:5px}"
    "@media (max-width:1599px){:host{padding:0 8px}.k{display:none}}"
)

_PATH_KEY = (
    '<span><svg width="26" height="10"><path d="M3 5h20" stroke="var(--vt-accent)" '
    'stroke-width="1.7"/><circle cx="4" cy="5" r="3.4" fill="var(--vt-accent)"/>'
    '<circle cx="22" cy="5" r="3.4" fill="var(--vt-accent)"/></svg>its path</span>'
)
_OTHER_KEY = (
    '<span><svg width="26" height="12"><path d="M7 6h12" stroke="var(--vt-accent)" '
    'stroke-dasharray="3 2"/><path d="M1.500 3.500h5v5h-5zM19.500 3.500h5v5h-5z" fill="none" '
    'stroke="var(--vt-accent)" stroke-width="1.5"/></svg>changed copy</span>'
)
_PATTERN_KEY = (
    '<span><svg width="12" height="12"><rect x="1" y="1" width="10" height="10" fill="none" '
    'stroke="var(--vt-ink)" stroke-width="2"/></svg>open pattern</span>'
)


def marks(layers: Sequence[LayerRow]) -> list[dict[str, Any]]:
    """Return ``unit_layers`` of ``UnitView``: name, block, filters and colours of each layer."""
    light = theme.layer_colours(len(layers), dark=False)
    dark = theme.layer_colours(len(layers), dark=True)
    return [
        {
            "name": name,
            "block": block_of(row),
            "filters": int(row.filters),
            "light": light[at],
            "dark": dark[at],
        }
        for at, (row, name) in enumerate(zip(layers, short_names(layers), strict=True))
    ]


def shades(percentiles: Sequence[NDArray[np.uint8]]) -> bytes:
    """Return ``unit_shades`` of ``UnitView``: one byte a filter, layer after layer."""
    return b"".join(np.ascontiguousarray(part, dtype=np.uint8).tobytes() for part in percentiles)


def differing(path: Sequence[int], other: Sequence[int]) -> int:
    """Return in how many layers two paths have other winners."""
    return sum(one != two for one, two in zip(path, other, strict=True))


def spoken(filters: int, layers: int, path: Sequence[int], other: Sequence[int]) -> str:
    """Return what a screen reader says of the plot.

    Parameters
    ----------
    filters, layers : int
        How many there are.
    path, other : sequence of int
        Path of the image under test, and that of its changed copy; each may be empty.

    Returns
    -------
    str
        Plain text.
    """
    text = f"{filters:,} filters of {layers} layers"
    if path and other:
        text += f"; the changed copy has other winners in {differing(path, other)} layers"
    return f"{text}; arrow keys move by layer and filter, Enter chooses a filter"


def line(
    filters: int,
    layers: int,
    subject: str,
    *,
    shades: str,
    differing: int | None = None,
    is_changed: bool = False,
) -> str:
    """Return the HTML of the line above the filters.

    Parameters
    ----------
    filters, layers : int
        How many there are.
    subject : str
        Whose activations and path are drawn ("image 1,500"), empty for nobody's. Our own words.
    shades : str
        ``"shown"``, ``"reading"`` while its activations are not here yet, else empty.
    differing : int or None
        Layers in which the changed copy has another winner; None when there is no such copy.
    is_changed : bool
        Whether the path is the changed copy's, beside activations from before the change.

    Returns
    -------
    str
        Escaped.
    """
    text = f"of {layers} layers"
    if not subject:
        text += " · pick an image to see its activations and path"
    elif shades == "reading":
        text += f" · reading the activations for {subject} …"
    elif differing is not None:
        # Short, because this is what must not be cut on a laptop.
        found = (
            f"differs in {differing} of {layers} layers" if differing else "takes the same path"
        )
        text = f"· {subject}; its changed copy {found}"
    else:
        text += f" · path of {subject}{' as changed' if is_changed else ''}"
        if shades == "shown":
            text += f", shade = {'activation before' if is_changed else 'its activation'}"
    key = _PATH_KEY + (_OTHER_KEY if differing else "") + _PATTERN_KEY if subject else ""
    return (
        f'<div class="l"><span class="w" title="{safe.label(text)}">'
        f"<b>{filters:,} filters</b> {safe.label(text)}</span>"
        f'<span class="k" aria-hidden="true">{key}</span></div>'
    )
