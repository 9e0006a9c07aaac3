"""Parquet tables in an object store, byte-identical for equal rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.store.objects import ObjectStore
from schemas.errors import DataError
from schemas.ids import digest_bytes
from schemas.manifests import FileRecord


def encode_table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    """Return a parquet file with these rows."""
    return encode_columns(pa.Table.from_pylist(list(rows), schema=schema))


def encode_columns(table: pa.Table) -> bytes:
    """Return a parquet file with this table."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=True, write_statistics=True)
    return bytes(sink.getvalue())


def table_record(key: str, body: bytes) -> FileRecord:
    """Return the file record of an encoded table."""
    return FileRecord(key=key, bytes=len(body), blake3=digest_bytes(body))


def read_table(
    store: ObjectStore, key: str, schema: pa.Schema, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return the table stored under ``key``.

    Parameters
    ----------
    columns
        Decode only these: masks are most of a table of objects.

    Raises
    ------
    DataError
        The file is no parquet file, or has other columns.
    """
    body = store.get(key)
    try:
        with pq.ParquetFile(pa.BufferReader(body)) as file:
            names = file.schema_arrow.names
            table = file.read(columns) if names == schema.names else None
    except (pa.ArrowException, OSError) as cause:
        reason = " ".join(str(cause).split())
        raise DataError(
            f"{key} is not a parquet file, or is damaged: {reason}",
            fix="Restore it from a copy, or remove its product and make it again.",
        ) from cause
    if table is None:
        raise DataError(f"columns of {key}", expected=", ".join(schema.names), got=", ".join(names))
    return table
