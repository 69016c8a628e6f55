"""Colours, sizes and style sheets of the page; nothing else sets a colour.

Own style variables are called ``--vt-*``. They are set once on the page in both themes and inherit
through every shadow root, so panes and components follow the theme toggle without Python.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FONT = "Roboto, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"
MONO = "'Roboto Mono', 'SFMono-Regular', Consolas, 'Liberation Mono', monospace"

_LIGHT = {
    "page": "#eef1f5", "surface": "#ffffff", "plot": "#fbfcfd", "well": "#eef1f4",
    "line": "#dce1e7", "line-strong": "#c3cad3", "grid": "#e7ebef", "ink": "#16202b",
    "ink-2": "#52606e", "ink-3": "#7b8794", "primary": "#1f4fa3", "primary-soft": "#e6edf8",
    "on-primary": "#ffffff", "accent": "#d6006c", "accent-soft": "#fde8f2",
    "accent-ink": "#a80055", "context": "#b4bac2", "wrong": "#b42318", "wrong-soft": "#fdeceb",
    "ok": "#18794e", "ok-soft": "#e5f4ec", "warn": "#8a5a00", "warn-soft": "#fdf3dc",
    "gain": "#5e3c99", "loss": "#a8530a",
}  # fmt: skip
_DARK = {
    "page": "#0d1116", "surface": "#161b22", "plot": "#12171d", "well": "#222932",
    "line": "#2b333d", "line-strong": "#3e4854", "grid": "#262d36", "ink": "#e8edf2",
    "ink-2": "#a3afbb", "ink-3": "#7d8997", "primary": "#86b1ff", "primary-soft": "#1d2b45",
    "on-primary": "#0d1116", "accent": "#ff4fa0", "accent-soft": "#3a1528",
    "accent-ink": "#ff9cca", "context": "#56606c", "wrong": "#ff8a80", "wrong-soft": "#3a1a19",
    "ok": "#5fd39a", "ok-soft": "#12301f", "warn": "#f2c14e", "warn-soft": "#33270d",
    "gain": "#b7a3e6", "loss": "#f0a35c",
}  # fmt: skip

LIGHT: Mapping[str, str] = MappingProxyType(_LIGHT)
DARK: Mapping[str, str] = MappingProxyType(_DARK)

# Found by search for the largest separation under four kinds of colour vision.
_CLASS_LIGHT = (
    "#1e4eef", "#63121d", "#e07177", "#76188c", "#615403",
    "#939b00", "#056952", "#807831", "#00889d", "#9083e8",
)  # fmt: skip
_CLASS_DARK = (
    "#739cfa", "#b7535b", "#f9afa3", "#8c4eeb", "#a4a300",
    "#a4df59", "#1a9380", "#8d7006", "#43e1fd", "#c39ac0",
)  # fmt: skip

_LAYER_LIGHT = (
    "#349090", "#2f8b93", "#2e8696", "#308198", "#337b9a", "#39769a", "#3f7099",
    "#456a98", "#4a6495", "#505e91", "#54588d", "#595287", "#5c4c80",
)  # fmt: skip
_LAYER_DARK = (
    "#64bcbb", "#61b9c1", "#61b5c6", "#63b2ca", "#67aece", "#6daad0", "#73a5d2",
    "#79a1d2", "#809cd1", "#8797cf", "#8e93cc", "#948ec8", "#9a8ac3",
)  # fmt: skip

EVIDENCE_RAMP = ("#000004", "#420a68", "#932667", "#dd513a", "#fca50a", "#fcffa4")
"""Inferno, from no evidence to the shared maximum."""

CONFIDENCE_RAMP = ("#00204c", "#31446b", "#666870", "#958f78", "#cbba69", "#ffe945")
"""Cividis, from low to high confidence on light; reversed on dark, so that doubt stands out."""

MAX_COLOURED = 9
"""Classes that hold a colour of their own when there are more than ten."""


def tokens(*, dark: bool) -> Mapping[str, str]:
    """Return the colours of one theme by name."""
    return DARK if dark else LIGHT


def rgb(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue in 0..255 of ``"#rrggbb"``."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def class_colours(
    names: Sequence[str], *, dark: bool, coloured: Sequence[str] | None = None
) -> dict[str, str]:
    """Return one colour for each class, by name.

    Parameters
    ----------
    names : sequence of str
        Class names in the order of their index.
    dark : bool
        Theme.
    coloured : sequence of str, optional
        With more than ten classes, the at most nine that hold a colour; by default the first nine.

    Returns
    -------
    dict of str to str
        ``"#rrggbb"`` by class name; up to ten classes are all told apart, of more than ten the
        rest shares one grey. Hues are neither cycled nor stretched.
    """
    palette = _CLASS_DARK if dark else _CLASS_LIGHT
    if len(names) <= len(palette):
        return dict(zip(names, palette, strict=False))
    chosen = list(coloured if coloured is not None else names)[:MAX_COLOURED]
    given = dict(zip(chosen, palette, strict=False))
    grey = tokens(dark=dark)["context"]
    return {name: given.get(name, grey) for name in names}


def class_variable(index: int, classes: int) -> str:
    """Return the CSS value that follows the theme for the class with this index.

    Parameters
    ----------
    index : int
        Class.
    classes : int
        How many there are. Of more than ten, ``slots_css`` says on the page which hold a colour.

    Returns
    -------
    str
        Grey where the class holds no colour.
    """
    if not 0 <= index < classes:
        return "var(--vt-context)"
    if classes <= len(_CLASS_LIGHT):
        return f"var(--vt-class-{index})"
    return f"var(--vt-class-of-{index},var(--vt-context))"


def slot_variable(slot: int) -> str:
    """Return the CSS value that follows the theme for a slot of the palette."""
    return f"var(--vt-class-{slot})"


def slots_css(slots: Mapping[int, int]) -> str:
    """Return the sheet that gives classes their colour on a page where not all can have one.

    Parameters
    ----------
    slots : mapping of int to int
        Slot of the palette by class index.

    Returns
    -------
    str
        For the page itself, where the palette of the theme is.
    """
    values = (f"--vt-class-of-{index}:{slot_variable(slot)}" for index, slot in slots.items())
    body = ";".join(values)
    return f".mui-light,.mui-dark{{{body}}}"


def layer_colours(layers: int, *, dark: bool) -> list[str]:
    """Return one colour for each of ``layers`` layers, first to last, along one ramp."""
    ramp = _LAYER_DARK if dark else _LAYER_LIGHT
    if layers <= 1:
        return [ramp[0]] * layers
    last = len(ramp) - 1
    return [_between(ramp, index * last / (layers - 1)) for index in range(layers)]


def _between(ramp: Sequence[str], position: float) -> str:
    """Colour at a fractional position of a ramp."""
    low = min(int(position), len(ramp) - 2)
    share = position - low
    pairs = zip(rgb(ramp[low]), rgb(ramp[low + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def _block(selector: str, *, dark: bool) -> str:
    values = dict(tokens(dark=dark))
    palette = _CLASS_DARK if dark else _CLASS_LIGHT
    values.update({f"class-{index}": colour for index, colour in enumerate(palette)})
    ramp = _LAYER_DARK if dark else _LAYER_LIGHT
    values.update({f"layer-{index}": colour for index, colour in enumerate(ramp)})
    confidence = CONFIDENCE_RAMP[::-1] if dark else CONFIDENCE_RAMP
    values["confidence-ramp"] = f"linear-gradient(90deg,{','.join(confidence)})"
    values["evidence-ramp"] = f"linear-gradient(90deg,{','.join(EVIDENCE_RAMP)})"
    body = ";".join(f"--vt-{name}:{value}" for name, value in values.items())
    return f"{selector}{{{body};color-scheme:{'dark' if dark else 'light'}}}"


_SIZES = (
    f":host{{--vt-font:{FONT};--vt-mono:{MONO};--vt-radius:8px;"
    "--vt-fs-small:12px;--vt-fs-label:13px;--vt-fs-body:13.5px;--vt-fs-title:15px;"
    "--vt-fs-display:22px;--vt-gap:8px;--vt-header-h:48px;--vt-selbar-h:52px;--vt-head-h:36px;"
    "--vt-slider-h:24px;--vt-th:34px}"
    "@media (max-width:1599px){:host{--vt-fs-display:19px;--vt-gap:6px;--vt-header-h:44px;"
    "--vt-selbar-h:46px;--vt-head-h:32px;--vt-slider-h:22px;--vt-th:30px}}"
    "@media (max-width:760px){:host{--vt-header-h:48px;--vt-selbar-h:54px;--vt-head-h:44px;"
    "--vt-slider-h:40px;--vt-gap:0px;--vt-fs-body:14px;--vt-fs-label:13.5px}}"
)

_HEADER = (
    ".header,.MuiToolbar-root{height:var(--vt-header-h)!important;"
    "min-height:var(--vt-header-h)!important}"
    "@media (prefers-reduced-motion:reduce){*{transition:none!important;animation:none!important}}"
)

PAGE_CSS = _SIZES + _block(".mui-light", dark=False) + _block(".mui-dark", dark=True) + _HEADER
"""Sheet of the page itself: all variables, in both themes."""

VIEW_CSS = (
    ":host{width:auto!important;height:auto!important;min-width:0!important;"
    "min-height:0!important;box-sizing:border-box;overflow:hidden;background:var(--vt-surface);"
    "border:1px solid var(--vt-line);border-radius:var(--vt-radius);color:var(--vt-ink);"
    "font:400 var(--vt-fs-body)/1.38 var(--vt-font);font-variant-numeric:tabular-nums}"
    ".vt-head{flex:0 0 var(--vt-head-h)!important;height:var(--vt-head-h)!important}"
    ".vt-body{min-height:0!important}:host(:focus){outline:none}"
    ":host(:focus-visible){outline:2px solid var(--vt-primary)!important;outline-offset:-2px}"
    "@media (max-width:760px){:host{border:0;border-radius:0}}"
)
"""Sheet of the frame of a view."""

_COLUMNS_WIDE = "minmax(0,558fr) minmax(0,620fr) minmax(0,712fr)"
_COLUMNS_LAPTOP = "minmax(0,392fr) minmax(0,476fr) minmax(0,474fr)"
_OTHERS = ",".join(f":host(.max-{v}) .view:not(.view-{v})" for v in "abcd")
_OTHER_TABS = ",".join(f":host(.tab-{v}) .view:not(.view-{v})" for v in "abcd")
_MAXIMISED = ",".join(f":host(.max-{v})" for v in "abcd")
_ONE = 'grid-template:minmax(0,1fr)/minmax(0,1fr);grid-template-areas:"x"'

GRID_CSS = (
    ":host{display:grid!important;min-height:0!important;box-sizing:border-box;"
    "gap:var(--vt-gap);padding:var(--vt-gap);background:var(--vt-page);"
    f"grid-template:minmax(0,1fr) 200px/{_COLUMNS_LAPTOP};"
    'grid-template-areas:"a b c" "d d c"}'
    ".view-a{grid-area:a}.view-b{grid-area:b}.view-c{grid-area:c}.view-d{grid-area:d}"
    "@media (min-width:1600px){:host{"
    f"grid-template:minmax(0,1fr) 334px/{_COLUMNS_WIDE};"
    'grid-template-areas:"a b c" "d d c"}}'
    # On a low window D folds to its head and opens over A and B.
    "@media (min-width:761px) and (max-height:700px){:host{grid-template-rows:minmax(0,1fr) 34px}"
    ":host(.open-d) .view-d{grid-row:1/3!important;grid-column:1/3!important;z-index:5;"
    "align-self:end;height:320px!important;box-shadow:0 -6px 24px #0003}}"
    f"@media (min-width:761px){{{_MAXIMISED}{{{_ONE}}}"
    f"{_OTHERS}{{display:none!important}}"
    + "".join(f":host(.max-{v}) .view-{v}{{grid-area:x!important}}" for v in "abcd")
    + "}"
    f"@media (max-width:760px){{:host{{padding:0;{_ONE}}}.view{{grid-area:x!important}}"
    f"{_OTHER_TABS}{{display:none!important}}}}"
)
"""Sheet of the grid of views; classes ``tab-x``, ``max-x`` and ``open-d`` say what is shown."""

ROOT_CSS = (
    ":host{min-height:0!important;background:var(--vt-page);color:var(--vt-ink);"
    "font:400 var(--vt-fs-body)/1.38 var(--vt-font)}"
    ".selbar{flex:0 0 var(--vt-selbar-h)!important;height:var(--vt-selbar-h)!important}"
    ".foot{flex:0 0 22px!important;height:22px!important}"
    ".tabs{display:none!important}.keys{position:absolute}"
    "@media (max-width:1599px){.foot{flex-basis:20px!important;height:20px!important}}"
    "@media (max-width:760px){.foot{display:none!important}.selbar{order:3}"
    ".tabs{order:4;display:block!important;flex:0 0 60px!important;height:60px!important}}"
)
"""Sheet of the column that holds selection bar, views, footer and phone tabs."""

SCROLL = {"overflow-y": "auto", "overflow-x": "hidden", "min-height": "0"}
"""Styles of a list that scrolls inside its view."""


def _palette(*, dark: bool) -> dict[str, Any]:
    colour = tokens(dark=dark)
    return {
        "primary": {"main": colour["primary"], "contrastText": colour["on-primary"]},
        "secondary": {"main": colour["accent"], "contrastText": colour["on-primary"]},
        "error": {"main": colour["wrong"]},
        "warning": {"main": colour["warn"]},
        "success": {"main": colour["ok"]},
        "background": {"default": colour["page"], "paper": colour["surface"]},
        "text": {"primary": colour["ink"], "secondary": colour["ink-2"]},
        "divider": colour["line"],
    }


_COMPONENTS: dict[str, Any] = {
    "MuiButtonBase": {"defaultProps": {"disableRipple": True}},
    "MuiToggleButton": {
        "styleOverrides": {
            "root": {
                "textTransform": "none",
                "fontSize": "12px",
                "padding": "0 9px",
                "height": "26px",
                "whiteSpace": "nowrap",
                "borderColor": "var(--vt-line-strong)",
            }
        }
    },
    "MuiOutlinedInput": {
        "styleOverrides": {
            "root": {"height": "26px", "fontSize": "12px", "borderRadius": "6px"},
            "input": {"padding": "0 9px"},
        }
    },
    "MuiMenuItem": {"styleOverrides": {"root": {"fontSize": "13px", "minHeight": "30px"}}},
    "MuiSlider": {
        "styleOverrides": {
            "root": {"padding": "9px 0", "height": "3px"},
            "thumb": {"width": 13, "height": 13},
        }
    },
    "MuiButton": {
        "styleOverrides": {
            "root": {
                "textTransform": "none",
                "fontSize": "13px",
                "height": "28px",
                "minWidth": "0",
                "padding": "0 10px",
            }
        }
    },
}


def _theme(*, dark: bool) -> dict[str, Any]:
    return {
        "palette": _palette(dark=dark),
        "typography": {"fontFamily": FONT, "fontSize": 13.5, "fontWeightMedium": 600},
        "shape": {"borderRadius": 6},
        "components": _COMPONENTS,
    }


THEME_CONFIG: dict[str, Any] = {"light": _theme(dark=False), "dark": _theme(dark=True)}
"""``theme_config`` of the page."""

# A header that is not exactly this pair of colours paints its children white on white.
PAGE_SX: dict[str, Any] = {
    ".MuiAppBar-root": {"bgcolor": "primary.contrastText", "color": "primary.main"},
    "& .MuiAppBar-root.header": {
        "backgroundColor": "var(--vt-surface)",
        "color": "var(--vt-ink)",
        "boxShadow": "none",
        "backgroundImage": "none",
        "borderBottom": "1px solid var(--vt-line)",
    },
    "& .MuiToolbar-root": {"margin": "0 !important", "padding": "0 !important"},
    "& .title": {"display": "none"},
    "& .MuiLinearProgress-root": {"position": "absolute", "bottom": 0, "height": "2px"},
}
"""``sx`` of the page: a white header without shadow."""


def loading_css(*, dark: bool) -> str:
    """Return the colour of the page before its first script has run: dark never flashes."""
    colour = tokens(dark=dark)
    return f"body{{background:{colour['page']}!important;color:{colour['ink']}}}"
