"""Look for what the paper shows of patterns: ``python -m benchmarks.paper_figures STORE``.

Figures 3, 5 and 6 of the paper claim that a filter alone is inconsistent where a pattern is
consistent, that a pattern of a background stands behind a confusion, and that patterns are shared
by classes in low layers and pure in high ones. Each is looked for in all patterns of a store and
printed as found, with the addresses that open the clearest cases in the app.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.layer_names import filter_name, short_names
from benchmarks._store import images_of, network_of
from feature_store import Store, queries
from feature_store.patterns.enrichment import confusion_cells, error_enrichment
from feature_store.patterns.naming import image_statistics_name
from feature_store.patterns.telling import reference_means, telling_filters_of
from vatun.ablate import ablate
from vatun.perturb import perturb

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from feature_store.patterns.enriched import ConfusionCell, FoundSlice

PATH_SETS = ("paper", "mean", "balanced")
LARGE = 20
"""Members below which a pattern's shares say little, and images that stand for a filter."""

SAMPLE = 400
"""Patterns of a path set of which the strongest members are looked up (figure 3), seeded."""

COLOURS = {"red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "grey"}
"""Words of a name that can be those of a background."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """A store, and the labels of its images as arrays that are indexed by ``image_id``."""

    store: Store

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.store.class_names)

    @cached_property
    def names(self) -> list[str]:
        """Short names of the layers."""
        return short_names(queries.layers(self.store))

    @cached_property
    def labels(self) -> pd.DataFrame:
        """``split``, ``true_class`` and ``predicted_class`` by image."""
        rows = self.store.arrow(
            "SELECT image_id, split, true_class, predicted_class FROM images "
            "LEFT JOIN predictions USING (image_id) ORDER BY image_id"
        )
        return rows.to_pandas().set_index("image_id")

    def purity(self, ids: NDArray[np.integer]) -> float:
        """Return the share of the commonest true class among images."""
        counts = self.labels.true_class.loc[ids].value_counts()
        return float(counts.iloc[0] / len(ids)) if len(counts) else np.nan

    def words(self, items: list[tuple[int, int]]) -> str:
        """Return a pattern as the page writes it."""
        return " > ".join(filter_name(self.names[layer], index) for layer, index in items)

    def patterns(self, path_set: str, least: int = LARGE) -> pd.DataFrame:
        """Return the patterns of a path set that have enough members."""
        found = self.store.arrow(
            "SELECT pattern_id, first_layer, last_layer, support, items AS filters, class_counts "
            f'FROM "patterns__{path_set}__patterns" WHERE support >= ? ORDER BY pattern_id',
            least,
        ).to_pandas()
        counts = np.array(found.class_counts.tolist()).reshape(len(found), -1)
        found["purity"] = counts.max(axis=1) / found.support
        found["classes"] = (counts >= 0.05 * found.support.to_numpy()[:, None]).sum(axis=1)
        return found


def main() -> None:
    """Look for the three figures and print what is found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path, metavar="STORE", help="folder of a built store")
    parser.add_argument("--split", default="train", help="split whose errors are explained")
    given = parser.parse_args()
    with Store.open(given.store) as store:
        atlas = Atlas(store)
        for path_set in PATH_SETS:
            low_and_high(atlas, path_set)
        for path_set in PATH_SETS:
            filters_and_patterns(atlas, path_set, given.split)
        behind_confusions(atlas, given.split)


def low_and_high(atlas: Atlas, path_set: str) -> None:
    """Figure 6: how pure patterns are, by the layer in which they end."""
    found = atlas.patterns(path_set)
    print(f"\nFigure 6, {path_set}: {len(found):,} patterns of at least {LARGE} images")
    print("ends in      patterns  median purity  purity >= 0.8  five classes or more")
    for layer, group in found.groupby("last_layer"):
        print(
            f"{atlas.names[layer]:12} {len(group):8,}  {group.purity.median():13.2f}  "
            f"{(group.purity >= 0.8).mean():13.0%}  {(group.classes >= 5).mean():20.0%}"
        )
    early = found[found.last_layer <= 3].nlargest(1, "support").iloc[0]
    late = found[(found.last_layer == found.last_layer.max()) & (found.purity >= 0.99)]
    for row in (early, late.nlargest(1, "support").iloc[0] if len(late) else early):
        describe(atlas, path_set, row)


def describe(atlas: Atlas, path_set: str, row: pd.Series) -> None:
    """Print a pattern with the address that opens it."""
    print(
        f"  {words_of(atlas, row)}: {row.support:,} images, {row.classes} classes of 5 % or more, "
        f"purity {row.purity:.2f}  {link(paths=path_set, pattern=row.pattern_id)}"
    )


def items_of(row: pd.Series) -> list[tuple[int, int]]:
    """Return the (layer, filter) items of a pattern."""
    return [(int(row.first_layer) + at, int(index)) for at, index in enumerate(row.filters)]


def words_of(atlas: Atlas, row: pd.Series) -> str:
    """Return a row's pattern as the page writes it."""
    return atlas.words(items_of(row))


def link(**parts: object) -> str:
    """Return the end of an address."""
    return "?" + "&".join(f"{name}={value}" for name, value in parts.items())


def top_of_filters(atlas: Atlas, split: str) -> dict[tuple[int, int], float]:
    """Return the purity of the images that fire each filter the most, alone."""
    rows = atlas.store.arrow(
        "SELECT layer_index, filter_index, image_id FROM top_images "
        "WHERE split = ? AND rank <= ? AND activation > 0 ORDER BY ALL",
        split,
        LARGE,
    ).to_pandas()
    groups = rows.groupby(["layer_index", "filter_index"]).image_id
    return {key: atlas.purity(ids.to_numpy()) for key, ids in groups if len(ids) == LARGE}


def filters_and_patterns(atlas: Atlas, path_set: str, split: str) -> None:
    """Figure 3: the strongest images of a pattern, beside those of each of its filters alone."""
    alone = top_of_filters(atlas, split)
    found = atlas.patterns(path_set, 2 * LARGE)
    # The last layer all but is the prediction: there is nothing to show there.
    found = found[found.last_layer < len(atlas.names) - 1]
    found = found.sample(min(SAMPLE, len(found)), random_state=0)
    is_split = atlas.labels.split == split
    rows = []
    for row in found.itertuples(index=False):
        ids, _ = queries.members_by_strength(atlas.store, path_set, int(row.pattern_id))
        ids = ids[is_split.loc[ids].to_numpy()][:LARGE]
        own = [alone[item] for item in items_of(row) if item in alone]
        if len(ids) == LARGE and own:
            rows.append((row, atlas.purity(ids), max(own), float(np.mean(own))))
    print(
        f"\nFigure 3, {path_set}: {len(rows)} of {len(found)} patterns drawn at random; purity of "
        f"the {LARGE} strongest {split} images"
    )
    print("ends in      patterns  pattern  best own filter  mean own filter  pattern is purer")
    table = np.array([(row.last_layer, *figures) for row, *figures in rows])
    for layer in np.unique(table[:, 0]).astype(int):
        _, own, best, mean = table[table[:, 0] == layer].T
        print(
            f"{atlas.names[layer]:12} {len(own):8,}  {np.median(own):7.2f}  "
            f"{np.median(best):15.2f}  {np.median(mean):15.2f}  {(own > best).mean():16.0%}"
        )
    _, own, best, _ = table.T
    print(f"all          {len(own):8,}  {np.median(own):7.2f}  {np.median(best):15.2f}", end="")
    print(f"  {'':15}  {(own > best).mean():16.0%}")
    clear = [each for each in rows if each[1] >= 0.9 and each[2] <= 0.6]
    print(f"  pure (>= 0.9) where each filter alone is not (<= 0.6): {len(clear)} of {len(rows)}")
    for row, own_purity, best_purity, _ in sorted(clear, key=lambda each: each[2])[:3]:
        print(
            f"  {atlas.words(items_of(row))}: {row.support} images, {own_purity:.2f} against "
            f"{best_purity:.2f}  {link(paths=path_set, pattern=row.pattern_id)}"
        )


def behind_confusions(atlas: Atlas, split: str) -> None:
    """Figure 5: patterns with the colour of a background, over-represented among errors."""
    cells = [cell for cell in confusion_cells(atlas.store, split) if cell.n >= 30]
    print(f"\nFigure 5: {len(cells)} kinds of at least 30 {split} errors")
    for path_set in PATH_SETS:
        explained = coloured = 0
        for cell in cells:
            found = error_enrichment(
                atlas.store,
                path_set,
                true_class=cell.true_class,
                predicted_class=cell.predicted_class,
                split=split,
            )
            explained += bool(found.confirmed)
            named = [(each, name_of(atlas, path_set, each)) for each in found.confirmed]
            named = [(each, name) for each, name in named if COLOURS & set(name.split(", "))]
            coloured += bool(named)
            for each, name in named:
                explain(atlas, path_set, cell, each, name, split)
        print(f"{path_set}: {explained} of {len(cells)} explained, {coloured} by a colour")


def name_of(atlas: Atlas, path_set: str, found: FoundSlice) -> str:
    """Return what the members of a pattern look like, in words."""
    members = queries.pattern_members(atlas.store, path_set, found.key)
    return image_statistics_name(atlas.store, members).name


def explain(
    atlas: Atlas, path_set: str, cell: ConfusionCell, found: FoundSlice, name: str, split: str
) -> None:
    """Print a pattern behind an error, and whether its filters or its colour are the cause."""
    store = atlas.store
    card = queries.pattern_card(store, path_set, found.key)
    true, predicted = cell.true_class, cell.predicted_class
    labels = atlas.labels
    is_error = (
        (labels.split == split)
        & (labels.true_class == true)
        & (labels.predicted_class == predicted)
    )
    errors = labels.index[is_error].to_numpy()
    members = queries.pattern_members(store, path_set, found.key)
    inside = errors[np.isin(errors, members)]
    outside = np.setdiff1d(errors, inside)
    counts = np.bincount(labels.true_class.loc[members], minlength=len(atlas.classes))
    half = found.confirmation
    print(
        f"  {path_set}: {atlas.classes[true]} taken for {atlas.classes[predicted]}, {cell.n} "
        f"errors: {atlas.words(list(card.items))} ({name}); {card.support:,} images, "
        f"{counts.max() / card.support:.0%} {atlas.classes[int(counts.argmax())]}; confirmed on "
        f"{half.n_member_errors} of {half.n_members}, base {half.n_errors} of {half.n_images}, "
        f"x{half.lift or 0:.1f}, q {found.confirmation_q:.1e}; holds {len(inside)} errors\n"
        f"    {link(split=split, paths=path_set, order='errors', errors=f'{true}-{predicted}')}"
        f"&pattern={found.key}"
    )
    network = network_of(store)
    images = images_of(store, network, inside.tolist())
    telling = telling_filters_of(store, members, limit=16)
    sets = {
        "the pattern's filters": list(card.items),
        "the 16 that tell its members best": [
            (each.layer_index, each.filter_index) for each in telling
        ],
    }
    for what, filters in sets.items():
        means = reference_means(store, {layer for layer, _ in filters})
        verdict = ablate(network, images, filters, means=means)
        print(
            f"    without {what}: {verdict.flips.sum()} of {len(inside)} change, "
            f"{verdict.judgement.verdict} ({verdict.judgement.difference:+.2f}, "
            f"{verdict.judgement.low:+.2f} to {verdict.judgement.high:+.2f})"
        )
    parts = []
    for what, ids in (("these", inside), ("the other errors", outside)):
        pixels = images_of(store, network, ids.tolist())
        left = network.logits(perturb(pixels, "saturation", 0.0)).argmax(dim=1) != predicted
        parts.append(f"{int(left.sum())} of {len(ids)} of {what}")
    print(f"    in grey {' and '.join(parts)} are no longer {atlas.classes[predicted]}")


if __name__ == "__main__":
    main()
