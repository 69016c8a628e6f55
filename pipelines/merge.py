"""Merge the shards of ``capture`` into sorted tables, with bounded memory."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_store.tables import schema
from pipelines.packing import group_by_bytes, unpack
from pipelines.progress import track
from pipelines.results import wide_table
from pipelines.top import TopImages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from feature_store import Generation, Shards
    from feature_store.parts import TableWriter
    from pipelines.capture import Images
    from pipelines.runner import Run
    from vatun.network import Network

BUFFER = 384 << 20
"""Most bytes of row groups that wait for being full at one time."""

_GROUP_ROWS = 65_536


@dataclass(frozen=True, kw_only=True)
class Merge:
    """All that is needed to write the tables of ``capture``.

    Parameters
    ----------
    run : Run
        The run.
    network : Network
        The network that was run.
    images : Images
        All images.
    shards : Shards
        Finished shards.
    keys : list of str
        Their keys, in the order of the ids.
    """

    run: Run
    network: Network
    images: Images
    shards: Shards
    keys: list[str]

    def write(self, generation: Generation) -> tuple[dict[str, float], list[int]]:
        """Write every table of the stage.

        Returns
        -------
        accuracy : dict of str to float
            By split, over the labelled images.
        float32_layers : list of int
            Layers whose activations overflow float16.
        """
        generation.drop_prefix("activations/")
        generation.write("layers", self._layers(), lineage=self.run.lineage())
        top, accuracy, wide = self._narrow(generation)
        shown = self._write_top(generation, top)
        kind = self.run.project.capture.activations
        if kind != "none":
            self._activations(generation, wide, shown if kind == "top" else None)
        return accuracy, sorted({int(name[-3:]) for name, is_wide in wide.items() if is_wide})

    def _layers(self) -> pa.Table:
        layers = self.network.layers
        names = ("layer_index", "layer_name", "kind", "filters", "height", "width", "site")
        columns = {name: [getattr(layer, name) for layer in layers] for name in names}
        for name in ("receptive_field", "stride", "block"):
            columns[name] = [getattr(layer, name) for layer in layers]
        return pa.table(columns, schema=schema("layers"))

    def _narrow(
        self, generation: Generation
    ) -> tuple[TopImages, dict[str, float], dict[str, bool]]:
        """Write what is narrow in one pass; find the layers that overflow float16 meanwhile."""
        lineage = self.run.lineage()
        splits = sorted(set(self.images.splits))
        top = TopImages([layer.filters for layer in self.network.layers], splits)
        wide: dict[str, bool] = {}
        right = dict.fromkeys(splits, 0)
        seen = dict.fromkeys(splits, 0)
        embedding_type = self._embedding_type()
        with (
            generation.table("predictions", lineage=lineage) as predictions,
            generation.table("scores", lineage=lineage) as scores,
            generation.table("embeddings", lineage=lineage) as embeddings,
        ):
            for key in track(self.keys, total=len(self.keys), label="merge", unit="shard"):
                rows = self.shards.read(key, "rows")
                top.merge(self.shards.read(key, "top"))
                narrow = rows.select(schema("predictions").names)
                predictions.append(narrow)
                ids, usable = _usable(rows)
                values = unpack(rows["scores"], self.network.spec.classes)
                scores.append(wide_table("scores", ids, values, is_usable=usable))
                hidden = unpack(rows["embedding"], self.network.embedding_dimensions)
                hidden = hidden.astype(embedding_type, copy=False)
                embeddings.append(wide_table("embeddings", ids, hidden, is_usable=usable))
                for layer in self.network.layers:
                    for statistic in ("max", "mean"):
                        name = f"{statistic}_{layer.layer_index:03d}"
                        is_wide = rows.schema.field(name).type.byte_width == 4 * layer.filters
                        wide[name] = wide.get(name, False) or is_wide
                self._count(narrow, right, seen)
        for name in list(wide):
            # Both statistics of a layer alike: live paths ask one question a layer.
            wide[name] = wide[f"max_{name[-3:]}"] or wide[f"mean_{name[-3:]}"]
        accuracy = {split: right[split] / seen[split] for split in splits if seen[split]}
        return top, accuracy, wide

    def _embedding_type(self) -> type[np.floating]:
        dimensions = self.network.embedding_dimensions
        for key in self.keys:
            field = self.shards.read(key, "rows").schema.field("embedding")
            if field.type.byte_width == 4 * dimensions:
                return np.float32
        return np.float16

    def _count(self, rows: pa.Table, right: dict[str, int], seen: dict[str, int]) -> None:
        positions = np.searchsorted(self.images.ids, rows["image_id"].to_numpy())
        splits = self.images.splits[positions]
        for split, is_correct in zip(splits, rows["is_correct"].to_pylist(), strict=True):
            if is_correct is not None:
                seen[split] += 1
                right[split] += is_correct

    def _write_top(self, generation: Generation, top: TopImages) -> dict[int, NDArray[np.int32]]:
        shown: dict[int, NDArray[np.int32]] = {}
        widths = {layer.layer_index: layer.width for layer in self.network.layers}
        with generation.table("top_images", lineage=self.run.lineage()) as out:
            for table in top.tables(widths):
                out.append(table)
                if not table.num_rows:
                    # A layer that never fires shows no image.
                    continue
                layer = int(table["layer_index"][0].as_py())
                shown[layer] = np.unique(table["image_id"].to_numpy())
        return shown

    def _activations(
        self,
        generation: Generation,
        wide: dict[str, bool],
        shown: dict[int, NDArray[np.int32]] | None,
    ) -> None:
        """Write one table a layer and statistic, as many at a time as memory is set aside for."""
        rows = min(len(self.images.ids), _GROUP_ROWS)
        filters = {
            f"{statistic}_{layer.layer_index:03d}": layer.filters
            for layer in self.network.layers
            for statistic in ("max", "mean")
        }
        sizes = {name: rows * count * (4 if wide[name] else 2) for name, count in filters.items()}
        groups = list(group_by_bytes(sizes, limit=BUFFER))
        steps = track(
            ((group, key) for group in groups for key in (None, *self.keys)),
            total=len(groups) * (len(self.keys) + 1),
            label="merge",
            unit="shard",
        )
        lineage = self.run.lineage()
        with ExitStack() as stack:
            outs: dict[str, TableWriter] = {}
            for group, key in steps:
                if key is None:
                    stack.close()
                    outs = {
                        name: stack.enter_context(
                            generation.table(
                                f"activations/{name.replace('_', '/')}", lineage=lineage
                            )
                        )
                        for name in group
                    }
                    continue
                rows_table = self.shards.read(key, "rows")
                for name, out in outs.items():
                    half = np.float32 if wide[name] else np.float16
                    keep = (
                        None if shown is None else shown.get(int(name[-3:]), np.empty(0, np.int32))
                    )
                    _append(out, name, rows_table, filters[name], half, keep)


def _append(
    out: TableWriter,
    name: str,
    rows: pa.Table,
    filters: int,
    kind: type[np.floating],
    keep: NDArray[np.int32] | None,
) -> None:
    ids, usable = _usable(rows)
    values = unpack(rows[name], filters).astype(kind, copy=False)
    if keep is not None:
        kept = np.isin(ids, keep)
        ids, usable, values = ids[kept], usable[kept], values[kept]
    table_name = f"activations/{name.replace('_', '/')}"
    out.append(wide_table(table_name, ids, values, is_usable=usable))


def _usable(rows: pa.Table) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    status = rows["status"].to_numpy(zero_copy_only=False)
    return rows["image_id"].to_numpy(), status == "ok"
