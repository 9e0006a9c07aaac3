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
    error_C, rounding_C = _rms_by_channel(feature, error), _rms_by_channel(feature, rounding)
    unit_C = _rms_by_channel(feature, live) + max(_rms(live), least)
    excess_C = (error_C - rounding_C) / unit_C
    channel = int(excess_C.argmax())
    return RowComparison(
        row=row,
        name=name,
        cosine=_cosine(stored, live),
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


def _rms_by_channel(feature: FeatureSpec, values: Float32) -> npt.NDArray[np.float64]:
    # A vector's channels have one value each, whose square says no more than the value.
    values_CV = values.reshape(1, -1) if values.ndim < 2 else by_channel(feature, values)
    return np.asarray([_rms(values_V) for values_V in values_CV])


def _rms(values: Float32) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


def _cosine(left: Float32, right: Float32) -> float:
    """Return the cosine in double precision; 1 for two rows of zeros."""
    a, b = left.astype(np.float64).ravel(), right.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if lengths == 0:
        return float(np.array_equal(a, b))
    return float(a @ b) / lengths
