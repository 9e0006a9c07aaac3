"""`samdistill plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import (
    DEFAULT_ROOT,
    DEFAULT_TEACHER,
    DatasetName,
    Precision,
    Root,
    Splits,
    Teacher,
    Views,
    words,
)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(plan)


def plan(
    dataset: DatasetName,
    split: Splits = None,
    root: Root = DEFAULT_ROOT,
    features: Annotated[
        str, typer.Option(metavar="LIST", help="As for `samdistill cache`; e.g. image.trunk@int8.")
    ] = "",
    views: Views = "identity",
    teacher: Teacher = DEFAULT_TEACHER,
    workers: Annotated[int, typer.Option(min=1, help="Devices that compute.")] = 1,
    rows_per_shard: Annotated[
        int, typer.Option(min=1, help="Of splits that are not normalized yet.")
    ] = 64,
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Images or frames of a split of which nobody states the number."),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Run the teacher here, for about a minute, and measure."),
    ] = False,
    precision: Precision = "float32",
    device: Annotated[str, typer.Option(help="For --calibrate: cpu, cuda or cuda:N.")] = "cpu",
    batch: Annotated[int, typer.Option(min=1, help="For --calibrate: images at a time.")] = 8,
    peak_tflops: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Of the device in this precision, dense; by default those of an H100 or H200 SXM.",
        ),
    ] = None,
    write_gb: Annotated[
        float, typer.Option(min=0.001, help="GB a second that the root takes, if not calibrated.")
    ] = 1.0,
    device_hour: Annotated[float, typer.Option(help="Dollars for an hour of a device.")] = 3.0,
    storage_gb_month: Annotated[
        float, typer.Option(help="Dollars for a GB in a month; S3 standard, us-east-1, 2025.")
    ] = 0.023,
    put_1000: Annotated[float, typer.Option(help="Dollars for 1000 PUT requests.")] = 0.005,
    get_1000: Annotated[float, typer.Option(help="Dollars for 1000 GET requests.")] = 0.0004,
    raw: Annotated[
        Path | None, typer.Option("--raw", help="Folder of archives, when --root is a bucket.")
    ] = None,
    links: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Link list from the publisher: how long it lasts."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Say what caching will take: bytes, files, hours, requests, money. Nothing is written.

    Exit code 1 when what is left to cache does not fit beside what is stored.
    """
    from pipelines.cli import plan_view as view
    from pipelines.jobs.asked_features import expand_features
    from pipelines.jobs.cache import free_space, require_room
    from pipelines.jobs.plan import PEAK_TFLOPS, Prices, make_plan, recorded_speeds
    from pipelines.jobs.plan_download import plan_download
    from pipelines.jobs.split_sizes import split_sizes
    from pipelines.store.open import open_store
    from pipelines.teachers.outline import outline_teacher
    from schemas.ids import canonical_json

    store = open_store(root)
    wanted = expand_features(words(features), words(views))
    sizes = split_sizes(store, dataset, split or [], rows_per_shard=rows_per_shard, images=images)
    outline = outline_teacher(teacher)
    speeds = recorded_speeds(
        outline, peak_tflops=peak_tflops or PEAK_TFLOPS[precision], write_gb=write_gb
    )
    if calibrate:
        from pipelines.jobs import calibrate as calibration
        from pipelines.teachers.base import TeacherOptions
        from pipelines.teachers.load import load_teacher

        running = TeacherOptions(device=device, precision=precision)
        loaded = load_teacher(teacher, running)
        speeds = calibration.calibrate(store, loaded, sizes, wanted, batch=batch)
    planned = make_plan(
        store,
        teacher,
        outline,
        sizes,
        wanted,
        speeds,
        free=free_space(store),
        precision=precision,
        workers=workers,
        prices=Prices(
            device_hour=device_hour,
            storage_gb_month=storage_gb_month,
            put_1000=put_1000,
            get_1000=get_1000,
        ),
        download=plan_download(
            dataset, [size.split for size in sizes], raw or Path(root, "raw"), links
        ),
    )
    if json:
        typer.echo(canonical_json(planned), nl=False)
    else:
        view.show_plan(planned)
    smaller = "or a smaller codec (image.trunk@int8)."
    require_room(root, planned.bytes_left, planned.free_bytes, smaller)
