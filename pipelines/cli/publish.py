"""`samdistill publish` and `samdistill manifests`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import DEFAULT_ROOT, Root

if TYPE_CHECKING:
    from pipelines.store.objects import ObjectStore
    from pipelines.store.published import PublishedManifest


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(publish)
    app.command()(manifests)


def publish(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of the manifest; NAME@VERSION or NAME@latest, with --to, copies one that "
            "is published."
        ),
    ],
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
    to: Annotated[
        str | None,
        typer.Option(
            metavar="ROOT",
            help="Copy the manifest and all that it names to this folder or s3://bucket/prefix: "
            "only what is missing there, the manifest last.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be published and copied.")
    ] = False,
) -> None:
    """Write the next version of a manifest; the latest is kept when nothing has changed."""
    from pipelines.cli import publish_view as view
    from pipelines.store.open import open_store
    from pipelines.store.rehearsal import Rehearsal

    store: ObjectStore = open_store(root)
    if dry_run:
        store = Rehearsal(store)
    if "@" in name:
        published = _find(
            store, name, to, [*(dataset or []), *(feature or []), *(teacher or []), *(weight or [])]
        )
    else:
        from pipelines.jobs.publish import publish as publish_splits
        from pipelines.jobs.publish import select

        selections = select(store, dataset or [], features=feature or [], teachers=teacher or [])
        weights = _parse_weights(weight or [])
        published = publish_splits(store, name, selections, weights=weights)
    view.show_published(published)
    if to is not None:
        _copy(store, open_store(to), published, dry_run=dry_run)
    elif dry_run:
        view.show_rehearsed(published)


def manifests(
    name: Annotated[str | None, typer.Argument(help="Only this manifest.")] = None,
    root: Root = DEFAULT_ROOT,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """List the manifests of a root: each version, and what it names."""
    from pipelines.cli import manifests_view as view
    from pipelines.store.open import open_store
    from pipelines.store.published import list_manifests

    found = list_manifests(open_store(root), name)
    (view.show_json if as_json else view.show_manifests)(found)


def _find(
    store: ObjectStore, reference: str, to: str | None, choices: list[str]
) -> PublishedManifest:
    """Open a version that exists; it can be copied, and nothing in it be chosen."""
    from pipelines.store.published import find_manifest
    from schemas.errors import UsageError

    if to is None:
        raise UsageError(
            f"{reference} names a version that is published",
            expected="a name alone, or --to ROOT to copy it",
        )
    if choices:
        raise UsageError(
            f"{reference} is published as it is; nothing can be left out of it",
            got=", ".join(choices),
            fix="Publish a choice under another name, with --to.",
        )
    return find_manifest(store, reference)


def _copy(
    store: ObjectStore, target: ObjectStore, published: PublishedManifest, *, dry_run: bool
) -> None:
    from pipelines.cli import copy_view as view
    from pipelines.jobs.copy_manifest import plan_copy, run_copy

    plan = plan_copy(store, target, published)
    view.show_plan(plan, target.url)
    if dry_run:
        return
    with view.CopyProgress(plan) as progress:
        run_copy(store, target, plan, progress)
    view.show_copied(plan, target.url)


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
