"""What the network view draws of filters, as plain data for its browser component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app import safe, theme
from app.layer_names import block_of, short_names

if TYPE_CHECKING:
    from collections.abc import Sequence

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

_KEY = (
    '<span class="k" aria-hidden="true"><span><svg width="26" height="10"><path d="M3 5h20" '
    'stroke="var(--vt-accent)" stroke-width="1.7"/><circle cx="4" cy="5" r="3.4" '
    'fill="var(--vt-accent)"/><circle cx="22" cy="5" r="3.4" fill="var(--vt-accent)"/></svg>'
    'its path</span><span><svg width="12" height="12"><rect x="1" y="1" width="10" height="10" '
    'fill="none" stroke="var(--vt-ink)" stroke-width="2"/></svg>open pattern</span></span>'
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


def line(filters: int, layers: int, focus: int | None, *, shades: str) -> str:
    """Return the HTML of the line above the filters.

    Parameters
    ----------
    filters, layers : int
        How many there are.
    focus : int or None
        Image whose activations and path are drawn.
    shades : str
        ``"shown"``, ``"reading"`` while its activations are not here yet, else empty.

    Returns
    -------
    str
        Escaped.
    """
    text = f"of {layers} layers"
    if focus is None:
        text += " · pick an image to see its activations and path"
    elif shades == "shown":
        text += f" · shade = activation for image {focus:,}"
    elif shades == "reading":
        text += f" · reading the activations for image {focus:,} …"
    key = _KEY if focus is not None else ""
    return (
        f'<div class="l"><span class="w"><b>{filters:,} filters</b> '
        f"{safe.label(text)}</span>{key}</div>"
    )
