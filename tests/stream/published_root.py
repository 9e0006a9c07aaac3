"""Builds a small published root, file by file as the documents of the format say."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import blake3
import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from pipelines.store import layout
from pipelines.store.arrays import FeatureArray, as_bytes
from pipelines.store.commits import put_identical, write_commit
from pipelines.store.listed import Listing
from pipelines.store.local import LocalObjectStore
from pipelines.store.row_index import build_feature_index, build_sample_index, encode_index
from pipelines.store.tables import encode_table, table_record
from schemas.features import FEATURES, FeatureSpec, PreprocessSpec, TeacherSpec, TokenizeSpec
from schemas.ids import canonical_json, digest_bytes
from schemas.manifests import (
    ArrayRecord,
    CommitRecord,
    FileRecord,
    Manifest,
    ManifestFeature,
    ManifestSplit,
    PartRecord,
    SplitRecord,
)
from schemas.tables import ANNOTATIONS, FEATURE_ROWS, SAMPLES, SHARD_FILES

TEACHER = TeacherSpec(
    architecture="Sam3VideoModel",
    config="c0",
    weights="w0",
    preprocess=PreprocessSpec(image_size=64),
    tokenize=TokenizeSpec(vocabulary="v0", context=32, pad_id=49407),
    precision="float32",
    attention="sdpa",
    libraries={"torch": "2.14", "transformers": "5.23"},
)
_SIDE = 64


@dataclass(frozen=True, kw_only=True)
class RootPlan:
    """What to build. Sample ``i`` of split ``s`` has the key ``s-i``."""

    name: str = "tiny"
    splits: dict[str, int] = field(default_factory=lambda: {"train": 11})
    """Rows by split."""
    rows_per_shard: int = 4
    feature: str = "image.trunk"
    item_shape: tuple[int, ...] = (8, 4, 4)
    codec: str = "float16"
    bad_images: frozenset[str] = frozenset()
    """Keys that are quarantined in the normalized split."""
    bad_features: frozenset[str] = frozenset()
    """Keys that are quarantined in the feature array."""
    unlisted_shards: frozenset[int] = frozenset()
    """Shards that the manifest does not list for the feature."""
    teacher: TeacherSpec = TEACHER
    indexed: bool = True
    """Whether the manifest has indexes, as from version 2 on."""


def build_root(root: Path, plan: RootPlan) -> LocalObjectStore:
    """Write all files of ``plan`` and its manifest, version 1."""
    store = LocalObjectStore(root)
    splits = tuple(_build_split(store, plan, split, rows) for split, rows in plan.splits.items())
    teachers = {plan.teacher.digest: plan.teacher}
    version: Literal[1, 2] = 2 if plan.indexed else 1
    manifest = Manifest(schema_version=version, name=plan.name, teachers=teachers, splits=splits)
    body = canonical_json(manifest)
    if not plan.indexed:
        body = _of_version_1(body)
    assert store.put_if_absent(layout.manifest_key(plan.name, 1), body)
    return store


def _of_version_1(body: bytes) -> bytes:
    """Leave out the fields that version 1 does not have."""
    manifest = msgspec.json.decode(body)
    del manifest["weights"]
    for split in manifest["splits"]:
        del split["index"]
        for feature in split["features"]:
            del feature["index"]
    return canonical_json(manifest)


def all_keys(plan: RootPlan) -> list[str]:
    return [f"{split}-{row}" for split, rows in plan.splits.items() for row in range(rows)]


def feature_of(key: str, plan: RootPlan) -> npt.NDArray[np.float32]:
    """A fixed linear function of the coarse image, which a student can learn."""
    pixels = np.asarray(_picture(key).resize((4, 4), Image.Resampling.BOX), dtype=np.float32)
    channels = plan.item_shape[0]
    mix = np.random.default_rng(7).normal(size=(channels, 3)).astype(np.float32)
    values = np.einsum("cd,hwd->chw", mix, pixels / 127.5 - 1)
    return np.asarray(values.reshape(plan.item_shape), dtype=np.float32)


def _picture(key: str) -> Image.Image:
    seed = int.from_bytes(blake3.blake3(key.encode()).digest(length=4), "big")
    coarse = np.random.default_rng(seed).integers(0, 256, size=(4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)


def jpeg_of(key: str) -> bytes:
    sink = io.BytesIO()
    _picture(key).save(sink, "JPEG", quality=90)
    return sink.getvalue()


def _build_split(store: LocalObjectStore, plan: RootPlan, split: str, rows: int) -> ManifestSplit:
    keys = [f"{split}-{row}" for row in range(rows)]
    size = plan.rows_per_shard
    shards = [keys[start : start + size] for start in range(0, rows, size)]
    folder = layout.split_folder("toy", split)
    listing = []
    for shard, members in enumerate(shards):
        files = _build_shard(store, plan, split, shard, members)
        listing += _commit(store, folder, "normalized", split, shard, len(members), files)
    record = SplitRecord(
        dataset="toy",
        split=split,
        media="image",
        shards=len(shards),
        rows=rows,
        rows_per_shard=size,
        object_frames_per_shard=0,
        phrases=0,
        counts={},
        quarantined={},
        licence="none",
        normalizer="toy/1",
        sources={},
        commits="none",
        files=(),
    )
    body = canonical_json(record)
    split_file = _put(store, layout.split_key("toy", split), body)
    return ManifestSplit(
        split=record,
        split_file=split_file,
        part=_part(store, plan.name, listing),
        features=(_build_feature(store, plan, split, shards, split_file.blake3),),
        index=_index(store, plan, build_sample_index(store, record, _listing(listing))),
    )


def _build_shard(
    store: LocalObjectStore, plan: RootPlan, split: str, shard: int, keys: list[str]
) -> list[FileRecord]:
    sink, rows = io.BytesIO(), []
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for row, key in enumerate(keys):
            bad = key in plan.bad_images
            body = b"" if bad else jpeg_of(key)
            rows.append(_sample_row(row, key, sink.tell() + 512, body, bad))
            if not bad:
                info = tarfile.TarInfo(f"{key}.jpg")
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))
    return [
        _put(store, layout.media_key("toy", split, shard), sink.getvalue()),
        _put(store, layout.samples_key("toy", split, shard), encode_table(rows, SAMPLES)),
        _put(store, layout.annotations_key("toy", split, shard), encode_table([], ANNOTATIONS)),
    ]


def _sample_row(row: int, key: str, offset: int, body: bytes, bad: bool) -> dict[str, Any]:
    return {
        "row": row,
        "key": key,
        "width": _SIDE,
        "height": _SIDE,
        "offset": 0 if bad else offset,
        "size": len(body),
        "extension": "jpg",
        "blake3": digest_bytes(body),
        "archive": "toy.zip",
        "member": f"{key}.jpg",
        "quarantine": "truncated: the file is empty" if bad else None,
    }


def _build_feature(
    store: LocalObjectStore, plan: RootPlan, split: str, shards: list[list[str]], split_digest: str
) -> ManifestFeature:
    spec = FeatureSpec(
        name=plan.feature,
        rows=FEATURES[plan.feature].rows,
        item_shape=plan.item_shape,
        codec=plan.codec,
    )
    record = ArrayRecord(
        dataset="toy",
        split=split,
        split_digest=split_digest,
        feature=spec,
        teacher=plan.teacher,
        shards=len(shards),
        rows_per_shard=plan.rows_per_shard,
    )
    array = FeatureArray(store, record)
    metadata = array.create()
    listing = []
    for shard, keys in enumerate(shards):
        files = [_write_features(array, plan, shard, keys), _write_rows(array, plan, shard, keys)]
        made = _commit(store, array.folder, spec.array_name, split, shard, len(keys), files)
        listing += [] if shard in plan.unlisted_shards else made
    return ManifestFeature(
        feature=spec,
        teacher=plan.teacher.digest,
        array=metadata,
        rows_per_shard=plan.rows_per_shard,
        part=_part(store, plan.name, listing),
        index=_index(store, plan, build_feature_index(array, _listing(listing))),
    )


def _index(store: LocalObjectStore, plan: RootPlan, table: pa.Table) -> FileRecord | None:
    if not plan.indexed:
        return None
    body = encode_index(table)
    return _put(store, layout.index_key(plan.name, digest_bytes(body)), body)


def _listing(rows: list[dict[str, Any]]) -> Listing:
    return {
        row["key"]: FileRecord(key=row["key"], bytes=row["bytes"], blake3=row["blake3"])
        for row in rows
    }


def _write_features(array: FeatureArray, plan: RootPlan, shard: int, keys: list[str]) -> FileRecord:
    with array.stage_shard(shard) as target:
        for slot, key in enumerate(keys):
            if key not in plan.bad_images | plan.bad_features:
                stored = array.encode(feature_of(key, plan), key)
                target.writer.write(slot, as_bytes(stored))
        record = target.writer.finish()
        assert target.staged.publish()
    return record


def _write_rows(array: FeatureArray, plan: RootPlan, shard: int, keys: list[str]) -> FileRecord:
    bad = plan.bad_images | plan.bad_features
    rows = [
        {"row": slot, "key": key, "quarantine": "teacher: no" if key in bad else None}
        for slot, key in enumerate(keys)
    ]
    key = layout.rows_key(array.folder, shard)
    return _put(array.store, key, encode_table(rows, FEATURE_ROWS))


def _commit(
    store: LocalObjectStore,
    folder: str,
    product: str,
    split: str,
    shard: int,
    rows: int,
    files: Iterable[FileRecord],
) -> list[dict[str, Any]]:
    """Commit a shard and return the rows of its part table."""
    record = CommitRecord(
        product=product,
        dataset="toy",
        split=split,
        shard=shard,
        rows=rows,
        identity="toy",
        files=tuple(files),
    )
    assert write_commit(store, folder, record)
    commit = table_record(layout.commit_key(folder, shard), canonical_json(record))
    return [
        {"shard": shard, "rows": rows, "key": file.key, "bytes": file.bytes, "blake3": file.blake3}
        for file in (*record.files, commit)
    ]


def _part(store: LocalObjectStore, name: str, rows: list[dict[str, Any]]) -> PartRecord:
    body = encode_table(rows, SHARD_FILES)
    file = _put(store, layout.part_key(name, digest_bytes(body)), body)
    commits = {row["shard"]: row["rows"] for row in rows}
    return PartRecord(
        file=file,
        shards=len(commits),
        rows=sum(commits.values()),
        data_bytes=sum(row["bytes"] for row in rows),
    )


def _put(store: Any, key: str, body: bytes) -> FileRecord:
    record = table_record(key, body)
    put_identical(store, record, body)
    return record
