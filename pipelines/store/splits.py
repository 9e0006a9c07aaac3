"""A normalized split as later steps read it: tables by shard, image bytes by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from pipelines.store import layout
from pipelines.store.objects import ObjectStore
from pipelines.store.products import read_product
from pipelines.store.tables import read_table
from schemas.errors import IncompleteError, IntegrityError
from schemas.ids import digest_bytes, parse_json
from schemas.manifests import FileRecord, SplitRecord
from schemas.masks import MaskRLE
from schemas.prompts import still_prompts
from schemas.tables import ANNOTATIONS, PHRASES, SAMPLES, mask_from_cell
from schemas.videos import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSample:
    """One row of a samples table, as far as reading its image needs it."""

    row: int
    key: str
    clip: str | None
    frame: int | None
    width: int
    height: int
    offset: int
    size: int
    blake3: str
    quarantine: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredClip:
    """All frames of one clip, in order, and the first mask of each of its objects."""

    clip: str
    frames: tuple[StoredSample, ...]
    prompts: tuple[Prompt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One object on a still."""

    row: int
    """Of its sample."""
    key: str
    object_id: int
    mask: MaskRLE | None
    """None when the data set gives only a box."""


class Split:
    """A complete normalized split."""

    def __init__(self, store: ObjectStore, record: SplitRecord, digest: str) -> None:
        self.store, self.record, self.digest = store, record, digest
        """``digest``: blake3 of split.json."""

    @classmethod
    def open(cls, store: ObjectStore, dataset: str, split: str) -> Split:
        """Open a split.

        Raises
        ------
        IncompleteError
            It was not normalized to the end.
        """
        key = layout.split_key(dataset, split)
        try:
            body = store.get(key)
        except FileNotFoundError as cause:
            raise IncompleteError(
                f"{dataset} {split} is not normalized in {store.url}: there is no {key}",
                fix=f"Run `samdistill normalize {dataset} --split {split}` to the end first.",
            ) from cause
        return cls(store, parse_json(body, SplitRecord, key), digest_bytes(body))

    @property
    def name(self) -> str:
        """``dataset/split``."""
        return f"{self.record.dataset}/{self.record.split}"

    @property
    def file(self) -> FileRecord:
        """The record of split.json itself."""
        key = layout.split_key(self.record.dataset, self.record.split)
        size = self.store.size(key)
        return FileRecord(key=key, bytes=size or 0, blake3=self.digest)

    def samples_table(self, shard: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Samples of a shard, in row order; of all columns, or of these."""
        key = layout.samples_key(self.record.dataset, self.record.split, shard)
        return read_table(self.store, key, SAMPLES, columns)

    def annotations_table(self, shard: int) -> pa.Table:
        """Objects of a shard, in row order."""
        key = layout.annotations_key(self.record.dataset, self.record.split, shard)
        return read_table(self.store, key, ANNOTATIONS)

    def samples(self, shard: int) -> list[StoredSample]:
        """Samples of a shard: item ``r`` is row ``r``."""
        names = list(StoredSample.__dataclass_fields__)
        rows = self.samples_table(shard, names).to_pylist()
        return [StoredSample(**row) for row in rows]

    def read_image(self, shard: int, sample: StoredSample) -> bytes:
        """Return the encoded image as published.

        Raises
        ------
        IntegrityError
            The shard's tar does not hold the bytes that its table describes.
        """
        key = layout.media_key(self.record.dataset, self.record.split, shard)
        body = bytearray(sample.size)
        if self.store.read_into(key, sample.offset, memoryview(body)) != sample.size:
            raise IntegrityError(
                f"{key} is too short for {sample.key}",
                fix="Run `samdistill verify --deep` to find all such files.",
            )
        encoded = bytes(body)
        found = digest_bytes(encoded)
        if found != sample.blake3:
            raise IntegrityError(
                f"image of {sample.key} in {key} is damaged",
                expected=f"blake3 {sample.blake3}",
                got=found,
                fix="Run `samdistill verify --deep` to find all such files.",
            )
        return encoded

    def clips(self, shard: int) -> list[StoredClip]:
        """Clips of a shard, in row order; empty for stills."""
        frames: dict[str, list[StoredSample]] = {}
        for sample in self.samples(shard):
            if sample.clip is not None:
                frames.setdefault(sample.clip, []).append(sample)
        prompts = _first_masks(self.annotations_table(shard).to_pylist())
        return [
            StoredClip(clip=clip, frames=tuple(rows), prompts=tuple(prompts.get(clip, ())))
            for clip, rows in frames.items()
        ]

    def objects(self, shard: int) -> list[StoredObject]:
        """Objects of the stills of a shard, in the order of the samples, without crowds."""
        names = ["row", "key", "object_id", "mask", "is_crowd"]
        rows = self.annotations_table(shard).select(names).to_pylist()
        return [
            StoredObject(
                row=row["row"],
                key=row["key"],
                object_id=row["object_id"],
                mask=mask_from_cell(row["mask"]),
            )
            for row in rows
            if not row["is_crowd"]
        ]

    @cached_property
    def most_prompts(self) -> int:
        """The most prompts that a shard has, by the counts of all commit records."""
        folder = layout.split_folder(self.record.dataset, self.record.split)
        commits = read_product(
            self.store, folder, self.record.shards, fix=f"Normalize {self.name} again."
        )
        return max(still_prompts(commit.record.counts) for commit in commits)

    @cached_property
    def phrases(self) -> list[str]:
        """Unique phrases: item ``r`` is row ``r`` of the text arrays."""
        key = layout.phrases_key(self.record.dataset, self.record.split)
        phrases: list[str] = read_table(self.store, key, PHRASES).column("phrase").to_pylist()
        return phrases


def _first_masks(rows: list[dict[str, Any]]) -> dict[str, list[Prompt]]:
    """Return by clip, for each object, its first mask that is not empty."""
    first: dict[tuple[str, int], Prompt] = {}
    for row in rows:
        mask = mask_from_cell(row["mask"])
        name = (row["clip"], row["object_id"])
        if row["clip"] is None or name in first or not _usable(mask, row):
            continue
        assert mask is not None
        first[name] = Prompt(object_id=row["object_id"], frame=row["frame"], mask=mask)
    prompts: dict[str, list[Prompt]] = {}
    for (clip, _), prompt in sorted(first.items(), key=lambda item: item[0]):
        prompts.setdefault(clip, []).append(prompt)
    return prompts


def _usable(mask: MaskRLE | None, row: dict[str, Any]) -> bool:
    return mask is not None and not row["is_crowd"] and bool(mask.area)
