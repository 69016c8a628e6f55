from __future__ import annotations

import gc
import threading
import weakref

import pytest

from feature_store.patterns.memory import remember


class FakeStore:
    """Anything that can be referred to weakly."""


def test_built_once_for_all_threads() -> None:
    store, built, got = FakeStore(), [], []
    gate = threading.Barrier(4)

    def build() -> object:
        built.append(1)
        return object()

    def ask() -> None:
        gate.wait()
        got.append(remember(store, "key", build))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert len(set(map(id, got))) == 1


def test_one_slow_build_does_not_stop_another() -> None:
    store, go_on = FakeStore(), threading.Event()
    slow = threading.Thread(target=lambda: remember(store, "slow", lambda: go_on.wait(30)))
    slow.start()
    assert remember(store, "fast", lambda: 5) == 5
    go_on.set()
    slow.join()


def test_an_error_is_not_remembered() -> None:
    store = FakeStore()
    with pytest.raises(ZeroDivisionError):
        remember(store, "key", lambda: 1 // 0)
    assert remember(store, "key", lambda: 7) == 7


def test_what_is_kept_goes_with_the_store() -> None:
    store = FakeStore()
    gone = weakref.ref(remember(store, "key", FakeStore))
    assert gone() is not None
    del store
    gc.collect()
    assert gone() is None
