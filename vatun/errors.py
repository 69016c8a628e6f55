"""Errors of the network under test: each is named for its situation and says what to do."""


class VatunError(Exception):
    """Base of every error that ``vatun`` raises on purpose."""


class SpecError(VatunError, ValueError):
    """A specification holds a value that is not allowed."""


class MagnitudeError(SpecError):
    """A magnitude is not a finite number within the limits of its perturbation."""


class UnknownNameError(VatunError, LookupError):
    """A name is not in the registry it was looked up in."""


class NetworkError(VatunError):
    """A network cannot be built, or its weights do not fit it."""


class WeightsError(NetworkError):
    """A weights file is missing, damaged, unsafe or made for another network."""


class LayerError(NetworkError, LookupError):
    """A layer does not exist or cannot answer the question asked of it."""


class ImageError(VatunError, ValueError):
    """Bytes that are no usable image.

    Parameters
    ----------
    message : str
        What is wrong with them.
    status : str
        ``"undecodable"`` or ``"too_large"``, as the table of images has it.
    """

    def __init__(self, message: str, *, status: str) -> None:
        super().__init__(message)
        self.status = status
