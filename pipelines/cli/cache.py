"""`samdistill cache`."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.cli.options import (
    DEFAULT_ROOT,
    DEFAULT_TEACHER,
    DatasetName,
    Force,
    Part,
    Precision,
    Root,
    Splits,
    Teacher,
    Views,
    words,
)
from schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipelines.engine.work import Executor
    from pipelines.jobs.asked_features import AskedFeature
    from pipelines.jobs.cache import CacheOptions, CachePlan
    from pipelines.store.splits import Split
    from pipelines.teachers.base import TeacherIdentity, TeacherOptions

ExecutorName = Literal["local", "ray"]
Device = Literal["auto", "cpu", "cuda"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(cache)


def cache(
    dataset: DatasetName,
    split: Splits = None,
    root: Root = DEFAULT_ROOT,
    teacher: Teacher = DEFAULT_TEACHER,
    features: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Groups as image, text, memory, memory.box, prompts, or names as "
            "image.layer08@bfloat16; comma-separated. By default image, text and memory, as far as "
            "the split can have them.",
        ),
    ] = "",
    views: Views = "identity",
    executor: Annotated[
        ExecutorName | None,
        typer.Option(help="Default: ray for several workers or a cluster, otherwise local."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes with a teacher each; default: one per GPU, or one."),
    ] = None,
    part: Part = "0/1",
    device: Annotated[
        Device, typer.Option(help="auto: cuda when this machine has it; name it for a cluster.")
    ] = "auto",
    precision: Precision = "float32",
    compile_trunk: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Compile the trunk: faster after a warm-up of minutes. Choose a --batch that "
            "divides the rows of a shard.",
        ),
    ] = False,
    batch: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 8,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of each worker that decode images.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(envvar="RAY_ADDRESS", help="Run on this Ray cluster; auto for its own head."),
    ] = None,
    overlap: Annotated[
        int,
        typer.Option(
            min=1,
            help="Shards of a worker at a time: one is read ahead and one written while one "
            "computes. With 1 a killed worker loses one shard at most, and the device waits.",
        ),
    ] = 2,
    stall: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=1,
            help="Replace a Ray worker that gets nowhere for so long.",
        ),
    ] = 600,
    max_quarantined: Annotated[
        str,
        typer.Option(
            metavar="SHARE",
            help="Rows of a shard that may fail: a share, of all rows too, or a count.",
        ),
    ] = "1%",
    beside: Annotated[
        bool,
        typer.Option(
            "--beside", help="Also when another teacher has cached these features of the split."
        ),
    ] = False,
    force: Force = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the reports as JSON, all else as errors.")
    ] = False,
) -> None:
    """Compute a teacher's features of a normalized data set. The same command resumes."""
    from pipelines.cli import cache_view as view
    from pipelines.cli.consoles import open_console
    from pipelines.cli.run_plans import is_complete, run_plans
    from pipelines.engine.executor import Slice
    from pipelines.jobs.asked_features import expand_features
    from pipelines.jobs.cache import CacheOptions, free_space, open_normalized, require_space
    from pipelines.jobs.finish_split import Budget
    from pipelines.jobs.other_teachers import require_no_others
    from pipelines.store.open import open_store
    from pipelines.teachers.base import TeacherOptions
    from schemas.ids import canonical_json

    wanted = expand_features(words(features), words(views))
    place = _place(executor, workers, device, threads, address)
    place = replace(place, overlap=overlap, stall=stall)
    options = CacheOptions(
        batch=batch,
        decode_threads=place.threads,
        budget=Budget.parse(max_quarantined),
        part=Slice.parse(part),
    )
    store = open_store(root)
    splits = open_normalized(store, dataset, split or [])
    running = TeacherOptions(
        device=place.device, precision=precision, image_batch=batch, compile=compile_trunk
    )
    plans = _plan(splits, teacher, running, place, wanted, options)
    console = open_console(stderr=json)
    view.show_teacher(console, teacher, plans[0].teacher)
    for plan in plans:
        view.show_plan(console, plan, free_space(store))
    if not beside:
        for plan in plans:
            require_no_others(plan)
    if not force:
        require_space(store, plans)
    reports = run_plans(console, plans, place.open, place.workers)
    if json:
        typer.echo(canonical_json(view.summaries(reports)), nl=False)
    too_many = view.show_excess(console, options.budget, reports.values())
    if too_many or not is_complete(plans, reports):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where units run."""

    executor: ExecutorName
    workers: int
    device: Literal["cpu", "cuda"]
    threads: int
    gpus_per_worker: float
    address: str | None
    overlap: int = 2
    stall: float = 600

    def open(self) -> Executor:
        if self.executor == "local":
            from pipelines.engine.executor import LocalExecutor

            return LocalExecutor(overlap=self.overlap)
        from pipelines.engine.ray_executor import RayExecutor

        return RayExecutor(
            workers=self.workers,
            cpus_per_worker=self.threads if self.address else 1,
            gpus_per_worker=self.gpus_per_worker,
            address=self.address,
            overlap=self.overlap,
            stall_seconds=self.stall,
        )


def _place(
    executor: ExecutorName | None,
    workers: int | None,
    device: Device,
    threads: int | None,
    address: str | None,
) -> _Place:
    """Fill in what the user left open, from this machine."""
    import torch

    if executor == "local":
        address = None
    if device == "auto" and address:
        raise UsageError(
            f"this machine cannot tell what the workers of {address} have",
            fix="Add --device cuda or --device cpu.",
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    gpus = torch.cuda.device_count() if device == "cuda" and not address else 0
    if executor == "local" and (workers or 1) > 1:
        raise UsageError(
            "--executor local is one worker in this process",
            got=f"--workers {workers}",
            fix="Use --executor ray, or several commands with --slice i/n.",
        )
    workers = workers or (1 if executor == "local" else max(1, gpus))
    executor = executor or ("ray" if workers > 1 or address else "local")
    # Whole workers on each GPU: of 3 workers on 2 GPUs, a third worker finds no 2/3 of a GPU.
    share = 1 / -(-workers // gpus) if gpus else float(device == "cuda")
    cores = os.cpu_count() or 1
    return _Place(
        executor=executor,
        workers=workers,
        device=device,
        threads=threads or (4 if address else max(1, min(8, cores // workers))),
        gpus_per_worker=share,
        address=address,
    )


def _plan(
    splits: Sequence[Split],
    name: str,
    running: TeacherOptions,
    place: _Place,
    wanted: Sequence[AskedFeature],
    options: CacheOptions,
) -> list[CachePlan]:
    """Plan all splits, by the teacher's digest and shapes; the local executor goes on with it."""
    from pipelines.jobs.cache import plan_cache
    from pipelines.jobs.feature_stage import teacher_loader

    load = teacher_loader(name, running)
    teacher = load() if place.executor == "local" else _identity(splits, name, running)
    return [plan_cache(split, teacher, load, wanted, options) for split in splits]


def _identity(splits: Sequence[Split], name: str, running: TeacherOptions) -> TeacherIdentity:
    """Return who will compute elsewhere: this process may have no GPU, or one that a worker needs.

    A teacher that has cached before is not loaded again. A new one is, on the CPU, because weights
    that do not fit their configuration shall be found here and not by each worker.
    """
    from pipelines.store import layout
    from pipelines.teachers.load import identify_teacher, load_teacher

    identity = identify_teacher(name, running)
    for split in splits:
        folder = layout.features_folder(split.record.dataset, split.record.split)
        if identity.spec.digest in split.store.folders(folder):
            return identity
    return load_teacher(name, replace(running, device="cpu"))
