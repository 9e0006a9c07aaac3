"""Batches as students take them.

Suffixes: B batch, C channels, G side of the feature grid, H height, W width.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch

from pipelines.stream.batches import Batch
from pipelines.stream.feature_stream import FeatureStream


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """One batch, on the device of the students, decoded once for all of them."""

    keys: tuple[str, ...]
    position: int
    """Where the stream is after it."""
    images_BCHW: torch.Tensor
    teacher_BCGG: torch.Tensor
    """float32."""
    wait_seconds: float
    """How long the batch was waited for."""
    seconds: float
    """The wait, moving and decoding."""


def read_lessons(stream: FeatureStream, feature: str, device: str) -> Generator[Lesson, None, None]:
    """Yield the lessons of an endless stream from its position on; closing ends its threads."""
    with contextlib.closing(iter(stream)) as batches:
        while True:
            # Nothing of a lesson is kept here: its memory is that of a batch to come.
            yield _read_lesson(stream, batches, feature, device)


def _read_lesson(
    stream: FeatureStream, batches: Iterator[Batch], feature: str, device: str
) -> Lesson:
    began, waited = time.perf_counter(), stream.wait_seconds
    batch = next(batches).to(device)
    assert batch.images_BCHW is not None
    return Lesson(
        keys=batch.keys,
        position=batch.position,
        images_BCHW=batch.images_BCHW,
        teacher_BCGG=batch.values(feature, torch.float32),
        wait_seconds=stream.wait_seconds - waited,
        seconds=time.perf_counter() - began,
    )
