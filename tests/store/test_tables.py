from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.store.local import LocalObjectStore
from pipelines.store.tables import encode_table, read_table
from schemas.errors import DataError
from schemas.masks import encode_mask
from schemas.tables import ANNOTATIONS, PHRASES, mask_cell, mask_from_cell

MASK = encode_mask(np.eye(3, dtype=bool))
ROW: dict[str, Any] = {
    "row": 0,
    "key": "a",
    "object_id": 4,
    "phrases": ["cat"],
    "box_xyxy": [0.0, 0.0, 3.0, 3.0],
    "mask": mask_cell(MASK),
    "is_crowd": False,
}


def test_rows_come_back_with_their_masks(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    store.put_if_absent("t.parquet", encode_table([ROW], ANNOTATIONS))
    (row,) = read_table(store, "t.parquet", ANNOTATIONS).to_pylist()
    assert mask_from_cell(row["mask"]) == MASK
    assert row["phrases"] == ["cat"]
    assert row["clip"] is None


def test_equal_rows_are_equal_bytes() -> None:
    assert encode_table([ROW], ANNOTATIONS) == encode_table([dict(ROW)], ANNOTATIONS)


def test_no_rows_is_a_table() -> None:
    assert len(encode_table([], ANNOTATIONS)) > 0


def test_other_columns_and_other_files_are_named(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    store.put_if_absent("t.parquet", encode_table([ROW], ANNOTATIONS))
    with pytest.raises(DataError, match=r"columns of t\.parquet"):
        read_table(store, "t.parquet", PHRASES)
    store.put_if_absent("u.parquet", b"no parquet")
    with pytest.raises(DataError, match=r"u\.parquet is not a parquet file"):
        read_table(store, "u.parquet", PHRASES)


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    """A wrong byte within compressed data, or a cut: pyarrow has another error for each."""
    store = LocalObjectStore(tmp_path)
    body = encode_table([{**ROW, "key": f"k{row}"} for row in range(500)], ANNOTATIONS)
    frame = body.index(bytes.fromhex("28b52ffd"))
    for number, bad in enumerate(
        [
            body[:frame] + b"\0" + body[frame + 1 :],
            body[: len(body) // 2],
            body[:-20] + b"\xff" * 12 + body[-8:],
            b"",
        ]
    ):
        store.put_if_absent(f"{number}.parquet", bad)
        with pytest.raises(DataError, match=rf"{number}\.parquet is not .* or is damaged.*Restore"):
            read_table(store, f"{number}.parquet", ANNOTATIONS)


def test_a_missing_table_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_table(LocalObjectStore(tmp_path), "t.parquet", PHRASES)
