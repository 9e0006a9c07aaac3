from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from schemas.codec import CODECS, get_codec
from schemas.codec_base import group_count
from schemas.eight_bits import SMALLEST_SPAN
from schemas.errors import DataError, UnknownNameError

arrays = hnp.arrays(
    np.float32,
    hnp.array_shapes(max_dims=3, max_side=6),
    elements=st.floats(-60000, 60000, width=32),
)


@given(arrays)
def test_float32_is_exact(values: npt.NDArray[np.float32]) -> None:
    codec = get_codec("float32")
    assert np.array_equal(codec.decode(codec.encode(values, "x"), values.shape), values)


@given(arrays)
def test_float16_is_the_nearest_half(values: npt.NDArray[np.float32]) -> None:
    stored = get_codec("float16").encode(values, "x")
    assert np.array_equal(stored, values.astype(np.float16))


@given(arrays)
def test_bfloat16_equals_torch(values: npt.NDArray[np.float32]) -> None:
    codec = get_codec("bfloat16")
    stored = codec.encode(values, "x")
    expected = torch.from_numpy(values).to(torch.bfloat16)
    assert np.array_equal(stored, expected.view(torch.uint16).numpy())
    assert np.array_equal(codec.decode(stored, values.shape), expected.float().numpy())


@pytest.mark.parametrize("name", sorted(CODECS.keys() - {"uint8"}))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    with pytest.raises(DataError, match="row 3: not storable"):
        get_codec(name).encode(np.array([0.0, bad], np.float32), "row 3")


def test_overflow_of_half_is_refused() -> None:
    with pytest.raises(DataError, match="up to 65504; got values from inf to inf"):
        get_codec("float16").encode(np.array([70000.0], np.float32), "x")


def test_scalars_stay_scalars() -> None:
    assert get_codec("float32").encode(np.array(2.5, np.float32), "x").shape == ()


def test_unknown_codec_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean"):
        get_codec("flaot16")


@pytest.mark.parametrize("name", sorted(CODECS.keys() - {"pca64"}))
@given(arrays)
def test_the_extent_is_that_of_the_decoded_row(name: str, values: npt.NDArray[np.float32]) -> None:
    values = np.abs(np.trunc(values)) % 256 if name == "uint8" else values
    codec = get_codec(name)
    stored = codec.encode(values, "x")
    decoded = codec.decode(stored, values.shape)
    assert codec.extent(stored, values.shape) == (decoded.min(), decoded.max())


@given(arrays)
def test_int8_is_off_by_half_a_step_at_most(values: npt.NDArray[np.float32]) -> None:
    codec = get_codec("int8")
    decoded = codec.decode(codec.encode(values, "x"), values.shape)
    groups = values.reshape(group_count(values.shape), -1).astype(np.float64)
    span = np.ptp(groups, axis=1)
    error = np.abs(decoded.reshape(groups.shape) - groups).max(axis=1)
    assert (
        error <= span / 255 * 0.5001 + SMALLEST_SPAN + np.abs(groups).max(axis=1) * 2.0**-22
    ).all()
    assert np.array_equal(decoded.reshape(groups.shape).min(axis=1), groups.min(axis=1))


@given(arrays)
def test_fp8_is_off_by_a_sixteenth_at_most(values: npt.NDArray[np.float32]) -> None:
    codec = get_codec("fp8_e4m3")
    decoded = codec.decode(codec.encode(values, "x"), values.shape)
    groups = values.reshape(group_count(values.shape), -1).astype(np.float64)
    peak = np.abs(groups).max(axis=1, keepdims=True)
    smallest = np.maximum(peak / 448 * 2.0**-10, SMALLEST_SPAN)
    error = np.abs(decoded.reshape(groups.shape) - groups)
    assert (error <= np.maximum(np.abs(groups) / 16, smallest) * 1.0001).all()


def test_eight_bits_refuse_what_half_cannot_hold() -> None:
    for name in ("int8", "fp8_e4m3", "pca64"):
        with pytest.raises(DataError, match=f"row 3: not storable as {name}.*up to 65504"):
            get_codec(name).encode(np.array([1.0, 65536.0], np.float32), "row 3")


def test_parts_cover_the_row() -> None:
    for codec in CODECS.values():
        parts = codec.parts((3, 4, 5))
        ends = [0, *(part.offset + part.bytes for part in parts)]
        assert [part.offset for part in parts] == ends[:-1]
        assert codec.stored_shape((3, 4, 5)) == ((ends[-1],) if parts else (3, 4, 5))
