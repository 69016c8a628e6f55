"""In which order patterns that may skip layers are shown, against plain sets."""

from itertools import combinations

import numpy as np
import pytest

from feature_store import queries
from feature_store.patterns.gapped_cards import gapped_of_image, gapped_of_selection
from feature_store.patterns.gapped_choice import choose
from feature_store.patterns.recommend import patterns_of_selection

N_IDS = 400


def draw(seed, n=120):
    """Draw patterns over eight layers of three filters, best first, with members at random."""
    rng = np.random.default_rng(seed)
    items = {
        tuple((int(layer), int(rng.integers(3))) for layer in sorted(rng.choice(8, size, False)))
        for size in rng.integers(2, 7, n)
    }
    patterns = sorted(items, key=lambda _: rng.random())
    # Some are near twins of one another: their images are those of one of ten pools.
    pools = [rng.choice(N_IDS, 80, replace=False) for _ in range(10)]
    ids = [
        np.sort(rng.choice(pools[rng.integers(10)], rng.integers(5, 80), replace=False))
        for _ in patterns
    ]
    return patterns, ids


def shares_filters(one, other):
    return 2 * len(set(one) & set(other)) > min(len(one), len(other))


def shares_images(one, other):
    a, b = set(one.tolist()), set(other.tolist())
    return 2 * len(a & b) > len(a | b)


def alike(patterns, ids, a, b):
    return shares_filters(patterns[a], patterns[b]) or shares_images(ids[a], ids[b])


@pytest.mark.parametrize("seed", range(20))
def test_those_that_differ_come_first_and_each_variant_names_what_it_is_like(seed):
    patterns, ids = draw(seed)
    found = choose(patterns, ids.__getitem__, N_IDS, limit=len(patterns))
    n_first = found.variant_of.count(None)
    first, variants = found.shown[:n_first], found.shown[n_first:]
    assert 1 < n_first < len(found.shown), "there were some of both"
    assert all(of is None for of in found.variant_of[:n_first])
    assert not any(alike(patterns, ids, a, b) for a, b in combinations(first, 2))
    assert first == tuple(sorted(first)), "best first"
    assert variants == tuple(sorted(variants)), "best first"
    # Greedy: whatever is not among the first is like one that comes before it.
    rest = [place for place in range(len(patterns)) if place not in first]
    assert all(any(alike(patterns, ids, place, a) for a in first if a < place) for place in rest)
    named = dict(zip(variants, found.variant_of[n_first:], strict=True))
    for place in rest:
        like = next(at for at, a in enumerate(first) if alike(patterns, ids, place, a))
        assert named.get(place, like) == like, "it names the first that it is like"
    assert sum(found.more) == len(rest)
    assert not any(found.more[n_first:])


@pytest.mark.parametrize("seed", range(20))
def test_only_near_twins_are_left_out(seed):
    patterns, ids = draw(seed)
    found = choose(patterns, ids.__getitem__, N_IDS, limit=len(patterns))
    assert not any(shares_images(ids[a], ids[b]) for a, b in combinations(found.shown, 2))
    for place in set(range(len(patterns))) - set(found.shown):
        assert any(shares_images(ids[place], ids[other]) for other in found.shown)


@pytest.mark.parametrize("limit", [0, 1, 5, 9, 30])
def test_a_larger_limit_only_adds(limit):
    patterns, ids = draw(3)
    found = choose(patterns, ids.__getitem__, N_IDS, limit=limit)
    longer = choose(patterns, ids.__getitem__, N_IDS, limit=len(patterns))
    assert len(found.shown) == min(limit, len(longer.shown))
    assert found.shown == longer.shown[:limit]
    assert found.more == longer.more[:limit]
    assert found.variant_of == longer.variant_of[:limit]


def test_variants_of_the_last_layers_do_not_push_another_pattern_out():
    """Three images each, none shared: only the filters tell that these are one thing."""
    last = ((6, 0), (7, 0))
    patterns = [last, *(((layer, 1), *last) for layer in range(5)), ((0, 2), (3, 2))]
    ids = list(np.arange(3 * len(patterns)).reshape(-1, 3))
    found = choose(patterns, ids.__getitem__, N_IDS, limit=3)
    assert [patterns[place] for place in found.shown] == [last, ((0, 2), (3, 2)), patterns[1]]
    assert found.more == (5, 0, 0)
    assert found.variant_of == (None, None, 0)


@pytest.mark.parametrize("path_set", ["balanced", "paper", "mean"])
def test_lists_of_the_store_say_how_many_are_like_each_card(digits_store, path_set):
    n_variants = 0
    for image in (3, 500, 1500):
        found = gapped_of_image(digits_store, path_set, image, limit=1000)
        firsts = [card for card, of in zip(found, found.variant_of, strict=True) if of is None]
        assert sum(found.more) + len(firsts) == found.n_listed
        assert not any(
            shares_filters(one.items, other.items) for one, other in combinations(firsts, 2)
        )
        n_variants += len(found) - len(firsts)
    assert n_variants > 0


def test_a_selection_counts_those_below_its_limit(digits_store):
    ids = digits_store.arrow("SELECT image_id FROM images WHERE true_class = 4").column(0)
    found = gapped_of_selection(digits_store, "paper", ids.to_numpy()[:60], limit=1000)
    n_first = found.variant_of.count(None)
    assert 0 < n_first < len(found)
    assert sum(found.more) + n_first == found.n_found


def holds_or_is_part(one, other):
    return set(one) <= set(other) or set(other) <= set(one)


@pytest.fixture(scope="module")
def selected(digits_store):
    """Return a large pattern's items, and its members."""
    index = queries.pattern_index(digits_store, "paper")
    large = int(np.argsort(index.support)[-3])
    return index.items(large), index.members(large)


def test_a_pattern_that_was_selected_by_is_left_out_with_what_it_implies(digits_store, selected):
    by, ids = selected
    plain = patterns_of_selection(digits_store, "paper", ids, limit=10_000)
    found = patterns_of_selection(digits_store, "paper", ids, limit=10_000, selected_by=by)
    assert plain.n_implied == 0
    assert any(holds_or_is_part(card.items, by) for card in plain), "else nothing is left out"
    assert not any(holds_or_is_part(card.items, by) for card in found)
    assert found.n_found == plain.n_found - found.n_implied
    q = {card.items: card.q for card in plain}
    both = [card for card in found if card.items in q]
    assert both
    assert all(card.q == q[card.items] for card in both), "the figures are the same"


def test_what_skips_layers_is_tested_without_the_filters_that_all_of_them_have(
    digits_store, selected
):
    by, ids = selected
    plain = gapped_of_selection(digits_store, "paper", ids, limit=10_000)
    assert all(set(by) <= set(card.items) for card in plain), "every one holds it"
    found = gapped_of_selection(digits_store, "paper", ids, limit=10_000, selected_by=by)
    assert len(found)
    assert found.n_implied > 0
    paths = digits_store.arrow("SELECT * FROM paths__paper ORDER BY image_id")
    is_selected = np.isin(paths["image_id"].to_numpy(), ids)
    for card in found:
        assert not set(by) & set(card.items)
        has = [paths[f"layer_{layer:03d}"].to_numpy() == index for layer, index in card.items]
        is_member = np.all(has, axis=0)
        assert card.support == is_member.sum()
        assert card.n_selected == (is_member & is_selected).sum()
        assert card.lift > 1
        assert card.q < 0.05
