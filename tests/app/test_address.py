"""A link reproduces the case under test, and nonsense in it is named and left out."""

import numpy as np
import pytest

from app import address
from app.inference import PERTURBATION_SPECS, Change, change_from
from app.state import SessionState
from app.uploads import Upload
from feature_store import queries


@pytest.fixture
def state(runtime):
    return SessionState(dict(runtime.splits))


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
    parts = address.write(state, runtime.store)
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
    assert address.write(state, runtime.store) == {}
    assert address.read({}) == address.Case()


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
    assert address.write(state, runtime.store) == {}
