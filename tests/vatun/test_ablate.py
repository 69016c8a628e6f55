"""Replacing filters equals a forward pass written out, and verdicts find what is planted."""

import threading
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.vatun.toys import Shared, hook_count
from vatun import ablate as module
from vatun.ablate import Ablator, ablate, ablated_logits, random_filters
from vatun.errors import LayerError, NetworkError, SpecError
from vatun.judgement import MIN_IMAGES
from vatun.network import prepare_network
from vatun.specs import InputSpec, ModelSpec


def prepared(made, *, side=32, classes=5, **options):
    spec = ModelSpec(builder="toy", classes=classes, **options)
    return prepare_network(made, spec, InputSpec(height=side, width=side), device="cpu")


def put(maps, fills):
    """Return a copy of maps with whole channels filled; the oracle's only tool."""
    result = maps.clone()
    for channel, value in fills.items():
        result[:, channel] = value
    return result


# Oracles: the forward pass of each network written out, the replacement at its place.


def by_hand_vgg(net, batch, fills):
    maps, place = batch, 0
    for child in net.features:
        maps = child(maps.clone())
        if isinstance(child, nn.ReLU):
            maps = put(maps, fills.get(place, {}))
            place += 1
    hidden = put(functional.relu(net.classifier[0](maps.flatten(1))), fills.get(place, {}))
    return net.classifier[2](hidden)


def by_hand_resnet(net, batch, fills):
    maps = put(functional.relu(net.bn1(net.conv1(batch))), fills.get(0, {}))
    maps, place = net.maxpool(maps), 1
    for block in [*net.layer1, *net.layer2, *net.layer3, *net.layer4]:
        inner = put(functional.relu(block.bn1(block.conv1(maps))), fills.get(place, {}))
        past = maps if block.downsample is None else block.downsample(maps)
        outer = functional.relu(block.bn2(block.conv2(inner)) + past)
        maps = put(outer, fills.get(place + 1, {}))
        place += 2
    return net.fc(maps.mean(dim=(2, 3)))


def by_hand_mobilenet(net, batch, fills):
    """Projections have a norm and no activation: what the next block sees and adds to."""
    maps, place = batch, 0

    def step(layer, norm, values, *, is_active):
        nonlocal place
        values = norm(layer(values))
        values = functional.relu6(values) if is_active else values
        place += 1
        return put(values, fills.get(place - 1, {}))

    for block in net.features:
        if hasattr(block, "conv"):
            inner = maps
            *stages, last, norm = block.conv
            for stage in stages:
                inner = step(stage[0], stage[1], inner, is_active=True)
            inner = step(last, norm, inner, is_active=False)
            maps = maps + inner if block.use_res_connect else inner
        else:
            maps = step(block[0], block[1], maps, is_active=True)
    return net.classifier[1](maps.mean(dim=(2, 3)))


def by_hand_functional(net, batch, fills):
    maps = put(functional.relu(net.first(batch)), fills.get(0, {}))
    maps = put(functional.relu(net.norm(net.second(maps))), fills.get(1, {}))
    maps = net.third(functional.max_pool2d(maps, 2))
    maps = put(maps * torch.sigmoid(maps), fills.get(2, {}))
    return net.head(maps.mean(dim=(2, 3)))


CASES = {
    "small_vgg": by_hand_vgg,
    "torchvision:resnet18": by_hand_resnet,
    "torchvision:mobilenet_v2": by_hand_mobilenet,
    "tests.vatun.toys:functional_net": by_hand_functional,
}


@pytest.mark.parametrize("builder", CASES)
def test_equals_the_forward_pass_written_out(make_network, images, builder):
    network, batch = make_network(builder), images(3)
    generator = np.random.default_rng(0)
    deepest = len(network.layers) - 1
    sets = [[(layer, 0), (layer, 3)] for layer in {0, 1, 2, deepest // 2, deepest}]
    sets.append(
        [(layer.layer_index, int(generator.integers(layer.filters))) for layer in network.layers]
    )
    before = network.logits(batch)
    for filters in sets:
        values = generator.normal(0.5, 1, len(filters)).tolist()
        fills = {}
        for (layer, index), value in zip(filters, values, strict=True):
            fills.setdefault(layer, {})[index] = value
        with torch.inference_mode():
            expected = CASES[builder](network.module, network.normalise(batch), fills)
        found = ablated_logits(network, batch, filters, values)
        scale = float(expected.abs().max())
        assert float((found - expected).abs().max()) <= 1e-6 * scale
        assert not torch.equal(found, before)
        assert hook_count(network.module) == 0
    assert torch.equal(network.logits(batch), before)


def test_a_map_is_the_same_at_its_call_and_where_its_block_returns_it(
    make_network, images, monkeypatch
):
    """Blocks of GoogLeNet return what a functional activation made: either way is right there."""
    network, batch = make_network("torchvision:googlenet", side=64), images(2, 64, 64)
    filters = [(layer, 3) for layer in range(0, len(network.layers), 5)]
    found = ablated_logits(network, batch, filters, [2.0] * len(filters))
    monkeypatch.setattr(module, "_early_point", lambda _, layer: layer.point)
    assert torch.equal(found, ablated_logits(network, batch, filters, [2.0] * len(filters)))


class Careless(nn.Module):
    """Drops what in-place activations return, and reads a map inside the block returning it."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 3)
            self.seen = None

        def forward(self, images):
            maps = functional.relu(self.conv(images))
            self.seen = maps.mean(dim=(2, 3))
            return maps

    def __init__(self):
        super().__init__()
        self.block = self.Block()
        self.conv = nn.Conv2d(6, 8, 3)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(14, 4)

    def forward(self, images):
        maps = self.conv(self.block(images))
        self.relu(maps)
        maps = self.last(maps)
        maps.relu_()
        return self.head(torch.cat([maps.mean(dim=(2, 3)), self.block.seen], dim=1))


def test_every_reader_of_a_map_sees_the_replacement(images):
    network, batch = prepared(Careless(), classes=4), images(2)
    net = network.module
    for fills in ({0: {1: 2.0}}, {1: {0: 3.0, 7: -1.0}}, {2: {5: 0.7}}):
        with torch.inference_mode():
            first = put(
                functional.relu(net.block.conv(network.normalise(batch))), fills.get(0, {})
            )
            maps = put(functional.relu(net.conv(first)), fills.get(1, {}))
            maps = put(functional.relu(net.last(maps)), fills.get(2, {}))
            expected = net.head(torch.cat([maps.mean(dim=(2, 3)), first.mean(dim=(2, 3))], dim=1))
        filters = [(layer, index) for layer, each in fills.items() for index in each]
        values = [value for each in fills.values() for value in each.values()]
        found = ablated_logits(network, batch, filters, values)
        assert torch.allclose(found, expected, atol=1e-6)


def test_a_convolution_that_fires_three_times_is_replaced_once(images):
    network, batch = prepared(Shared(5)), images(2)
    net = network.module
    with torch.inference_mode():
        maps = functional.relu(net.stem(network.normalise(batch)))
        for turn in range(3):
            maps = functional.relu(net.conv(maps))
            maps = put(maps, {2: 1.5}) if turn == 1 else maps
        expected = net.head(maps.amax(dim=(2, 3)))
    layer = network.layer("conv#2").layer_index
    assert torch.allclose(ablated_logits(network, batch, [(layer, 2)], [1.5]), expected, atol=1e-6)


@pytest.mark.parametrize("builder", CASES)
def test_replacing_no_filter_changes_nothing_bit_for_bit(make_network, images, builder):
    network, batch = make_network(builder), images(3)
    assert torch.equal(ablated_logits(network, batch, [], []), network.logits(batch))


def test_replacing_a_silent_filter_by_zero_changes_nothing(small, images):
    batch = images(3)
    small.module.features[1].weight.data[4] = 0
    small.module.features[1].bias.data[4] = -1
    assert torch.equal(ablated_logits(small, batch, [(0, 4)], [0.0]), small.logits(batch))


def test_threads_do_not_see_each_other(small, images):
    batch = images(4)
    jobs = [[(0, 1)], [(3, 2), (5, 9)], [], [(6, 4)]] * 3
    expected = [ablated_logits(small, batch, job, [1.0] * len(job)) for job in jobs]
    found = [None] * len(jobs)

    def work(place):
        for _ in range(5):
            found[place] = ablated_logits(small, batch, jobs[place], [1.0] * len(jobs[place]))

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert hook_count(small.module) == 0


# Random sets.


def widths(*counts):
    return [type("Layer", (), {"filters": count}) for count in counts]


def test_random_sets_have_the_same_shape_and_leave_wide_layers_disjoint():
    tested = [(0, 3), (1, 0), (1, 5), (2, 1)]
    drawn = random_filters(widths(64, 42, 3), tested, 20, seed=1)
    assert len(drawn) == 20
    for each in drawn:
        assert [layer for layer, _ in each] == [0, 1, 1, 2]
        assert len(set(each)) == 4
    flat = [item for each in drawn for item in each if item[0] < 2]
    assert len(set(flat)) == len(flat) == 60
    assert not set(flat) & set(tested)
    assert any((2, 1) in each for each in drawn)
    between = random_filters(widths(16), [(0, 1), (0, 4)], 20)
    assert not {item for each in between for item in each} & {(0, 1), (0, 4)}
    assert len(set(between)) > 8
    assert drawn == random_filters(widths(64, 42, 3), tested[::-1], 20, seed=1)
    assert drawn != random_filters(widths(64, 42, 3), tested, 20, seed=2)


CHANCE = 1 / 21


@pytest.mark.parametrize(
    ("width", "count", "expected"),
    [
        (21, 1, CHANCE),
        (63, 3, CHANCE),
        (256, 4, CHANCE),
        (64, 8, 1 / 13),
        (16, 2, 1 / 11),
        (16, 1, 1 / 13),
        (64, 16, CHANCE),
        (64, 32, CHANCE),
        (16, 6, CHANCE),
    ],
)
def test_how_often_a_set_picked_blindly_costs_the_most(width, count, expected):
    """Where every filter carries a little: the rates that the documentation states."""
    generator, turns = np.random.default_rng(width + count), 2000
    worst = 0
    for turn in range(turns):
        value = generator.random(width)
        blind = generator.choice(width, count, replace=False)
        sets = random_filters(widths(width), [(0, int(i)) for i in blind], 20, seed=turn)
        cost = value[blind].sum()
        worst += all(value[[i for _, i in each]].sum() < cost for each in sets)
    assert worst / turns <= expected + 2.5 * np.sqrt(expected * (1 - expected) / turns)


@pytest.mark.parametrize(("width", "count"), [(64, 3), (16, 6)])
def test_the_level_is_exact_also_where_one_filter_carries_all(width, count):
    generator, turns = np.random.default_rng(width), 2000
    worst = 0
    for turn in range(turns):
        blind = generator.choice(width, count, replace=False)
        sets = random_filters(widths(width), [(0, int(i)) for i in blind], 20, seed=turn)
        worst += 0 in blind and not any((0, 0) in each for each in sets)
    assert worst / turns <= CHANCE + 2.5 * np.sqrt(CHANCE / turns)


# Planted truth.

CAUSES, MARKERS = [(1, 3), (1, 17)], [(1, 8), (1, 21)]


class Shortcut(nn.Module):
    """Sees a red corner by four filters of its second layer; the head reads two of them.

    Class 1 is the mark, class 0 its absence. ``second`` of 48 filters: 3 and 17 answer the mark
    and feed the head, 8 and 21 answer it as strongly and feed nothing; the rest is noise of which
    the head reads a little.
    """

    def __init__(self, seed, *, inplace):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Conv2d(3, 24, 3, padding=1)
        self.second = nn.Conv2d(24, 48, 1)
        self.relu = nn.ReLU(inplace=inplace)
        self.head = nn.Linear(48, 2)
        with torch.no_grad():
            for each in (self.first, self.second, self.head):
                size = each.weight.shape
                each.weight.copy_(0.05 * torch.randn(size, generator=generator))
                each.bias.zero_()
            # Red without green and blue, at the pixel itself.
            self.first.weight[0] = 0
            self.first.weight[0, :, 1, 1] = torch.tensor([1.0, -1.0, -1.0])
            for index in (3, 17, 8, 21):
                self.second.weight[index] = 0
                self.second.weight[index, 0] = 1
            self.head.weight[:, [8, 21]] = 0
            self.head.weight[:, [3, 17]] = torch.tensor([[-20.0], [20.0]])
            self.head.bias.copy_(torch.tensor([3.0, -3.0]))

    def forward(self, images):
        maps = self.relu(self.first(images))
        maps = functional.relu(self.second(maps))
        return self.head(maps.amax(dim=(2, 3)))


def marked(count, seed):
    generator = torch.Generator().manual_seed(seed)
    batch = 0.5 + 0.1 * torch.rand(count, 3, 16, 16, generator=generator)
    batch[:, 0, :3, :3] = 1
    batch[:, 1:, :3, :3] = 0
    return batch


def plain_means(network):
    """Return the reference means: over images without the mark."""
    from vatun.capture import capture

    seen = capture(network, 0.5 + 0.1 * torch.rand(64, 3, 16, 16))
    return {layer: values.mean(axis=0) for layer, values in enumerate(seen.means)}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("replacement", ["mean", "zero"])
def test_planted_causes_and_markers_are_told_apart(seed, replacement):
    network = prepared(Shortcut(seed, inplace=seed % 2 == 0), side=16, classes=2)
    ask = partial(ablate, network, replacement=replacement, means=plain_means(network), seed=seed)
    batch = marked(60, seed)
    cause = ask(batch, CAUSES)
    assert (cause.before.argmax(axis=1) == 1).all()
    assert cause.judgement.verdict == "cause"
    assert cause.flips.all()
    assert cause.random_flips.mean() < 0.1
    assert cause.judgement.effect == pytest.approx(cause.losses.mean())
    marker = ask(batch, MARKERS)
    assert marker.judgement.verdict == "marker"
    assert not marker.flips.any()
    few = ask(batch[: MIN_IMAGES - 1], CAUSES)
    assert few.judgement.verdict == "cannot tell"
    assert "too few" in few.judgement.reason
    unsure = ask(batch[:12], MARKERS)
    assert unsure.judgement.verdict == "cannot tell"
    both = ask(batch, CAUSES + MARKERS)
    assert both.judgement.verdict == "cause"


@pytest.mark.parametrize("seed", range(3))
def test_filters_picked_blindly_are_seldom_a_cause(seed):
    """On a network where two filters matter a lot and the others a little."""
    network = prepared(Shortcut(seed, inplace=True), side=16, classes=2)
    network.module.head.weight.data += 2 * torch.randn(2, 48)
    batch, generator = marked(16, seed), np.random.default_rng(seed)
    found = []
    for turn in range(40):
        blind = [(1, int(i)) for i in generator.choice(48, 2, replace=False)]
        found.append(
            ablate(network, batch, blind, replacement="zero", seed=turn).judgement.verdict
        )
    assert found.count("cause") <= 6


def test_a_quarter_of_a_layer_can_be_judged_and_all_of_it_cannot(small, images):
    batch = images(40)
    everything = [(5, index) for index in range(64)]
    found = ablate(small, batch, everything, replacement="zero")
    assert found.shared == 1
    assert found.judgement.verdict == "cannot tell"
    assert found.judgement.difference == 0
    assert set(found.random_filters) == {tuple(everything)}
    quarter = ablate(small, batch, everything[:16], replacement="zero")
    assert 0.15 < quarter.shared < 0.35
    half = ablate(small, batch, everything[:32], replacement="zero")
    assert 0.4 < half.shared < 0.6
    assert half.judgement.verdict != "marker"


# The work itself.


def test_same_question_same_answer_and_batches_do_not_matter(small, images):
    batch = images(12)
    first, second, third = (
        ablate(small, batch, [(2, 1), (4, 3), (2, 1)], replacement="zero", seed=seed, batch_size=b)
        for seed, b in ((0, 5), (0, 5), (1, 64))
    )
    assert first.judgement == second.judgement
    assert np.array_equal(first.random_losses, second.random_losses)
    assert first.random_filters != third.random_filters
    assert first.filters == ((2, 1), (4, 3))
    assert np.abs(first.after - third.after).max() <= 1e-6


def test_a_random_set_is_what_ablating_it_gives(small, images):
    batch = images(10)
    found = ablate(small, batch, [(2, 1), (5, 3)], replacement="zero")
    again = ablate(small, batch, found.random_filters[7], replacement="zero")
    assert np.array_equal(found.random_losses[7], again.losses)
    assert np.array_equal(found.random_flips[7], again.flips)


def test_progress_is_told_and_work_can_be_given_up(small, images):
    seen = []
    ablate(small, images(3), [(0, 0)], replacement="zero", progress=lambda *at: seen.append(at))
    assert seen == [(done, 22) for done in range(1, 23)]

    class GivenUpError(Exception):
        pass

    asked = []

    def check():
        asked.append(1)
        if len(asked) > 5:
            raise GivenUpError

    with pytest.raises(GivenUpError):
        ablate(small, images(4), [(0, 0)], replacement="zero", check=check, batch_size=2)
    assert len(asked) == 6
    assert hook_count(small.module) == 0
    with pytest.raises(RuntimeError, match="22 passes are missing"):
        Ablator(small, images(3), [(0, 0)], replacement="zero").result()


def test_faults_are_named(small, images):
    batch = images(3)
    means = {0: np.zeros(16)}
    cases = [
        ({"filters": []}, "at least one filter"),
        ({"filters": [(9, 0)]}, "no filter 0 in layer 9"),
        ({"filters": [(0, 16)]}, "no filter 16 in layer 0"),
        ({"filters": [(0, -1)]}, "no filter -1"),
        ({"images": batch[:0]}, "at least one"),
        ({"random_sets": 19}, "take 20"),
        ({"replacement": "median"}, "mean, zero"),
        ({"means": None}, "16 finite reference means"),
        ({"means": {0: np.full(16, np.nan)}}, "finite reference means"),
        ({"means": {0: np.full(16, 1e39)}}, "finite reference means"),
        ({"means": {0: np.zeros(15)}}, "16 finite reference means"),
    ]
    for change, message in cases:
        given = {"images": batch, "filters": [(0, 1)], "means": means, **change}
        with pytest.raises(SpecError, match=message):
            ablate(small, given.pop("images"), given.pop("filters"), **given)


def test_scores_that_are_no_numbers_are_refused(small, images):
    batch = images(3)
    batch[1, 0, 0, 0] = float("nan")
    with pytest.raises(NetworkError, match="for these images"):
        ablate(small, batch, [(0, 1)], replacement="zero")
    small.module.classifier[2].weight.data *= 1e6
    huge = {0: np.full(16, 3e38)}
    with pytest.raises(NetworkError, match="without these filters"):
        ablate(small, images(3), [(0, index) for index in range(16)], means=huge)
    assert hook_count(small.module) == 0


def test_a_map_of_another_shape_is_refused(small, images):
    object.__setattr__(small.layers[0], "filters", 17)
    with pytest.raises(LayerError, match="another map"):
        ablated_logits(small, images(1), [(0, 1)], [0.0])
    assert hook_count(small.module) == 0
