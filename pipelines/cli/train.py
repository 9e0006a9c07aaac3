"""`samdistill train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.cli.options import (
    DEFAULT_CACHE_BYTES,
    DEFAULT_ROOT,
    CacheBytes,
    CacheFolder,
    Requests,
    RequestsPerSecond,
    Root,
    Views,
    words,
)
from pipelines.cli.reading import open_for_reading, show_requests
from pipelines.cli.train_view import show_training

if TYPE_CHECKING:
    from pipelines.store.published import PublishedManifest
    from schemas.features import TeacherSpec

_DEFAULT_STUDENT = "repvit_m0_9"
_DIGEST_LENGTH = 16
_WARMUP_SHARE = 10
_LONGEST_WARMUP = 500


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(train)


def train(
    manifest: Annotated[
        str, typer.Argument(metavar="MANIFEST", help="NAME, the latest version, or NAME@VERSION.")
    ],
    root: Root = DEFAULT_ROOT,
    student: Annotated[
        list[str] | None,
        typer.Option(
            help="repvit_m0_9 by default, tiny_vit_5m, efficientvit_b0 and others. Several, each "
            "after its own --student, learn from one pass over the data."
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIGEST",
            help="Refuse features of any other teacher: facebook/sam3, a folder, tiny, or a "
            "digest of 16 hex characters.",
        ),
    ] = None,
    feature: Annotated[str, typer.Option(help="The array that the student learns.")] = (
        "image.trunk"
    ),
    views: Views = "identity",
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimizer.")] = 1000,
    batch: Annotated[int, typer.Option(min=1, help="Images per step.")] = 8,
    image_size: Annotated[
        int | None,
        typer.Option(min=32, help="Side of the student's input; by default the teacher's."),
    ] = None,
    rate: Annotated[float, typer.Option("--lr", min=0, help="Peak learning rate.")] = 1e-3,
    precision: Annotated[
        Literal["fp32", "bf16"], typer.Option(help="Arithmetic of the student.")
    ] = "fp32",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N; auto takes CUDA.")] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="By default runs/MANIFEST-STUDENT. Of several students, each has DIR/STUDENT.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the first weights and of the order.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="That read and decode.")] = 4,
    cache_folder: CacheFolder = None,
    cache_bytes: CacheBytes = DEFAULT_CACHE_BYTES,
    requests: Requests = None,
    requests_per_second: RequestsPerSecond = None,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps.")] = 200,
    resume: Annotated[
        Literal["auto", "never"],
        typer.Option(help="auto goes on from a checkpoint; never refuses to touch one."),
    ] = "auto",
) -> None:
    """Train students on published features. The same command resumes."""
    import msgspec

    from pipelines.store.published import find_manifest
    from pipelines.store.request_budget import RequestLimits
    from pipelines.student.config import RunOptions, TrainConfig
    from pipelines.student.student_run import StudentRun
    from pipelines.student.trainer import Trainer, open_training_stream
    from schemas.features import checked_views

    students = _checked_students(student or [_DEFAULT_STUDENT])
    limits = RequestLimits(per_second=requests_per_second, total=requests)
    store = open_for_reading(root, limits, cache_folder, cache_bytes)
    published = find_manifest(store, manifest)
    spec = _wanted_teacher(published, teacher)
    place = _device(device)
    folders = _folders(students, published.manifest.name, out, resume)
    config = TrainConfig(
        feature=feature,
        views=checked_views(words(views)),
        image_size=image_size or spec.preprocess.image_size,
        steps=steps,
        batch_size=batch,
        learning_rate=rate,
        warmup_steps=min(_LONGEST_WARMUP, steps // _WARMUP_SHARE),
        precision=precision,
        seed=seed,
    )
    stream = open_training_stream(
        store, published.reference, config, teacher=spec.digest, threads=threads, device=place
    )
    runs = []
    for name, folder in zip(students, folders, strict=True):
        options = RunOptions(folder=folder, device=place, checkpoint_every=checkpoint_every)
        runs.append(StudentRun(stream, msgspec.structs.replace(config, student=name), options))
    typer.echo(
        f"{', '.join(students)} on {place}, {published.reference}: {stream.samples} samples, "
        f"{feature} of teacher {spec.digest}"
    )
    try:
        show_training(Trainer(stream, runs))
    finally:
        show_requests(store)


def _checked_students(names: list[str]) -> list[str]:
    from pipelines.student.models import timm_name
    from schemas.errors import UsageError

    for name in names:
        timm_name(name)
        if names.count(name) > 1:
            raise UsageError(f"--student {name} is given twice")
    return names


def _folders(students: list[str], manifest: str, out: Path | None, resume: str) -> list[Path]:
    """Return the folder of each student, which may be used."""
    if out is None:
        folders = [Path("runs") / f"{manifest}-{name}" for name in students]
    else:
        folders = [out] if len(students) == 1 else [out / name for name in students]
    for folder in folders:
        _check_folder(folder, resume)
    return folders


def _wanted_teacher(published: PublishedManifest, name: str | None) -> TeacherSpec:
    """Return the manifest's teacher, or refuse it when another one is asked for.

    A name says which weights; precision and context length are then those of the manifest.
    """
    from pipelines.stream.selection import only_teacher, require_teacher

    manifest = published.manifest
    if name is None:
        return only_teacher(manifest)
    if len(name) == _DIGEST_LENGTH and set(name) <= set("0123456789abcdef"):
        return require_teacher(manifest, name)
    from pipelines.teachers.base import options_of
    from pipelines.teachers.load import identify_teacher

    options = options_of(only_teacher(manifest))
    return require_teacher(manifest, identify_teacher(name, options).spec)


def _device(name: str) -> str:
    import torch

    from schemas.errors import UsageError

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as cause:
        reason = str(cause).partition("\n")[0]
        raise UsageError(f"device {name!r} cannot be used: {reason}") from cause
    return name


def _check_folder(folder: Path, resume: str) -> None:
    from pipelines.student.checkpoint import FILE_NAME
    from schemas.errors import UsageError

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file", expected="a folder, or a new path")
    if resume == "never" and (folder / FILE_NAME).exists():
        raise UsageError(
            f"{folder} holds a checkpoint", fix="Choose another --out, or leave --resume at auto."
        )
