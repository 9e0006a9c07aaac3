"""Which samples of a manifest can be trained on, and where their bytes are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.store import layout
from pipelines.store.objects import ObjectStore
from pipelines.stream.listed import Listing, list_files, read_listed_table
from pipelines.stream.selection import SelectedSplit
from schemas.errors import IntegrityError, UsageError
from schemas.manifests import FileRecord, ManifestFeature

_SAMPLE_COLUMNS = ("key", "offset", "size", "blake3", "quarantine")
_ROW_COLUMNS = ("key", "quarantine")
_DIGEST_CHARACTERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleIndex:
    """Usable samples in the order split, shard, row: one entry of each column per sample.

    About 50 bytes per sample, so that ten million of them fit in half a gigabyte.
    """

    split: npt.NDArray[np.int16]
    """Position among the selected splits."""
    shard: npt.NDArray[np.int32]
    slot: npt.NDArray[np.int32]
    """Row in the shard."""
    offset: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    """Byte range of the encoded image in the shard's tar."""
    digest: npt.NDArray[np.uint64]
    """First 8 bytes of the encoded image's blake3."""
    keys: pa.Array

    def __len__(self) -> int:
        return len(self.slot)

    def key(self, sample: int) -> str:
        """Return the key of one sample."""
        return str(self.keys[sample])


@dataclass(frozen=True, slots=True)
class _ShardTables:
    split: int
    shard: int
    samples: FileRecord
    rows: tuple[FileRecord, ...]
    """One table per feature."""


def build_index(
    store: ObjectStore, splits: Sequence[SelectedSplit], *, threads: int
) -> SampleIndex:
    """Index the samples that are sound in their split and in each wanted feature.

    Only shards that the manifest lists for the split and for each feature count.

    Raises
    ------
    IntegrityError
        A table is not the published one, or its rows are other samples than the split's.
    UsageError
        No sample is left.
    """
    tables = [found for number, split in enumerate(splits) for found in _list(store, number, split)]
    with ThreadPoolExecutor(threads, thread_name_prefix="index") as pool:
        shards = list(pool.map(_read_shard, repeat(store), tables))
    columns = [shard for shard, _ in shards]
    if not any(len(shard) for shard in columns):
        raise UsageError(
            "the manifest has no sample to train on",
            expected="at least one row that is sound in the split and in each feature",
            got=f"{sum(rows for _, rows in shards)} rows in {len(tables)} shards, all quarantined"
            if tables
            else "no shard that is published with all features",
            fix="`samdistill inspect` lists the reasons; cache more and publish again.",
        )
    return _concatenate(columns)


def _list(store: ObjectStore, number: int, split: SelectedSplit) -> Iterator[_ShardTables]:
    record = split.published.split
    name = (record.dataset, record.split)
    files, shards = list_files(store, split.published.part)
    parts = [list_files(store, feature.part)[0] for feature in split.features]
    for shard in shards:
        samples = files.get(layout.samples_key(*name, shard))
        rows = _row_tables(split.features, parts, shard)
        if samples is not None and rows is not None and layout.media_key(*name, shard) in files:
            yield _ShardTables(number, shard, samples, rows)


def _row_tables(
    features: Sequence[ManifestFeature], parts: Sequence[Listing], shard: int
) -> tuple[FileRecord, ...] | None:
    """Return the row table of each feature; None when a feature lacks the shard."""
    tables = []
    for feature, files in zip(features, parts, strict=True):
        folder = feature.array.key.rpartition("/")[0]
        data = layout.array_shard_key(folder, shard, 1 + len(feature.feature.item_shape))
        table = files.get(layout.rows_key(folder, shard))
        if table is None or data not in files:
            return None
        tables.append(table)
    return tuple(tables)


def _read_shard(store: ObjectStore, tables: _ShardTables) -> tuple[SampleIndex, int]:
    """Return the usable samples of a shard, and how many rows it has in all."""
    samples = read_listed_table(store, tables.samples, _SAMPLE_COLUMNS)
    usable = samples["quarantine"].is_null().to_numpy()
    for record in tables.rows:
        rows = read_listed_table(store, record, _ROW_COLUMNS)
        if not rows["key"].equals(samples["key"]):
            raise IntegrityError(
                f"{record.key} lists other samples than {tables.samples.key}",
                fix="The split was normalized anew after caching: cache and publish again.",
            )
        usable = usable & rows["quarantine"].is_null().to_numpy()
    return _columns(tables, samples, np.flatnonzero(usable)), len(samples)


def _columns(tables: _ShardTables, samples: pa.Table, slots: npt.NDArray[np.int64]) -> SampleIndex:
    chosen = samples.take(pa.array(slots))
    digests = [int(text[:_DIGEST_CHARACTERS], 16) for text in chosen["blake3"].to_pylist()]
    return SampleIndex(
        split=np.full(len(slots), tables.split, dtype=np.int16),
        shard=np.full(len(slots), tables.shard, dtype=np.int32),
        slot=slots.astype(np.int32),
        offset=chosen["offset"].to_numpy(),
        size=chosen["size"].to_numpy(),
        digest=np.array(digests, dtype=np.uint64),
        keys=pc.cast(chosen["key"], pa.large_string()).combine_chunks(),
    )


def _concatenate(parts: Sequence[SampleIndex]) -> SampleIndex:
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("split", "shard", "slot", "offset", "size", "digest")
    }
    return SampleIndex(keys=pa.concat_arrays([part.keys for part in parts]), **arrays)
