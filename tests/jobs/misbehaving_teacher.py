"""The tiny teacher, with faults planted into its forward pass."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from pipelines.teachers.base import (
    MEMORY,
    PROMPTED,
    TRUNK,
    DeviceFeatures,
    Features,
    Teacher,
    TrackedFrame,
)
from schemas.features import FeatureSpec, TeacherSpec
from schemas.prompts import PointPrompt
from schemas.videos import Prompt
from tests.jobs.normalized_split import load_tiny

Fault = Callable[[torch.Tensor], None]
"""Called with each batch of images."""


class MisbehavingTeacher:
    def __init__(self, fault: Fault, nan_in: int | None = None) -> None:
        self._teacher: Teacher = load_tiny()
        self._fault = fault
        self._nan_in = nan_in
        self._images = 0

    @property
    def spec(self) -> TeacherSpec:
        return self._teacher.spec

    def feature(self, name: str, codec: str | None = None) -> FeatureSpec:
        return self._teacher.feature(name, codec)

    @property
    def device(self) -> torch.device:
        return self._teacher.device

    def encode_images(self, batch_BCHW: torch.Tensor, wanted: Collection[str] = TRUNK) -> Features:
        found = self.encode_on_device(batch_BCHW, wanted)
        return {name: values.numpy() for name, values in found.items()}

    def encode_on_device(
        self, batch_BCHW: torch.Tensor, wanted: Collection[str] = TRUNK
    ) -> DeviceFeatures:
        self._fault(batch_BCHW)
        found = self._teacher.encode_on_device(batch_BCHW, wanted)
        features = {name: values.clone() for name, values in found.items()}
        first, self._images = self._images, self._images + len(batch_BCHW)
        if self._nan_in is not None and first <= self._nan_in < self._images:
            features["image.trunk"][self._nan_in - first, 3, 2, 1] = torch.nan
        return features

    def encode_prompts(
        self,
        batch_BCHW: torch.Tensor,
        prompts: Sequence[Sequence[PointPrompt]],
        wanted: Collection[str] = PROMPTED,
    ) -> DeviceFeatures:
        self._fault(batch_BCHW)
        return self._teacher.encode_prompts(batch_BCHW, prompts, wanted)

    def encode_text(self, phrases: Sequence[str]) -> Features:
        if any(phrase == "thing 2" for phrase in phrases):
            raise RuntimeError("no such thing")
        return self._teacher.encode_text(phrases)

    def track(
        self,
        frames: Iterable[torch.Tensor],
        frame_count: int,
        prompts: Sequence[Prompt],
        wanted: Collection[str] = TRUNK + MEMORY,
    ) -> Iterator[TrackedFrame]:
        for frame in self._teacher.track(frames, frame_count, prompts, wanted):
            self._fault(torch.tensor(frame.frame))
            yield frame


def load_killer(marker: Path) -> Teacher:
    """Return a teacher that kills its process in the middle of a unit, once."""
    return MisbehavingTeacher(partial(_kill_once, marker))


def _kill_once(marker: Path, batch: torch.Tensor) -> None:
    if batch.ndim == 4 and len(batch) < 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
