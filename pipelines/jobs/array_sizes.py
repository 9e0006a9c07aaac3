"""How many files and bytes an array will have: exact for its data, measured for its small files."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from pipelines.jobs.split_sizes import Rows, SplitSize
from pipelines.store import layout
from pipelines.store.arrays import zarr_metadata
from pipelines.store.rows import expected_rows
from pipelines.store.shard_file import shard_bytes
from pipelines.store.tables import encode_table
from schemas.features import FeatureSpec, PreprocessSpec, TeacherSpec, TokenizeSpec
from schemas.ids import canonical_json
from schemas.manifests import ArrayRecord, CommitRecord, FileRecord
from schemas.tables import feature_rows

_DIGEST = "0" * 64
_TEACHER = TeacherSpec(
    architecture="Sam3VideoModel",
    config=_DIGEST,
    weights=_DIGEST,
    preprocess=PreprocessSpec(image_size=1008),
    tokenize=TokenizeSpec(vocabulary=_DIGEST, context=32, pad_id=49407),
    precision="bfloat16-autocast",
    attention="sdpa",
    libraries={"torch": "2.14", "transformers": "5.23"},
)
"""Stands for any teacher: all specs are nearly as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySize:
    """One array, or what of it is still to be written."""

    feature: FeatureSpec
    rows: int
    """Rows with features."""
    shards: int
    files: int
    bytes: int


def array_size(size: SplitSize, feature: FeatureSpec, done: Collection[int] = ()) -> ArraySize:
    """Return what an array over a split will take, with its tables, commits and metadata.

    Parameters
    ----------
    done
        Shards that are there, and do not count.
    """
    record = _record(size, feature, size.rows[feature.rows])
    rows = size.rows[feature.rows].without(done)
    folder = layout.array_folder(size.dataset, size.split, _TEACHER.digest, feature.array_name)
    data = sum(shard_bytes(count, feature.item_bytes, rows.capacity) for count in rows.stored)
    tables = _table_bytes(size, record, rows) if rows.stored else 0
    commit = len(canonical_json(_commit(size, record, folder)))
    metadata = 0 if done else len(canonical_json(zarr_metadata(record)))
    shards = len(rows.stored)
    return ArraySize(
        feature=feature,
        rows=sum(rows.stored),
        shards=shards,
        files=3 * shards + (not done),
        bytes=data + tables + shards * commit + metadata,
    )


def _record(size: SplitSize, feature: FeatureSpec, rows: Rows) -> ArrayRecord:
    return ArrayRecord(
        dataset=size.dataset,
        split=size.split,
        split_digest=_DIGEST,
        feature=feature,
        teacher=_TEACHER,
        shards=len(rows.stored),
        rows_per_shard=rows.capacity,
    )


def _table_bytes(size: SplitSize, record: ArrayRecord, rows: Rows) -> int:
    """Return the bytes of all row tables, from an empty one and from the first shard's."""
    columns = feature_rows(record.feature.rows)
    empty = len(encode_table([], columns))
    named = _first_rows(size, record)
    numbers = np.random.default_rng(0).standard_normal((len(named), 2)).astype(np.float32).tolist()
    filled = [
        {**dict.fromkeys(columns.names), **row, "minimum": low, "maximum": high}
        for row, (low, high) in zip(named, numbers, strict=True)
    ]
    each = (len(encode_table(filled, columns)) - empty) / len(filled)
    return round(len(rows.named) * empty + sum(rows.named) * each)


def _first_rows(size: SplitSize, record: ArrayRecord) -> list[dict[str, object]]:
    """Return what names the rows of the first shard that has any; made up before normalizing."""
    rows = size.rows[record.feature.rows]
    if size.split_record is not None:
        split = size.split_record
        named = (expected_rows(split, record, shard) for shard in range(record.shards))
        return next(filter(None, named))
    return [{"row": row, "key": f"{row * 7919:012d}"} for row in range(max(rows.named))]


def _commit(size: SplitSize, record: ArrayRecord, folder: str) -> CommitRecord:
    """Return a record as a shard's commit will be, but for its numbers."""
    data = layout.array_shard_key(folder, 10, 1 + len(record.feature.stored_shape))
    inputs = [layout.phrases_key(size.dataset, size.split)]
    if record.feature.rows != "phrase":
        inputs = [
            layout.media_key(size.dataset, size.split, 10),
            layout.samples_key(size.dataset, size.split, 10),
        ]
    return CommitRecord(
        product=record.feature.array_name,
        dataset=size.dataset,
        split=size.split,
        shard=10,
        rows=record.rows_per_shard,
        identity=_TEACHER.digest,
        files=tuple(
            FileRecord(key=key, bytes=10**8, blake3=_DIGEST)
            for key in (data, layout.rows_key(folder, 10))
        ),
        inputs=tuple(FileRecord(key=key, bytes=10**7, blake3=_DIGEST) for key in inputs),
        counts={"stored": record.rows_per_shard},
    )
