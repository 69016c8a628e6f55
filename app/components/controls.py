"""Small controls that the views share: segmented choice, choice list, buttons of a view's head."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import param

from app import safe
from app.components.one_way import OneWay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_HERE = Path(__file__).parent


class Choice(OneWay):
    """One of a few options: a radio group drawn as a segmented control, or a native select.

    Parameters
    ----------
    choice_options : list of dict
        ``{"value", "label"}`` in order; labels are set as text, never as HTML.
    choice_value : str
        The chosen option.
    choice_label : str
        Accessible name of the group.
    choice_kind : str
        ``"segmented"``, ``"select"``, or ``"auto"``: segmented on a wide screen, else a select.
    """

    choice_options = param.List(default=[], item_type=dict)
    choice_value = param.String(default="")
    choice_label = param.String(default="")
    choice_kind = param.String(default="segmented", regex="^(segmented|select|auto)$")

    _esm = _HERE / "choice.js"
    _stylesheets: ClassVar[list[Any]] = [_HERE / "controls.css"]

    @classmethod
    def of(
        cls, options: Mapping[str, str], value: str, *, label: str, kind: str = "segmented"
    ) -> Choice:
        """Build from ``{value: label}``; labels may come from data."""
        listed = [{"value": key, "label": safe.plain(text)} for key, text in options.items()]
        return cls(
            choice_options=listed,
            choice_value=value,
            choice_label=label,
            choice_kind=kind,
            margin=0,
            align="center",
        )

    def _handle_msg(self, msg: Any) -> None:
        chosen = msg.get("value") if isinstance(msg, dict) else None
        # Compared, not hashed: it may be a list.
        if any(chosen == option["value"] for option in self.choice_options):
            self.choice_value = chosen


class ActionButtons(OneWay):
    """A row of buttons with icons or words; tells a callback which one was pressed.

    Parameters
    ----------
    action_items : list of dict
        ``{"id", "label", "icon" (optional), "text" (optional), "pressed" (optional), "help"
        (optional text of a popover), "disabled" (optional)}``.
    action_column : bool
        Whether the buttons stand below one another in a box (tools of the map).
    action_toolbar : str
        Prefix of the names of a Bokeh toolbar and its tools: a button ``NAME`` makes the tool
        ``PREFIX-NAME`` of ``PREFIX-toolbar`` answer the next drag, without asking the server.
    """

    action_items = param.List(default=[], item_type=dict)
    action_column = param.Boolean(default=False)
    action_toolbar = param.String(default="")

    _esm = _HERE / "actions.js"
    _stylesheets: ClassVar[list[Any]] = [_HERE / "controls.css"]

    def __init__(self, on_action: Callable[[str], None] | None = None, **params: Any) -> None:
        self._on_action = on_action
        super().__init__(**params)

    def press(self, name: str) -> None:
        """Show the button called ``name`` as the pressed one of the row."""
        self.action_items = [
            {**item, "pressed": item["id"] == name} if "pressed" in item else item
            for item in self.action_items
        ]

    def _handle_msg(self, msg: Any) -> None:
        name = str(msg.get("id")) if isinstance(msg, dict) else ""
        if self._on_action and name in {item["id"] for item in self.action_items}:
            self._on_action(name)


def view_buttons(
    *, info: str, on_action: Callable[[str], None], name: str, extra: Sequence[dict[str, Any]] = ()
) -> ActionButtons:
    """Return the buttons at the right of a view's head: what it shows, and maximise."""
    items: list[dict[str, Any]] = [*extra]
    if info:
        items.append({"id": "info", "label": f"What {name} shows", "icon": "info", "help": info})
    items.append({"id": "maximise", "label": f"Maximise {name}", "icon": "max"})
    return ActionButtons(on_action, action_items=items, margin=0, align="center")
