"""What the browser gives, checked: pictures and changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.uploads import MAX_PIXELS
from vatun.specs import Box, Change, InputSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


def decode_image(encoded: bytes) -> NDArray[np.uint8]:
    """Decode an uploaded picture under guard; see ``vatun.preprocess.decode_image``.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        RGB at its own size.
    """
    from vatun.preprocess import decode_image as decode

    return decode(encoded, max_pixels=MAX_PIXELS)


def fit_image(pixels: NDArray[np.uint8], input_spec: InputSpec) -> NDArray[np.uint8]:
    """Bring a picture to the size of the network's input, as the images of the store were.

    Returns
    -------
    ndarray of shape (input height, input width, 3), uint8
    """
    from vatun.preprocess import resize_image

    return resize_image(pixels, input_spec)


def change_from(
    magnitudes: Mapping[str, Any],
    boxes: Any,
    *,
    region_fill: str = "mean",
    rotation_fill: str = "black",
) -> Change:
    """Build a change from what the browser sent; nothing in it is trusted.

    Parameters
    ----------
    magnitudes : mapping of str to number
        Magnitude by perturbation.
    boxes : sequence of four numbers each
        Left, top, right and bottom of each removed region, as shares of width and height.
    region_fill : str
        What removed regions are filled with: one of ``REGION_FILLS``.
    rotation_fill : str
        What the corners that a rotation turns in are filled with: one of ``ROTATION_FILLS``.

    Returns
    -------
    Change
        Checked.

    Raises
    ------
    VatunError
        When a name, a magnitude, a region or a fill is not allowed.
    TypeError, ValueError
        When the data has another shape altogether.
    """
    regions = tuple(Box(*(float(value) for value in corners)) for corners in boxes)
    return Change(
        magnitudes=dict(magnitudes),
        boxes=regions,
        region_fill=region_fill,
        rotation_fill=rotation_fill,
    )


def fills_of(change: Change) -> tuple[str, str]:
    """Return the fills: changes may be equal without them, but answers hold them."""
    return change.region_fill, change.rotation_fill
