"""The page: header, selection bar, four views, footer, and what connects them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

import panel as pn
from panel_material_ui.template import Page

from app import address, orders, safe, sessions, shell, theme
from app.class_slots import class_slots
from app.components.bars import HeaderBar, PhoneTabs
from app.components.keys import Keys
from app.components.selection_bar import SelectionBar
from app.help import help_dialog
from app.layer_names import short_names
from app.runtime import Runtime, open_runtime
from app.search import search
from app.state import MANY_CLASSES, SessionState, usual_split
from app.stores import choose_store, list_stores, missing_words, words_of
from app.views import beside
from app.views.about import AboutPage
from app.views.finder import FinderDialog
from app.views.map_view import MapView
from app.views.network import NetworkView
from app.views.simulation import SimulationView
from app.views.testing import TestingView
from feature_store import QueryError, StoreCorruptError, StoreError, TableMissingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

PAGES = (("explore", "Explore"), ("about", "About this store"))

EXAMPLES = (
    ("2871", "an image by its id"),
    ("cat predicted deer", "true class, and what it was taken for"),
    ("wrong, confidence 0.3-0.6", "wrong or right, and a confidence"),
    ("wrong by margin", "in order of confidence, margin or smallest flip"),
    ("LAYER/12", "a filter of a layer"),
)

NEW_DATA_MS = 30_000
"""How often a session looks for a newer generation of its store."""

RANDOM = "This network has random weights."

_FOOT_CSS = (
    ":host{background:var(--vt-surface);border-top:1px solid var(--vt-line);overflow:hidden;"
    "color:var(--vt-ink-2);font:400 12px/1 var(--vt-font);box-sizing:border-box}"
    ".foot{display:flex;align-items:center;gap:14px;height:20px;padding:0 12px;"
    "white-space:nowrap}.mono{font-family:var(--vt-mono)}"
    ".dot{width:8px;height:8px;border-radius:50%;background:var(--vt-ok);display:inline-block;"
    "margin-right:5px}@media (max-width:1599px){.wide{display:none}}"
)


def create_page(arguments: Sequence[str] = ()) -> Page:
    """Return the page of one session.

    Parameters
    ----------
    arguments : sequence of str
        Folders of stores; see ``app.stores.list_stores``.

    Returns
    -------
    panel_material_ui.Page
        The dashboard, or a page that says why there is none and what to run.
    """
    sessions.say_when_lost()
    query = _query()
    stores = list_stores(arguments)
    name = choose_store(stores, query.get("store"))
    dark = query.get("theme") == "dark"
    # Else Panel reads it from the address, and fails where that is no text.
    pn.config.theme = "dark" if dark else "default"  # type: ignore[misc]
    if name is None:
        headline = "No store of that name" if stores else "There is no store here yet"
        detail = (
            f"This server shows {', '.join(stores)}."
            if stores
            else "Build the demo store, or name a folder after --args."
        )
        words = headline, detail, "" if stores else "doit store:digits"
        return _problem_page(words, stores, dark=dark)
    try:
        runtime = open_runtime(stores[name])
        dashboard = Dashboard(runtime, stores=list(stores), name=name, query=query)
    except (StoreError, OSError) as error:
        return _problem_page(_what_helps(error, name, stores[name]), stores, dark=dark)
    return dashboard.page


def _what_helps(error: Exception, name: str, folder: Path) -> tuple[str, str, str]:
    """Say why a store is not shown, and what to run; no path of the server is in it."""
    if isinstance(error, TableMissingError):
        return f"The store {name} is not complete", missing_words(error), error.command
    headline = f"The store {name} cannot be read"
    detail = words_of(error, folder)
    if not isinstance(error, (StoreCorruptError, QueryError)):
        return headline, detail, ""
    return headline, detail, f"vatun verify {name if folder.is_absolute() else folder}"


def _query() -> dict[str, str]:
    """First value of each part of the address."""
    arguments = pn.state.session_args or {}
    return {
        key: values[0].decode("utf-8", "replace")
        for key, values in arguments.items()
        if isinstance(values, list) and values and isinstance(values[0], bytes)
    }


def _page(header: list[Any], body: pn.viewable.Viewable, *, dark: bool, title: str) -> Page:
    page = Page(
        title=title,
        header=header,
        main=[body],
        theme_toggle=False,
        dark_theme=dark,
        busy_indicator=None,
        theme_config=theme.THEME_CONFIG,
        sx=theme.PAGE_SX,
        stylesheets=[theme.PAGE_CSS],
        raw_css=[theme.loading_css(dark=dark)],
    )
    return sessions.without_busy(page)


def _problem_page(words: tuple[str, str, str], stores: Iterable[str], *, dark: bool) -> Page:
    headline, detail, command = words
    body = pn.Column(
        shell.message(headline, detail, command=command, is_error=True),
        sizing_mode="stretch_both",
        margin=0,
        stylesheets=[theme.ROOT_CSS],
    )
    known = [safe.plain(name, limit=40) for name in stores]
    header = {"store": "", "stores": known, "line": ""}
    bar = HeaderBar(sizing_mode="stretch_width", margin=0, header_data=header)
    page = _page([bar], body, dark=dark, title="VATUN")

    def act(name: str, _: str) -> None:
        if name == "theme":
            page.dark_theme = not page.dark_theme

    bar.listen(act)
    return page


class Dashboard:
    """One session's page over a runtime.

    Parameters
    ----------
    runtime : Runtime
        Shared, read-only.
    stores : list of str
        Names of all stores of this server.
    name : str
        The one that is shown.
    query : dict of str to str
        Parts of the address at the start.
    """

    def __init__(
        self, runtime: Runtime, *, stores: list[str], name: str, query: dict[str, str]
    ) -> None:
        self.runtime = runtime
        self._stores = stores
        self._name = name
        self._query = query
        self._returns = False
        self._is_told = False
        self.state = self._start_state(query)
        self._layers = {row.layer_name: (row.layer_index, row.filters) for row in runtime.layers}
        # The search takes the names that the page shows, and the module paths they stand for.
        shown = dict(zip(short_names(runtime.layers), self._layers.values(), strict=True))
        self._searched = shown | self._layers
        self._keys = Keys(
            self._on_key, self._on_address, width=0, height=0, margin=0, css_classes=["keys"]
        )
        self._header = HeaderBar(sizing_mode="stretch_width", margin=0)
        self._header.listen(self._on_header)
        self.bar = SelectionBar(
            runtime, self.state, sizing_mode="stretch_width", margin=0, css_classes=["selbar"]
        )
        self._tabs = PhoneTabs(
            tabs_view=self.state.view, sizing_mode="stretch_width", margin=0, css_classes=["tabs"]
        )
        self._tabs.link(self.state, tabs_view="view", bidirectional=True)
        self._help = help_dialog()
        self._about: AboutPage | None = None
        self.page = _page(
            [self._header], self._root(), dark=self.state.dark, title=f"VATUN · {name}"
        )
        self._connect()

    # -- what is built once --------------------------------------------------------------

    def _start_state(self, query: dict[str, str]) -> SessionState:
        runtime = self.runtime
        state = SessionState(
            dict(runtime.splits),
            first=lambda ids: self._first(ids, self.state.order),
            dark=query.get("theme") == "dark",
            split=usual_split(runtime.splits),
            path_set=address.usual_path_set(runtime.store),
        )
        found = address.resolve(address.read(query), runtime, state)
        self._refused = found.refused
        state.split = found.split
        first = self._first(state.universe, state.order) if found.image is None else found.image
        state.param.update(focus=first, view=found.view, **found.settings)
        return state

    def _first(self, ids: NDArray[np.int32], order: str) -> int | None:
        """Return the first image of the film strip, were these ids selected."""
        table = self.runtime.images
        order = orders.strip_order(self.runtime, order)
        rows = orders.sorted_rows(self.runtime, table.rows(ids), order)
        return int(table.ids[rows[0]]) if len(rows) else None

    def _root(self) -> pn.Column:
        runtime, state = self.runtime, self.state
        self._finder = FinderDialog(runtime, state)
        self.views = (
            MapView(runtime, state, keys=self._keys),
            TestingView(runtime, state, find=lambda: setattr(self._finder, "open", True)),
            NetworkView(runtime, state),
            SimulationView(runtime, state),
        )
        self.beside = beside.Beside(runtime, state)
        self._grid = pn.Column(
            *self.views,
            *self.beside.panels,
            sizing_mode="stretch_both",
            margin=0,
            stylesheets=[theme.GRID_CSS, beside.GRID_CSS],
            css_classes=["grid", f"tab-{state.view}"],
        )
        foot = pn.pane.HTML(
            self._foot(),
            sizing_mode="stretch_width",
            margin=0,
            stylesheets=[_FOOT_CSS],
            css_classes=["foot"],
        )
        self._news = pn.Column(margin=0, sizing_mode="stretch_width", visible=False)
        if runtime.has_random_weights:
            self._news.append(shell.banner(RANDOM, "Nothing here tells about a trained model."))
            self._news.visible = True
        if self._refused:
            words = " ".join(self._refused)
            self._news.append(shell.banner("Part of this link was left out.", words))
            self._news.visible = True
            pn.state.onload(self._write_address)
        self._explore = [self.bar, self._news, self._grid, foot, self._tabs]
        self._root_column = pn.Column(
            *self._explore,
            self._keys,
            self._help,
            self._finder,
            sizing_mode="stretch_both",
            margin=0,
            stylesheets=[theme.ROOT_CSS],
        )
        return self._root_column

    def _foot(self) -> str:
        runtime = self.runtime
        info, manifest = runtime.store.info, runtime.store.manifest
        model = safe.label(dict(info.get("model", {})).get("builder", "unknown network"), limit=40)
        weights = str(dict(manifest.get("files", {}).get("weights", {})).get("sha256", ""))[:8]
        filters = sum(count for _, count in self._layers.values())
        parts = [
            '<span><span class="dot"></span>Ready</span>',
            f"<span>{model}"
            + (f' · weights <span class="mono">{safe.label(weights)}</span>' if weights else "")
            + "</span>",
            f"<span>store generation {int(runtime.store.generation)}</span>",
            f'<span class="wide">{len(self._layers)} layers, {filters:,} filters</span>',
        ]
        return f'<div class="foot">{"".join(parts)}</div>'

    def _header_data(self) -> dict[str, Any]:
        state = self.state
        table = self.runtime.images
        first_layer = next(iter(self._searched), "conv1")
        biggest = f"{int(table.ids[-1]):,}" if len(table.ids) else "0"
        names = self.runtime.class_names
        examples = [
            [biggest, EXAMPLES[0][1]],
            [f"{names[0]} predicted {names[1]}", EXAMPLES[1][1]],
            *map(list, EXAMPLES[2:4]),
            [f"{first_layer}/12", EXAMPLES[4][1]],
        ]
        return {
            "pages": [{"id": key, "label": label} for key, label in PAGES],
            "page": state.page,
            "store": safe.plain(self._name, limit=40),
            "stores": [safe.plain(name, limit=40) for name in self._stores],
            "splits": [
                {"id": name, "label": self._split_line(name)}
                for name in sorted(self.runtime.splits, key=lambda name: (not name, name))
            ],
            "split": state.split,
            "line": self._split_line(state.split),
            "examples": [[safe.plain(text, limit=60), means] for text, means in examples],
            "dark": state.dark,
        }

    def _split_line(self, split: str) -> str:
        """Name a split with its accuracy."""
        table = self.runtime.images
        rows = table.rows(self.runtime.splits[split])
        known = table.true_class[rows] >= 0
        where = f"{safe.plain(split, limit=20)} split" if split else "all images"
        if not known.any():
            return where
        return f"{where} · {100 * (1 - table.is_wrong[rows][known].mean()):.1f} % correct"

    # -- what connects them --------------------------------------------------------------

    def _connect(self) -> None:
        state = self.state
        self._draw_header()
        state.param.watch(lambda *_: self._draw_header(), ["page", "split", "dark"])
        state.param.watch(lambda *_: self._arrange(), ["view", "maximised"])
        state.param.watch(self._show_page, "page")
        state.param.watch(self._on_dark, "dark")
        state.param.watch(self._write_address, list(address.WATCHED))
        if len(self.runtime.class_names) > MANY_CLASSES:
            self._colour_classes()
            state.param.watch(lambda *_: self._colour_classes(), ["selection", "split"])
        if sessions.is_served():
            # Its last wait ends long after the page was closed.
            look = sessions.weakly(self._look_for_news)
            pn.state.add_periodic_callback(look, period=NEW_DATA_MS)

    def _draw_header(self) -> None:
        self._header.header_data = self._header_data()

    def _arrange(self) -> None:
        state = self.state
        classes = ["grid", f"tab-{state.view}"]
        if state.maximised:
            classes.append(f"max-{state.maximised}")
        if state.view == "d":
            classes.append("open-d")
        self._grid.css_classes = classes

    def _show_page(self, _: Any) -> None:
        if self._about is None:
            self._about = AboutPage(self.runtime)
        shown = self._explore if self.state.page == "explore" else [self._about]
        self._root_column[:] = [*shown, self._keys, self._help, self._finder]

    def _colour_classes(self) -> None:
        """Give the classes that are most confused in the selection their colour in every view."""
        slots = class_slots(self.runtime, self.state.split, self.state.selection)
        sheets = [theme.PAGE_CSS, theme.slots_css(slots)]
        if self.page.stylesheets != sheets:
            self.page.stylesheets = sheets

    def _on_dark(self, _: Any) -> None:
        self.page.dark_theme = self.state.dark

    def _write_address(self, *events: Any) -> None:
        kept = {name: text for name, text in self._query.items() if name not in address.NAMES}
        kept.pop("theme", None)
        if self.state.dark:
            kept["theme"] = "dark"
        parts = {**kept, **address.write(self.state, self.runtime)}
        self._keys.write_address(
            f"?{urlencode(parts, safe=':;,')}" if parts else "",
            is_step=not self._returns and any(event.name in address.STEPS for event in events),
        )

    def _on_address(self, text: str) -> None:
        """Follow the browser's Back and Forward."""
        asked = {name: values[0] for name, values in parse_qs(text.removeprefix("?")).items()}
        found = address.resolve(address.read(asked), self.runtime, self.state)
        self._returns = True
        with pn.io.hold():
            self.state.follow(found.settings, focus=found.image, split=found.split)
        self._returns = False

    def _on_header(self, name: str, value: str) -> None:
        state = self.state
        if name == "theme":
            state.dark = not state.dark
        elif name == "help":
            self._help.open = True
        elif name == "page" and value in dict(PAGES):
            state.page = value
        elif name == "split":
            state.show_split(value)
        elif name == "search":
            self._search(value)

    def _search(self, text: str) -> None:
        state, runtime = self.state, self.runtime
        found = search(
            text,
            images=runtime.images,
            class_names=runtime.class_names,
            layers=self._searched,
            universe=state.universe,
            flips={name: sweep.label for name, sweep in runtime.sweeps.items()},
        )
        if found.reason:
            self._header.show_none(safe.plain(found.reason, limit=200))
            return
        if found.ids is not None and not len(found.ids):
            self._header.show_none(f"No image: {safe.plain(found.origin)}.")
            return
        state.page = "explore"
        if found.image_id is not None:
            state.set_focus(found.image_id)
        elif found.filter is not None:
            state.choose_filters((found.filter,))
        elif found.ids is not None:
            if found.order:
                state.order = found.order
            state.select(found.ids, found.origin)
        self._header.show_found()

    def _on_key(self, key: str) -> None:
        state = self.state
        actions: dict[str, Any] = {
            "ArrowLeft": lambda: self.bar.move(-1),
            "ArrowRight": lambda: self.bar.move(1),
            "ArrowUp": lambda: self.bar.move(-1),
            "ArrowDown": lambda: self.bar.move(1),
            "f": self._toggle_maximised,
            "Escape": self._escape,
            "i": state.invert,
            "z": state.undo,
            "Z": state.redo,
            "r": lambda: state.set_change(None),
            "[": lambda: self._step_layer(-1),
            "]": lambda: self._step_layer(1),
            "?": lambda: self._help.param.update(open=True),
        }
        if key in "1234" and len(key) == 1:
            self._go_to("abcd"[int(key) - 1])
        elif key in actions:
            actions[key]()

    def _go_to(self, view: str) -> None:
        """Make keys act on a view, and give it the keyboard; a second `4` folds D again."""
        state = self.state
        view = "a" if view == "d" == state.view and not state.maximised else view
        # A view that has the main area to itself hands it on: the other would stay unseen.
        state.param.update(view=view, maximised=view if state.maximised else "")
        self._keys.go_to(view)

    def _toggle_maximised(self) -> None:
        state = self.state
        state.maximised = "" if state.maximised else state.view

    def _escape(self) -> None:
        state = self.state
        if self._help.open or self._finder.open:
            self._help.open = self._finder.open = False
        elif state.maximised:
            state.maximised = ""
        elif state.pattern is not None:
            state.open_pattern(None)
        elif state.filters:
            state.choose_filters(())
        else:
            state.clear()

    def _step_layer(self, step: int) -> None:
        state, inference = self.state, self.runtime.inference
        _, names = inference.methods().get(state.evidence_method, ("", ()))
        current = inference.evidence_layer(state.evidence_method, state.evidence_layer)
        if current in names and current:
            at = names.index(current) + step
            state.evidence_layer = names[min(max(at, 0), len(names) - 1)]

    def _look_for_news(self) -> None:
        newer = self.runtime.store.newer_generation()
        if newer is not None and not self._is_told:
            self._is_told = True
            seen = self.runtime.store.generation
            self._news.append(shell.news(seen, newer))
            self._news.visible = True


__all__ = ["Dashboard", "SessionState", "create_page"]
