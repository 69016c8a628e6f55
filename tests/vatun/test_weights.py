"""A weights file fits exactly, or is refused in one line that says what to do."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vatun.builders import build
from vatun.errors import WeightsError
from vatun.network import load_network, save_weights
from vatun.specs import InputSpec, ModelSpec

SPEC = ModelSpec(builder="small_vgg", classes=3)
SIZE = InputSpec(height=32, width=32)


@pytest.fixture
def module():
    return build("small_vgg", 3)


def load(path):
    return load_network(SPEC, SIZE, weights=path, device="cpu")


class Payload:
    """Runs a command where a pickle is trusted."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def state(module, **changes):
    return {**module.state_dict(), **changes}


def truncated(path, module):
    save_file(module.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1000])


def other_classes(path, _):
    save_file(build("small_vgg", 5).state_dict(), path)


def other_network(path, _):
    save_file(build("vgg16_cifar", 3).state_dict(), path)


def other_name(path, module):
    save_file({f"module.{name}": value for name, value in module.state_dict().items()}, path)


def not_finite(path, module):
    save_file(state(module, **{"features.0.bias": torch.full((16,), torch.nan)}), path)


def whole_module(path, module):
    torch.save(module, path)


def list_of_tensors(path, _):
    torch.save([torch.ones(2)], path)


def truncated_zip(path, module):
    torch.save(module.state_dict(), path)
    path.write_bytes(path.read_bytes()[:500])


BAD = [
    ("missing.safetensors", lambda path, _: None, "no such weights file"),
    ("empty.safetensors", lambda path, _: path.write_bytes(b""), "is empty"),
    ("page.safetensors", lambda path, _: path.write_bytes(b"<html>404"), "web page"),
    ("pointer.pt", lambda p, _: p.write_bytes(b"version https://git-lfs.github"), "git lfs pull"),
    ("text.safetensors", lambda path, _: path.write_bytes(b"hello, world" * 9), "damaged"),
    ("text.pt", lambda path, _: path.write_bytes(b"hello, world" * 9), "was not read|damaged"),
    ("cut.safetensors", truncated, "damaged"),
    ("cut.pt", truncated_zip, "damaged"),
    ("classes.safetensors", other_classes, r"classifier.2.bias is \(5,\), needed \(3,\)"),
    ("network.safetensors", other_network, "keys missing|another network"),
    ("prefix.safetensors", other_name, "unexpected"),
    ("nan.safetensors", not_finite, "features.0.bias holds NaN"),
    ("module.pt", whole_module, "state_dict"),
    ("list.pt", list_of_tensors, "no state dictionary"),
]


@pytest.mark.parametrize(("name", "write", "message"), BAD, ids=[name for name, _, _ in BAD])
def test_a_bad_file_is_refused_in_one_line(name, write, message, tmp_path, module):
    path = tmp_path / name
    write(path, module)
    with pytest.raises(WeightsError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors", ".ckpt"])
def test_a_pickle_payload_is_never_run(suffix, tmp_path):
    marker = tmp_path / "marker"
    for number, write in enumerate((pickle_to, torch_to, legacy_to)):
        path = tmp_path / f"{number}{suffix}"
        write(Payload(marker), path)
        with pytest.raises(WeightsError):
            load(path)
    assert not marker.exists()


def pickle_to(payload, path):
    path.write_bytes(pickle.dumps(payload, protocol=2))


def torch_to(payload, path):
    torch.save({"features.0.weight": payload}, path)


def legacy_to(payload, path):
    torch.save({"state_dict": payload}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
def test_checkpoints_of_tensors_are_read(wrap, tmp_path, module):
    path = tmp_path / "weights.pt"
    torch.save(module.state_dict() if wrap is None else {wrap: module.state_dict()}, path)
    found = load(path).module.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in module.state_dict().items())


def test_counters_of_training_may_be_missing(tmp_path, module):
    path = tmp_path / "weights.safetensors"
    save_file({n: v for n, v in module.state_dict().items() if "num_batches" not in n}, path)
    load(path)


@pytest.mark.parametrize("half", [False, True])
def test_saved_weights_come_back_in_full_precision(half, tmp_path, module):
    path = tmp_path / "weights.safetensors"
    save_weights(module, path, half=half)
    network = load(path)
    for name, value in network.module.state_dict().items():
        expected = module.state_dict()[name]
        stored = expected.half().to(expected.dtype) if half else expected
        assert torch.equal(value, stored)
        assert value.dtype != torch.float16
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, module, monkeypatch):
    path = tmp_path / "weights.safetensors"
    save_weights(module, path)
    before = path.read_bytes()

    def full(_: int) -> None:
        msg = "No space left on device"
        raise OSError(28, msg)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_weights(build("small_vgg", 3), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_channels_last_network_is_saved_as_any_other(tmp_path, module):
    network = load(None)
    path = tmp_path / "weights.safetensors"
    save_weights(network.module, path)
    stored = load_file(path)
    assert all(torch.equal(v, stored[n]) for n, v in network.module.state_dict().items())


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize("change", ["meta", "sparse", "complex"])
def test_tensors_that_hold_no_plain_numbers_are_refused(tmp_path, module, change):
    name, value = next(iter(module.state_dict().items()))
    odd = {
        "meta": lambda: value.to("meta"),
        "sparse": value.to_sparse,
        "complex": lambda: value.to(torch.complex64),
    }[change]()
    torch.save(state(module, **{name: odd}), tmp_path / "odd.pt")
    with pytest.raises(WeightsError, match="is no plain tensor of numbers"):
        load(tmp_path / "odd.pt")


def test_a_folder_is_no_weights_file(tmp_path):
    (tmp_path / "x.pt").mkdir()
    with pytest.raises(WeightsError, match="no such weights file"):
        load(tmp_path / "x.pt")
