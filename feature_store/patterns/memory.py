"""What is derived from a store once and kept for as long as that store is open."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from feature_store.store import Store

T = TypeVar("T")


class _Slot:
    """One derived thing; its own lock lets others be built meanwhile."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.values: list[Any] = []


_slots: WeakKeyDictionary[Store, dict[Hashable, _Slot]] = WeakKeyDictionary()
_lock = threading.Lock()


def remember(store: Store, key: Hashable, build: Callable[[], T]) -> T:
    """Return what ``build`` made for this store and key, calling it the first time only.

    Parameters
    ----------
    store : Store
        The value is let go of together with it.
    key : hashable
        Names the value.
    build : callable
        Makes it. While it runs, other threads that want the same value wait; an error is not
        remembered.

    Returns
    -------
    object
        Shared by all callers and threads.
    """
    with _lock:
        slot = _slots.setdefault(store, {}).setdefault(key, _Slot())
    with slot.lock:
        if not slot.values:
            slot.values.append(build())
        value: T = slot.values[0]
        return value
