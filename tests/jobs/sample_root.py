"""Makes a small root of real photographs, by the functions of the store alone."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.demo.album import ALBUM, ASTRONAUT, CAT, COINS, DAHLIA
from pipelines.demo.clips import VAL_CLIPS
from pipelines.demo.photographs import Photograph
from pipelines.demo.regions import object_labels
from pipelines.media.images import decode_image
from pipelines.media.preprocess import resize_to_square
from pipelines.store import layout
from pipelines.store.arrays import FeatureArray, as_bytes
from pipelines.store.commits import publish_identical, put_identical, write_commit
from pipelines.store.objects import ObjectStore
from pipelines.store.products import read_product
from pipelines.store.rows import expected_rows
from pipelines.store.splits import Split
from pipelines.store.tables import encode_table, table_record
from pipelines.teachers.base import Teacher
from schemas.ids import canonical_json, digest_bytes
from schemas.manifests import ArrayRecord, CommitRecord, FileRecord, SplitRecord
from schemas.masks import encode_mask
from schemas.samples import Annotation, MediaKind, Sample, Source
from schemas.tables import ANNOTATIONS, FEATURE_ROWS, PHRASES, SAMPLES, mask_cell

STILLS = ("album", "val")
CLIPS = ("camera", "val")
NORMALIZER = "sample-root-1"
_DAMAGED = "coins"
_PHRASES_PER_SHARD = 8

Rows = dict[str, npt.NDArray[Any]]


def stills(photographs: Iterable[Photograph] = ALBUM) -> list[Sample]:
    """Return the album as samples; one is quarantined."""
    return [_still(number, photograph) for number, photograph in enumerate(photographs)]


def clips(count: int = len(VAL_CLIPS), frames: int = 6) -> list[list[Sample]]:
    """Return clips filmed on the album, each as its frames."""
    return [
        [
            Sample(
                key=f"{clip.name}.{number:05d}",
                source=Source(archive="camera.zip", member=f"{clip.name}/{number:05d}.jpg"),
                width=frame.picture.width,
                height=frame.picture.height,
                encoded=_jpeg(frame.picture),
                clip=clip.name,
                frame=number,
                annotations=tuple(
                    Annotation(object_id=value, mask=encode_mask(frame.objects == value))
                    for value in range(1, len(clip.outlines) + 1)
                ),
            )
            for number, frame in enumerate(clip.frames(frames))
        ]
        for clip in VAL_CLIPS[:count]
    ]


def normalize(
    store: ObjectStore,
    place: tuple[str, str],
    shards: Sequence[Sequence[Sample]],
    media: MediaKind = "image",
) -> Split:
    """Write a complete normalized split."""
    writer = _SplitWriter(store, place, media)
    for shard, samples in enumerate(shards):
        writer.write(shard, samples)
    return writer.finish(shards)


def cache(split: Split, teacher: Teacher, only: Iterable[int] | None = None) -> None:
    """Write all features of a split, or those of some of its shards."""
    stages = [_cache_images, _cache_memory] if split.record.media == "video" else [_cache_images]
    shards = range(split.record.shards) if only is None else only
    for stage in stages:
        for shard in shards:
            stage(split, teacher, shard)
    if split.record.phrases:
        _cache_text(split, teacher)


def build_root(store: ObjectStore, teacher: Teacher) -> None:
    """Write a split of four stills, one quarantined, and one of two clips, with features."""
    samples = stills((ASTRONAUT, CAT, COINS, DAHLIA))
    cache(normalize(store, STILLS, [samples[:2], samples[2:]]), teacher)
    cache(normalize(store, CLIPS, clips(2, 4), "video"), teacher)


@dataclass(slots=True)
class _SplitWriter:
    store: ObjectStore
    place: tuple[str, str]
    media: MediaKind
    phrases: dict[str, list[int]] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)

    def write(self, shard: int, samples: Sequence[Sample]) -> None:
        tar, offsets = _tar(samples)
        sample_rows = [
            _sample_row(row, sample, offset)
            for row, (sample, offset) in enumerate(zip(samples, offsets, strict=True))
        ]
        object_rows = [
            _object_row(row, sample, annotation)
            for row, sample in enumerate(samples)
            for annotation in sample.annotations
        ]
        bodies = {
            layout.media_key(*self.place, shard): tar,
            layout.samples_key(*self.place, shard): encode_table(sample_rows, SAMPLES),
            layout.annotations_key(*self.place, shard): encode_table(object_rows, ANNOTATIONS),
        }
        reasons = [sample.quarantine.partition(":")[0] for sample in samples if sample.quarantine]
        record = CommitRecord(
            product=layout.NORMALIZED,
            dataset=self.place[0],
            split=self.place[1],
            shard=shard,
            rows=len(samples),
            identity=NORMALIZER,
            files=tuple(_put(self.store, key, body) for key, body in bodies.items()),
            counts={"images": len(samples), "objects": len(object_rows)},
            quarantined={reason: reasons.count(reason) for reason in reasons},
        )
        write_commit(self.store, layout.split_folder(*self.place), record)
        self._count(samples, record)

    def _count(self, samples: Sequence[Sample], record: CommitRecord) -> None:
        self.bodies.append(canonical_json(record))
        for total, part in (
            (self.counts, record.counts),
            (self.quarantined, record.quarantined),
        ):
            for name, count in part.items():
                total[name] = total.get(name, 0) + count
        for sample in samples:
            for caption in sample.captions:
                self.phrases.setdefault(caption, [0, 0])[1] += 1
            for annotation in sample.annotations:
                for phrase in annotation.phrases:
                    self.phrases.setdefault(phrase, [0, 0])[0] += 1

    def finish(self, shards: Sequence[Sequence[Sample]]) -> Split:
        rows = [
            {
                "row": row,
                "phrase": phrase,
                "objects": counts[0],
                "captions": counts[1],
                "negatives": 0,
            }
            for row, (phrase, counts) in enumerate(sorted(self.phrases.items()))
        ]
        phrases = _put(self.store, layout.phrases_key(*self.place), encode_table(rows, PHRASES))
        objects = self.counts["objects"] if self.media == "video" else 0
        record = SplitRecord(
            dataset=self.place[0],
            split=self.place[1],
            media=self.media,
            shards=len(shards),
            rows=sum(len(samples) for samples in shards),
            rows_per_shard=max(len(samples) for samples in shards),
            object_frames_per_shard=objects,
            phrases=len(rows),
            counts=self.counts,
            quarantined=self.quarantined,
            licence="see scikit-image",
            normalizer=NORMALIZER,
            sources={"album": "unverified"},
            commits=digest_bytes(b"".join(self.bodies)),
            files=(phrases,),
        )
        _put(self.store, layout.split_key(*self.place), canonical_json(record))
        return Split.open(self.store, *self.place)


def _cache_images(split: Split, teacher: Teacher, shard: int) -> None:
    size = teacher.spec.preprocess.image_size
    values: list[npt.NDArray[Any] | None] = []
    for sample in split.samples(shard):
        if sample.quarantine:
            values.append(None)
            continue
        image = decode_image(split.read_image(shard, sample), sample.key)
        batch = resize_to_square(image, size)[None]
        values.append(teacher.encode_images(batch)["image.trunk"][0])
    _write_shard(split, teacher, "image.trunk", shard, values)


def _cache_text(split: Split, teacher: Teacher) -> None:
    for first in range(0, len(split.phrases), _PHRASES_PER_SHARD):
        features = teacher.encode_text(split.phrases[first : first + _PHRASES_PER_SHARD])
        for name, values in features.items():
            _write_shard(split, teacher, name, first // _PHRASES_PER_SHARD, list(values))


def _cache_memory(split: Split, teacher: Teacher, shard: int) -> None:
    found: dict[str, list[npt.NDArray[Any] | None]] = {}
    for clip in split.clips(shard):
        images = (decode_image(split.read_image(shard, frame), frame.key) for frame in clip.frames)
        frames = (resize_to_square(image, teacher.spec.preprocess.image_size) for image in images)
        tracked = [
            (item.object_id, frame.frame, item.features)
            for frame in teacher.track(frames, len(clip.frames), clip.prompts)
            for item in frame.objects
        ]
        for _, _, features in sorted(tracked, key=lambda item: item[:2]):
            for name, values in features.items():
                found.setdefault(name, []).append(values)
    for name, rows in found.items():
        _write_shard(split, teacher, name, shard, rows)


def _write_shard(
    split: Split,
    teacher: Teacher,
    name: str,
    shard: int,
    values: list[npt.NDArray[Any] | None],
) -> None:
    array = FeatureArray(split.store, _array_record(split, teacher, name))
    array.create()
    names = expected_rows(split, array.record, shard)
    assert len(names) == len(values)
    rows = []
    with array.stage_shard(shard) as staged_shard:
        for slot, (named, value) in enumerate(zip(names, values, strict=True)):
            row = dict(named)
            if value is None:
                row["quarantine"] = "undecodable"
            else:
                stored = array.encode(np.asarray(value), str(named))
                staged_shard.writer.write(slot, as_bytes(stored))
                row["minimum"], row["maximum"] = float(stored.min()), float(stored.max())
            rows.append(row)
        data = staged_shard.writer.finish()
        publish_identical(split.store, staged_shard.staged, data)
    table = _put(
        split.store, layout.rows_key(array.folder, shard), encode_table(rows, FEATURE_ROWS)
    )
    reasons = [row["quarantine"] for row in rows if row.get("quarantine")]
    record = CommitRecord(
        product=array.feature.array_name,
        dataset=split.record.dataset,
        split=split.record.split,
        shard=shard,
        rows=len(rows),
        identity=teacher.spec.digest,
        files=(data, table),
        inputs=_inputs(split, array.record, shard),
        quarantined={reason: reasons.count(reason) for reason in reasons},
    )
    write_commit(split.store, array.folder, record)


def _array_record(split: Split, teacher: Teacher, name: str) -> ArrayRecord:
    feature = teacher.feature(name)
    shards, capacity = split.record.shards, split.record.rows_per_shard
    if feature.rows == "phrase":
        shards, capacity = -(-split.record.phrases // _PHRASES_PER_SHARD), _PHRASES_PER_SHARD
    elif feature.rows == "object_frame":
        capacity = split.record.object_frames_per_shard
    return ArrayRecord(
        dataset=split.record.dataset,
        split=split.record.split,
        split_digest=split.digest,
        feature=feature,
        teacher=teacher.spec,
        shards=shards,
        rows_per_shard=capacity,
    )


def _inputs(split: Split, record: ArrayRecord, shard: int) -> tuple[FileRecord, ...]:
    if record.feature.rows == "phrase":
        return split.record.files
    folder = layout.split_folder(record.dataset, record.split)
    commits = read_product(split.store, folder, split.record.shards, fix="")
    return commits[shard].record.files


def _still(number: int, photograph: Photograph) -> Sample:
    picture = photograph.open()
    labels = object_labels(photograph)
    annotations = [
        Annotation(
            object_id=1000 * number + value,
            mask=encode_mask(labels == value),
            category=outline.category,
            phrases=(outline.phrase,),
            is_crowd=outline.phrase == "trees",
        )
        for value, outline in enumerate(photograph.outlines, start=1)
    ]
    damaged = photograph.name == _DAMAGED
    return Sample(
        key=photograph.name,
        source=Source(archive="album.zip", member=photograph.file),
        width=picture.width,
        height=picture.height,
        encoded=b"" if damaged else _jpeg(picture),
        annotations=tuple(annotations),
        captions=(photograph.caption,),
        quarantine="undecodable: cut short after 1,024 bytes" if damaged else None,
    )


def _sample_row(row: int, sample: Sample, offset: int) -> dict[str, Any]:
    return {
        "row": row,
        "key": sample.key,
        "clip": sample.clip,
        "frame": sample.frame,
        "width": sample.width,
        "height": sample.height,
        "offset": offset,
        "size": len(sample.encoded),
        "extension": sample.extension,
        "blake3": digest_bytes(sample.encoded) if sample.encoded else "",
        "captions": list(sample.captions),
        "void": None,
        "archive": sample.source.archive,
        "member": sample.source.member,
        "quarantine": sample.quarantine,
    }


def _object_row(row: int, sample: Sample, annotation: Annotation) -> dict[str, Any]:
    mask = annotation.mask
    box = annotation.box or (mask.box if mask is not None else None)
    return {
        "row": row,
        "key": sample.key,
        "clip": sample.clip,
        "frame": sample.frame,
        "object_id": annotation.object_id,
        "category": annotation.category,
        "phrases": list(annotation.phrases),
        "box_xyxy": box,
        "mask": mask_cell(mask),
        "area": None if mask is None else mask.area,
        "is_crowd": annotation.is_crowd,
        "exhaustive": None,
    }


def _tar(samples: Sequence[Sample]) -> tuple[bytes, list[int]]:
    """Return a tar of the images, and where each begins in it."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in _stored(samples):
            member = tarfile.TarInfo(f"{sample.key}.{sample.extension}")
            member.size = len(sample.encoded)
            tar.addfile(member, io.BytesIO(sample.encoded))
    body.seek(0)
    with tarfile.open(fileobj=body) as tar:
        places = {member.name: member.offset_data for member in tar}
    offsets = [places.get(f"{sample.key}.{sample.extension}", 0) for sample in samples]
    return body.getvalue(), offsets


def _stored(samples: Sequence[Sample]) -> Iterator[Sample]:
    return (sample for sample in samples if sample.encoded)


def _jpeg(picture: Image.Image) -> bytes:
    body = io.BytesIO()
    picture.save(body, "JPEG", quality=90)
    return body.getvalue()


def _put(store: ObjectStore, key: str, body: bytes) -> FileRecord:
    record = table_record(key, body)
    put_identical(store, record, body)
    return record
