"""Whether smallest flips are true: ``python -m benchmarks.flips [--quick] [--json FILE] STORE``.

Images that a store has swept, every perturbation of the sweep, both directions. The flips found
by ``vatun.response`` are asked of the network again, and compared with what the store holds and
with a grid ten times as fine.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks._report import Options, Row, report
from benchmarks._store import images_of, network_of
from feature_store import Store
from vatun.attack import fgsm, fgsm_gradient
from vatun.perturb import perturb
from vatun.response import TOLERANCE, Flip, smallest_flip
from vatun.specs import ATTACKS, find_spec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from vatun.network import Network

TIE = 1e-5


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """The network of a store and some of the images that the store has swept.

    Parameters
    ----------
    network : Network
    ids : ndarray of shape (n,), int32
    labels : list of (int or None)
        True classes.
    images : Tensor of shape (n, 3, height, width), float32 in [0, 1]
    original : Tensor of shape (n,), int64
        Classes predicted without a change.
    fill : tuple of three floats
        Colour of removed regions.
    """

    network: Network
    ids: NDArray[np.int32]
    labels: list[int | None]
    images: Tensor
    original: Tensor
    fill: tuple[float, ...]

    @cached_property
    def sign(self) -> Tensor:
        """Direction of the attack on every image."""
        pairs = zip(self.labels, self.original.tolist(), strict=True)
        labels = [other if label is None else label for label, other in pairs]
        return fgsm_gradient(self.network, self.images, torch.tensor(labels))

    def changed(self, name: str, magnitudes: list[float]) -> Tensor:
        """Return every image under its own magnitude, apart from ``vatun.response``."""
        result = self.images.clone()
        for magnitude in set(magnitudes):
            places = np.flatnonzero(np.array(magnitudes) == magnitude)
            images, seeds = self.images[places], self.ids[places].tolist()
            result[places] = (
                fgsm(images, self.sign[places], magnitude)
                if name in ATTACKS
                else perturb(images, name, magnitude, seeds=seeds, fill=self.fill)
            )
        return result

    def margins(self, name: str, magnitudes: list[float]) -> NDArray[np.float64]:
        """Return how far the unchanged image's class is ahead, each under its own magnitude."""
        logits = self.network.logits(self.changed(name, magnitudes)).double()
        own = logits.gather(1, self.original[:, None])
        rest = logits.scatter(1, self.original[:, None], -torch.inf).max(dim=1, keepdim=True)
        return (own - rest.values).squeeze(1).numpy()


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One perturbation in one direction: its grid outwards and the flips found for all images."""

    name: str
    direction: int
    grid: list[float]
    flips: list[Flip]

    @property
    def reach(self) -> NDArray[np.float64]:
        """Return how far out each flip is; infinite where there is none."""
        return np.array([self.distance(flip.magnitude) for flip in self.flips])

    def distance(self, magnitude: float | None) -> float:
        """Return how far a magnitude is from the identity."""
        return np.inf if magnitude is None else self.direction * (magnitude - self.grid[0])


def main() -> None:
    """Measure, print, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path, metavar="STORE", help="folder of a swept store")
    parser.add_argument("--quick", action="store_true", help="40 images instead of 200")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    given = parser.parse_args()
    with Store.open(given.store) as store:
        subject = read_subject(store, 40 if given.quick else 200)
        cases = [
            find_flips(subject, entry["name"], direction, entry["grid"])
            for entry in store.info["simulate"]["perturbations"]
            for direction in (-1, 1)
            if len(outward(entry["name"], direction, entry["grid"])) > 1
        ]
        rows = [
            broken_row(subject, cases),
            *stored_rows(store, subject, cases),
            finer_row(
                subject,
                cases,
                finer=10,
                slack=1e-9,
                name="smaller_on_ten_times_finer_grid",
                goal="<= 0.02",
            ),
            # No multiple of the tenths at which the search looks, and beyond its tolerance.
            finer_row(
                subject,
                cases,
                finer=23,
                slack=TOLERANCE,
                name="smaller_on_23_times_finer_grid",
            ),
            effort_row(cases),
        ]
    report(rows, Options(quick=given.quick, json=given.json))


def read_subject(store: Store, count: int) -> Subject:
    """Read the network, and ``count`` of the swept images, evenly spaced by id."""
    table = store.arrow(
        "select image_id, true_class from images where image_id in "
        "(select distinct image_id from smallest_flips) order by image_id"
    )
    chosen = np.unique(np.linspace(0, len(table) - 1, count).astype(int))
    table = table.take(chosen)
    network = network_of(store)
    images = images_of(store, network, table["image_id"].to_pylist())
    return Subject(
        network=network,
        ids=table["image_id"].to_numpy(),
        labels=table["true_class"].to_pylist(),
        images=images,
        original=network.logits(images).argmax(dim=1),
        fill=tuple(store.info["dataset"]["pixel_mean"]),
    )


def outward(name: str, direction: int, grid: list[float]) -> list[float]:
    """Return the magnitudes from the identity outwards."""
    start = grid.index(find_spec(name).identity)
    return grid[start:] if direction > 0 else grid[start::-1]


def find_flips(subject: Subject, name: str, direction: int, grid: list[float]) -> Case:
    """Find the smallest flip of every image."""
    flips = [
        smallest_flip(
            subject.network,
            subject.images[index : index + 1],
            name,
            direction=direction,
            magnitudes=grid,
            seed=int(subject.ids[index]),
            fill=subject.fill,
            label=subject.labels[index],
        )
        for index in range(len(subject.ids))
    ]
    return Case(name=name, direction=direction, grid=outward(name, direction, grid), flips=flips)


def broken_row(subject: Subject, cases: list[Case]) -> Row:
    """Ask the network again about every flip, in a batch of other images."""
    broken = total = 0
    for case in cases:
        is_found = np.isfinite(case.reach)
        magnitudes = [
            case.grid[0] if flip.magnitude is None else flip.magnitude for flip in case.flips
        ]
        broken += int((subject.margins(case.name, magnitudes)[is_found] >= 0).sum())
        total += int(is_found.sum())
    return Row(
        name="flip_does_not_flip",
        value=broken,
        unit="flips",
        against=f"{total:,} flips found, asked again",
        goal="0",
    )


def stored_rows(store: Store, subject: Subject, cases: list[Case]) -> list[Row]:
    """Compare with the flips that the store found on its grid."""
    smaller = differing = ties = total = 0
    for case in cases:
        table = store.arrow(
            "select image_id, magnitude from smallest_flips "
            "where perturbation = ? and direction = ?",
            case.name,
            case.direction,
        )
        stored = dict(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))
        pairs = [
            (stored[int(key)], flip) for key, flip in zip(subject.ids, case.flips, strict=True)
        ]
        nearest = np.array([case.distance(magnitude) for magnitude, _ in pairs])
        smaller += int((nearest < case.reach).sum())
        is_other = np.array([magnitude != flip.grid_magnitude for magnitude, flip in pairs])
        differing += int(is_other.sum())
        ties += int((is_other & is_tied(subject, case, nearest)).sum())
        total += len(pairs)
    return [
        Row(
            name="smaller_on_grid",
            value=smaller,
            unit="flips",
            against=f"{total:,} of the table smallest_flips",
            goal="0",
        ),
        Row(
            name="stored_grid_disagreements",
            value=differing,
            unit="flips",
            against=f"grid scored again, one image at a time; {ties} are margins within {TIE:g}",
            goal="0",
        ),
    ]


def is_tied(subject: Subject, case: Case, nearest: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether two classes are as good as equal at the nearer of the two grid flips."""
    own = np.array([case.distance(flip.grid_magnitude) for flip in case.flips])
    places = np.minimum(own, nearest)
    magnitudes = [
        case.grid[0] + case.direction * place if np.isfinite(place) else case.grid[0]
        for place in places
    ]
    is_tie: NDArray[np.bool_] = np.abs(subject.margins(case.name, magnitudes)) < TIE
    is_tie &= np.isfinite(places)
    return is_tie


def finer_row(subject: Subject, cases: list[Case], *, finer: int, slack: float, **row: str) -> Row:
    """Look for flips smaller by over ``slack`` of a step on a grid ``finer`` times as fine."""
    missed = total = 0
    by_name: dict[str, int] = {}
    for case in cases:
        if find_spec(case.name).is_switch:
            continue
        is_missed = np.zeros(len(subject.ids), dtype=bool)
        for step in itertools.pairwise(case.grid):
            for magnitude in np.linspace(*step, finer + 1)[1:].tolist():
                reach = case.reach - slack * abs(step[1] - step[0])
                is_before = case.distance(magnitude) < reach
                if is_before.any():
                    margins = subject.margins(case.name, [magnitude] * len(is_missed))
                    is_missed |= is_before & (margins < 0)
        missed += int(is_missed.sum())
        total += len(is_missed)
        by_name[case.name] = by_name.get(case.name, 0) + int(is_missed.sum())
    listed = ", ".join(f"{name} {count}" for name, count in by_name.items() if count)
    return Row(
        value=missed / total,
        unit="share",
        against=f"{total:,} images by perturbation and direction: {listed or 'none'}",
        **row,
    )


def effort_row(cases: list[Case]) -> Row:
    """Count how many copies of an image were scored for one flip."""
    refined = [case for case in cases if not find_spec(case.name).is_switch]
    spent = [flip.evaluations for case in refined for flip in case.flips]
    grid = np.mean([len(case.grid) for case in refined])
    return Row(
        name="evaluations_per_flip",
        value=float(np.mean(spent)),
        unit="images",
        against=f"{grid:.1f} on the grid alone; most {max(spent)}",
    )


if __name__ == "__main__":
    main()
