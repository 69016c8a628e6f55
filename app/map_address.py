"""What the map shows, in the page's address: colour, projection, shading and what is hidden.

What goes without saying is left out: the first colouring, projection and shading of a store. The
part ``hidden`` names entries of the legend by their index, ``3,7`` of the colouring that is shown
and ``correct:1`` of another one, with a semicolon between colourings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from app import safe
from app.state import SHADINGS, usual_colouring, usual_shading
from app.views import map_measures, map_parts
from feature_store import StoreError, queries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from app.runtime import Runtime
    from app.state import SessionState

NAMES = ("colour", "projection", "shading", "hidden")
"""Parts of the address that say what the map shows."""

WATCHED = ("colour_by", "projection", "shading", "hidden")
"""Parameters of the session on which they depend."""

MAX_HIDDEN = 40
"""Hidden entries of the legend that an address names; of more it names none."""


@dataclass(frozen=True, kw_only=True)
class MapCase:
    """What an address asks of the map; well formed, but it may not exist in this store.

    Parameters
    ----------
    colour, projection, shading : str
        Empty for what suits the store.
    hidden : tuple of (str, int)
        Colouring and index of each hidden entry; the empty colouring is the one that is shown.
    """

    colour: str = ""
    projection: str = ""
    shading: str = ""
    hidden: tuple[tuple[str, int], ...] = ()


def read(parts: Mapping[str, str]) -> tuple[MapCase, list[str]]:
    """Read what an address asks of the map; nothing in it is trusted.

    Parameters
    ----------
    parts : mapping of str to str
        Text of each of ``NAMES``.

    Returns
    -------
    tuple of (MapCase, list of str)
        What can be used, and a sentence about each part that cannot.
    """
    refused = []
    shading = parts["shading"]
    if shading not in SHADINGS:
        refused.append(f"The map is shaded equal or density, not {shading[:40]}.")
        shading = ""
    hidden = _entries(parts["hidden"])
    if hidden is None:
        refused.append(
            f"Hidden entries are at most {MAX_HIDDEN} numbers such as 3,7 or correct:1."
        )
    case = MapCase(
        colour=parts["colour"], projection=parts["projection"], shading=shading,
        hidden=hidden or (),
    )  # fmt: skip
    return case, refused


def resolve(
    case: MapCase, runtime: Runtime, state: SessionState, *, split: str
) -> tuple[dict[str, Any], list[str]]:
    """Look up in a store what an address asks of the map.

    Parameters
    ----------
    case : MapCase
        What is asked for.
    runtime : Runtime
        Of the store.
    state : SessionState
        Of this session.
    split : str
        Split that will be shown; empty for all images.

    Returns
    -------
    tuple of (dict, list of str)
        Parameters of the session, and a sentence about each part that was left out.
    """
    refused = []
    usual = usual_colouring(len(runtime.class_names))
    known = map_measures.colourings(runtime)
    colour = case.colour or usual
    if colour not in known or known[colour].reason:
        refused.append(f"The map cannot be coloured by {safe.plain(colour, limit=60)}.")
        colour = usual
    projection = case.projection or _usual_projection(runtime)
    if projection and projection not in runtime.projections:
        refused.append(f"There is no projection {safe.plain(projection, limit=60)}.")
        projection = _usual_projection(runtime)
    asked = [(by or colour, code) for by, code in case.hidden]
    there = [entry for entry in asked if _is_entry(runtime, *entry)]
    if len(there) < len(asked):
        missing = _words([entry for entry in asked if entry not in there], shown=colour)
        refused.append(f"The legend has no entry {safe.plain(missing, limit=60)}.")
    settings: dict[str, Any] = {
        "colour_by": colour,
        "projection": projection,
        "shading": case.shading or usual_shading(len(runtime.splits.get(split, ()))),
    }
    hidden = frozenset((by, str(code)) for by, code in there)
    # Too many for any link: Back and Forward leave them alone. Equal sets would be drawn anew.
    if hidden != state.hidden and (case.hidden or len(state.hidden) <= MAX_HIDDEN):
        settings["hidden"] = hidden
    return settings, refused


def write(state: SessionState, runtime: Runtime) -> dict[str, str]:
    """Return the parts of the address that say what the map of a session shows."""
    parts = {}
    if state.colour_by != usual_colouring(len(runtime.class_names)):
        parts["colour"] = state.colour_by
    if state.projection != _usual_projection(runtime):
        parts["projection"] = state.projection
    if state.shading != usual_shading(len(state.universe)):
        parts["shading"] = state.shading
    if len(state.hidden) <= MAX_HIDDEN:
        entries = sorted((by, int(key)) for by, key in state.hidden)
        parts["hidden"] = _words(entries, shown=state.colour_by)
    return parts


def _usual_projection(runtime: Runtime) -> str:
    return map_parts.first_projection(runtime.projections) if runtime.projections else ""


def _is_entry(runtime: Runtime, by: str, code: int) -> bool:
    """Whether the legend of a colouring has an entry with this index; -1 is what is not known."""
    one = map_measures.colourings(runtime).get(by)
    if one is None:
        return False
    if one.kind == "class":
        count = len(runtime.class_names)
    elif one.kind == "category":
        try:
            count = len(queries.column_values(runtime.store, by).names)
        except StoreError:
            return False
    else:
        count = 2 if one.kind == "correct" else 0
    return -1 <= code < count


def _words(entries: Iterable[tuple[str, int]], *, shown: str) -> str:
    """Return entries as ``_entries`` reads them."""
    groups: dict[str, list[str]] = {}
    for by, code in entries:
        groups.setdefault(by, []).append(str(code))
    said = [(quote(by, safe=":.") + ":") if by != shown else "" for by in groups]
    return ";".join(
        name + ",".join(codes) for name, codes in zip(said, groups.values(), strict=True)
    )


def _entries(text: str) -> tuple[tuple[str, int], ...] | None:
    """Read entries such as ``3,7;correct:1``; None when it is anything else."""
    found = []
    for group in text.split(";") if text else ():
        by, _, codes = group.rpartition(":")
        for code in codes.split(","):
            digits = code.removeprefix("-")
            if not (digits.isascii() and digits.isdecimal() and len(code) < 8):
                return None
            found.append((unquote(by), int(code)))
    return tuple(dict.fromkeys(found)) if len(found) <= MAX_HIDDEN else None
