"""The one place where text and numbers from outside become fit for the page.

Panel renders plain strings as HTML in most of its panes, and a widget's limits hold only in the
browser. So every name that comes from data passes through :func:`label` before it meets HTML, or
through :func:`plain` where the page sets text (never HTML), and every number that comes from the
browser passes through :func:`number` or :func:`integer`.
"""

from __future__ import annotations

import html
import math
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LABEL_LENGTH = 120
"""Characters after which a name is cut, with an ellipsis."""

_MAX_VERTICES = 10_000


def plain(text: object, *, limit: int = LABEL_LENGTH) -> str:
    """Return ``text`` on one line without control characters, cut to ``limit`` characters.

    For slots that set text: ``textContent`` of our components, Bokeh labels, select options.

    Parameters
    ----------
    text : object
        Anything; None gives an empty string.
    limit : int
        Longest result, in characters.

    Returns
    -------
    str
        Not escaped: do not put it into HTML.
    """
    if text is None:
        return ""
    kept = str(text)[: 4 * limit]
    # Characters of category C are control codes, direction overrides and lone surrogates: they can
    # hide or reorder what a reader sees. Printable is what has none of them, and no space but " ".
    if not kept.isprintable():
        kept = "".join(
            " " if character.isspace() else character
            for character in kept
            if character.isspace() or not unicodedata.category(character).startswith("C")
        )
    line = " ".join(kept.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def label(text: object, *, limit: int = LABEL_LENGTH) -> str:
    """Return ``text`` ready to stand inside HTML, as an element's text or a quoted attribute.

    Parameters
    ----------
    text : object
        Anything that came from data.
    limit : int
        Longest result before escaping, in characters.

    Returns
    -------
    str
        :func:`plain` text with ``& < > " '`` escaped.
    """
    return html.escape(plain(text, limit=limit), quote=True)


def number(value: object, low: float, high: float) -> float | None:
    """Return a finite number clamped to [low, high], or None when it is not a number at all.

    Parameters
    ----------
    value : object
        What the browser sent.
    low, high : float
        Allowed range.

    Returns
    -------
    float or None
        None for text, NaN, infinities and booleans.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return min(max(result, low), high) if math.isfinite(result) else None


def integer(value: object, low: int, high: int) -> int | None:
    """Return a whole number within [low, high], or None for anything else (never clamped).

    Parameters
    ----------
    value : object
        What the browser sent.
    low, high : int
        Allowed range, both inclusive.

    Returns
    -------
    int or None
        An id that is out of range names nothing, so it is refused instead of clamped.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not value.is_integer():
        return None
    result = int(value)
    return result if low <= result <= high else None


def polygon(xs: object, ys: object) -> tuple[tuple[float, float], ...] | None:
    """Return the vertices of a drawn region, or None when they are no polygon.

    Parameters
    ----------
    xs, ys : object
        Two sequences of equal length as a Lasso event delivers them.

    Returns
    -------
    tuple of (float, float) or None
        3 to 10,000 finite vertices.
    """
    if not hasattr(xs, "__len__") or not hasattr(ys, "__len__"):
        return None
    left, right = list(xs), list(ys)  # type: ignore[call-overload]
    if len(left) != len(right) or not 3 <= len(left) <= _MAX_VERTICES:
        return None
    points = []
    for x, y in zip(left, right, strict=True):
        try:
            point = (float(x), float(y))
        except (TypeError, ValueError, OverflowError):
            return None
        if not (math.isfinite(point[0]) and math.isfinite(point[1])):
            return None
        points.append(point)
    return tuple(points)


def joined(names: Sequence[object], *, separator: str = " · ") -> str:
    """Return several untrusted names as one escaped line."""
    return separator.join(label(name) for name in names)
