"""Memory features: the tracker's states over clips, with the trunk of their frames in one pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipelines.engine.executor import one_line
from pipelines.engine.prefetch import prefetch
from pipelines.jobs.encode_images import ImageEncoder, ShardImages
from pipelines.jobs.unit_writer import UnitWriter
from pipelines.store.rows import clip_rows
from pipelines.store.splits import Split, StoredClip
from pipelines.teachers.base import Features, Teacher, TrackedFrame, TrackedObject
from schemas.errors import DataError

Places = dict[tuple[int, int], int]
"""Row of the memory arrays by object id and frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEncoder:
    """Fills the arrays whose rows are object-frames, and those whose rows are the clips' frames.

    A clip whose data cannot be tracked to the end loses its remaining object-frames, and keeps the
    trunk of every frame that can be decoded. Any other error fails the unit: it may be the device
    or the memory of this process, and quarantine is for good.
    """

    images: ImageEncoder = field(default_factory=ImageEncoder)

    def encode(self, teacher: Teacher, split: Split, shard: int, writer: UnitWriter) -> None:
        """See ``Encoder.encode``."""
        images = ShardImages(
            split=split,
            shard=shard,
            size=teacher.spec.preprocess.image_size,
            busy=writer.busy,
        )
        if writer.missing("object_frame"):
            for found in clip_rows(split, shard):
                self._encode_clip(teacher, images, found.clip, found.places, writer)
        self.images.encode(teacher, split, shard, writer)

    def _encode_clip(
        self,
        teacher: Teacher,
        images: ShardImages,
        clip: StoredClip,
        places: Places,
        writer: UnitWriter,
    ) -> None:
        if not places:
            return
        unusable = [frame.key for frame in clip.frames if frame.quarantine is not None]
        if unusable:
            reason = f"untracked: frame {unusable[0]} is quarantined"
            writer.leave_out("object_frame", places.values(), reason)
            return
        try:
            self._track(teacher, images, clip, places, writer)
        except DataError as error:
            left = sorted(set(writer.missing("object_frame")).intersection(places.values()))
            writer.quarantine("object_frame", left, f"untracked: {one_line(error)}")

    def _track(
        self,
        teacher: Teacher,
        images: ShardImages,
        clip: StoredClip,
        places: Places,
        writer: UnitWriter,
    ) -> None:
        frames = prefetch(
            images.read,
            clip.frames,
            threads=self.images.decode_threads,
            ahead=2 * self.images.batch,
        )
        with contextlib.closing(frames):
            wanted = writer.features("sample") + writer.features("object_frame")
            tracked = teacher.track(frames, len(clip.frames), clip.prompts, wanted)
            for frame in _timed(tracked, writer):
                row = clip.frames[frame.frame].row
                writer.put([row], {name: map_[None] for name, map_ in frame.features.items()})
                rows = [places[tracked.object_id, frame.frame] for tracked in frame.objects]
                writer.put(rows, _stacked(frame.objects))


def _stacked(objects: Sequence[TrackedObject]) -> Features:
    """Return the features of the objects of one frame, by name, one row for each object."""
    names = objects[0].features if objects else ()
    return {name: np.stack([tracked.features[name] for tracked in objects]) for name in names}


def _timed(tracked: Iterator[TrackedFrame], writer: UnitWriter) -> Iterator[TrackedFrame]:
    """Count the time of the tracker, which includes its waiting for frames."""
    while True:
        with writer.forward():
            frame = next(tracked, None)
        if frame is None:
            return
        yield frame
