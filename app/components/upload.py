"""The button that sends a picture from the browser, by file chooser, drop or paste."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import param

from app import safe
from app.components.assets import script, sheet
from app.components.one_way import OneWay
from app.uploads import ACCEPTED, MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable


class UploadButton(OneWay):
    """Sends one picture in pieces, each after the one before was acknowledged.

    Pictures dropped on the view that holds the button, and pasted ones, are sent as well. Messages
    go to ``on_message`` unchecked: give it ``UploadReceiver.receive``.

    Parameters
    ----------
    upload_state : dict
        ``stage`` is ``"idle"``, ``"receiving"``, ``"decoding"`` or ``"error"``; ``share`` of the
        bytes that arrived, 0 to 1; ``have``, the number of pieces that arrived; ``error``, plain
        text; ``seq`` grows with every report, so that equal ones are told apart.
    upload_limit : int
        Most bytes, for a quick answer in the browser; the receiver counts again.
    upload_accepted : str
        What is accepted, as a sentence.
    """

    upload_state = param.Dict(
        default={"stage": "idle", "share": 0.0, "have": 0, "error": "", "seq": 0}
    )
    upload_limit = param.Integer(default=MAX_BYTES)
    upload_accepted = param.String(default=ACCEPTED)

    _esm = script("dom.js", "upload.js")
    _stylesheets: ClassVar[list[Any]] = [sheet("controls.css", "upload.css")]

    def __init__(self, on_message: Callable[[object], None] | None = None, **params: Any) -> None:
        self._on_message = on_message
        super().__init__(**params)

    def receiving(self, have: int, share: float) -> None:
        """Acknowledge pieces: the browser sends the next one."""
        self._report("receiving", have=have, share=share)

    def decoding(self) -> None:
        """Say that the file is complete and being read."""
        self._report("decoding", share=1.0)

    def done(self) -> None:
        """Go back to rest."""
        self._report("idle")

    def fail(self, error: str) -> None:
        """Say what is wrong and what is accepted; the next upload can begin."""
        self._report("error", error=safe.plain(error, limit=400))

    def _report(self, stage: str, *, have: int = 0, share: float = 0.0, error: str = "") -> None:
        self.upload_state = {
            "stage": stage,
            "share": share,
            "have": have,
            "error": error,
            "seq": self.upload_state["seq"] + 1,
        }

    def _handle_msg(self, msg: Any) -> None:
        if self._on_message is not None:
            self._on_message(msg)
