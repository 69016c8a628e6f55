"""What is said of the paper's figure 4 follows from the rows of every image."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.figure_4 import leaders, standings, table


@pytest.fixture(scope="module")
def means(digits_store):
    """Return mean scores of shape (10 classes, 25 angles, 10 outputs), straight from the sweep."""
    rows = digits_store.arrow(
        "select magnitude, true_class, scores from sweeps s join images using (image_id) "
        "where perturbation = 'rotation'"
    )
    scores = np.stack(rows["scores"].to_numpy(zero_copy_only=False)).astype(np.float64)
    sizes, labels = rows["magnitude"].to_numpy(), rows["true_class"].to_numpy()
    return np.array(
        [
            [scores[(labels == k) & (sizes == size)].mean(axis=0) for size in np.unique(sizes)]
            for k in range(10)
        ]
    )


def test_the_first_ranks_are_counted_from_the_scores(digits_store, means):
    found = {each.name: each for each in standings(digits_store, "rotation")}
    for k, name in enumerate(digits_store.class_names):
        own = means[k, :, k]
        assert found[name].first == (means[k].argmax(axis=1) == k).sum()
        assert found[name].first_beyond_doubt <= found[name].first
        assert found[name].first + found[name].below_another <= found[name].magnitudes == 25
        assert found[name].worst[0] == pytest.approx(own.min(), abs=1e-5)
        assert found[name].start[0] == pytest.approx(own[12], abs=1e-5)
    lead = np.bincount(means[np.arange(10), :, np.arange(10)].argmax(axis=0), minlength=10)
    assert leaders(digits_store, "rotation") == {
        name: lead[k] for k, name in enumerate(digits_store.class_names) if lead[k]
    }


def test_the_table_has_a_line_for_every_class(digits_store):
    lines = table(standings(digits_store, "rotation"))
    assert len(lines) == 11
    assert {line.split()[0] for line in lines[1:]} == set(digits_store.class_names)
