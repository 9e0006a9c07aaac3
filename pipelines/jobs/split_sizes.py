"""How many rows a split has for a teacher to fill: counted when normalized, else as published."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from downloaders.base import DatasetEntry, SplitFacts
from downloaders.registry import DATASETS, find_dataset
from pipelines.jobs.encode_text import PHRASES_PER_SHARD
from pipelines.jobs.publish import normalized_splits
from pipelines.store import layout
from pipelines.store.objects import ObjectStore
from pipelines.store.products import read_product
from pipelines.store.splits import Split
from schemas.errors import UsageError
from schemas.features import RowKind
from schemas.ids import nearest_name
from schemas.manifests import ArrayRecord, SplitRecord
from schemas.prompts import still_prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of one kind, as they lie in shards."""

    stored: tuple[int, ...]
    """Rows with features, by shard: those that are not quarantined."""
    named: tuple[int, ...]
    """Rows of the row table, by shard."""
    capacity: int
    """Rows that a shard can hold."""

    def without(self, shards: Collection[int]) -> Rows:
        """Return the rows of the other shards."""
        left = [shard for shard in range(len(self.stored)) if shard not in shards]
        return Rows(
            stored=tuple(self.stored[shard] for shard in left),
            named=tuple(self.named[shard] for shard in left),
            capacity=self.capacity,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSize:
    """What is known of a split."""

    dataset: str
    split: str
    source: str
    """``normalized`` or ``published``: where the counts come from."""
    rows: dict[RowKind, Rows]
    """Only kinds of which there are any, as far as is known."""
    image_bytes: int | None
    """Bytes of the normalized images and tables; None when nobody knows yet."""
    notes: dict[RowKind, str] = field(default_factory=dict)
    """What is not known, or not exactly, of rows of that kind."""
    split_record: Split | None = field(default=None, repr=False)
    """The split itself, when it is normalized."""

    @property
    def name(self) -> str:
        """``dataset/split``."""
        return f"{self.dataset}/{self.split}"

    def count(self, kind: RowKind, done: Collection[int] = ()) -> int:
        """Return how many rows of the kind get features, but for those of the shards ``done``."""
        return sum(self.rows[kind].without(done).stored) if kind in self.rows else 0


def split_sizes(
    store: ObjectStore,
    dataset: str,
    splits: Sequence[str],
    *,
    rows_per_shard: int,
    images: int | None = None,
) -> list[SplitSize]:
    """Return the size of each split: the named ones, or those that are there or usual.

    Parameters
    ----------
    rows_per_shard
        For splits that are not normalized: what ``normalize`` will be told.
    images
        Images, or frames of all clips, of a split for which nobody states them.

    Raises
    ------
    UnknownNameError
        There is no such data set, or no such split of it.
    """
    present = {split for name, split in normalized_splits(store) if name == dataset}
    if dataset not in DATASETS and not present:
        raise nearest_name("data set", dataset, DATASETS)
    entry = find_dataset(dataset).entry if dataset in DATASETS else None
    published = {facts.name: facts for facts in entry.splits} if entry else {}
    wanted = splits or sorted(present) or (entry.check_splits(()) if entry else ())
    sizes = []
    for split in dict.fromkeys(wanted):
        if split in present:
            sizes.append(_normalized_size(Split.open(store, dataset, split)))
        elif entry is not None and split in published:
            sizes.append(_published_size(entry, published[split], rows_per_shard, images))
        else:
            raise nearest_name(f"split of {dataset}", split, {*present, *published})
    return sizes


def _normalized_size(split: Split) -> SplitSize:
    record = split.record
    folder = layout.split_folder(record.dataset, record.split)
    commits = [
        commit.record
        for commit in read_product(
            split.store, folder, record.shards, fix=f"Normalize {split.name} again."
        )
    ]
    rows: dict[RowKind, Rows] = {}
    if record.rows:
        rows["sample"] = Rows(
            stored=tuple(commit.rows - sum(commit.quarantined.values()) for commit in commits),
            named=tuple(commit.rows for commit in commits),
            capacity=record.rows_per_shard,
        )
    if record.object_frames_per_shard:
        found = tuple(commit.counts.get("object_frames", 0) for commit in commits)
        rows["object_frame"] = Rows(
            stored=found, named=found, capacity=record.object_frames_per_shard
        )
    if record.phrases:
        rows["phrase"] = _evenly(record.phrases, min(PHRASES_PER_SHARD, record.phrases))
    if record.prompts:
        asked = tuple(still_prompts(commit.counts) for commit in commits)
        rows["prompt"] = Rows(stored=asked, named=asked, capacity=max(asked))
    return SplitSize(
        dataset=record.dataset,
        split=record.split,
        source="normalized",
        rows=rows,
        image_bytes=sum(file.bytes for commit in commits for file in commit.files),
        split_record=split,
    )


def _published_size(
    entry: DatasetEntry, facts: SplitFacts, rows_per_shard: int, images: int | None
) -> SplitSize:
    rows: dict[RowKind, Rows] = {}
    notes: dict[RowKind, str] = {}
    images = facts.images or images
    if images:
        rows["sample"] = _evenly(images, rows_per_shard)
    if entry.media == "text" and facts.records:
        rows["phrase"] = _evenly(facts.records, PHRASES_PER_SHARD)
        notes["phrase"] = "phrases: at most as many as records; equal ones count once"
    elif entry.media == "image":
        notes["phrase"] = "no phrases yet: normalizing counts them"
        notes["prompt"] = "no prompts yet: normalizing counts the objects"
    if entry.media == "image" and images and facts.objects:
        prompts = still_prompts({"annotations": facts.objects})
        rows["prompt"] = _evenly(prompts, -(-prompts // len(rows["sample"].stored)))
        notes["prompt"] = "prompts: as if none of the objects were a crowd"
    if entry.media == "video" and images and facts.clips and facts.objects:
        frames = round(facts.objects * images / facts.clips)
        rows["object_frame"] = _evenly(frames, max(1, round(frames / len(rows["sample"].stored))))
        notes["object_frame"] = (
            "object-frames: as if each object were there from its clip's first frame"
        )
    if not rows:
        raise UsageError(
            f"nobody states how large {entry.name} {facts.name} is",
            fix="Say how many by --images N (frames, for clips), or normalize first.",
        )
    return SplitSize(
        dataset=entry.name,
        split=facts.name,
        source="published",
        rows=rows,
        image_bytes=None,
        notes=notes,
    )


def recorded_rows(split: SplitRecord, array: ArrayRecord) -> Rows:
    """Return the rows of an array as split.json tells: exact sums, over shards that are alike.

    It needs none of the shards' commit records, of which there may be 100,000.
    """
    kind = array.feature.rows
    named = {
        "sample": split.rows,
        "phrase": split.phrases,
        "object_frame": split.counts.get("object_frames", 0),
        "prompt": split.prompts,
    }[kind]
    lost = sum(split.quarantined.values()) if kind == "sample" else 0
    return Rows(
        stored=_alike(named - lost, array.shards),
        named=_alike(named, array.shards),
        capacity=array.rows_per_shard,
    )


def _alike(rows: int, shards: int) -> tuple[int, ...]:
    each, more = divmod(rows, shards)
    return (each + 1,) * more + (each,) * (shards - more)


def _evenly(rows: int, capacity: int) -> Rows:
    full, rest = divmod(rows, capacity)
    shards = (capacity,) * full + ((rest,) if rest else ())
    return Rows(stored=shards, named=shards, capacity=capacity)
