"""Cards of patterns that may skip layers, against plain counts, stored patterns and scipy."""

from __future__ import annotations

from dataclasses import fields
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from feature_store import Store, queries
from feature_store.patterns import gapped_cards
from feature_store.patterns.gapped import gapped_patterns_of_selection
from feature_store.patterns.gapped_cards import (
    any_card,
    any_members,
    gapped_of_image,
    gapped_of_path,
    gapped_of_selection,
)
from tests.feature_store.test_patterns_gapped import write_store

PATH_SET = "balanced"


@pytest.fixture(scope="module")
def plain(digits_store):
    """Return ids, paths, true and predicted classes of the images that were mined."""
    rows = digits_store.arrow(
        'SELECT p.*, i.true_class AS "true", r.predicted_class AS predicted '
        "FROM paths__balanced p JOIN images i USING (image_id) "
        "JOIN predictions r USING (image_id) WHERE i.status = 'ok' ORDER BY image_id"
    )
    layers = [name for name in rows.column_names if name.startswith("layer_")]
    paths = np.stack([rows[name].to_numpy() for name in layers], axis=1)
    ids, true, predicted = (rows[name].to_numpy() for name in ("image_id", "true", "predicted"))
    return ids, paths, true, predicted


def has(paths, items):
    return np.all([paths[:, layer] == index for layer, index in items], axis=0)


@pytest.mark.parametrize("image", [3, 500, 1700])
def test_an_image_gets_cards_of_patterns_on_its_path(digits_store, plain, image):
    ids, paths, true, predicted = plain
    chosen = ids[::7]
    found = gapped_of_image(digits_store, PATH_SET, image, limit=8, selection=chosen)
    assert found.kind == "image"
    assert 0 < len(found) <= 8
    assert found.n_listed == min(found.n_closed, gapped_cards.LISTED)
    assert found.layers == tuple(range(paths.shape[1]))
    path = paths[ids == image][0]
    for card in found:
        assert all(path[layer] == index for layer, index in card.items)
        is_member = has(paths, card.items)
        assert card.support == is_member.sum() >= gapped_cards.MIN_IMAGES
        assert card.key == card.items
        assert card.true_counts.tolist() == np.bincount(true[is_member], minlength=10).tolist()
        assert card.wrong == (true != predicted)[is_member].sum()
        assert card.n_selected == (is_member & np.isin(ids, chosen)).sum()
        assert card.n_selection == len(chosen)
        members = any_members(digits_store, PATH_SET, card.key)
        assert members.tolist() == ids[is_member].tolist()
        first = [image in chosen for image in card.image_ids]
        assert first == sorted(first, reverse=True), "selected ones come first"
    for a, b in combinations([has(paths, card.items) for card in found], 2):
        assert (a & b).sum() <= 0.5 * (a | b).sum()


def test_the_card_of_neighbouring_layers_equals_that_of_the_store(digits_store):
    index = queries.pattern_index(digits_store, PATH_SET)
    chosen = np.arange(0, 1700, 11)
    for pattern in np.linspace(0, len(index) - 1, 40).astype(int).tolist():
        want = any_card(digits_store, PATH_SET, pattern, selection=chosen)
        got = any_card(digits_store, PATH_SET, index.items(pattern), selection=chosen)
        assert want.pattern_id == pattern == want.key
        assert got.pattern_id == -1
        for field in fields(want):
            a, b = getattr(got, field.name), getattr(want, field.name)
            if field.name in {"pattern_id", "q_class", "image_ids"}:
                continue
            if isinstance(b, np.ndarray):
                assert a.tolist() == b.tolist()
            else:
                assert a == (pytest.approx(b, rel=1e-6) if isinstance(b, float) else b), field.name
        assert np.array_equal(
            np.sort(index.members(pattern)), any_members(digits_store, PATH_SET, got.key)
        )


@pytest.mark.parametrize("has_base", [False, True])
def test_a_selection_is_tested_as_scipy_does(digits_store, plain, has_base):
    """Against all images, or against those that the selection is from."""
    ids, paths, true, _ = plain
    chosen = ids[true == 4][:60]
    is_base = np.ones(len(ids), dtype=bool)
    if has_base:
        is_base = np.isin(ids, chosen) | (np.random.default_rng(0).random(len(ids)) < 0.5)
    among = ids[is_base] if has_base else None
    found = gapped_of_selection(digits_store, PATH_SET, chosen, among=among, limit=1000)
    n, n_layers = int(is_base.sum()), paths.shape[1]
    assert found.kind == "selection"
    assert found.n_tested == (2**n_layers - n_layers - 1) * (len(ids) // 5)
    everything = gapped_patterns_of_selection(
        digits_store, PATH_SET, chosen, min_images=found.least, limit=10_000, timeout=None
    )
    assert found.n_closed == everything.n_found
    p = {}
    for pattern in everything:
        is_member = has(paths, pattern.items)
        support = int((is_member & is_base).sum())
        if is_member.sum() >= 5 and pattern.support * n > support * 60:
            p[pattern.items] = stats.hypergeom.sf(pattern.support - 1, n, support, 60)
    order = sorted(p, key=p.get)
    q, least = {}, 1.0
    for rank in range(len(order), 0, -1):
        least = min(least, p[order[rank - 1]] * found.n_tested / rank)
        q[order[rank - 1]] = least
    assert found.n_found == sum(rate < 0.05 for rate in q.values()) > 20
    for card in found:
        assert card.q == pytest.approx(q[card.items], rel=1e-6)
        is_member = has(paths, card.items) & is_base
        assert card.n_among == is_member.sum()
        assert card.n_selected == is_member[np.isin(ids, chosen)].sum()
        assert card.lift == pytest.approx(card.n_selected / (60 * is_member.sum() / n))
    n_first = found.variant_of.count(None)
    assert 0 < n_first < len(found)
    for part in (found[:n_first], found[n_first:]):
        rates = [card.q for card in part]
        assert rates == sorted(rates)


@pytest.mark.parametrize("seed", range(5))
def test_images_taken_at_random_have_no_pattern(digits_store, plain, seed):
    ids = plain[0]
    chosen = np.random.default_rng(seed).choice(ids, 80, replace=False)
    found = gapped_of_selection(digits_store, PATH_SET, chosen)
    assert not len(found)
    assert found.n_closed > 10, "there were some to refuse"
    assert found.most_selected >= found.least


def planted(tmp_path, **options):
    """300 images at random; the first 20 share layers 0 and 2, and nothing next to each other."""
    rng = np.random.default_rng(1)
    paths = rng.integers(0, 40, (300, options.pop("n_layers", 4))).astype(np.int32)
    paths[:20, 0], paths[:20, 2] = 7, 9
    paths[:20, 1] = np.arange(20)
    return Store.open(write_store(tmp_path / "demo", paths, **options))


def test_what_skips_a_layer_is_found(tmp_path):
    with planted(tmp_path) as store:
        found = gapped_of_selection(store, "paper", range(25))
        assert [card.items for card in found] == [((0, 7), (2, 9))]
        assert (found[0].n_selected, found[0].n_selection) == (20, 25)
        assert found.is_complete
        first = gapped_of_image(store, "paper", 0)[0]
        assert first.items == ((0, 7), (2, 9))
        path = [7, 99, 9, 99]
        assert gapped_of_path(store, "paper", path)[0].items == ((0, 7), (2, 9))


def test_one_image_gets_its_own_and_two_what_both_have(tmp_path):
    with planted(tmp_path) as store:
        one = gapped_of_selection(store, "paper", [3])
        assert one.kind == "image"
        assert [c.items for c in one] == [c.items for c in gapped_of_image(store, "paper", 3)]
        two = gapped_of_selection(store, "paper", [3, 4])
        assert two.kind == "shared"
        assert [card.items for card in two] == [((0, 7), (2, 9))]
        assert two[0].n_selected == 2
        apart = gapped_of_selection(store, "paper", [3, 250])
        assert not len(apart)
        assert not len(gapped_of_selection(store, "paper", []))
        assert not len(gapped_of_selection(store, "paper", [10**6]))


def test_of_many_layers_it_is_known_which_were_looked_at(tmp_path):
    blocks = [f"block{at // 3}" for at in range(30)]
    with planted(tmp_path, n_layers=30, blocks=blocks) as store:
        found = gapped_of_image(store, "paper", 0)
        assert found.layers == tuple(range(2, 30, 3))
        assert found.n_layers == 30


@pytest.mark.parametrize(
    "items",
    [
        ((0, 7), (99, 1)),
        ((0, 7), (1, -2)),
        ((0, 7), (0, 7)),
        ((0, 7), (0, 8)),
        ((0, 7),),
        (),
        ((0, 10**6), (1, 3)),
    ],
)
def test_items_that_are_no_pattern_are_refused(tmp_path, items):
    with planted(tmp_path) as store:
        for ask in (any_card, any_members, queries.members_by_strength):
            with pytest.raises(IndexError, match=r"no item|no pattern"):
                ask(store, "paper", items)


def test_members_come_by_strength_whatever_names_the_pattern(digits_store):
    index = queries.pattern_index(digits_store, PATH_SET)
    pattern = int(np.argmax(index.support))
    ids, strength = queries.members_by_strength(digits_store, PATH_SET, pattern)
    by_items = queries.members_by_strength(digits_store, PATH_SET, index.items(pattern))
    assert by_items[0].tolist() == ids.tolist()
    np.testing.assert_array_equal(by_items[1], strength)
    assert np.isfinite(strength).all()
