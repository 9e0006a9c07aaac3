from __future__ import annotations

import pickle

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipelines.store.tensor_codec import TensorCodec
from schemas.codec import CODECS, get_codec
from schemas.errors import DataError
from schemas.features import FeatureSpec
from tests.schemas.codec_values import golden_values

NAMES = sorted(CODECS)
batches = hnp.arrays(
    np.float32,
    hnp.array_shapes(max_dims=4, max_side=5),
    elements=st.floats(-60000, 60000, width=32),
)


def make_feature(codec: str, item_shape: tuple[int, ...]) -> FeatureSpec:
    return FeatureSpec(name="image.trunk", rows="sample", item_shape=item_shape, codec=codec)


def as_stored_by_numpy(codec: str, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    stored = np.stack([get_codec(codec).encode(row, "x") for row in rows])
    return np.ascontiguousarray(stored).reshape(-1).view(np.uint8)


@pytest.mark.parametrize("name", NAMES)
@given(rows=batches)
@settings(max_examples=60, deadline=None)
def test_tensors_give_the_bytes_of_the_definition(name: str, rows: npt.NDArray[np.float32]) -> None:
    rows = np.abs(np.trunc(rows)) % 256 if name == "uint8" else rows
    codec = TensorCodec(make_feature(name, rows.shape[1:]))
    stored = codec.encode(torch.from_numpy(rows))
    assert stored.shape == (len(rows), *codec.feature.stored_shape)
    found = stored.contiguous().numpy().reshape(-1).view(np.uint8)
    assert np.array_equal(found, as_stored_by_numpy(name, rows))


@pytest.mark.parametrize("name", ["int8", "fp8_e4m3"])
@given(rows=batches)
@settings(max_examples=60, deadline=None)
def test_the_steps_of_a_device_give_the_same_bytes(
    name: str, rows: npt.NDArray[np.float32]
) -> None:
    feature = make_feature(name, rows.shape[1:])
    codec = OnDevice(feature)
    stored = codec.encode(torch.from_numpy(rows))
    assert np.array_equal(stored.numpy().reshape(-1), as_stored_by_numpy(name, rows))
    decoded = codec.decode(stored, torch.float32).numpy()
    assert np.array_equal(decoded, TensorCodec(feature).decode(stored, torch.float32).numpy())


class OnDevice(TensorCodec):
    """Takes the way of a GPU on this machine: all rows in one step, by torch."""

    @staticmethod
    def _on_cpu(values: torch.Tensor) -> bool:
        del values
        return False


@pytest.mark.parametrize("name", NAMES)
@given(rows=batches)
@settings(max_examples=60, deadline=None)
def test_decoding_equals_the_definition(name: str, rows: npt.NDArray[np.float32]) -> None:
    rows = np.abs(np.trunc(rows)) % 256 if name == "uint8" else rows
    codec = TensorCodec(make_feature(name, rows.shape[1:]))
    stored = codec.encode(torch.from_numpy(rows))
    expected = get_codec(name).decode(stored.numpy(), rows.shape[1:])
    assert np.array_equal(codec.decode(stored, torch.float32).numpy(), expected)
    half = torch.empty(rows.shape, dtype=torch.float16)
    assert codec.decode(stored, out=half) is half
    with np.errstate(over="ignore"):
        assert np.array_equal(half.numpy(), expected.astype(np.float16))


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_span_several_blocks(name: str) -> None:
    shape = (300, 50, 50)
    values = np.random.default_rng(0).random((2, *shape), dtype=np.float32) * 9
    values = np.trunc(values) if name == "uint8" else values
    codec = TensorCodec(make_feature(name, shape))
    stored = codec.encode(torch.from_numpy(values))
    found = stored.numpy().reshape(-1).view(np.uint8)
    assert np.array_equal(found, as_stored_by_numpy(name, values))
    expected = get_codec(name).decode(stored.numpy(), shape)
    assert np.array_equal(codec.decode(stored, torch.float32).numpy(), expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_one_row_is_checked(name: str, bad: float) -> None:
    values = golden_values(name)
    codec = TensorCodec(make_feature(name, values.shape))
    expected = get_codec(name).encode(values, "x")
    assert np.array_equal(codec.encode_row(values, "row 3"), expected)
    if name != "uint8":
        values[2, 3, 4] = bad
        with pytest.raises(DataError, match="row 3: not storable as"):
            codec.encode_row(values, "row 3")
    with pytest.raises(DataError, match=r"row 3: image.trunk; expected shape \(9, 6, 5\)"):
        codec.encode_row(values[0], "row 3")


def test_it_travels() -> None:
    codec = TensorCodec(make_feature("int8", (2, 3)))
    assert pickle.loads(pickle.dumps(codec)).feature == codec.feature
