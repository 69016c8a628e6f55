"""Stage ``paths``: statistics of the filters, winners of the images; no forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.tables import schema
from pipelines.errors import StageError
from pipelines.packing import unpack
from pipelines.progress import say, track
from pipelines.runner import Run, main
from vatun.paths import balanced_winners, winners

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feature_store import Shards, Store

BLOCK = 65_536
"""Images read at a time: one row group of the activations."""

Block = tuple[NDArray[np.int32], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One captured layer.

    Parameters
    ----------
    index : int
        By first firing.
    filters : int
        Number of filters.
    half : bool
        Whether its activations are kept in float16.
    """

    index: int
    filters: int
    half: bool


@dataclass(kw_only=True)
class Moments:
    """Sums over the reference split, one value a filter."""

    count: int
    total: NDArray[np.float64]
    square: NDArray[np.float64]
    low: NDArray[np.float32]
    high: NDArray[np.float32]

    @classmethod
    def empty(cls, filters: int) -> Moments:
        """Start without images."""
        return cls(
            count=0,
            total=np.zeros(filters),
            square=np.zeros(filters),
            low=np.full(filters, np.inf, dtype=np.float32),
            high=np.full(filters, -np.inf, dtype=np.float32),
        )

    def add(self, values: NDArray[np.float32]) -> None:
        """Add images whose activations are all finite; others are left out."""
        values = values[np.isfinite(values).all(axis=1)]
        if len(values):
            exact = values.astype(np.float64)
            self.count += len(values)
            self.total += exact.sum(axis=0)
            self.square += np.einsum("ij,ij->j", exact, exact)
            self.low = np.minimum(self.low, values.min(axis=0))
            self.high = np.maximum(self.high, values.max(axis=0))

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean activation of every filter."""
        return self.total / max(self.count, 1)

    @property
    def standard_deviation(self) -> NDArray[np.float64]:
        """Its standard deviation over the images."""
        variance = self.square / max(self.count, 1) - self.mean**2
        deviation: NDArray[np.float64] = np.sqrt(np.maximum(variance, 0))
        return deviation


class Activations:
    """The stored activations: in the tables, or in the shards that ``capture`` has left.

    Parameters
    ----------
    run : Run
        The run.
    store : Store
        What is committed.
    """

    def __init__(self, run: Run, store: Store) -> None:
        self._store = store
        self._kept = store.info["capture"]["activations"]
        self._shards: Shards | None = None
        if self._kept != "all":
            key = store.info["provenance"]["capture"]["inputs"]
            self._shards = run.writer.shards("capture", key)
            if not self._shards.keys():
                name = run.project.name
                msg = (
                    f'with activations = "{self._kept}" the values are kept until `paths` has run '
                    f"once; run `python -m pipelines.capture --force projects/{name}.toml` first"
                )
                raise StageError(msg)

    @property
    def scratch(self) -> Shards | None:
        """The shards that may go once the paths are committed."""
        return self._shards

    def blocks(self, layer: Layer, statistic: str) -> Iterator[Block]:
        """Yield ids and activations, float32 of shape (n, filters), in the order of the ids."""
        if self._shards is not None:
            name = f"{statistic}_{layer.index:03d}"
            for key in self._shards.keys():  # noqa: SIM118 - not a mapping
                rows = self._shards.read(key, "rows")
                values = unpack(rows[name], layer.filters).astype(np.float32)
                values[rows["status"].to_numpy(zero_copy_only=False) != "ok"] = np.nan
                yield rows["image_id"].to_numpy(), values
            return
        name = f"activations__{statistic}__{layer.index:03d}"
        span = self._store.arrow(f"select max(image_id) as last from {name}")["last"][0].as_py()
        for start in range(0, (span or 0) + 1, BLOCK):
            table = self._store.arrow(
                f"select * from {name} where image_id between ? and ? order by image_id",
                start,
                start + BLOCK - 1,
            )
            if table.num_rows:
                columns = [column.to_numpy() for column in table.columns[1:]]
                yield table["image_id"].to_numpy(), np.stack(columns, axis=1).astype(np.float32)


def run(run: Run) -> None:
    """Write ``filter_statistics`` and the three path sets."""
    store = run.store()
    reference = run.project.dataset.reference
    images = store.arrow(
        "select image_id, split = ? as is_reference from predictions join images using (image_id) "
        "order by image_id",
        reference,
    )
    ids = images["image_id"].to_numpy()
    is_reference = images["is_reference"].to_numpy(zero_copy_only=False).astype(np.bool_)
    if not is_reference.any():
        raise StageError(f"the reference split {reference!r} holds no images that were captured")
    layers = _layers(store)
    activations = Activations(run, store)
    columns: dict[str, list[NDArray[np.int32]]] = {"paper": [], "mean": [], "balanced": []}
    statistics = []
    for layer in track(layers, total=len(layers), label="paths", unit="layer"):
        highest, mean = _statistics(activations, layer, ids, is_reference, columns)
        statistics.append(_statistic_rows(layer, highest, mean))
    lineage = run.lineage()
    with run.commit() as generation:
        generation.write("filter_statistics", pa.concat_tables(statistics), lineage=lineage)
        for name, winning in columns.items():
            table = pa.Table.from_arrays(
                [pa.array(ids), *(pa.array(column) for column in winning)],
                schema=schema(f"paths/{name}", len(layers)),
            )
            generation.write(f"paths/{name}", table, lineage=lineage)
    if activations.scratch is not None:
        run.scratch.append(activations.scratch)
    say(f"paths: {len(ids):,} images through {len(layers)} layers")


def _statistics(
    activations: Activations,
    layer: Layer,
    ids: NDArray[np.int32],
    is_reference: NDArray[np.bool_],
    columns: dict[str, list[NDArray[np.int32]]],
) -> tuple[Moments, Moments]:
    """Fill in the winners of one layer; return the moments of its maxima and of its means."""
    moments = {"max": Moments.empty(layer.filters), "mean": Moments.empty(layer.filters)}
    kept: list[Block] = []
    blocks = 0
    for statistic, path_set in (("max", "paper"), ("mean", "mean")):
        column = np.full(len(ids), -1, dtype=np.int32)
        for block_ids, values in activations.blocks(layer, statistic):
            positions = np.searchsorted(ids, block_ids)
            column[positions] = winners(values, half=layer.half)
            moments[statistic].add(values[is_reference[positions]])
            if statistic == "mean":
                # One block is the whole of a small data set: it is not read twice.
                kept, blocks = [(block_ids, values)], blocks + 1
        columns[path_set].append(column)
    balanced = np.full(len(ids), -1, dtype=np.int32)
    mean = moments["mean"]
    for block_ids, values in kept if blocks == 1 else activations.blocks(layer, "mean"):
        balanced[np.searchsorted(ids, block_ids)] = balanced_winners(
            values, mean.mean, mean.standard_deviation, half=layer.half
        )
    columns["balanced"].append(balanced)
    return moments["max"], mean


def _layers(store: Store) -> list[Layer]:
    table = store.arrow("select layer_index, filters from layers order by layer_index")
    wide = set(store.info["capture"]["float32_layers"])
    return [
        Layer(
            index=row["layer_index"], filters=row["filters"], half=row["layer_index"] not in wide
        )
        for row in table.to_pylist()
    ]


def _statistic_rows(layer: Layer, highest: Moments, mean: Moments) -> pa.Table:
    both = (highest, mean)

    def interleaved(values: list[NDArray[np.floating]]) -> NDArray[np.floating]:
        return np.stack(values, axis=1).ravel()

    size = layer.filters
    return pa.table(
        {
            "layer_index": np.full(2 * size, layer.index, dtype=np.int16),
            "filter_index": np.repeat(np.arange(size, dtype=np.int32), 2),
            "statistic": ["max", "mean"] * size,
            "mean": interleaved([part.mean for part in both]),
            "standard_deviation": interleaved([part.standard_deviation for part in both]),
            "minimum": interleaved([part.low for part in both]),
            "maximum": interleaved([part.high for part in both]),
        },
        schema=schema("filter_statistics"),
    )


if __name__ == "__main__":
    main("paths", run)
