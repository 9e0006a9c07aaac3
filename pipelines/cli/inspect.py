"""`samdistill inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import DEFAULT_ROOT, Root


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(inspect)


def inspect(
    manifest: Annotated[str, typer.Argument(help="NAME for its latest version, or NAME@VERSION.")],
    root: Root = DEFAULT_ROOT,
    out: Annotated[
        Path | None,
        typer.Option(metavar="PAGE.html", help="Write a page with pictures, one file."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Images on the page, for each split.")] = 12,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Show what a manifest holds: numbers here, pictures on a page."""
    from pipelines.cli import publish_view as view
    from pipelines.report.page import render_page, write_page
    from pipelines.report.summary import summarize
    from pipelines.store.open import open_store
    from pipelines.store.published import find_manifest
    from schemas.ids import canonical_json

    store = open_store(root)
    published = find_manifest(store, manifest)
    if out is not None:
        write_page(out, render_page(store, published, samples=samples))
    summary = summarize(store, published)
    if json:
        typer.echo(canonical_json(summary), nl=False)
        return
    view.show_summary(summary)
    if out is not None:
        typer.echo(f"page: {out}")
