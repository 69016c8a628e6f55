"""Thumbnails and downloads by address: ``panel serve app --plugins app.routes``."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any

from bokeh.server.views.auth_request_handler import AuthRequestHandler
from tornado.iostream import StreamClosedError
from tornado.web import authenticated

from app import export, thumbnails
from app.runtime import find_runtime
from feature_store import StoreError

if TYPE_CHECKING:
    from tornado.web import RequestHandler

_log = logging.getLogger(__name__)
_DECIMAL = re.compile(r"\d{1,9}")


class Thumbnail(AuthRequestHandler):
    """Answers ``thumb/<key of the store's images>/<image id>.png``.

    It derives from the handler that asks for a login, since a plain one stays open when the
    server has a password.
    """

    @authenticated
    async def get(self, key: str, image_id: str) -> None:
        """Send one picture, or 404 for a store that is not open or an id that is no number."""
        runtime = find_runtime(key)
        if runtime is None or not _DECIMAL.fullmatch(image_id):
            self.send_error(404)
            return
        loop = asyncio.get_running_loop()
        content, media_type = await loop.run_in_executor(None, runtime.thumbnail, int(image_id))
        # The key is a hash of the pictures, so an address never changes its meaning.
        scope = "private" if self._has_login() else "public"
        self.set_header("Content-Type", media_type)
        self.set_header("Cache-Control", f"{scope}, max-age=31536000, immutable")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish(content)

    def _has_login(self) -> bool:
        provider = getattr(self.application, "auth_provider", None)
        return bool(provider and provider.endpoints)


class Download(AuthRequestHandler):
    """Answers ``export/<secret>/<name>`` once, with the file that a session asked for.

    The secret was told to that session alone; the login that the page asks for is asked for here
    too.
    """

    @authenticated
    async def get(self, token: str) -> None:
        """Send the file a piece at a time, or 404 when nothing (any more) waits under the name."""
        wanted = export.TICKETS.take(token)
        if wanted is None:
            self.send_error(404)
            return
        loop = asyncio.get_running_loop()
        pieces = wanted.pieces()
        try:
            # An error in the first piece is still an answer.
            piece = await loop.run_in_executor(None, next, pieces, None)
        except StoreError:
            self.send_error(500)
            return
        self.set_header("Content-Type", wanted.media_type)
        self.set_header("Content-Disposition", f'attachment; filename="{wanted.name}"')
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        try:
            while piece is not None:
                self.write(piece)
                # Waits until the reader has taken it: a slow one holds no more than this.
                await self.flush()
                piece = await loop.run_in_executor(None, next, pieces, None)
        except StreamClosedError:
            return
        except Exception:  # noqa: BLE001 - whatever it was, the file is not whole
            # What was sent so far must not pass for the whole file.
            _log.exception("The download %s broke off", wanted.name)
            self.detach().close()
            return
        self.finish()


ROUTES: list[tuple[str, type[RequestHandler], dict[str, Any]]] = [
    (r"/thumb/([0-9a-f]{4,16})/(\d{1,9})\.png", Thumbnail, {}),
    (r"/export/([A-Za-z0-9_-]{32})/[A-Za-z0-9_.-]{1,120}", Download, {}),
]
"""Read by ``panel serve --plugins``, and given to ``pn.serve(extra_patterns=...)`` in tests."""

thumbnails.mark_served_by_url()
