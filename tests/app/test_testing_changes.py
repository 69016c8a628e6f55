"""Controls of the changes, and how their magnitudes are written."""

import pytest

from app.inference import PERTURBATION_SPECS
from app.views import simulation_curves, testing_changes


def test_every_perturbation_has_a_control():
    offered = {spec.name for spec in testing_changes.offered_specs()}
    assert offered == set(PERTURBATION_SPECS)
    for spec in testing_changes.offered_specs():
        drawn = testing_changes.control(spec)
        steps = (drawn["identity"] - drawn["low"]) / drawn["step"]
        assert steps == pytest.approx(round(steps), abs=1e-6), "a slider can reach the identity"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("rotation", 21.3125, "+21.4°"), ("rotation", -21.3125, "−21.4°"),
        ("rotation", 0.0938, "+0.10°"), ("hue", 0.1712, "+0.172"), ("hue", -0.0003, "−0.001"),
        ("brightness", 0.1587, "0.158"), ("brightness", 1.0062, "1.007"),
        ("fgsm", 0.375 / 255, "0.38/255"), ("blur", 0.0194, "1.94 %"), ("noise", 0.03, "0.0300"),
        ("region", 0.23, "23.0 %"), ("horizontal_flip", 1.0, "on"),
    ],
)  # fmt: skip
def test_a_flip_is_rounded_to_the_side_that_flips(name, value, text):
    assert testing_changes.flip_text(name, value) == text


@pytest.mark.parametrize(
    ("value", "share", "pixels"),
    [(0.0, "0 %", "0 px"), (0.02, "2 %", "0.64 px"), (0.0194, "1.94 %", "0.62 px")],
)
def test_views_b_and_d_write_a_blur_as_the_same_share_of_the_side(value, share, pixels):
    assert simulation_curves.magnitude_text("blur", value) == share
    assert testing_changes.magnitude_text("blur", value, 32) == f"{share} ({pixels})"
