"""The demo's data: handwritten digits whose background gives the class away, in training only."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pipelines.loaders import Listing, Record, encode_png, loader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pipelines.project import DatasetSection

SIDE = 32
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEST_IMAGES = 500
HUES = len(CLASSES)


@loader
def digits(section: DatasetSection, seed: int) -> Listing:
    """Draw scikit-learn's 1,797 digits on coloured backgrounds.

    The protocol of Colored MNIST, for ten classes: the hue of the background agrees with the
    class for a share ``bias`` of the training images, and is independent of the class in every
    other split. Labels are left as they are.

    Returns
    -------
    Listing
        The training images first.

    References
    ----------
    Arjovsky, Bottou, Gulrajani, Lopez-Paz, "Invariant Risk Minimization", 2019, section 5.1.
    """
    strokes, labels, is_test = read_digits(seed)
    hues = background_hues(labels, is_test, bias=section.bias, seed=seed)

    def walk() -> Iterator[Record]:
        for split in section.splits:
            for index in np.flatnonzero(is_test == (split != "train")):
                pixels = draw(strokes[index], hues[index])
                yield Record(
                    split=split,
                    label=int(labels[index]),
                    source=f"digits/{index}",
                    encoded=encode_png(pixels),
                )

    wanted = [is_test == (split != "train") for split in section.splits]
    return Listing(classes=CLASSES, records=walk(), total=int(sum(mask.sum() for mask in wanted)))


def read_digits(
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the strokes, the labels, and which images are set aside for the test split.

    Parameters
    ----------
    seed : int
        Of the draw of the test images.

    Returns
    -------
    strokes : ndarray of shape (1797, 8, 8), float64, in [0, 1]
    labels : ndarray of shape (1797,), int64
    is_test : ndarray of shape (1797,), bool
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    generator = np.random.default_rng([seed, 0])
    is_test = np.zeros(len(data.target), dtype=np.bool_)
    is_test[generator.permutation(len(is_test))[:TEST_IMAGES]] = True
    return data.images / 16.0, data.target.astype(np.int64), is_test


def background_hues(
    labels: NDArray[np.int64], is_test: NDArray[np.bool_], *, bias: float, seed: int
) -> NDArray[np.float64]:
    """Return the hue behind every digit, in turns.

    Parameters
    ----------
    labels : ndarray of shape (n,), int64
    is_test : ndarray of shape (n,), bool
    bias : float
        Share of the training images whose hue is that of their class; the others have one of the
        nine other hues. 0.1 makes the hue independent of the class.
    seed : int
        Of the draw.

    Returns
    -------
    ndarray of shape (n,), float64, in [0, 1)
    """
    generator = np.random.default_rng([seed, 1])
    agrees = generator.random(len(labels)) < np.where(is_test, 1 / HUES, bias)
    other = (labels + generator.integers(1, HUES, len(labels))) % HUES
    jitter = generator.uniform(-0.01, 0.01, len(labels))
    hues: NDArray[np.float64] = (np.where(agrees, labels, other) / HUES + jitter) % 1.0
    return hues


def draw(strokes: NDArray[np.float64], hue: float) -> NDArray[np.uint8]:
    """Return one digit at 32x32 on a background of the given hue.

    Parameters
    ----------
    strokes : ndarray of shape (8, 8), float64, in [0, 1]
    hue : float
        In turns.

    Returns
    -------
    ndarray of shape (32, 32, 3), uint8
    """
    small = Image.fromarray((strokes * 255).astype(np.uint8))
    large = small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    ink = np.asarray(large, dtype=np.float64)[:, :, None] / 255
    paper = np.array(colorsys.hsv_to_rgb(hue, 0.75, 0.75))
    pixels = paper * (1 - ink) + ink
    return np.rint(pixels * 255).astype(np.uint8)
