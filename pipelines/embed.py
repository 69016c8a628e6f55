"""Stage ``embed``: project the embedding to the maps that the app shows."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa

from feature_store.tables import FEWEST_ON_A_MAP, schema
from pipelines.errors import StageError
from pipelines.progress import say
from pipelines.projections import curve_order, find_projection
from pipelines.runner import Run, main


def run(run: Run) -> None:
    """Write ``projections``, the rows of every map along a space-filling curve.

    Raises
    ------
    StageError
        When there are not enough images to draw.
    """
    section, seed = run.project.embed, run.project.seed
    functions = {name: find_projection(name) for name in section.projections}
    table = run.store().arrow("select * from embeddings order by image_id")
    ids = table["image_id"].to_numpy()
    values = np.stack([column.to_numpy() for column in table.columns[1:]], axis=1)
    values = np.ascontiguousarray(values, dtype=np.float32)
    is_usable = np.isfinite(values).all(axis=1)
    ids, values = ids[is_usable], values[is_usable]
    if len(ids) < FEWEST_ON_A_MAP:
        raise StageError(f"a map needs at least {FEWEST_ON_A_MAP} images, there are {len(ids)}")
    say(f"embed: {len(ids):,} images of {values.shape[1]} dimensions")
    parts, seconds = [], {}
    for name in sorted(functions, key=lambda name: name.encode()):
        started = time.perf_counter()
        points = functions[name](values, section, seed)
        seconds[name] = round(time.perf_counter() - started, 2)
        order = curve_order(points)
        columns = {
            "projection": [name] * len(order),
            "image_id": ids[order],
            "x": points[order, 0],
            "y": points[order, 1],
        }
        parts.append(pa.table(columns, schema=schema("projections")))
    with run.commit() as generation:
        generation.write("projections", pa.concat_tables(parts), lineage=run.lineage())
        generation.info["embed"] = {
            "projections": list(section.projections),
            "perplexity": section.perplexity,
            "jobs": section.jobs,
            "seed": seed,
            "n": len(ids),
            "seconds": seconds,
        }


if __name__ == "__main__":
    main("embed", run)
