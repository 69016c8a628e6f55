"""Curves of the simulation view: an overview of all classes and one small panel for each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import param
from panel.custom import JSComponent

from app import safe
from app.components.assets import script

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = Path(__file__).parent


class SimulationCurves(JSComponent):
    """Draws curves as SVG; follows the theme by style variables, so a toggle sends nothing.

    Parameters
    ----------
    curves_data : dict
        ``x`` magnitudes, ``ticks`` [[value, text]], ``identity``, ``title``, ``subtitle``,
        ``overview`` [{id, name, colour, y, lo, hi}], ``panels`` [{id, name, colour, note, short,
        lines [{name, colour, y, dash}], y, lo, hi}], ``label`` for screen readers. Names are set
        as text. Values lie in [0, 1]; null is a gap.
    curves_now : float
        Magnitude of the current change, where the blue line stands; None draws none.
    curves_framed : int
        Class whose panel is framed; None frames none.
    """

    curves_data = param.Dict(default={})
    curves_now = param.Number(default=None, allow_None=True)
    curves_framed = param.Integer(default=None, allow_None=True)

    _esm = script("chart.js", "curves.js")
    _stylesheets: ClassVar[list[Any]] = [_HERE / "curves.css"]

    def __init__(
        self,
        on_class: Callable[[int], None] | None = None,
        on_magnitude: Callable[[float], None] | None = None,
        **params: Any,
    ) -> None:
        self._on_class = on_class
        self._on_magnitude = on_magnitude
        super().__init__(**params)

    def _handle_msg(self, msg: Any) -> None:
        if not isinstance(msg, dict):
            return
        index = safe.integer(msg.get("class"), 0, 2**15 - 1)
        if index is not None and self._on_class:
            self._on_class(index)
        xs = self.curves_data.get("x") or [0.0]
        magnitude = safe.number(msg.get("now"), float(xs[0]), float(xs[-1]))
        if magnitude is not None and self._on_magnitude:
            self._on_magnitude(magnitude)
