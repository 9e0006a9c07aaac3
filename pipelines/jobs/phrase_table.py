"""Tables of phrases in flat memory: uses counted by sorted runs on disk, sorted rows merged."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.engine.scratch import ScratchFolder
from pipelines.normalize.phrases_of import PhraseUse
from pipelines.store.commits import publish_identical
from pipelines.store.objects import ObjectStore
from schemas.ids import digest_bytes
from schemas.manifests import FileRecord
from schemas.tables import PHRASES

Row = dict[str, Any]

_RUN = pa.schema([field for field in PHRASES if field.name != "row"])
_SUMS = ("objects", "captions", "negatives")
_BATCH = 1 << 14
_ROW_GROUP = 1 << 16
_IN_MEMORY = 500_000
"""Unique phrases held before they are spilled: about half a gigabyte."""


class PhraseTable:
    """Counts uses of phrases and writes them sorted by code point.

    The number of unique phrases is bounded by the disk alone: beyond ``in_memory`` of them, sorted
    runs go to a temporary folder, which is gone at the end of the ``with`` block.
    """

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        self.totals: Counter[str] = Counter()
        """Sums over all uses: ``uses``, ``objects``, ``captions``, ``negatives``."""
        self._in_memory = in_memory
        self._rows: dict[str, Row] = {}
        self._runs: list[Path] = []
        self._folder = ScratchFolder("phrases")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.remove()

    def add(self, use: PhraseUse) -> None:
        """Count one use."""
        row = self._rows.get(use.phrase)
        if row is None:
            if len(self._rows) == self._in_memory:
                self._spill()
            row = {"phrase": use.phrase, **dict.fromkeys(_SUMS, 0), "sources": Counter()}
            self._rows[use.phrase] = row
        self.totals["uses"] += 1
        for name in _SUMS:
            count = getattr(use, name)
            row[name] += count
            self.totals[name] += count
        if use.source is not None:
            row["sources"][use.source] += 1

    def put(self, store: ObjectStore, key: str) -> tuple[FileRecord, int]:
        """Store the table, or find it there alike; return its record and its number of rows."""
        runs = [*map(_read_run, self._runs), self._sorted()]
        return put_rows(store, key, merge_rows(runs))

    def _sorted(self) -> Iterator[Row]:
        for phrase in sorted(self._rows):
            row = self._rows[phrase]
            yield {**row, "sources": _source_cells(row["sources"])}

    def _spill(self) -> None:
        path = self._folder.path / f"{len(self._runs)}.arrow"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, _RUN) as run:
            for batch in _chunks(self._sorted(), _BATCH):
                run.write_batch(pa.RecordBatch.from_pylist(batch, schema=_RUN))
        self._runs.append(path)
        self._rows.clear()


def merge_rows(parts: Iterable[Iterator[Row]]) -> Iterator[Row]:
    """Yield one row per phrase, sorted, from parts that are sorted by phrase; counts are sums."""
    together = heapq.merge(*parts, key=_phrase_of)
    for _, same in itertools.groupby(together, key=_phrase_of):
        yield _sum_up(same)


def put_rows(store: ObjectStore, key: str, rows: Iterable[Row]) -> tuple[FileRecord, int]:
    """Store sorted rows as a table, or find it there alike; return its record and its rows."""
    count = 0
    with ScratchFolder("phrases") as folder:
        path = folder.path / "phrases.parquet"
        with pq.ParquetWriter(path, PHRASES, compression="zstd") as writer:
            for group in _chunks(rows, _ROW_GROUP):
                numbered = [{"row": row, **item} for row, item in enumerate(group, count)]
                writer.write_table(pa.Table.from_pylist(numbered, schema=PHRASES))
                count += len(numbered)
        with pa.memory_map(str(path)) as file, store.stage(key) as staged:
            body = memoryview(file.read_buffer())
            record = FileRecord(key=key, bytes=len(body), blake3=digest_bytes(body))
            staged.write(body)
            publish_identical(store, staged, record)
    return record, count


def _read_run(path: Path) -> Iterator[Row]:
    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as run:
        for batch in run:
            yield from batch.to_pylist()


def _phrase_of(row: Row) -> str:
    return str(row["phrase"])


def _sum_up(rows: Iterable[Row]) -> Row:
    first, *others = rows
    if not others:
        return first
    sources: Counter[str] = Counter()
    for row in (first, *others):
        sources.update({cell["source"]: cell["count"] for cell in row["sources"] or ()})
    sums = {name: sum(row[name] for row in (first, *others)) for name in _SUMS}
    return {"phrase": first["phrase"], **sums, "sources": _source_cells(sources)}


def _source_cells(sources: Counter[str]) -> list[Row] | None:
    return [{"source": name, "count": sources[name]} for name in sorted(sources)] or None


def _chunks(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while chunk := list(itertools.islice(remaining, size)):
        yield chunk
