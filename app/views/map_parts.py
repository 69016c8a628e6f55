"""Parts of the map: tools and style sheets, the card of a point, and what it says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app import safe, shell
from app.aggregate import Viewport
from app.views import map_measures
from app.views.map_pictures import Candidate
from feature_store.tables import FEWEST_ON_A_MAP

if TYPE_CHECKING:
    import panel as pn
    from numpy.typing import NDArray

    from app.runtime import Runtime
    from app.state import SessionState
    from app.views.map_colours import MapColours

DRAGS = ("lasso", "box", "pan")
"""Tools that answer a drag."""

TOOLS = (
    ("lasso", "Lasso: draw round points (Shift adds, Alt takes away)"),
    ("box", "Box: drag over points (Shift adds, Alt takes away)"),
    ("pan", "Pan"),
    ("in", "Zoom in (+)"),
    ("out", "Zoom out (−)"),
    ("home", "Show all (0)"),
    ("density", "Density: the more images in a place, the more opaque. Off: every place alike"),
)
"""Tools of the map: name, which is also that of the icon, and what it does."""

BOX_CSS = (
    ":host{position:relative;min-height:0!important;background:var(--vt-plot);"
    "border-radius:4px;overflow:hidden}"
    ".map-tools{position:absolute!important;left:6px;top:6px;z-index:3}"
    ".map-n{position:absolute!important;inset:0;width:100%!important;height:100%!important;"
    "z-index:2;pointer-events:none}"
    ".map-card{position:absolute!important;z-index:4;pointer-events:none}"
    ".map-card.tl{left:46px;top:6px}.map-card.tr{right:6px;top:6px}"
    ".map-card.bl{left:6px;bottom:28px}.map-card.br{right:6px;bottom:6px}"
    "@media (max-width:760px){.map-card{display:none!important}"
    ".map-tools{right:6px}}"
)
CARD_CSS = (
    ":host{font:400 12px/1.32 var(--vt-font);color:var(--vt-ink)}"
    ".hov{background:var(--vt-surface);border:1px solid var(--vt-line-strong);border-radius:6px;"
    "box-shadow:0 3px 12px #0003;padding:6px 9px 6px 6px;display:flex;gap:8px;"
    "align-items:center;white-space:nowrap;max-width:260px;overflow:hidden}"
    "img{width:52px;height:52px;border-radius:2px;image-rendering:pixelated;object-fit:cover}"
    ".id{font:600 12px var(--vt-mono)}.bad{color:var(--vt-wrong);font-weight:600}"
    ".more{color:var(--vt-ink-2)}"
    "@media (max-width:1599px){img{width:40px;height:40px}.hov{padding:4px 8px 4px 4px}}"
)
PEEK_CSS = (
    ":host{display:none!important}"
    "@media (max-width:760px){:host{display:flex!important;flex:0 0 auto!important;"
    "align-items:center;border:1px solid var(--vt-line);border-radius:8px;padding:8px;"
    "color:var(--vt-ink)}}"
)
PEEK_CARD_CSS = (
    ":host{font:400 14px/1.35 var(--vt-font);color:var(--vt-ink)}"
    ".hov{display:flex;gap:12px;align-items:center}.id{font:600 13px var(--vt-mono)}"
    "img{width:72px;height:72px;border-radius:4px;image-rendering:pixelated;object-fit:cover}"
    ".bad{color:var(--vt-wrong);font-weight:600}"
)
TOOL_CSS = (
    ":host{gap:8px;align-items:center}"
    "@media (max-width:760px){:host{flex-wrap:wrap!important;min-height:0!important;gap:6px}}"
)
BODY_CSS = (
    ":host{min-height:0!important;padding:0 10px 8px;gap:8px;box-sizing:border-box}"
    "@media (max-width:1599px){:host{padding:0 8px 6px;gap:5px}}"
)


# Where there is little room, the rest of the name is left out.
_SHORT = {"true": "True"}


def card_html(runtime: Runtime, image_id: int, *, by: str = "") -> str:
    """Return the card of one image as HTML: thumbnail, id, classes and confidence.

    Parameters
    ----------
    runtime : Runtime
        Classes, confidences and thumbnails.
    image_id : int
        An image of the store.
    by : str
        Colouring whose value of the image is said too, where the card has it not already.

    Returns
    -------
    str
        Every name in it is escaped; empty when there is no such image.
    """
    table = runtime.images
    row = table.row(image_id)
    if row is None:
        return ""
    true = safe.label(runtime.class_name(int(table.true_class[row])), limit=28)
    predicted = safe.label(runtime.class_name(int(table.predicted_class[row])), limit=28)
    kind = ' class="bad"' if table.is_wrong[row] else ""
    value = map_measures.value_text(runtime, by, row) if by else ""
    more = f'<div class="more">{safe.label(value, limit=34)}</div>' if value else ""
    return (
        f'<div class="hov"><img src="{runtime.thumbnail_url(image_id)}" alt="">'
        f'<div><div class="id">image {image_id:,}</div><div>true {true}</div>'
        f"<div{kind}>predicted {predicted} {table.confidence[row]:.2f}</div>{more}</div></div>"
    )


def colour_options(runtime: Runtime) -> list[dict[str, str]]:
    """Return what the points may be coloured by, for ``ColourChoice``."""
    options = []
    for one in map_measures.colourings(runtime).values():
        is_flip = one.group == "Smallest flip"
        options.append(
            {
                "value": one.key,
                "label": one.label,
                "short": _SHORT.get(one.key, f"Flip: {one.label}" if is_flip else one.label),
                "long": " class" if one.key == "true" else "",
                "group": one.group,
                "reason": one.reason,
            }
        )
    return options


def picture_candidates(
    colours: MapColours, positions: NDArray[np.int64], *, dark: bool
) -> list[Candidate]:
    """Return the points that want a thumbnail: first the selected, the wrong and the least sure.

    Parameters
    ----------
    colours : MapColours
        What the session sees.
    positions : ndarray of int64
        Points in view.
    dark : bool
        Theme.

    Returns
    -------
    list of Candidate
        One for each position.
    """
    index, table = colours.index, colours.runtime.images
    rows = colours.rows_of(positions)
    palette = colours.palette(dark=dark)[colours.codes(colours.by)[positions]]
    dimmed = np.zeros(len(rows), bool) if colours.chosen is None else ~colours.chosen[positions]
    order = np.lexsort((table.confidence[rows], ~table.is_wrong[rows], dimmed))
    shades = np.round(palette * 255).astype(int)
    return [
        Candidate(
            image_id=int(index.ids[positions[at]]),
            x=float(index.x[positions[at]]),
            y=float(index.y[positions[at]]),
            colour="#" + "".join(f"{channel:02x}" for channel in shades[at].tolist()),
            is_wrong=bool(table.is_wrong[rows[at]]),
            is_dimmed=bool(dimmed[at]),
        )
        for at in order
    ]


def why_no_map(runtime: Runtime) -> pn.pane.HTML | None:
    """Return what stands in place of the map of a store that has none, or None."""
    command = f"doit embed:{runtime.name}"
    if not runtime.projections and (count := len(runtime.images.ids)) < FEWEST_ON_A_MAP:
        return shell.message(
            "There is no map of this store",
            f"A map needs at least {FEWEST_ON_A_MAP} images, and this store holds {count}.",
        )
    if not runtime.projections:
        return shell.message(
            "There is no map of this store yet",
            "The stage that lays out the embedding has not run.",
            command=command,
        )
    stale = runtime.store.stale_tables().get("projections")
    if stale is not None:
        return shell.message("The map of this store is out of date", stale, command=command)
    return None


def why_empty(colours: MapColours, split: str) -> tuple[str, str]:
    """Return why the map shows no image at all, and what helps; two empty texts where it does."""
    if not colours.shown.any():
        where = f"the split {safe.plain(split, limit=30)}" if split else "this store"
        return (
            f"No image of {where} is on this map",
            "It has no place in this projection, or no finite prediction.",
        )
    if not colours.visible.any():
        return "Everything is hidden", "The legend hides every image of this split."
    return "", ""


def figure_label(colours: MapColours, state: SessionState, drawn: str, hidden: str) -> str:
    """Return the name of the figure with its n, for who cannot see it; plain text."""
    by = map_measures.colourings(colours.runtime)[colours.by]
    what = f"{by.group.lower()}, {by.label}" if by.group == "Smallest flip" else by.label.lower()
    parts = [
        f"Map, {projection_name(state.projection)}, coloured by {what}",
        f"{drawn}",
        hidden,
        "" if state.selection.is_all else f"{len(state.selection):,} selected",
        "Arrows pan, plus and minus zoom, 0 shows all",
    ]
    return ". ".join(part for part in parts if part)


def moved(view: Viewport, action: str, step: float) -> Viewport:
    """Return what is seen after a key: ``in`` and ``out`` zoom by ``step``, the others pan."""
    (x0, x1), (y0, y1) = view.x_range, view.y_range
    scale = {"in": 1 / step, "out": step}.get(action, 1.0)
    right = {"left": -0.25, "right": 0.25}.get(action, 0.0) * (x1 - x0)
    up = {"down": -0.25, "up": 0.25}.get(action, 0.0) * (y1 - y0)
    x, y = (x0 + x1) / 2 + right, (y0 + y1) / 2 + up
    half_x, half_y = scale * (x1 - x0) / 2, scale * (y1 - y0) / 2
    try:
        return Viewport(
            (x - half_x, x + half_x), (y - half_y, y + half_y), view.width, view.height
        )
    except ValueError:
        # Closer than numbers can tell apart, or farther than there are any.
        return view


def region_of(geometry: dict[str, Any]) -> tuple[str, tuple[tuple[float, float], ...]] | None:
    """Return what was drawn, ``"lasso"`` or ``"box"``, and its corners; None for no region.

    Parameters
    ----------
    geometry : dict
        As the browser sends it; not trusted.

    Returns
    -------
    tuple of (str, tuple), or None
        A box has four corners, the least first.
    """
    if geometry.get("type") == "poly":
        vertices = safe.polygon(geometry.get("x"), geometry.get("y"))
        return None if vertices is None else ("lasso", vertices)
    ends = [geometry.get(name) for name in ("x0", "x1", "y0", "y1")]
    if geometry.get("type") != "rect" or not all(is_number(end) for end in ends):
        return None
    (x0, x1), (y0, y1) = sorted(map(float, ends[:2])), sorted(map(float, ends[2:]))  # type: ignore[arg-type]
    return "box", ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def is_number(value: object) -> bool:
    """Whether a value that the browser sent is a finite number."""
    return isinstance(value, (int, float, np.number)) and bool(np.isfinite(value))


def first_projection(names: tuple[str, ...]) -> str:
    """Return the projection that is shown first: t-SNE, a map is read for its neighbourhoods."""
    return "tsne" if "tsne" in names else names[0]


def projection_name(name: str) -> str:
    """Return what the page calls a projection."""
    return {"tsne": "t-SNE", "umap": "UMAP", "pca": "PCA"}.get(name, name)
