"""Tables of named things and numbers, whole on a narrow terminal too."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

WIDE = 100
"""Columns from which on a table may show everything."""


def open_table(name: str, texts: Sequence[str], numbers: Sequence[str]) -> Table:
    """Return a table: a column of names and columns of numbers, kept whole, texts between them."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column(name, no_wrap=True)
    for heading in texts:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def shape_text(item_shape: Sequence[int]) -> str:
    """Return a shape as ``1024x72x72``."""
    return "x".join(map(str, item_shape)) or "1"
