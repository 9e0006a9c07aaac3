"""What a manifest holds, in numbers: what `inspect` prints and the page begins with."""

from __future__ import annotations

from collections import Counter

import msgspec

from pipelines.store import layout
from pipelines.store.objects import ObjectStore
from pipelines.store.products import StoredCommit, read_product
from pipelines.store.published import PublishedManifest, array_record
from pipelines.store.splits import Split
from schemas.features import FeatureSpec, TeacherSpec
from schemas.manifests import Manifest, ManifestFeature, ManifestSplit
from schemas.samples import MediaKind

LISTED_KEYS = 50
_RESTORE = "The manifest names it: restore the file, or publish again."


class QuarantineSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Samples that must not be used, for one reason."""

    reason: str
    count: int
    keys: tuple[str, ...]
    """The first ``LISTED_KEYS`` of them."""


class FeatureSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One feature array."""

    feature: FeatureSpec
    teacher: str
    rows: int
    shards: int
    bytes: int
    quarantined: dict[str, int]


class SplitSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One split."""

    dataset: str
    split: str
    media: MediaKind
    rows: int
    shards: int
    phrases: int
    bytes: int
    """Images and tables, without features."""
    counts: dict[str, int]
    licence: str
    normalizer: str
    quarantined: tuple[QuarantineSummary, ...]
    features: tuple[FeatureSummary, ...]


class ManifestSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One manifest."""

    name: str
    version: int
    digest: str
    rows: int
    bytes: int
    teachers: dict[str, TeacherSpec]
    splits: tuple[SplitSummary, ...]


def summarize(store: ObjectStore, published: PublishedManifest) -> ManifestSummary:
    """Return the numbers of a manifest; reads commit records, and tables of quarantined rows."""
    manifest = published.manifest
    splits = tuple(_summarize_split(store, manifest, split) for split in manifest.splits)
    features = [feature for split in splits for feature in split.features]
    return ManifestSummary(
        name=manifest.name,
        version=published.version,
        digest=published.digest,
        rows=sum(split.rows for split in splits),
        bytes=sum(split.bytes for split in splits) + sum(feature.bytes for feature in features),
        teachers=manifest.teachers,
        splits=splits,
    )


def _summarize_split(
    store: ObjectStore, manifest: Manifest, published: ManifestSplit
) -> SplitSummary:
    record = published.split
    return SplitSummary(
        dataset=record.dataset,
        split=record.split,
        media=record.media,
        rows=record.rows,
        shards=record.shards,
        phrases=record.phrases,
        bytes=published.part.data_bytes + sum(file.bytes for file in record.files),
        counts=record.counts,
        licence=record.licence,
        normalizer=record.normalizer,
        quarantined=_quarantined(Split(store, record, published.split_file.blake3)),
        features=tuple(
            _summarize_feature(store, manifest, published, feature)
            for feature in published.features
        ),
    )


def _summarize_feature(
    store: ObjectStore, manifest: Manifest, split: ManifestSplit, feature: ManifestFeature
) -> FeatureSummary:
    record = array_record(manifest, split, feature)
    folder = layout.array_folder(
        record.dataset, record.split, feature.teacher, record.feature.array_name
    )
    commits = read_product(store, folder, record.shards, fix=_RESTORE)
    return FeatureSummary(
        feature=feature.feature,
        teacher=feature.teacher,
        rows=feature.part.rows,
        shards=feature.part.shards,
        bytes=feature.part.data_bytes,
        quarantined=_reasons(commits),
    )


def _reasons(commits: tuple[StoredCommit, ...]) -> dict[str, int]:
    reasons: Counter[str] = Counter()
    for commit in commits:
        reasons.update(commit.record.quarantined)
    return dict(sorted(reasons.items()))


def _quarantined(split: Split) -> tuple[QuarantineSummary, ...]:
    """Return the reasons with their first keys, reading no more tables than that takes."""
    total = split.record.quarantined
    if not total:
        return ()
    folder = layout.split_folder(split.record.dataset, split.record.split)
    keys: dict[str, list[str]] = {reason: [] for reason in sorted(total)}
    for commit in read_product(split.store, folder, split.record.shards, fix=_RESTORE):
        if not any(len(keys[reason]) < LISTED_KEYS for reason in commit.record.quarantined):
            continue
        for sample in split.samples(commit.record.shard):
            if sample.quarantine is not None:
                reason = sample.quarantine.partition(":")[0]
                keys.setdefault(reason, []).append(sample.key)
    return tuple(
        QuarantineSummary(
            reason=reason, count=total.get(reason, 0), keys=tuple(found[:LISTED_KEYS])
        )
        for reason, found in keys.items()
    )
