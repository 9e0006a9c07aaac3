"""A made-up normalized split, written by the real job, and its cache plans."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.engine.executor import LocalExecutor
from pipelines.jobs.asked_features import expand_features
from pipelines.jobs.cache import CacheOptions, CachePlan, plan_cache
from pipelines.jobs.feature_stage import teacher_loader
from pipelines.jobs.finish_split import Budget
from pipelines.jobs.normalize import NormalizeJob
from pipelines.jobs.shard_normalized import NormalizeStage
from pipelines.store import layout
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split
from pipelines.store.tables import encode_table
from pipelines.teachers.base import Teacher, TeacherOptions
from schemas.ids import digest_bytes, frame_key
from schemas.masks import MaskRLE, encode_mask
from schemas.samples import Annotation, Group, MediaKind, Sample, Source
from schemas.tables import SAMPLES
from tests.engine.stages import Heard

WIDTH, HEIGHT = 40, 30
load_tiny = teacher_loader("tiny", TeacherOptions(image_batch=3))


@dataclass(frozen=True)
class Stills:
    """Pictures of noise, each with one phrase; picture 5 is not there."""

    count: int = 10
    phrases: int = 7
    dataset = "made-up"
    split = "stills"
    media: MediaKind = "image"
    licence = "none"
    version = "1"

    def sources(self) -> Mapping[str, str]:
        return {"noise": "unverified"}

    def dropped(self) -> Mapping[str, int]:
        return {}

    def groups(self) -> Sequence[Group]:
        return [Group(key=f"still-{index:03d}", rows=1) for index in range(self.count)]

    def read(self, group: Group) -> Iterator[Sample]:
        index = int(group.key.rpartition("-")[2])
        thing = Annotation(
            object_id=index,
            mask=_square(index),
            phrases=(f"thing {index % self.phrases}",) if self.phrases else (),
        )
        yield Sample(
            key=group.key,
            source=Source(archive="noise", member=group.key),
            width=WIDTH,
            height=HEIGHT,
            encoded=b"" if index == 5 else _noise(index),
            annotations=(thing,),
            quarantine="missing: not in the archive" if index == 5 else None,
        )


@dataclass(frozen=True)
class Clips:
    """Clips of noise with two objects, the second of which appears on frame 1."""

    count: int = 3
    frames: int = 4
    dataset = "made-up"
    split = "clips"
    media: MediaKind = "video"
    licence = "none"
    version = "1"

    def sources(self) -> Mapping[str, str]:
        return {"noise": "unverified"}

    def dropped(self) -> Mapping[str, int]:
        return {}

    def groups(self) -> Sequence[Group]:
        return [Group(key=f"clip-{index}", rows=self.frames) for index in range(self.count)]

    def read(self, group: Group) -> Iterator[Sample]:
        index = int(group.key.rpartition("-")[2])
        for frame in range(self.frames):
            things = range(1 + (frame > 0))
            key = frame_key(group.key, f"{frame:05d}")
            yield Sample(
                key=key,
                source=Source(archive="noise", member=key),
                width=WIDTH,
                height=HEIGHT,
                encoded=_noise(100 * index + frame),
                clip=group.key,
                frame=frame,
                annotations=tuple(
                    Annotation(object_id=1 + thing, mask=_square(frame + thing)) for thing in things
                ),
            )


def normalize(root: Path, source: Stills | Clips, rows_per_shard: int = 4) -> Split:
    stage = NormalizeStage(LocalObjectStore(root), source, rows_per_shard=rows_per_shard)
    NormalizeJob(stage, Budget(rows=99)).run(LocalExecutor(), Heard())
    return Split.open(LocalObjectStore(root), source.dataset, source.split)


def plan(
    split: Split,
    *wanted: str,
    views: Sequence[str] = ("identity",),
    load: Callable[[], Teacher] = load_tiny,
    options: CacheOptions | None = None,
) -> CachePlan:
    return plan_cache(
        split, load_tiny(), load, expand_features(wanted, views), options or CacheOptions(batch=3)
    )


def damage_image(split: Split, shard: int, row: int) -> None:
    """Overwrite the header of a stored picture, as if it had been published like that."""
    rot_image(split, shard, row)
    sample = split.samples(shard)[row]
    body = bytearray(sample.size)
    key = layout.media_key(split.record.dataset, split.record.split, shard)
    split.store.read_into(key, sample.offset, memoryview(body))
    rows = split.samples_table(shard).to_pylist()
    rows[row]["blake3"] = digest_bytes(bytes(body))
    table = layout.samples_key(split.record.dataset, split.record.split, shard)
    Path(split.store.url, table).write_bytes(encode_table(rows, SAMPLES))


def rot_image(split: Split, shard: int, row: int) -> None:
    """Overwrite the header of a stored picture, behind the back of its table."""
    sample = split.samples(shard)[row]
    key = layout.media_key(split.record.dataset, split.record.split, shard)
    with Path(split.store.url, key).open("r+b") as file:
        file.seek(sample.offset)
        file.write(b"\0" * 40)


def tree(root: Path) -> dict[str, bytes]:
    """All features below a root, hidden leftovers of killed processes apart."""
    files = sorted(Path(root, "features").rglob("*"))
    return {
        str(file.relative_to(root)): file.read_bytes()
        for file in files
        if file.is_file() and not file.name.startswith(".")
    }


def _noise(seed: int) -> bytes:
    source = np.random.default_rng(seed)
    coarse = source.integers(0, 256, (HEIGHT // 5, WIDTH // 5, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    encoded = io.BytesIO()
    picture.save(encoded, "jpeg", quality=90)
    return encoded.getvalue()


def _square(place: int) -> MaskRLE:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[5:20, 2 + place : 14 + place] = True
    return encode_mask(mask)
