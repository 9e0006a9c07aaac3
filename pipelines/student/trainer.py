"""The training loop: one pass over the data, for one student or for many.

Stopped anywhere and started again, each comes to the weights that it would come to alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import torch

from pipelines.store.objects import ObjectStore
from pipelines.stream.feature_stream import FeatureStream
from pipelines.student.config import TrainConfig
from pipelines.student.interrupts import Interrupts
from pipelines.student.lessons import Lesson, read_lessons
from pipelines.student.metrics import StepMetrics
from pipelines.student.student_run import StudentRun
from schemas.errors import SamdistillError, UsageError

StepListener = Callable[[StudentRun, StepMetrics], None]
FailureListener = Callable[[StudentRun, SamdistillError], None]


class Trainer:
    """Trains students on one stream: a batch is read, moved and decoded once for all of them.

    The stream starts where the student that is furthest behind goes on; the others wait until it
    has come to them. So each sees exactly the batches that it would see alone, and students with
    checkpoints of different steps, or a new one among old ones, are no special case.

    Raises
    ------
    UsageError
        Two students need different batches, or would write into one folder.
    """

    def __init__(self, stream: FeatureStream, runs: Sequence[StudentRun]) -> None:
        _require_compatible(runs)
        self.stream, self.runs = stream, tuple(runs)

    def run(
        self,
        on_step: StepListener,
        on_failure: FailureListener = lambda _run, _error: None,
        *,
        stop_after: int | None = None,
    ) -> dict[StudentRun, SamdistillError]:
        """Train all to their last steps, and return those that failed, with the reason.

        Parameters
        ----------
        on_step
            Called after each step of each student.
        on_failure
            Called when a student has failed while others are left; these go on.
        stop_after
            Stop after that many steps of each, with a checkpoint; the schedule of the learning
            rate is that of the whole run all the same.

        Raises
        ------
        SamdistillError
            No student is left, or what all of them need cannot be read.
        KeyboardInterrupt
            Interrupted; each student has a checkpoint of its last whole step.
        """
        session = _Session(self.runs, on_step, on_failure, stop_after)
        with Interrupts() as interrupts:
            try:
                while session.learning:
                    self._read_from_the_last(session, interrupts)
            except KeyboardInterrupt:
                session.save()
                raise
        return session.failures

    def _read_from_the_last(self, session: _Session, interrupts: Interrupts) -> None:
        """Teach from the position of the last student, until all are done or further ahead."""
        last = min(session.learning, key=lambda run: run.position)
        self.stream.load_state_dict(last.stream_state)
        lessons = read_lessons(self.stream, last.config.feature, last.options.device)
        with contextlib.closing(lessons):
            while session.teach(next(lessons), interrupts):
                pass


class _Session:
    """The students that one call of ``Trainer.run`` is teaching."""

    def __init__(
        self,
        runs: Sequence[StudentRun],
        on_step: StepListener,
        on_failure: FailureListener,
        stop_after: int | None,
    ) -> None:
        self._count, self._on_step, self._on_failure = len(runs), on_step, on_failure
        self._last_steps = {
            run: min(
                run.config.steps,
                run.step + (run.config.steps if stop_after is None else stop_after),
            )
            for run in runs
        }
        self.learning = [run for run in runs if run.step < self._last_steps[run]]
        self.failures: dict[StudentRun, SamdistillError] = {}

    def teach(self, lesson: Lesson, interrupts: Interrupts) -> bool:
        """Give the lesson to those to whom it is new; tell whether one of them needs the next."""
        for run in tuple(self.learning):
            if run.position < lesson.position:
                try:
                    self._step(run, lesson, interrupts)
                except SamdistillError as error:
                    self._give_up(run, error)
        return any(run.position == lesson.position for run in self.learning)

    def save(self) -> None:
        """Write the checkpoints of all that are still learning, even when one cannot be written."""
        with contextlib.ExitStack() as stack:
            for run in self.learning:
                stack.callback(run.save)

    def _step(self, run: StudentRun, lesson: Lesson, interrupts: Interrupts) -> None:
        with interrupts.held():
            self._on_step(run, run.learn(lesson))
        done = run.step == self._last_steps[run]
        if done or run.is_due():
            run.save()
        if done:
            self.learning.remove(run)

    def _give_up(self, run: StudentRun, error: SamdistillError) -> None:
        self.failures[run] = error
        self.learning.remove(run)
        if len(self.failures) == self._count:
            raise error
        # The frames of the traceback would keep the memory of the step.
        error.__cause__ = error.__traceback__ = None
        run.release()
        self._on_failure(run, error)


def _require_compatible(runs: Sequence[StudentRun]) -> None:
    first = runs[0]
    for run in runs[1:]:
        for name in ("feature", "views", "image_size", "batch_size", "seed"):
            wanted, found = getattr(first.config, name), getattr(run.config, name)
            if found != wanted:
                raise UsageError(
                    f"{name} of {run.options.folder}, trained on the batches of "
                    f"{first.options.folder}",
                    expected=wanted,
                    got=found,
                )
        if run.options.device != first.options.device:
            raise UsageError(
                f"device of {run.options.folder}",
                expected=first.options.device,
                got=run.options.device,
            )
    folders = [run.options.folder.absolute() for run in runs]
    if len(set(folders)) < len(folders):
        raise UsageError(f"students share a folder: {', '.join(map(str, folders))}")


def open_training_stream(
    store: ObjectStore | str,
    manifest: str,
    config: TrainConfig,
    *,
    teacher: str | None = None,
    threads: int = 4,
    device: str = "cpu",
) -> FeatureStream:
    """Open the endless stream that ``config`` trains on."""
    return FeatureStream(
        store,
        manifest,
        image_size=config.image_size,
        features=(config.feature,),
        views=config.views,
        teacher=teacher,
        batch_size=config.batch_size,
        seed=config.seed,
        threads=threads,
        pin_memory=torch.device(device).type == "cuda",
    )
