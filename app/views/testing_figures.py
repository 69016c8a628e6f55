"""What the test view draws of one answer, as plain data for its browser component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app import safe, theme
from app.views.testing_changes import MINUS, change_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.inference import TestResult

SHOWN_CLASSES = 5
"""Classes with a score bar: the one predicted first, the true one, and the highest others."""

MORE_CLASSES = 10
"""The same where there is room."""


def figures(result: TestResult, *, names: Sequence[str], title: str) -> dict[str, Any]:
    """Return everything that is drawn of one answer, but for the pixels.

    Parameters
    ----------
    result : TestResult
        The answer.
    names : sequence of str
        Raw class names by index.
    title : str
        What the image is called.

    Returns
    -------
    dict
        ``bench_view`` of ``TestBench``; every name is plain text.
    """
    plain = [safe.plain(name, limit=60) for name in names]
    height, width = result.images.shape[1:3]
    known = "true" if result.label is not None else "predicted"
    return {
        "stage": "ready",
        "image": {
            "id": safe.plain(title, limit=80),
            "width": width,
            "height": height,
            "same": result.change.is_identity,
            "is_upload": not isinstance(result.image, int),
            **_shape(result),
        },
        "inferno": list(theme.EVIDENCE_RAMP),
        "verdict": _verdict(result, plain),
        "classes": [
            {"value": "", "label": "predicted"},
            *({"value": str(index), "label": name} for index, name in enumerate(plain)),
        ],
        "scores": _scores(result, plain),
        "facts": _facts(result),
        "attack": f"FGSM pushes away from {plain[result.attacked]}, the {known} class",
        "words": change_words(result.change, min(width, height)),
    }


def _verdict(result: TestResult, names: Sequence[str]) -> dict[str, Any]:
    before, after = (
        {
            "name": names[index],
            "score": float(result.scores[row, index]),
            "colour": theme.class_variable(index, len(names)),
        }
        for row, index in enumerate(result.predicted)
    )
    # A wrong answer that a change puts right is nothing to be alarmed at.
    is_mended = result.is_flipped and result.predicted[1] == result.label
    first = f"{before['name']} {before['score']:.2f}"
    second = f"{after['name']} {after['score']:.2f}"
    if result.change.is_identity:
        spoken = first
    elif result.is_flipped:
        right = ", now right" if is_mended else ""
        spoken = f"{first} changes to {second}: prediction flipped{right}"
    else:
        spoken = f"{first} changes to {second}: prediction holds"
    return {
        "before": before,
        "after": after,
        "is_changed": not result.change.is_identity,
        "is_flipped": result.is_flipped,
        "is_mended": is_mended,
        "truth": "" if result.label is None else names[result.label],
        "is_wrong": result.label is not None and result.predicted[0] != result.label,
        "spoken": spoken,
    }


def _scores(result: TestResult, names: Sequence[str]) -> list[dict[str, Any]]:
    before, after = result.scores
    order = np.lexsort((-before, -after))
    wanted = [result.predicted[0], result.label, *order.tolist()]
    ranked = list(dict.fromkeys(index for index in wanted if index is not None))
    extra = set(ranked[SHOWN_CLASSES:])
    shown = sorted(ranked[:MORE_CLASSES], key=lambda index: -float(after[index]))
    return [
        {
            "name": names[index],
            "colour": theme.class_variable(index, len(names)),
            "before": float(before[index]),
            "after": float(after[index]),
            "is_true": index == result.label,
            "is_extra": index in extra,
        }
        for index in shown
    ]


def _facts(result: TestResult) -> list[list[dict[str, str]]]:
    """Return what is said under the original and under the changed picture."""
    helps = (
        ("margin", "Score of the class predicted first, less the best other score"),
        ("entropy", "Of the scores, in nats: 0 is certain"),
    )
    values = (result.margin, result.entropy)
    upload = None if isinstance(result.image, int) else result.image
    size = (
        [{"text": f"from {upload.was[0]:,} × {upload.was[1]:,}", "help": upload.shape_words}]
        if upload is not None and upload.was
        else []
    )
    return [
        [
            *(size if row == 0 else []),
            *(
                {
                    "text": f"{name} {pair[row]:{'+' if name == 'margin' else ''}.2f}".replace(
                        "-", MINUS
                    ),
                    "help": help_text,
                }
                for (name, help_text), pair in zip(helps, values, strict=True)
            ),
        ]
        for row in (0, 1)
    ]


def _shape(result: TestResult) -> dict[str, str]:
    """Return what the first picture is called, and what became of its shape."""
    image = result.image
    if isinstance(image, int) or image.was is None:
        return {"caption": "Original", "shape": ""}
    return {"caption": f"Original, {image.how.split()[0]}", "shape": image.shape_words}
