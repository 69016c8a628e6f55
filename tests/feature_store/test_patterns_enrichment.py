"""Error enrichment against a slow but plain count of the same thing, and against no signal."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import optimize, stats

from feature_store import TableMissingError
from feature_store.patterns.baselines import cluster_slices, filter_slices, pixel_slices
from feature_store.patterns.enriched import SliceCounts
from feature_store.patterns.enrichment import (
    confusion_cells,
    draw_halves,
    error_cell,
    error_enrichment,
    pattern_slices,
    permutation_check,
)
from feature_store.patterns.statistics import lift_interval, tarone_family
from tests.feature_store.planted import (
    CAT,
    COPIES,
    DOG,
    ELK,
    FROG,
    N_IMAGES,
    OWL,
    PLANTED,
    Made,
    make,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE = 0.05


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """A store in which one pattern makes cats look like dogs, with what it was made from."""
    found = make(tmp_path_factory.mktemp("stores") / "planted")
    yield found
    found.store.close()


def patterns(made: Made) -> list[dict]:
    name = '"patterns__mean__patterns"'
    return made.store.arrow(f"SELECT * FROM {name} ORDER BY pattern_id").to_pylist()


def has(made: Made, row: dict) -> np.ndarray:
    window = made.paths[:, row["first_layer"] : row["last_layer"] + 1]
    return (window == row["items"]).all(axis=1)


def distinct(made: Made, true: int, split: str | None = None) -> np.ndarray:
    """Lowest ids of the different images of a class."""
    ids = np.flatnonzero((made.true_class == true) & ((split is None) | (made.split == split)))
    first: dict[int, int] = {}
    for image in ids.tolist():
        first.setdefault(int(made.key[image]), image)
    return np.array(sorted(first.values()))


def tail(hits: int, members: int, errors: int, images: int) -> float:
    return float(stats.hypergeom.sf(hits - 1, images, errors, members)) if hits >= 3 else 1.0


def oracle(made: Made, true: int, predicted: int, split: str | None, seed: int, last: int) -> dict:
    """Everything by counting images of sets, with SciPy's distribution and rates."""
    cell = error_cell(
        made.store, true_class=true, predicted_class=predicted, split=split, seed=seed
    )
    ids = distinct(made, true, split)
    halves = [ids[cell.is_discovery], ids[~cell.is_discovery]]
    wrong = made.predicted_class == predicted
    n = [len(half) for half in halves]
    m = [int(wrong[half].sum()) for half in halves]
    rows = [row for row in patterns(made) if row["last_layer"] <= last]
    counts = {}
    for row in rows:
        mask = has(made, row)
        counts[row["pattern_id"]] = [
            (int((mask & wrong)[half].sum()), int(mask[half].sum())) for half in halves
        ]
    least = np.array([tail(min(c[0][1], m[0]), c[0][1], m[0], n[0]) for c in counts.values()])
    k = next(k for k in range(1, len(least) + 2) if (least <= RATE / k).sum() <= k)
    family = [p for p, low in zip(counts, least, strict=True) if low <= RATE / k]
    p = {key: tail(*counts[key][0], m[0], n[0]) for key in family}
    q = dict(zip(family, stats.false_discovery_control(list(p.values())), strict=True))
    found = [key for key in family if q[key] < RATE]
    found.sort(key=lambda key: (q[key], -counts[key][0][0], -counts[key][0][1], key))
    members = {row["pattern_id"]: has(made, row) & wrong for row in rows}
    errors = np.isin(np.arange(N_IMAGES), halves[0])
    kept: list[int] = []
    for key in found:
        own = members[key] & errors
        others = [members[other] & errors for other in kept]
        if all((own & o).sum() <= 0.5 * (own | o).sum() for o in others):
            kept.append(key)
    again = [tail(*counts[key][1], m[1], n[1]) for key in kept]
    again_q = stats.false_discovery_control(again) if again else []
    return {
        "n": n,
        "m": m,
        "n_candidates": len(rows),
        "n_tested": len(family),
        "n_found": len(found),
        "kept": kept,
        "p": p,
        "q": q,
        "counts": counts,
        "again": dict(zip(kept, zip(again, again_q, strict=True), strict=True)),
    }


@pytest.mark.parametrize("true", [CAT, FROG, ELK])
@pytest.mark.parametrize("split", [None, "train"])
@pytest.mark.parametrize("layers", ["conv", "all"])
def test_equals_counting_sets(made, true: int, split: str | None, layers: str) -> None:
    predicted = CAT if true == ELK else DOG
    want = oracle(made, true, predicted, split, 5, 3 if layers == "conv" else 4)
    got = error_enrichment(
        made.store,
        true_class=true,
        predicted_class=predicted,
        split=split,
        layers=layers,
        rate=RATE,
        seed=5,
    )
    assert (list(got.n_images), list(got.n_errors)) == (want["n"], want["m"])
    assert (got.n_candidates, got.n_tested) == (want["n_candidates"], want["n_tested"])
    assert got.n_found == want["n_found"]
    everything = sorted(
        (*got.confirmed, *got.unconfirmed), key=lambda e: want["kept"].index(e.key)
    )
    assert [entry.key for entry in everything] == want["kept"]
    assert sum(1 + len(entry.twins) for entry in everything) == want["n_found"]
    for entry in everything:
        there = want["counts"][entry.key]
        assert entry.p == pytest.approx(want["p"][entry.key], rel=1e-6)
        assert entry.q == pytest.approx(want["q"][entry.key], rel=1e-6)
        assert (entry.discovery.n_member_errors, entry.discovery.n_members) == there[0]
        assert (entry.confirmation.n_member_errors, entry.confirmation.n_members) == there[1]
        again = (entry.confirmation_p, entry.confirmation_q)
        assert again == pytest.approx(want["again"][entry.key], rel=1e-6)
        assert (entry in got.confirmed) == (entry.confirmation_q < RATE)
        lift = (there[1][0] / there[1][1]) / (want["m"][1] / want["n"][1])
        assert entry.confirmation.lift == pytest.approx(lift)
        low, high = entry.confirmation.lift_interval
        assert low <= lift <= high + 1e-9
        row = patterns(made)[entry.key]
        ids = distinct(made, true, split)
        members = ids[has(made, row)[ids]]
        assert sorted(entry.image_ids) == members.tolist()
        n_errors = int((made.predicted_class[members] == predicted).sum())
        first = made.predicted_class[list(entry.image_ids)] == predicted
        assert first.tolist() == [True] * n_errors + [False] * (len(members) - n_errors)


def test_the_planted_pattern_is_found_and_confirmed(made) -> None:
    for seed in range(5):
        got = error_enrichment(made.store, true_class=CAT, predicted_class=DOG, seed=seed)
        best = got.confirmed[0]
        row = patterns(made)[best.key]
        at = 1 - row["first_layer"]
        assert tuple(row["items"][at : at + 2]) == PLANTED
        assert best.confirmation.lift > 3
        assert got.reason == ""
        assert "are predicted dog" in got.sentence(best)
        assert "(q < 0.0001)" in got.sentence(best)
        dull = replace(best, q=0.0312, confirmation_p=0.01)
        assert "(q = 0.031), confirmed here (p = 0.01)" in got.sentence(dull)


def test_layers_by_index_and_the_linear_one_is_left_out(made) -> None:
    ask = {"true_class": CAT, "predicted_class": DOG}
    rows = patterns(made)
    conv = error_enrichment(made.store, **ask)
    assert conv.n_candidates == sum(row["last_layer"] < 4 for row in rows)
    assert (conv.path_set, conv.layers) == ("mean", "conv")
    by_index = error_enrichment(made.store, layers=range(4), **ask)
    assert by_index == replace(conv, layers=(0, 1, 2, 3))
    early = error_enrichment(made.store, layers=[1, 2], **ask)
    assert early.n_candidates == sum((r["first_layer"], r["last_layer"]) == (1, 2) for r in rows)
    for layers in ("deep", [5], [-1]):
        with pytest.raises(ValueError, match="layers are"):
            error_enrichment(made.store, layers=layers, **ask)


def test_nothing_is_said_in_words(made) -> None:
    ask = {"predicted_class": DOG, "seed": 1}
    frog = error_enrichment(made.store, true_class=FROG, **ask)
    assert not frog.confirmed
    assert "no pattern is over-represented among" in frog.reason
    assert "errors of <b>frog</b> predicted dog at q < 0.05" in frog.reason
    owl = error_enrichment(made.store, true_class=OWL, **ask)
    assert owl.reason == "no image of owl is predicted dog"
    elk = error_enrichment(made.store, true_class=ELK, predicted_class=CAT)
    assert elk.reason.startswith("1 error of elk predicted cat: too few to tell")
    assert (elk.n_tested, elk.n_found, elk.confirmed, elk.unconfirmed) == (0, 0, (), ())
    one_sided = replace(frog, n_found=2)
    assert "looked over-represented on one half" in one_sided.why_nothing()
    assert "no image of" in replace(frog, n_images=(0, 0)).why_nothing()
    assert "no patterns to test" in replace(frog, n_candidates=0).why_nothing()


def test_what_was_found_on_one_half_only_is_no_result(made) -> None:
    """A hundred permutations at a lax rate find something on one half; little of it is shown."""
    cell = error_cell(made.store, true_class=FROG, predicted_class=DOG)
    slices = pattern_slices(made.store, "mean", "conv")
    lax = permutation_check(cell, slices, permutations=100, rate=0.6)
    assert lax.n_found > lax.n_reported


def test_wrong_questions_are_refused(made) -> None:
    for ask, words in (
        ({"true_class": CAT, "predicted_class": CAT}, "is no error"),
        ({"true_class": CAT, "predicted_class": 9}, "classes are 0 to 4"),
        ({"true_class": -1, "predicted_class": DOG}, "classes are 0 to 4"),
        ({"true_class": CAT, "predicted_class": DOG, "split": "dev"}, "known: test, train"),
        ({"true_class": CAT, "predicted_class": DOG, "rate": 0.0}, "between 0 and 1"),
        ({"true_class": CAT, "predicted_class": DOG, "rate": 1.0}, "between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=words):
            error_enrichment(made.store, **ask)
    with pytest.raises(TableMissingError, match="doit mine"):
        error_enrichment(made.store, "paper", true_class=CAT, predicted_class=DOG)


def test_confusion_cells(made) -> None:
    for split in (None, "test"):
        mask = (split is None) | (made.split == split)
        want = []
        for true in range(5):
            n_true = int(((made.true_class == true) & mask).sum())
            for predicted in range(5):
                is_cell = (made.true_class == true) & (made.predicted_class == predicted)
                n = int((is_cell & mask).sum())
                if n and true != predicted:
                    want.append((-n, true, predicted, n_true))
        got = confusion_cells(made.store, split)
        assert [(-c.n, c.true_class, c.predicted_class, c.n_true) for c in got] == sorted(want)
        assert all(cell.share == cell.n / cell.n_true for cell in got)
    with pytest.raises(ValueError, match="no split 'dev'"):
        confusion_cells(made.store, "dev")


def test_halves_hold_equal_shares_of_every_outcome(made) -> None:
    outcome = np.random.default_rng(0).choice(4, size=501, p=(0.7, 0.2, 0.08, 0.02))
    halves = [draw_halves(outcome, seed=seed) for seed in range(30)]
    for half in halves:
        assert abs(int(half.sum()) - int((~half).sum())) == 1
        ours, theirs = (np.bincount(outcome[part], minlength=4) for part in (half, ~half))
        assert np.abs(ours - theirs).max() <= 1
    assert (draw_halves(outcome, seed=7) == halves[7]).all()
    assert not (halves[0] == halves[1]).all()
    share = np.mean(halves, axis=0)
    assert 0.1 < share.min() < share.max() < 0.9, "every image is on either half at times"
    assert draw_halves(np.zeros(0, np.int64), seed=0).size == 0
    ask = {"true_class": CAT, "seed": 4}
    one, other = (error_cell(made.store, predicted_class=p, **ask) for p in (DOG, OWL))
    assert (one.is_discovery == other.is_discovery).all(), "every error of a class, same halves"


def test_copies_count_once(made) -> None:
    cell = error_cell(made.store, true_class=CAT, predicted_class=DOG)
    assert cell.image_id.tolist() == distinct(made, CAT).tolist()
    assert cell.n_copies == COPIES == int((made.true_class == CAT).sum()) - len(cell.image_id)
    got = error_enrichment(made.store, true_class=CAT, predicted_class=DOG)
    assert got.n_copies == COPIES
    assert not {N_IMAGES - 1, N_IMAGES - 2} & {i for e in got.confirmed for i in e.image_ids}


def test_permuting_keeps_the_numbers_and_breaks_the_link(made) -> None:
    cell = error_cell(made.store, true_class=CAT, predicted_class=DOG)
    dealt = cell.permuted(3)
    assert sorted(dealt.outcome.tolist()) == sorted(cell.outcome.tolist())
    assert not (dealt.outcome == cell.outcome).all()
    assert (dealt.permuted(3).seed, dealt.image_id is cell.image_id) == (3, True)
    ours, theirs = (
        int(dealt.is_error[half].sum()) for half in (dealt.is_discovery, ~dealt.is_discovery)
    )
    assert abs(ours - theirs) <= 1


def _families(made: Made):
    for true in (CAT, FROG):
        cell = error_cell(made.store, true_class=true, predicted_class=DOG)
        yield cell, pattern_slices(made.store, "mean", "conv")
        yield cell, pattern_slices(made.store, "mean", "all")
        yield cell, filter_slices(made.store, cell, "mean", "all")
        yield cell, cluster_slices(made.store, cell)
        yield cell, pixel_slices(made.store, cell)


def _allowed(n: int) -> int:
    """So many false reports of n runs are within chance of the declared rate (99.9 %)."""
    return int(stats.binom.ppf(0.999, n, RATE))


def test_permuted_errors_report_nothing(made) -> None:
    for cell, slices in _families(made):
        check = permutation_check(cell, slices, permutations=50, rate=RATE)
        assert check.n == 50
        assert check.n_reported <= check.n_found <= _allowed(50), slices.noun
        assert check.n_reported <= RATE * 50, slices.noun


@pytest.mark.accept
def test_permuted_errors_report_nothing_in_200_runs(made) -> None:
    for cell, slices in _families(made):
        check = permutation_check(cell, slices, permutations=200, rate=RATE, seed=1000)
        assert check.n_found <= _allowed(200), slices.noun
        assert check.n_reported <= RATE * 200, slices.noun


def test_counts_without_members_have_no_share() -> None:
    empty = SliceCounts(n_members=0, n_member_errors=0, n_images=9, n_errors=0)
    assert (empty.share, empty.coverage, empty.lift) == (None, None, None)
    assert empty.lift_interval == (0.0, float("inf"))


@pytest.mark.accept
def test_permuted_errors_of_the_demo_report_nothing(digits_store) -> None:
    for split in ("test", None):
        for kind in confusion_cells(digits_store, split)[:4]:
            cell = error_cell(
                digits_store,
                true_class=kind.true_class,
                predicted_class=kind.predicted_class,
                split=split,
            )
            for path_set in ("paper", "mean", "balanced"):
                slices = pattern_slices(digits_store, path_set, "conv")
                check = permutation_check(cell, slices, permutations=200, rate=RATE)
                assert check.n_found <= _allowed(200)
                assert check.n_reported <= RATE * 200


@pytest.mark.parametrize("seed", range(5))
def test_tarone_family_is_tarones(seed: int) -> None:
    least = np.random.default_rng(seed).random(200) ** 6
    k = next(k for k in range(1, 201) if (least <= RATE / k).sum() <= k)
    got = tarone_family(least, RATE)
    assert got.tolist() == (least <= RATE / k).tolist()
    assert 0 < got.sum() <= k
    assert not tarone_family(np.ones(3), RATE).any()
    assert tarone_family([], RATE).size == 0


def test_lift_interval_covers_the_lift() -> None:
    rng = np.random.default_rng(0)
    for n, rest, rate, other in ((40, 400, 0.3, 0.1), (15, 500, 0.1, 0.1), (200, 300, 0.2, 0.05)):
        k, m = rng.binomial(n, rate, 2000), rng.binomial(rest, other, 2000)
        low, high = lift_interval(k, n, k + m, n + rest)
        true = rate / ((n * rate + rest * other) / (n + rest))
        assert 0.935 < np.mean((low <= true) & (true <= high)) < 0.99


@pytest.mark.parametrize(
    ("k", "n", "m", "total"), [(5, 9, 8, 30), (3, 40, 20, 500), (7, 7, 9, 50)]
)
def test_lift_interval_by_likelihood(k: int, n: int, m: int, total: int) -> None:
    """At its ends the data are 1.96 standard deviations away from what would be likeliest."""
    for sign, bound in zip((1, -1), lift_interval(k, n, m, total), strict=True):
        ratio = bound * (total - n) / (total - n * bound)

        def loss(share: float, ratio: float = ratio) -> float:
            ours = min(ratio * share, 1 - 1e-12)
            return -(
                k * np.log(ours)
                + (n - k) * np.log(1 - ours)
                + (m - k) * np.log(share)
                + (total - n - m + k) * np.log(1 - share)
            )

        most = min(1.0, 1 / ratio) - 1e-9
        share = optimize.minimize_scalar(
            loss, bounds=(1e-9, most), method="bounded", options={"xatol": 1e-12}
        ).x
        ours = ratio * share
        deviation = np.sqrt(ours * (1 - ours) / n + ratio**2 * share * (1 - share) / (total - n))
        away = (k / n - ratio * (m - k) / (total - n)) / deviation
        assert away == pytest.approx(sign * 1.96, abs=2e-3)


def test_lift_interval_at_the_edges() -> None:
    low, high = lift_interval([0, 5, 0, 5, 0], [0, 9, 4, 9, 9], [5, 9, 0, 5, 5], [9, 9, 9, 30, 30])
    assert low[:3].tolist() == [0, 0, 0]
    assert np.isinf(high[:3]).all()
    assert 1 < low[3] < high[3] == pytest.approx(30 / 9), "no lift is larger than all over drawn"
    assert low[4] == pytest.approx(0)
    assert 0 < high[4] < 2
