"""`samdistill verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.cli.options import DEFAULT_ROOT, DEFAULT_TEACHER, Root, Teacher

if TYPE_CHECKING:
    from pipelines.jobs.audit import Audit
    from pipelines.jobs.audit_amount import Amount
    from pipelines.store.objects import ObjectStore
    from pipelines.store.published import PublishedManifest


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(verify)


def verify(
    manifest: Annotated[str, typer.Argument(help="NAME for its latest version, or NAME@VERSION.")],
    root: Root = DEFAULT_ROOT,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every byte: digests, checksums, values, keys.")
    ] = False,
    recompute: Annotated[
        str,
        typer.Option(
            metavar="SHARE|COUNT",
            help="Compute rows again with --teacher and compare: a share of the rows of each "
            "split as 0.1%, at least one of each shard; or a number of them as 64, spread over "
            "the shards. Samples, phrases, object-frames and prompts are drawn apart, always the "
            "same ones for the same manifest; also all rows that are marked absent in the shards "
            "drawn.",
        ),
    ] = "",
    teacher: Teacher = DEFAULT_TEACHER,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where the teacher runs.")] = "cpu",
    json: Annotated[
        bool, typer.Option("--json", help="Print all that was found as JSON, all else as errors.")
    ] = False,
) -> None:
    """Check all files behind a manifest; exit code 1 when anything is wrong."""
    from pipelines.cli import audit_view
    from pipelines.cli import publish_view as view
    from pipelines.cli.consoles import open_console
    from pipelines.jobs.audit_amount import Amount
    from pipelines.store.open import open_store
    from pipelines.store.published import find_manifest
    from pipelines.store.verify import verify_manifest
    from schemas.ids import canonical_json

    amount = Amount.parse(recompute) if recompute else None
    store = open_store(root)
    published = find_manifest(store, manifest)
    console = open_console(stderr=json)
    with view.VerifyProgress("checks") as progress:
        found = verify_manifest(store, published, deep=deep, listener=progress)
    view.show_findings(console, found.findings)
    view.show_verification(console, published.reference, found, deep=deep)
    audited = _audit(store, published, amount, teacher, device) if amount else None
    if audited is not None:
        audit_view.show_audit(console, audited)
        view.show_findings(console, audited.findings)
    if json:
        typer.echo(canonical_json({"checks": found, "recomputed": audited}), nl=False)
    if found.findings or (audited is not None and audited.findings):
        raise typer.Exit(1)


def _audit(
    store: ObjectStore, published: PublishedManifest, amount: Amount, teacher: str, device: str
) -> Audit:
    from functools import partial

    from pipelines.cli import publish_view as view
    from pipelines.jobs.audit import audit
    from pipelines.teachers.load import load_teacher

    with view.VerifyProgress("recomputes") as progress:
        load = partial(load_teacher, teacher)
        return audit(store, published, load, amount, device=device, listener=progress)
