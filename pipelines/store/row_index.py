"""Indexes of a published split: where each sample and each feature lies, by row, in one file each.

Without them a reader would open every shard's tables before its first batch: at 86,000 shards that
takes minutes. An index is one Arrow IPC file with one record batch and no compression, so that it
is mapped into memory and looked up where it lies. Item ``i`` is row ``i`` of the split's arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.listed import Listing, read_listed_table
from pipelines.store.objects import ObjectStore
from schemas.errors import DataError
from schemas.manifests import SplitRecord
from schemas.samples import MediaKind
from schemas.tables import FEATURE_INDEX, FRAME_INDEX, SAMPLE_INDEX

_SAMPLE_COLUMNS = ("key", "offset", "size", "blake3", "quarantine")
_DIGEST_CHARACTERS = 16
_THREADS = 16


def sample_schema(media: MediaKind) -> pa.Schema:
    """Return the columns of the sample index of a split of such media."""
    return FRAME_INDEX if media == "video" else SAMPLE_INDEX


def build_sample_index(store: ObjectStore, split: SplitRecord, files: Listing) -> pa.Table:
    """Return the sample index of a split, from the samples tables among ``files``.

    A shard whose table or tar is not listed has no samples.
    """
    schema = sample_schema(split.media)

    def read(shard: int) -> pa.Table:
        place = (split.dataset, split.split, shard)
        record = files.get(layout.samples_key(*place))
        if record is None or layout.media_key(*place) not in files:
            return _absent(schema, split.rows_per_shard)
        names = [*_SAMPLE_COLUMNS, "frame"] if "frame" in schema.names else _SAMPLE_COLUMNS
        samples = read_listed_table(store, record, names)
        found = _sample_columns(samples, schema)
        return pa.concat_tables([found, _absent(schema, split.rows_per_shard - len(found))])

    return _concatenated(read, split.shards, schema)


def build_feature_index(array: FeatureArray, files: Listing) -> pa.Table:
    """Return the index of a feature array; a shard whose file is not listed has no rows."""

    def read(shard: int) -> pa.Table:
        if array.shard_key(shard) not in files:
            return _absent(FEATURE_INDEX, array.record.rows_per_shard)
        offsets = array.reader(shard).offsets
        return pa.table([pa.array(offsets, mask=offsets < 0)], schema=FEATURE_INDEX)

    return _concatenated(read, array.record.shards, FEATURE_INDEX)


def encode_index(table: pa.Table) -> bytes:
    """Return an index as an Arrow IPC file; equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        for batch in table.combine_chunks().to_batches():
            writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def decode_index(body: pa.Buffer, schema: pa.Schema, where: str) -> pa.RecordBatch:
    """Return the index that ``body`` holds, without a copy.

    Raises
    ------
    DataError
        It is no index, or has other columns.
    """
    try:
        reader = pa.ipc.open_file(body)
        if reader.schema != schema or reader.num_record_batches != 1:
            raise DataError(
                f"index {where}",
                expected=f"one batch of {', '.join(schema.names)}",
                got=f"{reader.num_record_batches} of {', '.join(reader.schema.names)}",
            )
        return reader.get_batch(0)
    except pa.ArrowException as cause:
        reason = " ".join(str(cause).split())
        raise DataError(f"{where} is not an index, or is damaged: {reason}") from cause


def column_values(batch: pa.RecordBatch, name: str) -> npt.NDArray[Any]:
    """Return a column of numbers as it lies in memory; what stands for a null is arbitrary."""
    column = batch.column(name)
    dtype = column.type.to_pandas_dtype()
    return np.frombuffer(column.buffers()[1], dtype=dtype, count=len(column))


def column_present(batch: pa.RecordBatch, name: str) -> npt.NDArray[np.bool_]:
    """Return which items of a column are not null."""
    column = batch.column(name)
    valid = column.buffers()[0]
    if valid is None:
        return np.ones(len(column), dtype=np.bool_)
    bits = np.frombuffer(valid, dtype=np.uint8)
    return np.unpackbits(bits, count=len(column), bitorder="little").view(np.bool_)


def _sample_columns(samples: pa.Table, schema: pa.Schema) -> pa.Table:
    unusable = pc.is_valid(samples["quarantine"])
    digests = [int(text[:_DIGEST_CHARACTERS] or "0", 16) for text in samples["blake3"].to_pylist()]
    columns = {
        "offset": samples["offset"],
        "size": pc.cast(samples["size"], pa.uint32()),
        "digest": pa.chunked_array([pa.array(digests, pa.uint64())]),
    }
    nothing = {name: pa.scalar(None, column.type) for name, column in columns.items()}
    columns = {
        name: pc.if_else(unusable, nothing[name], column) for name, column in columns.items()
    }
    columns["key"] = pc.cast(samples["key"], pa.large_string())
    if "frame" in schema.names:
        columns["frame"] = samples["frame"]
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _absent(schema: pa.Schema, rows: int) -> pa.Table:
    return pa.table([pa.nulls(rows, field.type) for field in schema], schema=schema)


def _concatenated(read: Callable[[int], pa.Table], shards: int, schema: pa.Schema) -> pa.Table:
    """Return the tables of all shards as one, of one chunk."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="index") as pool:
        tables: Sequence[pa.Table] = list(pool.map(read, range(shards)))
    return pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()
