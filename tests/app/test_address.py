"""A link reproduces the case under test, and nonsense in it is named and left out."""

import numpy as np
import pytest

from app import address, map_address
from app.inference import PERTURBATION_SPECS, Change, change_from
from app.state import SessionState
from app.uploads import Upload
from feature_store import queries
from vatun.explain import EXPLANATIONS


@pytest.fixture
def state(runtime):
    return SessionState(dict(runtime.splits), split="test")


CHANGES = [
    Change(),
    Change(magnitudes={"rotation": -35.0}),
    Change(magnitudes={"rotation": 12.5, "hue": 0.21, "fgsm": 3 / 255}, rotation_fill="mirror"),
    change_from({"noise": 0.03}, [[0.1, 0.2, 0.5, 0.75], [0, 0, 1, 0.5]], region_fill="blur"),
    Change(magnitudes={name: spec.high for name, spec in PERTURBATION_SPECS.items()}),
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_written_is_read(change, state, runtime):
    state.set_focus(1500)
    state.param.update(
        change=change, evidence_method="layer_cam", evidence_layer="features.7", evidence_class=3,
        pattern=12, path_set="mean",
    )  # fmt: skip
    parts = address.write(state, runtime)
    case = address.read(parts)
    assert case.refused == ()
    assert address.find_image(case.image, runtime.store) == 1500
    assert (case.method, case.layer, case.class_index) == ("layer_cam", "features.7", 3)
    assert (case.pattern, case.path_set) == (12, "mean")
    assert [name for name, _ in case.change] == [name for name, _ in change]
    for (_, read), (_, written) in zip(case.change, change, strict=True):
        assert read == pytest.approx(written, rel=1e-9)
    assert case.change.boxes == change.boxes
    if change.boxes:
        assert case.change.region_fill == change.region_fill
    if "rotation" in change.magnitudes:
        assert case.change.rotation_fill == change.rotation_fill


def test_an_address_without_a_case_is_empty(state, runtime):
    assert address.write(state, runtime) == {}
    assert address.read({}) == address.Case()


def test_evidence_that_there_is_not_is_refused(state, runtime):
    found = address.resolve(address.read({"evidence": "tea<b>leaves"}), runtime, state)
    assert found.refused == ("There is no evidence called tea<b>leaves.",)
    assert found.settings["evidence_method"] == "grad_cam"


@pytest.mark.parametrize("method", EXPLANATIONS)
def test_every_evidence_is_known_before_the_network_is(method, state, runtime, monkeypatch):
    monkeypatch.setattr(runtime.inference, "methods", dict)
    found = address.resolve(address.read({"evidence": method}), runtime, state)
    assert found.refused == ()
    assert found.settings["evidence_method"] == method
    assert not runtime.inference.has_method("tea_leaves")
    # With plugins nobody knows before the network is loaded.
    info = {**runtime.store.info, "capture": {"plugins": ["some.plugin"]}}
    monkeypatch.setattr(type(runtime.store), "info", property(lambda _: info))
    assert runtime.inference.has_method("tea_leaves")


def test_images_are_named_by_their_pixels(runtime):
    keys = runtime.store.arrow("select image_id, image_key from images order by image_id")
    ids, keys = keys["image_id"].to_pylist(), keys["image_key"].to_pylist()
    for image in (0, 700, 1796):
        key = queries.short_key(runtime.store, image)
        assert keys[image].startswith(key)
        assert address.find_image(key, runtime.store) == ids[keys.index(keys[image])]
        assert address.find_image(keys[image], runtime.store) == ids[keys.index(keys[image])]
    assert address.find_image("1500", runtime.store) == 1500


@pytest.mark.parametrize(
    "text",
    ["", "f" * 16, "0" * 64, "g" * 16, "f" * 15, "%" * 16, "_" * 16, "' or 1=1 --------",
     "9" * 10, "9" * 12, "٣", "-1", "1e3"],
)  # fmt: skip
def test_what_names_no_image_finds_none(text, runtime):
    found = address.find_image(text, runtime.store)
    assert found is None or not runtime.images.rows(np.array([found], np.int64)).size


@pytest.mark.parametrize(
    "parts",
    [
        {"change": "rotation:nan"}, {"change": "rotation:inf"}, {"change": "rotation:1e308"},
        {"change": "rotation:"}, {"change": "rotation"}, {"change": "no_such:1"},
        {"change": "__class__:1"}, {"change": "horizontal_flip:0.5"},
        {"removed": "0,0,1"}, {"removed": "0,0,nan,1"}, {"removed": "0.5,0,0.4,1"},
        {"removed": ";".join(["0,0,1,1"] * 9)}, {"removed": "a,b,c,d"},
        {"removed": "0,0,1,1", "fill": "purple"}, {"change": "rotation:3", "corners": "x"},
    ],
)  # fmt: skip
def test_a_change_that_cannot_be_used_is_named(parts):
    case = address.read(parts)
    assert case.change == Change()
    assert len(case.refused) == 1
    assert "cannot be used" in case.refused[0]


def test_nonsense_elsewhere_is_left_out():
    case = address.read(
        {"class": "٣", "pattern": "-2", "layer": "x" * 5000, "image": "<img src=x>"}
    )
    assert (case.class_index, case.pattern) == (None, None)
    assert len(case.layer) == 1000


def test_an_upload_is_not_in_the_address(state, runtime):
    state.set_upload(Upload(name="a.png", pixels=np.zeros((8, 8, 3), np.uint8), key="0" * 64))
    state.set_change(Change(magnitudes={"hue": 0.2}))
    assert address.write(state, runtime) == {}


LOOKED_AT = [
    {"filters": ((0, 3), (2, 7))},
    {"filters": ((0, 3),), "pattern_order": "errors", "errors": (3, 5)},
    {"pattern_order": "errors", "errors": (0, 9), "path_set": "mean"},
    {"pattern_order": "general", "path_set": "paper", "pattern": 12},
    {"filters": ((1, 1),), "pattern_order": "distinctive", "path_set": "paper"},
]


@pytest.mark.parametrize("looked_at", LOOKED_AT)
def test_a_link_brings_back_filters_order_errors_and_pattern(looked_at, state, runtime):
    state.param.update(focus=1500, **looked_at)
    found = address.resolve(
        address.read(address.write(state, runtime)),
        runtime,
        SessionState(dict(runtime.splits)),
    )
    assert found.refused == ()
    assert found.image == 1500
    expected = {"filters": (), "pattern_order": "", "errors": None, "pattern": None} | looked_at
    assert {name: found.settings[name] for name in expected} == expected


def test_a_link_does_not_say_what_goes_without_saying(state, runtime):
    state.param.update(focus=1500, pattern_order="image")
    assert set(address.write(state, runtime)) == {"image"}
    state.param.update(filters=((0, 3),), pattern_order="filters")
    assert set(address.write(state, runtime)) == {"image", "filters", "paths"}
    state.param.update(filters=(), pattern_order="image", path_set="mean")
    assert address.write(state, runtime)["paths"] == "mean"
    # The selection is in no link, so neither is an order that needs it.
    state.pattern_order = "selection"
    assert "order" not in address.write(state, runtime)


@pytest.mark.parametrize(
    "parts",
    [
        {"filters": "3"}, {"filters": "0-1,"}, {"filters": "0-1;2-3"}, {"filters": "-1-2"},
        {"filters": "0-1-2"}, {"filters": "٣-1"}, {"filters": "<b>-1"}, {"filters": "0-1e3"},
        {"filters": ",".join(["0-1"] * (address.MAX_FILTERS + 1))},
        {"order": "__class__"}, {"order": "Errors"}, {"order": "<script>"},
        {"errors": "3"}, {"errors": "3-5,4-6"}, {"errors": "a-b"}, {"errors": "3--5"},
    ],
)  # fmt: skip
def test_filters_orders_and_errors_that_make_no_sense_are_named(parts):
    case = address.read(parts)
    assert (case.filters, case.order, case.errors) == ((), "", None)
    assert len(case.refused) == 1


def test_what_this_store_does_not_have_is_named_and_the_rest_is_kept(state, runtime):
    layers = runtime.layers
    beyond = f"0-{layers[0].filters},{len(layers)}-0"
    case = address.read({"filters": f"0-1,{beyond},0-1,1-2", "errors": "3-10"})
    found = address.resolve(case, runtime, state)
    assert found.settings["filters"] == ((0, 1), (1, 2))
    assert found.settings["errors"] is None
    assert found.refused == (
        f"There is no filter {beyond}.",
        "There is no kind of error 3-10.",
    )


def test_more_filters_than_a_link_holds_are_left_out_and_stay(state, runtime):
    many = tuple((2, index) for index in range(address.MAX_FILTERS + 1))
    state.filters = many
    parts = address.write(state, runtime)
    assert "filters" not in parts
    assert address.resolve(address.read(parts), runtime, state).settings["filters"] == many
    state.filters = many[:-1]
    parts = address.write(state, runtime)
    assert address.read(parts).filters == many[:-1]


def test_every_part_depends_on_something_that_is_watched():
    names = set(SessionState.param)
    assert set(address.WATCHED) <= names
    assert {"filters", "pattern_order", "errors", "path_set", "pattern"} <= set(address.WATCHED)


def test_an_address_names_a_split_and_comes_back_to_the_usual_one(runtime, state):
    """The test images are shown first; ``all`` has to be said."""
    assert address.resolve(address.read({}), runtime, state).split == "test"
    for text, split in (("train", "train"), ("all", ""), ("test", "test")):
        found = address.resolve(address.read({"split": text}), runtime, state)
        assert (found.split, found.refused) == (split, ())
        state.show_split(found.split)
        assert address.write(state, runtime).get("split", "test") == text
    found = address.resolve(address.read({"split": "<b>"}), runtime, state)
    assert found.split == "test"
    assert found.refused == ("There is no split <b>.",)


def test_an_address_with_a_pattern_that_does_not_exist_says_so(runtime, state):
    for text in ("999999", "0.1-1.99999"):
        found = address.resolve(address.read({"pattern": text}), runtime, state)
        assert found.settings["pattern"] is None
        assert found.refused == (f"The path set {state.path_set} has no pattern {text}.",)
    found = address.resolve(address.read({"pattern": "3"}), runtime, state)
    assert (found.settings["pattern"], found.refused) == (3, ())


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"pattern": "-5"}, "There is no pattern -5."),
        ({"class": "abc"}, "There is no class abc."),
        ({"errors": "3-3"}, "The kind of error is two classes such as 3-5, true and predicted."),
        ({"paths": "nope", "pattern": "3"}, "There is no path set nope."),
    ],
)
def test_what_names_nothing_is_said(parts, words, runtime, state):
    """A number in an unknown path set opens no pattern of another one."""
    found = address.resolve(address.read(parts), runtime, state)
    assert found.refused == (words,)
    assert (found.settings["pattern"], found.settings["errors"]) == (None, None)


MAPS = [
    {"colour_by": "confidence"},
    {"colour_by": "flip:rotation", "shading": "density", "hidden": {("flip:rotation", "-1")}},
    {"projection": "pca", "hidden": {("true", "3"), ("true", "7")}},
    {"colour_by": "correct", "hidden": {("true", "3"), ("correct", "1"), ("predicted", "-1")}},
    {"colour_by": "images.split", "hidden": {("images.split", "0"), ("predictions.loss", "-1")}},
]


@pytest.mark.parametrize("shown", MAPS)
def test_a_link_opens_the_same_map(shown, state, runtime):
    usual = {"colour_by": "true", "projection": "tsne", "shading": "equal", "hidden": frozenset()}
    expected = usual | shown | {"hidden": frozenset(shown.get("hidden", ()))}
    state.param.update(**expected)
    parts = address.write(state, runtime)
    assert all(len(text) < 60 for text in parts.values())
    fresh = SessionState(dict(runtime.splits))
    found = address.resolve(address.read(parts), runtime, fresh)
    assert found.refused == ()
    fresh.param.update(**found.settings)
    assert {name: getattr(fresh, name) for name in expected} == expected
    # Back to a page whose address says nothing of the map.
    fresh.param.update(**address.resolve(address.read({}), runtime, fresh).settings)
    assert {name: getattr(fresh, name) for name in usual} == usual


def test_a_map_that_goes_without_saying_is_not_in_a_link(state, runtime):
    state.param.update(colour_by="true", projection="tsne", shading="equal")
    assert address.write(state, runtime) == {}
    state.hidden = frozenset({("true", "7"), ("true", "3"), ("correct", "1")})
    assert address.write(state, runtime) == {"hidden": "correct:1;3,7"}


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"colour": "nope"}, "The map cannot be coloured by nope."),
        ({"colour": "images.width"}, "The map cannot be coloured by images.width."),
        ({"colour": "<img src=x>"}, "The map cannot be coloured by <img src=x>."),
        ({"projection": "../tsne"}, "There is no projection ../tsne."),
        ({"shading": "none"}, "The map is shaded equal or density, not none."),
        ({"hidden": "10"}, "The legend has no entry 10."),
        ({"hidden": "-2,3"}, "The legend has no entry -2."),
        ({"hidden": "nope:1"}, "The legend has no entry nope:1."),
        ({"hidden": "confidence:3"}, "The legend has no entry confidence:3."),
        ({"hidden": "correct:2"}, "The legend has no entry correct:2."),
    ],
)
def test_a_map_that_this_store_cannot_show_is_named(parts, words, state, runtime):
    found = address.resolve(address.read(parts), runtime, state)
    assert found.refused == (words,)
    assert (found.settings["colour_by"], found.settings["projection"]) == ("true", "tsne")
    kept = {("true", "3")} if "3" in parts.get("hidden", "").split(",") else frozenset()
    assert found.settings.get("hidden", frozenset()) == kept


@pytest.mark.parametrize(
    "text", ["a", "3,", ",", ";", "3;;4", "true:", "٣", "1.5", "--1", "1" * 9, ",".join("3" * 41)]
)
def test_hidden_entries_that_make_no_sense_are_named(text, state, runtime):
    found = address.resolve(address.read({"hidden": text}), runtime, state)
    assert found.refused == ("Hidden entries are at most 40 numbers such as 3,7 or correct:1.",)
    assert "hidden" not in found.settings


def test_more_hidden_entries_than_a_link_holds_are_left_out_and_stay(state, runtime):
    many = frozenset(("images.width", str(code)) for code in range(map_address.MAX_HIDDEN + 1))
    state.hidden = many
    parts = address.write(state, runtime)
    assert "hidden" not in parts
    assert "hidden" not in address.resolve(address.read(parts), runtime, state).settings


def test_a_name_of_a_column_may_hold_what_divides_the_entries():
    for name in ("images.a;b", "images.a:b,c", "images.50%"):
        text = map_address._words([(name, 2), ("true", -1)], shown="true")
        assert map_address._entries(text) == ((name, 2), ("", -1))


@pytest.mark.parametrize(
    ("parts", "view"),
    [
        ({}, "a"),
        ({"image": "1500", "change": "rotation:-20", "layer": "features.7"}, "a"),
        ({"colour": "confidence", "hidden": "3"}, "a"),
        ({"pattern": "3"}, "c"),
        ({"image": "1500", "filters": "0-3"}, "c"),
        ({"order": "errors", "errors": "3-5"}, "c"),
        # What is not there cannot be looked at.
        ({"pattern": "999999"}, "a"),
        ({"filters": "99-3"}, "a"),
        ({"order": "alphabet"}, "a"),
    ],
)
def test_an_address_of_patterns_or_filters_is_about_the_network(parts, view, state, runtime):
    assert address.resolve(address.read(parts), runtime, state).view == view
