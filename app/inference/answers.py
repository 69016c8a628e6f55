"""What the network says: plain arrays, free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np

from app.uploads import Upload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from vatun.judgement import Judgement
    from vatun.specs import Change

Image: TypeAlias = int | Upload
"""What can be put under test: an image of the store by its id, or an upload."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TestResult:
    """What the network says of an image and of its changed copy.

    In every pair the original comes first.

    Parameters
    ----------
    image : int or Upload
        Image under test.
    change : Change
        What was done to the copy.
    label : int or None
        True class of the image, where it is known.
    images : ndarray of shape (2, height, width, 3), uint8
        Original and changed image at the network's input size.
    scores : ndarray of shape (2, n_classes), float32
        Softmax probabilities.
    activations : tuple of ndarray of shape (n_filters,), float32
        Spatial maximum of every filter for the original image, by layer.
    paths : mapping of str to tuple of int
        Winning filter of each layer for the changed image, by path set; -1 is no winner.
    places : mapping of str to tuple of (float, float)
        Where the changed copy would lie on each projection: the mean of its nearest neighbours
        in the embedding, weighted by nearness. Empty when the store cannot say.
    neighbours : tuple of int
        Image ids that ``places`` are the means of, nearest first.
    """

    __test__: ClassVar[bool] = False  # The name is not a test case's.

    image: Image
    change: Change
    label: int | None
    images: NDArray[np.uint8]
    scores: NDArray[np.float32]
    activations: tuple[NDArray[np.float32], ...]
    paths: Mapping[str, tuple[int, ...]]
    places: Mapping[str, tuple[float, float]]
    neighbours: tuple[int, ...]

    @property
    def predicted(self) -> tuple[int, int]:
        """Class with the highest score of each image."""
        best = self.scores.argmax(axis=1)
        return int(best[0]), int(best[1])

    @property
    def attacked(self) -> int:
        """Class that FGSM pushes away from: the true one, or the predicted where it is unknown."""
        return self.predicted[0] if self.label is None else self.label

    @property
    def is_flipped(self) -> bool:
        """Whether the change altered the predicted class."""
        return self.predicted[0] != self.predicted[1]

    @property
    def confidence(self) -> tuple[float, float]:
        """Score of the predicted class of each image."""
        best = self.scores.max(axis=1)
        return float(best[0]), float(best[1])

    @property
    def margin(self) -> tuple[float, float]:
        """Score of the class first predicted less the best other score, in [-1, 1], of each."""
        first = self.predicted[0]
        rest = np.delete(self.scores, first, axis=1).max(axis=1)
        values = self.scores[:, first] - rest
        return float(values[0]), float(values[1])

    @property
    def entropy(self) -> tuple[float, float]:
        """Entropy of the scores of each image, in nats."""
        scores = self.scores.astype(np.float64)
        values = -(scores * np.log(np.maximum(scores, 1e-30))).sum(axis=1)
        return float(values[0]), float(values[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Where an explanation finds evidence for a class, in the original and the changed image.

    Parameters
    ----------
    image, change
        As in ``TestResult``.
    method : str
        Name of the explanation.
    layer : str
        Layer that it reads; empty for one that reads the image.
    class_index : int or None
        Class that was asked for; None for the predicted one of each image.
    classes : tuple of (int, int)
        Class whose evidence each map shows.
    maps : ndarray of shape (2, map_height, map_width), float32
        Raw maps, 0 and above, not scaled.
    """

    image: Image
    change: Change
    method: str
    layer: str
    class_index: int | None
    classes: tuple[int, int]
    maps: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class AblationResult:
    """What replacing filters does to the predictions of some images, beside random filters.

    Parameters
    ----------
    images : tuple of int
        Ids of the n images that were asked about.
    asked : int
        Images that the question named; more than n where some cannot be read or a sample was
        taken.
    filters : tuple of (layer_index, filter_index)
        What was replaced.
    replacement : str
        ``mean`` or ``zero``.
    predicted : ndarray of shape (2, n), int16
        Predicted class before and after.
    scores : ndarray of shape (2, n), float32
        Softmax score of the class first predicted, before and after.
    random_flips : tuple of float
        Share of the images whose prediction changes, for each random set of filters.
    shared : float
        Mean share of the tested filters in a random set; above 0 where the layers are narrow.
    judgement : Judgement
        ``verdict`` (``cause``, ``marker`` or ``cannot tell``) with its ``reason``, ``effect``,
        ``random_effects``, ``difference``, its interval ``low`` to ``high``, and ``as_harmful``.
    """

    images: tuple[int, ...]
    asked: int
    filters: tuple[tuple[int, int], ...]
    replacement: str
    predicted: NDArray[np.int16]
    scores: NDArray[np.float32]
    random_flips: tuple[float, ...]
    shared: float
    judgement: Judgement

    @property
    def flips(self) -> int:
        """Images whose prediction changes."""
        return int((self.predicted[0] != self.predicted[1]).sum())

    @property
    def flip_share(self) -> float:
        """The same as a share of the images asked about, in [0, 1]."""
        return self.flips / len(self.images)


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictedEvidence:
    """Grad-CAM of some images, each for the class that it is predicted.

    Parameters
    ----------
    images : list of int
        Ids of the n images that can be read, in the order asked.
    pixels : ndarray of shape (n, height, width, 3), float32
        As the network takes them, in [0, 1].
    maps : ndarray of shape (n, map_height, map_width), float32
        Raw maps, 0 and above.
    """

    images: list[int]
    pixels: NDArray[np.float32]
    maps: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class MeanEvidence:
    """The mean of the Grad-CAM maps of some images, each for the class that it is predicted.

    Parameters
    ----------
    images : tuple of int
        Ids of the n images that were averaged.
    taken : int
        Images that were looked at; more than n where some cannot be read.
    asked : int
        Images that the question named; more than ``taken`` where there were too many.
    layer : str
        Layer of the maps.
    silent : int
        Averaged images that have no positive evidence.
    picture : ndarray of shape (height, width, 3), uint8
        Mean of the images as the network takes them.
    map : ndarray of shape (map_height, map_width), float32
        Mean of the raw maps, 0 and above, not scaled.
    """

    images: tuple[int, ...]
    taken: int
    asked: int
    layer: str
    silent: int
    picture: NDArray[np.uint8]
    map: NDArray[np.float32]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax of each row, computed in double precision."""
    exact = logits.astype(np.float64)
    grown = np.exp(exact - exact.max(axis=1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=1, keepdims=True), dtype=np.float32)
