"""How a pattern is named on the page and in its address: by its id, or by its items.

A pattern of the store has a number. One that may skip layers is in no table, so its items name it,
as ``0.12-3.5``: filter 12 of layer 0 and filter 5 of layer 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feature_store.patterns.cards import PatternKey

MOST_ITEMS = 64
"""Items of a name that is read; a path may be longer, a pattern that is looked at is not."""

_MOST_DIGITS = 9


def text_of(key: PatternKey) -> str:
    """Return the name of a pattern, as ``read`` takes it."""
    if isinstance(key, int):
        return str(key)
    return "-".join(f"{layer}.{filter_index}" for layer, filter_index in key)


def card_id(key: PatternKey) -> int | str:
    """Return what a card of the pattern is called in the browser."""
    return key if isinstance(key, int) else text_of(key)


def read(value: object) -> PatternKey | None:
    """Return the pattern that a name from outside means; whether it exists is not looked up.

    Parameters
    ----------
    value : object
        A number, or text of an address or a browser; nothing in it is trusted.

    Returns
    -------
    int, tuple of (int, int), or None
        None where it names nothing: items come by ascending layer, at least two.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    if not isinstance(value, str):
        return None
    if "." not in value:
        return _whole(value)
    parts = [part.partition(".") for part in value.split("-", MOST_ITEMS)]
    numbers = [(_whole(layer), _whole(index)) for layer, _, index in parts]
    items = tuple((a, b) for a, b in numbers if a is not None and b is not None)
    layers = [layer for layer, _ in items]
    is_whole = len(items) == len(parts) and 2 <= len(items) <= MOST_ITEMS
    return items if is_whole and layers == sorted(set(layers)) else None


def _whole(text: str) -> int | None:
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
    return int(text) if is_number else None
