"""Images by the hash of their pixels, which means the same in every store."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feature_store.store import Store

KEY_LENGTH = 16
"""Digits of an image key that an address holds: 64 bits tell a billion images apart."""

_HEXADECIMAL = re.compile(r"[0-9a-f]{16,64}")


def short_key(store: Store, image_id: int) -> str | None:
    """Return the first 16 digits of an image's key, or None for an image without pixels."""
    found = store.arrow("SELECT image_key FROM images WHERE image_id = ?", int(image_id))
    keys = found["image_key"].to_pylist()
    return str(keys[0])[:KEY_LENGTH] if keys and keys[0] else None


def image_of_key(store: Store, key: str) -> int | None:
    """Return the image whose key begins with ``key``; the lowest id where pixels are shared.

    Parameters
    ----------
    store : Store
        Opened store.
    key : str
        16 to 64 hexadecimal digits; anything else names no image.

    Returns
    -------
    int or None
    """
    if not _HEXADECIMAL.fullmatch(key):
        return None
    # "g" comes after every hexadecimal digit: the range of all keys with this beginning.
    found = store.arrow(
        "SELECT min(image_id) AS image_id FROM images WHERE image_key >= ? AND image_key < ?",
        key,
        key + "g",
    )
    number = found["image_id"][0].as_py()
    return None if number is None else int(number)
