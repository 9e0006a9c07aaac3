"""Writes one shard of a normalized split: media tar, two tables, commit record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from pipelines.engine.prefetch import prefetch
from pipelines.engine.work import UnitReport, WorkUnit
from pipelines.jobs.media_tar import MediaTar
from pipelines.jobs.plan_shards import ShardPlan, plan_shards, shard_capacity
from pipelines.jobs.shard_rows import ShardRows
from pipelines.normalize.base import Normalizer
from pipelines.normalize.checks import checked
from pipelines.store import layout
from pipelines.store.commits import (
    is_committed,
    publish_identical,
    put_identical,
    read_commit,
    write_commit,
)
from pipelines.store.objects import ObjectStore
from pipelines.store.tables import encode_columns, table_record
from schemas.errors import ConflictError, DataError
from schemas.ids import canonical_json, digest_bytes
from schemas.manifests import CommitRecord, FileRecord
from schemas.samples import Group, Sample

PRODUCT = "normalized"

KeyOfShard = Callable[[str, str, int], str]

_CACHED = frozenset(["_sources", "capacity", "groups", "plans"])


class NormalizeStage:
    """The stage ``normalize``: one unit is one shard; see ``Stage``.

    Parameters
    ----------
    rows_per_shard
        As asked for; a clip that is longer gets a shard of its own.
    threads
        Threads that check images by decoding them.
    """

    name = "normalize"

    def __init__(
        self,
        store: ObjectStore,
        normalizer: Normalizer,
        *,
        rows_per_shard: int,
        threads: int = 1,
    ) -> None:
        self.store, self.normalizer = store, normalizer
        self._requested, self._threads = rows_per_shard, threads
        self.folder = layout.split_folder(normalizer.dataset, normalizer.split)

    def __getstate__(self) -> dict[str, Any]:
        # The plan of a large split is made anew in each process rather than sent to it.
        return {name: value for name, value in vars(self).items() if name not in _CACHED}

    @property
    def units(self) -> list[WorkUnit]:
        """All shards of the split."""
        return [
            WorkUnit(
                stage=self.name,
                dataset=self.normalizer.dataset,
                split=self.normalizer.split,
                shard=plan.shard,
            )
            for plan in self.plans
        ]

    @cached_property
    def capacity(self) -> int:
        """Rows that each shard can hold."""
        return shard_capacity(self.groups, self._requested)

    @cached_property
    def plans(self) -> list[ShardPlan]:
        """The cut of the split."""
        return plan_shards(self.groups, self._requested)

    @cached_property
    def groups(self) -> Sequence[Group]:
        """The split's groups, in order."""
        return self.normalizer.groups()

    def identity(self, plan: ShardPlan) -> str:
        """Return what decides the content of a shard, for its commit record.

        Of the sources it names only the one that the shard's groups are a part of, when they are:
        so a shard stays what it is when other archives are added. Likewise it names the rows that
        were asked for, not the capacity, which a long clip of another archive may raise.
        """
        part = plan.groups[0].part
        sources = {part: self._sources[part]} if part in self._sources else self._sources
        digest = digest_bytes(canonical_json(sources))[:16]
        return f"{self.normalizer.version} rows={self._requested} sources={digest}"

    @cached_property
    def _sources(self) -> dict[str, str]:
        return dict(self.normalizer.sources())

    def is_committed(self, unit: WorkUnit) -> bool:
        """See ``Stage.is_committed``."""
        return is_committed(self.store, self.folder, unit.shard)

    def require_same_identity(self, shard: int) -> CommitRecord:
        """Return the commit of a shard, if it was made from this source in this way.

        Raises
        ------
        ConflictError
            It was not: the two may not be mixed in one split.
        """
        record = read_commit(self.store, self.folder, shard)
        identity = self.identity(self.plans[shard])
        if record.identity != identity:
            raise ConflictError(
                f"{self.folder} in {self.store.url} was normalized from another source, by "
                "another version, or with other options",
                expected=identity,
                got=record.identity,
                fix=f"Remove {self.folder} and what was cached from it, or use another --root.",
            )
        return record

    def run(self, unit: WorkUnit) -> UnitReport:
        """See ``Stage.run``."""
        begun = time.perf_counter()
        plan = self.plans[unit.shard]
        rows, media = self._write_media(plan)
        record = CommitRecord(
            product=PRODUCT,
            dataset=unit.dataset,
            split=unit.split,
            shard=unit.shard,
            rows=len(rows.samples),
            identity=self.identity(plan),
            files=(
                media,
                self._put_table(layout.samples_key, unit, rows.samples_table()),
                self._put_table(layout.annotations_key, unit, rows.annotations_table()),
            ),
            counts=rows.counts(),
            quarantined=dict(rows.quarantined),
        )
        first = write_commit(self.store, self.folder, record)
        return UnitReport(
            unit=unit,
            status="done" if first else "skipped",
            rows=record.rows,
            quarantined=rows.quarantined.total(),
            bytes=sum(file.bytes for file in record.files),
            seconds={"wall": time.perf_counter() - begun},
        )

    def _write_media(self, plan: ShardPlan) -> tuple[ShardRows, FileRecord]:
        rows = ShardRows(self.normalizer.media)
        key = layout.media_key(self.normalizer.dataset, self.normalizer.split, plan.shard)
        with self.store.stage(key) as staged:
            tar, last, begins = MediaTar(staged), "", 0
            for sample in self._checked_samples(plan):
                # The frames of a kept video share one member.
                if sample.quarantine is None and sample.member != last:
                    last, begins = sample.member, tar.add(sample.member, sample.encoded)
                rows.add(sample, begins if sample.quarantine is None else 0)
            media = tar.finish()
            publish_identical(self.store, staged, media)
        return rows, media

    def _checked_samples(self, plan: ShardPlan) -> Iterator[Sample]:
        """Yield the shard's samples in order; threads check a few ahead, so memory stays flat."""
        if self._threads == 1:
            # In this thread: another one would take memory anew for every image.
            yield from map(checked, self._samples(plan))
            return
        samples = self._samples(plan)
        yield from prefetch(checked, samples, threads=self._threads, ahead=2 * self._threads)

    def _samples(self, plan: ShardPlan) -> Iterator[Sample]:
        for group in plan.groups:
            count = 0
            for count, sample in enumerate(self.normalizer.read(group), start=1):  # noqa: B007
                yield sample
            if count != group.rows:
                raise DataError(f"group {group.key}", expected=f"{group.rows} samples", got=count)

    def _put_table(self, key_of: KeyOfShard, unit: WorkUnit, table: pa.Table) -> FileRecord:
        body = encode_columns(table)
        record = table_record(key_of(unit.dataset, unit.split, unit.shard), body)
        put_identical(self.store, record, body)
        return record
