"""Read and write weights; a file that is not exactly right is refused in one line."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from vatun.errors import WeightsError

if TYPE_CHECKING:
    from pathlib import Path

_POINTER = b"version https://git-lfs"


def load_weights(module: nn.Module, path: Path) -> None:
    """Put the weights of a file into a network.

    Half-precision weights are run in the network's own precision.

    Parameters
    ----------
    module : nn.Module
        Built for the right number of classes.
    path : Path
        ``.safetensors``, or a checkpoint of ``torch.save`` that holds tensors only (a state
        dictionary, bare or under ``state_dict`` or ``model``).

    Raises
    ------
    WeightsError
        When the file is missing, damaged, no weights, unsafe, or for another network.
    """
    _check_file(path)
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_checkpoint(path)
    _check_fit(module, state, path)
    for name, value in state.items():
        if not _is_plain(value):
            msg = f"{path}: {name} is no plain tensor of numbers; save `module.state_dict()` again"
            raise WeightsError(msg)
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            msg = f"{path}: {name} holds NaN or infinity; train the network again"
            raise WeightsError(msg)
    module.load_state_dict(dict(state), strict=False)


def save_weights(module: nn.Module, path: Path, *, half: bool = False) -> None:
    """Write the weights of a network as safetensors; the file appears whole or not at all.

    Parameters
    ----------
    module : nn.Module
        The network.
    path : Path
        Where to write.
    half : bool
        Store floating point values as float16.
    """
    state = {}
    for name, value in module.state_dict().items():
        stored = value.detach().cpu().contiguous()
        state[name] = stored.half() if half and stored.is_floating_point() else stored
    scratch = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with scratch.open("wb") as file:
            file.write(save(state))
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def _check_file(path: Path) -> None:
    if not path.is_file():
        msg = f"{path}: no such weights file; put it there, or train the network"
        raise WeightsError(msg)
    with path.open("rb") as file:
        head = file.read(64).lstrip()
    if not head:
        msg = f"{path} is empty; fetch the weights again"
        raise WeightsError(msg)
    if head.startswith(_POINTER):
        msg = f"{path} is a Git LFS pointer, not weights; run `git lfs pull` where it came from"
        raise WeightsError(msg)
    if head.startswith(b"<"):
        msg = f"{path} is a web page, not weights; fetch the file itself"
        raise WeightsError(msg)


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        msg = f"{path} is damaged or not safetensors ({_line(error)}); fetch the file again"
        raise WeightsError(msg) from error


def _read_checkpoint(path: Path) -> Mapping[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Never try again without weights_only: that would run the file's own code.
        msg = (
            f"{path} holds more than tensors, or is damaged, and was not read; "
            "save `module.state_dict()` as safetensors"
        )
        raise WeightsError(msg) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        msg = f"{path} is damaged or no checkpoint ({_line(error)}); fetch the file again"
        raise WeightsError(msg) from error
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(
        isinstance(value, Tensor) for value in found.values()
    ):
        msg = f"{path} holds no state dictionary; save `module.state_dict()` as safetensors"
        raise WeightsError(msg)
    return found


def _check_fit(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    wanted = module.state_dict()
    # A counter that only training reads; converted checkpoints leave it out.
    missing = [
        name for name in wanted if name not in state and not name.endswith("num_batches_tracked")
    ]
    extra = [name for name in state if name not in wanted]
    if missing or extra:
        msg = (
            f"{path} is for another network: {len(missing)} keys missing{_first(missing)}, "
            f"{len(extra)} unexpected{_first(extra)}; check builder in the project file"
        )
        raise WeightsError(msg)
    for name, value in state.items():
        if value.shape != wanted[name].shape:
            have, need = tuple(value.shape), tuple(wanted[name].shape)
            msg = (
                f"{path} is for another network: {name} is {have}, needed {need}; "
                "check builder and classes in the project file"
            )
            raise WeightsError(msg)


def _is_plain(value: Tensor) -> bool:
    is_odd = value.is_meta or value.is_complex() or value.is_quantized
    return value.layout == torch.strided and not is_odd


def _first(names: list[str]) -> str:
    return f" ({names[0]})" if names else ""


def _line(error: BaseException) -> str:
    """Return the first line of an error; some of torch's and of truncated files have none."""
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
