"""`samdistill doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import DEFAULT_ROOT, Root


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(doctor)


def doctor(
    root: Root = DEFAULT_ROOT,
    json: Annotated[bool, typer.Option("--json", help="Print all as JSON.")] = False,
) -> None:
    """Look at this machine and a root in five seconds; exit code 1 when something must be mended.

    A file of a few bytes is made in the root, and removed.
    """
    from pipelines.jobs.doctor import examine
    from schemas.ids import canonical_json

    found = []
    for item in examine(root):
        found.append(item)
        if not json:
            advice = f". {item.advice}" if item.advice else ""
            typer.echo(f"{item.state:5}{item.what}: {item.found}{advice}")
    if json:
        typer.echo(canonical_json(found), nl=False)
    if any(item.state == "bad" for item in found):
        raise typer.Exit(1)
