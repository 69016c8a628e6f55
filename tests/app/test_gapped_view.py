"""Patterns that skip layers in the network view: listed, opened by their items, replaced."""

from itertools import pairwise

import pytest

from app import address, pattern_key
from app.layer_names import short_names
from app.state import SessionState
from app.views import pattern_figures, pattern_heads
from app.views.network import NetworkView
from feature_store import queries
from feature_store.patterns import gapped_cards
from feature_store.patterns.gapped import gapped_members
from feature_store.patterns.gapped_cards import gapped_of_image, gapped_of_selection
from tests.app.loops import run

pytestmark = pytest.mark.usefixtures("no_server")

FOCUS = 1500
PATH_SET = "balanced"


@pytest.fixture
def state(runtime):
    return SessionState(dict(runtime.splits), focus=FOCUS)


@pytest.fixture
def view(runtime, state):
    made = NetworkView(runtime, state)
    settle(made)
    return made


def settle(view):
    run(view.answer())


def head(view):
    return view._cards.card_head


def cards(view):
    return view._cards.card_items


def keys(view):
    return [pattern_key.read(card["id"]) for card in cards(view)]


def skip(view, value=True):
    view._receive({"kind": "skips", "value": value})
    settle(view)


def skipping(view):
    """Return the first listed pattern that skips a layer."""
    return next(key for key in keys(view) if any(b - a > 1 for (a, _), (b, _) in pairwise(key)))


def test_the_switch_lists_patterns_of_the_image_that_skip_layers(view, state, runtime):
    assert head(view)["skips"] is False
    before = [card["id"] for card in cards(view)]
    skip(view)
    assert head(view)["skips"] is True
    assert view.order == "image"
    found = gapped_of_image(runtime.store, PATH_SET, FOCUS, limit=20)
    assert keys(view) == [card.items for card in found]
    path = queries.path_of(runtime.store, PATH_SET, FOCUS)
    assert all(path[layer] == index for key in keys(view) for layer, index in key)
    assert skipping(view)
    assert f"all {len(path)} layers" in head(view)["note"]
    assert f"all {found.n_closed} patterns" in head(view)["note"]
    skip(view, False)
    assert [card["id"] for card in cards(view)] == before
    assert "note" not in head(view)


@pytest.mark.parametrize("order", ["distinctive", "general", "errors"])
def test_orders_without_a_question_are_not_offered_it(view, order):
    skip(view)
    view._receive({"kind": "order", "value": order})
    settle(view)
    assert "skips" not in head(view)
    assert all(isinstance(card["id"], int) for card in cards(view))
    view._receive({"kind": "order", "value": "image"})
    settle(view)
    assert head(view)["skips"] is True


def test_a_selection_lists_what_is_over_represented(view, state, runtime):
    table = runtime.images
    ids = table.ids[table.predicted_class == 3][:40]
    state.select(ids, "test")
    skip(view)
    found = gapped_of_selection(runtime.store, PATH_SET, ids, limit=20)
    assert keys(view) == [card.items for card in found]
    first, card = cards(view)[0], found[0]
    assert first["count"] == str(card.n_selected)
    assert first["of"] == " of 40 selected"
    assert first["in_all"] == f"{card.support:,} in all"
    assert first["lift"].endswith("×")
    assert first["q"].startswith("q ")
    assert f"{card.n_selected} of the 40 selected images" in first["count_help"]
    assert f"of {found.least} or more selected images" in head(view)["note"]


def test_the_path_of_a_changed_copy_lists_its_own(view, state, runtime):
    other = queries.path_of(runtime.store, PATH_SET, 700)
    state.live_paths = {PATH_SET: tuple(other.tolist())}
    view._receive({"kind": "order", "value": "path"})
    skip(view)
    assert keys(view)
    assert all(other[layer] == index for key in keys(view) for layer, index in key)
    for key in keys(view)[:4]:
        assert 700 in gapped_members(runtime.store, PATH_SET, key)


def test_a_pattern_is_opened_by_its_items(view, state, runtime):
    skip(view)
    key = skipping(view)
    view._receive({"kind": "open", "id": pattern_key.text_of(key)})
    assert state.pattern == key
    assert view._cards.card_open == pattern_key.text_of(key)
    assert view._plot.units.unit_pattern == [list(item) for item in key]
    run(view._detail.answer(PATH_SET, key))
    more = view._cards.card_more
    members = gapped_members(runtime.store, PATH_SET, key)
    assert more["id"] == pattern_key.text_of(key)
    assert {image["id"] for image in more["images"]} <= set(members.tolist())
    assert f"of {len(members):,}, strongest first" in more["where"]
    assert more["mean"].startswith("data:image/png")
    assert more["name_words"]
    view._receive({"kind": "select", "id": pattern_key.text_of(key)})
    assert state.selection.ids.tolist() == members.tolist()
    assert " … " in state.selection.origin
    settle(view)
    assert key in keys(view), "the open one stays in the list"
    view._receive({"kind": "open", "id": -1})
    assert state.pattern is None
    assert view._plot.units.unit_pattern == []


def test_its_filters_are_replaced_and_its_evidence_drawn(view, state):
    skip(view)
    key = skipping(view)
    view._receive({"kind": "open", "id": pattern_key.text_of(key)})
    asked = {"target": "pattern", "replacement": "mean", "images": "members", "filters": "own"}
    view._receive({"kind": "ablate", **asked})
    run(view._ablation.answer(view._ablation._ticket, asked))
    assert view._cards.card_ablation["subject"] == f"{len(key)} filters by mean"
    view._receive({"kind": "mean_evidence"})
    run(view._evidence.answer(view._evidence._ticket))
    assert view._cards.card_evidence["id"] == pattern_key.text_of(key)
    assert view._cards.card_evidence["map"]
    view._receive({"kind": "stop_evidence"})
    assert view._cards.card_evidence == {}


def test_it_stays_open_when_the_switch_is_put_back(view, state):
    skip(view)
    key = skipping(view)
    view._receive({"kind": "open", "id": pattern_key.text_of(key)})
    skip(view, False)
    assert state.pattern == key
    assert keys(view)[0] == key
    assert all(isinstance(other, int) for other in keys(view)[1:])


def test_another_path_set_closes_it(view, state):
    skip(view)
    view._receive({"kind": "open", "id": cards(view)[0]["id"]})
    state.path_set = "mean"
    assert state.pattern is None


def test_a_link_opens_it_again(view, state, runtime):
    skip(view)
    key = skipping(view)
    view._receive({"kind": "open", "id": pattern_key.text_of(key)})
    written = address.write(state, runtime)
    assert written["pattern"] == pattern_key.text_of(key)
    other = SessionState(dict(runtime.splits))
    found = address.resolve(address.read(written), runtime, other)
    other.param.update(**found.settings)
    assert other.pattern == key
    again = NetworkView(runtime, other)
    again._start()
    assert again._plot.units.unit_pattern == [list(item) for item in key]


@pytest.mark.parametrize("pattern", [((0, 10**6), (1, 1)), ((0, 1), (99, 1)), ((0, 1),)])
def test_items_of_another_store_are_closed(view, state, pattern):
    state.pattern = pattern
    assert state.pattern is None
    assert view._cards.card_open == -1


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "skips", "value": 1},
        {"kind": "skips", "value": "true"},
        {"kind": "skips"},
        {"kind": "open", "id": "0.1-1.2"},
        {"kind": "open", "id": "1; drop"},
        {"kind": "select", "id": "0.1-1.2"},
        {"kind": "mean_evidence"},
    ],
)
def test_forged_messages_change_nothing(view, state, message):
    view._receive(message)
    assert not state.pattern_skips
    assert state.pattern is None
    assert state.selection.is_all
    assert view._cards.card_evidence == {}


# What the list says.


def test_skipped_layers_are_named_between_the_chips(view):
    names, modules = view._names, view._modules
    chips = pattern_figures.chips([(0, 1), (3, 2), (4, 5)], names, modules, is_path=True)
    assert [[each["name"] for each in chip["skipped"]] for chip in chips] == [
        [],
        names[1:3],
        [],
    ]
    loose = pattern_figures.chips([(0, 1), (3, 2)], names, modules)
    assert all(not chip["skipped"] for chip in loose), "filters that are chosen are no path"
    words = pattern_figures.path_words([(0, 1), (3, 2), (4, 5)], names)
    assert words.count(" … ") == 1
    assert words.count(" › ") == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_listed": 200, "n_closed": 1532}, "From the first 200 of 1,532 patterns"),
        ({"n_listed": 9, "n_closed": 9}, "From all 9 patterns"),
        ({"layers": (2, 5, 8), "n_layers": 30}, "3 of 30 layers: the last of each block"),
        ({"is_complete": False}, "the search was stopped, there are more"),
    ],
)
def test_what_was_left_out_is_said(changes, words):
    known = {"n_listed": 5, "n_closed": 5, "layers": (0, 1), "n_layers": 2, "n_found": 5}
    found = gapped_cards.GappedRecommendation(cards=(), kind="image", **{**known, **changes})
    assert words in pattern_heads.skip_note(found)


def test_a_selection_without_pattern_says_what_was_tried_and_offers_skipped_layers(
    view, state, runtime
):
    state.select(runtime.images.ids[100:110], "test")
    settle(view)
    assert not cards(view)
    shown = head(view)
    assert shown["headline"] == "No pattern is over-represented in this selection"
    index = queries.pattern_index(runtime.store, PATH_SET)
    most = int(index.count(index.selected(state.selection.ids)).max())
    tried = f"3 or more of the {len(state.selection)} selected images"
    assert tried in shown["words"]
    assert f"over {len(index):,} patterns" in shown["words"]
    said = "at most {} selected" if most < 3 else "the commonest one holds {}, and none more"
    assert said.format(most) in shown["words"]
    assert shown["cure"] == "Let patterns skip layers"
    view._receive({"kind": "cure"})
    settle(view)
    assert state.pattern_skips
    assert not cards(view)
    assert head(view)["headline"] == "No pattern is over-represented in this selection"
    assert "up to " in head(view)["words"]
    assert head(view)["cure"] == "Show distinctive patterns"
    view._receive({"kind": "cure"})
    settle(view)
    assert view.order == "distinctive"
    assert cards(view)


def test_two_images_that_share_nothing_are_told_so(view, state, runtime):
    index = queries.pattern_index(runtime.store, PATH_SET)
    ids = runtime.splits["test"]
    first = int(ids[0])
    mine = set(index.of_image(first).tolist())
    other = next(int(i) for i in ids if not mine & set(index.of_image(int(i)).tolist()))
    state.select([first, other], "test")
    settle(view)
    assert head(view)["headline"] == "The selected images share no pattern"
    assert "2 selected: both would have to share" in head(view)["words"]


def test_chosen_filters_are_marked_and_counted(view, state, runtime):
    path = queries.path_of(runtime.store, PATH_SET, FOCUS)
    chosen = tuple((k, int(v)) for k, v in enumerate(path) if v >= 0)[:2]
    state.filters = chosen
    settle(view)
    assert cards(view)
    for card, key in zip(cards(view), keys(view), strict=True):
        items = queries.pattern_card(runtime.store, PATH_SET, key).items
        held = len(set(items) & set(chosen))
        assert card["why"] == (
            "Holds all 2 chosen filters" if held == 2 else f"Holds {held} of the 2 chosen filters"
        )
        marked = [chip["is_chosen"] for chip in card["chips"]]
        assert marked == [item in chosen for item in items]
    counts = [sum(chip["is_chosen"] for chip in card["chips"]) for card in cards(view)]
    assert counts == sorted(counts, reverse=True)


def test_a_badge_comes_with_its_interval(view, runtime):
    from scipy import stats

    card, key = cards(view)[0], keys(view)[0]
    found = queries.pattern_card(runtime.store, PATH_SET, key)
    top = int(found.true_counts.max())
    low, high = stats.binomtest(top, found.labelled).proportion_ci(method="wilson")
    assert card["badge_range"] == f"{100 * low:.0f}–{100 * high:.0f}"
    assert card["badge_range"] in card["badge_help"]
    assert card["badge"].split()[0] in {"unique", "general", "mixed"}


def test_names_of_layers_are_known_for_every_chip(view, runtime):
    names = short_names(queries.layers(runtime.store))
    skip(view)
    for card, key in zip(cards(view), keys(view), strict=True):
        skipped = {each["name"] for chip in card["chips"] for each in chip["skipped"]}
        used = {names[layer] for layer, _ in key}
        inner = set(names[key[0][0] : key[-1][0] + 1])
        assert skipped == inner - used


def test_unread_images_have_no_list(view, runtime):
    found = gapped_of_image(runtime.store, PATH_SET, 10**8)
    head_ = pattern_heads.header(found, "image", 0, 10**8, mined=pattern_heads.Mined(n_layers=9))
    assert head_["headline"] == "This image is in no pattern"
    assert head_["cure_to"] == "distinctive"
    assert head_["note"] == ""
