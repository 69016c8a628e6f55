"""What ends with a session, so that a closed page leaves nothing in the process.

Panel and HoloViews keep registries of the whole process, and timers outlive the page that set
them. Whatever we hand to one of them must not hold a view: through it, the registry would keep the
page, its state and its document.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import panel as pn
from panel.util.parameters import edit_readonly

if TYPE_CHECKING:
    from collections.abc import Callable

    from panel_material_ui.template import Page


def is_served() -> bool:
    """Whether a page of a server is being put together, rather than one in a notebook or test."""
    document = pn.state.curdoc
    return document is not None and document.session_context is not None


def on_closed(act: Callable[[], None]) -> None:
    """Act when the session of the page that is being put together has ended.

    Parameters
    ----------
    act : callable
        Without arguments. Models of the page are gone by then; outside a server it never runs.
    """
    if is_served():
        pn.state.on_session_destroyed(lambda _: act())


def weakly(method: Callable[..., None]) -> Callable[..., None]:
    """Return a function that calls a bound method while its object lives, and keeps it not alive.

    Parameters
    ----------
    method : bound method
        What a registry or a timer of the process shall call.

    Returns
    -------
    callable
        Takes what ``method`` takes; does nothing when the object is gone.
    """
    reference = weakref.WeakMethod(method)

    def call(*arguments: Any) -> None:
        alive = reference()
        if alive is not None:
            alive(*arguments)

    return call


def without_busy(page: Page) -> Page:
    """Return the page cut off from the busy state of the process, which would keep it for ever.

    Parameters
    ----------
    page : panel_material_ui.Page
        One that shows no busy indicator.

    Returns
    -------
    panel_material_ui.Page
        The same.
    """
    with edit_readonly(page):
        # A plain value would leave the watcher where it is; another reference takes it along.
        page.busy = page.param.loading
    return page
