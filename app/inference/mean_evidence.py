"""The mean evidence of some images, summed in turns; an answer without torch."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from app.inference.answers import MeanEvidence
from vatun.errors import NetworkError, SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.inference.live import LiveNetwork

MOST = 64
"""Images that are averaged; of more, the first ones."""

AT_ONCE = 16
"""Images of one turn, so that quick questions go in between."""


@dataclass(frozen=True, kw_only=True)
class MeanEvidenceQuestion:
    """A checked question; two that are equal have one answer.

    Parameters
    ----------
    images : tuple of int
        Images to average, the first of those that were named, each once.
    asked : int
        Different images that were named.
    layer : str
        Layer of the maps.
    """

    images: tuple[int, ...]
    asked: int
    layer: str

    @classmethod
    def of(cls, images: Iterable[int], layer: str) -> MeanEvidenceQuestion:
        """Check a question.

        Returns
        -------
        MeanEvidenceQuestion

        Raises
        ------
        SpecError
            When an id is no whole number, or there is none.
        """
        try:
            ids = tuple(dict.fromkeys(operator.index(image) for image in images))
        except TypeError:
            msg = "images must be whole numbers"
            raise SpecError(msg) from None
        if not ids:
            msg = "mean evidence needs at least one image"
            raise SpecError(msg)
        return cls(images=ids[:MOST], asked=len(ids), layer=layer)


class MeanEvidenceSteps:
    """One mean as calls that each take some images; made for the worker thread.

    Every map counts as it is, in the unit of the logit: strong evidence of one image weighs more
    than weak evidence of another, and an image without any counts as zero everywhere.

    Parameters
    ----------
    question : MeanEvidenceQuestion
        What is asked.
    """

    def __init__(self, question: MeanEvidenceQuestion) -> None:
        self._question = question
        self._at = 0
        self._read: list[int] = []
        self._silent = 0
        self._pixels: np.ndarray | float = 0.0
        self._maps: np.ndarray | float = 0.0

    def __call__(self, live: LiveNetwork) -> tuple[int, int, MeanEvidence | None]:
        """Take the next images.

        Returns
        -------
        done, all : int
            Images looked at, and images there are.
        answer : MeanEvidence or None
            At the end.

        Raises
        ------
        NetworkError
            When a map has a value that is no number, or no image can be read.
        """
        images = self._question.images
        part = images[self._at : self._at + AT_ONCE]
        found = live.predicted_evidence(part, self._question.layer)
        if found.images:
            if not np.isfinite(found.maps).all():
                msg = "the network gives no finite evidence for one of these images"
                raise NetworkError(msg)
            self._pixels = self._pixels + found.pixels.sum(axis=0, dtype=np.float64)
            self._maps = self._maps + found.maps.sum(axis=0, dtype=np.float64)
            self._silent += int((found.maps.max(axis=(1, 2)) <= 0).sum())
        self._read += found.images
        self._at += len(part)
        return self._at, len(images), self._answer() if self._at == len(images) else None

    def _answer(self) -> MeanEvidence:
        count = len(self._read)
        if not count:
            msg = "none of these images can be read from the store"
            raise NetworkError(msg)
        mean = np.asarray(self._pixels) / count
        return MeanEvidence(
            images=tuple(self._read),
            taken=len(self._question.images),
            asked=self._question.asked,
            layer=self._question.layer,
            silent=self._silent,
            picture=np.rint(255 * mean).clip(0, 255).astype(np.uint8),
            map=(np.asarray(self._maps) / count).astype(np.float32),
        )
