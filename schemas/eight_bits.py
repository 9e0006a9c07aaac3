"""Codecs of one byte per value, and the numbers that scale groups of values.

Suffixes: G groups, V values of a group.
"""

from __future__ import annotations

import numpy as np

from schemas.codec_base import (
    Codec,
    Extent,
    Float32,
    Part,
    Shape,
    Stored,
    consecutive,
    extent_of,
    group_count,
)
from schemas.float8 import FLOAT8_VALUES, LARGEST_FLOAT8, to_float8

SMALLEST_SPAN = 1e-30
"""A group that spans less is stored as constant: the inverse would overflow."""
_BLOCK_VALUES = 256 << 10


class EightBits(Codec, frozen=True, kw_only=True):
    """One byte per value, after the float32 numbers that scale each group of values.

    A group is a channel of one row: what has the same first index; or all values of a row that has
    fewer than two dimensions. The numbers lie in the row itself, so that no reader can pair a row
    with the scales of another attempt.
    """

    scales: tuple[str, ...]
    """Names of the numbers of a group, in their order on disk."""

    def parts(self, item_shape: Shape) -> tuple[Part, ...]:
        """See ``Codec.parts``."""
        groups = group_count(item_shape)
        scales = ((name, "<f4", (groups,)) for name in self.scales)
        return consecutive(*scales, ("code", self.stored, item_shape))

    def decode(self, stored: Stored, item_shape: Shape) -> Float32:
        """See ``Codec.decode``."""
        codes_GV, scales_G1 = self._grouped(stored, item_shape)
        return self._values(codes_GV, *scales_G1).reshape((*stored.shape[:-1], *item_shape))

    def extent(self, stored: Stored, item_shape: Shape) -> Extent:
        """See ``Codec.extent``."""
        codes_GV, scales_G1 = self._grouped(stored, item_shape)
        with np.errstate(invalid="ignore"):
            return extent_of(self._values(self._ends(codes_GV), *scales_G1))

    def _convert(self, values: Float32) -> Stored:
        """Work on blocks that stay in the cache of a core."""
        stored = np.empty(self.stored_shape(values.shape), dtype=self.stored)
        codes_GV, scales_G1 = self._grouped(stored, values.shape)
        values_GV = np.asarray(values, dtype=np.float32).reshape(codes_GV.shape)
        groups = max(1, _BLOCK_VALUES // codes_GV.shape[1])
        for first in range(0, len(codes_GV), groups):
            block = slice(first, first + groups)
            numbers, codes_GV[block] = self._quantize(values_GV[block])
            for scale_G1, number_G1 in zip(scales_G1, numbers, strict=True):
                scale_G1[block] = number_G1
        return stored

    def _grouped(self, stored: Stored, item_shape: Shape) -> tuple[Stored, list[Float32]]:
        """Return the codes by group, and the numbers of each group."""
        *scales, codes = (part.of(stored) for part in self.parts(item_shape))
        codes_GV = codes.reshape(*stored.shape[:-1], group_count(item_shape), -1)
        return codes_GV, [scale[..., None] for scale in scales]

    def _quantize(self, values_GV: Float32) -> tuple[tuple[Float32, ...], Stored]:
        """Return the numbers of each group, and the codes, of any type."""
        raise NotImplementedError

    def _values(self, codes_GV: Stored, *scales_G1: Float32) -> Float32:
        raise NotImplementedError


class Int8(EightBits, frozen=True, kw_only=True):
    """256 even steps from the least to the greatest value of a group."""

    def _quantize(self, values_GV: Float32) -> tuple[tuple[Float32, ...], Stored]:
        return to_even_steps(values_GV)

    def _values(self, codes_GV: Stored, *scales_G1: Float32) -> Float32:
        return of_even_steps(codes_GV, *scales_G1)


class Float8(EightBits, frozen=True, kw_only=True):
    """Floating point of 4 exponent and 3 mantissa bits (OCP e4m3, no infinities).

    A group is scaled so that its largest magnitude becomes 448, the largest of the type.
    """

    def _quantize(self, values_GV: Float32) -> tuple[tuple[Float32, ...], Stored]:
        peak_G1 = np.maximum(-values_GV.min(axis=1), values_GV.max(axis=1))[:, None]
        codes_GV = to_float8(values_GV * _inverse(LARGEST_FLOAT8, peak_G1))
        return (peak_G1 / np.float32(LARGEST_FLOAT8),), codes_GV

    def _values(self, codes_GV: Stored, *scales_G1: Float32) -> Float32:
        return np.multiply(FLOAT8_VALUES[codes_GV], scales_G1[0])


def to_even_steps(values_GV: Float32) -> tuple[tuple[Float32, Float32], Float32]:
    """Return step and low of each group, and how many steps each value is above low, 0 to 255."""
    low_G1 = values_GV.min(axis=1, keepdims=True) + 0  # zero has no sign
    span_G1 = values_GV.max(axis=1, keepdims=True) - low_G1
    scaled_GV = values_GV - low_G1
    scaled_GV *= _inverse(255, span_G1)
    return (span_G1 / np.float32(255), low_G1), np.rint(scaled_GV, out=scaled_GV)


def of_even_steps(codes_GV: Stored, step_G1: Float32, low_G1: Float32) -> Float32:
    """Return what ``to_even_steps`` was given, up to half a step."""
    values_GV = np.multiply(codes_GV, step_G1, dtype=np.float32)
    values_GV += low_G1
    return values_GV


def _inverse(full: float, size: Float32) -> Float32:
    """Return ``full / size``, and set sizes that are as good as zero to zero, with inverse zero."""
    size[size < SMALLEST_SPAN] = 0
    return np.divide(np.float32(full), size, out=np.zeros_like(size), where=size != 0)
