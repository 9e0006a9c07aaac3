"""`samdistill train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.cli.options import DEFAULT_ROOT, Root

if TYPE_CHECKING:
    from pipelines.store.published import PublishedManifest
    from pipelines.student.metrics import StepMetrics, TrainReport
    from schemas.features import TeacherSpec

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
        str, typer.Option(help="repvit_m0_9, tiny_vit_5m, efficientvit_b0 and others.")
    ] = "repvit_m0_9",
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
        Path | None, typer.Option(metavar="DIR", help="By default runs/MANIFEST-STUDENT.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the first weights and of the order.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="That read and decode.")] = 4,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps.")] = 200,
    resume: Annotated[
        Literal["auto", "never"],
        typer.Option(help="auto goes on from a checkpoint; never refuses to touch one."),
    ] = "auto",
) -> None:
    """Train a student on published features. The same command resumes."""
    from pipelines.store.open import open_store
    from pipelines.store.published import find_manifest
    from pipelines.student.config import RunOptions, TrainConfig
    from pipelines.student.models import timm_name
    from pipelines.student.trainer import Trainer, open_training_stream

    timm_name(student)
    store = open_store(root)
    published = find_manifest(store, manifest)
    spec = _wanted_teacher(published, teacher)
    config = TrainConfig(
        student=student,
        feature=feature,
        image_size=image_size or spec.preprocess.image_size,
        steps=steps,
        batch_size=batch,
        learning_rate=rate,
        warmup_steps=min(_LONGEST_WARMUP, steps // _WARMUP_SHARE),
        precision=precision,
        seed=seed,
    )
    folder = out or Path("runs") / f"{published.manifest.name}-{student}"
    options = RunOptions(folder=folder, device=_device(device), checkpoint_every=checkpoint_every)
    _check_folder(folder, resume)
    stream = open_training_stream(
        store,
        published.reference,
        config,
        teacher=spec.digest,
        threads=threads,
        device=options.device,
    )
    trainer = Trainer(stream, config, options)
    typer.echo(
        f"{student} on {options.device}, {published.reference}: {stream.samples} samples, "
        f"{feature} of teacher {spec.digest}"
    )
    if 0 < trainer.step < steps:
        typer.echo(f"going on after step {trainer.step}")
    _show_report(trainer.run(_Progress(steps)))


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
    from pipelines.teachers.base import TeacherOptions
    from pipelines.teachers.load import load_teacher

    found = only_teacher(manifest)
    options = TeacherOptions(precision=found.precision, text_context=found.tokenize.context)
    return require_teacher(manifest, load_teacher(name, options).spec)


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


class _Progress:
    """A line whenever another twentieth of the steps is done, and after the first one."""

    def __init__(self, steps: int) -> None:
        self._steps, self._every = steps, max(1, steps // 20)
        self._seconds = self._wait_seconds = 0.0
        self._count = 0

    def __call__(self, step: StepMetrics) -> None:
        self._seconds += step.seconds
        self._wait_seconds += step.wait_seconds
        self._count += 1
        if step.step % self._every and step.step not in {1, self._steps}:
            return
        typer.echo(
            f"step {step.step}/{self._steps}  loss {step.loss:.4f} "
            f"(mse {step.mse:.4f}, cosine {step.cosine:.4f})  "
            f"{self._count / self._seconds:.2f} steps/s  "
            f"data wait {self._wait_seconds / self._seconds:.1%}"
        )
        self._seconds = self._wait_seconds = 0.0
        self._count = 0


def _show_report(report: TrainReport) -> None:
    if report.new_steps == 0:
        typer.echo(f"complete: all {report.steps} steps were done before")
    typer.echo(
        f"loss        {report.first_loss:.4f} -> {report.last_loss:.4f}, first and last 10 %"
    )
    typer.echo(f"speed       {report.steps_per_second:.2f} steps/s")
    typer.echo(f"data wait   {report.wait_share:.1%} of the time")
    typer.echo(f"checkpoint  {report.checkpoint}")
