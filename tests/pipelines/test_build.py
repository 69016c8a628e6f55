"""The stages together: what a complete store holds, and that it is true."""

import numpy as np
import torch

from vatun.network import load_network
from vatun.paths import balanced_winners, winners
from vatun.preprocess import load_image, to_input
from vatun.specs import InputSpec, ModelSpec

EXPECTED = {
    "classes", "images", "layers", "predictions", "scores", "top_images", "embeddings",
    "filter_statistics", "paths/paper", "paths/mean", "paths/balanced", "projections", "sweeps",
    "smallest_flips", "simulation", "calibration",
}  # fmt: skip


def network_of(store):
    return load_network(
        ModelSpec.from_dict(store.info["model"]),
        InputSpec.from_dict(store.info["input"]),
        weights=store.file("weights"),
        device="cpu",
        class_names=store.class_names,
    )


def images_of(store, ids):
    encoded = store.arrow(
        "select encoded from images where image_id in (select unnest(?)) order by image_id", ids
    )["encoded"].to_pylist()
    spec = InputSpec.from_dict(store.info["input"])
    return to_input(np.stack([load_image(part, spec) for part in encoded]))


def test_a_built_store_is_complete_and_sound(digits_store):
    names = set(digits_store.tables)
    assert names >= EXPECTED
    for path_set in ("paper", "mean", "balanced"):
        assert f"patterns/{path_set}/patterns" in names
    layers = digits_store.arrow("select layer_index from layers")["layer_index"].to_pylist()
    assert {f"activations/{s}/{i:03d}" for s in ("max", "mean") for i in layers} <= names
    assert digits_store.verify() == []
    assert digits_store.stale_tables() == {}
    for section in (
        "project",
        "model",
        "input",
        "dataset",
        "capture",
        "train",
        "embed",
        "simulate",
    ):
        assert section in digits_store.info
    assert digits_store.info["view"] == {"path_set": "balanced"}


def test_the_network_has_learnt_the_shortcut(digits_store):
    accuracy = digits_store.info["train"]["accuracy_by_split"]
    assert accuracy["train"] > 0.95
    assert 0.5 < accuracy["test"] < 0.85
    assert digits_store.info["capture"]["accuracy_by_split"] == accuracy


def test_stored_scores_are_those_of_the_network(digits_store):
    ids = [0, 5, 700, 1500, 1796]
    logits = network_of(digits_store).logits(images_of(digits_store, ids))
    scores = torch.softmax(logits.double(), dim=1).numpy()
    stored = digits_store.arrow(
        "select * exclude image_id from scores where image_id in (select unnest(?)) "
        "order by image_id",
        ids,
    )
    values = np.stack([column.to_numpy() for column in stored.columns], axis=1)
    np.testing.assert_allclose(values, scores, atol=1e-5)
    identity = digits_store.arrow(
        "select s.confidence, p.confidence as stored, "
        "s.predicted_class = p.predicted_class as same "
        "from sweeps s join predictions p using (image_id) "
        "where perturbation = 'rotation' and magnitude = 0"
    )
    assert all(identity["same"].to_pylist())
    np.testing.assert_allclose(
        identity["confidence"].to_numpy(), identity["stored"].to_numpy(), atol=1e-5
    )


def test_predictions_follow_from_scores(digits_store):
    rows = digits_store.arrow("select * from predictions order by image_id")
    table = digits_store.arrow("select * exclude image_id from scores order by image_id")
    scores = np.stack([column.to_numpy() for column in table.columns], axis=1).astype(np.float64)
    ordered = np.sort(scores, axis=1)
    np.testing.assert_array_equal(rows["predicted_class"].to_numpy(), scores.argmax(axis=1))
    np.testing.assert_allclose(rows["confidence"].to_numpy(), ordered[:, -1], atol=1e-6)
    np.testing.assert_allclose(
        rows["margin"].to_numpy(), ordered[:, -1] - ordered[:, -2], atol=1e-6
    )
    entropy = -(scores * np.log(np.maximum(scores, 1e-300))).sum(axis=1)
    np.testing.assert_allclose(rows["entropy"].to_numpy(), entropy, atol=1e-4)


def test_paths_are_the_winners_of_the_stored_activations(digits_store):
    is_train = digits_store.arrow("select split = 'train' as t from images order by image_id")
    is_train = is_train["t"].to_numpy(zero_copy_only=False).astype(bool)
    for layer in (0, 3, 6):
        values = {}
        for statistic in ("max", "mean"):
            table = digits_store.arrow(
                f"select * exclude image_id from activations__{statistic}__{layer:03d} "
                "order by image_id"
            )
            values[statistic] = np.stack([column.to_numpy() for column in table.columns], axis=1)
        reference = values["mean"][is_train].astype(np.float64)
        expected = {
            "paper": winners(values["max"]),
            "mean": winners(values["mean"]),
            "balanced": balanced_winners(
                values["mean"], reference.mean(axis=0), reference.std(axis=0)
            ),
        }
        for path_set, column in expected.items():
            stored = digits_store.arrow(
                f"select layer_{layer:03d} as winner from paths__{path_set} order by image_id"
            )
            np.testing.assert_array_equal(stored["winner"].to_numpy(), column)


def test_top_images_are_the_strongest_and_show_where(digits_store):
    top = digits_store.arrow(
        "select * from top_images where layer_index = 2 and filter_index = 5 and split = 'test' "
        "order by rank"
    )
    stored = digits_store.arrow(
        "select image_id, f0005 as value from activations__max__002 join images using (image_id) "
        "where split = 'test' and f0005 != 0 order by value desc, image_id limit 50"
    )
    assert top["image_id"].to_pylist() == stored["image_id"].to_pylist()
    np.testing.assert_array_equal(top["activation"].to_numpy(), stored["value"].to_numpy())
    size = digits_store.arrow(
        "select height, width from layers where layer_index = 2"
    ).to_pylist()[0]
    assert max(top["peak_row"].to_pylist()) < size["height"]
    assert max(top["peak_column"].to_pylist()) < size["width"]


def test_simulation_averages_the_sweeps(digits_store):
    expected = digits_store.arrow(
        "select true_class, count(*) as n, avg(scores[4]) as mean, stddev_samp(scores[4]) as sd, "
        "avg((predicted_class = true_class)::int) as accuracy "
        "from sweeps join images using (image_id) "
        "where perturbation = 'hue' and magnitude = 0.3 group by true_class order by true_class"
    )
    stored = digits_store.arrow(
        "select * from simulation where perturbation = 'hue' and magnitude = 0.3 "
        "and output_class = 3 order by true_class"
    )
    assert stored["n"].to_pylist() == expected["n"].to_pylist() == [10] * 10
    for ours, theirs in (("mean_score", "mean"), ("standard_deviation", "sd"), ("accuracy",) * 2):
        np.testing.assert_allclose(
            stored[ours].to_numpy(), expected[theirs].to_numpy().astype(float), atol=1e-5
        )


def test_smallest_flips_are_the_first_on_the_grid(digits_store):
    sweeps = digits_store.arrow(
        "select image_id, magnitude, predicted_class from sweeps where perturbation = 'rotation' "
        "order by image_id, magnitude"
    ).to_pylist()
    by_image = {}
    for row in sweeps:
        by_image.setdefault(row["image_id"], []).append((row["magnitude"], row["predicted_class"]))
    stored = digits_store.arrow(
        "select image_id, direction, magnitude, flipped_class from smallest_flips "
        "where perturbation = 'rotation'"
    ).to_pylist()
    assert len(stored) == 2 * len(by_image)
    for row in stored:
        curve = dict(by_image[row["image_id"]])
        outwards = sorted((m for m in curve if m * row["direction"] > 0), key=abs)
        flips = [m for m in outwards if curve[m] != curve[0.0]]
        assert row["magnitude"] == (flips[0] if flips else None)
        assert row["flipped_class"] == (curve[flips[0]] if flips else None)


def test_calibration_counts_every_image_once(digits_store):
    rows = digits_store.arrow(
        "select perturbation, magnitude, sum(n) as n from calibration group by all"
    )
    assert set(rows["n"].to_pylist()) == {100}


def test_projections_hold_every_image_along_a_curve(digits_store):
    for name in digits_store.info["embed"]["projections"]:
        rows = digits_store.arrow("select * from projections where projection = ?", name)
        assert sorted(rows["image_id"].to_pylist()) == list(range(1797))
        points = np.stack([rows["x"].to_numpy(), rows["y"].to_numpy()], axis=1)
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        shuffled = np.random.default_rng(0).permutation(points)
        assert steps.mean() < 0.25 * np.linalg.norm(np.diff(shuffled, axis=0), axis=1).mean()


def test_subset_of_the_simulation_is_balanced_and_recorded(digits_store):
    info = digits_store.info["simulate"]
    assert (info["n"], info["n_available"], info["images_per_class"]) == (100, 500, 10)
    counts = digits_store.arrow(
        "select true_class, count(distinct image_id) as n "
        "from sweeps join images using (image_id) group by true_class"
    )
    assert counts["n"].to_pylist() == [10] * 10
