"""What caching a split will take, said before it starts: files, bytes, hours, requests, money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from pipelines.jobs.array_sizes import array_size
from pipelines.jobs.asked_features import AskedFeature
from pipelines.jobs.cached_shards import CachedShards, find_cached
from pipelines.jobs.plan_download import PlannedDownload
from pipelines.jobs.split_sizes import SplitSize
from pipelines.store.objects import ObjectStore
from pipelines.store.s3_upload import PART_BYTES
from pipelines.teachers.outline import TeacherOutline
from schemas.features import FeatureSpec, Precision, RowKind, View

_FLOP: dict[RowKind, float] = {
    "sample": 5.40e12,
    "object_frame": 0.97e12,
    "phrase": 19.5e9,
    "prompt": 4.6e9,
}
"""Of SAM3 at 1008 pixels and 32 tokens, two per multiplication, by torch's counter: the trunk of
an image; memory attention, mask decoder and memory encoder of an object on a frame; a phrase;
prompt encoder and mask decoder of a point or box."""

PEAK_TFLOPS = {"bfloat16-autocast": 989.0, "float32": 67.0}
"""Of an H100 or H200 SXM, dense, by NVIDIA's data sheet; float32 is computed without TF32."""

_SHARE_OF_PEAK: dict[RowKind, float] = {
    "sample": 0.40,
    "object_frame": 0.15,
    "phrase": 0.40,
    "prompt": 0.15,
}
"""Assumed, not measured: the tracker goes object by object, in small kernels."""

_ON_IMAGES: set[RowKind] = {"sample", "object_frame", "prompt"}
"""What needs the trunk of each image, in one pass for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """US dollars.

    Storage and requests: S3 standard in us-east-1, as AWS listed them in 2025. The device: an
    assumption, since offers for an H100 went from 2 to 4 dollars an hour.
    """

    device_hour: float = 3.0
    storage_gb_month: float = 0.023
    put_1000: float = 0.005
    get_1000: float = 0.0004


class Speeds(msgspec.Struct, frozen=True, kw_only=True):
    """How long the parts of caching take on one worker."""

    source: str
    """``recorded`` or ``calibrated``."""
    seconds: dict[RowKind, float]
    """Of the device, for a row of each kind; a kind that is missing is not known."""
    write_gb: float
    """Bytes that the root takes in a second, in 1e9, for all workers together."""


class PlannedFeature(msgspec.Struct, frozen=True, kw_only=True):
    """One array, complete, and what of it is not cached yet."""

    array: str
    row_bytes: int
    rows: int
    shards: int
    files: int
    bytes: int
    rows_left: int
    shards_left: int
    files_left: int
    bytes_left: int


class PlannedSplit(msgspec.Struct, frozen=True, kw_only=True):
    """One split."""

    dataset: str
    split: str
    counts: str
    """``normalized``: exact; ``published``: as the publisher states them."""
    rows: dict[RowKind, int]
    normalized_bytes: int | None
    features: tuple[PlannedFeature, ...]
    cached_by: str | None
    """Digest of the teacher whose shards are there; None when there are none."""
    device_hours: dict[RowKind, float]
    """For what is left."""
    without_figures: tuple[RowKind, ...]
    """Kinds of rows that are left, of which nobody knows how long they take."""
    epoch_bytes: int | None
    """What one epoch of a student reads: each image and each of its features once."""
    epoch_reads: int
    notes: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All splits, and the sums. Hours, requests and their price are of what is left to cache."""

    teacher: str
    splits: tuple[PlannedSplit, ...]
    files: int
    feature_bytes: int
    files_left: int
    bytes_left: int
    free_bytes: int | None
    """None for a bucket, which is never full."""
    speeds: Speeds
    workers: int
    device_hours: float | None
    """None when no figure is known for a kind of rows."""
    wall_hours: float | None
    """The longer of computing and writing: they overlap."""
    limited_by: str | None
    put_requests: int
    download: PlannedDownload | None
    """None when the data set is not of the registry."""
    dollars: dict[str, float]
    """``device`` (when known), ``puts``; of the whole ``storage_month``, ``epoch_gets``."""

    @property
    def fits(self) -> bool:
        """Whether what is left fits beside what is stored already."""
        return self.free_bytes is None or self.bytes_left <= self.free_bytes


def recorded_speeds(outline: TeacherOutline, *, peak_tflops: float, write_gb: float) -> Speeds:
    """Return what the recorded figures give for a device; nothing for a teacher of another size."""
    seconds = {
        kind: flop / (peak_tflops * 1e12 * _SHARE_OF_PEAK[kind]) for kind, flop in _FLOP.items()
    }
    return Speeds(source="recorded", seconds=seconds if outline.is_sam3 else {}, write_gb=write_gb)


def make_plan(
    store: ObjectStore,
    teacher: str,
    outline: TeacherOutline,
    sizes: Sequence[SplitSize],
    wanted: Sequence[AskedFeature],
    speeds: Speeds,
    *,
    free: int | None,
    precision: Precision = "float32",
    workers: int = 1,
    prices: Prices | None = None,
    download: PlannedDownload | None = None,
) -> Plan:
    """Return the plan for these splits.

    Parameters
    ----------
    wanted
        Kinds that a split lacks are left out.
    free
        Bytes that the root may still take; None for a bucket.
    precision
        Of the teacher: what another precision has cached is other features.
    """
    splits = []
    for size in sizes:
        specs = [asked.of(outline) for asked in wanted if asked.rows in size.rows]
        cached = find_cached(store, size, specs, precision)
        splits.append(_plan_split(size, specs, wanted, cached, speeds))
    arrays = [feature for split in splits for feature in split.features]
    stored = sum(array.bytes for array in arrays)
    left = sum(array.bytes_left for array in arrays)
    puts = sum(_puts(array) for array in arrays)
    hours = _sum_hours(splits)
    wall, limit = _wall(hours, left, speeds, workers)
    return Plan(
        teacher=teacher,
        splits=tuple(splits),
        files=sum(array.files for array in arrays),
        feature_bytes=stored,
        files_left=sum(array.files_left for array in arrays),
        bytes_left=left,
        free_bytes=free,
        speeds=speeds,
        workers=workers,
        device_hours=hours,
        wall_hours=wall,
        limited_by=limit,
        put_requests=puts,
        download=download,
        dollars=_dollars(prices or Prices(), splits, hours, puts, stored),
    )


def _plan_split(
    size: SplitSize,
    specs: Sequence[FeatureSpec],
    wanted: Sequence[AskedFeature],
    cached: CachedShards,
    speeds: Speeds,
) -> PlannedSplit:
    kinds = {asked.rows for asked in wanted}
    hours, unknown = _hours(size, specs, cached, speeds)
    # Of several views, a student reads one of each image.
    seen = {msgspec.structs.replace(spec, view="identity"): None for spec in specs}
    epoch = [spec for spec in seen if spec.rows in _ON_IMAGES]
    feature_bytes = sum(size.count(spec.rows) * spec.item_bytes for spec in epoch)
    return PlannedSplit(
        dataset=size.dataset,
        split=size.split,
        counts=size.source,
        rows={kind: size.count(kind) for kind in size.rows},
        normalized_bytes=size.image_bytes,
        features=tuple(_planned(size, spec, cached) for spec in specs),
        cached_by=cached.teacher,
        device_hours=hours,
        without_figures=unknown,
        epoch_bytes=None if size.image_bytes is None else feature_bytes + size.image_bytes,
        epoch_reads=size.count("sample") * (1 + len(epoch)) if epoch else 0,
        notes=_notes(size, kinds, cached, unknown),
    )


def _hours(
    size: SplitSize, specs: Sequence[FeatureSpec], cached: CachedShards, speeds: Speeds
) -> tuple[dict[RowKind, float], tuple[RowKind, ...]]:
    """Return device hours for what is left, by kind of rows, and the kinds without a figure."""
    whole: dict[tuple[RowKind, View], frozenset[int]] = {}
    for spec in specs:
        place = (spec.rows, spec.view)
        whole[place] = whole.get(place, cached.of(spec)) & cached.of(spec)
    of_images = [
        done for (kind, view), done in whole.items() if kind in _ON_IMAGES and view == "identity"
    ]
    if of_images:
        # An image whose trunk is computed for one feature is computed once for all of them.
        whole["sample", "identity"] = frozenset.intersection(*of_images)
    rows: dict[RowKind, int] = {}
    for (kind, _), done in sorted(whole.items()):
        rows[kind] = rows.get(kind, 0) + size.count(kind, done)
    hours = {
        kind: count * speeds.seconds[kind] / 3600
        for kind, count in rows.items()
        if kind in speeds.seconds
    }
    return hours, tuple(kind for kind, count in rows.items() if count and kind not in hours)


def _notes(
    size: SplitSize, kinds: set[RowKind], cached: CachedShards, unknown: Sequence[RowKind]
) -> tuple[str, ...]:
    notes = [note for kind, note in size.notes.items() if kind in kinds]
    if cached.others:
        others = ", ".join(cached.others)
        notes.append(f"counted as cached: features of teacher {cached.teacher}; {others} has fewer")
    if unknown:
        notes.append(f"no figures for {', '.join(unknown)} of this teacher: use --calibrate")
    return tuple(notes)


def _planned(size: SplitSize, spec: FeatureSpec, cached: CachedShards) -> PlannedFeature:
    whole, left = array_size(size, spec), array_size(size, spec, cached.of(spec))
    return PlannedFeature(
        array=spec.array_name,
        row_bytes=spec.item_bytes,
        rows=whole.rows,
        shards=whole.shards,
        files=whole.files,
        bytes=whole.bytes,
        rows_left=left.rows,
        shards_left=left.shards,
        files_left=left.files,
        bytes_left=left.bytes,
    )


def _puts(array: PlannedFeature) -> int:
    """Return the requests that store an array: a shard beyond one part has two more to open it."""
    parts = -(-array.bytes // max(1, array.shards) // PART_BYTES)
    return array.files_left + array.shards_left * (parts + 1 if parts > 1 else 0)


def _sum_hours(splits: Sequence[PlannedSplit]) -> float | None:
    """Return the device hours of all splits; None when a kind of rows has no figure."""
    if any(split.without_figures for split in splits):
        return None
    return sum(sum(split.device_hours.values()) for split in splits)


def _wall(
    hours: float | None, stored: int, speeds: Speeds, workers: int
) -> tuple[float | None, str | None]:
    writing = stored / (speeds.write_gb * 1e9) / 3600
    if hours is None:
        return None, None
    computing = hours / workers
    return max(computing, writing), "the device" if computing >= writing else "writing"


def _dollars(
    prices: Prices, splits: Sequence[PlannedSplit], hours: float | None, puts: int, stored: int
) -> dict[str, float]:
    normalized = sum(split.normalized_bytes or 0 for split in splits)
    reads = sum(split.epoch_reads for split in splits)
    known = {} if hours is None else {"device": hours * prices.device_hour}
    return known | {
        "puts": puts / 1000 * prices.put_1000,
        "storage_month": (stored + normalized) / 1e9 * prices.storage_gb_month,
        "epoch_gets": reads / 1000 * prices.get_1000,
    }
