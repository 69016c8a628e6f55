"""What every component of the page is made from."""

from __future__ import annotations

from typing import ClassVar

from panel.custom import JSComponent


class OneWay(JSComponent):
    """A component whose parameters a browser reads and does not write.

    What people do arrives as a message, which is checked against what the component offered. Panel
    would also take over every parameter that a browser claims to have changed, and with it what
    messages are checked against.
    """

    __abstract = True

    _from_browser: ClassVar[tuple[str, ...]] = ()
    """Parameters that a browser may write all the same."""

    @property
    def _linked_properties(self) -> tuple[str, ...]:
        return tuple(name for name in super()._linked_properties if name in self._from_browser)
