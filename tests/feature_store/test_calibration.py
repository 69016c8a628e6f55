"""Calibration, consistency and falls against direct computations on the demo's sweeps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.calibration import calibration_curve

from feature_store import QueryError, Store, TableMissingError, queries


def swept(store, perturbation, magnitude):
    """Return true class, predicted class and confidence of every swept image."""
    rows = store.arrow(
        "select i.true_class, s.predicted_class, s.confidence from sweeps s "
        "join images i using (image_id) where s.perturbation = ? and s.magnitude = ? "
        "order by image_id",
        perturbation,
        magnitude,
    )
    return tuple(rows[name].to_numpy() for name in rows.column_names)


@pytest.mark.parametrize(
    ("name", "magnitude"), [("rotation", 0.0), ("rotation", 45.0), ("hue", 0.2)]
)
def test_reliability_bins_are_scikit_learns(digits_store, name, magnitude):
    rows = queries.calibration_rows(digits_store, name)
    at = int(np.argmin(np.abs(rows.magnitudes - magnitude)))
    true, predicted, confidence = swept(digits_store, name, rows.magnitudes[at])
    accuracy, mean = calibration_curve(
        true == predicted, confidence, n_bins=len(rows.edges) - 1, strategy="uniform"
    )
    is_used = rows.n[at] > 0
    np.testing.assert_allclose(rows.accuracy[at][is_used], accuracy, atol=1e-6)
    np.testing.assert_allclose(rows.mean_confidence[at][is_used], mean, atol=1e-6)
    assert np.isnan(rows.accuracy[at][~is_used]).all()
    assert rows.n[at].sum() == len(true) == 100


@pytest.mark.parametrize("name", ["rotation", "fgsm"])
def test_the_expected_calibration_error_is_that_of_the_predictions(digits_store, name):
    rows = queries.calibration_rows(digits_store, name)
    for at, magnitude in enumerate(rows.magnitudes):
        true, predicted, confidence = swept(digits_store, name, magnitude)
        bins = np.clip(np.ceil(confidence * 15) - 1, 0, 14)
        expected = 0.0
        for place in range(15):
            inside = bins == place
            if inside.any():
                gap = (true == predicted)[inside].mean() - confidence[inside].mean()
                expected += inside.mean() * abs(gap)
        assert rows.error[at] == pytest.approx(expected, abs=1e-6)
        assert rows.error_low[at] <= rows.error[at] <= rows.error_high[at]
    assert rows.magnitudes[rows.at_identity] == 0.0


@pytest.mark.parametrize("n", [200, 2000])
@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_the_interval_holds_the_truth_in_most_samples(n, shift):
    """Networks whose true accuracy in every bin is known: the error's interval must hold it."""
    generator = np.random.default_rng(1)
    confidence = (np.arange(15) + 0.5) / 15
    share = np.linspace(0, 1, 15) ** 2
    share /= share.sum()
    accuracy = np.clip(confidence - shift, 0, 1)
    truth = float(np.sum(share * np.abs(accuracy - confidence)))
    held = []
    for _ in range(200):
        count = generator.multinomial(n, share)
        right = generator.binomial(count, accuracy)
        _, low, high, _ = queries.calibration_error(count, right, confidence, repeats=400)
        held.append(low <= truth <= high)
    assert np.mean(held) >= 0.85


def test_the_error_by_chance_is_that_of_a_calibrated_network():
    count, confidence = np.array([7, 0, 40, 1]), np.array([0.31, 0.4, 0.9, 1.0])
    expected = sum(
        np.sum(binom.pmf(np.arange(n + 1), n, p) * np.abs(np.arange(n + 1) - n * p))
        for n, p in zip(count, confidence, strict=True)
    )
    found = queries.calibration_error(count, np.array([2, 0, 36, 1]), confidence)
    assert found[3] == pytest.approx(expected / count.sum())
    assert found[1] == 0.0, "an error that chance alone explains"


def test_bins_without_images_have_no_error():
    nothing = np.zeros(15, np.int64)
    assert np.isnan(queries.calibration_error(nothing, nothing, np.full(15, np.nan))).all()


def test_what_was_not_simulated_is_named(digits_store):
    with pytest.raises(QueryError, match="'tilt' was not simulated; there are blur, "):
        queries.calibration_rows(digits_store, "tilt")
    with pytest.raises(QueryError, match="'tilt' was not swept"):
        queries.swept_images(digits_store, "tilt", 0.0, true_class=1)
    with pytest.raises(QueryError, match="'hue' is not declared harmless; declared are rotation"):
        queries.consistency(digits_store, "hue")
    with pytest.raises(QueryError, match="'tilt' was not simulated on the split 'test'"):
        queries.falls(digits_store, perturbations=["tilt"])
    with pytest.raises(QueryError, match="a measure is one of mean_score, accuracy"):
        queries.falls(digits_store, "median")


@pytest.mark.parametrize("name", ["rotation", "brightness"])
def test_consistency_counts_the_predictions_that_stay(digits_store, name):
    found = queries.consistency(digits_store, name)
    limit, identity = {"rotation": (15.0, 0.0), "brightness": (0.2, 1.0)}[name]
    assert found.limit == limit
    np.testing.assert_allclose(found.magnitudes, [identity - limit, identity + limit])
    before = swept(digits_store, name, identity)[1]
    after = [swept(digits_store, name, magnitude)[1] for magnitude in found.magnitudes]
    for group, index in enumerate(found.classes):
        inside = before == index if index >= 0 else np.ones(len(before), bool)
        assert found.n[group] == inside.sum()
        for column, changed in enumerate(after):
            assert found.kept[group, column] == (changed == before)[inside].sum()
        both = (after[0] == before) & (after[1] == before)
        assert found.kept_all[group] == both[inside].sum()
        assert found.share[group, -1] == pytest.approx(both[inside].mean())
    assert list(found.classes) == [-1, *np.unique(before)]
    assert (found.low <= found.share + 1e-9).all()
    assert (found.share <= found.high + 1e-9).all()


def test_a_point_of_a_curve_stands_for_the_images_of_the_sweep(digits_store):
    rows = digits_store.arrow(
        "select image_id, true_class, s.predicted_class as predicted from sweeps s "
        "join images using (image_id) where perturbation = 'rotation' and magnitude = 45"
    ).to_pylist()
    mine = [row for row in rows if row["true_class"] == 3]
    wrong = queries.swept_images(digits_store, "rotation", 44.0, true_class=3)
    assert (wrong.n_swept, wrong.magnitude) == (len(mine), 45.0)
    assert wrong.image_id.tolist() == sorted(
        row["image_id"] for row in mine if row["predicted"] != 3
    )
    for other in range(10):
        found = queries.swept_images(
            digits_store, "rotation", 45.0, true_class=3, predicted_class=other
        )
        assert found.image_id.tolist() == sorted(
            row["image_id"] for row in mine if row["predicted"] == other
        )


@pytest.mark.parametrize("measure", ["mean_score", "accuracy"])
def test_a_fall_is_where_the_curve_first_loses_half(digits_store, measure):
    """Every row against the walk of one curve, which has its own tests."""
    found = queries.falls(digits_store, measure)
    assert len(found) == 110
    for name in np.unique(found.perturbation):
        rows = queries.simulation_rows(digits_store, str(name))
        values = rows.accuracy if measure == "accuracy" else rows.own(rows.mean_score)
        at = int(np.argmin(np.abs(rows.magnitudes - rows.identity)))
        for place in np.flatnonzero(found.perturbation == name):
            curve = values[list(rows.true_classes).index(found.true_class[place])]
            assert found.start[place] == pytest.approx(curve[at], abs=1e-6)
            crossing = queries.first_below(
                rows.magnitudes, curve, identity=rows.identity, threshold=curve[at] / 2
            )
            if crossing.magnitude is None:
                assert np.isnan(found.magnitude[place])
                continue
            assert found.magnitude[place] == pytest.approx(crossing.magnitude, abs=1e-4)
            away = abs(found.magnitude[place] - rows.identity)
            assert abs(found.early[place] - rows.identity) <= away + 1e-9
            late = found.late[place]
            assert np.isnan(late) or abs(late - rows.identity) >= away - 1e-9
            assert 0 <= found.reach[place] <= 1
    order = found.fastest()
    reach = np.nan_to_num(found.reach[order], nan=2.0)
    assert (np.diff(reach) >= 0).all()


def test_what_is_lost_is_an_average_over_the_magnitudes(digits_store):
    found = queries.falls(digits_store, perturbations=["rotation"])
    curves = queries.class_curves(digits_store, "rotation")
    # The grid is even and the identity in its middle: both sides weigh alike in one trapezoid.
    value = curves.value["mean_score"]
    lost = np.trapezoid(1 - value / value[:, [12]], curves.magnitudes, axis=1) / 360
    np.testing.assert_allclose(found.lost, lost)
    assert (found.lost_low <= found.lost).all()
    assert (found.lost <= found.lost_high).all()


def test_the_sturdiest_images_are_the_last_right_ones_to_flip(digits_store):
    ids, distances = queries.flip_distances(digits_store, "rotation")
    found = queries.sturdy_images(digits_store, "rotation", limit=40)
    assert len(found.image_id) == 40
    assert (np.diff(np.nan_to_num(found.distance, posinf=1e9)) <= 0).all()
    rows = digits_store.sql(
        "SELECT image_id FROM images JOIN predictions USING (image_id) "
        "WHERE predicted_class = true_class"
    ).fetchnumpy()
    assert np.isin(found.image_id, rows["image_id"]).all()
    left_out = ~np.isin(ids, found.image_id) & np.isin(ids, rows["image_id"])
    assert distances[left_out].max() <= found.distance.min()
    some = queries.sturdy_images(digits_store, "rotation", ids=ids[:5].tolist())
    assert sorted(some.image_id) == list(ids[:5])
    never = np.isinf(found.distance)
    assert np.isnan(found.magnitude[never]).all()
    assert (found.flipped_class[never] == -1).all()


def test_before_the_stage_the_command_is_named(commit):
    with Store.open(commit("classes", "images", "predictions")) as store:
        for ask in (
            lambda: queries.calibration_rows(store, "hue"),
            lambda: queries.falls(store),
            lambda: queries.swept_images(store, "hue", 0.0, true_class=0),
        ):
            with pytest.raises(TableMissingError, match="simulate"):
                ask()
        assert queries.harmless_changes(store) == {}
