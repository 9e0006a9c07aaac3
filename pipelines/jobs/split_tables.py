"""The files of a whole split, made from those of its shards: phrases, categories, report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.jobs.split_report import ReportBuilder, put_report
from pipelines.store import layout
from pipelines.store.commits import put_identical
from pipelines.store.objects import ObjectStore
from pipelines.store.tables import encode_table, read_table, table_record
from schemas.categories import Category
from schemas.manifests import FileRecord
from schemas.tables import ANNOTATIONS, CATEGORIES, PHRASES, SAMPLES

_OF_OBJECTS = ("row", "category", "phrases")
_OF_SAMPLES = ("row", "width", "height", "captions", "negatives", "quarantine")


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitTables:
    """What was written, and the number of unique phrases."""

    files: tuple[FileRecord, ...]
    phrases: int


class TextCounts:
    """How often each text occurs in a split, by what it is used for."""

    def __init__(self) -> None:
        self.objects: Counter[str] = Counter()
        self.captions: Counter[str] = Counter()
        self.negatives: Counter[str] = Counter()
        self.categories: Counter[str] = Counter()

    def add_shard(self, annotations: pa.Table, samples: pa.Table) -> None:
        """Count the texts of one shard."""
        _count(self.objects, pc.list_flatten(annotations.column("phrases")))
        _count(self.categories, annotations.column("category"))
        _count(self.captions, pc.list_flatten(samples.column("captions")))
        _count(self.negatives, pc.list_flatten(samples.column("negatives")))


def put_split_tables(
    store: ObjectStore, dataset: str, split: str, shards: int, described: Sequence[Category]
) -> SplitTables:
    """Store phrases, report, and categories when there are any; or find them there alike.

    Parameters
    ----------
    described
        What the data set says of its categories. Those it does not describe get a row by name.
    """
    counts, numbers = TextCounts(), ReportBuilder()
    for shard in range(shards):
        objects_key = layout.annotations_key(dataset, split, shard)
        annotations = read_table(store, objects_key, ANNOTATIONS, _OF_OBJECTS)
        samples_key = layout.samples_key(dataset, split, shard)
        samples = read_table(store, samples_key, SAMPLES, _OF_SAMPLES)
        counts.add_shard(annotations, samples)
        numbers.add_shard(annotations, samples)
    phrases = _phrase_rows(counts)
    files = [_put(store, layout.phrases_key(dataset, split), phrases, PHRASES)]
    if categories := _category_rows(described, counts.categories):
        key = layout.categories_key(dataset, split)
        files.append(_put(store, key, categories, CATEGORIES))
    files.append(put_report(store, numbers.build(dataset, split)))
    return SplitTables(files=tuple(files), phrases=len(phrases))


def _phrase_rows(counts: TextCounts) -> list[dict[str, object]]:
    """Return unique phrases by code point; those that are only ever negative need features too."""
    texts = sorted(counts.objects.keys() | counts.captions.keys() | counts.negatives.keys())
    return [
        {
            "row": row,
            "phrase": phrase,
            "objects": counts.objects[phrase],
            "captions": counts.captions[phrase],
            "negatives": counts.negatives[phrase],
        }
        for row, phrase in enumerate(texts)
    ]


def _category_rows(described: Sequence[Category], found: Iterable[str]) -> list[dict[str, object]]:
    known = {category.name for category in described}
    others = [Category(name=name) for name in sorted(set(found) - known)]
    return [asdict(category) for category in (*described, *others)]


def _put(
    store: ObjectStore, key: str, rows: list[dict[str, object]], schema: pa.Schema
) -> FileRecord:
    body = encode_table(rows, schema)
    record = table_record(key, body)
    put_identical(store, record, body)
    return record


def _count(counter: Counter[str], texts: pa.ChunkedArray) -> None:
    for item in pc.value_counts(texts).to_pylist():
        if item["values"] is not None:
            counter[item["values"]] += item["counts"]
