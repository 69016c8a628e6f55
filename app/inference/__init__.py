"""The only door from the app to the network under test; torch is imported when it is first opened.

The names, units and limits of changes are re-exported here from the torch-free ``vatun.specs``.
"""

from app.inference.ablation import MAX_IMAGES
from app.inference.answers import AblationResult, Evidence, Image, MeanEvidence, TestResult
from app.inference.given import change_from, decode_image, fit_image
from app.inference.service import InferenceService, NoNetworkError
from app.uploads import Upload
from app.worker import BusyError, DeadlineError, SupersededError, WorkerError
from vatun.errors import ImageError, VatunError
from vatun.judgement import MAX_SHARED, MIN_IMAGES, MIN_SETS, ROOM
from vatun.specs import (
    ATTACKS,
    PERTURBATION_SPECS,
    REGION_FILLS,
    ROTATION_FILLS,
    Box,
    Change,
    InputSpec,
    PerturbationSpec,
)

__all__ = [
    "ATTACKS",
    "MAX_IMAGES",
    "MAX_SHARED",
    "MIN_IMAGES",
    "MIN_SETS",
    "PERTURBATION_SPECS",
    "REGION_FILLS",
    "ROOM",
    "ROTATION_FILLS",
    "AblationResult",
    "Box",
    "BusyError",
    "Change",
    "DeadlineError",
    "Evidence",
    "Image",
    "ImageError",
    "InferenceService",
    "InputSpec",
    "MeanEvidence",
    "NoNetworkError",
    "PerturbationSpec",
    "SupersededError",
    "TestResult",
    "Upload",
    "VatunError",
    "WorkerError",
    "change_from",
    "decode_image",
    "fit_image",
]
