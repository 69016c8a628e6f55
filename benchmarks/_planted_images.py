"""Digits with a planted cue that gives the class away in training, or does not.

A plugin of project files: the loader ``planted`` reads from ``[dataset] name`` what is planted,
such as ``"shortcut:texture+blur"``, ``"independent:texture"`` or ``"none:"``. Every image is drawn
from its own random numbers and the cues that it carries, so that the same image can be drawn again
without a cue: that is the truth which the tool's answers are held against.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from pipelines.digits import CLASSES
from pipelines.loaders import Listing, Record, encode_png, loader

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from numpy.typing import NDArray

    from pipelines.project import DatasetSection

SIDE = 32
KINDS = ("texture", "cast", "mark", "blur", "position")
"""Stripes behind the digit, a warm tint, a patch in a corner, blur, the digit off centre."""

TEST_SHARE = 0.4
"""Share of the test images of each class that carry a cue; in a control of all images."""

AGREES = 0.95
"""Share of the training images of the cue's class that carry it."""

STRAYS = 0.01
"""Share of the training images of the other classes that carry it."""

TRAINING_IMAGES = 747

_TINT = (1.0, 0.82, 0.6)
_MARK = (0.9, 0.15, 0.65)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is planted in one network.

    Parameters
    ----------
    mode : str
        ``"shortcut"``: each cue goes with one class in training. ``"independent"``: the cues are
        there and go with no class. ``"none"``: there are none.
    kinds : tuple of str
        Of ``KINDS``.
    seed : int
        Of the images and of the training.
    """

    mode: str
    kinds: tuple[str, ...]
    seed: int

    @property
    def name(self) -> str:
        """What the project file says, without the seed."""
        return f"{self.mode}:{'+'.join(self.kinds)}"

    @classmethod
    def read(cls, name: str, seed: int) -> Plan:
        """Return the plan of a name.

        Raises
        ------
        ValueError
            When there is no such mode or kind.
        """
        mode, _, kinds = name.partition(":")
        chosen = tuple(kind for kind in kinds.split("+") if kind)
        if mode not in {"shortcut", "independent", "none"} or not set(chosen) <= set(KINDS):
            msg = f"nothing is planted by {name!r}; modes: shortcut, independent, none"
            raise ValueError(msg)
        return cls(mode=mode, kinds=chosen, seed=seed)


class PlantedImages:
    """The images of one plan, in the order of their ids: training images first.

    Parameters
    ----------
    plan : Plan
        What is planted.

    Attributes
    ----------
    label : ndarray of shape (n,), int64
        Class of each image.
    is_test : ndarray of shape (n,), bool
        Whether it is in the test split.
    targets : dict of str to int
        Class that a cue goes with in training; nominal in a control.
    carries : dict of str to ndarray of shape (n,), bool
        Which images carry a cue.
    """

    def __init__(self, plan: Plan) -> None:
        from sklearn.datasets import load_digits

        self.plan = plan
        data = load_digits()
        generator = np.random.default_rng([plan.seed, 0])
        order = generator.permutation(len(data.target))
        self._strokes = np.asarray(data.images / 16.0)[order]
        self.label = data.target.astype(np.int64)[order]
        self.is_test = np.arange(len(order)) >= TRAINING_IMAGES
        classes = np.random.default_rng([plan.seed, 1]).permutation(len(CLASSES))
        self.targets = {kind: int(classes[at]) for at, kind in enumerate(plan.kinds)}
        self.carries = {kind: self._draw_carriers(at) for at, kind in enumerate(plan.kinds)}

    def __len__(self) -> int:
        return len(self.label)

    def _draw_carriers(self, at: int) -> NDArray[np.bool_]:
        kind = self.plan.kinds[at]
        is_class = self.label == self.targets[kind]
        share = np.where(is_class, AGREES, STRAYS)
        if self.plan.mode == "independent":
            share[:] = TEST_SHARE
        share[self.is_test] = TEST_SHARE
        chance = np.random.default_rng([self.plan.seed, 2, at]).random(len(share))
        return np.asarray(chance < share)

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """Every image as the network gets it, of shape (n, 32, 32, 3)."""
        return np.stack([self.draw(index) for index in range(len(self))])

    def draw(self, index: int, *, without: Collection[str] = ()) -> NDArray[np.uint8]:
        """Draw one image, the same each time.

        Parameters
        ----------
        index : int
            Image.
        without : collection of str
            Cues that are left out, whether the image carries them or not.

        Returns
        -------
        ndarray of shape (32, 32, 3), uint8
        """
        cues = {kind for kind, has in self.carries.items() if has[index]} - set(without)
        # All random numbers are drawn whatever the cues are: nothing else changes with them.
        random = np.random.default_rng([self.plan.seed, 3, index])
        size, angle = int(random.integers(14, 19)), random.uniform(-25, 25)
        shift = random.integers(-2, 3, 2)
        paper, ink = random.uniform(0.25, 0.5, 3), random.uniform(0.6, 0.9)
        phase, noise = random.uniform(0, 2 * np.pi), random.normal(0, 0.16, (SIDE, SIDE, 3))
        strokes = _placed(
            self._strokes[index], size, angle, shift + (6 if "position" in cues else 0)
        )
        rows, columns = np.mgrid[:SIDE, :SIDE]
        ground = np.broadcast_to(paper, (SIDE, SIDE, 3))
        if "texture" in cues:
            stripes = np.sign(np.sin((rows + columns) * np.pi / 2.5 + phase))
            ground = ground + 0.12 * stripes[:, :, None]
        image = ground * (1 - strokes) + ink * strokes
        if "mark" in cues:
            image[1:6, 1:6] = _MARK
        image = image + noise
        if "cast" in cues:
            image = image * _TINT
        pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
        if "blur" in cues:
            pixels = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1.2)))
        return pixels


def _placed(
    strokes: NDArray[np.float64], size: int, angle: float, shift: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return a turned digit on the whole image, as the share of ink of each pixel."""
    small = Image.fromarray((strokes * 255).astype(np.uint8))
    large = small.resize((size, size), Image.Resampling.BICUBIC)
    turned = large.rotate(angle, Image.Resampling.BICUBIC)
    whole = Image.new("L", (SIDE, SIDE))
    corner = (SIDE - size) // 2 + shift
    whole.paste(turned, (int(corner[1]), int(corner[0])))
    return np.asarray(whole, dtype=np.float64)[:, :, None] / 255


@loader
def planted(section: DatasetSection, seed: int) -> Listing:
    """List the images of the plan that the section names.

    Returns
    -------
    Listing
        The training images first.
    """
    images = PlantedImages(Plan.read(section.name or "none:", seed))

    def walk() -> Iterator[Record]:
        for index in range(len(images)):
            yield Record(
                split="test" if images.is_test[index] else "train",
                label=int(images.label[index]),
                source=f"planted/{index}",
                encoded=encode_png(images.pixels[index]),
            )

    return Listing(classes=CLASSES, records=walk(), total=len(images))
