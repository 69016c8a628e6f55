"""The verdict of an ablation: its rule, its interval, and how often they are wrong."""

from functools import partial

import numpy as np
import pytest
from scipy.stats import binomtest

from vatun.errors import SpecError
from vatun.judgement import FLOOR, LEVEL, MIN_IMAGES, MIN_SETS, judge, mean_interval


def test_the_interval_without_an_effect_is_that_of_clopper_and_pearson():
    for count in (10, 30, 100):
        low, high = mean_interval(np.zeros(count), 0.0, 1.0)
        assert low == 0
        exact = binomtest(0, count).proportion_ci(method="exact").high
        assert high == pytest.approx(exact, rel=0.05)


def test_the_interval_of_many_images_is_that_of_the_normal_distribution():
    """And what is held in memory at a time changes nothing."""
    values = np.random.default_rng(0).random(5000)
    low, high = mean_interval(values, -1.0, 2.0)
    half = 1.96 * values.std() / np.sqrt(5000)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=1e-3)


@pytest.mark.parametrize("count", [10, 20, 60])
@pytest.mark.parametrize("kind", ["rare", "half", "uniform", "skewed", "negative"])
def test_the_interval_holds_the_mean_often_enough(count, kind):
    """Each end misses at most 2.5 %, also where Student's interval of a few zeros would not."""
    generator = np.random.default_rng(count)
    draw, mean = {
        "rare": (lambda: (generator.random(count) < 0.05).astype(float), 0.05),
        "half": (lambda: (generator.random(count) < 0.5).astype(float), 0.5),
        "uniform": (lambda: generator.random(count), 0.5),
        "skewed": (lambda: generator.beta(0.1, 1.9, count), 0.05),
        "negative": (lambda: -generator.beta(0.1, 1.9, count), -0.05),
    }[kind]
    turns = 400
    misses = np.zeros(2)
    for turn in range(turns):
        low, high = mean_interval(draw(), -1.0, 1.0, seed=turn, draws=1000)
        misses += (low > mean, high < mean)
    allowed = turns * 0.025 + 3 * np.sqrt(turns * 0.025)
    assert (misses <= allowed).all()


def judged(effect, random, images=60, *, spread=0.0, **options):
    generator = np.random.default_rng(3)
    noise = spread * (generator.random((len(random) + 1, images)) - 0.5)
    losses = np.clip(effect + noise[0], -1, 0.9)
    return judge(losses, np.asarray(random)[:, None] + noise[1:], np.full(images, 0.95), **options)


QUIET = [0.001 * k for k in range(20)]


def test_verdicts():
    cause = judged(0.6, QUIET, spread=0.2)
    assert (cause.verdict, cause.as_harmful) == ("cause", 0)
    assert cause.p_value == pytest.approx(1 / 21)
    assert cause.low < cause.difference < cause.high
    assert cause.effect == pytest.approx(0.6, abs=0.02)
    assert judged(0.6, QUIET, spread=0.2) == cause
    assert judged(0.01, QUIET).verdict == "marker"
    assert judged(0.5, [0.5] * 20).verdict == "marker"
    assert judged(-0.2, QUIET).verdict == "marker"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (partial(judged, 0.6, QUIET, MIN_IMAGES - 1), "too few"),
        (partial(judged, 0.0, QUIET, 15), f"a negligible effect (below {FLOOR:g})"),
        (partial(judged, 0.6, [*QUIET[1:], 0.7]), "1 of 20 random sets cost as much"),
        (partial(judged, 0.5, [0.5] * 20, shared=1.0), "no other filters"),
        (partial(judged, 0.5, [0.5] * 20, shared=0.5), "too many of the tested"),
        (partial(judged, 0.09, [0.0] * 20, 400, spread=0.3), "both a real and a negligible"),
    ],
)
def test_what_cannot_be_told_says_why(given, reason):
    found = given()
    assert found.verdict == "cannot tell"
    assert reason in found.reason


def test_losses_that_are_no_numbers_are_refused():
    for place in range(3):
        given = [np.zeros(20), np.zeros((20, 20)), np.ones(20)]
        given[place].flat[3] = np.nan
        with pytest.raises(SpecError, match="finite"):
            judge(*given)
    for given in ((np.zeros(3), np.zeros((20, 4)), np.ones(3)), ([], np.zeros((20, 0)), [])):
        with pytest.raises(SpecError, match="do not fit"):
            judge(*given)


def test_constants_say_what_the_rules_say():
    assert MIN_SETS == 20
    assert 1 / (1 + MIN_SETS) <= LEVEL < 2 / (1 + MIN_SETS)
    assert FLOOR == 0.1
