"""Tables of named things and numbers, whole on a narrow terminal too."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

_TEXTS = frozenset({"row", "codec"})
"""Columns that are no numbers."""
_MOST = 1000
"""Characters: wider than any table."""


def print_table(
    console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]], spare: Collection[str]
) -> None:
    """Print rows that begin with a name; without the ``spare`` columns where all are too wide."""
    table = _table(headings, rows)
    if console.measure(table, options=console.options.update(width=_MOST)).maximum > console.width:
        kept = [place for place, heading in enumerate(headings) if heading not in spare]
        table = _table([headings[k] for k in kept], [[row[k] for k in kept] for row in rows])
    console.print(table)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        if heading in _TEXTS:
            table.add_column(heading, overflow="fold")
        else:
            table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def shape_text(item_shape: Sequence[int]) -> str:
    """Return a shape as ``1024x72x72``."""
    return "x".join(map(str, item_shape)) or "1"
