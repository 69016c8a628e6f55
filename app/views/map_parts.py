"""Tools and style sheets of the map's parts, and the card that says what a point is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app import safe

if TYPE_CHECKING:
    from app.runtime import Runtime

TOOLS = (
    ("lasso", "Lasso: draw round points (Shift adds, Alt takes away)"),
    ("box", "Box: drag over points (Shift adds, Alt takes away)"),
    ("pan", "Pan"),
    ("home", "Show all"),
)
"""Tools of the map: name, which is also that of the icon, and what it does."""

BOX_CSS = (
    ":host{position:relative;min-height:0!important;background:var(--vt-plot);"
    "border-radius:4px;overflow:hidden}"
    ".map-tools{position:absolute!important;left:6px;top:6px;z-index:3}"
    ".map-n{position:absolute!important;left:8px;bottom:6px;z-index:2;pointer-events:none}"
    ".map-card{position:absolute!important;z-index:4;pointer-events:none}"
    ".map-card.tl{left:46px;top:6px}.map-card.tr{right:6px;top:6px}"
    ".map-card.bl{left:6px;bottom:28px}.map-card.br{right:6px;bottom:6px}"
    "@media (max-width:760px){.map-card{display:none!important}}"
)
N_CSS = (
    ":host{font:400 12px/1.4 var(--vt-font);color:var(--vt-ink-2)}"
    "span{background:var(--vt-plot);padding:0 4px;border-radius:3px}"
)
CARD_CSS = (
    ":host{font:400 12px/1.32 var(--vt-font);color:var(--vt-ink)}"
    ".hov{background:var(--vt-surface);border:1px solid var(--vt-line-strong);border-radius:6px;"
    "box-shadow:0 3px 12px #0003;padding:6px 9px 6px 6px;display:flex;gap:8px;"
    "align-items:center;white-space:nowrap;max-width:260px;overflow:hidden}"
    "img{width:52px;height:52px;border-radius:2px;image-rendering:pixelated;object-fit:cover}"
    ".id{font:600 12px var(--vt-mono)}.bad{color:var(--vt-wrong);font-weight:600}"
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
TOOL_CSS = ":host{gap:8px;align-items:center}"
BODY_CSS = (
    ":host{min-height:0!important;padding:0 10px 8px;gap:8px;box-sizing:border-box}"
    "@media (max-width:1599px){:host{padding:0 8px 6px;gap:5px}}"
)


def card_html(runtime: Runtime, image_id: int) -> str:
    """Return the card of one image as HTML: thumbnail, id, classes and confidence.

    Parameters
    ----------
    runtime : Runtime
        Classes, confidences and thumbnails.
    image_id : int
        An image of the store.

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
    return (
        f'<div class="hov"><img src="{runtime.thumbnail_url(image_id)}" alt="">'
        f'<div><div class="id">image {image_id:,}</div><div>true {true}</div>'
        f"<div{kind}>predicted {predicted} {table.confidence[row]:.2f}</div></div></div>"
    )
