"""Curves of the simulation view: an overview of all classes and one small panel for each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import param

from app import safe
from app.components.assets import script
from app.components.one_way import OneWay

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = Path(__file__).parent

MOST_TYPED = 100
"""Characters of a search that are looked at."""


class SimulationCurves(OneWay):
    """Draws curves as SVG; follows the theme by style variables, so a toggle sends nothing.

    Parameters
    ----------
    curves_data : dict
        ``x`` magnitudes, ``ticks`` [[value, text]], ``identity``, ``title``, ``subtitle``,
        ``overview`` [{id, name, colour, n, y, lo, hi}], ``panels`` [the same and note, short,
        long, lines [{id, name, colour, y, dash}]], ``together`` {name, colour, y, lo, hi, ns} of
        all images with their number at each magnitude, ``measure``, ``can_search``, ``label``
        for screen readers. Names are set as text. Values lie in [0, 1]; null is a gap.
    curves_now : float
        Magnitude of the current change, where the blue line stands; None draws none.
    curves_framed : int
        Class whose panel is framed; None frames none.
    curves_found : list of str
        Class names that begin as what was typed into the search; plain text.
    curves_said : str
        What came of the last choice of a point, where it selected nothing.
    """

    curves_data = param.Dict(default={})
    curves_now = param.Number(default=None, allow_None=True)
    curves_framed = param.Integer(default=None, allow_None=True)
    curves_found = param.List(default=[], item_type=str)
    curves_said = param.String(default="")

    _esm = script("chart.js", "curves.js")
    _stylesheets: ClassVar[list[Any]] = [_HERE / "curves.css"]

    def __init__(
        self,
        on_class: Callable[[int], None] | None = None,
        on_magnitude: Callable[[float], None] | None = None,
        on_point: Callable[[int, float, int | None], None] | None = None,
        on_find: Callable[[str, bool], None] | None = None,
        **params: Any,
    ) -> None:
        self._on_class = on_class
        self._on_magnitude = on_magnitude
        self._on_point = on_point
        self._on_find = on_find
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
        self._handle_point(msg.get("point"), float(xs[0]), float(xs[-1]))
        for key in ("find", "show"):
            text = msg.get(key)
            if isinstance(text, str) and self._on_find:
                self._on_find(text[:MOST_TYPED], key == "show")

    def _handle_point(self, point: Any, low: float, high: float) -> None:
        """Tell of a chosen point of a line, if what was sent is one."""
        if not isinstance(point, dict) or not self._on_point:
            return
        index = safe.integer(point.get("class"), 0, 2**15 - 1)
        magnitude = safe.number(point.get("magnitude"), low, high)
        other = point.get("as")
        predicted = safe.integer(other, 0, 2**15 - 1)
        if index is None or magnitude is None or (other is not None and predicted is None):
            return
        self._on_point(index, magnitude, predicted)
