"""What the network view draws of filters, as plain data for its browser component."""

from __future__ import annotations

from dataclasses import dataclass
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
    "padding:0 10px;box-sizing:border-box;overflow:hidden;container-type:inline-size}"
    "b{color:var(--vt-ink);font-weight:600}"
    ".l{display:flex;gap:12px;white-space:nowrap}.l .w{overflow:hidden;text-overflow:ellipsis}"
    ".k{margin-left:auto;flex:none;display:flex;gap:10px}"
    ".k span{display:inline-flex;align-items:center;gap:5px}"
    "@container (max-width:640px){.k{display:none}}"
    # Beside a choice the line has the height of two.
    ":host(.vt-two){line-height:16px}:host(.vt-two) .l{white-space:normal}"
    "@media (max-width:1599px){:host{padding:0 8px}}"
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


def spread(values: bytes) -> tuple[int, int]:
    """Return the ends of the shades of a selection, whose means lie close together.

    Parameters
    ----------
    values : bytes
        Mean percentile of each filter, 0 to 255.

    Returns
    -------
    tuple of (int, int)
        Between which all but the 1 % lowest and the 1 % highest lie.
    """
    if not values:
        return 0, 255
    low, high = np.percentile(np.frombuffer(values, np.uint8), [1, 99]).round().astype(int)
    return (int(low), int(high)) if low < high else (0, 255)


def differing(path: Sequence[int], other: Sequence[int]) -> int:
    """Return in how many layers two paths have other winners."""
    return sum(one != two for one, two in zip(path, other, strict=True))


def spoken(
    filters: int, layers: int, path: Sequence[int], other: Sequence[int], *, chosen: int = 0
) -> str:
    """Return what a screen reader says of the plot.

    Parameters
    ----------
    filters, layers : int
        How many there are.
    path, other : sequence of int
        Path of the image under test, and that of its changed copy; each may be empty.
    chosen : int
        Filters that are chosen.

    Returns
    -------
    str
        Plain text.
    """
    text = f"{filters:,} filters of {layers} layers"
    if chosen:
        text += f"; {chosen:,} {'filter' if chosen == 1 else 'filters'} chosen"
    if path and other:
        text += f"; the changed copy has other winners in {differing(path, other)} layers"
    return (
        f"{text}; arrow keys move by layer and filter, Enter chooses a filter, "
        "with Shift it joins the others"
    )


@dataclass(frozen=True, kw_only=True)
class ShadeWords:
    """What the line says of the shades.

    Parameters
    ----------
    is_read, is_shown : bool
        Whether the activations are being read, or shade the marks.
    whose : str
        Images that shade ("1,742 selected"), empty for the image under test. Our own words.
    among : str
        What the percentiles are taken over, for the tooltip.
    ends : tuple of (int, int)
        Palest and darkest shade, of 255.
    """

    is_read: bool = False
    is_shown: bool = False
    whose: str = ""
    among: str = ""
    ends: tuple[int, int] = (0, 255)

    @property
    def help(self) -> str:
        """What the tooltip says besides."""
        if not self.among:
            return ""
        low, high = (round(100 * end / 255) for end in self.ends)
        what = "mean over the images of the percentile" if self.whose else "percentile"
        return f". Palest {low}, darkest {high}: {what} among {self.among}"


def among(n: int, total: int) -> str:
    """Return what percentiles are taken over; a large store is sampled, which is said."""
    return f"{n:,} images" if n == total else f"{n:,} of {total:,} images, drawn at random"


def line(
    filters: int,
    layers: int,
    subject: str,
    shade: ShadeWords,
    *,
    differing: int | None = None,
    is_changed: bool = False,
    notice: str = "",
) -> str:
    """Return the HTML of the line above the filters.

    Parameters
    ----------
    filters, layers : int
        How many there are.
    subject : str
        Whose path is drawn ("image 1,500"), empty for nobody's. Our own words.
    shade : ShadeWords
        Whose activations shade the marks.
    differing : int or None
        Layers in which the changed copy has another winner; None when there is no such copy.
    is_changed : bool
        Whether the path is the changed copy's, beside activations from before the change.
    notice : str
        What was refused; it takes the place of the rest.

    Returns
    -------
    str
        Escaped.
    """
    parts = _parts(layers, subject, shade, differing, is_changed=is_changed)
    text = notice or " · ".join(parts)
    title = notice or f"{text}{shade.help}"
    dot = "" if text.startswith("of ") else "· "
    key = _PATH_KEY + (_OTHER_KEY if differing else "") + _PATTERN_KEY if subject else ""
    role = ' role="status"' if notice else ""
    return (
        f'<div class="l"><span class="w" title="{safe.label(title, limit=300)}">'
        f"<b>{filters:,} filters</b> {dot}<span{role}>{safe.label(text)}</span></span>"
        f'<span class="k" aria-hidden="true">{key}</span></div>'
    )


def _parts(
    layers: int, subject: str, shade: ShadeWords, differing: int | None, *, is_changed: bool
) -> list[str]:
    """Return the sentences of the line; the longer they are, the fewer."""
    count = f"of {layers} layers"
    if shade.whose:
        by = f"mean percentile of {shade.whose}"
    else:
        by = "activation before" if is_changed else "its activation"
    if not subject and not shade.whose:
        return [count, "pick an image to see its activations and path"]
    if shade.is_read:
        return [count, f"reading the activations for {shade.whose or subject} …"]
    if not subject:
        return [count, *([f"shade = {by}"] if shade.is_shown else [])]
    if differing is not None:
        # Short, because this is what must not be cut on a laptop.
        found = (
            f"differs in {differing} of {layers} layers" if differing else "takes the same path"
        )
        said = f"{subject}; its changed copy {found}"
        return [f"{said}, shade = {by}" if shade.whose else said]
    path = f"path of {subject}{' as changed' if is_changed else ''}"
    if not shade.is_shown:
        return [count, path]
    # The number that is averaged comes first: on a laptop the end is cut.
    return [f"shade = {by}", path] if shade.whose else [count, f"{path}, shade = {by}"]
