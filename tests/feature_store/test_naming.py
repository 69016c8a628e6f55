"""Names of sets of images by their pixels, on images made to deserve them."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageFilter
from scipy import stats

from feature_store import StoreWriter
from feature_store.patterns.naming import (
    COLOURS,
    SIDE,
    colour_places,
    decode_thumbnail,
    image_statistics,
    image_statistics_name,
    name_of_statistics,
    statistics_of,
)
from feature_store.patterns.statistics import cliffs_delta

BRIGHTNESS, CONTRAST, SATURATION, EDGES, SHARPNESS, HUE = range(6)


def noise(rng: np.random.Generator, n: int = 150) -> np.ndarray:
    """Images of coarse and fine structure with a light and a tint of their own."""
    coarse = rng.normal(0, 30, (n, 8, 8, 3)).repeat(4, 1).repeat(4, 2)
    fine = rng.normal(0, 12, (n, SIDE, SIDE, 3))
    own = rng.normal(120, 20, (n, 1, 1, 3))
    return np.clip(coarse + fine + own, 0, 255).astype(np.uint8)


def tinted(images: np.ndarray) -> np.ndarray:
    # Of the same luminance.
    return np.clip(images + np.array([-40, 28, -40]), 0, 255).astype(np.uint8)


def brighter(images: np.ndarray) -> np.ndarray:
    return np.clip(images + 40.0, 0, 255).astype(np.uint8)


def blurred(images: np.ndarray) -> np.ndarray:
    soft = [Image.fromarray(image).filter(ImageFilter.GaussianBlur(1.2)) for image in images]
    return np.stack([np.asarray(image) for image in soft])


def flatter(images: np.ndarray) -> np.ndarray:
    middle = images.mean(axis=(1, 2), keepdims=True)
    return np.clip(middle + (images - middle) * 0.35, 0, 255).astype(np.uint8)


def named(change, n: int = 60, seed: int = 0):
    rng = np.random.default_rng(seed)
    return name_of_statistics(
        image_statistics(change(noise(rng, n))), image_statistics(noise(rng, 400))
    )


@pytest.mark.parametrize(
    ("change", "first", "others"),
    [
        (tinted, "green", set()),
        (brighter, "bright", set()),
        (blurred, "blurred", {"low edges", "low contrast", "pale"}),
        (flatter, "low contrast", {"low edges", "pale"}),
    ],
)
def test_planted_sets_get_their_names(change, first: str, others: set[str]) -> None:
    for seed in range(5):
        got = named(change, seed=seed)
        words = got.name.split(", ")
        assert first in words
        assert 1 <= len(words) <= 3
        if others:
            assert set(words) <= {first, *others}
        assert got.sentence.startswith(words[0])
        assert "60 images against 400" in got.sentence
        strongest = got.effects[0]
        assert strongest.word == words[0]
        assert strongest.is_clear
        assert abs(strongest.effect) >= 0.33
        assert strongest.q < 0.05


def test_two_plants_two_words() -> None:
    got = named(lambda images: brighter(tinted(images)))
    assert {"green", "bright"} <= set(got.name.split(", "))


def test_no_clear_name_for_a_random_set() -> None:
    names = [named(lambda images: images, seed=seed) for seed in range(20)]
    assert sum(bool(got.name) for got in names) <= 1
    plain = next(got for got in names if not got.name)
    assert plain.sentence.startswith("no clear name")
    assert not any(entry.is_clear for entry in plain.effects)


def test_a_few_images_are_no_evidence() -> None:
    got = named(brighter, n=2)
    assert got.effects[0].effect != 0
    assert got.name == ""


def test_nothing_to_compare_with() -> None:
    measured = image_statistics(noise(np.random.default_rng(0), 9))
    for members, rest in ((measured, measured[:0]), (measured[:0], measured)):
        got = name_of_statistics(members, rest)
        assert (got.name, got.sentence) == ("", "no name: there are no pixels to compare")
        assert (got.n_members, got.n_rest) == (len(members), len(rest))
    unreadable = np.full((4, 6), np.nan, np.float32)
    got = name_of_statistics(unreadable, measured)
    assert (got.n_members, got.n_all_members) == (0, 4)


def test_effects_are_delta_and_shares() -> None:
    rng = np.random.default_rng(2)
    ours, theirs = (image_statistics(noise(rng, n)) for n in (40, 70))
    got = {entry.word: entry for entry in name_of_statistics(ours, theirs).effects}
    a, b = ours[:, BRIGHTNESS][:, None], theirs[:, BRIGHTNESS][None]
    delta = (a > b).mean() - (a < b).mean()
    entry = got["bright" if delta > 0 else "dark"]
    assert entry.effect == pytest.approx(delta, abs=1e-9)
    assert entry.median == pytest.approx(np.median(ours[:, BRIGHTNESS]), rel=1e-6)
    for place, colour in enumerate(COLOURS):
        shares = [(colour_places(part[:, HUE]) == place).mean() for part in (ours, theirs)]
        assert got[colour].effect == pytest.approx(shares[0] - shares[1], abs=1e-9)
        assert (got[colour].median, got[colour].rest_median) == pytest.approx(tuple(shares))


def test_statistics_of_known_images() -> None:
    side = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    board = side.copy()
    board[:, ::2, ::2] = board[:, 1::2, 1::2] = 255
    halves = side.copy()
    halves[:, :, SIDE // 2 :] = 255
    green = side + np.array([0, 200, 0], np.uint8)
    got = image_statistics(np.concatenate([side, side + 255, board, halves, green]))
    assert got.shape == (5, 6)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[:, BRIGHTNESS], [0, 1, 0.5, 0.5, 0.587 * 200 / 255], atol=1e-6)
    np.testing.assert_allclose(got[:, CONTRAST], [0, 0, 0.5, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(got[:, EDGES], [0, 0, 1, 1 / 31, 0], atol=1e-6)
    np.testing.assert_allclose(got[:, SATURATION], [0, 0, 0, 0, 200 / 255], atol=1e-6)
    assert got[0, SHARPNESS] == got[1, SHARPNESS] == got[4, SHARPNESS] == 0
    assert got[2, SHARPNESS] > got[3, SHARPNESS] > 0
    assert np.isnan(got[:4, HUE]).all()
    assert got[4, HUE] == pytest.approx(120)
    paler = image_statistics((board // 2).astype(np.uint8))
    assert paler[0, SHARPNESS] == pytest.approx(got[2, SHARPNESS], rel=0.02), "free of contrast"


def test_hues_and_their_colours() -> None:
    import colorsys

    hues = np.arange(0, 360, 5)
    rgb = np.array([colorsys.hsv_to_rgb(h / 360, 0.8, 0.8) for h in hues]) * 255
    pixels = np.tile(np.rint(rgb).astype(np.uint8)[:, None, None], (1, 4, 4, 1))
    got = image_statistics(pixels)[:, HUE]
    away = np.abs(got - hues)
    assert np.minimum(away, 360 - away).max() < 1
    asked = np.array([0, 14, 30, 60, 120, 180, 220, 300, 350, np.nan])
    words = [COLOURS[place] if place >= 0 else "" for place in colour_places(asked)]
    want = ["red", "red", "orange", "yellow", "green", "cyan", "blue", "purple", "red", ""]
    assert words == want


def test_other_arrays_are_refused() -> None:
    for pixels in (np.zeros((2, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            image_statistics(pixels)


def encoded(image: np.ndarray, form: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, format=form)
    return out.getvalue()


def test_decoding_is_guarded() -> None:
    image = noise(np.random.default_rng(0), 1)[0]
    np.testing.assert_array_equal(decode_thumbnail(encoded(image)), image)
    large = np.tile(image, (20, 30, 1))
    assert decode_thumbnail(encoded(large, "JPEG")).shape == (SIDE, SIDE, 3)
    grey = Image.fromarray(image).convert("P")
    out = io.BytesIO()
    grey.save(out, format="GIF")
    assert decode_thumbnail(out.getvalue()).shape == (SIDE, SIDE, 3)
    bomb = encoded(np.zeros((6000, 5000), np.uint8))
    for content in (b"", b"<svg/>", encoded(image)[:60], encoded(image, "TIFF"), bomb):
        with pytest.raises(ValueError, match="cannot be decoded"):
            decode_thumbnail(content)
    with pytest.raises(ValueError, match="bytes, over"):
        decode_thumbnail(b"0" * 16_000_001)


N = 90
GREEN = range(20)
LOST, BROKEN, MISSING = 30, 31, 32


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    """Ninety images, the first twenty of them green; three cannot be looked at."""
    images = noise(np.random.default_rng(5), N)
    images[list(GREEN)] = tinted(images[list(GREEN)])
    content: list[bytes | None] = [encoded(image) for image in images]
    content[LOST], content[BROKEN], content[MISSING] = None, b"broken", None
    ids = np.arange(N, dtype=np.int32)
    table = pa.table(
        {
            "image_id": ids,
            "image_key": [f"{i:064x}" for i in ids],
            "split": ["test"] * N,
            "true_class": pa.array(np.zeros(N, np.int16)),
            "source": [f"{i}.png" for i in ids],
            "encoded": pa.array(content, pa.binary()),
            "status": ["missing" if i == MISSING else "ok" for i in ids],
        }
    )
    with StoreWriter.open(tmp_path_factory.mktemp("stores") / "green") as writer:
        with writer.begin("ingest") as generation:
            generation.write("images", table)
        opened = writer.store()
    yield SimpleNamespace(store=opened, images=images)
    opened.close()


def test_images_of_a_store_are_measured_once(store) -> None:
    seen: list[tuple[int, int]] = []
    calls = []

    def decode(content: bytes) -> np.ndarray:
        calls.append(content)
        return decode_thumbnail(content)

    ids = [5, 3, 3, LOST, BROKEN, MISSING, 10**6]
    got = statistics_of(store.store, ids, decode=decode, progress=lambda *done: seen.append(done))
    want = image_statistics(store.images[[5, 3, 3]])
    np.testing.assert_allclose(got[:3], want, rtol=1e-5)
    assert np.isnan(got[3:]).all()
    assert len(calls) == 3
    assert seen == [(6, 6)]
    again = statistics_of(store.store, ids[::-1], decode=decode)
    np.testing.assert_array_equal(again, got[::-1])
    assert len(calls) == 3
    assert statistics_of(store.store, []).shape == (0, 6)


def test_names_from_a_store(store) -> None:
    got = image_statistics_name(store.store, GREEN)
    assert "green" in got.name.split(", ")
    assert (got.n_members, got.n_all_members) == (20, 20)
    assert (got.n_rest, got.n_all_rest) == (67, 69), "two of the rest cannot be looked at"
    among = image_statistics_name(store.store, range(10), against=GREEN)
    assert among.name == ""
    assert among.n_all_rest == 10


def test_a_sample_is_said(store) -> None:
    got = image_statistics_name(store.store, GREEN, limit=15, seed=1)
    assert (got.n_members, got.n_all_members) == (15, 20)
    assert got.n_rest <= 15 < got.n_all_rest
    assert got == image_statistics_name(store.store, GREEN, limit=15, seed=1)


@pytest.mark.parametrize("seed", range(4))
def test_cliffs_delta_equals_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = rng.normal(0.3, 1, (30, 3)), rng.normal(0, 1, (80, 3))
    ours[:, 1], theirs[:, 1] = ours[:, 1].round(), theirs[:, 1].round()
    ours[:, 2], theirs[:, 2] = ours[:, 2] > 0, theirs[:, 2] > 0
    delta, p = cliffs_delta(ours, theirs)
    for column in range(3):
        want = stats.mannwhitneyu(
            ours[:, column], theirs[:, column], method="asymptotic", use_continuity=False
        )
        assert delta[column] == pytest.approx(2 * want.statistic / (30 * 80) - 1)
        assert p[column] == pytest.approx(want.pvalue)
    assert delta[2] == pytest.approx(ours[:, 2].mean() - theirs[:, 2].mean())
    same = cliffs_delta(np.ones((4, 1)), np.ones((5, 1)))
    assert (same[0].tolist(), same[1].tolist()) == ([0.0], [1.0])
