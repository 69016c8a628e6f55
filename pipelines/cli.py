"""The command line ``vatun``: look at stores; every command imports only what it needs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

OK, WRONG, USAGE, BUSY, INTERRUPTED = 0, 1, 2, 75, 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : list of str or None
        Words after ``vatun``; None takes those of the process.

    Returns
    -------
    int
        Exit status: 0 all is well, 1 something is wrong with a store, 2 it cannot be done,
        75 a store is busy, 130 interrupted.
    """
    parsed = _parser().parse_args(arguments)
    try:
        return _run(parsed)
    except KeyboardInterrupt:
        return _refuse("interrupted", INTERRUPTED)


def _run(parsed: argparse.Namespace) -> int:
    # After the words are understood: help costs nothing.
    from feature_store import StoreBusyError, StoreError

    try:
        status: int = parsed.run(parsed)
    except StoreBusyError as error:
        return _refuse(error, BUSY)
    except StoreError as error:
        return _refuse(error, USAGE)
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough.
        sys.stderr.close()
        return OK
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vatun", description="Look at feature stores.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    info = commands.add_parser("info", help="say what a store holds and where it comes from")
    info.add_argument("store", type=Path, help="folder of the store")
    info.add_argument("--json", action="store_true", help="everything, as JSON")
    info.set_defaults(run=_info)
    verify = commands.add_parser("verify", help="compare every byte of a store with its hash")
    verify.add_argument("store", type=Path, help="folder of the store")
    verify.set_defaults(run=_verify)
    return parser


def _info(parsed: argparse.Namespace) -> int:
    from feature_store import Store

    with Store.open(parsed.store) as store:
        facts = store.describe()
    if parsed.json:
        _print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        _print("\n".join(_lines(facts)))
    return OK


def _lines(facts: dict[str, Any]) -> list[str]:
    """Return the facts of a store for people."""
    model = facts["info"].get("model", {})
    head = f"{_plain(facts['name'])}: generation {facts['generation']}, written {facts['created']}"
    lines = [f"{head}, {facts['bytes'] / 1e6:,.1f} MB, schema {facts['schema_version']}"]
    if model:
        lines.append(f"network: {_plain(model['builder'])}, {model['classes']} classes")
    for split, row in facts["accuracy"].items():
        accuracy = "no labels" if row["accuracy"] is None else f"accuracy {row['accuracy']:.2%}"
        lines.append(f"split {_plain(split)}: {row['n']:,} images, {accuracy}")
    lines.append(f"{'table':<36}{'rows':>12}{'MB':>10}")
    for name, table in facts["tables"].items():
        lines.append(f"{name:<36}{table['rows']:>12,}{table['bytes'] / 1e6:>10,.2f}")
    for name, reason in facts["stale"].items():
        lines.append(f"out of date: {name}: {reason}")
    return lines


def _verify(parsed: argparse.Namespace) -> int:
    from feature_store import verify_store

    # Not through an open store: that would stop at the first damage instead of naming all of it.
    with _Progress() as progress:
        problems = verify_store(parsed.store, progress=progress)
    for problem in problems:
        _print(str(problem))
    if problems:
        return WRONG
    _print(f"{parsed.store}: all bytes are as they were written")
    return OK


class _Progress:
    """A bar over the bytes of a store, for what takes more than two seconds."""

    def __enter__(self) -> _Progress:
        from tqdm import tqdm

        self._bar: tqdm[Any] = tqdm(
            total=0, delay=2.0, desc="verify", unit="B", unit_scale=True, leave=False
        )
        return self

    def __call__(self, done: int, total: int) -> None:
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def __exit__(self, *error: object) -> None:
        self._bar.close()


def _plain(text: object) -> str:
    """Return text from data without the control characters that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _refuse(message: object, status: int) -> int:
    sys.stderr.write(f"vatun: {_plain(' '.join(str(message).split()))}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
