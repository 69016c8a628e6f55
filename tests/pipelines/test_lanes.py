"""Lanes: many threads, one network, results in the order of the images."""

import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from pipelines import lanes as lanes_module
from pipelines.errors import StageError
from pipelines.inputs import Batch, _groups, _tasks
from pipelines.lanes import LANE_IMAGES, Lanes, is_plain, to_device
from vatun.builders import build
from vatun.capture import capture
from vatun.network import prepare_network
from vatun.specs import InputSpec, ModelSpec


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    spec = ModelSpec(builder="small_vgg", classes=10)
    given = InputSpec(height=32, width=32, resize=32, crop=None, mean=(0.5,) * 3, std=(0.5,) * 3)
    return prepare_network(build(spec.builder, spec.classes), spec, given, device="cpu")


def batches(*sizes):
    generator = np.random.default_rng(0)
    start = 0
    for size in sizes:
        yield Batch(
            image_ids=np.arange(start, start + size, dtype=np.int32),
            labels=np.zeros(size, dtype=np.int64),
            pixels=generator.integers(0, 256, (size, 3, 32, 32), dtype=np.uint8),
            sources=[f"{index}.png" for index in range(start, start + size)],
        )
        start += size


def size_of(network, batch):
    return len(batch)


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_results_come_in_order_and_equal_those_of_one_thread(network):
    sizes = (200, 1, 7, 64)
    expected = [
        network.logits(to_device(batch.pixels, network)).numpy() for batch in batches(*sizes)
    ]
    seen, ids, lanes_used = [], [], set()

    def work(network, batch):
        assert torch.get_num_threads() == 1
        lanes_used.add(threading.get_ident())
        return capture(network, to_device(batch.pixels, network), peaks=True).logits

    with Lanes(network, batch_size=256) as lanes:
        assert lanes.count == 3
        for batch, results in lanes.run(work, batches(*sizes)):
            assert len(batch) <= LANE_IMAGES
            ids += batch.image_ids.tolist()
            seen += results
    assert ids == list(range(sum(sizes)))
    np.testing.assert_allclose(np.concatenate(seen), np.concatenate(expected), atol=1e-5)
    assert len(lanes_used) > 1
    assert threading.get_ident() not in lanes_used
    assert not any(module._forward_hooks for module in network.module.modules())


class Forgetful(nn.Module):
    """Keeps the images of a forward pass on itself, and reads them again at its end."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, images):
        self.kept = images
        maps = self.convolution(images).relu()
        time.sleep(0.002)
        mean = self.kept.mean(dim=(1, 2, 3))
        return self.head(maps.amax(dim=(2, 3))) + mean[:, None]


def plain():
    layers = [
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    ]
    return nn.Sequential(*layers)


def hooked():
    """Return plain modules of which one is multiplied by what a hook has kept elsewhere."""
    module, kept = plain(), {}
    module[0].register_forward_hook(lambda _, __, output: kept.update(maps=output))
    module[3].register_forward_hook(lambda _, __, output: output + kept["maps"].mean((2, 3)))
    return module


def patched():
    """Return plain modules with another forward, which closes over them."""
    module = plain()
    inner = plain()
    module.forward = lambda images: inner(images) * 20
    return module


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("make", [Forgetful, hooked])
def test_networks_that_keep_something_of_a_forward_pass_have_one_lane(make):
    spec = ModelSpec(builder="small_vgg", classes=2)
    given = InputSpec(height=32, width=32, resize=32, crop=None, mean=(0.5,) * 3, std=(0.5,) * 3)
    network = prepare_network(make(), spec, given, device="cpu")

    def work(network, batch):
        return network.logits(to_device(batch.pixels, network)).numpy()

    expected = np.concatenate([work(network, batch) for batch in batches(90, 90)])
    with Lanes(network, batch_size=12) as lanes:
        assert (lanes.count, lanes.images) == (1, 12)
        found = [part for _, parts in lanes.run(work, batches(90, 90)) for part in parts]
        assert torch.get_num_threads() == 3, "that one lane has the threads of torch"
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)


def test_only_library_modules_as_they_come_are_shared():
    assert is_plain(plain())
    assert is_plain(build("vgg16_cifar", 10))
    assert is_plain(build("torchvision:resnet18", 10))
    assert not is_plain(nn.Sequential(Forgetful()))
    assert not is_plain(hooked())
    assert not is_plain(patched())
    early = plain()
    early[0].register_forward_pre_hook(lambda _, inputs: inputs)
    assert not is_plain(early)


def test_what_did_not_fit_is_cut_smaller_from_then_on(network, capfd):
    tried = []

    def work(network, batch):
        tried.append(len(batch))
        if len(batch) > 8:
            message = (
                "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"
            )
            raise RuntimeError(message)
        return batch.image_ids

    with Lanes(network, batch_size=64) as lanes:
        parts = [part for _, found in lanes.run(work, batches(*[64] * 20)) for part in found]
    assert np.concatenate(parts).tolist() == list(range(20 * 64))
    # Pieces that were cut before the first failure may still be too large; the rest is not.
    assert sum(size > 8 for size in tried) < 30
    assert capfd.readouterr().err.count("memory ran out") < 30


def test_other_errors_are_not_taken_for_lack_of_memory(network):
    def work(network, batch):
        raise RuntimeError("shapes do not fit")

    with (
        pytest.raises(StageError, match="RuntimeError: shapes do not fit"),
        Lanes(network, batch_size=8) as lanes,
    ):
        list(lanes.run(work, batches(8)))


def test_copies_share_the_weights(network):
    first, second = lanes_module._copies(network, 2)
    assert first is network
    assert second.module is not network.module
    pairs = zip(first.module.parameters(), second.module.parameters(), strict=True)
    assert all(one is other for one, other in pairs)


@pytest.mark.usefixtures("three_threads")
def test_threads_of_torch_are_as_before(network):
    with Lanes(network, batch_size=8) as lanes:
        list(lanes.run(size_of, batches(8)))
    assert torch.get_num_threads() == 3
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert found == [3]


@pytest.mark.usefixtures("three_threads")
def test_every_lane_gets_the_same_work(network):
    with Lanes(network, batch_size=256) as lanes:
        sizes = [len(batch) for batch, _ in lanes.run(size_of, batches(200))]
    assert sizes == [34, 34, 34, 34, 34, 30]


def test_what_fails_in_a_lane_fails_the_stage(network):
    def work(network, batch):
        if batch.image_ids[0] >= 64:
            raise torch.OutOfMemoryError
        return len(batch)

    with (
        pytest.raises(StageError, match="not even one image"),
        Lanes(network, batch_size=64) as lanes,
    ):
        list(lanes.run(work, batches(64, 64, 64)))


def test_no_more_is_read_than_the_lanes_can_use(network):
    asked = []

    def source():
        for batch in batches(*[8] * 100):
            asked.append(batch)
            yield batch

    with Lanes(network, batch_size=8) as lanes:
        results = lanes.run(size_of, source())
        next(results)
        assert len(asked) <= 2 * lanes.count + 2
        results.close()


def test_encoded_images_are_cut_into_tasks_of_some_size():
    rows = [(b"x" * size, "") for size in (100_000, 100_000, 100_000, 300_000, 10)]
    tasks = _tasks(rows)
    assert [row for part in tasks for row in part] == rows
    assert [len(part) for part in tasks] == [2, 1, 2]
    assert [len(part) for part in _tasks([(None, "a"), (None, "b")])] == [1, 1]
    assert len(_tasks([(b"x" * 900, "")] * 128)) == 1


def test_batches_are_read_in_groups_that_keep_their_order():
    parts = [[1, 2], [3], [4, 5, 6, 7], [8]]
    assert list(_groups(parts, most=3)) == [[[1, 2], [3]], [[4, 5, 6, 7]], [[8]]]
