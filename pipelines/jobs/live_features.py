"""What the live teacher makes of single rows of a split."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from pipelines.engine.prefetch import prefetch
from pipelines.jobs.encode_images import ShardImages
from pipelines.jobs.encode_prompts import coordinates, prompts_of
from pipelines.jobs.overlap import BusyTime
from pipelines.store.rows import ClipRows, clip_rows
from pipelines.store.splits import Split, StoredObject, StoredSample
from pipelines.teachers.base import PROMPTED, Float32, Teacher
from schemas.errors import SamdistillError
from schemas.features import RowKind, View
from schemas.prompts import STILL_PROMPTS

_IMAGES = 4
_PHRASES = 64
_THREADS = 2

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRow:
    """One row, computed now."""

    row: int
    """Of the shard."""
    features: Mapping[str, Float32] = field(default_factory=dict)
    error: Exception | None = None
    """Why there are none: the image cannot be read, or the clip not be tracked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFeatures:
    """Computes rows of one shard, in an order that suits the teacher."""

    teacher: Teacher
    split: Split
    shard: int
    kind: RowKind
    wanted: Sequence[str]
    """Names of features whose rows are of that kind."""
    rows_per_shard: int
    view: View = "identity"

    def compute(self, rows: Sequence[int]) -> Iterator[LiveRow]:
        """Yield each of ``rows`` once; they ascend, and the split lets each have features."""
        if self.kind == "phrase":
            return self._phrases(rows)
        if self.kind == "object_frame":
            return self._object_frames(set(rows))
        return self._prompts(rows) if self.kind == "prompt" else self._samples(rows)

    def _phrases(self, rows: Sequence[int]) -> Iterator[LiveRow]:
        first = self.shard * self.rows_per_shard
        for batch in _batches(rows, _PHRASES):
            phrases = [self.split.phrases[first + row] for row in batch]
            yield from _together(batch, self.teacher.encode_text(phrases))

    def _samples(self, rows: Sequence[int]) -> Iterator[LiveRow]:
        for images in self._images(rows):
            sound: dict[int, torch.Tensor] = {}
            for row, image in images:
                if isinstance(image, Exception):
                    yield _failed(row, image)
                else:
                    sound[row] = image
            if sound:
                batch = torch.stack(list(sound.values()))
                yield from _together(list(sound), self.teacher.encode_images(batch, self.wanted))

    def _prompts(self, rows: Sequence[int]) -> Iterator[LiveRow]:
        asked: dict[int, list[int]] = defaultdict(list)
        objects = self.split.objects(self.shard)
        for row in rows:
            asked[objects[row // len(STILL_PROMPTS)].row].append(row)
        for images in self._images(sorted(asked)):
            for sample, image in images:
                if isinstance(image, Exception):
                    yield from (_failed(row, image) for row in asked[sample])
                else:
                    yield from self._prompts_on(image, asked[sample], objects)

    def _prompts_on(
        self, image: torch.Tensor, rows: Sequence[int], objects: Sequence[StoredObject]
    ) -> Iterator[LiveRow]:
        """Compute prompts of one image, in one pass of the trunk."""
        ways = len(STILL_PROMPTS)
        prompts = [prompts_of(objects[row // ways]) for row in rows]
        asked = [both[row % ways] for row, both in zip(rows, prompts, strict=True)]
        decoded = [name for name in self.wanted if name in PROMPTED]
        found: dict[str, npt.NDArray[Any]] = {}
        if decoded:
            masks = self.teacher.encode_prompts(image[None], [asked], decoded)
            found = {name: values.float().cpu().numpy() for name, values in masks.items()}
        # Both rows of an object have the same coordinates.
        given = coordinates([prompt for both in prompts for prompt in both])
        found |= {name: values[::ways] for name, values in given.items()}
        return _together(rows, found)

    def _object_frames(self, rows: set[int]) -> Iterator[LiveRow]:
        for clip in clip_rows(self.split, self.shard):
            wanted = rows.intersection(clip.places.values())
            try:
                for live in self._track(clip, wanted):
                    wanted.discard(live.row)
                    yield live
            except (SamdistillError, OSError) as error:
                yield from (_failed(row, error) for row in sorted(wanted))

    def _track(self, clip: ClipRows, rows: set[int]) -> Iterator[LiveRow]:
        """Follow the objects of one clip up to the last frame that is wanted."""
        last = max((frame for (_, frame), row in clip.places.items() if row in rows), default=-1)
        if last < 0:
            return
        frames, count = clip.clip.frames, len(clip.clip.frames)
        reader = self._reader()
        with contextlib.closing(
            prefetch(reader.read, frames, threads=_THREADS, ahead=_IMAGES)
        ) as images:
            for tracked in self.teacher.track(images, count, clip.clip.prompts, self.wanted):
                for item in tracked.objects:
                    row = clip.places[item.object_id, tracked.frame]
                    if row in rows:
                        yield LiveRow(row=row, features=item.features)
                if tracked.frame == last:
                    return

    def _images(self, rows: Sequence[int]) -> Iterator[list[tuple[int, torch.Tensor | Exception]]]:
        """Yield batches of rows of samples with their images, or why there is none."""
        samples, reader = self.split.samples(self.shard), self._reader()

        def read(sample: StoredSample) -> torch.Tensor | Exception:
            try:
                return reader.read(sample)
            except (SamdistillError, OSError) as error:
                return error

        chosen = [samples[row] for row in rows]
        with contextlib.closing(
            prefetch(read, chosen, threads=_THREADS, ahead=2 * _IMAGES)
        ) as images:
            for batch in _batches(rows, _IMAGES):
                yield [(row, next(images)) for row in batch]

    def _reader(self) -> ShardImages:
        size = self.teacher.spec.preprocess.image_size
        return ShardImages(
            split=self.split, shard=self.shard, size=size, busy=BusyTime(), view=self.view
        )


def _together(rows: Sequence[int], found: Mapping[str, npt.NDArray[Any]]) -> Iterator[LiveRow]:
    """Yield each row of features that were computed in one pass."""
    for place, row in enumerate(rows):
        features = {
            name: np.asarray(values[place], dtype=np.float32) for name, values in found.items()
        }
        yield LiveRow(row=row, features=features)


def _failed(row: int, error: Exception) -> LiveRow:
    return LiveRow(row=row, error=error)


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[first : first + size] for first in range(0, len(items), size))
