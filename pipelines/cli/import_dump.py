"""`samdistill import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli.options import DEFAULT_ROOT, Force, Part, Root
from schemas.errors import UsageError

_OVERLAP = 2
"""Shards at a time: one is read while another is written."""


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("import")(import_dump)


def import_dump(
    dump: Annotated[
        str, typer.Argument(help="Folder or s3://bucket/prefix with rank0-keys.txt or its parent.")
    ],
    into: Annotated[
        str, typer.Argument(metavar="DATASET/SPLIT", help="Normalized split that was dumped.")
    ],
    format_: Annotated[
        Literal["efficientsam3", "edgesam"], typer.Option("--format", help="Whose dump it is.")
    ],
    root: Root = DEFAULT_ROOT,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="File of the teacher's weights: features of several dumps are then of one teacher."
        ),
    ] = None,
    epoch: Annotated[
        int | None, typer.Option(min=0, help="Which pass, when there are several.")
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(metavar="CxHxW", help="Of a feature, when it is not the usual one."),
    ] = None,
    precision: Annotated[
        Literal["float16-autocast", "bfloat16-autocast", "float32"],
        typer.Option(help="Arithmetic of the teacher, as far as you know; part of its digest."),
    ] = "float16-autocast",
    part: Part = "0/1",
    max_quarantined: Annotated[
        str,
        typer.Option(
            metavar="SHARE",
            help="Samples without a record: a share of each shard and of all, or a count by shard.",
        ),
    ] = "1%",
    force: Force = False,
) -> None:
    """Take the features of a teacher that another program has dumped. The same command resumes."""
    from pipelines.cli import cache_view as view
    from pipelines.cli.consoles import open_console
    from pipelines.cli.run_plans import is_complete, run_plans
    from pipelines.engine.executor import LocalExecutor, Slice
    from pipelines.exchange.dump_layout import find_layout
    from pipelines.exchange.dump_reader import Dump
    from pipelines.exchange.import_dump import identify, plan_import
    from pipelines.jobs.cache import free_space, open_normalized, require_space
    from pipelines.jobs.finish_split import Budget
    from pipelines.store.open import open_store

    budget, dataset, split = Budget.parse(max_quarantined), *_place(into)
    (target,) = open_normalized(open_store(root), dataset, [split])
    opened = Dump(open_store(dump), find_layout(format_), item_shape=_shape(shape), epoch=epoch)
    teacher = identify(opened, precision, _digest(checkpoint))
    plan = plan_import(target, teacher, budget, Slice.parse(part))
    console = open_console()
    view.show_teacher(console, opened.where, teacher.spec)
    view.show_plan(console, plan, free_space(target.store))
    if not force:
        require_space(target.store, [plan])
    reports = run_plans(console, [plan], lambda: LocalExecutor(overlap=_OVERLAP), workers=1)
    if view.show_excess(console, budget, reports.values()) or not is_complete([plan], reports):
        raise typer.Exit(1)


def _place(name: str) -> tuple[str, str]:
    dataset, slash, split = name.partition("/")
    if not slash or not split:
        raise UsageError(f"split {name!r}", expected="DATASET/SPLIT, for example sa-1b/train")
    return dataset, split


def _shape(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    numbers = text.split("x")
    if len(numbers) != 3 or not all(number.isdecimal() and int(number) for number in numbers):
        raise UsageError(f"--shape {text}", expected="channels, height and width, as 1024x72x72")
    return tuple(map(int, numbers))


def _digest(checkpoint: Path | None) -> str | None:
    if checkpoint is None:
        return None
    import blake3

    if not checkpoint.is_file():
        raise UsageError(f"--checkpoint {checkpoint}", expected="the file of the weights")
    return blake3.blake3(max_threads=blake3.blake3.AUTO).update_mmap(checkpoint).hexdigest()
