"""What a store says about itself: sizes, accuracy, provenance, and what does not fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feature_store.tables import STAGES, find_table

if TYPE_CHECKING:
    from feature_store.manifest import Manifest
    from feature_store.store import Store

_ACCURACY = """
SELECT split, count(*) AS n, count(is_correct) AS n_labelled, avg(is_correct::INTEGER) AS accuracy
FROM predictions JOIN images USING (image_id)
WHERE predictions.status = 'ok' GROUP BY split ORDER BY split
"""


def describe(store: Store, manifest: Manifest) -> dict[str, Any]:
    """Return plain JSON data about a store.

    Parameters
    ----------
    store : Store
        Open reader.
    manifest : Manifest
        Its manifest.

    Returns
    -------
    dict
        name, path, generation, created, schema_version, bytes, tables, files, accuracy by split
        (``{"n", "n_labelled", "accuracy"}``, accuracy null without labels), stale, info.
    """
    tables = {
        name: {
            "rows": entry.rows,
            "bytes": entry.bytes,
            "parts": len(entry.parts),
            "stage": entry.stage,
            "fingerprint": entry.fingerprint,
            "lineage": dict(entry.lineage),
        }
        for name, entry in sorted(manifest.tables.items())
    }
    files = {
        name: {"path": part.path, "bytes": part.bytes, "sha256": part.sha256}
        for name, part in sorted(manifest.files.items())
    }
    return {
        "name": store.name,
        "path": str(store.path),
        "generation": manifest.generation,
        "created": manifest.created,
        "schema_version": manifest.schema_version,
        "bytes": sum(part.bytes for part in manifest.parts()),
        "tables": tables,
        "files": files,
        "accuracy": _accuracy(store),
        "stale": store.stale_tables(),
        "info": dict(manifest.info),
    }


def stale_tables(manifest: Manifest, project: str) -> dict[str, str]:
    """Find tables that do not descend from the same network and data as the rest.

    A lineage names what a table was made from. The name of another table must carry that table's
    present fingerprint, and that table must not be stale itself; any other name, such as ``data``
    or ``weights``, must carry the value that the earliest stage gives it.

    Parameters
    ----------
    manifest : Manifest
        The generation.
    project : str
        Name of the project, for the command in the reason.

    Returns
    -------
    dict of str to str
        Reason by table; empty when all belong together.
    """
    present = {name: entry.fingerprint for name, entry in manifest.tables.items()}
    expected: dict[str, tuple[str, str]] = {}
    stale: dict[str, str] = {}
    for name in sorted(manifest.tables, key=_stage_order):
        entry = manifest.tables[name]
        for source, value in entry.lineage.items():
            if source in present:
                want, origin = present[source], source
            else:
                want, origin = expected.setdefault(source, (value, name))
            if value != want:
                made = f"made from {source} {value[:12]}, but {origin} now has {want[:12]}"
            elif source in stale:
                made = f"made from {source}, which is out of date"
            else:
                continue
            stale[name] = f"{made}; run `doit {entry.stage}:{project}`"
            break
    return stale


def _stage_order(name: str) -> tuple[int, str]:
    return STAGES.index(find_table(name).stage), name


def _accuracy(store: Store) -> dict[str, Any]:
    if not (store.has("predictions") and store.has("images")):
        return {}
    rows = store.arrow(_ACCURACY).to_pylist()
    return {row.pop("split"): row for row in rows}
