"""Exporting a manifest: shard by shard, resumable, equal bytes for equal input."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial

from pipelines.exchange.base import (
    EXPORT_KEY,
    ExportedShard,
    ExportedSplit,
    ExportFormat,
    ExportRecord,
    shard_place,
)
from pipelines.exchange.formats import open_format
from pipelines.exchange.shard_content import PublishedShards
from pipelines.store.commits import put_identical
from pipelines.store.objects import ObjectStore
from pipelines.store.published import PublishedManifest
from pipelines.store.tables import table_record
from pipelines.stream.selection import (
    SelectedSplit,
    choose_features,
    only_teacher,
    require_teacher,
    select_splits,
)
from schemas.errors import ConflictError, UsageError
from schemas.features import TeacherSpec
from schemas.ids import canonical_json, nearest_name, parse_json
from schemas.manifests import Manifest, ManifestSplit

Listener = Callable[[int, int], None]
"""Called with the number of shards that are exported, and of all."""


class Export:
    """One manifest, or part of it, in another format.

    Parameters
    ----------
    splits
        ``dataset/split``, or ``dataset`` for all of its splits; all splits for none.
    features
        Names of arrays with one row per sample; None for all, empty for none.
    teacher
        Digest; needed when the manifest has features of several teachers.

    Raises
    ------
    UnknownNameError
        There is no such format, split or feature.
    UsageError
        Nothing would be exported; a library that the format needs is not installed; or a split
        keeps its videos.
    """

    def __init__(
        self,
        store: ObjectStore,
        published: PublishedManifest,
        kind: str,
        *,
        splits: Sequence[str] = (),
        features: Sequence[str] | None = None,
        teacher: str | None = None,
    ) -> None:
        manifest = published.manifest
        selected, spec = choose(manifest, splits, features, teacher)
        self._splits = {
            found.name: found
            for found in (PublishedShards(store, manifest, item) for item in selected)
        }
        for found in self._splits.values():
            found.require_images()
        self.record = ExportRecord(
            format=kind,
            manifest=published.digest,
            teacher=spec,
            features=tuple(item.feature for item in selected[0].features.values()),
            splits=tuple(_describe(item.published, self._splits) for item in selected),
        )
        self._format: ExportFormat = open_format(kind, self.record.features)

    def run(
        self, target: ObjectStore, listener: Listener, *, threads: int | None = None
    ) -> tuple[ExportedShard, ...]:
        """Write what is missing of the export; the index of the whole comes last.

        Raises
        ------
        ConflictError
            The target holds another export.
        IntegrityError
            Something of the manifest is missing or damaged.
        StorageError
            The target refuses.
        """
        self._claim(target)
        units = [(split.name, shard) for split in self.record.splits for shard in split.shards]
        done: dict[tuple[str, int], ExportedShard] = {}
        workers = threads or min(8, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers, thread_name_prefix="export") as pool:
            jobs = {pool.submit(partial(self._complete, target, *unit)): unit for unit in units}
            try:
                for job in as_completed(jobs):
                    done[jobs[job]] = job.result()
                    listener(len(done), len(units))
            finally:
                for job in jobs:
                    job.cancel()
        by_split = {
            split.name: [done[split.name, shard] for shard in split.shards]
            for split in self.record.splits
        }
        self._format.finish(target, self.record, by_split)
        return tuple(done[unit] for unit in units)

    def _claim(self, target: ObjectStore) -> None:
        body = canonical_json(self.record)
        if target.put_if_absent(EXPORT_KEY, body) or target.get(EXPORT_KEY) == body:
            return
        raise ConflictError(
            f"{target.url} holds another export: its {EXPORT_KEY} differs",
            fix="Export to an empty folder. The same command goes on with its own export only.",
        )

    def _complete(self, target: ObjectStore, split: str, shard: int) -> ExportedShard:
        place = shard_place(split, shard)
        key = f"commits/{place}.json"
        if target.size(key) is not None:
            found = parse_json(target.get(key), ExportedShard, key)
            if all(target.size(file.key) == file.bytes for file in found.files):
                return found
        content = self._splits[split].open(shard)
        files, index = self._format.write_shard(target, place, content)
        done = ExportedShard(
            split=split, shard=shard, samples=len(content), files=files, index=index
        )
        body = canonical_json(done)
        put_identical(target, table_record(key, body), body)
        return done


def choose(
    manifest: Manifest,
    splits: Sequence[str],
    features: Sequence[str] | None,
    teacher: str | None,
) -> tuple[Sequence[SelectedSplit], TeacherSpec | None]:
    """Return the splits to export with their features, and the teacher of these."""
    wanted = [item for item in manifest.splits if _named(item, splits)]
    names = [f"{item.split.dataset}/{item.split.split}" for item in manifest.splits]
    for name in splits:
        if name not in names and not any(known.startswith(f"{name}/") for known in names):
            raise nearest_name(f"split of manifest {manifest.name}", name, names)
    images = [item for item in wanted if item.split.rows]
    if not images:
        raise UsageError(f"manifest {manifest.name} has no images to export")
    if not manifest.teachers or (features is not None and not features):
        return [SelectedSplit(published=item, by_view={"identity": {}}) for item in images], None
    spec = require_teacher(manifest, teacher) if teacher else only_teacher(manifest)
    chosen = Manifest(name=manifest.name, teachers=manifest.teachers, splits=tuple(images))
    arrays = _by_sample(images, spec) if features is None else features
    selected = select_splits(chosen, choose_features(chosen, list(arrays), spec.digest))
    for name, feature in selected[0].features.items():
        if feature.feature.rows != "sample":
            raise UsageError(
                f"feature {name} cannot be exported by sample",
                expected="rows of kind sample",
                got=feature.feature.rows,
            )
    if len(selected) < len(images):
        missing = set(names_of(images)) - set(names_of([item.published for item in selected]))
        raise UsageError(
            f"{', '.join(sorted(missing))}: not all of {', '.join(arrays)} are published",
            fix="Choose splits by --dataset, or features by --feature.",
        )
    return selected, spec


def names_of(splits: Sequence[ManifestSplit]) -> list[str]:
    """Return ``dataset/split`` of each."""
    return [f"{item.split.dataset}/{item.split.split}" for item in splits]


def _named(item: ManifestSplit, wanted: Sequence[str]) -> bool:
    name = f"{item.split.dataset}/{item.split.split}"
    return not wanted or name in wanted or item.split.dataset in wanted


def _by_sample(splits: Sequence[ManifestSplit], teacher: TeacherSpec) -> list[str]:
    """Return the features with a row per sample, of images as they are, that any split has."""
    return sorted(
        {
            feature.feature.array_name
            for item in splits
            for feature in item.features
            if feature.teacher == teacher.digest
            and feature.feature.rows == "sample"
            and feature.feature.view == "identity"
        }
    )


def _describe(item: ManifestSplit, opened: Mapping[str, PublishedShards]) -> ExportedSplit:
    (name,) = names_of([item])
    return ExportedSplit(name=name, shards=tuple(opened[name].shards), licence=item.split.licence)
