"""One student in training, and the folder of its result."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

import torch
from torch import nn

from pipelines.stream.feature_stream import FeatureStream, StreamState
from pipelines.student.checkpoint import (
    FILE_NAME,
    Checkpoint,
    RunIdentity,
    capture_random_states,
    load_checkpoint,
    restore_random_states,
    save_checkpoint,
)
from pipelines.student.config import RunOptions, TrainConfig
from pipelines.student.lessons import Lesson
from pipelines.student.losses import distill_loss
from pipelines.student.metrics import MetricsLog, StepMetrics, TrainReport, make_report
from pipelines.student.models import ImageStudent
from pipelines.student.run_folder import writing
from pipelines.student.schedule import learning_rate, make_optimizer, set_learning_rate
from schemas.errors import DataError, TrainingError


class StudentRun:
    """A student with its optimizer, its random numbers, its log and its checkpoint.

    Goes on from the folder's checkpoint. On a CPU, with the same number of PyTorch threads, the
    weights after a step depend on the configuration and the manifest alone: not on where earlier
    processes stopped, nor on the students beside this one.

    Raises
    ------
    IdentityError
        The folder's checkpoint is of another student, manifest, teacher or configuration.
    """

    def __init__(self, stream: FeatureStream, config: TrainConfig, options: RunOptions) -> None:
        self.config, self.options = config, options
        self.step = 0
        """Steps done, by earlier processes too."""
        feature = stream.features[config.feature]
        self.identity = RunIdentity(
            manifest=stream.manifest.digest,
            manifest_reference=stream.manifest.reference,
            config=config,
            feature=feature,
            teacher=stream.teacher,
        )
        torch.manual_seed(config.seed)
        student = ImageStudent(config.student, feature, stream.teacher.preprocess)
        self.student = student.to(options.device).train()
        self._optimizer = make_optimizer(self.student, config)
        self._random_states = capture_random_states()
        self.stream_state: StreamState = stream.state_dict() | {"position": 0}
        """What the stream has to go on from for the next step."""
        self._path = options.folder / FILE_NAME
        with writing(options.folder):
            options.folder.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            self._restore(load_checkpoint(self._path), stream)
        self._metrics = MetricsLog(options.folder, self.step)
        self._first_step = self._saved_step = self.step
        self._saved_at = time.monotonic()
        self._whole = True

    @property
    def position(self) -> int:
        """Where the stream was after the last step."""
        return int(self.stream_state["position"])

    def learn(self, lesson: Lesson) -> StepMetrics:
        """Do one step of the optimizer, and log it.

        Raises
        ------
        DataError
            The loss or its gradient is not finite; the weights are those of the step before.
        TrainingError
            PyTorch gave up: no memory left, a fault of the device.
        """
        began = time.perf_counter()
        self._whole = False
        rate = learning_rate(self.config, self.step)
        set_learning_rate(self._optimizer, rate)
        with self._own_random_numbers(), self._faults():
            values = self._update(lesson)
        self.step += 1
        metrics = StepMetrics(
            step=self.step,
            learning_rate=rate,
            seconds=lesson.seconds + time.perf_counter() - began,
            wait_seconds=lesson.wait_seconds,
            **values,
        )
        self._metrics.append(metrics)
        self.stream_state = self.stream_state | {"position": lesson.position}
        self._whole = True
        return metrics

    def is_due(self) -> bool:
        """Tell whether a checkpoint is due; when it is written does not change the weights."""
        if self.step % self.options.checkpoint_every == 0:
            return True
        return time.monotonic() - self._saved_at >= self.options.checkpoint_seconds

    def save(self) -> None:
        """Write a checkpoint, unless a step was broken off or the last one is still good."""
        if not self._whole or self.step == self._saved_step:
            return
        self._metrics.sync()
        save_checkpoint(
            self._path,
            Checkpoint(
                identity=self.identity,
                step=self.step,
                model=self.student.state_dict(),
                optimizer=self._optimizer.state_dict(),
                stream=self.stream_state,
                random_states=self._random_states,
            ),
        )
        self._saved_step, self._saved_at = self.step, time.monotonic()

    def release(self) -> None:
        """Give the memory of a run that has stopped to those that go on."""
        self._optimizer.zero_grad()
        self._optimizer.state.clear()
        self.student.to("cpu")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def report(self) -> TrainReport:
        """Summarize the run, of which there is at least one step."""
        return make_report(self._path, self._metrics.steps, self.step - self._first_step)

    def _update(self, lesson: Lesson) -> dict[str, float]:
        """Return the losses and the norm of the gradient."""
        config, device = self.config, torch.device(self.options.device)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            student_BCGG = self.student(lesson.images_BCHW)
        loss = distill_loss(
            student_BCGG,
            lesson.teacher_BCGG,
            mse_weight=config.mse_weight,
            cosine_weight=config.cosine_weight,
        )
        self._optimizer.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.student.parameters(), config.gradient_clip)
        values = {
            "loss": loss.total.item(),
            "mse": loss.mse.item(),
            "cosine": loss.cosine.item(),
            "gradient_norm": norm.item(),
        }
        self._require_finite(values, lesson)
        self._optimizer.step()
        return values

    def _require_finite(self, values: dict[str, float], lesson: Lesson) -> None:
        """Stop before weights that are not numbers replace the last good ones."""
        if not all(math.isfinite(value) for value in values.values()):
            raise DataError(
                f"step {self.step + 1} of {self.options.folder} is not finite, "
                f"on samples {', '.join(lesson.keys)}",
                got=", ".join(f"{name} {value:g}" for name, value in values.items()),
                fix="Train into another folder with a lower --lr; the checkpoint is still good.",
            )

    @contextlib.contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        """Let the block draw what it would draw if no other student were there."""
        restore_random_states(self._random_states)
        yield
        self._random_states = capture_random_states()

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as cause:
            reason = str(cause).partition("\n")[0] or type(cause).__name__
            raise TrainingError(
                f"step {self.step + 1} of {self.options.folder} failed: {reason}",
                fix="If memory ran out, lower --batch or train fewer students at once.",
            ) from cause

    def _restore(self, checkpoint: Checkpoint, stream: FeatureStream) -> None:
        self.identity.require_same(checkpoint.identity, self._path)
        stream.load_state_dict(checkpoint.stream)
        self.student.load_state_dict(checkpoint.model)
        self._optimizer.load_state_dict(checkpoint.optimizer)
        self._random_states = checkpoint.random_states
        self.stream_state = checkpoint.stream
        self.step = checkpoint.step
