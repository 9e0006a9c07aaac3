"""Small feature arrays for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.store.arrays import FeatureArray, as_bytes
from pipelines.store.local import LocalObjectStore
from schemas.features import FeatureSpec
from schemas.manifests import ArrayRecord, FileRecord
from tests.schemas.test_features import TEACHER


def make_array(
    root: Path, item_shape: tuple[int, ...] = (2, 3), codec: str = "float16", slots: int = 4
) -> FeatureArray:
    feature = FeatureSpec(name="image.trunk", rows="sample", item_shape=item_shape, codec=codec)
    record = ArrayRecord(
        dataset="coco",
        split="val2017",
        split_digest="s0",
        feature=feature,
        teacher=TEACHER,
        shards=2,
        rows_per_shard=slots,
    )
    return FeatureArray(LocalObjectStore(root), record)


def write_rows(
    array: FeatureArray, shard: int, rows: dict[int, npt.NDArray[np.float32]]
) -> FileRecord:
    array.create()
    with array.stage_shard(shard) as target:
        for slot, values in rows.items():
            target.writer.write(slot, as_bytes(array.encode(values, f"row {slot}")))
        record = target.writer.finish()
        assert target.staged.publish()
    return record
