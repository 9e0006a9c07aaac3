"""`samdistill export`."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import DEFAULT_ROOT, Root


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(export)


def export(
    manifest: Annotated[str, typer.Argument(help="NAME for its latest version, or NAME@VERSION.")],
    to: Annotated[
        str, typer.Option(metavar="ROOT", help="Empty folder or s3://bucket/prefix to write to.")
    ],
    format_: Annotated[
        str,
        typer.Option("--format", help="webdataset, hf, mds, litdata, efficientsam3, edgesam."),
    ],
    root: Root = DEFAULT_ROOT,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATASET/SPLIT",
            help="Only this split, or all splits of a DATASET; may be given more than once.",
        ),
    ] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A feature with a row per sample, as image.trunk; may be given more than once. "
            "By default all.",
        ),
    ] = None,
    no_features: Annotated[
        bool, typer.Option("--no-features", help="Images and annotations only.")
    ] = False,
    teacher: Annotated[
        str | None,
        typer.Option(metavar="DIGEST", help="Features of this teacher, when there are several."),
    ] = None,
) -> None:
    """Write a published manifest in the format of another library; a repetition goes on."""
    from pipelines.cli import exchange_view as view
    from pipelines.exchange.export import Export
    from pipelines.store.open import open_store
    from pipelines.store.published import find_manifest

    store = open_store(root)
    made = Export(
        store,
        find_manifest(store, manifest),
        format_,
        splits=dataset or [],
        features=[] if no_features else feature,
        teacher=teacher,
    )
    target = open_store(to)
    with view.ShardProgress("export") as progress:
        done = made.run(target, progress)
    view.show_exported(made.record, done, target.url)
