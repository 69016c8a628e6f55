"""What ends with a session, so that a closed page leaves nothing in the process.

Panel and HoloViews keep registries of the whole process, and timers outlive the page that set
them. Whatever we hand to one of them must not hold a view: through it, the registry would keep the
page, its state and its document.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import panel as pn
from bokeh.models import CustomJS
from panel.io.location import Location
from panel.util.parameters import edit_readonly

if TYPE_CHECKING:
    from collections.abc import Callable

    from panel_material_ui.template import Page


def is_served() -> bool:
    """Whether a page of a server is being put together, rather than one in a notebook or test."""
    document = pn.state.curdoc
    return document is not None and document.session_context is not None


class Address(Location):
    """Address of a page whose parts nobody reads: ``app.address`` does that, from the request.

    Panel reads them all for parameters in step with them, of which there are none here, and one
    that it cannot read, a number of thousands of digits, would leave half a page.
    """

    def _update_synced(self, *_: Any) -> None:
        """Leave the parts alone."""


def address() -> Address:
    """Return the address of the page that is being put together."""
    context: Any = pn.state.curdoc.session_context if pn.state.curdoc is not None else None
    return Address() if context is None else Address.from_request(context.request)


def on_closed(act: Callable[[], None]) -> None:
    """Act when the session of the page that is being put together has ended.

    Parameters
    ----------
    act : callable
        Without arguments. Models of the page are gone by then; outside a server it never runs.
    """
    if is_served():
        pn.state.on_session_destroyed(lambda _: act())


_LOST = """
if (document.querySelector(".vt-lost")) return
const bar = document.createElement("div")
bar.className = "vt-lost"
bar.setAttribute("role", "alert")
bar.style.cssText = "position:fixed;left:0;right:0;bottom:0;z-index:9999;display:flex;gap:12px;" +
  "align-items:center;padding:10px 16px;background:#8a1c1c;color:#fff;font:14px/1.4 sans-serif"
const words = document.createElement("span")
words.textContent = "The connection to the server is lost: this page no longer changes. " +
  "The address keeps the case."
const again = document.createElement("button")
again.type = "button"
again.textContent = "Reload"
again.style.cssText = "font:inherit;min-height:32px;padding:0 14px;border:1px solid #fff;" +
  "border-radius:4px;background:transparent;color:#fff;cursor:pointer"
again.addEventListener("click", () => location.reload())
bar.append(words, again)
document.body.append(bar)
"""


def say_when_lost() -> None:
    """Let the page that is being put together say that its server is gone, and how to go on."""
    document = pn.state.curdoc
    if document is not None and is_served():
        document.js_on_event("connection_lost", CustomJS(code=_LOST))
        back = 'document.querySelector(".vt-lost")?.remove()'
        document.js_on_event("client_reconnected", CustomJS(code=back))


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
