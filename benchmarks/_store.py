"""The network of a store, and images of it as the network sees them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from vatun.network import Network, load_network
from vatun.preprocess import load_image, to_input
from vatun.specs import InputSpec, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from feature_store import Store


def network_of(store: Store) -> Network:
    """Load the network that a store was computed with, on the CPU."""
    return load_network(
        ModelSpec.from_dict(store.info["model"]),
        InputSpec.from_dict(store.info["input"]),
        weights=store.file("weights"),
        device="cpu",
        class_names=store.class_names,
    )


def images_of(store: Store, network: Network, ids: Sequence[int]) -> Tensor:
    """Read images of a store.

    Parameters
    ----------
    store : Store
        With the table ``images``.
    network : Network
        Says how an image becomes its input.
    ids : sequence of int
        Images, each once.

    Returns
    -------
    Tensor of shape (n, 3, height, width), float32 in [0, 1]
        Ascending by id.
    """
    encoded = store.arrow(
        "SELECT encoded FROM images WHERE image_id IN (SELECT unnest(?::BIGINT[])) "
        "ORDER BY image_id",
        sorted(ids),
    )["encoded"].to_pylist()
    spec = network.input
    if store.info["dataset"]["store_images"] == "input":
        spec = replace(spec, resize=None, crop=None)
    return to_input(np.stack([load_image(each or b"", spec) for each in encoded]))
