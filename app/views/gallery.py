"""The gallery beside the maximised map: every image of the selection, a page at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn

from app import orders, safe, thumbnails
from app.components.gallery import Gallery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from app.runtime import Runtime
    from app.state import Selection, SessionState

PAGE = 120
"""Images of a page; half of them where pictures travel in the message."""


class GalleryView(pn.viewable.Viewer):
    """Thumbnails of the selection, or of all shown images when nothing is selected.

    It is drawn only while the map is maximised. Its order is that of the film strip, so the arrow
    keys of the page walk through it.

    Parameters
    ----------
    runtime : Runtime
        Shared, read-only.
    state : SessionState
        Of this session.
    """

    def __init__(self, runtime: Runtime, state: SessionState) -> None:
        super().__init__()
        self._runtime = runtime
        self._state = state
        self._page = 0
        self._key: tuple[int, str, str] | None = None
        # Held, so that no other selection can get its identity.
        self._selection: Selection | None = None
        self._rows: NDArray[np.int64] = np.zeros(0, np.int64)
        self._gallery = Gallery(
            self._receive,
            sizing_mode="stretch_both",
            margin=0,
            gallery_orders=[
                {"value": key, "label": said} for key, said in orders.strip_orders(runtime).items()
            ],
        )
        state.param.watch(self._on_state, ["selection", "split", "order", "maximised", "focus"])

    def __panel__(self) -> pn.viewable.Viewable:
        return self._gallery

    @property
    def ids(self) -> NDArray[np.int32]:
        """Ids of the images of all pages, in their order."""
        return self._runtime.images.ids[self._rows]

    # -- what happens --------------------------------------------------------------------

    def _on_state(self, *_: Any) -> None:
        """Sort anew only for other images or another order: every step names every part."""
        state = self._state
        if state.maximised != "a":
            return
        key = (id(state.selection), state.split, state.order)
        if key != self._key:
            self._key, self._selection = key, state.selection
            self._look()
        else:
            self._follow_focus()

    def _follow_focus(self) -> None:
        """Frame the focus, on its page."""
        place = np.flatnonzero(
            self.ids == (-1 if self._state.focus is None else self._state.focus)
        )
        page = int(place[0]) // self._size() if len(place) else self._page
        if page != self._page:
            self._page = page
            self._show()
        else:
            self._gallery.gallery_focus = self._focus()

    def _receive(self, message: Mapping[str, Any]) -> None:
        """Do what the browser asks, as far as it may ask that."""
        kind, value = message.get("kind"), message.get("value")
        if kind == "page":
            page = safe.integer(value, 0, self._last_page())
            if page is not None:
                self._page = page
                self._show()
        elif kind == "order":
            if isinstance(value, str) and value in orders.strip_orders(self._runtime):
                self._state.order = value
        elif kind == "open":
            test_image(self._state, safe.integer(value, 0, 2**31 - 1))

    # -- what is shown -------------------------------------------------------------------

    def _size(self) -> int:
        return PAGE if thumbnails.served_by_url() else PAGE // 2

    def _last_page(self) -> int:
        return max(0, (len(self._rows) - 1) // self._size())

    def _focus(self) -> int:
        return -1 if self._state.focus is None else self._state.focus

    def _look(self) -> None:
        """Sort the images anew and begin with the first page."""
        runtime, state = self._runtime, self._state
        rows = runtime.images.rows(state.selected_ids)
        order = orders.strip_order(runtime, state.order)
        self._rows = orders.sorted_rows(runtime, rows, order)
        self._page = 0
        self._show()

    def _show(self) -> None:
        first = self._page * self._size()
        shown = self._rows[first : first + self._size()]
        self._runtime.fill_thumbnails(
            self._runtime.images.ids[shown], in_background=thumbnails.served_by_url()
        )
        with pn.io.hold():
            self._gallery.param.update(
                gallery_head=self._head(first, len(shown)),
                gallery_items=[self._item(int(row)) for row in shown],
                gallery_focus=self._focus(),
            )

    def _head(self, first: int, count: int) -> dict[str, Any]:
        runtime, state = self._runtime, self._state
        order = orders.strip_order(runtime, state.order)
        split = safe.plain(state.split, limit=20)
        of = f"of {len(state.universe):,} {f'{split} ' if split else ''}images"
        empty = {
            "headline": "No image is selected",
            "words": "Undo the last step, or clear the selection to see all images.",
        }
        return {
            "n": f"{len(self._rows):,}",
            "of": of,
            "order": order,
            "swept": orders.swept_words(runtime, self._rows, order),
            "page": self._page,
            "last": self._last_page(),
            "range": f"{first + 1:,}–{first + count:,}" if count else "",
            **({} if count else empty),
        }

    def _item(self, row: int) -> dict[str, Any]:
        runtime = self._runtime
        table = runtime.images
        image_id = int(table.ids[row])
        true = safe.plain(runtime.class_name(int(table.true_class[row])), limit=40)
        predicted = safe.plain(runtime.class_name(int(table.predicted_class[row])), limit=40)
        is_wrong = bool(table.is_wrong[row])
        return {
            "id": image_id,
            "url": runtime.thumbnail_url(image_id),
            "title": f"image {image_id:,}: true {true}, predicted {predicted} "
            f"{table.confidence[row]:.2f}",
            "caption": f"{true} → {predicted}" if is_wrong else predicted,
            "value": f"{table.confidence[row]:.2f}",
            "is_wrong": is_wrong,
        }


def test_image(state: SessionState, image_id: int | None) -> None:
    """Put one image under test and go there; an id that is not shown is ignored."""
    if image_id is None or not state.shows(image_id):
        return
    with pn.io.hold():
        state.set_focus(image_id)
        state.param.update(maximised="", view="b")
