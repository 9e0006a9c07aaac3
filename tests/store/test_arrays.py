from __future__ import annotations

import json
import pickle
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.store.arrays import FeatureArray, zarr_metadata
from pipelines.store.commits import hash_file
from pipelines.store.shard_file import index_bytes, row_bytes
from schemas.codec import CODECS, get_codec
from schemas.errors import DataError, IdentityError, IntegrityError
from tests.store.arrays import make_array, write_rows

shapes = st.lists(st.integers(1, 4), max_size=3).map(tuple)


def random_rows(
    shape: tuple[int, ...], slots: list[int], codec: str
) -> dict[int, npt.NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    top = 200 if codec == "uint8" else 1
    return {slot: np.asarray(rng.random(shape) * top, np.float32).reshape(shape) for slot in slots}


@given(
    shape=shapes,
    codec=st.sampled_from(sorted(CODECS)),
    slots=st.lists(st.integers(0, 3), unique=True, max_size=4),
)
@settings(max_examples=40, deadline=None)
def test_zarr_reads_back_exactly_what_was_written(
    shape: tuple[int, ...],
    codec: str,
    slots: list[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("root")
    array = make_array(root, shape, codec)
    rows = random_rows(shape, slots, codec)
    write_rows(array, 1, rows)
    stored = zarr.open_array(root / array.folder, mode="r")
    stored_shape = array.feature.stored_shape
    assert stored.shape == (8, *stored_shape)
    assert stored.dtype == array.dtype
    whole = np.asarray(stored[:])
    for row in range(8):
        expected = np.zeros(stored_shape, array.dtype)
        if row - 4 in rows:
            expected = array.encode(rows[row - 4], "x")
        assert np.array_equal(whole[row], expected)


@given(slots=st.lists(st.integers(0, 3), unique=True, min_size=1, max_size=4))
@settings(max_examples=10, deadline=None)
def test_we_read_what_zarr_wrote(
    slots: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("root")
    array = make_array(root)
    array.create()
    values = np.random.default_rng(1).random((4, 2, 3)).astype(np.float16)
    theirs = zarr.open_array(root / array.folder, mode="r+")
    theirs[4:8] = values
    rows = [4 + slot for slot in slots]
    assert np.array_equal(array.read(rows), values[slots].astype(np.float32))


def test_large_rows_start_at_pages_and_zarr_does_not_mind(tmp_path: Path) -> None:
    array = make_array(tmp_path, (256, 512))
    rows = random_rows((256, 512), [3, 1], "float16")
    record = write_rows(array, 0, rows)
    assert record.bytes <= 2 * row_bytes(array.feature.item_bytes) + index_bytes(4)
    body = (tmp_path / record.key).read_bytes()
    index = np.frombuffer(body[-index_bytes(4) : -4], "<u8").reshape(4, 2)
    assert index[[3, 1], 0].tolist() == [0, 266_240]
    assert not any(body[256 * 1024 + 4 : 266_240])
    stored = zarr.open_array(tmp_path / array.folder, mode="r")
    for row, values in rows.items():
        assert np.array_equal(np.asarray(stored[row]), values.astype(np.float16))
        assert np.array_equal(array.read([row])[0], values.astype(np.float16).astype(np.float32))


def test_record_names_the_bytes_on_disk(tmp_path: Path) -> None:
    array = make_array(tmp_path)
    record = write_rows(array, 0, random_rows((2, 3), [2, 0], "float16"))
    assert record.key == array.shard_key(0)
    assert hash_file(array.store, record.key) == record


def test_record_names_large_rows_and_the_zeros_between_them(tmp_path: Path) -> None:
    array = make_array(tmp_path, (150, 1000))
    record = write_rows(array, 0, random_rows((150, 1000), [2, 0, 3], "float16"))
    assert record.bytes > 3 * 300_000 + 4096
    assert hash_file(array.store, record.key) == record


def test_opens_by_folder_and_travels(tmp_path: Path) -> None:
    array = make_array(tmp_path)
    rows = random_rows((2, 3), [1], "float16")
    write_rows(array, 0, rows)
    again = FeatureArray.open(array.store, array.folder)
    assert again.record == array.record
    copy = pickle.loads(pickle.dumps(again))
    assert np.array_equal(copy.read([1])[0], rows[1].astype(np.float16).astype(np.float32))


def test_array_of_another_split_is_refused(tmp_path: Path) -> None:
    array = make_array(tmp_path)
    array.create()
    array.create()
    other = msgspec.structs.replace(array.record, split_digest="s1")
    with pytest.raises(IdentityError, match=r"split_digest: 's1' != 's0'"):
        FeatureArray(array.store, other).create()


def test_foreign_zarr_array_is_named(tmp_path: Path) -> None:
    array = make_array(tmp_path)
    metadata = zarr_metadata(array.record)
    metadata["attributes"] = {}
    folder = tmp_path / array.folder
    folder.mkdir(parents=True)
    (folder / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(DataError, match=r"zarr\.json has no valid attribute"):
        FeatureArray.open(array.store, array.folder)


def test_wrong_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected shape \(2, 3\); got \(3, 2\)"):
        make_array(tmp_path).encode(np.zeros((3, 2), np.float32), "coco/1")


def test_writing_a_row_twice_is_refused(tmp_path: Path) -> None:
    array = make_array(tmp_path)
    rows = random_rows((2, 3), [0], "float16")
    with pytest.raises(IntegrityError, match="written twice"), array.stage_shard(0) as shard:
        for _ in range(2):
            shard.writer.write(0, array.encode(rows[0], "x").data)


def test_absent_row_is_named(tmp_path: Path) -> None:
    array = make_array(tmp_path)
    write_rows(array, 0, random_rows((2, 3), [0], "float16"))
    with pytest.raises(IntegrityError, match=r"row 3 of .*/c/0/0/0 is absent"):
        array.read([3])


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_flipped_bit_and_no_cut_goes_unnoticed(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("root")
    array = make_array(root)
    record = write_rows(array, 0, random_rows((2, 3), [0, 1, 2, 3], "float16"))
    path = root / record.key
    body = bytearray(path.read_bytes())
    if data.draw(st.booleans(), label="cut"):
        body = body[: data.draw(st.integers(0, len(body) - 1), label="length")]
    else:
        bit = data.draw(st.integers(0, len(body) * 8 - 1), label="bit")
        body[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(body)
    with pytest.raises(IntegrityError, match=record.key):
        array.read([0, 1, 2, 3])


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_metadata_names_a_type_that_zarr_knows(tmp_path: Path, codec: str) -> None:
    array = make_array(tmp_path, codec=codec)
    array.create()
    assert zarr.open_array(tmp_path / array.folder).dtype == np.dtype(get_codec(codec).stored)
