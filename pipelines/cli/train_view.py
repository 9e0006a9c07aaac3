"""What `samdistill train` shows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pipelines.student.metrics import StepMetrics
    from pipelines.student.student_run import StudentRun
    from pipelines.student.trainer import Trainer
    from schemas.errors import SamdistillError

_LINES = 20


def show_training(trainer: Trainer) -> None:
    """Train to the end, with a line now and then, and say what each student has come to.

    Raises
    ------
    TrainingError
        A student has failed; the others are done.
    """
    from schemas.errors import TrainingError

    several = len(trainer.runs) > 1
    shown = {run: _Progress(run, several) for run in trainer.runs}
    failures = trainer.run(lambda run, step: shown[run].show(step), _show_failure)
    for run in trainer.runs:
        if run not in failures:
            _show_report(run, several)
    if failures:
        raise TrainingError(
            f"{len(failures)} of {len(trainer.runs)} students failed: "
            + ", ".join(run.config.student for run in failures),
            fix="Train it alone: --student NAME --out FOLDER goes on from its checkpoint.",
        )


class _Progress:
    """A line whenever another twentieth of the steps is done, and after the first one."""

    def __init__(self, run: StudentRun, several: bool) -> None:
        self._steps = run.config.steps
        self._every = max(1, self._steps // _LINES)
        self._name = f"{run.config.student}: " if several else ""
        if 0 < run.step < self._steps:
            typer.echo(f"{self._name}going on after step {run.step}")
        self._start()

    def _start(self) -> None:
        self._began, self._wait_seconds, self._count = time.perf_counter(), 0.0, 0

    def show(self, step: StepMetrics) -> None:
        self._wait_seconds += step.wait_seconds
        self._count += 1
        if step.step % self._every and step.step not in {1, self._steps}:
            return
        seconds = time.perf_counter() - self._began
        typer.echo(
            f"{self._name}step {step.step}/{self._steps}  loss {step.loss:.4f} "
            f"(mse {step.mse:.4f}, cosine {step.cosine:.4f})  "
            f"{self._count / seconds:.2f} steps/s  "
            f"data wait {self._wait_seconds / seconds:.1%}"
        )
        self._start()


def _show_failure(run: StudentRun, error: SamdistillError) -> None:
    typer.echo(f"{run.config.student} stopped, the others go on: {error}", err=True)


def _show_report(run: StudentRun, several: bool) -> None:
    report = run.report()
    if several:
        typer.echo(f"student     {run.config.student}")
    if report.new_steps == 0:
        typer.echo(f"complete: all {report.steps} steps were done before")
    typer.echo(
        f"loss        {report.first_loss:.4f} -> {report.last_loss:.4f}, first and last 10 %"
    )
    typer.echo(f"speed       {report.steps_per_second:.2f} steps/s")
    typer.echo(f"data wait   {report.wait_share:.1%} of the time")
    typer.echo(f"checkpoint  {report.checkpoint}")
