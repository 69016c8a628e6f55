"""The state of a training run on the disk, replaced whole after every epoch."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from pipelines.progress import say

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Checkpoint:
    """A file that survives a kill at any moment.

    Parameters
    ----------
    path : Path
        Where it lies.
    key : str
        What the run is made from; a checkpoint of another run is not used.
    """

    path: Path
    key: str

    def save(self, module: nn.Module, optimiser: torch.optim.Optimizer, epochs: int) -> None:
        """Replace the file by the state after ``epochs`` epochs."""
        state = {
            "key": self.key,
            "epochs": epochs,
            "module": module.state_dict(),
            "optimiser": optimiser.state_dict(),
        }
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)

    def load(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> int:
        """Restore what was saved; return the number of finished epochs, 0 without a checkpoint."""
        if not self.path.exists():
            return 0
        try:
            # Never anything but tensors and numbers: a checkpoint may not run code.
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            say(f"{self.path.name} cannot be read ({type(error).__name__}); starting again")
            return 0
        if state.get("key") != self.key:
            return 0
        module.load_state_dict(state["module"])
        optimiser.load_state_dict(state["optimiser"])
        return int(state["epochs"])
