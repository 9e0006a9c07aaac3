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
from schemas.features import FeatureSpec

EXACT = sorted(CODECS.keys() - {"pca64"})
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


@pytest.mark.parametrize("name", EXACT)
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


_STORED = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


class OnDevice(TensorCodec):
    """Takes the way of a GPU on this machine: all rows in one step, by torch."""

    @staticmethod
    def _on_cpu(values: torch.Tensor) -> bool:
        del values
        return False


@pytest.mark.parametrize("name", EXACT)
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


@pytest.mark.parametrize("name", EXACT)
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


def test_it_travels() -> None:
    codec = TensorCodec(make_feature("int8", (2, 3)))
    assert pickle.loads(pickle.dumps(codec)).feature == codec.feature


def test_rows_that_are_their_values_are_not_copied() -> None:
    rows = torch.ones(2, 3, dtype=torch.float16)
    codec = TensorCodec(make_feature("float16", (3,)))
    assert codec.decode(rows).data_ptr() == rows.data_ptr()
    assert codec.decode(rows, torch.float32).dtype == torch.float32
    assert codec.decode(rows, out=torch.empty(2, 3, dtype=torch.float16)) is not rows


@pytest.mark.parametrize("name", sorted(CODECS))
@pytest.mark.parametrize("shape", [(3, 4, 5), (5,), ()])
def test_no_rows_are_no_values(name: str, shape: tuple[int, ...]) -> None:
    feature = make_feature(name, shape)
    stored = torch.zeros(0, *feature.stored_shape, dtype=_STORED.get(name, torch.uint8))
    for codec in (TensorCodec(feature), OnDevice(feature)):
        assert codec.decode(stored).shape == (0, *shape)


class TestLowRank:
    SHAPE = (96, 9, 8)

    @pytest.fixture
    def rows(self) -> npt.NDArray[np.float32]:
        random = np.random.default_rng(0)
        mix = random.standard_normal((96, 96)) * np.arange(1, 97) ** -1.5
        values = mix @ random.standard_normal((3, 96, 72)) + random.standard_normal((96, 1))
        return np.asarray(values.reshape(3, *self.SHAPE), np.float32)

    def test_the_host_gives_the_bytes_of_the_definition(
        self, rows: npt.NDArray[np.float32]
    ) -> None:
        stored = TensorCodec(make_feature("pca64", self.SHAPE)).encode(torch.from_numpy(rows))
        expected = as_stored_by_numpy("pca64", rows)
        assert np.array_equal(stored.numpy().reshape(-1), expected)

    def test_a_device_keeps_as_much(self, rows: npt.NDArray[np.float32]) -> None:
        feature = make_feature("pca64", self.SHAPE)
        found = OnDevice(feature).encode(torch.from_numpy(rows))
        assert found.shape == (3, *feature.stored_shape)
        by_numpy = TensorCodec(feature).encode(torch.from_numpy(rows))
        errors = [
            np.square(get_codec("pca64").decode(stored.numpy(), self.SHAPE) - rows).sum()
            for stored in (found, by_numpy)
        ]
        assert errors[0] == pytest.approx(errors[1], rel=0.05)
        assert errors[0] < 2e-3 * np.square(rows).sum()

    @pytest.mark.parametrize("codec", [TensorCodec, OnDevice])
    @pytest.mark.parametrize("shape", [SHAPE, (1024, 30, 20), (5,), ()])
    def test_it_decodes_like_the_definition(
        self, codec: type[TensorCodec], shape: tuple[int, ...]
    ) -> None:
        values = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
        decoder = codec(make_feature("pca64", shape))
        stored = decoder.encode(torch.from_numpy(values))
        expected = get_codec("pca64").decode(stored.numpy(), shape)
        found = decoder.decode(stored, torch.float32).numpy()
        assert np.allclose(found, expected, rtol=1e-5, atol=1e-5)

    def test_it_decodes_in_float32_whatever_surrounds_it(
        self, rows: npt.NDArray[np.float32]
    ) -> None:
        codec = TensorCodec(make_feature("pca64", self.SHAPE))
        stored = codec.encode(torch.from_numpy(rows))
        expected = codec.decode(stored, torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(codec.decode(stored, torch.float32), expected)
