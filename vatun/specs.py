"""What a network, its input and a change of an image are, in plain data; imports no torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vatun.errors import MagnitudeError, SpecError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """How an image becomes the input of the network.

    Parameters
    ----------
    height, width : int
        Size of the input in pixels.
    resize : int or None
        Length in pixels to which the shorter side is scaled first; None keeps the size.
        With ``crop`` None the image is scaled to (height, width) whatever its shape.
    crop : str or None
        ``"center"`` cuts (height, width) from the middle after ``resize``.
    mean, std : tuple of float
        Per channel, in units of [0, 1] pixels: the network sees ``(image - mean) / std``.
    """

    height: int
    width: int
    resize: int | None = None
    crop: str | None = None
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            msg = f"input size must be positive, got {self.height} x {self.width}"
            raise SpecError(msg)
        if len(self.mean) != 3 or len(self.std) != 3:
            msg = "mean and std need three values each (red, green, blue)"
            raise SpecError(msg)
        if (
            not all(math.isfinite(value) for value in (*self.mean, *self.std))
            or min(self.std) <= 0
        ):
            msg = "mean and std must be finite and every std positive"
            raise SpecError(msg)
        if self.crop not in {None, "center"}:
            msg = f"crop must be 'center' or absent, got {self.crop!r}"
            raise SpecError(msg)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> InputSpec:
        """Rebuild from ``to_dict``."""
        values = dict(data)
        for name in ("mean", "std"):
            if name in values:
                values[name] = tuple(values[name])
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which network is under test.

    Parameters
    ----------
    builder : str
        ``"vgg16_cifar"``, ``"small_vgg"``, ``"torchvision:NAME"`` or a dotted path
        ``"package.module:function"`` to a callable that takes ``num_classes`` and returns a
        module.
    classes : int
        Number of outputs.
    layers : tuple of str or None
        Module paths to capture; None finds them (see ``vatun.network``).
    include_logits : bool
        Whether the classifier output is a layer of the path too.
    """

    builder: str
    classes: int
    layers: tuple[str, ...] | None = None
    include_logits: bool = False

    def __post_init__(self) -> None:
        if self.classes < 2:
            msg = f"a classifier needs at least 2 classes, got {self.classes}"
            raise SpecError(msg)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelSpec:
        """Rebuild from ``to_dict``."""
        values = dict(data)
        if values.get("layers") is not None:
            values["layers"] = tuple(values["layers"])
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class PerturbationSpec:
    """Name, unit and limits of one perturbation; its function is registered in ``vatun.perturb``.

    Parameters
    ----------
    name : str
        Registered name.
    label : str
        What the screen calls it.
    unit : str
        Unit of the magnitude.
    low, identity, high : float
        Smallest, unchanged and largest magnitude.
    grid : tuple of float
        Default magnitudes of a sweep, ascending; the identity is one of them.
    """

    name: str
    label: str
    unit: str
    low: float
    identity: float
    high: float
    grid: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.low <= self.identity <= self.high:
            msg = f"{self.name}: low <= identity <= high does not hold"
            raise SpecError(msg)
        check_grid(self, self.grid)

    @property
    def is_switch(self) -> bool:
        """Whether it is only off or on."""
        return self.grid == (0.0, 1.0)

    def check(self, magnitude: object) -> float:
        """Return ``magnitude`` as a float within the limits.

        Returns
        -------
        float

        Raises
        ------
        MagnitudeError
            When it is not a finite number, or lies outside [low, high].
        """
        if isinstance(magnitude, bool) or not isinstance(magnitude, (int, float)):
            msg = f"{self.name}: the magnitude must be a number, got {type(magnitude).__name__}"
            raise MagnitudeError(msg)
        value = float(magnitude)
        # A slider's last step may overshoot a limit by rounding; a thousandth of the range is not
        # a different magnitude.
        slack = 1e-6 * (self.high - self.low)
        if not math.isfinite(value) or not self.low - slack <= value <= self.high + slack:
            msg = f"{self.name}: {magnitude} is outside {self.low:g} to {self.high:g} {self.unit}"
            raise MagnitudeError(msg)
        value = min(max(value, self.low), self.high)
        if self.is_switch and value not in {0.0, 1.0}:
            msg = f"{self.name}: {magnitude} is neither 0 (off) nor 1 (on)"
            raise MagnitudeError(msg)
        return value


def check_grid(spec: PerturbationSpec, grid: tuple[float, ...]) -> None:
    """Refuse a grid that is not ascending, leaves the limits, or misses the identity.

    Raises
    ------
    SpecError
        Naming the perturbation and what is wrong.
    """
    if not all(math.isfinite(value) for value in grid):
        msg = f"{spec.name}: the grid must hold finite numbers only"
        raise SpecError(msg)
    if list(grid) != sorted(set(grid)):
        msg = f"{spec.name}: the grid must ascend without repeats"
        raise SpecError(msg)
    if spec.identity not in grid:
        msg = f"{spec.name}: the grid must hold the identity {spec.identity:g}"
        raise SpecError(msg)
    if grid[0] < spec.low or grid[-1] > spec.high:
        msg = f"{spec.name}: the grid leaves {spec.low:g} to {spec.high:g}"
        raise SpecError(msg)


def _steps(low: float, high: float, step: float) -> tuple[float, ...]:
    """Ascending grid from ``low`` to ``high`` whose points are exact decimals."""
    count = round((high - low) / step)
    return tuple(round(low + index * step, 10) for index in range(count + 1))


def _spec(
    name: str, label: str, unit: str, limits: tuple[float, float, float], grid: tuple[float, ...]
) -> PerturbationSpec:
    low, identity, high = limits
    return PerturbationSpec(
        name=name, label=label, unit=unit, low=low, identity=identity, high=high, grid=grid
    )


_FACTOR = ((0.0, 1.0, 2.0), _steps(0.0, 2.0, 0.2))
_SWITCH = ((0.0, 0.0, 1.0), (0.0, 1.0))
_FGSM_GRID = (0.0, *(2 * step / 255 for step in range(1, 9)))

_BUILT_IN = (
    _spec("region", "Removed region", "of shorter side", (0.0, 0.0, 0.8), _steps(0.0, 0.8, 0.1)),
    _spec("horizontal_flip", "Mirror", "off or on", *_SWITCH),
    _spec("vertical_flip", "Upside down", "off or on", *_SWITCH),
    _spec("rotation", "Rotation", "degrees", (-180.0, 0.0, 180.0), _steps(-180.0, 180.0, 15.0)),
    _spec("hue", "Hue", "turns", (-0.5, 0.0, 0.5), _steps(-0.5, 0.5, 0.1)),
    _spec("saturation", "Saturation", "factor", *_FACTOR),
    _spec("contrast", "Contrast", "factor", *_FACTOR),
    _spec("brightness", "Brightness", "factor", *_FACTOR),
    _spec("blur", "Blur", "sigma of shorter side", (0.0, 0.0, 0.1), _steps(0.0, 0.1, 0.01)),
    _spec("noise", "Noise", "standard deviation", (0.0, 0.0, 0.3), _steps(0.0, 0.3, 0.03)),
    _spec("fgsm", "FGSM", "epsilon", (0.0, 0.0, 16 / 255), _FGSM_GRID),
)

_specs: dict[str, PerturbationSpec] = {spec.name: spec for spec in _BUILT_IN}

PERTURBATION_SPECS: Mapping[str, PerturbationSpec] = MappingProxyType(_specs)
"""Every perturbation by name, in the fixed order of application; the attack is last."""

ATTACKS = frozenset({"fgsm"})
"""Perturbations that need a gradient of the network."""

EXPLANATION_NAMES = (
    "grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam", "integrated_gradients",
    "occlusion",
)  # fmt: skip
"""Explanations of our own, which ``vatun.explain`` registers; a plugin may add others."""

REGION_FILLS = ("mean", "black", "blur")
"""What a removed box shows: the data set's mean, black, or the image blurred the most."""

ROTATION_FILLS = ("black", "edge", "mirror")
"""What a rotation turns into the corners: black, the edge pixels, or the image mirrored."""


def register_spec(spec: PerturbationSpec) -> None:
    """Add a perturbation of a plugin; it is applied before the attacks.

    Raises
    ------
    SpecError
        When the name is taken by a different specification.
    """
    known = _specs.get(spec.name)
    if known is not None and known != spec:
        msg = f"perturbation {spec.name!r} is already registered"
        raise SpecError(msg)
    attacks = {name: _specs.pop(name) for name in list(_specs) if name in ATTACKS}
    _specs[spec.name] = spec
    _specs.update(attacks)


def find_spec(name: str) -> PerturbationSpec:
    """Return the specification called ``name``.

    Returns
    -------
    PerturbationSpec

    Raises
    ------
    UnknownNameError
        Listing the registered names.
    """
    try:
        return _specs[name]
    except KeyError:
        msg = f"unknown perturbation {name!r}; known: {', '.join(_specs)}"
        raise UnknownNameError(msg) from None


def check_fill(fill: object, known: tuple[str, ...]) -> str:
    """Return ``fill`` when it is one of ``known``.

    Returns
    -------
    str

    Raises
    ------
    MagnitudeError
        Naming the known fills.
    """
    if isinstance(fill, str) and fill in known:
        return fill
    msg = f"unknown fill {fill!r}; known: {', '.join(known)}"
    raise MagnitudeError(msg)


@dataclass(frozen=True)
class Box:
    """A removed rectangle, as shares of the image's width and height in [0, 1]."""

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        values = (self.left, self.top, self.right, self.bottom)
        if not all(
            isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value <= 1
            for value in values
        ):
            msg = "the corners of a region must be numbers between 0 and 1"
            raise MagnitudeError(msg)
        if self.left >= self.right or self.top >= self.bottom:
            msg = "a region needs left < right and top < bottom"
            raise MagnitudeError(msg)


@dataclass(frozen=True, kw_only=True)
class Change:
    """Everything done to one image: checked magnitudes, removed boxes and what fills the gaps.

    Two changes are equal when they do the same: a fill counts only where there is a gap for it.

    Parameters
    ----------
    magnitudes : mapping of str to float
        Magnitude by perturbation; a missing one is at its identity.
    boxes : tuple of Box
        Removed regions.
    region_fill : str
        One of ``REGION_FILLS``: what the boxes show.
    rotation_fill : str
        One of ``ROTATION_FILLS``: what a rotation turns into the corners.

    Raises
    ------
    MagnitudeError
        When a magnitude leaves its limits or a fill is unknown.
    """

    magnitudes: Mapping[str, float] = field(default_factory=dict)
    boxes: tuple[Box, ...] = ()
    region_fill: str = "mean"
    rotation_fill: str = "black"

    def __post_init__(self) -> None:
        check_fill(self.region_fill, REGION_FILLS)
        check_fill(self.rotation_fill, ROTATION_FILLS)
        kept = {}
        for name, value in self.magnitudes.items():
            spec = find_spec(name)
            magnitude = spec.check(value)
            if magnitude != spec.identity:
                kept[name] = magnitude
        object.__setattr__(self, "magnitudes", MappingProxyType(kept))

    def __iter__(self) -> Iterator[tuple[str, float]]:
        """Walk the magnitudes that are not the identity, in the fixed order of application."""
        return ((name, self.magnitudes[name]) for name in _specs if name in self.magnitudes)

    def __hash__(self) -> int:
        return hash(self._effect)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Change):
            return NotImplemented
        return self._effect == other._effect

    @property
    def _effect(self) -> tuple[object, ...]:
        """What the change does, and nothing that has no effect."""
        region_fill = self.region_fill if self.boxes else None
        rotation_fill = self.rotation_fill if "rotation" in self.magnitudes else None
        return tuple(self), self.boxes, region_fill, rotation_fill

    @property
    def is_identity(self) -> bool:
        """Whether nothing is changed."""
        return not self.magnitudes and not self.boxes

    def with_magnitude(self, name: str, magnitude: float) -> Change:
        """Return a copy with one magnitude replaced."""
        return replace(self, magnitudes={**self.magnitudes, name: magnitude})
