"""Captured values are those of the tensors that the network makes."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from tests.vatun.toys import Broken, Functional, Moody, Shared, hook_count
from vatun.capture import Capturer, capture
from vatun.errors import LayerError
from vatun.network import prepare_network
from vatun.specs import InputSpec, ModelSpec


def prepare(module, side=16, **options):
    spec = ModelSpec(builder="toy", classes=4, **options)
    return prepare_network(module, spec, InputSpec(height=side, width=side), device="cpu")


def check(found, index, tensor, channel_axis=1):
    """Compare one layer with its tensor, reduced by numpy."""
    values = np.moveaxis(tensor.numpy(), channel_axis, 1).reshape(len(tensor), -1, 1)
    if tensor.ndim == 4:
        moved = np.moveaxis(tensor.numpy(), channel_axis, 1)
        values = moved.reshape(*moved.shape[:2], -1)
    np.testing.assert_array_equal(found.maxima[index], values.max(axis=2))
    np.testing.assert_allclose(found.means[index], values.mean(axis=2), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.peaks[index], values.argmax(axis=2))


def test_vgg_equals_the_output_of_its_activations(small, images):
    batch = images(5)
    found = capture(small, batch, peaks=True)
    with torch.inference_mode():
        maps, index = small.normalise(batch), 0
        for module in small.module.features:
            maps = module(maps)
            if isinstance(module, nn.ReLU):
                check(found, index, maps.clone())
                index += 1
        hidden = small.module.classifier[:2](maps.flatten(1))
        logits = small.module.classifier[2](hidden)
    check(found, index, hidden)
    assert index + 1 == len(found.maxima) == len(small.layers)
    np.testing.assert_array_equal(found.embedding, hidden)
    np.testing.assert_allclose(found.logits, logits, atol=1e-6)
    np.testing.assert_array_equal(found.logits, small.logits(batch))


def test_resnet_reads_the_sum_after_its_activation(make_network, images):
    network = make_network("torchvision:resnet18", side=64)
    batch, kept = images(2, 64, 64), {}
    handles = [
        network.module.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: kept.update({name: out.clone()})
        )
        for name in ("layer1.0", "layer4.1")
    ]
    network.logits(batch)
    for handle in handles:
        handle.remove()
    found = capture(network, batch, peaks=True)
    for name, tensor in kept.items():
        check(found, network.layer(f"{name}.conv2").layer_index, tensor)


def test_functional_activations_equal_the_same_sums_written_out(images):
    module = Functional(4)
    network = prepare(module)
    batch = images(3, 16, 16)
    found = capture(network, batch, peaks=True)
    with torch.inference_mode():
        first = torch.relu(module.first(batch))
        second = torch.relu(module.norm(module.second(first)))
        third = torch.nn.functional.silu(module.third(torch.nn.functional.max_pool2d(second, 2)))
    np.testing.assert_allclose(found.maxima[0], first.amax((2, 3)), atol=1e-6)
    np.testing.assert_allclose(found.maxima[1], second.amax((2, 3)), atol=1e-6)
    np.testing.assert_allclose(found.maxima[2], third.amax((2, 3)), atol=1e-6)
    np.testing.assert_allclose(found.embedding, third.mean((2, 3)), atol=1e-6)


def test_channels_last_maps_are_reduced_over_space(make_network, images):
    network = make_network("torchvision:convnext_tiny", side=64)
    kept = {}
    layer = network.layer("features.1.0.block.3")
    module = network.module.get_submodule("features.1.0.block.4")
    handle = module.register_forward_hook(lambda _, __, out: kept.update(map=out.clone()))
    batch = images(2, 64, 64)
    network.logits(batch)
    handle.remove()
    assert (layer.kind, layer.point.channel_axis, layer.filters) == ("linear", 3, 384)
    assert (layer.height, layer.width) == tuple(kept["map"].shape[1:3])
    check(capture(network, batch, peaks=True), layer.layer_index, kept["map"], channel_axis=3)


def test_every_firing_of_a_shared_module_is_its_own_layer(images):
    module = Shared(4)
    found = capture(prepare(module), images(2, 16, 16))
    with torch.inference_mode():
        maps = module.stem(images(2, 16, 16)).relu()
        for index in range(1, 4):
            maps = module.conv(maps).relu()
            np.testing.assert_allclose(found.maxima[index], maps.amax((2, 3)), atol=1e-6)


def test_embedding_without_a_linear_layer_is_the_pooled_input_of_the_logits(make_network, images):
    network = make_network("torchvision:squeezenet1_1", side=64)
    batch = images(2, 64, 64)
    with torch.inference_mode():
        maps = network.module.features(network.normalise(batch))
    found = capture(network, batch)
    assert network.embedding_layer == "classifier.1"
    np.testing.assert_allclose(found.embedding, maps.mean(dim=(2, 3)), atol=1e-6)
    assert found.embedding.shape == (2, network.embedding_dimensions)


@pytest.mark.parametrize(
    "name", ["densenet121", "mobilenet_v3_small", "googlenet", "shufflenet_v2_x0_5"]
)
def test_shapes_agree_with_the_layers(name, make_network, images):
    network = make_network(f"torchvision:{name}", side=64)
    found = capture(network, images(2, 64, 64), peaks=True)
    for layer, maxima, means, peaks in zip(
        network.layers, found.maxima, found.means, found.peaks, strict=True
    ):
        assert maxima.shape == means.shape == peaks.shape == (2, layer.filters)
        assert peaks.max() < layer.height * layer.width
        assert (maxima >= means - 1e-5).all()
    assert found.winner_max().shape == (2, len(network.layers))
    assert found.logits.dtype == found.embedding.dtype == np.float32
    assert found.peaks[0].dtype == found.winner_mean().dtype == np.int32


def test_an_image_is_captured_alike_in_any_batch(small, images):
    batch = images(6)
    whole = capture(small, batch)
    for index in range(6):
        alone = capture(small, batch[index : index + 1])
        np.testing.assert_allclose(alone.logits[0], whole.logits[index], atol=1e-5)
        np.testing.assert_allclose(alone.embedding[0], whole.embedding[index], atol=1e-5)


def test_no_hook_is_left(small, images):
    capture(small, images(2))
    assert hook_count(small.module) == 0
    with Capturer(small) as capturer:
        capturer(images(2))
        assert hook_count(small.module) > 0
    assert hook_count(small.module) == 0
    with pytest.raises(RuntimeError, match="with block"):
        capturer(images(2))


def test_no_hook_is_left_when_the_network_raises(images):
    network = prepare(Broken(4))
    with pytest.raises(RuntimeError, match="too bright"):
        capture(network, images(2, 16, 16) + 1)
    assert hook_count(network.module) == 0
    assert capture(network, images(2, 16, 16)).logits.shape == (2, 4)


def test_another_way_through_the_network_is_an_error(images):
    network = prepare(Moody(4))
    capture(network, images(2, 16, 16))
    with pytest.raises(LayerError, match="1 of 2 layers did not fire"):
        capture(network, images(2, 16, 16) + 5)
    assert hook_count(network.module) == 0


def test_eight_threads_share_one_network(make_network, images):
    network = make_network("torchvision:resnet18", side=32)
    batches = [images(2) * (index + 1) / 8 for index in range(8)]
    expected = [capture(network, batch, peaks=True) for batch in batches]
    wrong: list[str] = []

    def work(index):
        for _ in range(3):
            found = capture(network, batches[index], peaks=True)
            same = zip(found.maxima, expected[index].maxima, strict=True)
            if not all(np.allclose(mine, alone, atol=1e-5) for mine, alone in same):
                wrong.append(f"thread {index}")

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert hook_count(network.module) == 0


def test_a_layer_of_one_image_is_not_needed_to_capture_none(small):
    found = capture(small, torch.zeros(0, 3, 32, 32))
    assert found.logits.shape == (0, 5)
    assert found.winner_max().shape == (0, len(small.layers))
