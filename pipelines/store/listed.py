"""Tables that a manifest lists, read with the check that they are the published ones."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.store.objects import ObjectStore
from pipelines.store.published import read_part
from schemas.errors import DataError, IncompleteError, IntegrityError
from schemas.ids import digest_bytes
from schemas.manifests import FileRecord, PartRecord

Listing = dict[str, FileRecord]
"""Files by key."""


def list_files(store: ObjectStore, part: PartRecord) -> Listing:
    """Return the files that a part lists."""
    rows = read_part(store, part).select(["key", "bytes", "blake3"]).to_pylist()
    return {row["key"]: FileRecord(**row) for row in rows}


def read_listed_table(store: ObjectStore, record: FileRecord, columns: Sequence[str]) -> pa.Table:
    """Return some columns of the parquet table that ``record`` describes.

    Raises
    ------
    IncompleteError
        The root does not have the file.
    IntegrityError
        It has other content than when it was published.
    """
    body = _read_listed(store, record)
    try:
        return pq.read_table(pa.BufferReader(body)).select(list(columns))
    except (pa.ArrowException, KeyError, OSError) as cause:
        reason = " ".join(str(cause).split())
        raise DataError(f"{record.key} has no columns {', '.join(columns)}: {reason}") from cause


def _read_listed(store: ObjectStore, record: FileRecord) -> bytes:
    try:
        body = store.get(record.key)
    except FileNotFoundError as cause:
        raise IncompleteError(
            f"{record.key} is published but missing in {store.url}", fix="Copy the root whole."
        ) from cause
    if digest_bytes(body) != record.blake3:
        raise IntegrityError(
            f"{record.key} is not as it was published",
            expected=f"blake3 {record.blake3[:16]}, {record.bytes} bytes",
            got=f"blake3 {digest_bytes(body)[:16]}, {len(body)} bytes",
            fix="Run `samdistill verify --deep` to find all such files.",
        )
    return body
