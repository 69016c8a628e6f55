"""The page that says what a store is made of, and by what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import panel as pn

from app import safe, theme
from app.runtime import random_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from app.runtime import Runtime

_CSS = (
    ":host{background:var(--vt-page);color:var(--vt-ink);font:400 13.5px/1.45 var(--vt-font);"
    "font-variant-numeric:tabular-nums;box-sizing:border-box}*{box-sizing:border-box}"
    ".about{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));"
    "gap:8px;padding:8px;align-items:start;max-width:1680px;margin:0 auto}"
    "section{background:var(--vt-surface);border:1px solid var(--vt-line);border-radius:8px;"
    "padding:12px 14px;overflow-x:auto;min-width:0}section.wide{grid-column:1/-1}"
    "h1{font-size:18px;font-weight:600;margin:0 0 2px}h2{font-size:15px;font-weight:600;"
    "margin:0 0 6px}p{margin:0 0 6px;color:var(--vt-ink-2)}"
    "table{border-collapse:collapse;width:100%;font-size:13px}"
    "th{text-align:left;font-weight:500;color:var(--vt-ink-2);font-size:12px;"
    "padding:4px 8px 4px 0;"
    "border-bottom:1px solid var(--vt-line-strong);white-space:nowrap}"
    "td{overflow-wrap:break-word;padding:4px 8px 4px 0;border-bottom:1px solid var(--vt-line);"
    "vertical-align:top}"
    "tr:last-child td{border-bottom:0}.r{text-align:right}.k{color:var(--vt-ink-2);"
    "white-space:nowrap;width:1%;padding-right:16px}"
    "td.s{white-space:nowrap}td.t{min-width:9em}.k+td,td.h{overflow-wrap:anywhere}"
    ".mono{font-family:var(--vt-mono);font-size:12px;overflow-wrap:anywhere}"
    ".big{font-size:20px;font-weight:600}.stats{display:flex;gap:28px;flex-wrap:wrap;"
    "margin-top:8px}.stats div span{display:block;color:var(--vt-ink-2);font-size:12px}"
    ".warn{background:var(--vt-warn-soft);color:var(--vt-warn);border-radius:6px;padding:7px 12px;"
    "margin-top:8px}code{font:12px var(--vt-mono);background:var(--vt-well);padding:1px 5px;"
    "border-radius:3px}"
)

_CONTROL = "control without the planted bias"
_SHORT = 16
"""Characters up to which a cell stays on one line."""

_FIGURES = (
    ("Accuracy", "Share of labelled images whose predicted class is the true one."),
    ("Confidence", "Softmax score of the predicted class. Low is not the same as wrong."),
    (
        "Map",
        (
            "A two-dimensional projection of the embedding, the input of the last linear layer. "
            "Distances between clusters and their sizes mean little."
        ),
    ),
    (
        "Path",
        (
            "The filter with the highest activation in each layer; the path set says which "
            "statistic and normalisation."
        ),
    ),
    (
        "Pattern",
        (
            "Images whose strongest filters agree in some consecutive layers; closed, in at least "
            "as many images as the settings say."
        ),
    ),
    (
        "Simulation",
        (
            "Mean score over all images of one true class under one change. The band is 1.96 "
            "standard errors of the mean; for accuracy the Wilson interval."
        ),
    ),
)


class AboutPage(pn.viewable.Viewer):
    """Provenance of one store.

    Parameters
    ----------
    runtime : Runtime
        Shared, read-only.
    """

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._pane = pn.pane.HTML(
            about_html(runtime.store.describe(), list(layer_rows(runtime))),
            stylesheets=[_CSS],
            sizing_mode="stretch_both",
            margin=0,
            styles=theme.SCROLL,
        )

    def __panel__(self) -> pn.viewable.Viewable:
        return self._pane


def layer_rows(runtime: Runtime) -> Iterable[tuple[str, ...]]:
    """Yield the captured layers as rows of text."""
    for layer in runtime.layers:
        yield (
            str(layer.layer_index),
            layer.layer_name,
            layer.kind,
            f"{layer.filters:,}",
            f"{layer.height} × {layer.width}",
            layer.site.replace("_", " "),
            "" if layer.receptive_field is None else str(layer.receptive_field),
        )


def about_html(description: Mapping[str, Any], layers: Sequence[Sequence[str]]) -> str:
    """Return the page of a store as HTML; every word of it from the store is escaped.

    Parameters
    ----------
    description : mapping
        From ``Store.describe``.
    layers : sequence of rows
        Index, name, kind, filters, size, site and receptive field of each captured layer.

    Returns
    -------
    str
        Sections: store, accuracy, data, network, stages, layers, tables, figures.
    """
    info = dict(description.get("info", {}))
    sections = [
        _head(description),
        _accuracy(description, info),
        _pairs("Data", _data(info)),
        _pairs("Network", _network(info, description)),
        _provenance(info),
        _layers(info, layers),
        _tables(description),
        _pairs("How each figure is computed", _FIGURES),
    ]
    return f'<div class="about">{"".join(section for section in sections if section)}</div>'


def _head(description: Mapping[str, Any]) -> str:
    tables = description.get("tables", {})
    rows = sum(int(entry["rows"]) for entry in tables.values())
    stats = (
        ("generation", f"{description.get('generation', 0):,}"),
        ("tables", f"{len(tables):,}"),
        ("rows", f"{rows:,}"),
        ("size", _size(int(description.get("bytes", 0)))),
        ("schema", str(description.get("schema_version", ""))),
    )
    shown = "".join(
        f'<div><b class="big">{safe.label(value)}</b><span>{name}</span></div>'
        for name, value in stats
    )
    stale = "".join(
        f'<div class="warn"><b>{safe.label(name)}</b> {safe.label(reason, limit=300)}</div>'
        for name, reason in dict(description.get("stale", {})).items()
    )
    created = str(description.get("created", ""))[:19].replace("T", " ")
    name = safe.label(description.get("name"))
    return (
        f'<section class="wide"><h1>{name}</h1><p>Written {safe.label(created)} UTC. '
        f"<code>vatun verify stores/{name}</code> checks every byte against its hash.</p>"
        f'<div class="stats">{shown}</div>{stale}</section>'
    )


def _accuracy(description: Mapping[str, Any], info: Mapping[str, Any]) -> str:
    control = _section(_section(_section(info, "train"), "control"), "accuracy_by_split")
    heads: tuple[str, ...] = ("split", "images", "labelled", "correct")
    if control:
        heads += (_CONTROL,)
    rows = [
        (
            split,
            f"{values['n']:,}",
            f"{values['n_labelled']:,}",
            "–" if values["accuracy"] is None else f"{100 * values['accuracy']:.2f} %",
            *([_share(control.get(split))] if control else []),
        )
        for split, values in dict(description.get("accuracy", {})).items()
    ]
    return _table("Accuracy by split", heads, rows, right=len(heads) - 1)


def _data(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    data = dict(info.get("dataset", {}))
    size = dict(info.get("input", {}))
    pairs = [
        ("source", data.get("source", "")),
        ("reference split", data.get("reference_split", "")),
        ("images by split", _counts(data.get("n_by_split", {}))),
        ("images by status", _counts(data.get("status_counts", {}))),
        ("duplicates", _short(data.get("duplicates", ""))),
        ("stored as", data.get("store_images", "")),
        ("input", f"{size.get('height')} × {size.get('width')} pixels" if size else ""),
        ("resize, crop", f"{size.get('resize') or 'none'}, {size.get('crop') or 'none'}"),
        ("mean, std", f"{_numbers(size.get('mean'))}; {_numbers(size.get('std'))}"),
        ("fill of removed regions", _numbers(data.get("pixel_mean"))),
    ]
    return [(name, str(value)) for name, value in pairs if value]


def _network(info: Mapping[str, Any], description: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, capture = dict(info.get("model", {})), dict(info.get("capture", {}))
    files = dict(description.get("files", {}))
    weights = dict(files.get("weights", {}))
    skipped = capture.get("skipped_layers", [])
    pairs = [
        ("builder", model.get("builder", "")),
        ("classes", model.get("classes", "")),
        ("weights, sha256", weights.get("sha256", "")),
        ("trained", "no: its weights are random" if random_weights(info, files) else ""),
        ("embedding", _embedding(capture)),
        ("captured on", capture.get("device", "")),
        ("images per second", _rate(capture.get("images_per_second"))),
        ("activations kept", capture.get("activations", "")),
        ("layers left out", ", ".join(_skipped(item) for item in skipped) or "none"),
    ]
    return [(name, str(value)) for name, value in pairs if value]


def _provenance(info: Mapping[str, Any]) -> str:
    rows = []
    last = ""
    for stage, entry in dict(info.get("provenance", {})).items():
        if not isinstance(entry, dict):
            continue
        versions = ", ".join(f"{k} {v}" for k, v in _section(entry, "versions").items())
        if versions == last:
            versions = "the same"
        else:
            last = versions
        settings = ", ".join(_flat(dict(entry.get("settings", {}))))
        seconds = entry.get("seconds")
        rows.append((
            stage,
            str(entry.get("started", ""))[:19].replace("T", " "),
            f"{seconds:,.1f} s" if isinstance(seconds, (int, float)) else "",
            str(entry.get("device", "")),
            str(entry.get("seed", "")),
            settings,
            versions,
        ))  # fmt: skip
    heads = ("stage", "started", "took", "device", "seed", "settings", "versions")
    return _table("Stages: what made this store", heads, rows, wide=True)


def _layers(info: Mapping[str, Any], layers: Sequence[Sequence[str]]) -> str:
    del info
    heads = ("", "layer", "kind", "filters", "map", "site", "receptive field")
    return _table(f"{len(layers)} layers captured, in firing order", heads, layers, right=0)


def _tables(description: Mapping[str, Any]) -> str:
    rows = [
        (
            name,
            entry["stage"],
            f"{entry['rows']:,}",
            _size(entry["bytes"]),
            entry["fingerprint"][:12],
        )
        for name, entry in dict(description.get("tables", {})).items()
    ]
    return _table("Tables", ("table", "stage", "rows", "size", "fingerprint"), rows, right=0)


def _pairs(title: str, pairs: Iterable[tuple[str, str]]) -> str:
    rows = "".join(
        f'<tr><td class="k">{safe.label(name)}</td><td>{safe.label(value, limit=400)}</td></tr>'
        for name, value in pairs
    )
    return f"<section><h2>{safe.label(title)}</h2><table>{rows}</table></section>" if rows else ""


def _table(
    title: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: int = 0,
    wide: bool = False,
) -> str:
    """Return a section with a table; the last ``right`` columns are numbers."""
    if not rows:
        return ""

    def cell(tag: str, column: int, text: str) -> str:
        is_number = bool(right) and column >= len(heads) - right
        kind = ' class="r"' if is_number else f' class="{_kind(text)}"'
        return f"<{tag}{kind}>{safe.label(text, limit=900)}</{tag}>"

    head = "".join(cell("th", column, text) for column, text in enumerate(heads))
    body = "".join(
        f"<tr>{''.join(cell('td', column, text) for column, text in enumerate(row))}</tr>"
        for row in rows
    )
    kind = ' class="wide"' if wide else ""
    return (
        f"<section{kind}><h2>{safe.label(title)}</h2>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></section>"
    )


def _kind(text: str) -> str:
    """Return the class of a cell: short words and numbers stay on one line, hashes break."""
    if len(text) <= _SHORT:
        return "s"
    return "t" if " " in text else "h"


def _section(info: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = info.get(name)
    return dict(found) if isinstance(found, dict) else {}


def _share(value: object) -> str:
    return f"{100 * value:.2f} %" if isinstance(value, (int, float)) else "–"


def _swept(entry: object) -> str:
    """Say a list entry; a grid as its ends and its number of points."""
    if not isinstance(entry, dict):
        return str(entry)
    grid = entry.get("grid")
    if not isinstance(grid, list) or not grid:
        return ", ".join(_flat(entry))
    return f"{entry.get('name', '')}: {_end(grid[0])} to {_end(grid[-1])}, {len(grid)} points"


def _end(value: object) -> str:
    return f"{value:.3g}".replace("-", "−") if isinstance(value, (int, float)) else str(value)


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterable[str]:
    """Yield nested settings as ``section.name = value``, without those left empty."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        elif value not in (None, "", [], {}):
            shown = value
            if isinstance(value, list):
                nested = any(isinstance(item, dict) for item in value)
                shown = ("; " if nested else ", ").join(map(_swept, value))
            yield f"{before}{name} = {shown}"


def _counts(counts: object) -> str:
    if not isinstance(counts, dict):
        return ""
    return ", ".join(
        f"{name.replace('_', ' ')} {value:,}" if isinstance(value, int) else f"{name} {value}"
        for name, value in counts.items()
    )


def _numbers(values: object) -> str:
    if not isinstance(values, (list, tuple)):
        return ""
    return ", ".join(f"{value:.4g}" for value in values if isinstance(value, (int, float)))


def _embedding(capture: Mapping[str, Any]) -> str:
    size = capture.get("embedding_dimensions")
    return f"{size} dimensions, {capture.get('embedding_layer', '')}" if size else ""


def _rate(value: object) -> str:
    return f"{value:,.0f}" if isinstance(value, (int, float)) else ""


def _skipped(item: object) -> str:
    if isinstance(item, dict):
        reason = item.get("reason", "")
        name = item.get("layer_name", item.get("name", ""))
        return f"{name} ({reason})" if reason else str(name)
    return str(item)


def _short(value: object) -> str:
    if isinstance(value, dict):
        return _counts({name: entry for name, entry in value.items() if isinstance(entry, int)})
    return str(value) if isinstance(value, (int, str)) else ""


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
