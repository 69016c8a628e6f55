"""What stands beside the maximised map: the confusion matrix and the gallery."""

from __future__ import annotations

from typing import TYPE_CHECKING

import panel as pn

from app.views.confusion import ConfusionView
from app.views.gallery import GalleryView

if TYPE_CHECKING:
    from app.runtime import Runtime
    from app.state import SessionState

_PANEL_CSS = (
    ":host{width:auto!important;height:auto!important;min-width:0!important;"
    "min-height:0!important;box-sizing:border-box;overflow:hidden;background:var(--vt-surface);"
    "border:1px solid var(--vt-line);border-radius:var(--vt-radius)}"
    "@media (max-width:760px){:host{border-width:1px 0 0;border-radius:0;overflow:visible}}"
)

GRID_CSS = (
    ".beside{display:none!important}"
    ":host(.max-a) .beside{display:flex!important}"
    ":host(.max-a) .beside-m{grid-area:m}:host(.max-a) .beside-g{grid-area:g}"
    "@media (min-width:761px){:host(.max-a){"
    "grid-template:minmax(0,1fr)/minmax(0,1fr) 420px 340px!important;"
    'grid-template-areas:"x m g"!important}}'
    "@media (min-width:761px) and (max-width:1150px){:host(.max-a){"
    "grid-template:minmax(0,1fr) minmax(0,1fr)/minmax(0,1fr) 400px!important;"
    'grid-template-areas:"x m" "g m"!important}}'
    "@media (min-width:1600px){:host(.max-a){"
    "grid-template-columns:minmax(0,1fr) 560px 480px!important}}"
    # On a phone the three lie below each other, and the page of the view scrolls; the head of the
    # matrix peeps out below the map.
    "@media (max-width:760px){:host(.max-a:not(.tab-a)) .beside{display:none!important}"
    ":host(.max-a.tab-a){overflow:hidden auto;"
    "grid-template:max(440px,calc(100% - 44px)) 840px 600px/minmax(0,1fr)!important;"
    'grid-template-areas:"x" "m" "g"!important}}'
)
"""Sheet of the grid of views, beside ``theme.GRID_CSS``."""


class Beside:
    """The two panels of one session.

    Parameters
    ----------
    runtime : Runtime
        Shared, read-only.
    state : SessionState
        Of this session.

    Attributes
    ----------
    panels : tuple of panel.Column
        Children of the grid; shown only while the map is maximised.
    """

    def __init__(self, runtime: Runtime, state: SessionState) -> None:
        self.confusion = ConfusionView(runtime, state)
        self.gallery = GalleryView(runtime, state)
        self.panels = (_panel(self.confusion, "m"), _panel(self.gallery, "g"))


def _panel(view: pn.viewable.Viewer, area: str) -> pn.Column:
    return pn.Column(
        view,
        css_classes=["beside", f"beside-{area}"],
        stylesheets=[_PANEL_CSS],
        sizing_mode="stretch_both",
        margin=0,
    )
