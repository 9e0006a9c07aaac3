from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from schemas.codec import get_codec
from schemas.errors import DataError, UnknownNameError

arrays = hnp.arrays(
    np.float32,
    hnp.array_shapes(max_dims=3, max_side=6),
    elements=st.floats(-60000, 60000, width=32),
)


@given(arrays)
def test_float32_is_exact(values: npt.NDArray[np.float32]) -> None:
    codec = get_codec("float32")
    assert np.array_equal(codec.decode(codec.encode(values, "x")), values)


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
    assert np.array_equal(codec.decode(stored), expected.float().numpy())


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    with pytest.raises(DataError, match="row 3: not finite"):
        get_codec(name).encode(np.array([0.0, bad], np.float32), "row 3")


def test_overflow_of_half_is_refused() -> None:
    with pytest.raises(DataError, match="largest magnitude 70000"):
        get_codec("float16").encode(np.array([70000.0], np.float32), "x")


def test_scalars_stay_scalars() -> None:
    assert get_codec("float32").encode(np.array(2.5, np.float32), "x").shape == ()


def test_unknown_codec_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean"):
        get_codec("flaot16")
