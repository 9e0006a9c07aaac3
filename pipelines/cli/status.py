"""`samdistill status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import DEFAULT_ROOT, Root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from pipelines.jobs.status import ArrayStatus, RootStatus, RunStatus

_FAILURES = 5


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(status)


def status(
    root: Root = DEFAULT_ROOT,
    quarantined: Annotated[
        bool,
        typer.Option("--quarantined", help="Read every commit record, and count what is left out."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Show how far the features of a root are, and who works on them; from any machine."""
    from pipelines.cli.consoles import open_console
    from pipelines.jobs.status import root_status
    from pipelines.store.open import open_store
    from schemas.ids import canonical_json

    found = root_status(open_store(root), quarantined=quarantined)
    if json:
        typer.echo(canonical_json(found), nl=False)
    else:
        _show(open_console(), found)


def _show(console: Console, found: RootStatus) -> None:
    if not found.arrays:
        console.print(f"no features in {found.root}; `samdistill cache DATASET` makes them")
    places: dict[str, list[ArrayStatus]] = {}
    for array in found.arrays:
        place = f"{array.dataset}/{array.split}, teacher {array.teacher}"
        places.setdefault(place, []).append(array)
    for place, arrays in places.items():
        console.print(place, style="bold")
        _show_arrays(console, arrays)
    running = sum(run.state == "running" for run in found.runs)
    console.print(f"{running} drivers with {found.workers} workers run now")
    for run in found.runs:
        _show_run(console, run)


def _show_arrays(console: Console, arrays: Sequence[ArrayStatus]) -> None:
    from pipelines.cli.tables import print_table

    rows = [
        (
            array.array,
            f"{array.done}/{array.shards}",
            str(array.rows_left),
            f"{array.rows_per_second:.1f}" if array.rows_per_second else "",
            _duration(array.seconds_left) if array.rows_left else "complete",
        )
        for array in arrays
    ]
    headings = ("array", "shards", "rows left", "rows/s", "time left")
    print_table(console, headings, rows, {"rows left", "rows/s"})
    for array in arrays:
        for reason, count in sorted((array.quarantined or {}).items()):
            console.print(f"{array.array}: {count} rows {reason}")


def _show_run(console: Console, run: RunStatus) -> None:
    console.print(
        f"{run.run} on {run.host}: {run.state}, {run.workers} workers, {_duration(run.seconds)}, "
        f"{run.rows} rows, {run.quarantined} quarantined, {run.failed} shards failed; "
        f"last heard of {_duration(run.silent_seconds)} ago"
    )
    for failure in run.failures[-_FAILURES:]:
        console.print(f"  failed {failure.unit}, {failure.kind}: {failure.error}")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, hours = seconds / 60, seconds / 3600
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"
