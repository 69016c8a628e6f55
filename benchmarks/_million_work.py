"""What the server does on a store of very many images: opening it, drawing, finding, cards."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.aggregate import home_view
from app.picture import Marks, mark_radius, render, warm_up
from app.runtime import Runtime, open_runtime
from app.thumbnails import mark_served_by_url
from app.views.map_parts import card_html
from benchmarks._million_peers import peer_rows
from benchmarks._report import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.aggregate import PointIndex, Viewport

SIZE = (800, 560)
"""Pixels of the map."""

REACH = 14
CORNERS = 60
CLOCK = time.process_time


def measure(folder: Path, *, quick: bool) -> list[Row]:
    """Measure one store; the rows' names end with its number of classes."""
    # What draws pages is imported after the store was opened: its memory is not the store's.
    warm_up()
    mark_served_by_url()
    rounds = 3 if quick else 9
    runtime, rows = opening(folder)
    index = runtime.point_index("tsne")
    view = home_view(index.bounds(), *SIZE)
    outlines = [outline(index, share * (1 / 6)) for share in (1.0, 0.99, 0.98, 0.97)]
    rows += bare(runtime, index, view, outlines, rounds)
    from benchmarks._million_page import page_rows

    rows += page_rows(runtime, view, outlines, rounds)
    rows += peer_rows(runtime, index, view, quick=quick)
    end = len(runtime.class_names)
    return [
        Row(
            name=f"{row.name}_{end}", value=row.value, unit=row.unit, against=row.against,
            goal=row.goal,
        )
        for row in rows
    ]  # fmt: skip


def opening(folder: Path) -> tuple[Runtime, list[Row]]:
    """Open a store as the first session does, up to the points of its first map."""
    memory, read, started = resident(), bytes_read(), CLOCK()
    runtime = open_runtime(folder)
    n = len(runtime.images.ids)
    runtime.point_index("tsne")
    seconds = CLOCK() - started
    grown, fetched = resident() - memory, bytes_read() - read
    pictures = runtime.store.entry("images").bytes
    against = f"{n:,} images: classes, confidences and one map read"
    return runtime, [
        Row(name="open_seconds", value=seconds, unit="s CPU", against=against),
        Row(name="open_megabytes", value=grown, unit="MB resident", against=against),
        Row(
            name="open_read_over_images",
            value=fetched / pictures,
            unit="ratio",
            against=f"bytes read over the {pictures / 1e6:,.0f} MB of the table of images",
            goal="< 0.5",
        ),
    ]


def bare(
    runtime: Runtime,
    index: PointIndex,
    view: Viewport,
    outlines: Sequence[Sequence[tuple[float, float]]],
    rounds: int,
) -> list[Row]:
    """Time the functions behind the page, without Panel, HoloViews and Bokeh."""
    table = runtime.images
    codes = table.true_class[table.rows(index.ids)]
    hues = np.random.default_rng(1).random((len(runtime.class_names), 3)).astype(np.float32)
    places = np.random.default_rng(0).integers(0, len(index), 500)

    def draw(_: int) -> None:
        (x0, x1), (y0, y1) = view.x_range, view.y_range
        inside = (index.x >= x0) & (index.x <= x1) & (index.y >= y0) & (index.y <= y1)
        radius = mark_radius(int(inside.sum()))
        marks = Marks(index.x[inside], index.y[inside], hues, radius, codes=codes[inside])
        render([marks], view)

    def tap(number: int) -> None:
        at = places[number % len(places)]
        found = index.nearest(
            float(index.x[at]), float(index.y[at]),
            reach_x=REACH * view.unit_x, reach_y=REACH * view.unit_y,
        )  # fmt: skip
        card_html(runtime, int(index.ids[found if found is not None else at]))

    def lasso(number: int) -> None:
        index.in_polygon(outlines[number % len(outlines)])

    def thumbnail(number: int) -> None:
        runtime.thumbnail(int(places[number]))

    count = len(index.in_polygon(outlines[0]))
    n = len(index)
    return [
        cpu_row(
            "picture_ms",
            cpu(draw, rounds),
            f"what is in view, and the picture of {n:,} points",
            "",
        ),
        cpu_row("tap_ms", cpu(tap, 10 * rounds), "nearest point, and its card as HTML", "<= 10"),
        cpu_row(
            "lasso_find_ms", cpu(lasso, rounds), f"{count:,} of {n:,} points by outline", "<= 50"
        ),
        cpu_row(
            "thumbnail_ms", cpu(thumbnail, rounds), "one picture that was not shown before", ""
        ),
    ]


def outline(index: PointIndex, share: float) -> list[tuple[float, float]]:
    """Return corners of a wavy outline that holds a share of all points."""
    x, y = float(np.median(index.x)), float(np.median(index.y))
    radius = float(np.quantile(np.hypot(index.x - x, index.y - y), share))
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    reach = radius * (1 + 0.05 * np.sin(7 * angles))
    across, up = x + reach * np.cos(angles), y + reach * np.sin(angles)
    return list(zip(across.tolist(), up.tolist(), strict=True))


def cpu(act: Callable[[int], object], rounds: int) -> float:
    """Return the median processor time in milliseconds, after one round unmeasured."""
    seconds = []
    for number in range(rounds + 1):
        started = CLOCK()
        act(number)
        seconds.append(CLOCK() - started)
    return 1_000 * float(np.median(seconds[1:]))


def resident(process: int | str = "self") -> float:
    """Return the resident memory of a process in MB."""
    with Path(f"/proc/{process}/statm").open() as file:
        return int(file.read().split()[1]) * 4_096 / 1e6


def bytes_read() -> int:
    """Return the bytes that this process has asked the system to read."""
    with Path("/proc/self/io").open() as file:
        return int(file.readline().split()[1])


def cpu_row(name: str, value: float, against: str, goal: str) -> Row:
    return Row(name=name, value=value, unit="ms CPU", against=against, goal=goal)
