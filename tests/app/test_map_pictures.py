"""Where thumbnails stand beside few points."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.aggregate import Viewport
from app.views import map_pictures
from app.views.map_pictures import Candidate, lay_out


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, map_pictures.MOST))
def test_no_thumbnail_lies_on_another_on_a_point_or_over_the_edge(seed, count):
    generator = np.random.default_rng(seed)
    places = generator.uniform(0, 1, (count, 2))
    port = Viewport((0.0, 1.0), (0.0, 1.0), 380, 320)
    candidates = [
        Candidate(
            image_id=at, x=float(x), y=float(y), colour="#000000", is_wrong=False,
            is_dimmed=False,
        )
        for at, (x, y) in enumerate(places)
    ]  # fmt: skip
    placed = lay_out(candidates, port)
    assert len({one.image_id for one, _, _ in placed}) == len(placed)
    half = map_pictures.SIDE / 2
    points = places * [380, 320]
    for at, (_, x, y) in enumerate(placed):
        assert half <= x <= 380 - half
        assert half <= y <= 320 - half
        assert (np.abs(points - [x, y]).max(axis=-1) > half).all()
        for _, other_x, other_y in placed[:at]:
            assert max(abs(other_x - x), abs(other_y - y)) >= map_pictures.SIDE
    if count == 1:
        assert len(placed) == 1
