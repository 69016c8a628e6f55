"""Measures beside the simulation's curves: ranking, calibration, consistency, flips, images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import param

from app.components.assets import script
from app.components.one_way import OneWay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HERE = Path(__file__).parent


class SimulationMeasures(OneWay):
    """Cards of tables and small charts; every name is set as text.

    Parameters
    ----------
    measures_data : dict
        By card, ``ranking``, ``calibration``, ``consistency``, ``flips`` and ``images``: what
        ``app.views.simulation_measures`` says. A card may hold ``message`` instead, in words.
    measures_now : float
        Magnitude of the current change; calibration is drawn at the nearest one of the grid.
    """

    measures_data = param.Dict(default={})
    measures_now = param.Number(default=None, allow_None=True)

    _esm = script("dom.js", "chart.js", "thumbs.js", "measures.js")
    _stylesheets: ClassVar[list[Any]] = [_HERE / "base.css", _HERE / "measures.css"]

    def __init__(
        self, on_message: Callable[[Mapping[str, Any]], None] | None = None, **params: Any
    ) -> None:
        self._on_message = on_message
        super().__init__(**params)

    def _handle_msg(self, msg: Any) -> None:
        if isinstance(msg, dict) and self._on_message:
            self._on_message(msg)
