"""What each step of a run was like, one line of JSON per step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pipelines.student.run_folder import writing
from schemas.errors import DataError
from schemas.ids import parse_json

FILE_NAME = "metrics.jsonl"
_AVERAGED_SHARE = 0.1


class StepMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """One step, counted from 1."""

    step: int
    loss: float
    mse: float
    cosine: float
    learning_rate: float
    gradient_norm: float
    """Before clipping."""
    seconds: float
    """Waiting included; the saving of checkpoints and the work of other students not."""
    wait_seconds: float
    """How long the step waited for its batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """What a run has come to."""

    checkpoint: Path
    steps: int
    new_steps: int
    """Of those, done by this call; 0 when the run was complete."""
    first_loss: float
    """Mean over the first tenth of all steps."""
    last_loss: float
    """Mean over the last tenth."""
    steps_per_second: float
    """Of all steps, from ``metrics.jsonl``."""
    wait_share: float
    """Share of the time in which training waited for data."""


class MetricsLog:
    """The file ``metrics.jsonl`` of a run: exactly one line per step.

    Lines after the checkpoint that a run resumes from are dropped; their steps are done again.

    Raises
    ------
    DataError
        The file lacks steps that the checkpoint covers.
    """

    def __init__(self, folder: Path, resumed_step: int) -> None:
        self._path = folder / FILE_NAME
        self.steps = read_metrics(folder)[:resumed_step]
        if [step.step for step in self.steps] != list(range(1, resumed_step + 1)):
            raise DataError(
                f"{self._path} does not fit the checkpoint beside it",
                expected=f"steps 1 to {resumed_step}",
                got=f"{len(self.steps)} lines",
                fix="Restore it, or train into another folder.",
            )
        temporary = self._path.with_name(f".{FILE_NAME}.tmp")
        with writing(self._path):
            temporary.write_bytes(b"".join(_line(step) for step in self.steps))
            temporary.replace(self._path)

    def append(self, step: StepMetrics) -> None:
        """Add a step; its line outlives the process."""
        self.steps.append(step)
        with writing(self._path), self._path.open("ab") as file:
            file.write(_line(step))

    def sync(self) -> None:
        """Make all lines durable: to be called before a checkpoint that covers them."""
        with writing(self._path), self._path.open("ab") as file:
            os.fsync(file.fileno())


def read_metrics(folder: Path) -> list[StepMetrics]:
    """Return the steps that a run has logged; a last line that was cut by a crash is left out."""
    path = folder / FILE_NAME
    if not path.exists():
        return []
    whole, _, _cut = path.read_bytes().rpartition(b"\n")
    return [parse_json(line, StepMetrics, str(path)) for line in whole.splitlines()]


def make_report(checkpoint: Path, steps: Sequence[StepMetrics], new_steps: int) -> TrainReport:
    """Summarize a run from the metrics of all its steps, of which there is at least one."""
    tenth = max(1, int(len(steps) * _AVERAGED_SHARE))
    seconds = sum(step.seconds for step in steps)
    return TrainReport(
        checkpoint=checkpoint,
        steps=len(steps),
        new_steps=new_steps,
        first_loss=sum(step.loss for step in steps[:tenth]) / tenth,
        last_loss=sum(step.loss for step in steps[-tenth:]) / tenth,
        steps_per_second=len(steps) / seconds,
        wait_share=sum(step.wait_seconds for step in steps) / seconds,
    )


def _line(step: StepMetrics) -> bytes:
    return msgspec.json.encode(step) + b"\n"
