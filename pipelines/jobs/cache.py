"""Plans what caching a split means: arrays, stages, units, bytes. Running is the engine's part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from downloaders.disk import free_bytes
from downloaders.registry import DATASETS, find_dataset
from pipelines.engine.executor import Slice
from pipelines.engine.work import WorkUnit
from pipelines.jobs.array_sizes import array_size
from pipelines.jobs.asked_features import AskedFeature
from pipelines.jobs.encode_images import ImageEncoder
from pipelines.jobs.encode_prompts import PromptEncoder, prompts_per_shard
from pipelines.jobs.encode_text import PHRASES_PER_SHARD, TextEncoder
from pipelines.jobs.feature_stage import Encoder, FeatureStage
from pipelines.jobs.finish_split import Budget
from pipelines.jobs.publish import normalized_splits
from pipelines.jobs.split_sizes import SplitSize, recorded_rows
from pipelines.jobs.track_memory import MemoryEncoder
from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.commits import committed_shards
from pipelines.store.local import LocalObjectStore
from pipelines.store.objects import ObjectStore
from pipelines.store.splits import Split
from pipelines.teachers.base import Teacher, TeacherIdentity
from schemas.errors import IncompleteError, StorageError, UsageError
from schemas.features import VIEWS, FeatureSpec, RowKind, TeacherSpec, View
from schemas.ids import nearest_name
from schemas.manifests import ArrayRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """How features are computed, once it is clear which."""

    batch: int = 8
    """Images at a time."""
    decode_threads: int = 2
    budget: Budget = field(default_factory=Budget)
    part: Slice = field(default_factory=Slice)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedArray:
    """One array: what is to be there in the end, and what is still to be written."""

    feature: FeatureSpec
    rows: int
    shards: int
    shards_left: int
    bytes_left: int
    """What will be written, with tables and commits; see ``array_sizes`` and ``recorded_rows``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """Units that one executor run can do."""

    stage: FeatureStage[Any]
    units: tuple[WorkUnit, ...]
    """Those of the chosen slice that are not complete."""
    done: tuple[frozenset[int], ...]
    """Shards that are complete, for each array of the stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePlan:
    """What caching one split will do."""

    split: Split
    teacher: TeacherSpec
    arrays: tuple[PlannedArray, ...]
    stages: tuple[PlannedStage, ...]
    notes: tuple[str, ...]
    """What was asked for, or is usual, and cannot be: text without phrases."""

    @property
    def bytes_left(self) -> int:
        """Bytes that this run will write."""
        return sum(array.bytes_left for array in self.arrays)


def open_normalized(store: ObjectStore, dataset: str, splits: Sequence[str]) -> list[Split]:
    """Open the named splits of a data set, or all that are normalized when none is named.

    Raises
    ------
    UnknownNameError
        There is no such data set or split.
    IncompleteError
        It exists and is not normalized.
    """
    present = normalized_splits(store)
    if dataset not in {*DATASETS, *(name for name, _ in present)}:
        raise nearest_name("data set", dataset, {*DATASETS, *(name for name, _ in present)})
    normalized = [split for name, split in present if name == dataset]
    known = {*normalized, *_published_splits(dataset)}
    for split in splits:
        if split not in known:
            raise nearest_name(f"split of {dataset}", split, known)
    if not splits and not normalized:
        raise IncompleteError(
            f"no split of {dataset} is normalized in {store.url}",
            fix=f"Run `samdistill normalize {dataset}` first.",
        )
    return [Split.open(store, dataset, split) for split in dict.fromkeys(splits or normalized)]


def require_space(store: ObjectStore, plans: Sequence[CachePlan]) -> None:
    """Raise ``StorageError`` unless the disk has room for all plans; a bucket always has."""
    needed = sum(plan.bytes_left for plan in plans)
    require_room(store.url, needed, free_space(store), "or go ahead with --force.")


def require_room(root: str, needed: int, free: int | None, otherwise: str) -> None:
    """Raise ``StorageError`` unless ``needed`` bytes of features fit into ``free``."""
    if free is not None and needed > free:
        raise StorageError(
            f"the features do not fit into {root}",
            expected=f"{needed} bytes free",
            got=f"{free} bytes free",
            fix=f"Free some space, choose fewer --features, {otherwise}",
        )


def free_space(store: ObjectStore) -> int | None:
    """Return the bytes that a local root may still take; None for a bucket."""
    return free_bytes(Path(store.url)) if isinstance(store, LocalObjectStore) else None


def _published_splits(dataset: str) -> list[str]:
    if dataset not in DATASETS:
        return []
    return [split.name for split in find_dataset(dataset).entry.splits]


def plan_cache(
    split: Split,
    teacher: TeacherIdentity,
    load: Callable[[], Teacher],
    wanted: Sequence[AskedFeature],
    options: CacheOptions,
) -> CachePlan:
    """Return what is to be done to have these features of a split, as far as it can have them.

    Parameters
    ----------
    load
        How a worker gets this teacher (``teacher_loader``).
    wanted
        See ``expand_features``.

    Raises
    ------
    UnknownNameError
        No such feature, group or codec.
    UsageError
        The split can have none of them.
    """
    possible, notes = _possible(split, wanted)
    specs = [asked.of(teacher) for asked in possible]
    if not specs:
        raise UsageError(f"nothing to cache for {split.name}: {'; '.join(notes)}")
    arrays = [FeatureArray(split.store, array_record(split, teacher.spec, spec)) for spec in specs]
    stages = _stages(split, arrays, load, options)
    return plan_stages(split, teacher.spec, stages, options.part, notes)


def plan_stages(
    split: Split,
    teacher: TeacherSpec,
    stages: Iterable[FeatureStage[Any]],
    part: Slice,
    notes: Iterable[str],
) -> CachePlan:
    """Return the plan of stages over one split: what of them is still to be done."""
    planned = [_plan_stage(stage, part) for stage in stages]
    return CachePlan(
        split=split,
        teacher=teacher,
        arrays=tuple(
            _planned(split, array, item, done)
            for item in planned
            for array, done in zip(item.stage.arrays, item.done, strict=True)
        ),
        stages=tuple(planned),
        notes=tuple(notes),
    )


def _possible(split: Split, wanted: Sequence[AskedFeature]) -> tuple[list[AskedFeature], list[str]]:
    """Return the features that the split can have, and a note for each kind that it cannot."""
    lacking: dict[RowKind, str] = {}
    if not split.record.rows:
        lacking["sample"] = "no image features: the split has no images"
    if not split.record.phrases:
        lacking["phrase"] = "no text features: the split has no phrases"
    if not split.record.object_frames_per_shard:
        lacking["object_frame"] = "no memory features: the split has no tracked objects"
    if not split.record.prompts:
        lacking["prompt"] = "no prompt features: the split has no stills with objects"
    notes = dict.fromkeys(lacking[asked.rows] for asked in wanted if asked.rows in lacking)
    return [asked for asked in wanted if asked.rows not in lacking], list(notes)


def array_record(split: Split, teacher: TeacherSpec, feature: FeatureSpec) -> ArrayRecord:
    """Return the identity of an array of a split: how it is cut into shards, by the kind of row."""
    record = split.record
    shards, capacity = record.shards, record.rows_per_shard
    if feature.rows == "object_frame":
        capacity = record.object_frames_per_shard
    elif feature.rows == "prompt":
        place = (record.dataset, record.split, teacher.digest, feature.array_name)
        capacity = prompts_per_shard(split, layout.array_folder(*place))
    elif feature.rows == "phrase":
        capacity = min(PHRASES_PER_SHARD, record.phrases)
        shards = -(-record.phrases // capacity)
    return ArrayRecord(
        dataset=record.dataset,
        split=record.split,
        split_digest=split.digest,
        feature=feature,
        teacher=teacher,
        shards=shards,
        rows_per_shard=capacity,
    )


def _stages(
    split: Split,
    arrays: Sequence[FeatureArray],
    load: Callable[[], Teacher],
    options: CacheOptions,
) -> list[FeatureStage[Teacher]]:
    """Return the stages: one for text, one for each view of the pictures.

    In a stage, the trunk runs only once for all arrays.
    """
    kinds = {array.feature.rows for array in arrays}
    images = ImageEncoder(batch=options.batch, decode_threads=options.decode_threads)
    pictures: tuple[str, Encoder[Teacher]] = ("image", images)
    if "object_frame" in kinds:
        pictures = ("memory", MemoryEncoder(images=images))
    elif "prompt" in kinds:
        pictures = ("prompts", PromptEncoder(images=images))
    choices: list[tuple[str, Encoder[Teacher], set[RowKind], View]] = [
        (*pictures, {"sample", "object_frame", "prompt"}, "identity"),
        ("text", TextEncoder(), {"phrase"}, "identity"),
    ]
    choices += [
        (f"image~{view}", replace(images, view=view), {"sample"}, view) for view in VIEWS[1:]
    ]
    stages = []
    for name, encoder, rows, view in choices:
        mine = [item for item in arrays if item.feature.rows in rows and item.feature.view == view]
        if mine:
            stages.append(
                FeatureStage(
                    name=name,
                    split=split,
                    arrays=tuple(mine),
                    encoder=encoder,
                    load=load,
                    budget=options.budget,
                )
            )
    return stages


def _plan_stage(stage: FeatureStage[Any], part: Slice) -> PlannedStage:
    """Find the units of the slice that some array lacks; slices do not move as work is done."""
    with ThreadPoolExecutor(len(stage.arrays), thread_name_prefix="commits") as pool:
        done = tuple(pool.map(_complete_shards, stage.arrays))
    complete = frozenset.intersection(*done)
    units = tuple(unit for unit in part.of(stage.units) if unit.shard not in complete)
    return PlannedStage(stage=stage, units=units, done=done)


def _complete_shards(array: FeatureArray) -> frozenset[int]:
    """Return the shards that are there, of an array that must be the wanted one."""
    complete = frozenset(committed_shards(array.store, array.folder))
    array.require_same_or_new()
    return complete


def _planned(
    split: Split, array: FeatureArray, planned: PlannedStage, done: frozenset[int]
) -> PlannedArray:
    record = array.record
    rows = recorded_rows(split.record, record)
    left = {unit.shard for unit in planned.units} - done
    size = SplitSize(
        dataset=record.dataset,
        split=record.split,
        source="normalized",
        rows={array.feature.rows: rows},
        image_bytes=None,
        split_record=split,
    )
    others = set(range(record.shards)) - left
    return PlannedArray(
        feature=array.feature,
        rows=sum(rows.named),
        shards=record.shards,
        shards_left=len(left),
        bytes_left=array_size(size, array.feature, others).bytes,
    )
