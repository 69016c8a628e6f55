"""The same points drawn by datashader's categorical path and as glyphs of Bokeh's WebGL."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import datashader as ds
import datashader.transfer_functions as tf
import numpy as np
import pandas as pd
from bokeh.core.types import ID
from bokeh.document import Document
from bokeh.models import ColumnDataSource
from bokeh.plotting import figure
from bokeh.protocol.messages.pull_doc_reply import pull_doc_reply

from app.picture import Marks, mark_radius, render
from app.theme import class_colours, rgb
from benchmarks._report import Row, interleave

if TYPE_CHECKING:
    from app.aggregate import PointIndex, Viewport
    from app.runtime import Runtime

MOST_BYTES = 4_000_000_000
"""Largest array of counts that is asked of datashader; a larger one is computed, not made."""


def peer_rows(runtime: Runtime, index: PointIndex, view: Viewport, *, quick: bool) -> list[Row]:
    """Compare the picture of all points with what two peers make of them.

    Parameters
    ----------
    runtime : Runtime
        Classes.
    index : PointIndex
        Points.
    view : Viewport
        The same for all.
    quick : bool
        Whether few rounds are enough.

    Returns
    -------
    list of Row
        Ratios above 1 mean that the peer takes more.
    """
    names = runtime.class_names
    classes = runtime.images.true_class[runtime.images.rows(index.ids)]
    colours = class_colours(names, dark=False)
    key = {number: colours[name] for number, name in enumerate(names)}
    palette = np.array([rgb(key[number]) for number in key], np.float32) / np.float32(255)
    codes = classes.astype(np.int16)
    marks = Marks(index.x, index.y, palette, radius=mark_radius(len(index)), codes=codes)
    frame = pd.DataFrame(
        {"x": index.x, "y": index.y, "c": pd.Categorical(classes, range(len(names)))}
    )
    canvas = ds.Canvas(view.width, view.height, x_range=view.x_range, y_range=view.y_range)
    # float64 while it is shaded, uint32 when it is counted.
    peer_bytes = view.width * view.height * len(names) * 4
    ours_bytes = view.width * view.height * (4 * 8 + 3 * 4 + 4 + 4)
    rows = [
        Row(
            name="count_cat_bytes_over_ours",
            value=peer_bytes / ours_bytes,
            unit="ratio",
            against=f"array of counts, {peer_bytes / 1e6:,.0f} MB; ours {ours_bytes / 1e6:,.0f}",
        )
    ]
    # Shading makes several float64 copies of the counts.
    if 4 * peer_bytes <= MOST_BYTES:
        seconds = interleave(
            {
                "ours": lambda: render([marks], view),
                "peer": lambda: tf.shade(
                    canvas.points(frame, "x", "y", ds.count_cat("c")), color_key=key
                ),
            },
            rounds=2 if quick else 5,
            clock=time.process_time,
        )
        ours, peer = (1_000 * float(np.median(seconds[name])) for name in ("ours", "peer"))
        rows.append(
            Row(
                name="count_cat_over_ours",
                value=peer / ours,
                unit="ratio of CPU",
                against=f"count_cat and tf.shade {peer:,.0f} ms; ours {ours:,.1f} ms",
                goal="> 1",
            )
        )
    else:
        count = interleave(
            {
                "ours": lambda: render([marks], view),
                "peer": lambda: canvas.points(frame, "x", "y", ds.count_cat("c")),
            },
            rounds=1,
            clock=time.process_time,
        )
        ours, peer = (1_000 * float(np.median(count[name])) for name in ("ours", "peer"))
        rows.append(
            Row(
                name="count_cat_over_ours",
                value=peer / ours,
                unit="ratio of CPU",
                against=f"count_cat alone {peer:,.0f} ms, shading it does not fit in "
                f"{MOST_BYTES / 1e9:g} GB; ours {ours:,.1f} ms",
                goal="> 1",
            )
        )
    return [*rows, *_glyphs(index, codes, palette, view)]


def _glyphs(
    index: PointIndex, codes: np.ndarray, palette: np.ndarray, view: Viewport
) -> list[Row]:
    """Count what Bokeh sends for WebGL glyphs, and the Python time; nothing is drawn."""
    started = time.process_time()
    packed = (palette * 255).astype(np.uint32)[codes]
    colour = packed[:, 0] << 24 | packed[:, 1] << 16 | packed[:, 2] << 8 | 255
    plot = figure(width=view.width, height=view.height, output_backend="webgl")
    source = ColumnDataSource({"x": index.x, "y": index.y, "colour": colour.astype(np.uint32)})
    plot.scatter("x", "y", source=source, size=1, line_color=None, fill_color="colour")
    document = Document()
    document.add_root(plot)
    reply = pull_doc_reply.create(ID("1"), document)
    sent = len(reply.content_json) + sum(len(part.to_bytes()) for part in reply.buffers)
    peer = time.process_time() - started
    ours = view.width * view.height * 4
    return [
        Row(
            name="webgl_bytes_over_ours",
            value=sent / ours,
            unit="ratio of bytes",
            against=f"x, y, colour once, {sent / 1e6:,.1f} MB; ours {ours / 1e6:,.1f} MB a zoom",
        ),
        Row(
            name="webgl_seconds",
            value=peer,
            unit="s CPU",
            against="Bokeh's Python side only: the browser's work is not measured here",
        ),
    ]
