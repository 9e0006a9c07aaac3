"""`samdistill phrases`."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import DEFAULT_ROOT, Root


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(no_args_is_help=True, help="Phrases of several splits as one split.")
    group.callback()(lambda: None)  # else Typer would take the one command for the group
    group.command()(merge)
    app.add_typer(group, name="phrases")


def merge(
    name: Annotated[str, typer.Argument(help="The new split is phrases/NAME.")],
    sources: Annotated[
        list[str],
        typer.Argument(metavar="DATASET[/SPLIT]...", help="Normalized splits, or all of a set."),
    ],
    root: Root = DEFAULT_ROOT,
    json: Annotated[bool, typer.Option("--json", help="Print split.json.")] = False,
) -> None:
    """Unite phrases of images and text corpora, each once, counted by split."""
    from pipelines.cli import normalize_view as view
    from pipelines.jobs.cache import open_normalized
    from pipelines.jobs.merge_phrases import merge_phrases
    from pipelines.jobs.split_report import describe_split
    from pipelines.store.open import open_store
    from schemas.ids import canonical_json

    store = open_store(root)
    splits = []
    for source in sources:
        dataset, _, split = source.partition("/")
        splits += open_normalized(store, dataset, [split] if split else [])
    record = merge_phrases(store, name, splits)
    if json:
        typer.echo(canonical_json(record), nl=False)
    else:
        view.show_split(describe_split(store, record))
