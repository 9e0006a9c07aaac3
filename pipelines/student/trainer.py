"""The training loop. Stopped anywhere and started again, it comes to the same weights.

Suffixes: B batch, C channels, G side of the feature grid, H height, W width.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator

import torch
from torch import nn

from pipelines.store.objects import ObjectStore
from pipelines.stream.batches import Batch
from pipelines.stream.feature_stream import FeatureStream
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
from pipelines.student.interrupts import Interrupts
from pipelines.student.losses import distill_loss
from pipelines.student.metrics import MetricsLog, StepMetrics, TrainReport, make_report
from pipelines.student.models import ImageStudent
from pipelines.student.run_folder import writing
from pipelines.student.schedule import learning_rate, make_optimizer, set_learning_rate
from schemas.errors import DataError

StepListener = Callable[[StepMetrics], None]
TimedBatches = Generator[tuple[Batch, float, float], None, None]


class Trainer:
    """One run: a student, a stream of the teacher's features, and a folder for the result.

    Resumes from the folder's checkpoint. On a CPU, with the same number of PyTorch threads, the
    resumed run is bit-equal to an unbroken one. Seeds PyTorch's global generator.

    Raises
    ------
    IdentityError
        The folder's checkpoint is of another student, manifest, teacher or configuration.
    """

    def __init__(self, stream: FeatureStream, config: TrainConfig, options: RunOptions) -> None:
        self.stream, self.config, self._options = stream, config, options
        self.step = 0
        """Steps done, by earlier calls too."""
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
        self.student = student.to(options.device)
        self._optimizer = make_optimizer(self.student, config)
        self._path = options.folder / FILE_NAME
        with writing(options.folder):
            options.folder.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            self._restore(load_checkpoint(self._path))
        self._metrics = MetricsLog(options.folder, self.step)
        self._saved_step, self._saved_at = self.step, time.monotonic()
        self._whole, self._stream_state = True, stream.state_dict()

    def run(self, listener: StepListener, *, stop_after: int | None = None) -> TrainReport:
        """Train to the last step, calling ``listener`` after each.

        Parameters
        ----------
        stop_after
            Stop after that many steps of this call, with a checkpoint; the schedule of the
            learning rate is that of the whole run all the same.

        Raises
        ------
        KeyboardInterrupt
            Interrupted; there is a checkpoint of the last step that was done whole.
        """
        first = self.step
        last = self.config.steps
        if stop_after is not None:
            last = min(last, first + stop_after)
        self.student.train()
        if self.step < last:
            with Interrupts() as interrupts, contextlib.closing(_timed(self.stream)) as batches:
                try:
                    self._do_steps(batches, last, interrupts, listener)
                except KeyboardInterrupt:
                    if self._whole and self.step > self._saved_step:
                        self._save()
                    raise
        return make_report(self._path, self._metrics.steps, self.step - first)

    def _do_steps(
        self, batches: TimedBatches, last: int, interrupts: Interrupts, listener: StepListener
    ) -> None:
        for batch, began, waited in batches:
            with interrupts.held():
                self._do_step(batch, began, waited, listener)
            if self.step == last or self._is_due():
                self._save()
            if self.step == last:
                return

    def _is_due(self) -> bool:
        """Tell whether a checkpoint is due; when it is written does not change the weights."""
        if self.step % self._options.checkpoint_every == 0:
            return True
        return time.monotonic() - self._saved_at >= self._options.checkpoint_seconds

    def _do_step(self, batch: Batch, began: float, waited: float, listener: StepListener) -> None:
        self._whole = False
        rate = learning_rate(self.config, self.step)
        set_learning_rate(self._optimizer, rate)
        values = self._learn(batch)
        self.step += 1
        metrics = StepMetrics(
            step=self.step,
            learning_rate=rate,
            seconds=time.perf_counter() - began,
            wait_seconds=waited,
            **values,
        )
        self._metrics.append(metrics)
        # The stream may already be one batch further when an interrupt comes.
        self._whole, self._stream_state = True, self.stream.state_dict()
        listener(metrics)

    def _learn(self, batch: Batch) -> dict[str, float]:
        """Do one step of the optimizer and return its losses and the norm of its gradient."""
        device, config = self._options.device, self.config
        assert batch.images_BCHW is not None
        images_BCHW = batch.images_BCHW.to(device, non_blocking=True)
        teacher_BCGG = batch.features[config.feature].to(device, non_blocking=True)
        kind = torch.device(device).type
        with torch.autocast(kind, torch.bfloat16, enabled=config.precision == "bf16"):
            student_BCGG = self.student(images_BCHW)
        loss = distill_loss(
            student_BCGG,
            teacher_BCGG,
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
        self._require_finite(values, batch)
        self._optimizer.step()
        return values

    def _require_finite(self, values: dict[str, float], batch: Batch) -> None:
        """Stop before weights that are not numbers replace the last good ones."""
        if not all(math.isfinite(value) for value in values.values()):
            raise DataError(
                f"step {self.step + 1} of {self._options.folder} is not finite, "
                f"on samples {', '.join(batch.keys)}",
                got=", ".join(f"{name} {value:g}" for name, value in values.items()),
                fix="Train into another folder with a lower --lr; the checkpoint is still good.",
            )

    def _save(self) -> None:
        self._metrics.sync()
        save_checkpoint(
            self._path,
            Checkpoint(
                identity=self.identity,
                step=self.step,
                model=self.student.state_dict(),
                optimizer=self._optimizer.state_dict(),
                stream=self._stream_state,
                random_states=capture_random_states(),
            ),
        )
        self._saved_step, self._saved_at = self.step, time.monotonic()

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.identity.require_same(checkpoint.identity, self._path)
        self.stream.load_state_dict(checkpoint.stream)
        self.student.load_state_dict(checkpoint.model)
        self._optimizer.load_state_dict(checkpoint.optimizer)
        restore_random_states(checkpoint.random_states)
        self.step = checkpoint.step


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
        teacher=teacher,
        batch_size=config.batch_size,
        seed=config.seed,
        threads=threads,
        pin_memory=torch.device(device).type == "cuda",
    )


def _timed(stream: FeatureStream) -> TimedBatches:
    """Yield each batch, when its step began, and for how long it was waited for."""
    with contextlib.closing(iter(stream)) as batches:
        while True:
            began, waited = time.perf_counter(), stream.wait_seconds
            batch = next(batches)
            yield batch, began, stream.wait_seconds - waited
