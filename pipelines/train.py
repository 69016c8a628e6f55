"""Stage ``train``: make the weights of the network under test, where a project has a recipe."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.checkpoint import Checkpoint
from pipelines.errors import StageError
from pipelines.inputs import Batch, read_batch, usable_images
from pipelines.progress import bar, say
from pipelines.runner import Run, main
from vatun.builders import build
from vatun.network import save_weights

if TYPE_CHECKING:
    from pathlib import Path

    from pipelines.project import Project, TrainSection


@dataclass(frozen=True, kw_only=True)
class Data:
    """Labelled images in memory, on the device that trains.

    Parameters
    ----------
    pixels : Tensor of shape (n, 3, height, width), uint8
    labels : Tensor of shape (n,), int64
    """

    pixels: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> Data:
        """Return a copy on ``device``."""
        return Data(pixels=self.pixels.to(device), labels=self.labels.to(device))


def run(run: Run) -> dict[str, str]:
    """Train, save the weights beside the store's state, and record the accuracy by split.

    Returns
    -------
    dict
        Hash of the weights.

    Raises
    ------
    StageError
        When the project has no recipe, or nothing to train on.
    """
    project, recipe = run.project, run.project.train
    if recipe is None:
        raise StageError(f"{project.path.name} has no [train] section")
    device = _device(project)
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    splits = _read_splits(run)
    learnt = recipe.split or project.dataset.reference
    if learnt not in splits:
        raise StageError(f"the data set has no labelled images in the split {learnt!r}")
    classes = len(run.store().class_names)
    folder = project.trained_weights.parent
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(project=project, recipe=recipe, classes=classes, device=device)
    module = trainer.fit(splits[learnt], Checkpoint(folder / "checkpoint.pt", run.key))
    accuracy = {name: trainer.accuracy(module, data) for name, data in splits.items()}
    say(f"train: {_spelled(accuracy)}")
    save_weights(module, project.trained_weights)
    facts: dict[str, Any] = {
        "epochs": recipe.epochs,
        "accuracy_by_split": accuracy,
        "weights_sha256": _sha256(project.trained_weights),
    }
    if recipe.control:
        facts["control"] = _control(trainer, splits, Checkpoint(folder / "control.pt", run.key))
    with run.commit(device=str(device), weights_sha256=facts["weights_sha256"]) as generation:
        generation.info["train"] = facts
    for name in ("checkpoint.pt", "control.pt"):
        (folder / name).unlink(missing_ok=True)
    return {"weights": facts["weights_sha256"]}


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """The recipe: stochastic gradient descent with Nesterov momentum on a one-cycle schedule.

    Every random number of an epoch comes from the seed and the number of the epoch, so a run that
    was interrupted ends with the weights of one that was not.
    """

    project: Project
    recipe: TrainSection
    classes: int
    device: torch.device

    def fit(self, data: Data, checkpoint: Checkpoint) -> nn.Module:
        """Train from the checkpoint, or from the start.

        Parameters
        ----------
        data : Data
            The training split.
        checkpoint : Checkpoint
            Written after every epoch.

        Returns
        -------
        nn.Module
            In evaluation mode.

        Raises
        ------
        StageError
            When the loss is no longer a number.
        """
        recipe = self.recipe
        torch.manual_seed(self.project.seed)
        module = build(self.project.model.builder, self.classes).to(self.device)
        module = module.to(memory_format=torch.channels_last)
        optimiser = torch.optim.SGD(
            module.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.momentum > 0,
        )
        start = checkpoint.load(module, optimiser)
        if start:
            say(f"train: going on after epoch {start}")
        data = data.to(self.device)
        steps = len(data.labels) // recipe.batch_size or 1
        with bar(
            total=recipe.epochs * steps, label="train", unit="step", done=start * steps
        ) as progress:
            for epoch in range(start, recipe.epochs):
                loss = self._epoch(module, optimiser, data, epoch, steps, progress)
                if not math.isfinite(loss):
                    raise StageError("the loss is not finite: lower [train] learning_rate")
                progress.set_postfix_str(f"epoch {epoch + 1}, loss {loss:.3f}")
                checkpoint.save(module, optimiser, epoch + 1)
        return module.eval()

    def _epoch(
        self,
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
        data: Data,
        epoch: int,
        steps: int,
        progress: Any,
    ) -> float:
        recipe = self.recipe
        generator = torch.Generator().manual_seed(self.project.seed * 100_003 + epoch)
        torch.manual_seed(self.project.seed * 100_003 + epoch)
        order = torch.randperm(len(data.labels), generator=generator)
        module.train()
        total = 0.0
        for step in range(steps):
            picked = order[step * recipe.batch_size : (step + 1) * recipe.batch_size].to(
                self.device
            )
            rate = one_cycle(
                (epoch * steps + step) / (recipe.epochs * steps), peak=recipe.learning_rate
            )
            for group in optimiser.param_groups:
                group["lr"] = rate
            images = self._normalised(augment(data.pixels[picked], recipe.augment, generator))
            with torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda"):
                logits = module(images)
            loss = nn.functional.cross_entropy(
                logits.float(), data.labels[picked], label_smoothing=recipe.label_smoothing
            )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += float(loss.detach())
            progress.update()
        return total / steps

    @torch.inference_mode()
    def accuracy(self, module: nn.Module, data: Data) -> float:
        """Return the share of images whose highest score is that of their class."""
        right = 0
        for start in range(0, len(data.labels), 512):
            part = slice(start, start + 512)
            logits = module(self._normalised(data.pixels[part].to(self.device)))
            right += int((logits.argmax(1).cpu() == data.labels[part]).sum())
        return right / len(data.labels)

    def _normalised(self, pixels: Tensor) -> Tensor:
        spec = self.project.input_spec
        mean = torch.tensor(spec.mean, device=pixels.device).view(1, 3, 1, 1)
        std = torch.tensor(spec.std, device=pixels.device).view(1, 3, 1, 1)
        images = (pixels.float() / 255 - mean) / std
        return images.contiguous(memory_format=torch.channels_last)


def one_cycle(position: float, *, peak: float) -> float:
    """Return the learning rate at a position in [0, 1): a fifth up to ``peak``, a cosine down."""
    # Smith, Topin, "Super-Convergence", 2018.
    if position < 0.2:
        return peak * (0.04 + 0.96 * position / 0.2)
    return peak * (0.5 + 0.5 * math.cos(math.pi * (position - 0.2) / 0.8)) + 1e-5 * peak


def augment(pixels: Tensor, kinds: tuple[str, ...], generator: torch.Generator) -> Tensor:
    """Return randomly cropped, mirrored and cut-out copies of uint8 images.

    Parameters
    ----------
    pixels : Tensor of shape (n, 3, height, width), uint8
    kinds : tuple of str
        Any of crop, flip, cutout.
    generator : torch.Generator
        On the CPU: the draws are the same on every device.

    Returns
    -------
    Tensor of shape (n, 3, height, width), uint8

    References
    ----------
    DeVries, Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017.
    """
    count, _, height, width = pixels.shape
    rows = torch.arange(height, device=pixels.device).view(1, height, 1)
    columns = torch.arange(width, device=pixels.device).view(1, 1, width)

    def draw(limit: int) -> Tensor:
        return torch.randint(limit, (count, 1, 1), generator=generator).to(pixels.device)

    if "crop" in kinds:
        padded = nn.functional.pad(pixels, (4, 4, 4, 4))
        top, left = draw(9), draw(9)
        batch = torch.arange(count, device=pixels.device).view(count, 1, 1)
        pixels = padded.permute(0, 2, 3, 1)[batch, rows + top, columns + left].permute(0, 3, 1, 2)
    if "flip" in kinds:
        pixels = torch.where(draw(2).unsqueeze(1).bool(), pixels.flip(3), pixels)
    if "cutout" in kinds:
        half = max(height // 8, 1)
        hole = ((rows - draw(height)).abs() < half) & ((columns - draw(width)).abs() < half)
        pixels = pixels.masked_fill(hole.unsqueeze(1), 0)
    return pixels


def _device(project: Project) -> torch.device:
    name = project.capture.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _read_splits(run: Run) -> dict[str, Data]:
    store = run.store()
    image_ids, labels, splits = usable_images(store)
    parts = {}
    with ThreadPoolExecutor(run.project.dataset.workers) as pool:
        for split in dict.fromkeys(splits):
            wanted = (np.array(splits) == split) & (labels >= 0)
            if wanted.any():
                batch = read_batch(store, image_ids[wanted].tolist(), run.project, pool=pool)
                parts[split] = _data(batch)
    return parts


def _data(batch: Batch) -> Data:
    return Data(
        pixels=torch.from_numpy(batch.pixels), labels=torch.from_numpy(batch.labels.copy())
    )


def _control(trainer: Trainer, splits: dict[str, Data], checkpoint: Checkpoint) -> dict[str, Any]:
    """Train the same network on the same digits with a hue that is independent of the class."""
    project, recipe = trainer.project, trainer.recipe
    if project.dataset.source != "digits":
        raise StageError("[train] control is there for the source digits only")
    fair = _fair_digits(project)
    module = trainer.fit(fair, checkpoint)
    learnt = recipe.split or project.dataset.reference
    accuracy = {learnt: trainer.accuracy(module, fair)}
    accuracy |= {
        name: trainer.accuracy(module, data) for name, data in splits.items() if name != learnt
    }
    say(f"train: the control, trained without the bias: {_spelled(accuracy)}")
    return {"bias": 1 / 10, "accuracy_by_split": accuracy}


def _fair_digits(project: Project) -> Data:
    from pipelines.digits import HUES, digits
    from vatun.preprocess import load_image

    section = dataclasses.replace(
        project.dataset, bias=1 / HUES, splits=("train",), reference_split=None
    )
    records = list(digits(section, project.seed).records)
    images = [load_image(record.encoded or b"", project.input_spec) for record in records]
    labels = [record.label for record in records if record.label is not None]
    pixels = np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
    return Data(pixels=torch.from_numpy(pixels), labels=torch.tensor(labels))


def _spelled(accuracy: dict[str, float]) -> str:
    return ", ".join(f"{split} accuracy {value:.2%}" for split, value in accuracy.items())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main("train", run)
