"""What all sessions of a process share for one store: read once, never changed."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING

from app import theme

if TYPE_CHECKING:
    from app.inference import InferenceService
    from feature_store import Store


class Runtime:
    """One opened store and what is derived from it, shared by every session of the process.

    Parameters
    ----------
    store : Store
        An open reader; the runtime keeps it open.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.class_names: tuple[str, ...] = tuple(store.class_names)
        self._lock = threading.Lock()

    @cached_property
    def inference(self) -> InferenceService:
        """The bounded worker that runs the network; the first use imports torch in it."""
        from app.inference import InferenceService

        return InferenceService(self.store)

    def class_colours(self, *, dark: bool) -> dict[str, str]:
        """Return ``"#rrggbb"`` by class name."""
        return theme.class_colours(self.class_names, dark=dark)

    def thumbnail_url(self, image_id: int) -> str:
        """Return what an ``<img src>`` needs to show one image small."""
        raise NotImplementedError
