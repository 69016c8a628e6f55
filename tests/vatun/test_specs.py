"""Specifications check what they are given and survive a trip through JSON."""

import json

import pytest

from vatun.errors import MagnitudeError, SpecError, UnknownNameError
from vatun.specs import PERTURBATION_SPECS, Box, Change, InputSpec, ModelSpec, find_spec


@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec(builder="small_vgg", classes=3, layers=("features.0",), include_logits=True),
        ModelSpec(builder="torchvision:resnet18", classes=10),
        InputSpec(height=32, width=40, resize=36, crop="center", mean=(0.1, 0.2, 0.3)),
    ],
)
def test_specifications_come_back_from_json(spec):
    assert type(spec).from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_grids_are_those_of_the_schema():
    grids = {name: spec.grid for name, spec in PERTURBATION_SPECS.items()}
    assert grids["rotation"] == tuple(float(step) for step in range(-180, 181, 15))
    assert grids["hue"] == tuple(round(-0.5 + 0.1 * step, 10) for step in range(11))
    assert grids["brightness"] == tuple(round(0.2 * step, 10) for step in range(11))
    assert grids["blur"][-1] == 0.1
    assert grids["noise"][-1] == 0.3
    assert grids["region"][-1] == 0.8
    assert len(grids["fgsm"]) == 9
    assert grids["fgsm"][-1] == 16 / 255
    assert grids["vertical_flip"] == (0.0, 1.0)


def test_changes_are_equal_and_hashed_by_what_they_do():
    first = Change(magnitudes={"hue": 0.1, "rotation": 15})
    assert first == Change(magnitudes={"rotation": 15.0, "hue": 0.1, "blur": 0})
    assert hash(first) == hash(Change(magnitudes={"rotation": 15.0, "hue": 0.1}))
    assert list(first) == [("rotation", 15.0), ("hue", 0.1)]
    assert first.with_magnitude("hue", 0) == Change(magnitudes={"rotation": 15})


def test_a_fill_counts_only_where_there_is_a_gap():
    corner = (Box(0, 0, 0.5, 0.5),)
    assert Change(boxes=corner) == Change(boxes=corner, region_fill="mean")
    assert Change(boxes=corner) != Change(boxes=corner, region_fill="blur")
    assert Change(boxes=corner, rotation_fill="edge") == Change(boxes=corner)
    turned = Change(magnitudes={"rotation": 15}, rotation_fill="edge")
    assert turned != Change(magnitudes={"rotation": 15})
    same = Change(magnitudes={"rotation": 15}, rotation_fill="edge", region_fill="black")
    assert (turned, hash(turned)) == (same, hash(same))
    idle = Change(region_fill="blur", rotation_fill="mirror")
    assert idle.is_identity
    assert (idle, hash(idle)) == (Change(), hash(Change()))


def test_another_magnitude_keeps_boxes_and_fills():
    change = Change(
        magnitudes={"hue": 0.1},
        boxes=(Box(0, 0, 0.5, 0.5),),
        region_fill="black",
        rotation_fill="mirror",
    )
    found = change.with_magnitude("rotation", 30)
    assert dict(found) == {"rotation": 30.0, "hue": 0.1}
    assert found.boxes == change.boxes
    assert (found.region_fill, found.rotation_fill) == ("black", "mirror")


@pytest.mark.parametrize("fill", ["white", "", None, 1, ["mean"], "MEAN"])
def test_an_unknown_fill_names_the_known(fill):
    with pytest.raises(MagnitudeError, match="mean, black, blur"):
        Change(region_fill=fill)
    with pytest.raises(MagnitudeError, match="black, edge, mirror"):
        Change(rotation_fill=fill)


@pytest.mark.parametrize(
    "corners",
    [(0.5, 0, 0.5, 1), (0.6, 0, 0.5, 1), (-0.1, 0, 1, 1), (0, 0, 1, float("nan")), (0, 0, 1, "1")],
)
def test_a_box_needs_corners_in_order(corners):
    with pytest.raises(MagnitudeError):
        Box(*corners)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ModelSpec(builder="small_vgg", classes=1), "at least 2 classes"),
        (lambda: InputSpec(height=0, width=3), "must be positive"),
        (lambda: InputSpec(height=1, width=3, std=(0, 1, 1)), "every std positive"),
        (lambda: InputSpec(height=1, width=3, mean=(0, 1)), "three values"),
        (lambda: InputSpec(height=1, width=3, crop="left"), "'center' or absent"),
    ],
)
def test_what_is_not_allowed_is_named(make, message):
    with pytest.raises(SpecError, match=message):
        make()


def test_an_unknown_perturbation_lists_the_known():
    with pytest.raises(UnknownNameError, match="rotation, hue"):
        find_spec("swirl")


@pytest.mark.parametrize("flag", [0.5, 0.999])
def test_a_switch_is_off_or_on(flag):
    with pytest.raises(MagnitudeError, match="neither 0"):
        find_spec("horizontal_flip").check(flag)
