"""`samdistill verify`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from pipelines.cli.options import DEFAULT_ROOT, DEFAULT_TEACHER, Root, Teacher


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(verify)


def verify(
    manifest: Annotated[str, typer.Argument(help="NAME for its latest version, or NAME@VERSION.")],
    root: Root = DEFAULT_ROOT,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every byte: digests, checksums, values, keys.")
    ] = False,
    count: Annotated[
        int,
        typer.Option(
            "--recompute",
            metavar="N",
            min=0,
            help="Compute N rows of each array again with --teacher, and compare.",
        ),
    ] = 0,
    teacher: Teacher = DEFAULT_TEACHER,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where the teacher runs.")] = "cpu",
) -> None:
    """Check all files behind a manifest; exit code 1 when anything is wrong."""
    from pipelines.cli import publish_view as view
    from pipelines.store.open import open_store
    from pipelines.store.published import find_manifest
    from pipelines.store.verify import verify_manifest

    store = open_store(root)
    published = find_manifest(store, manifest)
    with view.VerifyProgress() as progress:
        found = verify_manifest(store, published, deep=deep, listener=progress)
    view.show_findings(found.findings)
    view.show_verification(published.reference, found, deep=deep)
    wrong = list(found.findings)
    if count:
        from functools import partial

        from pipelines.jobs.audit import recompute
        from pipelines.teachers.load import load_teacher

        load = partial(load_teacher, teacher)
        compared = list(recompute(store, published, load, count, device=device))
        differing = [item.finding() for item in compared if not item.is_close]
        view.show_comparisons(compared)
        view.show_findings(differing)
        wrong += differing
    if wrong:
        raise typer.Exit(1)
