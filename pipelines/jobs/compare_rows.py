"""A stored row beside what the teacher makes of the same input: how far apart, how far allowed.

Suffixes: C channels, V values of a channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.teachers.base import Float32
from schemas.codec import get_codec
from schemas.features import FeatureSpec, get_feature
from schemas.manifests import ArrayRecord

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Noise:
    """What other kernels, batches, threads and devices may change, whatever the codec."""

    peak: float
    """Of any value, as a share of the row's largest magnitude; of scalars, which are logits and
    IoUs, of 1 where that is more."""
    channel: float
    """Of a channel, root mean square, as a share of that of the channel plus that of the row."""


_NOISE = {
    ("float32", False): Noise(peak=2e-4, channel=5e-5),
    ("float32", True): Noise(peak=2e-2, channel=5e-3),
    ("bfloat16-autocast", False): Noise(peak=5e-2, channel=3e-2),
    ("bfloat16-autocast", True): Noise(peak=1.5e-1, channel=6e-2),
}
"""By precision, and whether it is memory, which the tracker rounds to bfloat16 and feeds back.

Measured between batches of 1, 3 and 8, 1 and 2 threads, with and without oneDNN, eager and fused
attention (docs/checks.md); float32 has a hundred times that, for devices that were not at hand,
the others two to four times.
"""


_SPREAD = 2
"""By how much the largest rounding of a row may grow where the codec mixes its values."""


def noise_of(record: ArrayRecord) -> Noise:
    """Return what may differ between two computations of a row of this array."""
    return _NOISE[record.teacher.precision, record.feature.rows == "object_frame"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowComparison:
    """One row, stored and computed. Excess is what the rounding of the codec does not explain."""

    row: int
    """Of the shard."""
    name: str
    """The sample, phrase or object."""
    cosine: float
    error: float
    """Largest difference of two values, as a share of the row's largest magnitude."""
    excess: float
    """Largest such difference that is left without the rounding of the value by the codec."""
    place: tuple[int, ...]
    """Where in the row that is."""
    stored: float
    """The value there."""
    computed: float
    """The value that should be there."""
    channel: int
    """The channel that differs most, by root mean square; 0 when the feature has no channels."""
    channel_excess: float
    """By how much, in the unit of ``Noise.channel``, without the rounding by the codec."""


def compare_rows(
    feature: FeatureSpec, row: int, name: str, values: tuple[Float32, Float32, Float32]
) -> RowComparison:
    """Compare one row.

    Parameters
    ----------
    values
        Three rows of finite values: as stored, as computed, and as computed and then passed through
        the codec, whose rounding is thus known and needs no bound.
    """
    stored, live, coded = values
    least = 1e-30 if live.ndim else 1.0
    peak = max(float(np.abs(live).max()), least)
    error, rounding = np.abs(stored - live), _rounding(feature, coded, live)
    excess = error - rounding
    worst = np.unravel_index(int(excess.argmax()), live.shape)
    size_C = _dot(feature, live, live)
    count = live.size / len(size_C)
    excess_C = np.sqrt(_dot(feature, error, error)) - np.sqrt(_dot(feature, rounding, rounding))
    excess_C /= np.sqrt(size_C) + max(np.sqrt(size_C.mean()), least * np.sqrt(count))
    channel = int(excess_C.argmax())
    return RowComparison(
        row=row,
        name=name,
        cosine=_cosine(
            _dot(feature, stored, live).sum(), _dot(feature, stored, stored).sum(), size_C.sum()
        ),
        error=float(error.max()) / peak,
        excess=max(0.0, float(excess.max()) / peak),
        place=tuple(map(int, worst)),
        stored=float(stored[worst]),
        computed=float(live[worst]),
        channel=channel,
        channel_excess=max(0.0, float(excess_C[channel])),
    )


def _rounding(feature: FeatureSpec, coded: Float32, live: Float32) -> Float32:
    """Return by how much the codec may change each value."""
    rounding: Float32 = np.abs(coded - live)
    if get_codec(feature.codec).mixes:
        return np.full_like(rounding, _SPREAD * rounding.max())
    return rounding


def by_channel(feature: FeatureSpec, values: Float32) -> Float32:
    """Return a row as [C, V]; one channel when the feature has none."""
    axis = get_feature(feature.name).channels
    if axis is None:
        return values.reshape(1, -1)
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


def _dot(feature: FeatureSpec, left: Float32, right: Float32) -> Float64:
    """Return the sum of products over each channel, [C]; over all of a vector.

    A vector's channels have one value each, whose square says no more than the value.
    """
    if left.ndim < 2:
        left_CV, right_CV = left.reshape(1, -1), right.reshape(1, -1)
    else:
        left_CV, right_CV = by_channel(feature, left), by_channel(feature, right)
    with np.errstate(over="ignore", invalid="ignore"):
        sums: Float64 = np.multiply(left_CV, right_CV).sum(axis=1).astype(np.float64)
    return sums


def _cosine(product: float, left: float, right: float) -> float:
    """Return the cosine of two rows by the products of them; 1 for two rows of zeros."""
    if left == 0 or right == 0:
        return float(left == right)
    return min(1.0, float(product / np.sqrt(left * right)))
