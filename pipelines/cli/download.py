"""`samdistill datasets` and `samdistill download`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import DEFAULT_ROOT, DatasetName, Root, Splits
from schemas.errors import UsageError

if TYPE_CHECKING:
    from pipelines.engine.work import Executor
    from pipelines.jobs.download_units import Cluster

_CLUSTER_WORKERS = 4


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(datasets)
    app.command()(download)


def datasets(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show this one in full.")
    ] = None,
) -> None:
    """List the data sets that can be downloaded, or show one in full."""
    from downloaders.registry import DATASETS, find_dataset
    from pipelines.cli import datasets_view as view

    if name is None:
        view.show_datasets([find_dataset(known) for known in sorted(DATASETS)])
    else:
        view.show_dataset(find_dataset(name))


def download(
    dataset: DatasetName,
    split: Splits = None,
    root: Root = DEFAULT_ROOT,
    raw: Annotated[
        Path | None,
        typer.Option("--raw", help="Local folder for archives, when --root is a bucket."),
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="PATH_OR_URL",
            help="A folder with the archives or the unpacked data set, or a mirror's base URL "
            "(tried as URL/zips/val2017.zip, then URL/val2017.zip).",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be brought, and stop.")
    ] = False,
    any_content: Annotated[
        bool,
        typer.Option(
            "--any-content",
            help="Accept bytes that differ from the published checksum (a subset, a demo); "
            "the ledger calls them unverified.",
        ),
    ] = False,
    verify_existing: Annotated[
        bool,
        typer.Option("--verify-existing", help="Hash files that are there already."),
    ] = False,
    accept_licence: Annotated[
        bool,
        typer.Option(
            "--accept-licence", help="You have read the licence and accept it; it is recorded."
        ),
    ] = False,
    links: Annotated[
        Path | None,
        typer.Option(
            "--links",
            metavar="FILE",
            help="The list of links that the publisher gave you (file_name, tab, cdn_link).",
        ),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait-for-links",
            help="When links end before their files have come, pause until FILE is replaced by a "
            "fresh list, then go on.",
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", min=1, max=64, help="Files at a time; by default 2, of small ones 64."
        ),
    ] = None,
    connections: Annotated[
        int,
        typer.Option(
            "--connections", min=1, max=16, help="Connections for each file above 256 MB."
        ),
    ] = 4,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Fetch by so many Ray workers instead of threads of this process; they share the "
            "connections that one host may have. Default with --address: 4.",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            envvar="RAY_ADDRESS",
            help="Fetch on this Ray cluster, whose nodes must all see the raw folder; auto for "
            "its own head.",
        ),
    ] = None,
) -> None:
    """Bring the archives of a data set to ROOT/raw/DATASET. The same command resumes."""
    from downloaders.fetch import ResumingFetcher
    from downloaders.raw_folder import BringOptions
    from downloaders.registry import find_dataset
    from pipelines.cli import download_view as view
    from pipelines.jobs.download import DownloadJob

    downloader = find_dataset(dataset)
    if wait and links is None:
        raise UsageError("--wait-for-links has no list to wait for", fix="Add --links FILE.")
    if links is not None and not downloader.entry.needs_links:
        raise UsageError(f"{downloader.entry.title} needs no list of links", fix="Omit --links.")
    options = BringOptions(
        any_content=any_content,
        verify_existing=verify_existing,
        licence_accepted=accept_licence,
    )
    with ResumingFetcher(connections=connections, warn=view.show_warning) as fetcher:
        job = DownloadJob(
            downloader,
            raw_folder(root, raw),
            fetcher,
            origin=origin,
            links=links,
            wait_for_links=wait,
            options=options,
            jobs=jobs,
            cluster=_cluster(workers, address),
            warn=view.show_warning,
        )
        plan = job.plan(split or [])
        view.show_plan(plan, job.raw, origin)
        for line in plan.warnings:
            view.show_warning(line)
        if dry_run:
            return
        with view.open_progress(published_sizes=not any_content) as progress:
            report = job.run(plan, progress)
    view.show_report(report)
    if report.failed:
        raise typer.Exit(1)


def _cluster(workers: int | None, address: str | None) -> Cluster | None:
    """Return the processes that fetch, or None for threads of this one."""
    if workers is None and address is None:
        return None
    from pipelines.jobs.download_units import Cluster

    workers = workers or _CLUSTER_WORKERS

    def open_executor(overlap: int) -> Executor:
        from pipelines.engine.ray_executor import RayExecutor

        return RayExecutor(workers=workers, address=address, overlap=overlap)

    return Cluster(workers=workers, open=open_executor)


def raw_folder(root: str, raw: Path | None) -> Path:
    """Return the local folder of all raw data.

    Raises
    ------
    UsageError
        The root is a bucket and no local folder was given.
    """
    if raw is not None:
        return raw
    if "://" in root:
        raise UsageError(
            f"archives cannot be kept in {root}: they are read at random, from a local disk",
            fix="Add --raw DIR for the archives; --root stays where the products go.",
        )
    return Path(root) / "raw"
