"""Frame, head and states that every view of the page has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import panel as pn

from app import safe, theme
from app.components.controls import view_buttons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.state import SessionState

_HEAD_CSS = (
    ":host{display:flex;align-items:center;gap:8px;padding:0 6px 0 10px;box-sizing:border-box}"
    "@media (max-width:760px){:host{padding-left:4px}"
    # The path set is the switch of C; there is room for it where the question was.
    ":host(:not(.vt-head-c)) .vt-wide{display:none!important}}"
)

_TITLE_CSS = (
    ":host{display:flex;align-items:center;min-width:0!important;overflow:hidden;"
    "color:var(--vt-ink);font-family:var(--vt-font);container-type:inline-size}"
    "@container (max-width:190px){.q{display:none}}"
    ".t{display:flex;align-items:center;gap:8px;min-width:0;white-space:nowrap}"
    ".let{width:20px;height:20px;border-radius:4px;background:var(--vt-ink);"
    "color:var(--vt-surface);font-weight:700;font-size:12px;display:grid;place-items:center;"
    "flex:none}"
    "h2{margin:0;font-size:var(--vt-fs-title);font-weight:600;flex:none}"
    ".q{color:var(--vt-ink-2);font-size:var(--vt-fs-label);overflow:hidden;"
    "text-overflow:ellipsis;min-width:0}"
    "@media (max-width:760px){.let{display:none}}"
)

_STATE_CSS = (
    ":host{color:var(--vt-ink);font:400 13.5px/1.42 var(--vt-font)}"
    ".st{height:100%;display:grid;place-items:center;padding:14px;text-align:center;"
    "box-sizing:border-box}.st div{max-width:330px}.st b{font-weight:600}"
    ".st p{margin:4px 0 0;color:var(--vt-ink-2)}.st .ic{color:var(--vt-wrong);font-size:18px}"
    "code{font:12px var(--vt-mono);background:var(--vt-well);padding:1px 5px;border-radius:3px;"
    "color:var(--vt-ink)}"
    ".banner{display:flex;gap:10px;border-radius:6px;padding:7px 12px;font-size:13px;"
    "background:var(--vt-warn-soft);color:var(--vt-warn)}"
    ".banner code{background:none;color:inherit}.banner a{color:inherit}"
)

INFO = {
    "a": "Images that the network represents alike lie near each other. Distances between "
    "clusters and their sizes mean little.",
    "d": "Mean score over all images of one true class; band 95 %. Fill of turned corners: "
    "recorded with the change. Beside a name: the change at which the class falls below 0.8; low: "
    "it starts below. A point of a curve selects its images; maximise for what falls fastest, "
    "calibration and consistency. Says nothing of a single image.",
}
"""What a view shows and its limit, one sentence each."""


def view_frame(
    letter: str,
    title: str,
    question: str,
    body: Any,
    *,
    state: SessionState,
    tools: Sequence[Any] = (),
    info: str = "",
) -> pn.Column:
    """Return a view in its frame: a head with its name and question, and the body below.

    Parameters
    ----------
    letter : str
        ``"A"`` to ``"D"``; also the cell of the grid.
    title, question : str
        Noun that names the view and the question it answers. Our own words, not data.
    body : object
        What Panel can show; it should be ``sizing_mode="stretch_both"``.
    state : SessionState
        Told when the view is maximised.
    tools : sequence
        Panel objects between the question and the buttons; use ``align="center"``. A tool with
        the CSS class ``vt-wide`` is left out on a phone.
    info : str
        What the view shows and its limit, for the button beside maximise.

    Returns
    -------
    panel.Column
        Carries the CSS classes ``view`` and ``view-<letter>``.
    """
    key = letter.lower()

    def act(action: str) -> None:
        if action == "maximise":
            state.maximised = "" if state.maximised == key else key

    name = pn.pane.HTML(
        f'<div class="t"><span class="let" aria-hidden="true">{letter}</span>'
        f'<h2>{title}</h2><span class="q">{question}</span></div>',
        stylesheets=[_TITLE_CSS],
        margin=0,
        sizing_mode="stretch_width",
        align="center",
    )
    buttons = view_buttons(info=info, on_action=act, name=title)
    head = pn.Row(
        name,
        *tools,
        buttons,
        css_classes=["vt-head", f"vt-head-{key}"],
        stylesheets=[_HEAD_CSS],
        margin=0,
        sizing_mode="stretch_width",
    )
    return pn.Column(
        head,
        body,
        css_classes=["view", f"view-{key}"],
        stylesheets=[theme.VIEW_CSS],
        sizing_mode="stretch_both",
        margin=0,
    )


def message(
    headline: str, detail: str, *, command: str = "", is_error: bool = False
) -> pn.pane.HTML:
    """Return the empty or error state of a view: what was looked for, and what helps.

    Parameters
    ----------
    headline : str
        One sentence, plain text.
    detail : str
        Why, or what is accepted; plain text.
    command : str
        Command that helps, shown as code.
    is_error : bool
        Whether a warning sign stands above.

    Returns
    -------
    panel.pane.HTML
        Fills its place.
    """
    sign = '<div class="ic" aria-hidden="true">⚠</div>' if is_error else ""
    code = f"<p><code>{safe.label(command)}</code></p>" if command else ""
    role = "alert" if is_error else "status"
    return _state_pane(
        f'<div class="st" role="{role}"><div>{sign}<b>{safe.label(headline, limit=300)}</b>'
        f"<p>{safe.label(detail, limit=600)}</p>{code}</div></div>"
    )


def banner(headline: str, detail: str, *, command: str = "") -> pn.pane.HTML:
    """Return a warning line that stands above a view's content."""
    code = f" <code>{safe.label(command)}</code>" if command else ""
    pane = _state_pane(
        f'<div class="banner" role="status"><span aria-hidden="true">⚠</span>'
        f"<span><b>{safe.label(headline)}</b> {safe.label(detail, limit=300)}{code}</span></div>"
    )
    pane.sizing_mode = "stretch_width"
    return pane


def news(seen: int, newer: int) -> pn.pane.HTML:
    """Return the banner that says that the store has been written again."""
    pane = _state_pane(
        f'<div class="banner" role="status"><span aria-hidden="true">⚠</span><span>'
        f"<b>A newer generation ({int(newer)}) of this store exists.</b> You see {int(seen)}, "
        f'complete and unchanged. <a href="">Reload with {int(newer)}</a></span></div>'
    )
    pane.sizing_mode = "stretch_width"
    return pane


def _state_pane(html: str) -> pn.pane.HTML:
    return pn.pane.HTML(html, stylesheets=[_STATE_CSS], sizing_mode="stretch_both", margin=0)
