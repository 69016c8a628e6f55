"""A set of images named by what its pixels have in common: "green, bright, low edges".

Every image is looked at as a thumbnail of 32 x 32 pixels: enough for colour, light and the amount
of structure. Blur of a large image that such a thumbnail no longer shows is not seen.
"""

from __future__ import annotations

import io
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from feature_store.patterns.columns import numbers
from feature_store.patterns.memory import remember
from feature_store.patterns.statistics import benjamini_hochberg, cliffs_delta

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from feature_store.store import Store

    Ids = NDArray[np.integer] | Sequence[int]
    Decode = Callable[[bytes], NDArray[np.uint8]]
    Progress = Callable[[int, int], None]

SIDE = 32
"""Side of a thumbnail in pixels."""

MEASURES = ("brightness", "contrast", "saturation", "edges", "sharpness")
"""Columns of ``image_statistics`` that are amounts; the last column is the hue."""

COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple")
"""What the hue of the mean colour may be called; a mean colour near grey is none of them."""

WORDS = {
    "brightness": ("dark", "bright"),
    "contrast": ("low contrast", "high contrast"),
    "saturation": ("pale", "vivid"),
    "edges": ("low edges", "high edges"),
    "sharpness": ("blurred", "sharp"),
}
"""What a set is called that lies below or above the rest."""

CLEAR = 0.33
"""Cliff's delta from which on a difference is called medium (Romano et al., 2006)."""

RATE = 0.05
"""Largest false-discovery rate of a word over all words."""

MAX_WORDS = 3
LIMIT = 10_000
"""So many images of the rest are looked at; of a larger rest a sample."""

# Hues in degrees at which one colour ends and the next begins; red lies around 0.
_COLOUR_ENDS = (15.0, 45.0, 70.0, 165.0, 195.0, 255.0, 345.0)
_GREY = 0.04
_EDGE = 0.1
_AT_ONCE = 1_000
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
_MAX_BYTES = 16_000_000
_MAX_PIXELS = 25_000_000
_UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    MemoryError,
    Image.DecompressionBombError,
)


@dataclass(frozen=True, kw_only=True)
class WordEffect:
    """How far a set of images differs from the rest in one respect.

    Parameters
    ----------
    word : str
        What the set would be called for it.
    effect : float
        Cliff's delta in [-1, 1]: the chance that an image of the set has more of it than one of
        the rest, less the chance that it has less. For a colour: the share of the set that has
        it, less the share of the rest.
    q : float
        False-discovery rate over all words (Mann-Whitney, Benjamini-Hochberg).
    median, rest_median : float
        Of the statistic, in its unit; for a colour the two shares.
    is_clear : bool
        Whether the effect is at least medium (0.33) and ``q`` below 0.05.
    """

    word: str
    effect: float
    q: float
    median: float
    rest_median: float
    is_clear: bool


@dataclass(frozen=True, kw_only=True)
class ImageSetName:
    """What a set of images may be called, by its pixels.

    Parameters
    ----------
    name : str
        Up to three words, the largest effect first; empty where nothing is clear.
    sentence : str
        The name with its effects, or that there is no clear one.
    effects : tuple of WordEffect
        Of every word, the largest first.
    n_members, n_rest : int
        Images that were looked at.
    n_all_members, n_all_rest : int
        Images that were asked for; the difference was not sampled or cannot be decoded.
    """

    name: str
    sentence: str
    effects: tuple[WordEffect, ...]
    n_members: int
    n_rest: int
    n_all_members: int
    n_all_rest: int


def image_statistics(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure thumbnails.

    Parameters
    ----------
    pixels : ndarray of shape (n, height, width, 3), uint8
        RGB; at least 3 x 3.

    Returns
    -------
    ndarray of shape (n, 6), float32
        brightness: mean luminance, in [0, 1]. contrast: its standard deviation, in [0, 0.5].
        saturation: mean of the largest less the smallest channel, in [0, 1]. edges: share of the
        pixels whose luminance changes by more than 0.1 to the next, in [0, 1]. sharpness: energy
        of the second differences over that of the first, >= 0; free of contrast, and 0 for a flat
        image. hue: of the mean colour, in degrees in [0, 360); NaN for one near grey.

    Raises
    ------
    ValueError
        For another shape or type.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        msg = f"pixels are uint8 of shape (n, height, width, 3), got {pixels.dtype} {pixels.shape}"
        raise ValueError(msg)
    colour = pixels.astype(np.float32) / 255
    light = colour @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    across, down = np.diff(light, axis=2)[:, :-1], np.diff(light, axis=1)[:, :, :-1]
    slope = across**2 + down**2
    bend = np.diff(light, 2, axis=2) ** 2, np.diff(light, 2, axis=1) ** 2
    bends = bend[0].mean(axis=(1, 2)) + bend[1].mean(axis=(1, 2))
    slopes = slope.mean(axis=(1, 2))
    # A flat image differs by rounding alone: no sharpness can be read from that.
    sharpness = np.where(slopes > 1e-6, bends / np.maximum(slopes, 1e-6), 0.0)
    spread = colour.max(axis=3) - colour.min(axis=3)
    columns = (
        light.mean(axis=(1, 2)),
        light.std(axis=(1, 2)),
        spread.mean(axis=(1, 2)),
        (slope > _EDGE**2).mean(axis=(1, 2)),
        sharpness,
        _hue(colour.mean(axis=(1, 2))),
    )
    return np.stack(columns, axis=1).astype(np.float32)


def _hue(mean: NDArray[np.float32]) -> NDArray[np.float32]:
    red, green, blue = mean.T
    spread = mean.max(axis=1) - mean.min(axis=1)
    safe = np.maximum(spread, 1e-6)
    sixths = np.choose(
        mean.argmax(axis=1),
        [((green - blue) / safe) % 6, (blue - red) / safe + 2, (red - green) / safe + 4],
    )
    return np.where(spread < _GREY, np.nan, sixths * 60 % 360)


def colour_places(hue: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the place of each hue (degrees) in ``COLOURS``, and -1 for NaN."""
    place = np.searchsorted(_COLOUR_ENDS, np.nan_to_num(hue), side="right") % len(COLOURS)
    return np.where(np.isnan(hue), -1, place)


def decode_thumbnail(encoded: bytes) -> NDArray[np.uint8]:
    """Decode bytes from outside, under limits, to a thumbnail.

    Parameters
    ----------
    encoded : bytes
        A PNG, JPEG, WebP, BMP or GIF file.

    Returns
    -------
    ndarray of shape (32, 32, 3), uint8
        RGB, without regard to the sides' ratio; of a moving image the first frame.

    Raises
    ------
    ValueError
        When the image cannot be decoded, or is too large to try.
    """
    if len(encoded) > _MAX_BYTES:
        msg = f"the image has {len(encoded):,} bytes, over {_MAX_BYTES:,}"
        raise ValueError(msg)
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
            warnings.simplefilter("ignore")
            if image.width * image.height > _MAX_PIXELS:
                msg = f"the image has {image.width} x {image.height} pixels"
                raise ValueError(msg)
            # A large JPEG is decoded at a fraction of its size.
            image.draft("RGB", (SIDE, SIDE))
            small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
            return np.asarray(small, dtype=np.uint8)
    except _UNREADABLE as error:
        msg = f"the image cannot be decoded: {error}"
        raise ValueError(msg) from None


class _Known:
    """Statistics of the images of a store that were looked at so far."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_id: dict[int, NDArray[np.float32]] = {}


def statistics_of(
    store: Store,
    image_ids: Ids,
    *,
    decode: Decode = decode_thumbnail,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Measure images of a store; each is decoded once and remembered while the store is open.

    Parameters
    ----------
    store : Store
        Opened store.
    image_ids : sequence of int
        Images, in any order.
    decode : callable, optional
        Makes a thumbnail of shape (32, 32, 3), uint8, or raises ValueError.
    progress : callable, optional
        Called with the images done and those to do; an exception of it stops the work, and what
        was measured until then is kept.

    Returns
    -------
    ndarray of shape (n, 6), float32
        As ``image_statistics`` returns them; a row of NaN for an image that is not kept in the
        store or cannot be decoded (its brightness tells, as only hue may be NaN otherwise).
    """
    known = remember(store, "image statistics", _Known)
    ids = np.asarray(image_ids, dtype=np.int64)
    new = [image for image in dict.fromkeys(ids.tolist()) if image not in known.by_id]
    for start in range(0, len(new), _AT_ONCE):
        # Others that ask meanwhile wait for one chunk, not for all.
        with known.lock:
            chunk = [i for i in new[start : start + _AT_ONCE] if i not in known.by_id]
            if chunk:
                known.by_id.update(_measured(store, chunk, decode))
        if progress is not None:
            progress(min(start + _AT_ONCE, len(new)), len(new))
    rows = [known.by_id[image] for image in ids.tolist()]
    return np.array(rows, dtype=np.float32).reshape(len(ids), len(MEASURES) + 1)


def _measured(store: Store, ids: list[int], decode: Decode) -> dict[int, NDArray[np.float32]]:
    rows = store.arrow(
        "SELECT image_id, encoded FROM images WHERE image_id IN (SELECT unnest(?::INTEGER[])) "
        "AND status = 'ok' AND encoded IS NOT NULL",
        ids,
    )
    found, thumbnails = [], []
    for image, encoded in zip(
        numbers(rows["image_id"], np.int64).tolist(), rows["encoded"], strict=True
    ):
        try:
            thumbnails.append(decode(encoded.as_py()))
        except ValueError:
            continue
        found.append(image)
    nothing = np.full(len(MEASURES) + 1, np.nan, dtype=np.float32)
    measured = dict.fromkeys(ids, nothing)
    if found:
        measured.update(zip(found, image_statistics(np.stack(thumbnails)), strict=True))
    return measured


def name_of_statistics(members: NDArray[np.floating], rest: NDArray[np.floating]) -> ImageSetName:
    """Name a set of measured images against the rest.

    Parameters
    ----------
    members, rest : ndarray of shape (n, 6) and (m, 6)
        As ``image_statistics`` returns them; rows without a brightness are left out.

    Returns
    -------
    ImageSetName
        With an empty name where no difference is at least medium and significant.

    References
    ----------
    J. Romano et al., "Appropriate statistics for ordinal level data", 2006: from 0.33 on Cliff's
    delta is called medium.
    """
    ours, theirs = (part[np.isfinite(part[:, 0])] for part in (members, rest))
    n_amounts = len(MEASURES)
    tables = [
        np.hstack([part[:, :n_amounts], _has_colour(part[:, n_amounts])])
        for part in (ours, theirs)
    ]
    delta, p = cliffs_delta(*tables)
    q = benjamini_hochberg(p)
    effects = []
    for place, (effect, rate) in enumerate(zip(delta.tolist(), q.tolist(), strict=True)):
        is_colour = place >= n_amounts
        word = COLOURS[place - n_amounts] if is_colour else WORDS[MEASURES[place]][int(effect > 0)]
        middles = [
            float(np.mean(t[:, place]) if is_colour else np.median(t[:, place]))
            if len(t)
            else float("nan")
            for t in tables
        ]
        effects.append(
            WordEffect(
                word=word,
                effect=effect,
                q=rate,
                median=middles[0],
                rest_median=middles[1],
                # "Not green" names nothing: the lack of a colour is no word.
                is_clear=rate < RATE and (effect if is_colour else abs(effect)) >= CLEAR,
            )
        )
    effects.sort(key=lambda entry: -abs(entry.effect))
    clear = [entry for entry in effects if entry.is_clear][:MAX_WORDS]
    return ImageSetName(
        name=", ".join(entry.word for entry in clear),
        sentence=_sentence(clear, len(ours), len(theirs)),
        effects=tuple(effects),
        n_members=len(ours),
        n_rest=len(theirs),
        n_all_members=len(members),
        n_all_rest=len(rest),
    )


def _has_colour(hue: NDArray[np.floating]) -> NDArray[np.float64]:
    is_of = colour_places(hue)[:, None] == np.arange(len(COLOURS))
    return np.asarray(is_of, dtype=np.float64)


def _sentence(clear: list[WordEffect], n_members: int, n_rest: int) -> str:
    if not n_members or not n_rest:
        return "no name: there are no pixels to compare"
    counted = f"{n_members:,} images against {n_rest:,}"
    if not clear:
        return (
            f"no clear name: in colour, light and structure {counted} differ little or by chance"
        )
    words = ", ".join(f"{entry.word} ({entry.effect:+.2f})" for entry in clear)
    return f"{words}: {counted}, effect from -1 to 1 (Cliff's delta)"


def image_statistics_name(
    store: Store,
    image_ids: Ids,
    *,
    against: Ids | None = None,
    limit: int = LIMIT,
    seed: int = 0,
    decode: Decode = decode_thumbnail,
    progress: Progress | None = None,
) -> ImageSetName:
    """Name a set of images by its pixels, against other images.

    Parameters
    ----------
    store : Store
        Opened store.
    image_ids : sequence of int
        The set.
    against : sequence of int, optional
        The rest; by default every other readable image of the store. For the members of a
        pattern among one class: the other images of the class. Members do not count.
    limit : int
        Most images to look at of each; of more a sample, which the answer says.
    seed : int
        Of the sample.
    decode, progress : callable, optional
        See ``statistics_of``.

    Returns
    -------
    ImageSetName
        With an empty name and a sentence that says so where nothing is clear.
    """
    members = np.unique(np.asarray(image_ids, dtype=np.int64))
    if against is None:
        rows = store.arrow("SELECT image_id FROM images WHERE status = 'ok' ORDER BY image_id")
        against = numbers(rows["image_id"], np.int64)
    rest = np.setdiff1d(np.asarray(against, dtype=np.int64), members)
    rng = np.random.default_rng(seed)
    ours, theirs = (
        ids if len(ids) <= limit else rng.choice(ids, limit, replace=False)
        for ids in (members, rest)
    )
    measured = statistics_of(
        store, np.concatenate([ours, theirs]), decode=decode, progress=progress
    )
    named = name_of_statistics(measured[: len(ours)], measured[len(ours) :])
    counts = {"n_all_members": len(members), "n_all_rest": len(rest)}
    return ImageSetName(**{**vars(named), **counts})
