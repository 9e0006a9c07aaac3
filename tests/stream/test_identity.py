"""A stream reads only the arrays that its manifest names."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from pipelines.store.local import LocalObjectStore
from pipelines.stream.feature_stream import FeatureStream
from schemas.errors import DataError, IdentityError
from schemas.features import FeatureSpec
from schemas.manifests import ArrayRecord
from tests.schemas.mutations import mutations
from tests.stream.published_root import TEACHER, RootPlan, build_root

ARRAY = ArrayRecord(
    dataset="toy",
    split="train",
    split_digest="s0",
    feature=FeatureSpec(name="image.trunk", rows="sample", item_shape=(8, 4, 4), codec="float16"),
    teacher=TEACHER,
    shards=3,
    rows_per_shard=4,
)


def read_all(root: Path) -> list[str]:
    stream = FeatureStream(str(root), "tiny", image_size=32, epochs=1, batch_size=4, threads=1)
    return [key for batch in stream for key in batch.keys]


@pytest.mark.parametrize("path", [mutation.path for mutation in mutations(ARRAY)])
def test_an_array_that_differs_in_one_field_is_refused_by_name(
    store: LocalObjectStore, tmp_path: Path, path: str
) -> None:
    root = Path(shutil.copytree(store.root, tmp_path / "copy"))
    (file,) = root.glob("features/*/*/*/*/zarr.json")
    metadata = json.loads(file.read_bytes())
    record = msgspec.convert(metadata["attributes"]["samdistill"], ArrayRecord)
    (other,) = (mutation for mutation in mutations(record) if mutation.path == path)
    metadata["attributes"]["samdistill"] = msgspec.to_builtins(other.record)
    file.write_text(json.dumps(metadata))
    with pytest.raises((IdentityError, DataError)) as refused:
        read_all(root)
    named = f"wanted != stored: {other.text}" if other.is_valid else f"`$.{path}`"
    assert named in str(refused.value)
    assert file.relative_to(root).as_posix() in str(refused.value)


def test_a_root_that_was_made_elsewhere_and_earlier_is_read(tmp_path: Path) -> None:
    first = build_root(tmp_path / "a", RootPlan())
    second = build_root(tmp_path / "another" / "place", RootPlan())
    for file in second.root.rglob("*"):
        os.utime(file, (1, 1))
    assert read_all(second.root) == read_all(first.root)
