"""Gathers the numbers of ``report.json``, shard by shard, in memory of a bounded size."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

import msgspec
import pyarrow as pa

from pipelines.store import layout
from pipelines.store.commits import put_identical, read_commit
from pipelines.store.objects import ObjectStore
from pipelines.store.tables import table_record
from schemas.ids import canonical_json, parse_json
from schemas.manifests import FileRecord, SplitRecord
from schemas.reports import CountSpread, Size, SizeSpread, SplitReport

T = TypeVar("T")


class ReportBuilder:
    """Adds up the tables of a split's shards."""

    def __init__(self) -> None:
        self._sizes: Counter[Size] = Counter()
        self._objects: Counter[int] = Counter()
        self._categories: Counter[str] = Counter()
        self._quarantined: Counter[str] = Counter()

    def add_shard(self, annotations: pa.Table, samples: pa.Table) -> None:
        """Add the tables of one shard."""
        objects = Counter(annotations.column("row").to_pylist())
        self._categories.update(
            name for name in annotations.column("category").to_pylist() if name is not None
        )
        columns = ["row", "width", "height", "quarantine"]
        for sample in samples.select(columns).to_pylist():
            if sample["quarantine"] is not None:
                self._quarantined[sample["quarantine"].partition(":")[0]] += 1
                continue
            self._sizes[sample["width"], sample["height"]] += 1
            self._objects[objects[sample["row"]]] += 1

    def build(self, dataset: str, split: str) -> SplitReport:
        """Return the report of all shards so far."""
        return SplitReport(
            dataset=dataset,
            split=split,
            images=self._sizes.total(),
            without_objects=self._objects[0],
            sizes=self._size_spread(),
            objects_per_image=self._object_spread(),
            categories=dict(self._categories),
            quarantined=dict(self._quarantined),
        )

    def _size_spread(self) -> SizeSpread | None:
        sizes = dict(sorted(self._sizes.items(), key=lambda item: (_area(item[0]), item[0])))
        if not sizes:
            return None
        ordered = list(sizes)
        return SizeSpread(smallest=ordered[0], median=_middle(sizes), largest=ordered[-1])

    def _object_spread(self) -> CountSpread | None:
        counts = dict(sorted(self._objects.items()))
        if not counts:
            return None
        return CountSpread(minimum=min(counts), median=_middle(counts), maximum=max(counts))


def put_report(store: ObjectStore, report: SplitReport) -> FileRecord:
    """Store ``report.json``, or find it there alike."""
    body = canonical_json(report)
    record = table_record(layout.report_key(report.dataset, report.split), body)
    put_identical(store, record, body)
    return record


class SplitDescription(msgspec.Struct, frozen=True, kw_only=True):
    """All that is printed of a complete split."""

    record: SplitRecord
    report: SplitReport | None
    """None for a split of phrases only."""
    bytes: int
    """Images, tables and report."""


def describe_split(store: ObjectStore, record: SplitRecord) -> SplitDescription:
    """Return record, report and size of a complete split."""
    folder = layout.split_folder(record.dataset, record.split)
    shards = (read_commit(store, folder, shard) for shard in range(record.shards))
    files = itertools.chain(record.files, *(shard.files for shard in shards))
    return SplitDescription(
        record=record,
        report=_read_report(store, record),
        bytes=sum(file.bytes for file in files),
    )


def _read_report(store: ObjectStore, record: SplitRecord) -> SplitReport | None:
    key = layout.report_key(record.dataset, record.split)
    if all(file.key != key for file in record.files):
        return None
    return parse_json(store.get(key), SplitReport, key)


def _area(size: Size) -> int:
    return size[0] * size[1]


def _middle(counts: Mapping[T, int]) -> T:
    """Return the item in the middle of a sorted multiset; of two, the first."""
    left = (sum(counts.values()) + 1) // 2
    for item, count in counts.items():
        left -= count
        if left <= 0:
            return item
    raise ValueError("the middle of nothing")
