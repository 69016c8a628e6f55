from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from feature_store import TableMissingError, queries
from feature_store.patterns.statistics import wilson_interval

LIMIT = 1000


def patterns(made) -> list[dict]:
    name = '"patterns__paper__patterns"'
    return made.store.arrow(f"SELECT * FROM {name} ORDER BY pattern_id").to_pylist()


def has(made, row: dict) -> np.ndarray:
    """Images (as a mask by id) that have a pattern, from the paths themselves."""
    window = made.paths[:, row["first_layer"] : row["last_layer"] + 1]
    return (window == row["items"]).all(axis=1) & made.good


def jaccard(a: set[int], b: set[int]) -> float:
    return len(a & b) / len(a | b)


def no_twins(made, rows: list[dict], ordered: list[int]) -> list[int]:
    members = {row["pattern_id"]: set(np.flatnonzero(has(made, row)).tolist()) for row in rows}
    kept: list[int] = []
    for pattern in ordered:
        if all(jaccard(members[pattern], members[other]) <= 0.5 for other in kept):
            kept.append(pattern)
    return kept


def test_members_equal_the_paths(made) -> None:
    rows = patterns(made)
    assert len(rows) > 50
    for row in rows:
        got = queries.pattern_members(made.store, "paper", row["pattern_id"])
        assert set(got.tolist()) == set(np.flatnonzero(has(made, row)).tolist())
        assert len(got) == row["support"]


def test_members_page_with_the_selected_first(made) -> None:
    everything = queries.pattern_members(made.store, "paper", 0)
    chosen = everything[[3, 1]]
    got = queries.pattern_members(made.store, "paper", 0, selection=chosen)
    rest = [i for i in everything if i not in set(chosen.tolist())]
    assert got.tolist() == [everything[1], everything[3], *rest]
    page = queries.pattern_members(made.store, "paper", 0, limit=2, offset=1)
    assert page.tolist() == everything[1:3].tolist()
    with pytest.raises(IndexError, match="no pattern"):
        queries.pattern_members(made.store, "paper", 10**6)
    with pytest.raises(IndexError, match="no pattern"):
        queries.pattern_members(made.store, "paper", -1)


@pytest.mark.parametrize("image", [0, 17, 250])
def test_patterns_of_an_image_are_those_on_its_path(made, image: int) -> None:
    rows = patterns(made)
    own = [row for row in rows if has(made, row)[image]]
    own.sort(key=lambda row: (-row["rank_score"], row["pattern_id"]))
    want = no_twins(made, rows, [row["pattern_id"] for row in own])
    got = queries.patterns_of_image(made.store, "paper", image, limit=LIMIT)
    assert [card.pattern_id for card in got] == want
    assert (got.kind, got.n_found) == ("image", len(own))
    by_path = queries.patterns_of_path(made.store, "paper", made.paths[image], limit=LIMIT)
    assert [card.pattern_id for card in by_path] == want
    of_one = queries.patterns_of_selection(made.store, "paper", [image], limit=LIMIT)
    assert [card.pattern_id for card in of_one] == want
    assert all(card.n_selected == 1 for card in of_one)


def test_images_without_a_path_have_no_pattern(made) -> None:
    for image in (7, 11, -1, 10**7):
        assert not queries.patterns_of_image(made.store, "paper", image)
        assert not queries.patterns_of_selection(made.store, "paper", [image])
    assert not queries.patterns_of_selection(made.store, "paper", [])


def test_a_path_that_is_nowhere(made) -> None:
    assert not queries.patterns_of_path(made.store, "paper", [-1, -1, -1, -1])
    with pytest.raises(ValueError, match="4 layers"):
        queries.patterns_of_path(made.store, "paper", [1, 2])


def test_two_images_get_what_both_have(made) -> None:
    rows = patterns(made)
    shared = next(row for row in rows if row["support"] > 20)
    pair = np.flatnonzero(has(made, shared))[:2]
    got = queries.patterns_of_selection(made.store, "paper", pair, limit=LIMIT)
    assert got.kind == "shared"
    assert got.n_found == sum(bool(has(made, row)[pair].all()) for row in rows)
    assert all(card.n_selected == 2 for card in got)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("has_base", [False, True])
def test_selection_equals_scipy(made, seed: int, has_base: bool) -> None:
    """Against all images, or against those that the selection is from."""
    rng = np.random.default_rng(seed)
    rows = patterns(made)
    biased = np.flatnonzero((made.true_class == seed % 3) & made.good)
    chosen = rng.choice(biased, size=(4, 12, 30, 60, 80, 40)[seed], replace=False)
    is_chosen = np.zeros(len(made.good), dtype=bool)
    is_chosen[chosen] = True
    is_base = made.good.copy()
    if has_base:
        is_base &= is_chosen | (rng.random(len(is_base)) < 0.4)
    n_images, p = int(is_base.sum()), {}
    in_base = {row["pattern_id"]: int((has(made, row) & is_base).sum()) for row in rows}
    for row in rows:
        k = int((has(made, row) & is_chosen).sum())
        tail = stats.hypergeom.sf(k - 1, n_images, in_base[row["pattern_id"]], len(chosen))
        p[row["pattern_id"]] = (tail if k >= 3 else 1.0, k)
    q = stats.false_discovery_control([p[row["pattern_id"]][0] for row in rows])
    found = [
        (rate, -p[row["pattern_id"]][1], -row["rank_score"], row["pattern_id"])
        for row, rate in zip(rows, q, strict=True)
        if rate < 0.05
    ]
    # Equal up to rounding is a tie.
    found.sort(key=lambda entry: (float(f"{entry[0]:.9e}"), *entry[1:]))
    want = no_twins(made, rows, [entry[-1] for entry in found])
    among = np.flatnonzero(is_base) if has_base else None
    got = queries.patterns_of_selection(made.store, "paper", chosen, among=among, limit=LIMIT)
    assert (got.kind, got.n_found, got.n_tested) == ("selection", len(found), len(rows))
    assert {card.pattern_id for card in got} == set(want) or len(got) == len(want)
    rates = {entry[-1]: entry[0] for entry in found}
    for card in got:
        assert card.q == pytest.approx(rates[card.pattern_id], rel=1e-6)
        assert card.n_selected == p[card.pattern_id][1]
        assert card.n_selection == len(chosen)
        assert card.lift == pytest.approx(
            card.n_selected / len(chosen) / (in_base[card.pattern_id] / n_images)
        )
        assert card.n_among == in_base[card.pattern_id]
        assert set(card.image_ids[: card.n_selected]) <= set(chosen.tolist())
    assert [card.q for card in got] == sorted(card.q for card in got)


def test_a_random_selection_finds_nothing(made) -> None:
    found = 0
    for seed in range(20):
        chosen = np.random.default_rng(seed).choice(300, size=40, replace=False)
        found += len(queries.patterns_of_selection(made.store, "paper", chosen)) > 0
    assert found <= 3, "one in twenty is what the false-discovery rate allows"


def test_filters_all_then_any(made) -> None:
    rows = patterns(made)
    row = max(rows, key=lambda r: (len(r["items"]), r["support"]))
    wanted = [(row["first_layer"] + at, f) for at, f in enumerate(row["items"])][:2]

    def held(other: dict) -> int:
        items = {(other["first_layer"] + at, f) for at, f in enumerate(other["items"])}
        return len(items & set(wanted))

    matching = sorted(
        (r for r in rows if held(r)), key=lambda r: (-held(r), -r["rank_score"], r["pattern_id"])
    )
    got = queries.patterns_of_filters(made.store, "paper", wanted, limit=LIMIT)
    assert [card.pattern_id for card in got] == no_twins(
        made, rows, [r["pattern_id"] for r in matching]
    )
    assert got.n_found == len(matching)
    assert got.n_with_all == sum(held(r) == 2 for r in rows)
    assert not queries.patterns_of_filters(made.store, "paper", [])
    assert not queries.patterns_of_filters(made.store, "paper", [(99, 0)])


def test_cards_say_what_the_images_say(made) -> None:
    wrong_all = (made.true_class != made.predicted_class) & made.good
    wrong_all[13] = False
    labelled_all = made.good.copy()
    labelled_all[13] = False
    rate = {
        (split, index): wrong_all[group].sum() / labelled_all[group].sum()
        for split in ("train", "test")
        for index in range(3)
        for group in [(made.split == split) & (made.true_class == index)]
    }
    rows = {row["pattern_id"]: row for row in patterns(made)}
    cards = queries.top_patterns(made.store, "paper", limit=LIMIT)
    assert cards.kind == "distinctive"
    for card in cards:
        row = rows[card.pattern_id]
        mask = has(made, row)
        labelled = mask & labelled_all
        assert card.items == tuple(
            (row["first_layer"] + at, f) for at, f in enumerate(row["items"])
        )
        counts = np.bincount(made.true_class[labelled], minlength=3)
        assert card.true_counts.tolist() == counts.tolist()
        assert card.predicted_counts.sum() == card.support == mask.sum()
        assert card.wrong == wrong_all[mask].sum()
        expected = np.mean(
            [rate[made.split[i], made.true_class[i]] for i in np.flatnonzero(labelled)]
        )
        assert card.expected_wrong == pytest.approx(expected, rel=1e-5)
        low, high = wilson_interval(card.wrong, card.labelled)
        assert (card.wrong_low, card.wrong_high) == (low, high)
        assert card.is_error_raised == (low > card.expected_wrong)
        assert card.purity == counts.max() / counts.sum()
        assert card.purity_low == pytest.approx(row["purity_lcb"], rel=1e-6)
        assert card.class_entropy == pytest.approx(row["class_entropy"], abs=1e-6)
        want = "unique" if card.class_entropy < 0.35 else "general"
        assert card.badge in {want if not 0.35 <= card.class_entropy <= 0.75 else ""}
        assert (card.n_selected, card.n_selection, card.lift, card.q) == (0, 0, None, None)
        assert len(card.image_ids) == min(20, card.support)


def test_stored_orders(made) -> None:
    rows = patterns(made)
    for order in ("distinctive", "general"):
        got = queries.top_patterns(made.store, "paper", order=order, limit=7)
        want = sorted(
            (row[f"{order}_rank"], row["pattern_id"]) for row in rows if row[f"{order}_rank"]
        )
        assert [card.pattern_id for card in got] == [pattern for _, pattern in want[:7]]
        assert got.n_found == len(rows)
        assert got[0] is got.cards[0]
        assert list(got[:2]) == list(got.cards[:2])
    with pytest.raises(ValueError, match="distinctive, general"):
        queries.top_patterns(made.store, "paper", order="loud")


def test_general_patterns_cover_greedily(made) -> None:
    rows = patterns(made)
    covered = np.zeros(len(made.good), dtype=bool)
    ranked = sorted((r for r in rows if r["general_rank"]), key=lambda r: r["general_rank"])
    for row in ranked[:5]:
        gains = [r["log2_lift"] * (has(made, r) & ~covered).sum() for r in rows]
        got = row["log2_lift"] * (has(made, row) & ~covered).sum()
        assert got == pytest.approx(max(gains), rel=1e-5)
        covered |= has(made, row)


def test_one_card(made) -> None:
    members = queries.pattern_members(made.store, "paper", 3)
    card = queries.pattern_card(made.store, "paper", 3, selection=members[:4])
    assert (card.pattern_id, card.n_selected, card.n_selection) == (3, 4, 4)


def test_a_path_set_that_was_not_mined_is_named(made) -> None:
    with pytest.raises(TableMissingError, match="doit mine"):
        queries.top_patterns(made.store, "balanced")


def test_the_index_is_built_once(made) -> None:
    first = queries.pattern_index(made.store, "paper")
    assert queries.pattern_index(made.store, "paper") is first


def test_stored_images_of_a_pattern_are_found_by_sql_alone(made) -> None:
    """What the README and the notebook show: members are one run of positions."""
    row = patterns(made)[5]
    got = made.store.arrow(
        'SELECT image_id FROM "patterns__paper__pattern_images" '
        "WHERE first_layer = ? AND position >= ? AND position < ?",
        row["first_layer"],
        row["lo"],
        row["hi"],
    )
    assert set(got["image_id"].to_pylist()) == set(np.flatnonzero(has(made, row)).tolist())
