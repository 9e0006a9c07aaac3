"""`samdistill publish`."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import DEFAULT_ROOT, Root


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(publish)


def publish(
    name: Annotated[str, typer.Argument(help="Name of the manifest.")],
    root: Root = DEFAULT_ROOT,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATASET/SPLIT",
            help="A split to publish, or all splits of a DATASET; may be given more than once. "
            "By default all splits of the root.",
        ),
    ] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A feature array, as image.trunk or image.trunk@bfloat16; may be given more than "
            "once. By default all that are cached.",
        ),
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIGEST",
            help="Features of this teacher; needed when there are several, and may be given more "
            "than once.",
        ),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATASET/SPLIT=N",
            help="A mixture: how many samples of each round come from this split. Given once for "
            "each split, or not at all.",
        ),
    ] = None,
) -> None:
    """Write the next version of a manifest; the latest is kept when nothing has changed."""
    from pipelines.cli import publish_view as view
    from pipelines.jobs.publish import publish as publish_splits
    from pipelines.jobs.publish import select
    from pipelines.store.open import open_store

    store = open_store(root)
    selections = select(store, dataset or [], features=feature or [], teachers=teacher or [])
    weights = _parse_weights(weight or [])
    view.show_published(publish_splits(store, name, selections, weights=weights))


def _parse_weights(options: list[str]) -> dict[str, int]:
    from schemas.errors import UsageError

    weights = {}
    for option in options:
        place, _, number = option.partition("=")
        if not number.isdigit() or place in weights:
            raise UsageError(
                f"--weight {option}", expected="DATASET/SPLIT=N, each split once, N a whole number"
            )
        weights[place] = int(number)
    return weights
