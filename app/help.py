"""The help dialog: what the keys do."""

from __future__ import annotations

import panel as pn
from panel_material_ui.layout import Dialog

from app import safe
from app.components.keys import HELP


def help_dialog() -> Dialog:
    """Return the closed dialog; its parameter ``open`` shows it."""
    rows = "".join(
        f"<tr><td><kbd>{safe.label(key)}</kbd></td><td>{safe.label(text)}</td></tr>"
        for key, text in HELP
    )
    css = (
        ":host{color:var(--vt-ink);font:400 13.5px/1.5 var(--vt-font)}td{padding:3px 14px 3px 0}"
        "kbd{font:500 12px var(--vt-mono);border:1px solid var(--vt-line-strong);"
        "border-radius:4px;padding:1px 6px;background:var(--vt-well)}p{margin:0 0 10px}"
    )
    text = (
        "<p>A selection made in one view is seen in all of them. The focus is the one image under "
        "test.</p><table>" + rows + "</table>"
    )
    return Dialog(
        pn.pane.HTML(text, stylesheets=[css], margin=0, width=430),
        title="Help and keyboard",
        close_on_click=True,
        show_close_button=True,
    )
