"""The network view without a browser: filters, path, patterns, and how they are linked."""

import numpy as np
import pytest

from app.components.controls import Choice
from app.inference import Change
from app.layer_names import filter_name, short_names
from app.state import SessionState
from app.views import pattern_figures
from app.views.network import PAGE, NetworkView
from feature_store import queries
from tests.app.loops import run

pytestmark = pytest.mark.usefixtures("no_server")

FOCUS = 1500


@pytest.fixture
def state(runtime):
    return SessionState(dict(runtime.splits), focus=FOCUS)


@pytest.fixture
def view(runtime, state):
    made = NetworkView(runtime, state)
    settle(made)
    return made


def settle(view):
    async def both():
        await view._plot.shade(view._state.focus)
        await view.answer()

    run(both())


def head(view):
    return view._cards.card_head


def cards(view):
    return view._cards.card_items


def test_every_filter_has_a_mark(view, runtime):
    layers = queries.layers(runtime.store)
    assert [layer["filters"] for layer in view._plot.units.unit_layers] == [
        row.filters for row in layers
    ]
    assert len(view._plot.units.unit_shades) == sum(row.filters for row in layers)
    assert f"{len(view._plot.units.unit_shades):,} filters" in view._plot.line.object


def test_the_path_of_the_focus_is_drawn(view, state, runtime):
    for path_set in ("mean", "paper", "balanced"):
        state.path_set = path_set
        expected = queries.path_of(runtime.store, path_set, FOCUS).tolist()
        assert view._plot.units.unit_path == expected


def test_shades_are_percentiles(view, runtime):
    expected = np.concatenate(queries.activation_percentiles(runtime.store, FOCUS))
    shown = np.frombuffer(view._plot.units.unit_shades, np.uint8)
    # A live activation may round to the neighbouring float16: one image further, or a few.
    assert np.abs(shown.astype(int) - expected).max() <= 2
    assert (shown == expected).mean() > 0.98


def test_a_focus_without_selection_lists_its_patterns(view, state, runtime):
    assert view.order == "image"
    assert head(view)["title"] == f"Patterns of image {FOCUS:,}"
    for card in cards(view):
        members = queries.pattern_members(runtime.store, "balanced", card["id"])
        assert FOCUS in members


def test_nothing_at_all_lists_general_patterns(runtime):
    view = NetworkView(runtime, SessionState(dict(runtime.splits)))
    settle(view)
    assert view.order == "general"
    assert len(cards(view)) == PAGE
    assert view._plot.units.unit_path == []


def test_a_selection_lists_what_is_over_represented(view, state, runtime):
    table = runtime.images
    ids = table.ids[table.predicted_class == 3][:40]
    state.select(ids, "test")
    settle(view)
    assert view.order == "selection"
    assert head(view)["title"] == "Over-represented patterns"
    assert "q < 0.05" in head(view)["detail"]
    first = cards(view)[0]
    assert first["of"].endswith("selected")
    assert first["lift"].endswith("×")
    assert first["q"].startswith("q ")
    dims = [image["is_dim"] for image in first["images"]]
    assert dims == sorted(dims), "selected ones come first"
    state.clear()
    settle(view)
    assert view.order == "image"


def test_a_selection_without_pattern_says_so_and_how_to_go_on(view, state, runtime):
    state.select(runtime.images.ids[::300], "test")
    settle(view)
    if not cards(view):
        assert head(view)["headline"] == "No pattern is over-represented in this selection"
        offers_skips = head(view).get("cure_to") == "skips"
        view._receive({"kind": "cure"})
        settle(view)
        assert state.pattern_skips == offers_skips
        assert view.order == ("selection" if offers_skips else "distinctive")
        assert cards(view) or offers_skips


def test_the_card_of_a_filter_follows_the_split_and_the_selection(view, state, runtime):
    state.choose_filters(((1, 5),))
    for split in ("train", "test"):
        state.show_split(split)
        strip = view._cards.card_strip
        shown = [image["id"] for image in strip["images"]]
        assert set(shown) <= set(runtime.splits[split].tolist())
        view._receive({"kind": "select_top"})
        assert set(state.selection.ids.tolist()) >= set(shown), "its button selects what it shows"
        state.select(runtime.splits[split][:30], "x")
        dims = {image["id"]: image["is_dim"] for image in view._cards.card_strip["images"]}
        assert dims == {image: image not in state.selection for image in dims}
        state.clear()


def test_a_filter_lists_its_patterns_and_its_strongest_images(view, state, runtime):
    layer, winner = next((k, v) for k, v in enumerate(view._plot.units.unit_path) if v >= 0)
    view._plot.pick(layer, winner, False)
    settle(view)
    assert state.filters == ((layer, winner),)
    assert view._plot.units.unit_chosen == [[layer, winner]]
    assert view.order == "filters"
    strip = view._cards.card_strip
    expected = queries.top_images(runtime.store, layer, winner, limit=20).image_id.tolist()
    assert [image["id"] for image in strip["images"]] == expected
    view._receive({"kind": "select_top"})
    assert state.selection.ids.tolist() == sorted(expected)
    view._receive({"kind": "unfilter"})
    assert state.filters == ()
    assert view._cards.card_strip == {}


def test_filters_join_with_shift_and_leave_when_clicked_again(view, state):
    view._plot.pick(0, 1, False)
    view._plot.pick(2, 3, True)
    assert state.filters == ((0, 1), (2, 3))
    view._plot.pick(0, 1, True)
    assert state.filters == ((2, 3),)
    view._plot.pick(2, 3, False)
    assert state.filters == ()


def test_opening_a_pattern_marks_its_filters_and_selects_its_members(view, state, runtime):
    pattern = cards(view)[0]["id"]
    view._receive({"kind": "open", "id": pattern})
    assert state.pattern == pattern
    assert view._cards.card_open == pattern
    items = queries.pattern_card(runtime.store, "balanced", pattern).items
    assert view._plot.units.unit_pattern == [list(item) for item in items]
    view._receive({"kind": "select", "id": pattern})
    members = queries.pattern_members(runtime.store, "balanced", pattern)
    assert state.selection.ids.tolist() == sorted(members.tolist())
    assert state.selection.origin.startswith("balanced pattern ")
    settle(view)
    assert cards(view)[0]["id"] == pattern or pattern in [card["id"] for card in cards(view)]
    state.path_set = "mean"
    assert state.pattern is None
    assert view._plot.units.unit_pattern == []


def test_an_open_pattern_keeps_its_list_while_the_focus_moves(view, state):
    before = [card["id"] for card in cards(view)]
    view._receive({"kind": "open", "id": before[0]})
    other = next(image["id"] for image in cards(view)[0]["images"] if image["id"] != FOCUS)
    view._receive({"kind": "focus", "image": other})
    assert state.focus == other
    assert [card["id"] for card in cards(view)] == before
    assert any(image["is_focus"] for image in cards(view)[0]["images"])


def test_more_cards_come_at_the_end(runtime):
    state = SessionState(dict(runtime.splits))
    view = NetworkView(runtime, state)
    settle(view)
    first = [card["id"] for card in cards(view)]
    view._receive({"kind": "more", "have": len(first)})
    settle(view)
    assert len(cards(view)) == 2 * PAGE
    assert [card["id"] for card in cards(view)[:PAGE]] == first


# Images that are in no table: an upload, and the changed copy of the focus.

OTHER = 700


def paths_of(runtime, image):
    return {
        name: tuple(queries.path_of(runtime.store, name, image).tolist())
        for name in ("balanced", "mean", "paper")
    }


def upload_like(state, runtime, image):
    """Put an upload under test that the network sees as an image of the store."""
    state.set_upload(object())
    state.param.update(
        live_paths=paths_of(runtime, image),
        live_activations=tuple(queries.activations_of(runtime.store, image)),
    )


def settle_upload(view):
    async def both():
        await view._plot.shade(view._state.upload)
        await view.answer()

    run(both())


def offered(view):
    return {order["value"]: order["label"] for order in head(view)["orders"]}


def test_an_upload_has_no_path_before_the_network_has_seen_it(view, state, runtime):
    state.live_paths = paths_of(runtime, OTHER)
    state.set_upload(object())
    settle_upload(view)
    assert view._plot.units.unit_path == []
    assert view._plot.units.unit_shades == b""
    assert "reading the activations for your upload" in view._plot.line.object
    assert view.order == "general"


@pytest.mark.parametrize("path_set", ["balanced", "mean", "paper"])
def test_the_path_of_an_upload_is_drawn_and_its_patterns_are_listed(
    view, state, runtime, path_set
):
    state.path_set = path_set
    upload_like(state, runtime, OTHER)
    settle_upload(view)
    assert view._plot.units.unit_path == queries.path_of(runtime.store, path_set, OTHER).tolist()
    assert view._plot.units.unit_other == []
    assert "path of your upload, shade = its activation" in view._plot.line.object
    assert view.order == "path"
    assert head(view)["title"] == "Patterns on the path of your upload"
    assert offered(view)["path"] == "On its path"
    assert "image" not in offered(view)
    assert cards(view)
    for card in cards(view):
        assert OTHER in queries.pattern_members(runtime.store, path_set, card["id"])


def test_the_path_of_a_changed_upload_is_not_called_its_own(view, state, runtime):
    state.change = Change(magnitudes={"rotation": 20.0})
    upload_like(state, runtime, OTHER)
    settle_upload(view)
    assert "path of your upload as changed, shade = activation before" in view._plot.line.object
    assert view.order == "path"
    assert head(view)["title"] == "Patterns of the changed copy"
    assert offered(view)["path"] == "For the copy"
    state.change = Change()
    settle_upload(view)
    assert offered(view)["path"] == "On its path"


def test_the_shades_of_an_upload_are_its_percentiles(view, state, runtime):
    upload_like(state, runtime, OTHER)
    settle_upload(view)
    expected = np.concatenate(queries.activation_percentiles(runtime.store, OTHER))
    assert np.array_equal(np.frombuffer(view._plot.units.unit_shades, np.uint8), expected)


def test_a_selection_takes_over_from_an_upload_until_it_is_cleared(view, state, runtime):
    upload_like(state, runtime, OTHER)
    state.select(runtime.images.ids[:40], "test")
    settle_upload(view)
    assert view.order == "selection"
    assert "path" in view._offered()[1].values()
    state.clear()
    settle_upload(view)
    assert view.order == "path"


def test_a_focus_after_an_upload_is_an_image_of_the_store_again(view, state, runtime):
    upload_like(state, runtime, OTHER)
    settle_upload(view)
    state.set_focus(FOCUS)
    settle(view)
    assert view._plot.units.unit_path == list(paths_of(runtime, FOCUS)["balanced"])
    assert view._plot.units.unit_other == [], "what was seen of the upload is no changed copy"
    assert view.order == "image"
    assert head(view)["title"] == f"Patterns of image {FOCUS:,}"
    assert "upload" not in view._plot.line.object


def test_the_changed_copy_is_marked_where_its_winners_differ(view, state, runtime):
    state.live_paths = paths_of(runtime, OTHER)
    settle(view)
    path, other = (paths_of(runtime, image)["balanced"] for image in (FOCUS, OTHER))
    assert view._plot.units.unit_path == list(path)
    assert view._plot.units.unit_other == list(other)
    differing = int((np.array(path) != np.array(other)).sum())
    assert differing > 1
    layers = len(path)
    said = f"image {FOCUS:,}; its changed copy differs in {differing} of {layers} layers"
    assert said in view._plot.line.object
    assert "stroke-dasharray" in view._plot.line.object, "the key explains the second style"
    assert f"other winners in {differing} layers" in view._plot.units.unit_label
    state.live_paths = None
    assert view._plot.units.unit_other == []
    assert "changed copy" not in view._plot.line.object


def test_a_copy_with_the_same_path_is_said_to_have_it(view, state, runtime):
    state.live_paths = paths_of(runtime, FOCUS)
    assert "its changed copy takes the same path" in view._plot.line.object
    assert "stroke-dasharray" not in view._plot.line.object


def test_patterns_of_the_changed_copy_are_offered_and_follow_it(view, state, runtime):
    state.live_paths = paths_of(runtime, OTHER)
    assert offered(view)["path"] == "For the copy"
    assert view.order == "image", "they are offered, not forced"
    view._receive({"kind": "order", "value": "path"})
    settle(view)
    assert head(view)["title"] == "Patterns of the changed copy"
    for image in (OTHER, FOCUS):
        state.live_paths = paths_of(runtime, image)
        settle(view)
        assert cards(view)
        for card in cards(view):
            assert image in queries.pattern_members(runtime.store, "balanced", card["id"])
    state.live_paths = None
    settle(view)
    assert view.order == "image"
    assert "path" not in offered(view)


def test_an_open_pattern_stays_while_the_copy_changes(view, state, runtime):
    state.live_paths = paths_of(runtime, OTHER)
    view._receive({"kind": "order", "value": "path"})
    settle(view)
    before = [card["id"] for card in cards(view)]
    view._receive({"kind": "open", "id": before[0]})
    ticket = view._ticket
    state.live_paths = paths_of(runtime, FOCUS)
    assert view._ticket == ticket
    state.live_paths = None
    settle(view)
    assert head(view)["order"] == "image"
    assert before[0] in [card["id"] for card in cards(view)]


def test_a_path_without_patterns_says_whose_it_is(view, state, runtime):
    silent = {"balanced": (-1,) * len(view._plot.units.unit_layers)}
    state.live_paths = silent
    view._receive({"kind": "order", "value": "path"})
    settle(view)
    assert head(view)["headline"] == "No pattern lies on this path"
    assert "the changed copy" in head(view)["words"]
    for _ in range(2):
        # Skipped layers do not help a silent path; every pattern of the data is left.
        view._receive({"kind": "cure"})
        settle(view)
    assert view.order == "distinctive"
    assert cards(view)


def test_a_path_set_that_was_not_followed_has_no_live_path(view, state, runtime):
    state.live_paths = {"mean": paths_of(runtime, OTHER)["mean"]}
    assert view._plot.units.unit_other == []
    state.path_set = "mean"
    assert view._plot.units.unit_other == list(paths_of(runtime, OTHER)["mean"])


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"kind": "open", "id": 10**9},
        {"kind": "open", "id": "1; drop"},
        {"kind": "select", "id": None},
        {"kind": "focus", "image": -1},
        {"kind": "focus", "image": 10**8},
        {"kind": "order", "value": "__init__"},
        {"kind": "more", "have": -5},
    ],
)
def test_forged_messages_change_nothing(view, state, message):
    view._receive(message)
    assert state.pattern is None
    assert state.focus == FOCUS
    assert state.selection.is_all


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"kind": "pick", "layer": 99, "filter": 0},
        {"kind": "pick", "layer": 0, "filter": 99},
        {"kind": "pick", "layer": "0", "filter": 0},
        {"kind": ["pick"], "layer": 0, "filter": 0},
        "x",
    ],
)
def test_a_forged_filter_is_none(view, state, message):
    view._plot.units._handle_msg(message)
    assert state.filters == ()


def test_a_pattern_of_another_store_is_closed(view, state):
    state.pattern = 10**7
    assert state.pattern is None


def test_many_classes_are_bars(view, runtime, monkeypatch):
    pattern = queries.top_patterns(runtime.store, "balanced", limit=1)[0]
    monkeypatch.setattr(runtime, "class_names", tuple(f"class {k}" for k in range(11)))
    drawn = pattern_figures.card(
        pattern,
        runtime,
        names=view._names,
        modules=view._modules,
        selection=view._state.selection,
        focus=None,
    )
    assert drawn["is_bars"]
    assert drawn["count"] == f"{pattern.support:,}"


def test_small_rates_are_readable():
    assert pattern_figures._power(4.2e-47) == "4e−47"
    assert pattern_figures._power(0.0123) == "0.012"
    assert pattern_figures._power(0.0) == "< 1e−300"
    assert pattern_figures._times(9.04) == "9.0×"
    assert pattern_figures._times(28.2) == "28×"


def test_names_of_layers():
    class Row:
        def __init__(self, layer_name, block):
            self.layer_name, self.block = layer_name, block

    rows = [Row("f.0", "conv1"), Row("f.3", "conv1"), Row("c.0", "classifier"), Row("x.y", None)]
    assert short_names(rows) == ["conv1_1", "conv1_2", "classifier", "x.y"]
    assert filter_name("conv5_3", 371) == "5_3·371"
    assert filter_name("classifier", 3) == "classifier·3"


def test_a_pattern_that_was_selected_by_is_not_offered_again(view, state):
    state.pattern_order = "general"
    settle(view)
    opened = cards(view)[0]["id"]
    view._receive({"kind": "select", "id": opened})
    settle(view)
    assert view.order == "selection"
    assert head(view)["note"].startswith("Left out: ")
    assert opened not in {card["id"] for card in cards(view)}
    items = set(queries.pattern_index(view._runtime.store, state.path_set).items(opened))
    for card in cards(view):
        other = set(queries.pattern_index(view._runtime.store, state.path_set).items(card["id"]))
        assert not items <= other
        assert not other <= items
    # What stands open does not vanish under the hand: the note says why it is there all the same.
    stays = "the open one stays until it is closed"
    assert stays not in head(view)["note"]
    state.open_pattern(opened)
    settle(view)
    assert cards(view)[0]["id"] == opened
    assert stays in head(view)["note"]
    state.open_pattern(None)
    settle(view)
    assert stays not in head(view)["note"]
    # The same images, otherwise selected, are a finding like any other.
    state.select(state.selection.ids, "by hand")
    settle(view)
    assert cards(view)[0]["id"] == opened
    assert "note" not in head(view)


def test_a_store_without_path_sets_has_no_switch_of_them(runtime, state, monkeypatch):
    def switches(made):
        return [node for node in made.__panel__()[0] if isinstance(node, Choice)]

    assert [len(node.choice_options) for node in switches(NetworkView(runtime, state))] == [3]
    monkeypatch.setattr(NetworkView, "_has_set", lambda *_: False)
    assert switches(NetworkView(runtime, state)) == []
