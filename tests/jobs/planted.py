"""Plants faults into a cached root so well that only the teacher can tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from pipelines.store import layout
from pipelines.store.arrays import FeatureArray, as_bytes
from pipelines.store.commits import read_commit, write_commit
from pipelines.store.tables import encode_table, read_table, table_record
from schemas.codec import get_codec
from schemas.manifests import FileRecord
from schemas.tables import feature_rows

Stored = npt.NDArray[Any]
Rows = list[Stored | None]
Table = list[dict[str, Any]]
Change = Callable[[Rows, Table], None]


def replant(array: FeatureArray, shard: int, change: Change) -> None:
    """Write a shard anew after ``change``; its row table and its commit record fit it again."""
    key = layout.rows_key(array.folder, shard)
    schema = feature_rows(array.feature.rows)
    table = read_table(array.store, key, schema).to_pylist()
    rows: Rows = [_stored(array, shard, row) for row in range(len(table))]
    change(rows, table)
    for row, described in zip(rows, table, strict=True):
        ends = (None, None) if row is None else array.extent(row)
        described["minimum"], described["maximum"] = ends
    commit = read_commit(array.store, array.folder, shard)
    root = Path(array.store.url)
    for old in (*(file.key for file in commit.files), layout.commit_key(array.folder, shard)):
        (root / old).unlink()
    body = encode_table(table, schema)
    assert array.store.put_if_absent(key, body)
    files = (_write(array, shard, rows), table_record(key, body))
    write_commit(array.store, array.folder, msgspec.structs.replace(commit, files=files))


def values_of(array: FeatureArray, stored: Stored) -> Stored:
    """The values of a stored row, or its codes where scales come first; a view."""
    parts = get_codec(array.feature.codec).parts(array.feature.item_shape)
    return parts[-1].of(stored) if parts else stored


def _stored(array: FeatureArray, shard: int, row: int) -> Stored | None:
    if not array.reader(shard).present[row]:
        return None
    stored = np.empty(array.feature.stored_shape, dtype=array.dtype)
    array.read_into(shard * array.record.rows_per_shard + row, stored[...])
    return stored


def _write(array: FeatureArray, shard: int, rows: Rows) -> FileRecord:
    with array.stage_shard(shard) as target:
        for row, stored in enumerate(rows):
            if stored is not None:
                target.writer.write(row, as_bytes(np.ascontiguousarray(stored)))
        record = target.writer.finish()
        assert target.staged.publish()
    return record
