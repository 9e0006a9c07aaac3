from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from schemas.codec import get_codec
from schemas.errors import DataError
from schemas.low_rank import LowRank

Float32 = npt.NDArray[np.float32]

arrays = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=0, max_dims=4, max_side=6),
    elements=st.floats(-500, 500, width=32),
)


def with_spectrum(strengths: npt.NDArray[np.floating], places: int) -> Float32:
    """Return a map ``[channels, places, 1]`` whose principal components are that strong."""
    random = np.random.default_rng(0)
    axes = np.linalg.qr(random.standard_normal((len(strengths), len(strengths)))).Q
    components = random.standard_normal((len(strengths), places)) * strengths[:, None]
    return (axes @ components)[:, :, None].astype(np.float32)


def lost(values: Float32, codec: LowRank) -> float:
    """Return the share of the variance that is not kept."""
    decoded = codec.decode(codec.encode(values, "x"), values.shape)
    centred = values - values.mean(axis=(1, 2), keepdims=True)
    return float(np.square(decoded - values).sum() / np.square(centred).sum())


def pca(rank: int) -> LowRank:
    codec = get_codec("pca64")
    assert isinstance(codec, LowRank)
    return LowRank(
        name="pca",
        stored=codec.stored,
        largest=codec.largest,
        is_float=codec.is_float,
        rank=rank,
    )


@pytest.mark.parametrize("power", [0.3, 0.7])
@pytest.mark.parametrize("rank", [4, 16])
def test_it_keeps_nearly_what_the_best_basis_would(power: float, rank: int) -> None:
    values = with_spectrum(np.arange(1, 97) ** -power, 600)
    centred = values[..., 0] - values.mean(axis=1)
    singular = np.linalg.svd(centred, compute_uv=False) ** 2
    best = singular[rank:].sum() / singular.sum()
    assert best <= lost(values, pca(rank)) < 1.06 * best


def test_components_that_are_there_are_kept() -> None:
    strengths = np.zeros(80)
    strengths[:16] = np.geomspace(100, 1, 16)
    assert lost(with_spectrum(strengths, 300), pca(16)) < 3e-4
    assert lost(with_spectrum(strengths, 300), pca(15)) > 5e-5


@given(arrays)
def test_with_as_many_components_as_channels_only_the_steps_are_lost(values: Float32) -> None:
    codec = get_codec("pca64")
    decoded = codec.decode(codec.encode(values, "x"), values.shape)
    largest = float(np.abs(values).max())
    # Half a step of the components, in the worst direction, and the rounding of the basis.
    assert np.abs(decoded - values).max() <= 0.05 * largest + 1e-4


@given(arrays)
def test_the_extent_holds_every_value(values: Float32) -> None:
    codec = get_codec("pca64")
    stored = codec.encode(values, "x")
    low, high = codec.extent(stored, values.shape)
    decoded = codec.decode(stored, values.shape)
    slack = 1e-5 * (high - low + abs(high))
    assert low - slack <= decoded.min() <= decoded.max() <= high + slack


def test_many_rows_decode_like_each() -> None:
    codec, shape = pca(3), (9, 4, 5)
    rows = np.random.default_rng(1).standard_normal((2, 3, *shape)).astype(np.float32)
    stored = np.stack([[codec.encode(row, "x") for row in some] for some in rows])
    decoded = codec.decode(stored, shape)
    assert decoded.shape == rows.shape
    assert np.allclose(decoded[1, 2], codec.decode(stored[1, 2], shape), rtol=0, atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_values_that_cannot_be_are_refused(bad: float) -> None:
    values = with_spectrum(np.ones(70), 90)
    values[3, 4, 0] = bad
    with pytest.raises(DataError, match="row 3: not storable as pca64"):
        get_codec("pca64").encode(values, "row 3")


def test_a_row_is_small() -> None:
    trunk = (1024, 72, 72)
    (size,) = get_codec("pca64").stored_shape(trunk)
    assert size == 4 * (1024 + 64 + 64) + 64 * 1024 + 64 * 72 * 72
