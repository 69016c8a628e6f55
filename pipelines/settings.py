"""Turn the tables of a project file into frozen dataclasses, and refuse what they do not know."""

from __future__ import annotations

import dataclasses
import importlib
import math
import os
import re
import sys
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pipelines.errors import ProjectError

T = TypeVar("T")

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")


def read_toml(path: Path) -> Mapping[str, Any]:
    """Return what a project file holds.

    Returns
    -------
    mapping
        Its tables, unchecked.

    Raises
    ------
    ProjectError
        When there is no such file, or it is no TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ProjectError(f"there is no project file {path}") from None
    except OSError as error:
        raise ProjectError(f"{path.name}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProjectError(f"{path.name}: not TOML: {error}") from None


def import_plugins(names: tuple[str, ...], *, place: str) -> None:
    """Import modules by name, those of the current folder too.

    Raises
    ------
    ProjectError
        Whatever a module raises.
    """
    if names and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            # A plugin is the user's own code: whatever it raises, the other projects still work.
            kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
            msg = f"{place}: plugins: cannot import {name!r}: {kind}{error}"
            raise ProjectError(msg) from error


def read_section(kind: type[T], data: object, *, place: str, folder: Path) -> T:
    """Build the dataclass ``kind`` from one table of a project file.

    Parameters
    ----------
    kind : type
        Frozen dataclass whose fields are the known keys.
    data : object
        What the file holds at this place; a table is needed.
    place : str
        File and section, for messages.
    folder : Path
        Folder of the project file; relative paths start there.

    Returns
    -------
    T
        The section.

    Raises
    ------
    ProjectError
        On an unknown key (naming the known ones), a missing key, or a value of the wrong type.
    """
    if not isinstance(data, Mapping):
        msg = f"{place}: must be a table, got {_kind_of(data)}"
        raise ProjectError(msg)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    refuse_unknown(data, known=tuple(fields), place=place)
    hints = typing.get_type_hints(kind)
    values = {
        key: convert(value, hints[key], place=f"{place}.{key}", folder=folder)
        for key, value in data.items()
    }
    missing = [
        name
        for name, field in fields.items()
        if name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        msg = f"{place}: needs {', '.join(missing)}"
        raise ProjectError(msg)
    try:
        return kind(**values)
    except ValueError as error:
        if isinstance(error, ProjectError):
            raise ProjectError(f"{place}: {error}") from None
        raise ProjectError(f"{place}: {error}") from error


def refuse_unknown(data: Mapping[str, object], *, known: tuple[str, ...], place: str) -> None:
    """Refuse keys that are not among ``known``.

    Raises
    ------
    ProjectError
        Naming the first unknown key and every known one.
    """
    for key in data:
        if key not in known:
            msg = f"{place}: unknown key {key!r}; known: {', '.join(known)}"
            raise ProjectError(msg)


def convert(value: object, hint: Any, *, place: str, folder: Path) -> Any:
    """Check ``value`` against a type hint and return it in that type.

    Returns
    -------
    object
        ``value`` in the type of the hint.

    Raises
    ------
    ProjectError
        Naming the place, the type that is needed and the one that was found.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ProjectError(f"{place}: must be a finite number, got {value}")
    origin = typing.get_origin(hint)
    if origin in {types.UnionType, typing.Union}:
        return _convert_union(value, hint, place=place, folder=folder)
    if origin is typing.Literal:
        allowed = typing.get_args(hint)
        if value not in allowed:
            listed = ", ".join(repr(name) for name in allowed)
            msg = f"{place}: must be one of {listed}, got {value!r}"
            raise ProjectError(msg)
        return value
    if origin is tuple and isinstance(value, list):
        item = typing.get_args(hint)[0]
        return tuple(
            convert(part, item, place=f"{place}[{index}]", folder=folder)
            for index, part in enumerate(value)
        )
    if origin is dict and isinstance(value, dict):
        item = typing.get_args(hint)[1]
        return {
            key: convert(part, item, place=f"{place}.{key}", folder=folder)
            for key, part in value.items()
        }
    if hint is Path and isinstance(value, str):
        return resolve_path(value, folder=folder, place=place)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise ProjectError(f"{place}: must be {_name_of(hint)}, got {_kind_of(value)}")


def resolve_path(text: str, *, folder: Path, place: str) -> Path:
    """Replace ``${NAME:-default}`` and resolve against the folder of the project file.

    Returns
    -------
    Path
        Absolute.

    Raises
    ------
    ProjectError
        When a variable without a default is not set.
    """

    def replace(match: re.Match[str]) -> str:
        value = os.environ.get(match["name"]) or match["default"]
        if value is None:
            msg = f"{place}: the environment variable {match['name']} is not set"
            raise ProjectError(msg)
        return value

    path = Path(_VARIABLE.sub(replace, text)).expanduser()
    # normpath, not resolve: a symbolic link stays the address that the user wrote.
    return Path(os.path.normpath(folder / path))


def _convert_union(value: object, hint: Any, *, place: str, folder: Path) -> Any:
    options = [option for option in typing.get_args(hint) if option is not types.NoneType]
    problem = None
    for option in options:
        try:
            return convert(value, option, place=place, folder=folder)
        except ProjectError as error:
            problem = error
    if len(options) == 1 and problem is not None:
        raise problem
    names = " or ".join(_name_of(option) for option in options)
    raise ProjectError(f"{place}: must be {names}, got {_kind_of(value)}")


def _name_of(hint: Any) -> str:
    names = {int: "an integer", float: "a number", str: "text", bool: "true or false"}
    if hint in names:
        return names[hint]
    origin = typing.get_origin(hint)
    if origin is tuple:
        return f"a list ({_name_of(typing.get_args(hint)[0])} each)"
    if origin is dict:
        return "a table"
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(name) for name in typing.get_args(hint))
    return "a path" if hint is Path else str(hint)


def _kind_of(value: object) -> str:
    names = {
        bool: "true or false", int: "an integer", float: "a number", str: "text",
        list: "a list", dict: "a table",
    }  # fmt: skip
    return f"{names.get(type(value), type(value).__name__)} ({value!r})"


def plain(value: Any) -> Any:
    """Return a value as JSON data, without paths and without what only changes the speed."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: plain(getattr(value, item.name))
            for item in dataclasses.fields(value)
            if not item.metadata.get("speed") and not isinstance(getattr(value, item.name), Path)
        }
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value
