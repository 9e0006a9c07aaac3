"""A small root of fixed inputs, written by the jobs of the product: each kind of file is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipelines.engine.executor import LocalExecutor
from pipelines.jobs.cache import array_record
from pipelines.jobs.feature_stage import FeatureStage
from pipelines.jobs.finish_split import Budget
from pipelines.jobs.normalize import NormalizeJob
from pipelines.jobs.publish import publish, select
from pipelines.jobs.shard_normalized import NormalizeStage
from pipelines.jobs.unit_writer import UnitWriter
from pipelines.store.arrays import FeatureArray
from pipelines.store.objects import ObjectStore
from pipelines.store.published import PublishedManifest
from pipelines.store.splits import Split
from schemas.categories import Category
from schemas.features import FeatureSpec, PreprocessSpec, RowKind, TeacherSpec, TokenizeSpec
from schemas.ids import frame_key
from schemas.masks import encode_mask
from schemas.samples import VIDEO, Annotation, Group, MediaKind, Sample, Source
from tests.engine.stages import Heard

NAME = "golden"
_INPUTS = Path(__file__).parent / "inputs"
_SIDES = {"jpg": (8, 6), "png": (8, 6), VIDEO: (16, 16)}

TEACHER = TeacherSpec(
    architecture="GoldenTeacher",
    config="c" * 64,
    weights="w" * 64,
    preprocess=PreprocessSpec(image_size=28),
    tokenize=TokenizeSpec(vocabulary="v" * 64, context=4, pad_id=49407),
    precision="float32",
    attention="none",
    libraries={"torch": "0.0"},
)
LARGE = (128, 32, 32)
"""A row of 256 KiB: from there on rows are aligned in their shard's file."""


def feature(
    name: str, rows: RowKind, item_shape: tuple[int, ...], codec: str = "float16"
) -> FeatureSpec:
    return FeatureSpec(name=name, rows=rows, item_shape=item_shape, codec=codec)


TRUNK = feature("image.trunk", "sample", (4, 2, 2))
FEATURES = {
    "stills": (
        TRUNK,
        feature("image.trunk", "sample", (4, 2, 2), "bfloat16"),
        feature("image.trunk", "sample", (4, 2, 2), "int8"),
        feature("image.trunk", "sample", (4, 2, 2), "fp8_e4m3"),
        feature("image.layer08", "sample", LARGE),
        feature("text.tokens", "phrase", (4, 3)),
        feature("text.mask", "phrase", (4,), "uint8"),
        feature("prompts.boxes", "prompt", (4,), "float32"),
        feature("prompts.mask_logits", "prompt", (4, 4)),
    ),
    "clips": (
        TRUNK,
        feature("memory.object_pointer", "object_frame", (5,)),
        feature("memory.object_score", "object_frame", (), "float32"),
    ),
    "videos": (TRUNK,),
}
"""By split."""


def values(name: str, row: int, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return numbers that every type holds exactly: eighths from -6 to 6, or 0 and 1."""
    numbers = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape) * 37 + 11 * row
    if name == "text.mask":
        return (numbers % 2).astype(np.uint8)
    return np.asarray((numbers % 97 - 48) / np.float32(8), dtype=np.float32)


@dataclass(frozen=True)
class GoldenSource:
    """A normalizer whose samples are fixed; see ``Normalizer``."""

    split: str
    media: MediaKind
    extension: str
    count: int
    frames: int = 1
    dataset = "golden"
    licence = "none"
    version = "golden-1"

    def sources(self) -> Mapping[str, str]:
        return {"golden.zip": "unverified"}

    def dropped(self) -> Mapping[str, int]:
        return {"without-image": 2}

    def categories(self) -> Sequence[Category]:
        return [
            Category(
                name="thing",
                id=7,
                supercategory="object",
                synset="thing.n.01",
                frequency="r",
                synonyms=("item", "piece"),
                definition="what there is",
            ),
            Category(name="nothing"),
        ]

    def groups(self) -> Sequence[Group]:
        return [Group(key=f"{self.split}-{at}", rows=self.frames) for at in range(self.count)]

    def read(self, group: Group) -> Iterator[Sample]:
        index = int(group.key.rpartition("-")[2])
        for frame in range(self.frames):
            yield self._sample(group.key, index, frame)

    def _sample(self, group: str, index: int, frame: int) -> Sample:
        clip = group if self.media == "video" else None
        key = frame_key(group, f"{frame:05d}") if clip else group
        gone = self.media == "image" and index == 3
        extension = "jpg" if self.extension == "png" and index % 2 else self.extension
        width, height = _SIDES[extension]
        name = "clip" if extension == VIDEO else "still"
        return Sample(
            key=key,
            source=Source(archive="golden.zip", member=f"{key}.{extension}"),
            width=width,
            height=height,
            encoded=b"" if gone else (_INPUTS / f"{name}.{extension}").read_bytes(),
            extension=extension,
            verified=extension == VIDEO,
            clip=clip,
            frame=frame if clip else None,
            annotations=tuple(_annotation(index, frame, at) for at in range(2 + index % 2)),
            captions=(f"picture {index}", "Grüße, 世界") if clip is None else (),
            negatives=("elephant",) if index == 1 else (),
            not_exhaustive=("thing",) if index == 2 else (),
            quarantine="missing: not in the archive" if gone else None,
            void=encode_mask(_square(0, 0, width, height)) if index == 0 else None,
        )


def _annotation(index: int, frame: int, at: int) -> Annotation:
    box = (0.5 + at, 1.0, 4.25 + at, 3.0)
    return Annotation(
        object_id=10 * index + at,
        mask=None if at == 2 else encode_mask(_square(at, frame, 8, 6)),
        box=None if at == 1 else box,
        category="thing" if at == 0 else None,
        phrases=("thing", f"thing {at}") if at < 2 else (),
        is_crowd=at == 1 and index == 2,
        exhaustive=(True, False, None)[at],
        predicted_iou=0.875 if at == 0 else None,
        stability=0.96875 if at == 0 else None,
        points=((1.5, 2.5), (3.0, 4.0)) if at == 0 else (),
        crop_box=(0.0, 0.0, 8.0, 6.0) if at == 0 else None,
    )


def _square(at: int, frame: int, width: int, height: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros((height, width), dtype=bool)
    mask[1:4, 1 + at + frame : 4 + at + frame] = True
    return mask


SOURCES = (
    GoldenSource("stills", "image", "png", count=6),
    GoldenSource("clips", "video", "jpg", count=2, frames=2),
    GoldenSource("videos", "video", VIDEO, count=1, frames=3),
)


@dataclass(frozen=True)
class GoldenTeacher:
    """See ``Source``."""

    spec = TEACHER
    device = torch.device("cpu")


@dataclass(frozen=True)
class GoldenEncoder:
    """See ``Encoder``; of the stills the fifth is quarantined."""

    features: tuple[FeatureSpec, ...]

    def encode(self, teacher: GoldenTeacher, split: Split, shard: int, writer: UnitWriter) -> None:
        del teacher
        for kind in dict.fromkeys(spec.rows for spec in self.features):
            rows = writer.missing(kind)
            if kind == "sample":
                samples = {sample.row: sample for sample in split.samples(shard)}
                for row in rows:
                    if reason := samples[row].quarantine:
                        writer.leave_out(kind, [row], reason)
                    elif samples[row].key == "stills-4":
                        writer.quarantine(kind, [row], "unstorable: as if it were NaN")
                rows = writer.missing(kind)
            begin = shard * writer.rows_per_shard(kind)
            mine = {spec.name: spec for spec in self.features if spec.rows == kind}
            writer.put(
                rows,
                {
                    name: np.stack([values(name, begin + row, spec.item_shape) for row in rows])
                    for name, spec in mine.items()
                },
            )


def build_root(store: ObjectStore) -> PublishedManifest:
    """Normalize, cache and publish the golden inputs."""
    for source in SOURCES:
        stage = NormalizeStage(store, source, rows_per_shard=3)
        NormalizeJob(stage, Budget(rows=9)).run(LocalExecutor(), Heard())
        _cache(Split.open(store, source.dataset, source.split))
    weights = {f"{source.dataset}/{source.split}": 1 + at for at, source in enumerate(SOURCES)}
    return publish(store, NAME, select(store, []), weights=weights)


def _cache(split: Split) -> None:
    wanted = FEATURES[split.record.split]
    for kinds in ({"phrase"}, {"sample", "object_frame", "prompt"}):
        mine = tuple(spec for spec in wanted if spec.rows in kinds)
        if not mine:
            continue
        arrays = tuple(
            FeatureArray(split.store, array_record(split, TEACHER, spec)) for spec in mine
        )
        stage = FeatureStage(
            name="golden",
            split=split,
            arrays=arrays,
            encoder=GoldenEncoder(mine),
            load=GoldenTeacher,
            budget=Budget(rows=1),
        )
        for unit in stage.units:
            stage.run(unit)
