"""Scripts and style sheets of our components, put together from small files."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def script(*names: str) -> str:
    """Return one browser module made of several files of this folder, in order.

    A component's module cannot import another file without a route of its own, so what two
    components share is written once and joined here.

    Parameters
    ----------
    *names : str
        File names; the last one exports ``render``.

    Returns
    -------
    str
        Source text.
    """
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)


def sheet(*names: str) -> str:
    """Return one style sheet made of several files of this folder, in order."""
    return script(*names)
