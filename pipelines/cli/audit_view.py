"""What `samdistill verify --recompute` shows of an audit; fits into 60 columns."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.jobs.audit import Audit
    from pipelines.jobs.audit_summary import AuditSummary

_WIDTHS = {"shard": -6, "rows": 6, "cosine": 9, "worst": 9, "error": 7, "least": 9, "most": 9}
_SHARDS = 10
"""Bad shards of an array that get a line; ``--json`` has them all."""


def show_audit(console: Console, audit: Audit) -> None:
    """Print the numbers of each array, and those of its bad shards."""
    from pipelines.jobs.audit_summary import summarize

    console.print(f"recomputed with teacher {audit.teacher}")
    for split, arrays in groupby(audit.arrays, lambda item: item.split):
        console.print(f"\n{split}", style="bold")
        console.print(_line(*_WIDTHS) + " dead")
        for array in arrays:
            console.print(_title(array))
            console.print(_numbers("all", array))
            bad = [
                shard
                for shard in audit.shards
                if shard.findings and (shard.split, shard.array) == (split, array.array)
            ]
            for shard in bad[:_SHARDS]:
                one = summarize([shard], array.shards)
                console.print(_numbers(f"{shard.shard:05d}", one), style="red")
            if len(bad) > _SHARDS:
                console.print(f"and {len(bad) - _SHARDS} more bad shards")
    for other in audit.others:
        console.print(f"not recomputed, of another teacher: {other}")


def _title(array: AuditSummary) -> str:
    text = f"{array.array} in {array.drawn} of {array.shards} shards"
    text += f", {array.absent} absent" if array.absent else ""
    return text + (f", {array.not_finite} not finite" if array.not_finite else "")


def _numbers(title: str, found: AuditSummary) -> str:
    numbers = [
        f"{found.compared}",
        *(
            "" if value is None else f"{value:.5f}"
            for value in (found.cosine_mean, found.cosine_worst)
        ),
        "" if found.error is None else f"{found.error:.0e}",
        *("" if value is None else _short(value) for value in (found.minimum, found.maximum)),
    ]
    return f"{_line(title, *numbers)}{len(found.dead_channels):>5}"


def _line(*cells: str) -> str:
    """Return cells side by side; negative widths stand for text, which is on the left."""
    return "".join(
        cell.ljust(-width) if width < 0 else cell.rjust(width)
        for cell, width in zip(cells, _WIDTHS.values(), strict=True)
    )


def _short(value: float) -> str:
    """Return three digits, or two beside an exponent and a sign."""
    text = f"{value:.3g}"
    return text if len(text) < _WIDTHS["least"] else f"{value:.2g}"
