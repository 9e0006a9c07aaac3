"""`samdistill gc`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import DEFAULT_ROOT, Root
from schemas.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(gc)


def gc(
    root: Root = DEFAULT_ROOT,
    older_than: Annotated[
        float,
        typer.Option(
            metavar="HOURS",
            min=0,
            help="Leave what is younger. 0 is safe too, but costs runs that go on their unit.",
        ),
    ] = 24,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
) -> None:
    """Remove what killed processes have left: unfinished writes and files without commit record.

    Nothing that a commit record, a split or a manifest names is touched, nor any file that this
    program did not write. Scratch folders of this machine go too.
    """
    from rich.filesize import decimal

    from pipelines.engine.scratch import abandoned_folders, remove_folder
    from pipelines.store.gc import find_garbage, remove_garbage
    from pipelines.store.open import open_store

    if not root.startswith("s3://") and not Path(root).is_dir():
        raise UsageError(f"root {root} does not exist", fix="Name the root by --root.")
    store = open_store(root)
    count, size, kept = 0, 0, 0
    for garbage in find_garbage(store, older_than=older_than * 3600):
        if not dry_run and not remove_garbage(store, garbage):
            kept += 1
            continue
        count, size = count + 1, size + garbage.bytes
        stated = decimal(garbage.bytes) if garbage.bytes else "size unknown"
        typer.echo(f"{garbage.kind}  {garbage.key}  {stated}, {garbage.age / 3600:.1f} h")
    for folder in abandoned_folders():
        count += 1
        typer.echo(f"scratch folder  {folder}")
        if not dry_run:
            remove_folder(folder)
    verb = "would be removed" if dry_run else "removed"
    typer.echo(f"{count} leftovers {verb}, {decimal(size)}" + f"; {kept} in use" * bool(kept))
