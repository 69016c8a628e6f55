"""Baselines of error enrichment: counted by the same rules, on the same halves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from feature_store import Store, TableMissingError
from feature_store.patterns.baselines import (
    cluster_enrichment,
    cluster_slices,
    enrichment_baselines,
    filter_slices,
    pixel_enrichment,
    pixel_slices,
)
from feature_store.patterns.enrichment import error_cell, error_enrichment
from tests.feature_store.planted import CAT, DOG, ELK, PLANTED, Made, make

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """A store in which one pattern makes cats look like dogs, with what it was made from."""
    found = make(tmp_path_factory.mktemp("stores") / "planted")
    yield found
    found.store.close()


def test_baselines_stand_beside_on_the_same_halves(made) -> None:
    ask = {"true_class": CAT, "predicted_class": DOG, "seed": 2}
    got = error_enrichment(made.store, **ask)
    beside = enrichment_baselines(made.store, got)
    for other in (beside.filters, beside.clusters, beside.pixels):
        assert (other.n_images, other.n_errors, other.n_copies, other.seed, other.rate) == (
            got.n_images,
            got.n_errors,
            got.n_copies,
            got.seed,
            got.rate,
        )
    assert (beside.filters.path_set, beside.filters.layers) == ("mean", "conv")
    parts = {f"filter {filter_} of layer {layer}" for layer, filter_ in enumerate(PLANTED, 1)}
    assert parts & {entry.label for entry in beside.filters.confirmed}
    assert enrichment_baselines(made.store, beside.clusters).filters is None
    assert beside.clusters == cluster_enrichment(made.store, **ask)
    assert beside.pixels == pixel_enrichment(made.store, **ask)
    assert "of the embedding" in beside.clusters.confirmed[0].label
    labels = [entry.label for entry in beside.pixels.confirmed]
    assert labels[0] == "bright (highest third)"
    predicted, score, margin = beside.plain
    is_dog = made.predicted_class == DOG
    assert predicted.counts.n_members == is_dog.sum()
    assert predicted.counts.n_member_errors == (is_dog & (made.true_class == CAT)).sum()
    assert predicted.n_wrong == (is_dog & (made.true_class != DOG)).sum()
    n = got.confirmed[0].confirmation.n_members
    assert score.counts.n_members == margin.counts.n_members == n
    rows = made.store.arrow(
        "SELECT c0001 AS score, margin FROM scores JOIN predictions USING (image_id) "
        "ORDER BY image_id"
    )
    cell = error_cell(made.store, **ask)
    half = cell.image_id[~cell.is_discovery]
    for plain, values in (
        (score, -rows["score"].to_numpy()),
        (margin, rows["margin"].to_numpy()),
    ):
        chosen = half[np.argsort(values[half], kind="stable")[:n]]
        assert plain.counts.n_member_errors == (made.predicted_class[chosen] == DOG).sum()
        assert plain.n_wrong == (made.predicted_class[chosen] != CAT).sum()
    assert score.counts.coverage == 1.0, "the score knows the prediction"


def test_baselines_where_nothing_is_found(made) -> None:
    got = error_enrichment(made.store, true_class=ELK, predicted_class=CAT)
    beside = enrichment_baselines(made.store, got)
    assert beside.clusters.reason
    assert beside.pixels.reason
    assert [plain.name for plain in beside.plain] == ["predicted", "score", "margin"]


def test_pixel_groups_are_thirds_and_colours(made) -> None:
    cell = error_cell(made.store, true_class=CAT, predicted_class=DOG)
    slices = pixel_slices(made.store, cell)
    counts = slices.count(cell.image_id)
    n = len(cell.image_id)
    assert np.abs(counts[:15] - n / 3).max() < 0.05 * n, "only ties keep thirds from being equal"
    assert counts[15:].sum() <= n


def test_clusters_look_at_no_label(made) -> None:
    """The same images are clustered once, whatever the errors asked for."""
    cells = [
        error_cell(made.store, true_class=CAT, predicted_class=other, seed=seed)
        for other, seed in ((DOG, 0), (ELK, 3))
    ]
    found = [cluster_slices(made.store, cell) for cell in cells]
    assert found[0] is found[1]
    ids = cells[0].image_id
    assert found[0].count(ids).sum() == len(ids), "every image is in one cluster"
    assert len(found[0]) == 20
    few = cluster_slices(made.store, cells[0], clusters=3)
    assert [few.label(place) for place in range(3)] == [
        f"cluster {place} of 3 of the embedding" for place in (1, 2, 3)
    ]
    assert sorted(np.concatenate([few.members(place) for place in range(3)])) == ids.tolist()


def test_without_embeddings_the_command_is_named(demo) -> None:
    with Store.open(demo) as store, pytest.raises(TableMissingError, match="doit capture"):
        cluster_enrichment(store, true_class=1, predicted_class=0)


def test_filters_are_the_winners_of_a_layer(made) -> None:
    cell = error_cell(made.store, true_class=CAT, predicted_class=DOG)
    for layers, chosen in (("conv", range(4)), ("all", range(5)), ([2], [2])):
        slices = filter_slices(made.store, cell, "mean", layers)
        want = {}
        for layer in chosen:
            for filter_ in range(6):
                ids = cell.image_id[made.paths[cell.image_id, layer] == filter_]
                if len(ids) > 1:
                    want[f"filter {filter_} of layer {layer}"] = ids.tolist()
        got = {slices.label(at): slices.members(at).tolist() for at in range(len(slices))}
        assert got == want
    with pytest.raises(ValueError, match="layers are"):
        filter_slices(made.store, cell, "mean", "deep")
    with pytest.raises(TableMissingError, match="doit paths"):
        filter_slices(made.store, cell, "balanced")


def test_images_that_cannot_be_looked_at_are_counted(demo) -> None:
    with Store.open(demo) as store:
        unreadable = pixel_enrichment(store, true_class=1, predicted_class=0)
        assert (unreadable.n_images, unreadable.n_unknown) == ((0, 0), 2)
        assert unreadable.reason == "there is no image of class 1 to look at"
        nobody = pixel_enrichment(store, true_class=2, predicted_class=0)
        assert nobody.reason == "there is no image of class 2 to look at"
        assert nobody.n_unknown == 0
