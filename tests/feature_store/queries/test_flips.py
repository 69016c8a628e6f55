"""Smallest flips against brute force over the rows that were written."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from feature_store import QueryError, Store, StoreWriter, TableMissingError, queries
from feature_store.errors import ImageNotFoundError

N_IMAGES = 120
SWEPT = range(10, 100)
NOT_FINITE, UNLABELLED = 20, 30
GRIDS = {
    "brightness": (1.0, (0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6)),
    "rotation": (0.0, (-30.0, -15.0, 0.0, 15.0, 30.0)),
    "blur": (0.0, (0.0, 0.01, 0.02)),
}


@dataclass
class Made:
    """A store and the rows of its table ``smallest_flips``."""

    store: Store
    rows: list[dict]
    true_class: np.ndarray

    def is_wrong(self, image: int) -> bool:
        """Whether the image is wrong without a change; that without a label is not."""
        return image % 3 == 0 and image != UNLABELLED


def write(folder) -> tuple[list[dict], np.ndarray]:
    rng = np.random.default_rng(5)
    ids = np.arange(N_IMAGES, dtype=np.int32)
    true_class = rng.integers(0, 3, N_IMAGES).astype(np.int16)
    is_bad = ids == NOT_FINITE
    predicted = ((true_class + (ids % 3 == 0)) % 3).astype(np.int16)
    confidence = np.linspace(0.4, 0.9, 7, dtype=np.float32)[ids % 7]
    rows = []
    for name in sorted(GRIDS):
        identity, grid = GRIDS[name]
        for image in SWEPT:
            for direction in (-1, 1):
                beyond = [m for m in grid if (m - identity) * direction > 0]
                if not beyond:
                    continue
                is_flipped = rng.random() < 0.6 and image != NOT_FINITE
                rows.append(
                    {
                        "image_id": image,
                        "perturbation": name,
                        "direction": direction,
                        "magnitude": float(rng.choice(beyond)) if is_flipped else None,
                        "flipped_class": int(rng.integers(0, 3)) if is_flipped else None,
                    }
                )
    types = {
        "image_id": pa.int32(),
        "perturbation": pa.string(),
        "direction": pa.int8(),
        "magnitude": pa.float64(),
        "flipped_class": pa.int16(),
    }
    with StoreWriter.open(folder) as writer, writer.begin("capture") as generation:
        names = pa.table(
            {"class_index": pa.array(range(3), pa.int16()), "class_name": list("abc")}
        )
        generation.write("classes", names)
        images = {
            "image_id": ids,
            "image_key": [f"{i:064x}" for i in ids],
            "split": ["test"] * N_IMAGES,
            "true_class": pa.array(true_class, mask=ids == UNLABELLED),
            "source": [f"row {i}" for i in ids],
            "encoded": pa.array([b"x"] * N_IMAGES, pa.binary()),
            "status": ["ok"] * N_IMAGES,
        }
        generation.write("images", pa.table(images))
        predictions = {
            "image_id": ids,
            "status": ["not_finite" if bad else "ok" for bad in is_bad],
            "predicted_class": pa.array(predicted, mask=is_bad),
            "confidence": pa.array(confidence, mask=is_bad),
            "margin": pa.array(np.linspace(0, 1, N_IMAGES, dtype=np.float32), mask=is_bad),
        }
        generation.write("predictions", pa.table(predictions))
        columns = {k: pa.array([row[k] for row in rows], kind) for k, kind in types.items()}
        generation.write("smallest_flips", pa.table(columns))
        generation.info["simulate"] = {
            "n": len(SWEPT),
            "perturbations": [
                {"name": name, "label": name.title(), "identity": identity, "grid": list(grid)}
                for name, (identity, grid) in GRIDS.items()
            ],
        }
    return rows, true_class


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flips") / "small"
    rows, true_class = write(folder)
    with Store.open(folder) as store:
        yield Made(store, rows, true_class)


def nearest(made, name: str, direction: int = 0) -> dict[int, tuple[float, float, int]]:
    """Return distance, magnitude and class of each image's nearest flip, walking the rows."""
    identity = GRIDS[name][0]
    found = {image: (math.inf, math.nan, -1) for image in SWEPT if image != NOT_FINITE}
    for row in made.rows:
        image, magnitude = row["image_id"], row["magnitude"]
        if row["perturbation"] != name or magnitude is None or image not in found:
            continue
        distance = round(abs(magnitude - identity), 6)
        if direction in {0, row["direction"]} and distance < found[image][0]:
            found[image] = (distance, magnitude, row["flipped_class"])
    return found


def test_what_was_swept(made):
    swept = queries.swept_perturbations(made.store)
    assert [(s.name, s.identity, s.grid) for s in swept] == [
        (name, *GRIDS[name]) for name in GRIDS
    ]
    assert swept[0].label == "Brightness"


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("direction", [-1, 0, 1])
def test_the_most_fragile_come_first(made, name, direction):
    want = {i: flip for i, flip in nearest(made, name, direction).items() if flip[0] < math.inf}
    order = sorted(want, key=lambda image: (want[image][0], image))
    found = queries.fragile_images(made.store, name, direction=direction, limit=1000)
    assert found.image_id.tolist() == order
    np.testing.assert_allclose(found.distance, [want[i][0] for i in order], atol=1e-9)
    assert found.magnitude.tolist() == [want[i][1] for i in order]
    assert found.flipped_class.tolist() == [want[i][2] for i in order]
    assert (found.n_flipped, found.n_swept) == (len(want), len(SWEPT) - 1)
    stay = set(SWEPT) - {NOT_FINITE, *want}
    assert 0 < found.n_never_wrong == sum(map(made.is_wrong, stay)) < len(stay)
    page = queries.fragile_images(made.store, name, direction=direction, limit=7, offset=5)
    assert page.image_id.tolist() == order[5:12]
    assert page.n_flipped == len(want)


def test_among_some_images(made):
    want = nearest(made, "rotation")
    asked = [3, 11, 12, 13, 40, 99, 118, 5000]
    swept = [i for i in asked if i in want]
    found = queries.fragile_images(made.store, "rotation", ids=asked)
    flipped = [i for i in swept if want[i][0] < math.inf]
    assert sorted(found.image_id.tolist()) == flipped
    assert (found.n_flipped, found.n_swept) == (len(flipped), len(swept))
    assert queries.fragile_images(made.store, "rotation", ids=[]).n_swept == 0


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("limit", [12, 1000])
def test_the_least_fragile_are_right_ones_before_wrong_ones(made, name, limit):
    want = nearest(made, name)

    def rank(image):
        kind = 2 if made.is_wrong(image) else int(image == UNLABELLED)
        return kind, -want[image][0], -(image % 7), image

    found = queries.sturdy_images(made.store, name, limit=limit)
    order = sorted(want, key=rank)
    assert found.image_id.tolist() == order[:limit]
    np.testing.assert_allclose(found.distance, [want[i][0] for i in order[:limit]], atol=1e-9)
    np.testing.assert_array_equal(found.magnitude, [want[i][1] for i in order[:limit]])
    never = [image for image in want if want[image][0] == math.inf]
    assert found.n_flipped == len(want) - len(never)
    assert 0 < found.n_never_wrong == sum(map(made.is_wrong, never)) < len(never)


@pytest.mark.parametrize("name", GRIDS)
def test_distances_of_all_that_were_swept(made, name):
    want = nearest(made, name)
    ids, distances = queries.flip_distances(made.store, name)
    assert ids.tolist() == sorted(want)
    np.testing.assert_allclose(distances, [want[i][0] for i in sorted(want)], atol=1e-9)


@pytest.mark.parametrize("name", GRIDS)
def test_quantiles_are_the_first_distance_that_the_share_lies_within(made, name):
    shares = (0.1, 0.25, 1 / 3, 0.5, 0.75, 0.9, 1.0)
    found = queries.flip_quantiles(made.store, name, quantiles=shares)
    want = nearest(made, name)
    labels = {i: -1 if i == UNLABELLED else int(made.true_class[i]) for i in want}
    assert found.true_class.tolist() == sorted(set(labels.values()))
    for row, index in enumerate(found.true_class):
        group = [want[i][0] for i in want if labels[i] == index]
        assert found.n[row] == len(group)
        assert found.n_flipped[row] == sum(d < math.inf for d in group)
        never = [i for i in want if labels[i] == index and want[i][0] == math.inf]
        assert found.n_never_wrong[row] == sum(map(made.is_wrong, never))
        for column, share in enumerate(shares):
            # By definition: try every distance there is, the nearest first.
            within = [
                d
                for d in sorted(set(group))
                if d < math.inf and sum(x <= d for x in group) / len(group) >= share - 1e-12
            ]
            if within:
                assert found.distances[row, column] == pytest.approx(within[0])
            else:
                assert np.isnan(found.distances[row, column])
    assert found.n_never_wrong.any()
    assert np.isnan(found.distances).any()
    assert np.isfinite(found.distances).any()


def test_quantiles_of_a_sample_without_censoring_are_numpys(made):
    group = np.sort(np.random.default_rng(0).random(30))
    for share in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0):
        (found,) = queries.flips._lower_quantiles(group, (share,))
        assert found == np.quantile(group, share, method="inverted_cdf")


def test_one_image(made):
    want = {
        (row["perturbation"], row["direction"]): (row["magnitude"], row["flipped_class"])
        for row in made.rows
        if row["image_id"] == 42
    }
    found = queries.fragility(made.store, 42)
    assert [(f.perturbation, f.direction) for f in found] == [
        ("brightness", -1), ("brightness", 1), ("rotation", -1), ("rotation", 1), ("blur", 1),
    ]  # fmt: skip
    assert {(f.perturbation, f.direction): (f.magnitude, f.flipped_class) for f in found} == want
    assert queries.fragility(made.store, 3) == ()
    with pytest.raises(ImageNotFoundError):
        queries.fragility(made.store, N_IMAGES)


@pytest.mark.parametrize("name", ["hue", "'; DROP TABLE images; --", "", "rotation' OR '1'='1"])
def test_a_perturbation_that_was_not_swept_is_refused(made, name):
    for ask in (queries.fragile_images, queries.flip_quantiles, queries.flip_distances):
        with pytest.raises(QueryError, match="swept were brightness, rotation, blur"):
            ask(made.store, name)


def test_wrong_numbers_are_refused(made):
    for direction in (2, 0.5, "1", None):
        with pytest.raises(QueryError, match="direction"):
            queries.fragile_images(made.store, "blur", direction=direction)
    for share in (0.0, -0.1, 1.5, math.nan):
        with pytest.raises(QueryError, match="quantiles"):
            queries.flip_quantiles(made.store, "blur", quantiles=(0.5, share))


def test_before_the_stage_the_command_is_named(commit):
    with Store.open(commit("classes", "images", "predictions")) as store:
        assert queries.swept_perturbations(store) == ()
        for ask in (
            lambda: queries.fragile_images(store, "rotation"),
            lambda: queries.flip_quantiles(store, "rotation"),
            lambda: queries.flip_distances(store, "rotation"),
            lambda: queries.fragility(store, 0),
        ):
            with pytest.raises(TableMissingError) as caught:
                ask()
            assert caught.value.command == "doit simulate:demo"


def test_the_image_table_holds_margins(made):
    table = queries.image_table(made.store)
    want = np.linspace(0, 1, N_IMAGES, dtype=np.float32)
    np.testing.assert_array_equal(table.margin, np.delete(want, NOT_FINITE))
    assert table.margin.dtype == np.float32


def test_a_real_sweep_agrees_with_its_curves(digits_store):
    """The nearest flip is the first other prediction of the stored curve, on either side."""
    curves = {}
    for image, magnitude, predicted in digits_store.sql(
        "SELECT image_id, magnitude, predicted_class FROM sweeps WHERE perturbation = 'rotation'"
    ).fetchall():
        curves.setdefault(image, {})[magnitude] = predicted
    ids, distances = queries.flip_distances(digits_store, "rotation")
    assert ids.tolist() == sorted(curves)
    for image, distance in zip(ids.tolist(), distances.tolist(), strict=True):
        curve = curves[image]
        others = [abs(m) for m, predicted in curve.items() if predicted != curve[0.0]]
        assert distance == min(others, default=math.inf)


def test_errors_among_what_never_flips_are_counted_for_every_change(digits_store):
    """From the predictions and the stored flips alone; that of no change is not asked for."""
    rows = digits_store.sql(
        "SELECT perturbation, true_class, count(*), sum((p.predicted_class != true_class)::INT) "
        "FROM (SELECT perturbation, image_id FROM smallest_flips "
        "GROUP BY ALL HAVING count(magnitude) = 0) never "
        "JOIN images USING (image_id) JOIN predictions p USING (image_id) GROUP BY ALL"
    ).fetchall()
    want = {(name, index): (never, wrong) for name, index, never, wrong in rows}
    assert any(wrong for _, wrong in want.values()), "nothing to count"
    for sweep in queries.swept_perturbations(digits_store):
        found = queries.flip_quantiles(digits_store, sweep.name)
        for k, index in enumerate(found.true_class.tolist()):
            never, wrong = want.get((sweep.name, index), (0, 0))
            assert found.n[k] - found.n_flipped[k] == never
            assert found.n_never_wrong[k] == wrong
