"""Thumbnails by address: ``panel serve app --plugins app.routes``."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from bokeh.server.views.auth_request_handler import AuthRequestHandler
from tornado.web import authenticated

from app import thumbnails
from app.runtime import find_runtime

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


ROUTES: list[tuple[str, type[Thumbnail], dict[str, Any]]] = [
    (r"/thumb/([0-9a-f]{4,16})/(\d{1,9})\.png", Thumbnail, {})
]
"""Read by ``panel serve --plugins``, and given to ``pn.serve(extra_patterns=...)`` in tests."""

thumbnails.mark_served_by_url()
