from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest

from feature_store import QueryError, Store, TableMissingError, queries
from feature_store.errors import ImageNotFoundError
from feature_store.patterns.statistics import wilson_interval
from feature_store.queries.network import ActivationReference

MISSING, NOT_FINITE, UNLABELLED = 7, 11, 13


def labelled(made) -> np.ndarray:
    mask = made.good.copy()
    mask[UNLABELLED] = False
    return mask


def test_everything_public_is_documented() -> None:
    for name in queries.__all__:
        assert inspect.getdoc(getattr(queries, name)), name


def test_image_table(made) -> None:
    table = queries.image_table(made.store)
    ids = np.flatnonzero(made.good)
    assert table.image_id.tolist() == ids.tolist()
    want = made.true_class[ids].copy()
    want[ids == UNLABELLED] = -1
    assert table.true_class.tolist() == want.tolist()
    assert table.predicted_class.tolist() == made.predicted_class[ids].tolist()
    np.testing.assert_array_equal(table.confidence, made.scores[ids].max(axis=1))
    correct = (made.true_class == made.predicted_class)[ids]
    assert table.is_correct.tolist() == (correct & (ids != UNLABELLED)).tolist()
    assert table.splits == ("test", "train")
    assert [table.splits[code] for code in table.split] == made.split[ids].tolist()
    assert table.image_id.dtype == np.int32
    assert table.confidence.dtype == np.float32


def test_map_points(made) -> None:
    points = queries.map_points(made.store, "tsne")
    table = queries.image_table(made.store)
    assert points.image_id.tolist() == table.image_id.tolist()
    for field in dataclasses.fields(table):
        assert np.array_equal(getattr(points, field.name), getattr(table, field.name))
    np.testing.assert_array_equal(points.x, -points.y)
    assert len(set(points.x.tolist())) == len(points.x)
    rows = dict(made.store.sql("SELECT image_id, x FROM projections").fetchall())
    assert [rows[i] for i in points.image_id] == points.x.tolist()
    assert queries.projections(made.store) == ("tsne",)
    with pytest.raises(TableMissingError, match="tsne"):
        queries.map_points(made.store, "umap")


def test_image_row(made) -> None:
    row = queries.image_row(made.store, 3)
    assert (row.image_id, row.status, row.split) == (3, "ok", "train")
    assert row.true_class == made.true_class[3]
    assert row.predicted_class == made.predicted_class[3]
    assert row.confidence == pytest.approx(made.scores[3].max())
    assert row.is_correct is bool(made.true_class[3] == made.predicted_class[3])
    missing = queries.image_row(made.store, MISSING)
    assert (missing.status, missing.message) == ("missing", "no such file")
    assert missing.predicted_class is missing.confidence is missing.is_correct is None
    assert queries.image_row(made.store, NOT_FINITE).status == "not_finite"
    free = queries.image_row(made.store, UNLABELLED)
    assert free.true_class is free.is_correct is None
    assert free.predicted_class is not None
    for image in (-1, 300, 2**31):
        with pytest.raises(ImageNotFoundError):
            queries.image_row(made.store, image)


def test_image_bytes_and_scores(made) -> None:
    assert queries.image_bytes(made.store, 5) == b"image 5"
    with pytest.raises(ImageNotFoundError, match="missing"):
        queries.image_bytes(made.store, MISSING)
    np.testing.assert_array_equal(queries.scores_of(made.store, 5), made.scores[5])
    with pytest.raises(ImageNotFoundError):
        queries.scores_of(made.store, MISSING)


@pytest.mark.parametrize("chosen", [None, [], [1, 2, 2, 3, MISSING, UNLABELLED, 999]])
def test_selection_summary(made, chosen) -> None:
    mask = made.good.copy()
    if chosen is not None:
        mask[:] = False
        mask[[i for i in chosen if i < 300 and made.good[i]]] = True
    known = mask & labelled(made)
    got = queries.selection_summary(made.store, chosen)
    assert (got.n, got.n_labelled) == (mask.sum(), known.sum())
    assert got.n_wrong == (known & (made.true_class != made.predicted_class)).sum()
    assert got.true_counts.tolist() == np.bincount(made.true_class[known], minlength=3).tolist()
    want = np.bincount(made.predicted_class[mask], minlength=3)
    assert got.predicted_counts.tolist() == want.tolist()


def test_film_strip_shows_the_least_confident_first(made) -> None:
    ids = np.flatnonzero(made.good)
    order = ids[np.argsort(made.scores[ids].max(axis=1), kind="stable")]
    assert queries.film_strip(made.store, limit=1000).tolist() == order.tolist()
    assert queries.film_strip(made.store, limit=5, offset=3).tolist() == order[3:8].tolist()
    chosen = np.array([40, 4, 14, 400, MISSING])
    got = queries.film_strip(made.store, chosen)
    assert got.tolist() == [i for i in order if i in {4, 14, 40}]
    assert queries.film_strip(made.store, []).tolist() == []


def test_accuracy_and_confusion(made) -> None:
    known = labelled(made)
    total = np.zeros((3, 3), dtype=int)
    for entry in queries.accuracy_by_split(made.store):
        part = known & (made.split == entry.split)
        correct = (part & (made.true_class == made.predicted_class)).sum()
        assert (entry.n_labelled, entry.n_correct) == (part.sum(), correct)
        assert entry.accuracy == pytest.approx(correct / part.sum())
        assert (entry.low, entry.high) == wilson_interval(correct, part.sum())
        matrix = queries.confusion_matrix(made.store, split=entry.split)
        want = np.zeros((3, 3), dtype=int)
        np.add.at(want, (made.true_class[part], made.predicted_class[part]), 1)
        assert matrix.tolist() == want.tolist()
        total += want
    assert queries.confusion_matrix(made.store).tolist() == total.tolist()


def test_layers_and_paths(made) -> None:
    rows = queries.layers(made.store)
    assert [(row.layer_index, row.layer_name, row.filters) for row in rows] == [
        (0, "conv0", 4),
        (1, "conv1", 6),
        (2, "conv2", 5),
        (3, "conv3", 8),
    ]
    assert rows[0].receptive_field is None
    for image in (0, 44, 299):
        assert queries.path_of(made.store, "paper", image).tolist() == made.paths[image].tolist()
    with pytest.raises(TableMissingError, match="doit paths"):
        queries.path_of(made.store, "mean", 0)
    with pytest.raises(ImageNotFoundError):
        queries.path_of(made.store, "paper", MISSING)


def test_top_images(made) -> None:
    values = made.activations[2][:, 3].astype(np.float32)
    train = np.flatnonzero((made.split == "train") & made.good)
    got = queries.top_images(made.store, 2, 3, split="train", limit=10)
    assert got.activation.tolist() == np.sort(values[train])[::-1][:10].tolist()
    assert values[got.image_id].tolist() == got.activation.tolist()
    assert set(got.split) == {"train"}
    both = queries.top_images(made.store, 2, 3, limit=20)
    every = np.flatnonzero(made.good)
    assert both.activation.tolist() == np.sort(values[every])[::-1][:20].tolist()
    assert [made.split[i] for i in both.image_id] == list(both.split)
    assert not len(queries.top_images(made.store, 2, 99).image_id)


def test_percentiles_are_the_share_that_fires_less(made) -> None:
    stored = np.flatnonzero(np.arange(300) != MISSING)
    for image in (0, 5, 299):
        got = queries.activation_percentiles(made.store, image)
        for layer, values in enumerate(made.activations):
            share = (values[stored] < values[image]).mean(axis=0)
            assert got[layer].tolist() == np.floor(share * 255 + 1e-9).astype(int).tolist()
            assert got[layer].dtype == np.uint8
    reference = queries.activation_reference(made.store)
    assert (reference.n, reference.total) == (299, 299)
    assert queries.activation_reference(made.store) is reference


def test_percentiles_of_a_live_image(made) -> None:
    reference = queries.activation_reference(made.store)
    silent = reference.percentiles([np.zeros(width) for width in (4, 6, 5, 8)])
    loud = reference.percentiles([np.full(width, 1e3) for width in (4, 6, 5, 8)])
    broken = reference.percentiles([np.full(width, np.nan) for width in (4, 6, 5, 8)])
    assert {int(v) for layer in (*silent, *broken) for v in layer} == {0}
    assert {int(v) for layer in loud for v in layer} == {255}
    with pytest.raises(ValueError, match="4, 6, 5, 8"):
        reference.percentiles([np.zeros(4)])


def test_a_sampled_reference_is_near_and_repeats(made) -> None:
    sampled = ActivationReference(made.store, images=150)
    again = ActivationReference(made.store, images=150)
    exact = queries.activation_reference(made.store)
    assert (sampled.n, sampled.total) == (150, 299)
    values = queries.activations_of(made.store, 20)
    for near, same, true in zip(
        *(r.percentiles(values) for r in (sampled, again, exact)), strict=True
    ):
        assert near.tolist() == same.tolist()
        assert np.abs(near.astype(int) - true).max() < 40


def test_activations_that_are_not_kept_are_named(made) -> None:
    with pytest.raises(TableMissingError, match="activations/mean/000"):
        queries.activation_reference(made.store, "mean")
    with pytest.raises(ImageNotFoundError):
        queries.activations_of(made.store, MISSING)


def test_simulation_rows(made) -> None:
    assert queries.simulated_perturbations(made.store) == ("rotation", "hue"), "as declared"
    assert queries.simulated_splits(made.store) == ("test",)
    rows = queries.simulation_rows(made.store, "rotation")
    assert rows.magnitudes.tolist() == [-90, -30, 0, 30, 90]
    assert rows.mean_score.shape == rows.low.shape == rows.high.shape == (2, 5, 3)
    assert (rows.identity, rows.n.tolist()) == (0.0, [40, 40])
    np.testing.assert_allclose(rows.own(rows.mean_score)[1], [0.45, 0.75, 0.9, 0.75, 0.45])
    np.testing.assert_allclose(rows.mean_score[0, :, 2], 0.05, rtol=1e-6)
    half = 1.959964 * 0.2 / np.sqrt(40)
    np.testing.assert_allclose(rows.high - rows.mean_score, half, rtol=1e-4)
    assert rows.low.min() == 0.0, "cut where a score cannot be"
    low, high = wilson_interval(36, 40)
    np.testing.assert_allclose(rows.accuracy[:, 2], 0.9, rtol=1e-6)
    np.testing.assert_allclose(rows.accuracy_low[:, 2], low, rtol=1e-6)
    np.testing.assert_allclose(rows.accuracy_high[:, 2], high, rtol=1e-6)


def test_simulation_rows_of_some_classes(made) -> None:
    rows = queries.simulation_rows(
        made.store, "hue", split="test", true_classes=[1], output_classes=[0, 2]
    )
    assert rows.mean_score.shape == (1, 5, 2)
    assert (rows.true_classes.tolist(), rows.output_classes.tolist()) == ([1], [0, 2])
    assert np.isnan(rows.own(rows.mean_score)).all()


def test_simulations_that_were_not_run_are_named(made) -> None:
    with pytest.raises(QueryError, match="rotation, hue"):
        queries.simulation_rows(made.store, "blur")
    with pytest.raises(QueryError, match="test"):
        queries.simulation_rows(made.store, "hue", split="train")


@pytest.mark.parametrize(
    ("values", "magnitude", "below"),
    [
        ([0.9, 0.9, 0.9, 0.9, 0.9], None, False),
        ([0.8, 0.8, 0.8, 0.8, 0.8], None, False),
        ([0.9, 0.9, 0.9, 0.7, 0.9], 1.0 * 15, False),
        ([0.9, 0.7, 0.9, 0.9, 0.7], -15.0, False),
        ([0.0, 0.85, 0.9, 0.5, 0.0], 7.5, False),
        ([0.9, 0.9, 0.5, 0.9, 0.9], 0.0, True),
        ([np.nan, 0.9, 0.9, np.nan, 0.0], None, False),
    ],
)
def test_first_below(values, magnitude, below) -> None:
    grid = np.array([-60.0, -30.0, 0.0, 30.0, 60.0])
    got = queries.first_below(grid, np.array(values), identity=0.0)
    assert got.magnitude == pytest.approx(magnitude)
    assert got.is_below_at_identity is below
    assert got.holds is (magnitude is None)


def test_first_below_at_the_end_of_the_grid() -> None:
    grid = np.array([0.0, 1.0, 2.0])
    got = queries.first_below(grid, np.array([1.0, 0.9, 0.7]), identity=0.0)
    assert got.magnitude == pytest.approx(1.5)


def test_an_empty_store_says_what_to_run(tmp_path) -> None:
    from feature_store import StoreWriter

    with StoreWriter.open(tmp_path / "bare") as writer, writer.begin("ingest"):
        pass
    with Store.open(tmp_path / "bare") as store:
        assert queries.projections(store) == ()
        assert queries.simulated_perturbations(store) == ()
        assert queries.simulated_splits(store) == ()
        for ask in (
            lambda: queries.map_points(store, "tsne"),
            lambda: queries.simulation_rows(store, "hue"),
            lambda: queries.layers(store),
            lambda: queries.top_images(store, 0, 0),
        ):
            with pytest.raises(TableMissingError, match="run `doit"):
                ask()
