from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from pipelines.store.arrays import FeatureArray
from pipelines.store.local import LocalObjectStore
from pipelines.store.zarr_view import ZarrView, open_zarr
from schemas.errors import DataError
from tests.jobs.colour_teacher import ColourTeacher
from tests.jobs.sample_root import CLIPS, cache, clips, normalize


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FeatureArray]:
    store = LocalObjectStore(tmp_path_factory.mktemp("root"))
    cache(normalize(store, CLIPS, clips(2, 3), "video"), ColourTeacher())
    folders = [key.removesuffix("/zarr.json") for key in store.keys("features") if "zarr" in key]
    return {folder.rpartition("/")[2]: FeatureArray.open(store, folder) for folder in folders}


@pytest.mark.parametrize("name", ["image.trunk", "memory.mask_logits", "memory.object_score"])
def test_zarr_reads_what_our_reader_reads(arrays: dict[str, FeatureArray], name: str) -> None:
    array = arrays[name]
    opened = open_zarr(array.store, array.folder)
    for shard in range(array.record.shards):
        for slot in np.flatnonzero(array.reader(shard).present):
            row = shard * array.record.rows_per_shard + int(slot)
            assert np.array_equal(np.asarray(opened[row], np.float32), array.read([row])[0])


def test_lists_the_files_below_the_folder(arrays: dict[str, FeatureArray]) -> None:
    array = arrays["memory.object_score"]

    async def listed() -> tuple[list[str], list[str]]:
        view = ZarrView(array.store, array.folder)
        return [key async for key in view.list()], [key async for key in view.list_dir("")]

    keys, top = sync(listed())
    assert {"zarr.json", "c/0", "c/1", "rows-00000.parquet"} <= set(keys)
    assert top == ["c", "commits", "rows-00000.parquet", "rows-00001.parquet", "zarr.json"]


def test_refuses_to_write(arrays: dict[str, FeatureArray]) -> None:
    view = ZarrView(arrays["image.trunk"].store, arrays["image.trunk"].folder)
    body = default_buffer_prototype().buffer.from_bytes(b"x")
    with pytest.raises(ValueError, match="read-only"):
        sync(view.set("c/0", body))
    with pytest.raises(ValueError, match="read-only"):
        sync(view.delete("c/0"))


def test_a_document_that_is_not_zarr_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "array"}')
    with pytest.raises(DataError, match="cannot open"):
        open_zarr(LocalObjectStore(tmp_path.parent), tmp_path.name)
