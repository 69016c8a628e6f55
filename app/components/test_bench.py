"""The browser side of the test view: verdict, pictures, evidence, controls and scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import param

from app.components.assets import script, sheet
from app.components.one_way import OneWay

Handler = Callable[[Mapping[str, Any]], None]


class TestBench(OneWay):
    """Draws what the network says of an image and its changed copy, and sends what is operated.

    Every name in the dictionaries is set as text. Messages go to ``on_message`` unchecked: they
    come from a browser.

    Parameters
    ----------
    bench_specs : list of dict
        Controls: name, label, help, low, identity, high, step, format, is_switch.
    bench_view : dict
        ``stage`` is ``"empty"`` (with headline, detail and cure), ``"loading"`` or ``"ready"``
        (with the figures of one answer).
    bench_images : bytes
        Original and changed image, uint8 RGB, row by row.
    bench_maps : bytes
        Both evidence maps, float32, little-endian, row by row.
    bench_evidence : dict
        ``stage`` is ``"pending"``, ``"failed"`` (with a message) or ``"ready"`` (with size, names
        and largest value of the maps, what may be chosen, and what is known of their trust).
    bench_curves : dict
        Response curves by perturbation.
    bench_held : list of dict
        Cases that are held side by side.
    bench_change : dict
        Magnitudes by name, boxes and fills: where the controls stand; ``seq`` is the number of
        the last message of the browser that this knows of.
    bench_ahead : int
        -1 when no answer is awaited, else how many requests are before ours.
    """

    __test__: ClassVar[bool] = False

    bench_specs = param.List(default=[], item_type=dict)
    bench_view = param.Dict(default={"stage": "loading"})
    bench_images = param.Bytes(default=b"")
    bench_maps = param.Bytes(default=b"")
    bench_evidence = param.Dict(default={"stage": "pending"})
    bench_curves = param.Dict(default={})
    bench_held = param.List(default=[], item_type=dict)
    bench_change = param.Dict(default={"magnitudes": {}, "boxes": [], "seq": 0})
    bench_ahead = param.Integer(default=-1)

    _esm = script(
        "dom.js", "chart.js", "test_pictures.js", "test_evidence.js", "test_controls.js",
        "test_curves.js", "test_bench.js",
    )  # fmt: skip
    _stylesheets: ClassVar[list[Any]] = [sheet("base.css", "test_bench.css")]

    def __init__(self, on_message: Handler | None = None, **params: Any) -> None:
        self._on_message = on_message
        super().__init__(**params)

    def _handle_msg(self, msg: Any) -> None:
        if self._on_message and isinstance(msg, dict):
            self._on_message(msg)
