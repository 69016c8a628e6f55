"""Stage ``mine``: find the patterns that enough images share; the mining is the store's own."""

from __future__ import annotations

from feature_store.patterns.tables import engine_of, mine
from pipelines.progress import say
from pipelines.runner import Run, main


def run(run: Run) -> None:
    """Write the tables under ``patterns/`` of every path set that the project asks for."""
    settings = run.project.mine
    store = run.store()
    counts = {}
    engine: str = settings.engine
    with run.commit() as generation:
        generation.drop_prefix("patterns/")
        for path_set in settings.path_sets:
            engine = engine_of(store, path_set, settings.engine)
            tables = mine(
                store,
                path_set,
                min_images=settings.min_images,
                min_length=settings.min_length,
                engine=engine,
            )
            for name, pieces in tables.items():
                full = f"patterns/{path_set}/{name}"
                with generation.table(full, lineage=run.lineage()) as out:
                    rows = 0
                    for piece in pieces:
                        out.append(piece)
                        rows += piece.num_rows
                if name == "patterns":
                    counts[path_set] = rows
            say(f"mine: {counts[path_set]:,} patterns of the path set {path_set}")
        generation.info["mine"] = {
            "min_images": settings.min_images,
            "min_length": settings.min_length,
            "path_sets": list(settings.path_sets),
            "engine": engine,
            "patterns": counts,
        }
        generation.info["view"] = {"path_set": run.project.view.path_set}


if __name__ == "__main__":
    main("mine", run)
