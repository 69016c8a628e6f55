"""Linking is by id: whatever is done in whatever order, every view shows exactly those images.

The page's own objects are driven by the messages that a browser sends, without a browser. What
must be shown is worked out beside them, with sets and loops over plain rows of the store.
"""

from __future__ import annotations

import csv
import inspect
import io
import re
from functools import partial

import numpy as np
import panel as pn
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from app import export, thumbnails
from app.dashboard import Dashboard
from app.runtime import Runtime
from app.views.pattern_list import Question
from feature_store import StoreError, queries
from tests.app.linking_model import Expected, Tables, is_inside
from tests.app.loops import run

MODIFIERS = ("", "", "shift", "alt")
HOW = {"": "", "shift": "add", "alt": "subtract"}
MOST_CARDS = 8
ROTATIONS = (-90.0, 0.0, 45.0, 90.0)
LOW, HIGH = (0.0, 0.25, 0.5), (0.5, 0.75, 1.0)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Leave coroutines undone, and let pictures be asked for by address."""

    def execute(callback, schedule="auto"):
        inner = callback.func if isinstance(callback, partial) else callback
        if not inspect.iscoroutinefunction(inner):
            callback()

    monkeypatch.setattr(pn.state, "execute", execute)
    monkeypatch.setattr(thumbnails, "served_by_url", lambda: True)


@pytest.fixture(scope="module")
def runtime(digits_store):
    return Runtime(digits_store)


@pytest.fixture(scope="module")
def rows(digits_store):
    """Return (split, true, predicted, confidence) of every image by id."""
    found = digits_store.sql(
        "SELECT image_id, split, true_class, predicted_class, confidence FROM images "
        "JOIN predictions USING (image_id)"
    ).fetchall()
    return {row[0]: row[1:] for row in found}


@pytest.fixture(scope="module")
def places(digits_store):
    """Return the place of every image by projection and id."""
    found = {}
    for name, image_id, x, y in digits_store.sql(
        "SELECT projection, image_id, x, y FROM projections"
    ).fetchall():
        found.setdefault(name, {})[image_id] = (x, y)
    return found


@pytest.fixture(scope="module")
def swept(digits_store):
    """Return the predictions under a rotation of every swept image, by id and magnitude."""
    found = digits_store.sql(
        "SELECT image_id, magnitude, predicted_class FROM sweeps WHERE perturbation = 'rotation'"
    ).fetchall()
    return {(image_id, magnitude): predicted for image_id, magnitude, predicted in found}


@pytest.fixture(scope="module")
def percentiles(digits_store):
    """Return, by id, where each filter of an image lies among all images, of 255 steps."""
    parts = []
    for row in queries.layers(digits_store):
        table = digits_store.arrow(
            f"SELECT * FROM activations__max__{row.layer_index:03d} ORDER BY image_id"
        ).to_pandas()
        values = table.drop(columns="image_id").to_numpy(np.float64)
        steps = -(-np.arange(1, 256) * len(values) // 255) - 1
        limits = np.sort(values, axis=0)[steps]
        below = [np.searchsorted(limits[:, at], values[:, at]) for at in range(values.shape[1])]
        parts.append(np.stack(below, axis=1))
    return dict(zip(table["image_id"].tolist(), np.concatenate(parts, axis=1), strict=True))


@pytest.fixture(scope="module")
def tables(rows, places, swept, percentiles):
    return Tables(rows=rows, places=places, swept=swept, percentiles=percentiles)


class Page:
    """One page and what is expected of it, driven step by step."""

    def __init__(self, runtime, tables):
        self.runtime, self.tables, self.rows = runtime, tables, tables.rows
        self.dashboard = Dashboard(runtime, stores=["digits"], name="digits", query={})
        self.state = self.dashboard.state
        self.map = self.dashboard.views[0]
        self.places = tables.places[self.state.projection]
        self.state.maximised = "a"
        self.state.simulation_perturbation = "rotation"
        self.expected = Expected(tables.rows, self.state.split)

    # -- what people do ------------------------------------------------------------------

    def do(self, name, *arguments):
        getattr(self, f"do_{name}")(*arguments)

    def do_lasso(self, shares, modifier):
        xs, ys = zip(*self.places.values(), strict=True)
        corners = [
            (min(xs) + u * (max(xs) - min(xs)), min(ys) + v * (max(ys) - min(ys)))
            for u, v in shares
        ]
        geometry = {"type": "poly", "x": [x for x, _ in corners], "y": [y for _, y in corners]}
        self.draw(geometry, lambda x, y: is_inside(x, y, corners), modifier)

    def do_box(self, shares, modifier):
        xs, ys = zip(*self.places.values(), strict=True)
        (u0, v0), (u1, v1) = shares[:2]
        x0, x1 = (min(xs) + u * (max(xs) - min(xs)) for u in sorted((u0, u1)))
        y0, y1 = (min(ys) + v * (max(ys) - min(ys)) for v in sorted((v0, v1)))
        geometry = {"type": "rect", "x0": x0, "x1": x1, "y0": y0, "y1": y1}
        self.draw(geometry, lambda x, y: x0 <= x <= x1 and y0 <= y <= y1, modifier)

    def draw(self, geometry, is_in, modifier):
        found = {i for i in self.expected.visible if is_in(*self.places[i])}
        self.dashboard._keys._handle_msg({"modifier": modifier})
        self.map.on_region(geometry)
        self.dashboard._keys._handle_msg({"modifier": ""})
        if found:
            self.expected.select(found, modifier)

    def do_toggle(self, index):
        self.map._hide(str(index))
        self.expected.hidden ^= {index}

    def do_pick(self, index):
        self.map._pick(str(index))
        self.expected.select(self.of(true=index))

    def do_cell(self, true, predicted, modifier):
        self.dashboard.beside.confusion._confusion._handle_msg(
            {"kind": "select", "true": true, "predicted": predicted, "how": HOW[modifier]}
        )
        if (true, predicted) != (None, None):
            self.expected.select(self.of(true, predicted), modifier)

    def of(self, true=None, predicted=None, low=0.0, high=1.0):
        return {
            i
            for i in self.expected.universe
            if true in {None, self.rows[i][1]}
            and predicted in {None, self.rows[i][2]}
            and low <= self.rows[i][3] <= high
        }

    def do_finder(self, true, low, high):
        finder = self.dashboard._finder
        finder.open = True
        finder._finder._handle_msg({"kind": "reset"})
        for name, value in (("true", true), ("low", low), ("high", high)):
            finder._finder._handle_msg({"kind": "set", "name": name, "value": value})
        # Bounds are compared with float32 scores, so are these.
        found = self.of(true=true, low=low, high=max(low, high))
        assert finder._finder.finder_found["n"] == f"{len(found):,}"
        finder._finder._handle_msg({"kind": "select"})
        finder.open = False
        if found:
            self.expected.select(found)

    def do_search(self, true, predicted):
        names = self.runtime.class_names
        self.dashboard._on_header("search", f"{names[true]} predicted {names[predicted]}")
        found = self.of(true, predicted)
        if found:
            self.expected.select(found)

    def do_curve(self, true, predicted, magnitude):
        view = self.dashboard.views[3]
        view._curves._handle_msg(
            {"point": {"class": true, "magnitude": magnitude, "as": predicted}}
        )
        found = {
            i
            for (i, at), seen in self.tables.swept.items()
            if at == magnitude
            and self.rows[i][1] == true
            and (seen != true if predicted is None else seen == predicted)
        }
        if found and not found & self.expected.universe:
            self.expected.step(ids=found, split="")
        elif found:
            self.expected.select(found)

    def do_invert(self):
        self.dashboard.bar._handle_msg({"act": "invert"})
        if self.expected.ids is not None:
            self.expected.step(ids=self.expected.universe - self.expected.ids)

    def do_clear(self):
        self.dashboard.bar._handle_msg({"act": "clear"})
        if self.expected.ids is not None:
            self.expected.step(ids=None)

    def do_undo(self):
        self.dashboard.bar._handle_msg({"act": "undo"})
        self.expected.travel(self.expected.past, self.expected.future)

    def do_redo(self):
        self.dashboard.bar._handle_msg({"act": "redo"})
        self.expected.travel(self.expected.future, self.expected.past)

    def do_split(self, split):
        self.dashboard._on_header("split", split)
        if split != self.expected.split:
            ids = self.expected.ids
            kept = ids and {i for i in ids if split in {"", self.rows[i][0]}}
            self.expected.step(ids=kept or None, split=split)

    def do_order(self, order):
        self.dashboard.bar._handle_msg({"order": order})
        assert self.state.order == order

    def do_page(self, page):
        self.dashboard.beside.gallery._gallery._handle_msg({"kind": "page", "value": page})

    def do_focus(self, share):
        ids = sorted(self.expected.universe)
        wanted = ids[int(share * (len(ids) - 1))]
        if wanted != self.state.focus:
            self.expected.step()
        self.dashboard.bar._handle_msg({"focus": wanted})
        assert self.state.focus == wanted

    # -- what every view must show -------------------------------------------------------

    def check(self):
        expected, state = self.expected, self.state
        ids = expected.ids
        assert state.split == expected.split
        assert (None if ids is None else sorted(ids)) == (
            None if state.selection.ids is None else state.selection.ids.tolist()
        )
        self.check_bar()
        self.check_gallery()
        self.check_confusion()
        self.check_map()

    def check_bar(self):
        bar, chosen = self.dashboard.bar, self.expected.chosen
        assert bar.bar_data["n"] == f"{len(chosen):,}"
        assert bar.bar_data["of"].startswith(f"of {len(self.expected.universe):,} ")
        assert sorted(bar._order.tolist()) == sorted(chosen)
        wrong = sum(self.rows[i][1] != self.rows[i][2] for i in chosen)
        assert re.search(r"([\d,]+) wrong", bar.bar_data["share"])[1] == f"{wrong:,}"
        for picture in bar.bar_film:
            assert picture["id"] in chosen
            self.check_picture(picture)

    def check_gallery(self):
        view, chosen = self.dashboard.beside.gallery, self.expected.chosen
        assert sorted(view.ids.tolist()) == sorted(chosen)
        assert view._gallery.gallery_head["n"] == f"{len(chosen):,}"
        shown = view._gallery.gallery_items
        assert len(shown) == 0 if not chosen else 0 < len(shown) <= len(chosen)
        for item in shown:
            assert item["id"] in chosen
            assert item["is_wrong"] == (self.rows[item["id"]][1] != self.rows[item["id"]][2])
            self.check_picture(item)
        frame = view._gallery.gallery_focus
        assert frame == (-1 if self.state.focus is None else self.state.focus)

    def check_picture(self, item):
        assert item["url"] == f"thumb/{self.runtime.key}/{item['id']}.png"

    def check_confusion(self):
        shown = self.dashboard.beside.confusion._confusion.confusion_data
        assert shown["counts"] == self.count(self.expected.universe)
        ids = self.expected.ids
        assert shown["selected"] == ([] if ids is None else self.count(ids))

    def count(self, ids):
        counts = [[0] * 10 for _ in range(10)]
        for i in ids:
            counts[self.rows[i][1]][self.rows[i][2]] += 1
        return counts

    def check_map(self):
        colours, expected = self.map._colours, self.expected
        layers = colours.layers(colours.inside(self.map._view), dark=False)
        bright = {
            place
            for marks in layers
            if marks.opacity == 1.0
            for place in zip(marks.x.tolist(), marks.y.tolist(), strict=True)
        }
        assert bright == {self.places[i] for i in expected.chosen & expected.visible}
        drawn = sum(len(marks.x) for marks in layers)
        assert drawn == len(expected.visible), "the others are dimmed, not removed"
        counts = {item["key"]: item["count"] for item in self.map._legend.legend_data["items"]}
        for index in range(10):
            n = sum(self.rows[i][1] == index for i in expected.chosen)
            assert counts[str(index)] == f"{n:,}"

    def check_filters(self):
        """Compare the shades of the filters with the mean over the images of the selection."""
        ids = self.expected.ids
        if not ids:
            return
        plot = self.dashboard.views[2].plot
        self.state.set_focus(None)
        run(plot.shade(plot.subject))
        shown = np.frombuffer(plot.units.unit_shades, np.uint8)
        expected = np.mean([self.tables.percentiles[i] for i in sorted(ids)], axis=0)
        assert np.abs(shown - expected).max() <= 0.51
        assert f"{len(ids):,} selected" in plot.line.object

    def check_patterns(self):
        """Compare the counts on the cards with the members of the patterns."""
        ids = self.expected.ids
        if not ids:
            return
        question = Question.of(self.state, "distinctive", MOST_CARDS)
        cards = list(question.find(self.runtime.store))
        assert cards
        for card in cards:
            members = queries.pattern_members(
                self.runtime.store, self.state.path_set, card.key
            ).tolist()
            assert card.n_selected == len(ids & set(members))
            assert card.n_selection == len(ids)

    def check_export(self):
        """Take the selection along and read back which images it holds."""
        sent = []
        self.dashboard.bar._send_msg = sent.append
        self.dashboard.bar._handle_msg({"export": "csv"})
        if not self.expected.chosen:
            assert sent == []
            return
        token = sent[0]["download"]["url"].split("/")[1]
        content = b"".join(export.TICKETS.take(token).pieces()).decode("utf-8-sig")
        found = [int(row["image_id"]) for row in csv.DictReader(io.StringIO(content))]
        assert found == sorted(self.expected.chosen)


share = st.floats(0, 1, width=32)
corner = st.tuples(share, share)
kind = st.integers(0, 9)
maybe = st.none() | kind
held = st.sampled_from(MODIFIERS)
step = st.one_of(
    st.tuples(st.just("lasso"), st.lists(corner, min_size=3, max_size=9), held),
    st.tuples(st.just("box"), st.lists(corner, min_size=2, max_size=2), held),
    st.tuples(st.just("toggle"), kind),
    st.tuples(st.just("pick"), kind),
    st.tuples(st.just("cell"), maybe, maybe, held),
    st.tuples(st.just("finder"), maybe, st.sampled_from(LOW), st.sampled_from(HIGH)),
    st.tuples(st.just("search"), kind, kind),
    st.tuples(st.just("curve"), kind, maybe, st.sampled_from(ROTATIONS)),
    st.tuples(st.sampled_from(["invert", "clear", "undo", "undo", "redo"])),
    st.tuples(st.just("split"), st.sampled_from(["", "train", "test"])),
    st.tuples(st.just("order"), st.sampled_from(["confidence", "margin", "errors", "id"])),
    st.tuples(st.just("page"), st.integers(0, 3)),
    st.tuples(st.just("focus"), share),
)


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    # Not shrunk: a page takes seconds, and the steps that failed tell enough.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(step, min_size=4, max_size=14))
def test_every_view_shows_exactly_the_selected_images(runtime, tables, steps):
    page = Page(runtime, tables)
    page.check()
    for name, *arguments in steps:
        page.do(name, *arguments)
        event(name)
        page.check()
    page.check_patterns()
    page.check_export()
    page.check_filters()


def test_the_address_of_a_picture_gives_that_picture(runtime, digits_store):
    stored = digits_store.sql("SELECT image_id, encoded FROM images").fetchall()
    for image_id, encoded in stored[::37]:
        # The demo's images are so small that they are their own thumbnails.
        assert runtime.thumbnail(image_id) == (encoded, "image/png")


@pytest.mark.parametrize("in_background", [False, True])
def test_pictures_that_are_read_together_are_those_of_their_ids(
    digits_store, monkeypatch, in_background
):
    other = Runtime(digits_store)
    ids = other.images.ids[5::31]
    stored = {i: queries.image_bytes(digits_store, i) for i in ids.tolist()}

    def refuse(*_):
        msg = "read one by one"
        raise AssertionError(msg)

    monkeypatch.setattr(queries, "image_bytes", refuse)
    other.fill_thumbnails(ids[::-1], in_background=in_background)
    for image_id, encoded in stored.items():
        # Who asks while they are read waits for them.
        assert other.thumbnail(image_id) == (encoded, "image/png")


def test_a_reading_that_fails_leaves_each_picture_to_itself(digits_store, monkeypatch):
    other = Runtime(digits_store)
    failed = []

    def fail(*_):
        failed.append(True)
        msg = "damaged"
        raise StoreError(msg)

    monkeypatch.setattr(queries, "encoded_images", fail)
    other.fill_thumbnails(other.images.ids[:9], in_background=False)
    assert failed == [True]
    assert other._filling == {}
    assert other.thumbnail(3) == (queries.image_bytes(digits_store, 3), "image/png")


def test_the_check_notices_a_view_that_shows_other_images(runtime, tables):
    page = Page(runtime, tables)
    page.do("cell", 9, 3, "")
    page.check()
    gallery = page.dashboard.beside.gallery
    gallery._rows = gallery._rows + 1
    with pytest.raises(AssertionError):
        page.check_gallery()
    colours = page.map._colours
    colours.chosen = ~colours.chosen
    with pytest.raises(AssertionError):
        page.check_map()
