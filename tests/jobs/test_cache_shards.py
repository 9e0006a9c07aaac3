"""What happens when a shard's files are there already: adopted, or replaced when damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.jobs.feature_shards import LEFT_OUT, FeatureShard
from pipelines.jobs.stored_rows import store_row
from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.commits import hash_file
from pipelines.store.tables import read_table
from schemas.errors import IntegrityError
from schemas.manifests import CommitRecord
from schemas.tables import FEATURE_ROWS
from tests.store.arrays import make_array

NAMES = [{"key": f"k{row}", "clip": None, "frame": None} for row in range(3)]


def publish(
    array: FeatureArray, values: dict[int, float], reasons: dict[int, str] | None = None
) -> CommitRecord:
    array.create()
    with array.stage_shard(0) as target:
        shard = FeatureShard(array, 0, target, NAMES)
        for row, value in values.items():
            item = np.full(array.feature.item_shape, value, np.float32)
            item.flat[0] = 0.0
            shard.write(row, store_row(array, item, "row"))
        for row, reason in (reasons or {}).items():
            shard.quarantine(row, reason)
        return shard.publish(())


def without_commit(array: FeatureArray) -> None:
    array.store.delete(layout.commit_key(array.folder, 0))


def table(array: FeatureArray) -> list[dict[str, Any]]:
    key = layout.rows_key(array.folder, 0)
    rows: list[dict[str, Any]] = read_table(array.store, key, FEATURE_ROWS).to_pylist()
    return rows


@pytest.fixture
def array(tmp_path: Path) -> FeatureArray:
    return make_array(tmp_path)


def test_rows_describe_the_stored_bytes(array: FeatureArray) -> None:
    record = publish(array, {0: 0.1, 2: -3.0}, {1: "truncated: at 7"})
    assert [(row["minimum"], row["maximum"]) for row in table(array)] == [
        (0.0, float(np.float16(0.1))),
        (None, None),
        (-3.0, 0.0),
    ]
    assert [row["quarantine"] for row in table(array)] == [None, "truncated: at 7", None]
    assert (record.rows, record.counts, record.quarantined) == (3, {"stored": 2}, {"truncated": 1})


def test_the_first_data_file_decides(array: FeatureArray) -> None:
    first = publish(array, {0: 1.0, 1: 1.0}, {2: "truncated: at 7"})
    without_commit(array)
    array.store.delete(layout.rows_key(array.folder, 0))
    second = publish(array, {0: 2.0, 1: 2.0, 2: 2.0})
    assert second.files[0] == first.files[0]
    assert [row["maximum"] for row in table(array)] == [1.0, 1.0, None]
    assert table(array)[2]["quarantine"] == LEFT_OUT
    assert second.quarantined == {"left-out": 1}


def test_the_first_row_table_decides_the_reasons(array: FeatureArray) -> None:
    first = publish(array, {0: 1.0, 1: 1.0}, {2: "truncated: at 7"})
    without_commit(array)
    assert publish(array, {0: 1.0, 1: 1.0}, {2: "forward: error"}) == first


def test_a_damaged_uncommitted_data_file_is_replaced(array: FeatureArray) -> None:
    first = publish(array, {0: 1.0, 1: 1.0, 2: 1.0})
    without_commit(array)
    flip(array, array.shard_key(0), 5)
    assert publish(array, {0: 1.0, 1: 1.0, 2: 1.0}) == first
    assert hash_file(array.store, array.shard_key(0)) == first.files[0]


def test_a_truncated_uncommitted_data_file_is_replaced(array: FeatureArray) -> None:
    first = publish(array, {0: 1.0, 1: 1.0, 2: 1.0})
    without_commit(array)
    Path(array.store.url, array.shard_key(0)).write_bytes(b"short")
    assert publish(array, {0: 1.0, 1: 1.0, 2: 1.0}) == first


@pytest.mark.parametrize("body", [b"no table", None])
def test_a_row_table_of_other_data_is_replaced(array: FeatureArray, body: bytes | None) -> None:
    publish(array, {0: 1.0, 1: 1.0, 2: 1.0})
    without_commit(array)
    array.store.delete(array.shard_key(0))
    if body is not None:
        Path(array.store.url, layout.rows_key(array.folder, 0)).write_bytes(body)
    second = publish(array, {0: 2.0, 1: 2.0, 2: 2.0})
    assert [row["maximum"] for row in table(array)] == [2.0, 2.0, 2.0]
    assert hash_file(array.store, second.files[1].key) == second.files[1]


def test_a_damaged_committed_file_is_never_touched(array: FeatureArray) -> None:
    publish(array, {0: 1.0, 1: 1.0, 2: 1.0})
    flip(array, array.shard_key(0), 5)
    damaged = array.store.get(array.shard_key(0))
    with pytest.raises(IntegrityError, match="committed and damaged"):
        publish(array, {0: 1.0, 1: 1.0, 2: 1.0})
    assert array.store.get(array.shard_key(0)) == damaged


def flip(array: FeatureArray, key: str, place: int) -> None:
    path = Path(array.store.url, key)
    body = bytearray(path.read_bytes())
    body[place] ^= 1
    path.write_bytes(body)
