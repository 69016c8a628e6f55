"""Look for the paper's figure 4: ``python -m benchmarks.figure_4 STORE``.

The figure sets mean scores of the images of one class against the rotation, one line for each
output class, and the text says of it that "Airplane" "maintains the first rank in all augmentation
degrees". Two readings are looked for in a store's simulation, for every true class, and printed as
found: is the class's own line the highest of its panel at every angle, and is it so beyond doubt
(its band above the band of every other)? And is one class the highest of all classes' own lines?
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from feature_store import Store, queries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from feature_store.queries import SimulationRows

STANDS_OUT = "airplane"
"""Class that the paper names."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How the images of one true class fare over all magnitudes.

    Parameters
    ----------
    name : str
        The class.
    n : int
        Its images.
    start : tuple of float
        Mean score without a change, and the ends of its 95 % band.
    worst : tuple of float
        Smallest mean score over the magnitudes, and the ends of its band there.
    worst_at : float
        Where that is.
    accuracy : tuple of float
        Smallest accuracy over the magnitudes, and its 95 % Wilson interval.
    first : int
        Magnitudes at which its own line is the highest of all output classes.
    first_beyond_doubt : int
        Those where, besides, its band lies above the band of every other output class.
    below_another : int
        Magnitudes at which the band of another output class lies above its own.
    magnitudes : int
        How many were swept.
    half_at : float
        Where the mean score first falls below half of its start; NaN where it holds.
    half_band : tuple of float
        The same of the lower and upper end of the band.
    """

    name: str
    n: int
    start: tuple[float, float, float]
    worst: tuple[float, float, float]
    worst_at: float
    accuracy: tuple[float, float, float]
    first: int
    first_beyond_doubt: int
    below_another: int
    magnitudes: int
    half_at: float
    half_band: tuple[float, float]


def standings(store: Store, perturbation: str) -> list[Standing]:
    """Say of every true class how it stands in its own panel.

    Parameters
    ----------
    store : Store
        With the table ``simulation``.
    perturbation : str
        Name of the perturbation.

    Returns
    -------
    list of Standing
        The class with the highest worst score first.
    """
    rows = queries.simulation_rows(store, perturbation)
    falls = queries.falls(store, perturbations=[perturbation])
    half = {
        int(index): (falls.magnitude[k], falls.early[k], falls.late[k])
        for k, index in enumerate(falls.true_class)
    }
    found = [
        _standing(rows, k, store.class_names[index], half[int(index)])
        for k, index in enumerate(rows.true_classes)
    ]
    return sorted(found, key=lambda each: -each.worst[0])


def _standing(
    rows: SimulationRows, k: int, name: str, half: tuple[float, float, float]
) -> Standing:
    own = int(np.flatnonzero(rows.output_classes == rows.true_classes[k])[0])
    others = np.delete(np.arange(len(rows.output_classes)), own)
    mean, low, high = (each[k] for each in (rows.mean_score, rows.low, rows.high))
    start = int(np.argmin(np.abs(rows.magnitudes - rows.identity)))
    worst = int(np.argmin(mean[:, own]))
    hardest = int(np.argmin(rows.accuracy[k]))

    def three(at: int) -> tuple[float, float, float]:
        return float(mean[at, own]), float(low[at, own]), float(high[at, own])

    return Standing(
        name=name,
        n=int(rows.n[k]),
        start=three(start),
        worst=three(worst),
        worst_at=float(rows.magnitudes[worst]),
        accuracy=(
            float(rows.accuracy[k, hardest]),
            float(rows.accuracy_low[k, hardest]),
            float(rows.accuracy_high[k, hardest]),
        ),
        first=int((mean[:, own] >= mean[:, others].max(axis=1)).sum()),
        first_beyond_doubt=int((low[:, own] > high[:, others].max(axis=1)).sum()),
        below_another=int((high[:, own] < low[:, others].max(axis=1)).sum()),
        magnitudes=len(rows.magnitudes),
        half_at=half[0],
        half_band=half[1:],
    )


def leaders(store: Store, perturbation: str) -> dict[str, int]:
    """Count at how many magnitudes each class has the highest own line of all classes.

    Parameters
    ----------
    store : Store
        With the table ``simulation``.
    perturbation : str
        Name of the perturbation.

    Returns
    -------
    dict of str to int
        Only classes that lead somewhere, the most frequent leader first.
    """
    curves = queries.class_curves(store, perturbation)
    names = [store.class_names[index] for index in curves.true_classes]
    lead = curves.value["mean_score"].argmax(axis=0)
    counts: NDArray[np.int64] = np.bincount(lead, minlength=len(names))
    return {names[k]: int(counts[k]) for k in np.argsort(-counts, kind="stable") if counts[k]}


def table(found: list[Standing]) -> list[str]:
    """Return the lines that are printed of all classes."""
    head = (
        f"{'true class':<12}{'n':>5}  {'unchanged':<20}{'worst':<20}{'at':>6}  "
        f"{'worst accuracy':<20}{'first':>8}{'surely':>8}{'beaten':>8}  half at (95 % band)"
    )
    lines = [head]
    for each in found:
        total = each.magnitudes
        lines.append(
            f"{each.name:<12}{each.n:>5}  {_three(each.start):<20}{_three(each.worst):<20}"
            f"{each.worst_at:>6.0f}  {_three(each.accuracy):<20}"
            f"{f'{each.first}/{total}':>8}{f'{each.first_beyond_doubt}/{total}':>8}"
            f"{f'{each.below_another}/{total}':>8}  {_half(each)}"
        )
    return lines


def _three(values: tuple[float, float, float]) -> str:
    return f"{values[0]:.2f} ({values[1]:.2f}-{values[2]:.2f})"


def _half(each: Standing) -> str:
    if np.isnan(each.half_at):
        return "holds"
    early, late = ("beyond" if np.isnan(v) else f"{v:.0f}" for v in each.half_band)
    return f"{each.half_at:.0f} ({early} to {late})"


def main() -> None:
    """Print the table of a store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("store", type=Path, metavar="STORE")
    parser.add_argument("--perturbation", default="rotation", metavar="NAME")
    given = parser.parse_args()
    with Store.open(given.store) as store:
        found = standings(store, given.perturbation)
        info = dict(store.info["simulate"])
        print(
            f"{given.perturbation}: {info['n']:,} of {info['n_available']:,} images of "
            f"{info['split']}, mean score of the true class, 95 % bands in brackets\n"
        )
        print("\n".join(table(found)))
        print(
            "\nfirst: magnitudes where the class's own line is the highest of its panel; surely: "
            "its band\nlies above every other; beaten: the band of another lies above its own."
        )
        lead = leaders(store, given.perturbation)
        said = ", ".join(f"{name} {count}" for name, count in lead.items())
        print(f"\nhighest own line of all classes, by magnitudes: {said}")
        named = next((each for each in found if each.name == STANDS_OUT), None)
        if named is not None:
            holds = "holds" if named.first == named.magnitudes else "does not hold"
            print(
                f"\n“{STANDS_OUT} maintains the first rank in all augmentation degrees” {holds} "
                f"here: first at {named.first} of {named.magnitudes}."
            )


if __name__ == "__main__":
    main()
