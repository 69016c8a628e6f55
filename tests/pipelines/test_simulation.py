"""Class curves against direct computations: from the images, and from the rows of every image."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from feature_store import queries
from pipelines.simulate import stored_network

CHANGES = {
    ("horizontal_flip", 0.0): lambda pixels: pixels,
    ("horizontal_flip", 1.0): lambda pixels: pixels[:, :, ::-1],
    ("brightness", 0.6): lambda pixels: pixels * 0.6,
    ("brightness", 1.0): lambda pixels: pixels,
    ("brightness", 1.4): lambda pixels: np.minimum(pixels * 1.4, 1.0),
}
"""What each change of the small project does to pixels in [0, 1], by numpy alone."""


@pytest.fixture
def pictures(tiny_store):
    """Return true classes, and pixels of shape (n, 32, 32, 3) in [0, 1] as Pillow reads them."""
    rows = tiny_store.arrow("select true_class, encoded from images order by image_id")
    pixels = [
        np.asarray(Image.open(io.BytesIO(each)).convert("RGB"), dtype=np.float32) / 255
        for each in rows["encoded"].to_pylist()
    ]
    return rows["true_class"].to_numpy(), np.stack(pixels)


@pytest.mark.parametrize("perturbation", ["horizontal_flip", "brightness"])
def test_class_curves_are_those_of_the_images(tiny_store, pictures, network, perturbation):
    labels, pixels = pictures
    rows = queries.simulation_rows(tiny_store, perturbation)
    tried = [size for name, size in CHANGES if name == perturbation]
    assert rows.magnitudes.tolist() == tried
    for place, magnitude in enumerate(tried):
        changed = np.ascontiguousarray(CHANGES[perturbation, magnitude](pixels))
        with torch.no_grad():
            logits = network.logits(torch.from_numpy(changed).permute(0, 3, 1, 2).contiguous())
        scores = torch.softmax(logits.double(), dim=1).numpy()
        for k, true_class in enumerate(rows.true_classes):
            mine = scores[labels == true_class]
            assert rows.n[k] == len(mine) == 20
            np.testing.assert_allclose(rows.mean_score[k, place], mine.mean(axis=0), atol=2e-5)
            right = (mine.argmax(axis=1) == true_class).mean()
            assert rows.accuracy[k, place] == pytest.approx(right, abs=1e-6)
            half = 1.959964 * mine.std(axis=0, ddof=1) / np.sqrt(len(mine))
            expected = np.clip(mine.mean(axis=0) - half, 0, 1)
            np.testing.assert_allclose(rows.low[k, place], expected, atol=1e-4)


@pytest.fixture
def network(tiny_store):
    """Return the network of the small store."""
    settings = SimpleNamespace(capture=SimpleNamespace(device="cpu"))
    return stored_network(settings, tiny_store)


def test_every_class_curve_is_the_mean_over_the_rows_of_its_images(digits_store):
    """All perturbations and magnitudes: the demo has ten classes, so all scores are kept."""
    rows = digits_store.arrow(
        "select perturbation, magnitude, true_class, scores, s.predicted_class = true_class as ok "
        "from sweeps s join images using (image_id)"
    )
    scores = np.stack(rows["scores"].to_numpy(zero_copy_only=False)).astype(np.float64)
    names, sizes = rows["perturbation"].to_numpy(), rows["magnitude"].to_numpy()
    labels, is_right = rows["true_class"].to_numpy(), rows["ok"].to_numpy()
    seen = 0
    for name in queries.simulated_perturbations(digits_store):
        stored = queries.simulation_rows(digits_store, name)
        for place, magnitude in enumerate(stored.magnitudes):
            here = (names == name) & (sizes == magnitude)
            for k, true_class in enumerate(stored.true_classes):
                mine = here & (labels == true_class)
                assert mine.sum() == stored.n[k]
                np.testing.assert_allclose(
                    stored.mean_score[k, place], scores[mine].mean(axis=0), atol=1e-5
                )
                assert stored.accuracy[k, place] == pytest.approx(is_right[mine].mean(), abs=1e-6)
                seen += mine.sum()
    assert seen == len(labels)
