"""Pieces of HTML, and numbers as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from string import Template

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def fill(template: str, **values: str) -> str:
    """Return the template with its ``$names`` replaced; values are HTML already."""
    return Template(template).substitute(values)


def text(value: object) -> str:
    """Return a value as HTML text, safe inside quoted attributes too."""
    return escape(str(value), quote=True)


def count(value: int) -> str:
    """Return a whole number with thousands apart."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def size(value: int) -> str:
    """Return a number of bytes with three digits or so, in powers of 1000."""
    number, unit = float(value), 0
    while number >= 999.5 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    digits = 0 if unit == 0 or number >= 99.5 else 1
    return f"{number:.{digits}f} {_UNITS[unit]}"


def plural(number: int, word: str) -> str:
    """Return ``3 shards``, ``1 shard``."""
    return f"{count(number)} {word}" if number == 1 else f"{count(number)} {word}s"


def tiles(values: Iterable[tuple[str, str]]) -> str:
    """Return numbers with their names, side by side."""
    items = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in values
    )
    return f'<dl class="tiles">{items}</dl>'
