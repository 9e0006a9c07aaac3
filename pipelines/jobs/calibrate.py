"""A short run of the live teacher on this machine: what a row of each kind costs here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, islice

import torch

from pipelines.jobs.asked_features import AskedFeature
from pipelines.jobs.plan import Speeds
from pipelines.jobs.split_sizes import SplitSize
from pipelines.media.preprocess import resize_to_square
from pipelines.media.stored import StoredPictures
from pipelines.store.objects import ObjectStore
from pipelines.store.splits import Split, StoredClip
from pipelines.teachers.base import Teacher
from schemas.features import RowKind
from schemas.prompts import box_prompt, point_prompt
from schemas.videos import object_frames

_WRITE_BLOCK = 16 << 20
_PHRASES = 64
_PROMPTS = 16
"""Of an image; how many there are decides only whose share of the neck a prompt bears."""
_POINT = point_prompt(20, 20, height=100, width=100)
_BOX = box_prompt(10, 10, 60, 60, height=100, width=100)


def calibrate(
    store: ObjectStore,
    teacher: Teacher,
    sizes: list[SplitSize],
    wanted: Sequence[AskedFeature],
    *,
    batch: int,
    seconds: float = 20.0,
) -> Speeds:
    """Measure for about ``seconds`` per kind of rows that these features have, and the writing.

    Images and clips are those of the first normalized split that has some; before that, images are
    noise, since the time does not depend on what they show, and clips are left out.

    Parameters
    ----------
    wanted
        As for ``make_plan``.
    """
    splits = [size.split_record for size in sizes if size.split_record is not None]
    asked = {feature.rows for feature in wanted}
    kinds = asked & {kind for size in sizes for kind in size.rows}
    found: dict[RowKind, float] = {}
    if kinds & {"sample", "object_frame", "prompt"}:
        images = torch.stack(list(islice(cycle(_images(splits, teacher, batch)), batch)))
        found["sample"] = _per_row(lambda: _encode(teacher, images), batch, seconds)
    if "phrase" in kinds:
        phrases = list(islice(cycle(_phrases(splits)), _PHRASES))
        found["phrase"] = _per_row(lambda: teacher.encode_text(phrases), _PHRASES, seconds)
    if "prompt" in kinds:
        found["prompt"] = _per_prompt(teacher, images[:1], found["sample"], seconds)
    clip = _clip(splits) if "object_frame" in kinds else None
    if clip is not None:
        found["object_frame"] = _per_object_frame(teacher, *clip, found["sample"], seconds)
    return Speeds(source="calibrated", seconds=found, write_gb=_write_speed(store))


def _encode(teacher: Teacher, images_BCHW: torch.Tensor) -> None:
    for values in teacher.encode_on_device(images_BCHW).values():
        values[:1].cpu()  # wait for the device


def _per_row(call: Callable[[], object], rows: int, seconds: float) -> float:
    """Return the seconds of a row, after a first call that only warms up."""
    call()
    begun, done = time.perf_counter(), 0
    while done == 0 or time.perf_counter() - begun < seconds:
        call()
        done += rows
    return (time.perf_counter() - begun) / done


def _per_prompt(
    teacher: Teacher, image_1CHW: torch.Tensor, image_seconds: float, seconds: float
) -> float:
    """Return the seconds of a prompt, beside those of its image's trunk: the neck's share, too."""
    asked = [_POINT, _BOX] * (_PROMPTS // 2)

    def call() -> None:
        for values in teacher.encode_prompts(image_1CHW, [asked]).values():
            values[:1].cpu()

    return max(0.0, _per_row(call, _PROMPTS, seconds) - image_seconds / _PROMPTS)


def _images(splits: list[Split], teacher: Teacher, count: int) -> Iterator[torch.Tensor]:
    size, made, pictures = teacher.spec.preprocess.image_size, 0, StoredPictures()
    for split in splits:
        for shard in range(split.record.shards):
            for sample in split.samples(shard):
                if sample.quarantine is None and made < count:
                    image = pictures.decode(sample, partial(split.read_image, shard, sample))
                    yield resize_to_square(image, size)
                    made += 1
            if made == count:
                return
    if not made:
        generator = torch.Generator().manual_seed(0)
        yield torch.randint(256, (3, size, size), dtype=torch.uint8, generator=generator)


def _phrases(splits: list[Split]) -> list[str]:
    found = [phrase for split in splits if split.record.phrases for phrase in split.phrases]
    return found[:_PHRASES] or ["a red umbrella beside the old wooden door"]


def _clip(splits: list[Split]) -> tuple[Split, int, StoredClip] | None:
    """Return the first clip whose frames are all sound and that has an object to track."""
    for split in splits:
        for shard in range(split.record.shards):
            for clip in split.clips(shard):
                sound = all(frame.quarantine is None for frame in clip.frames)
                if sound and clip.prompts:
                    return split, shard, clip
    return None


def _per_object_frame(
    teacher: Teacher,
    split: Split,
    shard: int,
    clip: StoredClip,
    image_seconds: float,
    seconds: float,
) -> float:
    """Return the seconds of an object on a frame, beside those of the frame's trunk."""
    size = teacher.spec.preprocess.image_size
    pictures = StoredPictures()
    images = (
        pictures.decode(frame, partial(split.read_image, shard, frame)) for frame in clip.frames
    )
    frames = [resize_to_square(image, size) for image in images]
    begun, tracked, objects = time.perf_counter(), 0, 0
    for frame in teacher.track(frames, len(frames), clip.prompts):
        tracked += 1
        objects += len(frame.objects)
        if objects and time.perf_counter() - begun > seconds:
            break
    spent = time.perf_counter() - begun - tracked * image_seconds
    rows = objects or len(object_frames(clip.clip, len(clip.frames), clip.prompts))
    return max(0.0, spent) / max(1, rows)


def _write_speed(store: ObjectStore, total: int = 512 << 20) -> float:
    """Return how many 1e9 bytes the root takes in a second; what is written never appears."""
    block = os.urandom(_WRITE_BLOCK)
    begun = time.perf_counter()
    with store.stage(f"features/.calibration-{os.getpid()}") as staged:
        while staged.bytes < total:
            staged.write(block)
        os.fsync(staged.file.fileno())
    return staged.bytes / (time.perf_counter() - begun) / 1e9
