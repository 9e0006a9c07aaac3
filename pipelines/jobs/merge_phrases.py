"""Unites the phrases of several splits into one split of phrases, each phrase once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.jobs.phrase_table import Row, merge_rows, put_rows
from pipelines.store import layout
from pipelines.store.commits import put_identical
from pipelines.store.objects import ObjectStore
from pipelines.store.splits import Split
from schemas.errors import ConflictError, UsageError
from schemas.ids import canonical_json, digest_bytes, parse_json, sample_key
from schemas.manifests import FileRecord, SplitRecord

DATASET = "phrases"
"""What the folder of merged splits is called, beside those of the data sets."""

_VERSION = "phrases-1"
_SUMS = ("objects", "captions", "negatives")


def merge_phrases(store: ObjectStore, name: str, splits: Sequence[Split]) -> SplitRecord:
    """Store the split ``phrases/<name>``, or find it there, made of the same splits.

    Equal phrases become one row, with the sums of their counts and with how often each split uses
    them. Tables are merged row by row, so memory does not grow with them.

    Raises
    ------
    UsageError
        A split is given twice, or is a merged one: its sources would be counted again.
    ConflictError
        The split exists, of other splits.
    """
    key = layout.split_key(DATASET, sample_key(name))
    sources = _sources(splits)
    if store.size(key) is not None:
        return _same_split(parse_json(store.get(key), SplitRecord, key), sources, key)
    totals: Counter[str] = Counter()
    rows = _counted(merge_rows([_rows(split) for split in splits]), totals)
    file, phrases = put_rows(store, layout.phrases_key(DATASET, name), rows)
    record = SplitRecord(
        dataset=DATASET,
        split=name,
        media="text",
        shards=0,
        rows=0,
        rows_per_shard=0,
        object_frames_per_shard=0,
        phrases=phrases,
        counts=dict(totals),
        quarantined={},
        licence="; ".join(dict.fromkeys(split.record.licence for split in splits)),
        normalizer=_VERSION,
        sources=sources,
        commits=digest_bytes(b""),
        files=(file,),
    )
    body = canonical_json(record)
    put_identical(store, FileRecord(key=key, bytes=len(body), blake3=digest_bytes(body)), body)
    return record


def _sources(splits: Sequence[Split]) -> dict[str, str]:
    sources = {split.name: f"blake3:{split.digest}" for split in splits}
    if len(sources) < len(splits):
        raise UsageError("a split is given twice", expected="each once")
    for split in splits:
        if split.record.dataset == DATASET:
            raise UsageError(
                f"{split.name} is a merged split itself",
                expected="splits of data sets and text corpora",
                fix=f"Name its sources instead: {', '.join(sorted(split.record.sources))}.",
            )
    return sources


def _same_split(record: SplitRecord, sources: dict[str, str], key: str) -> SplitRecord:
    if record.sources != sources:
        raise ConflictError(
            f"{key} exists, made of other splits",
            expected=_named(sources),
            got=_named(record.sources),
            fix="Give the merged split another name: what was cached from the first stays valid.",
        )
    return record


def _named(sources: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {digest[:23]}" for name, digest in sorted(sources.items()))


def _rows(split: Split) -> Iterator[Row]:
    """Yield a split's rows with the split as their source; they are sorted by phrase."""
    key = layout.phrases_key(split.record.dataset, split.record.split)
    with pq.ParquetFile(pa.BufferReader(split.store.get(key))) as file:
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                yield _sourced(split.name, row)


def _sourced(split: str, row: Row) -> Row:
    parts = row["sources"] or ()
    cells = [{**part, "source": f"{split}/{part['source']}"} for part in parts]
    uses = sum(row[name] for name in _SUMS)
    return {
        "phrase": row["phrase"],
        **{name: row[name] for name in _SUMS},
        "sources": cells or [{"source": split, "count": uses}],
    }


def _counted(rows: Iterator[Row], totals: Counter[str]) -> Iterator[Row]:
    for row in rows:
        totals["uses"] += sum(cell["count"] for cell in row["sources"])
        for name in _SUMS:
            totals[name] += row[name]
        yield row
