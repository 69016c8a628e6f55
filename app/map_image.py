"""The picture of the map as an element of HoloViews whose bytes are drawn as they are.

HoloViews takes an RGB apart, looks for values that are not numbers, none of which a byte can be,
and scales: at 800 x 560 pixels 6 ms of a zoom.
"""

from __future__ import annotations

from typing import Any

import holoviews as hv
import numpy as np
from holoviews.plotting.bokeh.raster import RGBPlot


class MapImage(hv.RGB):  # type: ignore[misc]
    """RGBA of shape (height, width, 4), uint8; the first row is the top."""


class MapImagePlot(RGBPlot):  # type: ignore[misc]
    """Sends the bytes of a ``MapImage`` on, the last row first, as Bokeh draws them."""

    def get_data(
        self, element: MapImage, _: Any, style: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
        """Return the columns of the glyph, which columns it takes, and its style."""
        pixels = np.ascontiguousarray(element.data[::-1]).view(np.uint32)[..., 0]
        left, bottom, right, top = element.bounds.lbrt()
        data = {
            "image": [pixels], "x": [left], "y": [bottom], "dw": [right - left],
            "dh": [top - bottom],
        }  # fmt: skip
        return data, {name: name for name in data}, style


hv.extension("bokeh")
hv.Store.register({MapImage: MapImagePlot}, "bokeh")
