"""Explanations: which places of an image speak for a class.

Every method is registered in ``EXPLANATIONS`` and explains the logit of a class. What they are
made of: ``vatun.explanations`` (the registry and the choice of a layer), ``vatun.cam`` (maps of a
layer) and ``vatun.pixels`` (maps of the image). Whether a map can be trusted is for
``vatun.trust`` to say.
"""

from vatun.cam import grad_cam, grad_cam_layers, grad_cam_plus_plus, hires_cam, layer_cam
from vatun.explanations import (
    EXPLANATIONS,
    MIN_SIDE,
    Explanation,
    default_layer,
    explanation,
    find_explanation,
    has_map,
    tap_point,
)
from vatun.pixels import (
    integrated_gradients,
    occlusion,
    occlusion_drops,
    pixel_attributions,
)

__all__ = [
    "EXPLANATIONS",
    "MIN_SIDE",
    "Explanation",
    "default_layer",
    "explanation",
    "find_explanation",
    "grad_cam",
    "grad_cam_layers",
    "grad_cam_plus_plus",
    "has_map",
    "hires_cam",
    "integrated_gradients",
    "layer_cam",
    "occlusion",
    "occlusion_drops",
    "pixel_attributions",
    "tap_point",
]
