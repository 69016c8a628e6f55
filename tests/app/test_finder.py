"""The finder and the order of the film strip without a browser, against loops over plain rows."""

import math
from pathlib import Path

import pyarrow as pa
import pytest

import app.components.finder as component
from app import orders
from app.components.selection_bar import SelectionBar
from app.runtime import Runtime
from app.state import SessionState
from app.views import finder_figures as figures
from app.views.finder import FinderDialog
from feature_store import Store, StoreWriter

PAYLOAD = '<img src=x onerror="x()">'


@pytest.fixture
def finder(runtime, state):
    """Return an open finder over the test images."""
    state.show_split("test")
    made = FinderDialog(runtime, state)
    made.open = True
    return made


@pytest.fixture(scope="module")
def rows(digits_store):
    """Return what is known of every image, as plain dictionaries by id."""
    found = digits_store.sql(
        "SELECT image_id, split, true_class, predicted_class, confidence, margin, is_correct "
        "FROM images JOIN predictions USING (image_id)"
    )
    names = found.columns
    return {row[0]: dict(zip(names, row, strict=True)) for row in found.fetchall()}


@pytest.fixture(scope="module")
def rotation(digits_store):
    """Return distance, magnitude and class of the nearer rotation flip by swept image."""
    found = {}
    for image, direction, magnitude, flipped in digits_store.sql(
        "SELECT image_id, direction, magnitude, flipped_class FROM smallest_flips "
        "WHERE perturbation = 'rotation'"
    ).fetchall():
        distance = math.inf if magnitude is None else abs(magnitude)
        candidate = (distance, direction, magnitude, flipped)
        found[image] = min(found.get(image, (math.inf, 9, None, None)), candidate)
    return found


@pytest.fixture(scope="module")
def unswept(digits_store, tmp_path_factory):
    """Return the runtime of a store without sweeps, one of whose classes has a nasty name."""
    folder = tmp_path_factory.mktemp("unswept") / "plain"
    with StoreWriter.open(folder) as writer, writer.begin("capture") as generation:
        for name in ("images", "predictions", "layers"):
            generation.write(name, digits_store.table(name).to_arrow_table())
        classes = digits_store.table("classes").order("class_index").to_arrow_table()
        names = [PAYLOAD, *classes["class_name"].to_pylist()[1:]]
        generation.write("classes", classes.set_column(1, "class_name", pa.array(names)))
    with Store.open(folder) as store:
        yield Runtime(store)


def put(finder, name, value):
    finder._finder._handle_msg({"kind": "set", "name": name, "value": value})


def found_ids(finder):
    return finder._runtime.images.ids[finder._rows].tolist()


def expected(rows, passes, key=lambda row: row["confidence"]):
    """Walk all test images: those that pass, by key, then by id."""
    kept = [row for row in rows.values() if row["split"] == "test" and passes(row)]
    return [row["image_id"] for row in sorted(kept, key=lambda row: (key(row), row["image_id"]))]


def test_a_closed_finder_computes_nothing_and_opens_with_all_that_is_shown(runtime, state, rows):
    state.show_split("test")
    closed = FinderDialog(runtime, state)
    assert closed._finder.finder_found == {}
    closed.open = True
    assert found_ids(closed) == expected(rows, lambda row: True)
    shown = closed._finder.finder_found
    assert f"{shown['n']} {shown['of']}" == "500 of 500 test images"
    assert shown["order"] == "least confident first"
    assert len(shown["items"]) == figures.PAGE
    assert not closed._finder.finder_form["can_reset"]


@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        ([("true", 3)], lambda r: r["true_class"] == 3),
        ([("predicted", 5)], lambda r: r["predicted_class"] == 5),
        ([("verdict", "wrong")], lambda r: not r["is_correct"]),
        ([("verdict", "right"), ("true", 0)], lambda r: r["is_correct"] and r["true_class"] == 0),
        ([("low", 0.4), ("high", 0.6)], lambda r: 0.4 <= r["confidence"] <= 0.6),
        (
            [("true", 8), ("verdict", "wrong"), ("high", 0.5)],
            lambda r: r["true_class"] == 8 and not r["is_correct"] and r["confidence"] <= 0.5,
        ),
    ],
)
def test_filters_keep_what_they_say(finder, rows, settings, passes):
    for name, value in settings:
        put(finder, name, value)
    want = expected(rows, passes)
    assert 0 < len(want) < 500
    assert found_ids(finder) == want
    assert finder._finder.finder_found["n"] == f"{len(want):,}"
    assert finder._finder.finder_form["can_reset"]
    finder._receive({"kind": "reset"})
    assert len(found_ids(finder)) == 500


def test_the_order_by_margin(finder, rows):
    put(finder, "order", "margin")
    assert found_ids(finder) == expected(rows, lambda row: True, lambda row: row["margin"])
    first = finder._finder.finder_found["items"][0]
    assert first["value"] == f"margin {rows[first['id']]['margin']:.2f}"


def test_the_most_fragile_images_come_first(finder, runtime, rows, rotation):
    put(finder, "order", "flip:rotation")
    nowhere = (math.nan,)

    def rank(row):
        distance = rotation.get(row["image_id"], nowhere)[0]
        return (2, 0) if math.isnan(distance) else (int(distance == math.inf), distance)

    assert found_ids(finder) == expected(rows, lambda row: True, rank)
    flipped = sum(distance < math.inf for distance, *_ in rotation.values())
    assert finder._finder.finder_found["order"] == (
        f"smallest rotation flip first · {len(rotation)} swept, {flipped} of them flip"
    )
    for page in range(9):
        finder._receive({"kind": "page", "value": page})
        for item in finder._finder.finder_found["items"]:
            if item["id"] not in rotation:
                assert item["value"] == "not swept"
                continue
            distance, direction, _, to = rotation[item["id"]]
            sign = "−" if direction < 0 else "+"
            assert item["value"] == (
                "no flip on the grid"
                if distance == math.inf
                else f"flips at {sign}{distance:.0f}° to {runtime.class_names[to]}"
            )


def stay_words(rows, flips, index=None):
    """Walk what was swept: how many never flip, and how many of them are wrong unchanged."""
    swept = [i for i in flips if index is None or rows[i]["true_class"] == index]
    stay = [i for i in swept if flips[i][0] == math.inf]
    wrong = sum(not rows[i]["is_correct"] for i in stay)
    said = f", {wrong} of them wrong from the start" if stay else ""
    return f"{len(stay)} of {len(swept)} never flip{said}."


def test_the_table_of_classes(finder, runtime, rows, rotation):
    put(finder, "order", "flip:rotation")
    table = finder._finder.finder_classes
    assert table["help"].endswith(f" {stay_words(rows, rotation)}")
    assert table["extent"] == "of the 100 swept images of test (500 in all), grid of 15°"
    assert table["heads"] == ["10 %", "50 %", "90 %"]
    for row in table["rows"]:
        group = sorted(rotation[i][0] for i in rotation if rows[i]["true_class"] == row["id"])
        assert row["name"] == runtime.class_names[row["id"]]
        assert row["n"] == str(len(group)) == "10"
        assert row["share"] == f"{10 * sum(d < math.inf for d in group)} %"
        assert row["never"] == stay_words(rows, rotation, row["id"])
        # Of ten images, the first, the fifth and the ninth.
        want = ["—" if group[k] == math.inf else f"±{group[k]:.0f}°" for k in (0, 4, 8)]
        assert row["distances"] == want
    put(finder, "true", 4)
    chosen = [row["id"] for row in finder._finder.finder_classes["rows"] if row["is_chosen"]]
    assert chosen == [4]
    put(finder, "order", "margin")
    assert finder._finder.finder_classes == {}


def test_images_outside_the_swept_split_are_said_to_be(finder, state):
    put(finder, "order", "flip:rotation")
    state.show_split("train")
    shown = finder._finder.finder_found
    assert shown["of"] == "of 1,297 train images"
    assert shown["order"] == "none of these was swept; swept were images of test"
    assert {item["value"] for item in shown["items"]} == {"not swept"}


def test_pages_hold_every_image_once(finder):
    seen = []
    for page in range(finder._finder.finder_found["last"] + 1):
        finder._receive({"kind": "page", "value": page})
        seen += [item["id"] for item in finder._finder.finder_found["items"]]
    assert seen == found_ids(finder)
    assert finder._finder.finder_found["range"] == "481–500"
    put(finder, "true", 1)
    assert finder._finder.finder_found["page"] == 0


def test_selecting_takes_the_order_along(finder, state, rows):
    put(finder, "true", 8)
    put(finder, "verdict", "wrong")
    put(finder, "order", "flip:rotation")
    want = expected(rows, lambda r: r["true_class"] == 8 and not r["is_correct"])
    finder._receive({"kind": "select"})
    assert state.selection.ids.tolist() == sorted(want)
    assert state.selection.origin == "finder: true eight, wrong"
    assert state.order == "flip:rotation"
    assert not finder.open
    finder.open = True
    assert finder._finder.finder_form["order"] == "flip:rotation"


def test_a_picture_is_put_under_test(finder, state):
    image = found_ids(finder)[5]
    finder._receive({"kind": "open", "value": image})
    assert state.focus == image
    assert not finder.open
    assert state.selection.is_all


def test_nothing_found_says_why(finder, rows):
    put(finder, "true", 8)
    put(finder, "predicted", 8)
    put(finder, "verdict", "wrong")
    shown = finder._finder.finder_found
    assert shown["items"] == []
    assert shown["headline"] == "No image: true eight, predicted eight, wrong"
    # Of the three, leaving out "wrong" brings back the most.
    counts = {
        "true eight": expected(rows, lambda r: r["predicted_class"] == 8 and not r["is_correct"]),
        "predicted eight": expected(rows, lambda r: r["true_class"] == 8 and not r["is_correct"]),
        "wrong": expected(rows, lambda r: r["true_class"] == r["predicted_class"] == 8),
    }
    best = max(counts, key=lambda name: len(counts[name]))
    assert shown["words"] == f"Without “{best}” there are {len(counts[best])}."
    before = finder._state.selection
    finder._receive({"kind": "select"})
    assert finder._state.selection is before


@pytest.mark.parametrize(
    "message",
    [
        *({"kind": "set", "name": "true", "value": v} for v in (10, -2, 1.5, "0", True, [0], {})),
        *({"kind": "set", "name": "predicted", "value": v} for v in (10, -1, math.nan, "one")),
        *({"kind": "set", "name": "verdict", "value": v} for v in ("drop", None, 1, ["wrong"])),
        *({"kind": "set", "name": "low", "value": v} for v in (math.nan, math.inf, "0.5", None)),
        *(
            {"kind": "set", "name": "order", "value": v}
            for v in ("flip:", "flip:nothing", "flip:' OR 1=1 --", None, 3, ["margin"])
        ),
        *({"kind": "set", "name": n, "value": 1} for n in ("true_class", "__class__", None, 7)),
        *({"kind": "page", "value": v} for v in (-1, 9, 1e9, "1", None)),
        *({"kind": "open", "value": v} for v in (-1, 10**9, 10**30, "5", None, 3.5, [5])),
        {"kind": "drop"},
        {},
        "select",
        None,
        [1],
    ],
)
def test_forged_messages_change_nothing(finder, state, message):
    before = (finder._wanted, finder._page, found_ids(finder), state.focus, state.order)
    finder._finder._handle_msg(message)
    assert (finder._wanted, finder._page, found_ids(finder), state.focus, state.order) == before
    assert finder.open
    assert state.selection.is_all


def test_what_changes_nothing_is_taken_back_in_the_browser(finder, monkeypatch):
    told = []
    monkeypatch.setattr(finder._finder, "_send_msg", told.append)
    put(finder, "high", 7)
    put(finder, "low", "x")
    assert told == [{"again": True}, {"again": True}]
    put(finder, "low", 0.2)
    assert len(told) == 2


def test_bounds_are_clamped_and_take_each_other_along(finder):
    put(finder, "high", 7)
    assert (finder._wanted.low, finder._wanted.high) == (0.0, 1.0)
    put(finder, "high", 0.5)
    put(finder, "low", 0.8)
    assert (finder._wanted.low, finder._wanted.high) == (0.8, 0.8)
    put(finder, "high", 0.3)
    assert (finder._wanted.low, finder._wanted.high) == (0.3, 0.3)


def test_without_sweeps_the_rest_works_and_the_command_is_said(unswept):
    state = SessionState(dict(unswept.splits), split="test")
    state.order = "flip:rotation"
    finder = FinderDialog(unswept, state)
    finder.open = True
    form = finder._finder.finder_form
    assert form["flips"] == []
    assert form["command"] == "doit simulate:plain"
    assert form["order"] == "confidence"
    put(finder, "order", "flip:rotation")
    assert finder._wanted.order == "confidence"
    put(finder, "true", 0)
    item = finder._finder.finder_found["items"][0]
    assert item["classes"].startswith(f"{PAYLOAD} → ")
    bar = SelectionBar(unswept, state)
    assert bar.bar_data["at"] == "500 images, least confident first"
    assert [order["value"] for order in bar.bar_orders] == ["confidence", "margin", "errors", "id"]


def test_names_are_set_as_text():
    script = (Path(component.__file__).parent / "finder.js").read_text()
    assert "innerHTML" not in script
    assert "import " not in script


def test_the_film_strip_follows_the_order(runtime, state, rows, rotation):
    state.show_split("test")
    bar = SelectionBar(runtime, state)
    assert bar._order.tolist() == expected(rows, lambda row: True)
    assert bar.bar_data["at"] == "500 images, least confident first"
    bar._handle_msg({"order": "margin"})
    assert state.order == "margin"
    assert bar._order.tolist() == expected(rows, lambda row: True, lambda row: row["margin"])
    assert bar.bar_data["at"] == "500 images, smallest margin first"
    state.order = "flip:rotation"
    assert bar.bar_data["at"] == "500 images, smallest rotation flip first (100 swept)"
    assert set(bar._order[:100].tolist()) == set(rotation)
    distances = [rotation[i][0] for i in bar._order[:100].tolist()]
    assert distances == sorted(distances)
    assert bar._order[100:].tolist() == sorted(bar._order[100:].tolist())
    assert [film["id"] for film in bar.bar_film[:3]] == bar._order[:3].tolist()


@pytest.mark.parametrize("order", ["flip:nothing", "", None, 3, ["margin"], "Margin"])
def test_an_order_that_does_not_exist_is_refused(runtime, state, order):
    bar = SelectionBar(runtime, state)
    bar._handle_msg({"order": order})
    assert state.order == "confidence"
    state.order = "flip:nothing"
    assert bar.bar_data["order"] == "confidence"


@pytest.mark.parametrize(
    ("name", "magnitude", "flip", "distance"),
    [
        ("rotation", -15.0, "−15°", "±15°"),
        ("rotation", 15.0, "+15°", "±15°"),
        ("brightness", 0.6, "0.6×", "±0.4"),
        ("hue", 0.1, "+0.1", "±0.1"),
        ("blur", 0.02, "2 %", "2 %"),
        ("horizontal_flip", 1.0, "on", "on"),
        ("fgsm", 2 / 255, "2/255", "2/255"),
    ],
)
def test_magnitudes_are_written_with_their_unit(runtime, name, magnitude, flip, distance):
    sweep = runtime.sweeps[name]
    assert orders.flip_text(sweep, magnitude) == flip
    assert orders.distance_text(sweep, abs(magnitude - sweep.identity)) == distance
    assert orders.distance_text(sweep, math.nan) == "—"
