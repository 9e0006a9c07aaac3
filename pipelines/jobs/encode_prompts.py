"""Prompt features: the masks that the teacher makes of points and boxes on still images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch

from pipelines.jobs.encode_images import ImageEncoder, ShardImages
from pipelines.jobs.forward import Forward
from pipelines.jobs.unit_writer import UnitWriter
from pipelines.store.arrays import find_array_record
from pipelines.store.splits import Split, StoredObject, StoredSample
from pipelines.teachers.base import PROMPTED, DeviceFeatures, Features, Teacher
from schemas.features import RowKind
from schemas.prompts import STILL_PROMPTS, PointPrompt, box_corners, sampled_point


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked about one image: ``STILL_PROMPTS`` for each of its objects."""

    rows: list[int] = field(default_factory=list)
    """Of the prompt arrays, in the shard."""
    prompts: list[PointPrompt] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptEncoder:
    """Fills the arrays whose rows are prompts, and those whose rows are their images.

    One pass of the trunk serves both; images without objects follow.
    """

    images: ImageEncoder = field(default_factory=ImageEncoder)

    def encode(self, teacher: Teacher, split: Split, shard: int, writer: UnitWriter) -> None:
        """See ``Encoder.encode``."""
        if writer.missing("prompt"):
            asked = ask(split.objects(shard), writer)
            samples = [sample for sample in split.samples(shard) if sample.row in asked]
            images = ShardImages(
                split=split,
                shard=shard,
                size=teacher.spec.preprocess.image_size,
                busy=writer.busy,
            )
            self._encode(teacher, images, samples, asked, writer)
        self.images.encode(teacher, split, shard, writer)

    def _encode(
        self,
        teacher: Teacher,
        images: ShardImages,
        samples: Sequence[StoredSample],
        asked: Mapping[int, Asked],
        writer: UnitWriter,
    ) -> None:
        decoded = set(PROMPTED).intersection(writer.features("prompt"))
        wanted = [*writer.features("sample"), *sorted(decoded)]

        def call(items: Sequence[tuple[int, torch.Tensor]]) -> DeviceFeatures:
            batch = writer.device.upload([image for _, image in items])
            return teacher.encode_prompts(batch, [asked[row].prompts for row, _ in items], wanted)

        for sample in samples:
            if sample.quarantine is not None:
                writer.leave_out("prompt", asked[sample.row].rows, sample.quarantine)
        forward = Forward(call, "prompt", _ImageOutput(writer, asked))
        sound = [sample for sample in samples if sample.quarantine is None]
        for batch in self._batches(images, sound, asked, writer):
            forward.run([row for row, _ in batch], batch)

    def _batches(
        self,
        images: ShardImages,
        samples: Sequence[StoredSample],
        asked: Mapping[int, Asked],
        writer: UnitWriter,
    ) -> Iterator[list[tuple[int, torch.Tensor]]]:
        """Yield rows and images of full batches, then of a last one; quarantine the damaged."""
        batch: list[tuple[int, torch.Tensor]] = []
        decoded = self.images.read_ahead(images, samples, writer)
        for sample, image in zip(samples, decoded, strict=True):
            if isinstance(image, str):
                writer.quarantine("prompt", asked[sample.row].rows, image)
                continue
            batch.append((sample.row, image))
            if len(batch) == self.images.batch:
                yield batch
                batch = []
        if batch:
            yield batch


@dataclass(frozen=True, slots=True)
class _ImageOutput:
    """A unit's writer as a forward pass over images sees it: each stands for all its prompts."""

    writer: UnitWriter
    asked: Mapping[int, Asked]

    def forward(self) -> AbstractContextManager[None]:
        return self.writer.forward()

    def put(self, rows: Sequence[int], features: Features | DeviceFeatures) -> None:
        ours = {name: values for name, values in features.items() if name not in PROMPTED}
        decoded = {name: values for name, values in features.items() if name in PROMPTED}
        asked = [self.asked[row] for row in rows]
        given = coordinates([prompt for one in asked for prompt in one.prompts])
        prompts = [row for one in asked for row in one.rows]
        self.writer.put(rows, ours)  # type: ignore[arg-type]
        self.writer.put(prompts, given | decoded)  # type: ignore[arg-type]

    def quarantine(self, kind: RowKind, rows: Sequence[int], reason: str) -> None:
        for row in rows:
            self.writer.quarantine(kind, self.asked[row].rows, reason)


def ask(objects: Sequence[StoredObject], writer: UnitWriter) -> dict[int, Asked]:
    """Return what is asked about each image, by its row; leave out objects without a mask."""
    found: dict[int, Asked] = defaultdict(Asked)
    for place, item in enumerate(objects):
        first = place * len(STILL_PROMPTS)
        rows = list(range(first, first + len(STILL_PROMPTS)))
        if item.mask is None or not item.mask.area:
            writer.leave_out("prompt", rows, f"unprompted: object {item.object_id} has no mask")
            continue
        found[item.row].rows.extend(rows)
        found[item.row].prompts.extend(prompts_of(item))
    return dict(found)


def prompts_of(item: StoredObject) -> list[PointPrompt]:
    """Return the prompts of an object that has a mask, in the order of ``STILL_PROMPTS``.

    The point depends on key, object id and mask alone.
    """
    assert item.mask is not None
    return [sampled_point(item.mask, f"{item.key}/{item.object_id}"), box_corners(item.mask)]


def coordinates(prompts: Sequence[PointPrompt]) -> Features:
    """Return point [Q, 2] and box [Q, 4] of the object that each prompt is about, in pixels."""
    points, boxes = prompts[::2], prompts[1::2]
    point_Q2 = np.array([prompt.points[0] for prompt in points], dtype=np.float32)
    box_Q4 = np.array([prompt.points for prompt in boxes], dtype=np.float32).reshape(-1, 4)
    ways = len(STILL_PROMPTS)
    return {
        "prompts.points": point_Q2.repeat(ways, axis=0),
        "prompts.boxes": box_Q4.repeat(ways, axis=0),
    }


def prompts_per_shard(split: Split, folder: str) -> int:
    """Return how many prompts a shard of the array in ``folder`` holds; there may be no array yet.

    An array that is there says it: counting reads all commit records of the split.
    """
    record = find_array_record(split.store, folder)
    if record is not None and record.split_digest == split.digest:
        return record.rows_per_shard
    return split.most_prompts
