"""Records that are stored as JSON: commits, splits, manifests. All immutable, all canonical.

A record of another ``schema_version`` is refused when it is read.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas.features import FeatureSpec, TeacherSpec
from schemas.prompts import still_prompts
from schemas.samples import MediaKind


class FileRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stored file and the content it must have."""

    key: str
    """Path below the root, with forward slashes."""
    bytes: int
    blake3: str


class CommitRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Says that one shard of one product is complete. It is written last, and only once.

    It holds nothing that differs between two runs over the same input: no time, no host.
    """

    schema_version: Literal[1] = 1
    product: str
    """``normalized``, or the name of a feature array."""
    dataset: str
    split: str
    shard: int
    rows: int
    """Rows of the shard, quarantined ones included."""
    identity: str
    """Digest of what computed it: a teacher's digest, or the normalizer's version."""
    files: tuple[FileRecord, ...]
    inputs: tuple[FileRecord, ...] = ()
    """Stored files it was computed from."""
    counts: dict[str, int] = {}
    """For example images, objects, crowd, object_frames."""
    quarantined: dict[str, int] = {}
    """Rows that must not be used, by reason."""


class SplitRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A normalized split, complete: ``split.json``, written after the last of its shards."""

    schema_version: Literal[1] = 1
    dataset: str
    split: str
    media: MediaKind
    shards: int
    rows: int
    rows_per_shard: int
    """Capacity of a shard: row ``r`` of shard ``k`` is row ``k * rows_per_shard + r`` of an array.
    A shard may hold fewer rows; a clip is never cut."""
    object_frames_per_shard: int
    """Capacity of a shard of a ``memory.*`` array; 0 when there is nothing to track."""
    phrases: int
    """Unique phrases, the rows of ``phrases.parquet``."""
    counts: dict[str, int]
    quarantined: dict[str, int]
    licence: str
    normalizer: str
    sources: dict[str, str]
    """Archive name -> ``sha256:…`` of its ledger entry, or ``unverified`` for a folder."""
    commits: str
    """blake3 over the shards' commit records, in order."""
    files: tuple[FileRecord, ...]
    """Files of the whole split: the table of phrases, that of categories when there are any, the
    report when there are images, and the list of ids when it is a part of a split."""
    subset: str | None = None
    """Rule and identity of a part of a published split: ``1% blake3:…``, the digest of ids.txt."""

    @property
    def prompts(self) -> int:
        """Rows of the ``prompts.*`` arrays; 0 where there are no stills with objects."""
        return still_prompts(self.counts) if self.media == "image" else 0


class ArrayRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The identity of a feature array, stored as the ``samdistill`` attribute of its zarr.json."""

    schema_version: Literal[1] = 1
    dataset: str
    split: str
    split_digest: str
    """blake3 of the split.json whose rows the array follows."""
    feature: FeatureSpec
    teacher: TeacherSpec
    shards: int
    rows_per_shard: int


class PartRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A parquet table that lists the files of a product, one row per file."""

    file: FileRecord
    shards: int
    rows: int
    data_bytes: int
    """Sum of the listed files' sizes."""


class ManifestFeature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One feature array of one split, as published."""

    feature: FeatureSpec
    teacher: str
    """Digest; the whole spec is in ``Manifest.teachers``."""
    array: FileRecord
    """The array's zarr.json."""
    rows_per_shard: int
    part: PartRecord
    index: FileRecord | None = None
    """Table ``FEATURE_INDEX``: where each row lies in its shard's file. None before version 2."""


class ManifestSplit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One split, as published."""

    split: SplitRecord
    split_file: FileRecord
    part: PartRecord
    features: tuple[ManifestFeature, ...]
    index: FileRecord | None = None
    """Table ``SAMPLE_INDEX``: where each image lies in its shard's tar. None before version 2, and
    for a split without images."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a trainer opens: splits, features, and a digest for every byte behind them.

    Version 2 added the indexes and the weights; version 1 is read as a manifest without them.
    """

    schema_version: Literal[1, 2] = 2
    name: str
    teachers: dict[str, TeacherSpec]
    splits: tuple[ManifestSplit, ...]
    weights: dict[str, int] = {}
    """By ``dataset/split``: in how many of each round of samples it comes. Empty: each sample of
    all splits once per epoch."""

    @property
    def products(self) -> tuple[ManifestSplit | ManifestFeature, ...]:
        """Each split, followed by its features."""
        found: list[ManifestSplit | ManifestFeature] = []
        for split in self.splits:
            found += [split, *split.features]
        return tuple(found)
