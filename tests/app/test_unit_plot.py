"""The plot of all filters: what shades them, their strongest images, and choosing many."""

import threading

import numpy as np
import pytest

from app.components.unit_view import MOST_FILTERS
from app.state import SessionState
from app.views import filter_card, filter_figures
from app.views.unit_plot import UnitPlot
from feature_store import queries
from feature_store.queries.filters import mean_percentiles
from tests.app.loops import run

pytestmark = pytest.mark.usefixtures("no_server")

FOCUS = 1500


@pytest.fixture
def state(runtime):
    return SessionState(dict(runtime.splits), focus=FOCUS)


@pytest.fixture
def plot(runtime, state):
    made = UnitPlot(runtime, state, queries.layers(runtime.store))
    made.start()
    return made


@pytest.fixture
def sent(plot, monkeypatch):
    """Return what is sent of strongest images."""
    found = []
    monkeypatch.setattr(plot.units, "_send_msg", found.append)
    return found


def shade(plot):
    run(plot.shade(plot.subject))


def by_hand(runtime, ids):
    """Average, filter by filter, where each image lies among all images: no sorting of sets."""
    store = runtime.store
    means = []
    for row in queries.layers(store):
        table = store.arrow(f"SELECT * FROM activations__max__{row.layer_index:03d}").to_pandas()
        values = table.drop(columns="image_id").to_numpy(np.float64)
        is_chosen = table["image_id"].isin(ids).to_numpy()
        order = np.sort(values, axis=0)
        steps = -(-np.arange(1, 256) * len(values) // 255) - 1
        percentiles = (order[steps][None] < values[is_chosen][:, None]).sum(axis=1)
        means.append(percentiles.mean(axis=0))
    return means


@pytest.mark.parametrize("ids", [[3], [3, 700, 1500], list(range(0, 1797, 9))])
def test_a_mean_percentile_is_what_counting_by_hand_gives(runtime, ids):
    found = mean_percentiles(runtime.store, np.array(ids, np.int32))
    assert found.n == len(ids)
    for mean, expected in zip(found.values, by_hand(runtime, ids), strict=True):
        np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-4)


def test_the_mean_percentile_of_one_image_is_its_percentile(runtime):
    found = mean_percentiles(runtime.store, np.array([FOCUS], np.int32))
    for mean, own in zip(
        found.values, queries.activation_percentiles(runtime.store, FOCUS), strict=True
    ):
        assert np.array_equal(mean, own)


def test_images_without_activations_are_not_counted(runtime):
    with_none = mean_percentiles(runtime.store, np.array([3, 10**6], np.int32))
    assert with_none.n == 1
    nobody = mean_percentiles(runtime.store, np.zeros(0, np.int32))
    assert nobody.n == 0
    assert not np.concatenate(nobody.values).any()


def test_a_selection_that_is_no_longer_wanted_is_not_read_on(runtime):
    asked = []

    def is_wanted():
        asked.append(threading.get_ident())
        return len(asked) < 2

    assert mean_percentiles(runtime.store, np.array([3], np.int32), is_wanted=is_wanted) is None
    assert len(asked) > 1


def test_image_or_selection_shades_by_choice(plot, state, runtime):
    shade(plot)
    of_image = plot.units.unit_shades
    assert plot.choice.css_classes == ["vt-none"], "without a selection there is no choice"
    ids = runtime.images.ids[::7]
    state.select(ids, "test")
    assert plot.choice.css_classes == []
    focus = state.focus
    assert plot.subject == focus, "the image under test comes first"
    plot.choice.choice_value = "selection"
    assert f"reading the activations for {len(ids)} selected" in plot.line.object
    shade(plot)
    assert f"shade = mean percentile of {len(ids)} selected · path of image" in plot.line.object
    expected = np.concatenate(by_hand(runtime, ids))
    shown = np.frombuffer(plot.units.unit_shades, np.uint8)
    assert np.abs(shown - expected).max() <= 0.501
    assert plot.units.unit_means == "mean percentile of the selection"
    low, high = plot.units.unit_ends
    assert ((shown >= low) & (shown <= high)).mean() >= 0.98
    plot.choice.choice_value = "image"
    shade(plot)
    state.set_focus(FOCUS)
    shade(plot)
    assert plot.units.unit_shades == of_image
    assert plot.units.unit_ends == (0, 255)
    state.clear()
    assert plot.choice.css_classes == ["vt-none"]


def test_a_selection_shades_where_no_image_is_under_test(plot, state, runtime):
    state.select(runtime.images.ids[:50], "test")
    state.set_focus(None)
    shade(plot)
    assert plot.choice.css_classes == ["vt-none"]
    assert "shade = mean percentile of 50 selected" in plot.line.object
    assert plot.units.unit_path == []


def test_a_selection_is_read_once(plot, state, runtime, monkeypatch):
    reads = []

    def read(*given, **named):
        reads.append(given)
        return mean_percentiles(*given, **named)

    monkeypatch.setattr("app.views.unit_plot.mean_percentiles", read)
    plot.choice.choice_value = "selection"
    for ids in (range(50), range(60), range(50)):
        state.select(list(ids), "test")
        shade(plot)
    assert len(reads) == 2


def test_what_is_overtaken_is_not_drawn(plot, state):
    plot.choice.choice_value = "selection"
    state.select(list(range(50)), "test")
    old = plot.subject
    state.select(list(range(60)), "test")
    run(plot.shade(old))
    assert plot.units.unit_shades == b""
    assert "60 selected" in plot.line.object


def test_the_line_says_what_percentiles_are_taken_over(plot, runtime):
    shade(plot)
    assert f"percentile among {len(runtime.images.ids):,} images" in plot.line.object
    assert filter_figures.among(8192, 60_000) == "8,192 of 60,000 images, drawn at random"


def test_the_strongest_images_are_those_of_the_split(plot, state, runtime, sent):
    for split in ("", "test"):
        state.show_split(split)
        plot.peek(1, 5)
        run(plot.answer_peeks())
        top = queries.top_images(runtime.store, 1, 5, limit=4, split=split or None)
        told = sent[-1]
        assert [told[name] for name in ("layer", "filter", "split")] == [1, 5, split]
        assert [image["id"] for image in told["images"]] == top.image_id.tolist()
        assert told["words"] == f"strongest of {split or 'all images'}"


def test_of_several_filters_asked_for_the_last_is_answered(plot, sent):
    for index in range(200):
        plot.peek(0, index % 16)
    run(plot.answer_peeks())
    assert [(told["layer"], told["filter"]) for told in sent] == [(0, 199 % 16)]


def test_a_lasso_replaces_adds_and_subtracts(plot, state):
    inside = [(0, 1), (0, 2), (1, 3)]
    plot.units._handle_msg(lasso(inside))
    assert set(state.filters) == set(inside)
    plot.units._handle_msg(lasso([(0, 2), (2, 4)], mode="add"))
    assert set(state.filters) == {*inside, (2, 4)}
    assert len(state.filters) == 4
    plot.units._handle_msg(lasso([(0, 1), (3, 3)], mode="subtract"))
    assert set(state.filters) == {(0, 2), (1, 3), (2, 4)}
    assert "3 filters chosen" in plot.units.unit_label
    plot.units._handle_msg(lasso([(5, 5)]))
    assert state.filters == ((5, 5),)
    assert "1 filter chosen" in plot.units.unit_label
    plot.units._handle_msg(lasso([]))
    assert state.filters == ((5, 5),), "an empty outline changes nothing"


def lasso(items, *, mode="replace", count=None):
    filters = [list(item) for item in items]
    return {"kind": "lasso", "filters": filters, "count": count or len(items), "mode": mode}


def test_the_strongest_of_a_lasso_comes_last(plot, state, runtime):
    shade(plot)
    plot.units._handle_msg(lasso([(2, index) for index in range(16)]))
    shades = np.frombuffer(plot.units.unit_shades, np.uint8)
    before = sum(row.filters for row in queries.layers(runtime.store)[:2])
    assert shades[before + state.filters[-1][1]] == shades[before : before + 16].max()


def test_too_many_filters_are_refused_in_words(plot, state, monkeypatch):
    for module in ("app.views.unit_plot", "app.components.unit_view"):
        monkeypatch.setattr(f"{module}.MOST_FILTERS", 100)
    every = [(layer, index) for layer, n in enumerate(counts(plot)) for index in range(n)]
    state.filters = ((0, 1),)
    few = every[:100]
    plot.units._handle_msg(lasso(few, count=len(few) + 70))
    assert state.filters == ((0, 1),)
    assert "170 filters are too many: at most 100 can be chosen" in plot.line.object
    assert 'role="status"' in plot.line.object
    state.filters = ()
    assert "too many" not in plot.line.object


def test_a_click_too_many_is_refused(plot, state, monkeypatch):
    monkeypatch.setattr("app.views.unit_plot.MOST_FILTERS", 2)
    for index in range(3):
        plot.pick(0, index, True)
    assert state.filters == ((0, 0), (0, 1))
    assert "3 filters are too many" in plot.line.object


def counts(plot):
    return [layer["filters"] for layer in plot.units.unit_layers]


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "lasso"},
        {"kind": "lasso", "filters": "x", "count": 1, "mode": "add"},
        {"kind": "lasso", "filters": [[0, 1], [0, 999]], "count": 2, "mode": "add"},
        {"kind": "lasso", "filters": [[0, 1], [-1, 0]], "count": 2, "mode": "add"},
        {"kind": "lasso", "filters": [[0, 1], [0, 1]], "count": 2, "mode": "add"},
        {"kind": "lasso", "filters": [[0, 1], [0]], "count": 2, "mode": "add"},
        {"kind": "lasso", "filters": [[0, 1], {"a": 1}], "count": 2, "mode": "add"},
        {"kind": "lasso", "filters": [[0, 1.5]], "count": 1, "mode": "add"},
        {"kind": "lasso", "filters": [[0, 1]], "count": 0, "mode": "add"},
        {"kind": "lasso", "filters": [[0, 1]], "count": 10**9, "mode": "add"},
        {"kind": "lasso", "filters": [[0, 1]], "count": 1, "mode": "drop"},
        {"kind": "lasso", "filters": [[0, 1]], "count": 1, "mode": ["add"]},
        {"kind": "lasso", "filters": [[0, 1]] * (MOST_FILTERS + 1), "count": 501, "mode": "add"},
        {"kind": "peek", "layer": 0, "filter": 16},
        {"kind": "peek", "layer": -1, "filter": 0},
        {"kind": "peek", "layer": "0", "filter": True},
    ],
)
def test_a_forged_message_chooses_and_asks_nothing(plot, state, message):
    plot.units._handle_msg(message)
    assert state.filters == ()
    assert plot._peeked is None


def test_the_card_of_many_filters_names_the_last(runtime):
    layers = queries.layers(runtime.store)
    names = [f"layer {index}" for index in range(len(layers))]
    items = tuple((2, index) for index in range(20))
    state = SessionState(dict(runtime.splits), split="test")
    for n, lead in (
        (1, "Strongest images of test for"),
        (3, "Strongest images of test for the last"),
        (20, "Strongest images of test for the last of 20 filters"),
    ):
        state.filters = items[:n]
        card = filter_card.card(runtime, state, layers, names)
        assert card["lead"] == lead
        assert card["count"] == n
        assert len(card["chips"]) == (n if n <= 3 else 1)
        assert card["chips"][-1]["text"].endswith(f"·{n - 1}")
        assert " test images by true class" in card["histogram"]["words"]
    state.show_split("")
    assert filter_card.card(runtime, state, layers, names)["lead"].startswith(
        "Strongest images of all splits for"
    )
