"""What a server holds: ``panel serve app --plugins app.routes --plugins benchmarks._held``.

``/held`` answers, after a garbage collection, how many sessions are open, how many objects of one
session are alive, and the resident memory of the process.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from pathlib import Path
from typing import Any

from tornado.web import RequestHandler

from app.dashboard import Dashboard
from app.state import SessionState
from app.views.map_view import MapView
from app.views.network import NetworkView
from app.views.simulation import SimulationView
from app.views.testing import TestingView

KINDS = (Dashboard, SessionState, MapView, TestingView, NetworkView, SimulationView)
"""What every session has one of."""


class Held(RequestHandler):
    """Answers ``held`` as JSON."""

    def get(self) -> None:
        """Send ``{"sessions", "megabytes", "alive": {class name: count}}``."""
        gc.collect()
        alive = Counter(type(each).__name__ for each in gc.get_objects() if type(each) in KINDS)
        self.finish(
            {
                "sessions": self._sessions(),
                "megabytes": resident_megabytes(),
                "alive": {kind.__name__: alive[kind.__name__] for kind in KINDS},
            }
        )

    def _sessions(self) -> int:
        server: Any = self.application
        return sum(len(server.get_sessions(path)) for path in server.applications)


def resident_megabytes() -> float:
    """Return the resident memory of this process; Linux only."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


ROUTES: list[tuple[str, type[Held], dict[str, Any]]] = [(r"/held", Held, {})]
"""Read by ``panel serve --plugins``."""
