"""What the test view draws of the evidence: maps, what may be chosen, and whether to trust it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app import safe
from app.views.testing_changes import MINUS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.inference import Evidence
    from vatun.trust import RandomisedTest, TenthTest

_SMALLEST_SIDE = 4
"""Below it a map says little of where: it is one or two places wide."""


def choices(
    methods: Mapping[str, tuple[str, tuple[str, ...]]], short: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return the explanations and their layers, as groups of options of a select.

    Parameters
    ----------
    methods : mapping of str to (str, tuple of str)
        Label and layers by name; the layer ``""`` stands for the image itself.
    short : mapping of str to str
        Short name of each layer.

    Returns
    -------
    list of dict
        ``{"label", "options": [{"value", "label"}]}``.
    """
    return [
        {
            "label": safe.plain(label, limit=40),
            "options": [
                {"value": f"{name}|{layer}", "label": _title(label, short.get(layer, layer))}
                for layer in reversed(layers)
            ],
        }
        for name, (label, layers) in methods.items()
    ]


def figures(
    evidence: Evidence,
    *,
    names: Sequence[str],
    label: str,
    short: Mapping[str, str],
    better_layer: str,
) -> dict[str, Any]:
    """Return everything that is drawn of the evidence, but for the maps themselves.

    Parameters
    ----------
    evidence : Evidence
        The answer.
    names : sequence of str
        Raw class names by index.
    label : str
        Name of the explanation.
    short : mapping of str to str
        Short name of each layer.
    better_layer : str
        Layer to offer where the chosen one has nothing to show.

    Returns
    -------
    dict
        Part of ``bench_evidence`` of ``TestBench``; every name is plain text.
    """
    height, width = evidence.maps.shape[1:]
    highest = [float(part.max()) for part in evidence.maps]
    has_little = bool(evidence.layer) and (
        min(height, width) < _SMALLEST_SIDE or max(highest) <= 0
    )
    better = better_layer if has_little else ""
    return {
        "width": width,
        "height": height,
        "title": _title(label, short.get(evidence.layer, evidence.layer)),
        "place": short.get(evidence.layer, evidence.layer) or "the image",
        "names": [safe.plain(names[index], limit=60) for index in evidence.classes],
        "max": highest,
        "better": f"{evidence.method}|{better}" if better else "",
        "better_label": short.get(better, better),
        "is_small": has_little and min(height, width) < _SMALLEST_SIDE,
    }


def trust_words(tests: Sequence[TenthTest | None]) -> list[dict[str, Any] | None]:
    """Return what is said under each map of its hottest tenth; None for a map without evidence."""
    return [None if test is None else _tenth(test) for test in tests]


def _tenth(test: TenthTest) -> dict[str, Any]:
    return {
        "hottest": signed(test.hottest),
        "random": f"{signed(test.random_mean)}±{test.random_deviation:.2f}",
        "stands_out": test.stands_out,
        "help": (
            f"Score of the class without the hottest {100 * test.share:.0f} % of the picture, "
            f"against {test.draws} random parts of the same size and shape (mean ± spread). "
            + (
                "The map points at what the score depends on."
                if test.stands_out
                else "No more than random parts: do not trust this map."
            )
        ),
    }


def randomised_words(tests: Sequence[RandomisedTest]) -> str:
    """Return what redrawing the maps with random weights says of them."""
    known = [test for test in tests if test.mean is not None]
    if not known:
        return "A map without evidence cannot be compared with those of random weights."
    shown = " and ".join(f"{test.mean:+.2f}".replace("-", MINUS) for test in known)
    where = " (original and changed)" if len(known) > 1 else ""
    survives = any(test.survives for test in known)
    verdict = (
        "it looks much the same without training, so do not read it as what the network learnt"
        if survives
        else "it is gone, so it depends on what the network learnt"
    )
    draws = len(known[0].correlations)
    return f"{draws} times with random weights: rank correlation {shown}{where}: {verdict}."


def _title(label: str, layer: str) -> str:
    title = f"{label} · {layer}" if layer else label
    return safe.plain(title, limit=60)


def signed(value: float) -> str:
    """Return a change of a score with its sign, but for one that is 0.00."""
    text = f"{value:+.2f}".replace("-", MINUS)
    return "0.00" if text[1:] == "0.00" else text
