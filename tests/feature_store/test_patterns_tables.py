from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from feature_store.patterns.mined import Population
from feature_store.patterns.statistics import hypergeometric_tail, wilson_interval
from feature_store.patterns.tables import pattern_tables

N_CLASSES = 4


def random_population(
    seed: int, *, labelled: float = 0.9, n_classes: int = N_CLASSES
) -> Population:
    rng = np.random.default_rng(seed)
    n_images, n_layers = int(rng.integers(60, 200)), int(rng.integers(2, 7))
    true_class = rng.integers(0, n_classes, n_images)
    paths = np.stack(
        [
            np.where(rng.random(n_images) < 0.5, true_class % 3, rng.integers(-1, 4, n_images))
            for _ in range(n_layers)
        ],
        axis=1,
    ).astype(np.int32)
    ids = np.sort(rng.permutation(3 * n_images)[:n_images]).astype(np.int32)
    predicted = np.where(
        rng.random(n_images) < 0.7, true_class, rng.integers(0, n_classes, n_images)
    )
    true_class[rng.random(n_images) >= labelled] = -1
    return Population(
        paths=pa.table(
            {"image_id": ids, **{f"layer_{i:03d}": paths[:, i] for i in range(n_layers)}}
        ),
        true_class=true_class.astype(np.int32),
        predicted_class=predicted.astype(np.int32),
        is_wrong=(true_class >= 0) & (true_class != predicted),
        expected_wrong=np.where(true_class >= 0, 0.25, 0.0),
        n_classes=n_classes,
    )


def written(images: Population) -> dict[str, pa.Table]:
    made = pattern_tables(images, min_images=4)
    return {name: pa.concat_tables(list(pieces)) for name, pieces in made.items()}


def matrix(images: Population) -> np.ndarray:
    return np.stack([images.paths[n].to_numpy() for n in images.paths.column_names[1:]], axis=1)


@pytest.mark.parametrize("seed", range(25))
def test_tables_agree_with_each_other_and_with_the_images(seed: int) -> None:
    images = random_population(seed)
    tables = written(images)
    paths, ids = matrix(images), images.image_ids
    rows = tables["patterns"].to_pylist()
    assert [row["pattern_id"] for row in rows] == list(range(len(rows)))
    keys = [(row["first_layer"], row["lo"], row["last_layer"]) for row in rows]
    assert keys == sorted(keys)
    order = {
        layer: tables["pattern_images"]
        .filter(pa.compute.equal(tables["pattern_images"]["first_layer"], layer))
        .to_pydict()
        for layer in range(paths.shape[1])
    }
    of_image: dict[int, list[int]] = {int(i): [] for i in ids}
    labels = images.true_class[images.true_class >= 0]
    for row in rows:
        window = paths[:, row["first_layer"] : row["last_layer"] + 1]
        has = (window == row["items"]).all(axis=1)
        positions = order[row["first_layer"]]
        assert positions["position"] == list(range(len(ids)))
        members = positions["image_id"][row["lo"] : row["hi"]]
        assert set(members) == set(ids[has].tolist())
        assert row["support"] == has.sum() == row["hi"] - row["lo"]
        for image in members:
            of_image[image].append(row["pattern_id"])
        counts = np.bincount(images.true_class[has & (images.true_class >= 0)], minlength=4)
        assert row["class_counts"] == counts.tolist()
        assert (
            row["predicted_counts"]
            == np.bincount(images.predicted_class[has], minlength=4).tolist()
        )
        if not counts.sum():
            assert row["top_class"] is row["purity_lcb"] is row["wrong"] is None
            continue
        assert row["top_class"] == counts.argmax()
        low = wilson_interval(counts.max(), counts.sum())[0]
        assert row["purity_lcb"] == pytest.approx(low, rel=1e-6)
        length = row["last_layer"] - row["first_layer"] + 1
        score = low * np.log2(has.sum()) * np.sqrt(length)
        assert row["rank_score"] == pytest.approx(score, rel=1e-6)
        chance = np.prod(
            [(paths[:, row["first_layer"] + i] == f).mean() for i, f in enumerate(row["items"])]
        )
        assert row["log2_lift"] == pytest.approx(np.log2(has.mean() / chance), abs=1e-5)
        assert row["wrong"] == images.is_wrong[has].sum()
        assert row["expected_wrong"] == pytest.approx(0.25)
        p = hypergeometric_tail(
            counts.max(), counts.sum(), (labels == row["top_class"]).sum(), len(labels)
        )
        assert row["q_class"] >= min(p * N_CLASSES, 1.0) * 0.999_999
    listed = tables["image_patterns"].to_pydict()
    assert listed["image_id"] == ids.tolist()
    assert dict(zip(listed["image_id"], listed["pattern_ids"], strict=True)) == of_image


@pytest.mark.parametrize("seed", range(10))
def test_parents_are_the_next_smaller_runs(seed: int) -> None:
    rows = written(random_population(seed))["patterns"].to_pylist()
    for row in rows:
        around = [
            other
            for other in rows
            if other["first_layer"] == row["first_layer"]
            and other["last_layer"] < row["last_layer"]
            and other["items"] == row["items"][: len(other["items"])]
        ]
        want = max(around, key=lambda r: r["last_layer"])["pattern_id"] if around else None
        assert row["parent_id"] == want


@pytest.mark.parametrize("seed", range(10))
def test_items_lead_from_a_filter_to_its_patterns(seed: int) -> None:
    tables = written(random_population(seed))
    rows = {row["pattern_id"]: row for row in tables["patterns"].to_pylist()}
    want = sorted(
        (row["first_layer"] + at, f, -row["rank_score"], row["pattern_id"], row["support"])
        for row in rows.values()
        for at, f in enumerate(row["items"])
    )
    items = tables["pattern_items"].to_pylist()
    assert [
        (i["layer_index"], i["filter_index"], -i["rank_score"], i["pattern_id"], i["support"])
        for i in items
    ] == want
    assert all(item["filter_index"] >= 0 for item in items)


def test_stored_orders_start_with_the_best() -> None:
    table = written(random_population(3))["patterns"].to_pylist()
    best = max(table, key=lambda row: row["rank_score"])
    assert best["distinctive_rank"] == 1
    for name in ("distinctive_rank", "general_rank"):
        places = sorted(row[name] for row in table if row[name] is not None)
        assert places == list(range(1, len(places) + 1))
        assert places


def test_without_any_label_predictions_rank() -> None:
    rows = written(random_population(4, labelled=0.0))["patterns"].to_pylist()
    assert rows
    assert all(row["top_class"] is None and row["q_class"] is None for row in rows)
    assert max(row["rank_score"] for row in rows) > 0


def test_many_classes_keep_no_dense_counts() -> None:
    rows = written(random_population(5, n_classes=60))["patterns"].to_pylist()
    assert rows
    assert all(row["class_counts"] is None and row["predicted_counts"] is None for row in rows)
    assert any(row["top_class"] is not None for row in rows)


def test_no_pattern_at_all() -> None:
    images = random_population(6)
    made = pattern_tables(images, min_images=10_000)
    tables = {name: pa.concat_tables(list(pieces)) for name, pieces in made.items()}
    assert tables["patterns"].num_rows == tables["pattern_items"].num_rows == 0
    assert tables["image_patterns"]["pattern_ids"].to_pylist() == [[]] * len(images.image_ids)
