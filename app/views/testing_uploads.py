"""Uploads of the test view: from the browser's pieces to the image under test."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import panel as pn

from app.components.upload import UploadButton
from app.inference import decode_image, fit_image
from app.uploads import UploadError, UploadReceiver, decode

if TYPE_CHECKING:
    from app.inference import InferenceService
    from app.state import SessionState
    from app.uploads import Upload

_decoder = ThreadPoolExecutor(1, thread_name_prefix="vatun-upload")
"""One picture is decoded at a time: a large one takes up to 150 MB meanwhile."""


class Uploads:
    """Receives, decodes and puts under test.

    Parameters
    ----------
    state : SessionState
        Told of the uploaded image.
    inference : InferenceService
        Knows the size of the network's input.
    """

    def __init__(self, state: SessionState, inference: InferenceService) -> None:
        self._state = state
        self._inference = inference
        self._receiver = UploadReceiver(self._complete, self._fail, on_progress=self._progress)
        self.button = UploadButton(self._receiver.receive, margin=0, align="center")

    def close(self) -> None:
        """Forget what has arrived: the page is gone."""
        self._receiver.drop()

    def _progress(self, have: int, share: float) -> None:
        self.button.receiving(have, share)

    def _fail(self, error: str) -> None:
        self.button.fail(error)

    def _complete(self, name: str, data: bytes) -> None:
        self.button.decoding()
        pn.state.execute(partial(self._decode, name, data))

    async def _decode(self, name: str, data: bytes) -> None:
        """Decode off the event loop, and put the picture under test on the document's turn."""
        try:
            loop = asyncio.get_running_loop()
            upload = await loop.run_in_executor(_decoder, self._read, name, data)
        except UploadError as error:
            said = f"{error.headline}: {error.detail} {error.cure}"
            pn.state.execute(partial(self._fail, said), schedule=True)
        else:
            pn.state.execute(partial(self._show, upload), schedule=True)

    def _read(self, name: str, data: bytes) -> Upload:
        spec = self._inference.input
        fit = partial(fit_image, input_spec=spec)
        cut = "cut from the middle to" if spec.resize is not None else "cut or filled up to"
        how = "squeezed to" if spec.crop is None else cut
        return decode(data, name, decode_image).fitted(fit, how=how)

    def _show(self, upload: Upload) -> None:
        self.button.done()
        self._state.set_upload(upload)
