"""How the numbers of a feature are stored: named codecs between float32 and array bytes.

Each codec is defined here, in numpy; ``pipelines.store.tensor_codec`` gives the same bytes from
tensors of any device. Suffixes: G groups, V values of a group.
"""

from __future__ import annotations

from math import prod
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import DataError
from schemas.ids import nearest_name

Float32 = npt.NDArray[np.float32]
Stored = npt.NDArray[Any]
Shape = tuple[int, ...]
Extent = tuple[float, float]
"""The least and the greatest value of a row, as it is stored."""

LARGEST_FLOAT8 = 448.0
SMALLEST_SPAN = 1e-30
"""A group that spans less is stored as constant: the inverse would overflow."""
_BLOCK_VALUES = 128 << 10


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a stored row: ``prod(shape)`` values of ``data_type`` from byte ``offset`` on."""

    name: str
    data_type: str
    """As numpy writes it, for example ``<f4``."""
    shape: Shape
    offset: int

    @property
    def bytes(self) -> int:
        """Size of the part."""
        return prod(self.shape) * np.dtype(self.data_type).itemsize

    def of(self, stored: Stored) -> Stored:
        """Return the part of rows ``[..., bytes]``; of a single row it is a view."""
        cut = stored[..., self.offset : self.offset + self.bytes]
        if np.dtype(self.data_type).itemsize > 1:
            cut = np.ascontiguousarray(cut).view(self.data_type)
        return cut.reshape((*stored.shape[:-1], *self.shape))


class Codec(msgspec.Struct, frozen=True, kw_only=True):
    """One way to store float32 values in a zarr array; this class: each value by itself."""

    name: str
    stored: str
    """The numpy and zarr data type on disk."""
    largest: float
    """The largest magnitude that is stored; more is refused."""
    is_float: bool = True
    """Whether the stored type is a floating point one, to us if not to numpy."""
    formula: str = ""
    """Of a codec with parts: how values follow from them, for other tools."""

    def parts(self, item_shape: Shape) -> tuple[Part, ...]:
        """Return the parts of a stored row, in order; none when values are stored as they are."""
        del item_shape
        return ()

    def stored_shape(self, item_shape: Shape) -> Shape:
        """Return the shape of one row on disk."""
        parts = self.parts(item_shape)
        return (sum(part.bytes for part in parts),) if parts else item_shape

    def encode(self, values: Float32, where: str) -> Stored:
        """Return one row in its stored form, C-contiguous.

        Raises
        ------
        DataError
            A value is not finite, or too large.
        """
        stored = self.convert(values)
        self.require_storable(self.extent(stored, values.shape), where)
        return stored

    def convert(self, values: Float32) -> Stored:
        """Return one row in its stored form; its ``extent`` says whether that may be stored."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self._convert(values)

    def decode(self, stored: Stored, item_shape: Shape) -> Float32:
        """Return the values of rows ``[..., *stored_shape]`` as float32 ``[..., *item_shape]``."""
        del item_shape
        return stored.astype(np.float32)

    def extent(self, stored: Stored, item_shape: Shape) -> Extent:
        """Return the ends of one row, faster than by decoding it.

        When any value is not finite, one of the ends is not.
        """
        del item_shape
        with np.errstate(invalid="ignore"):
            return _extent(self.decode(self._ends(stored.reshape(-1)), ()))

    def require_storable(self, extent: Extent, where: str) -> None:
        """Raise ``DataError``, which names ``where``, unless such a row may be stored."""
        low, high = extent
        if not (-self.largest <= low and high <= self.largest):
            raise DataError(
                f"{where}: not storable as {self.name}",
                expected=f"finite values up to {self.largest:g}",
                got=f"values from {low:g} to {high:g}",
            )

    def _convert(self, values: Float32) -> Stored:
        return np.asarray(values, dtype=self.stored, order="C")

    def _ends(self, stored: Stored) -> Stored:
        """Return the least and the greatest along the last axis, as a last axis of two."""
        if self.is_float:
            return _float_ends(stored)
        return np.stack([stored.min(axis=-1), stored.max(axis=-1)], axis=-1)


class BFloat16(Codec, frozen=True, kw_only=True):
    """The upper half of the float32, as uint16: neither zarr v3 nor numpy has the type."""

    def decode(self, stored: Stored, item_shape: Shape) -> Float32:
        """See ``Codec.decode``."""
        del item_shape
        return (stored.astype(np.uint32) << 16).view(np.float32)

    def _convert(self, values: Float32) -> Stored:
        """Round to nearest, ties to even, as the hardware does; NaN stays NaN."""
        bits = np.asarray(values, dtype=np.float32, order="C").view(np.uint32).astype(np.uint64)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)


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
        scales = tuple(
            Part(name=name, data_type="<f4", shape=(groups,), offset=4 * groups * place)
            for place, name in enumerate(self.scales)
        )
        begin = 4 * groups * len(scales)
        code = Part(name="code", data_type=self.stored, shape=item_shape, offset=begin)
        return (*scales, code)

    def decode(self, stored: Stored, item_shape: Shape) -> Float32:
        """See ``Codec.decode``."""
        codes_GV, scales_G1 = self._grouped(stored, item_shape)
        return self._values(codes_GV, *scales_G1).reshape((*stored.shape[:-1], *item_shape))

    def extent(self, stored: Stored, item_shape: Shape) -> Extent:
        """See ``Codec.extent``."""
        codes_GV, scales_G1 = self._grouped(stored, item_shape)
        with np.errstate(invalid="ignore"):
            return _extent(self._values(self._ends(codes_GV), *scales_G1))

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
        low_G1 = values_GV.min(axis=1, keepdims=True) + 0  # zero has no sign
        span_G1 = values_GV.max(axis=1, keepdims=True) - low_G1
        scaled_GV = values_GV - low_G1
        scaled_GV *= _inverse(255, span_G1)
        return (span_G1 / np.float32(255), low_G1), np.rint(scaled_GV, out=scaled_GV)

    def _values(self, codes_GV: Stored, *scales_G1: Float32) -> Float32:
        step_G1, low_G1 = scales_G1
        values_GV = np.multiply(codes_GV, step_G1, dtype=np.float32)
        values_GV += low_G1
        return values_GV


class Float8(EightBits, frozen=True, kw_only=True):
    """Floating point of 4 exponent and 3 mantissa bits (OCP e4m3, no infinities).

    A group is scaled so that its largest magnitude becomes 448, the largest of the type.
    """

    def _quantize(self, values_GV: Float32) -> tuple[tuple[Float32, ...], Stored]:
        peak_G1 = np.maximum(-values_GV.min(axis=1), values_GV.max(axis=1))[:, None]
        codes_GV = _to_float8(values_GV * _inverse(LARGEST_FLOAT8, peak_G1))
        return (peak_G1 / np.float32(LARGEST_FLOAT8),), codes_GV

    def _values(self, codes_GV: Stored, *scales_G1: Float32) -> Float32:
        return np.multiply(_FLOAT8_VALUES[codes_GV], scales_G1[0])


_FLOAT32_MAX = float(np.finfo(np.float32).max)
_HALF_MAX = 65504.0
"""For eight bits too, since what is read back becomes float16."""

CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        Codec(name="float32", stored="<f4", largest=_FLOAT32_MAX),
        Codec(name="float16", stored="<f2", largest=_HALF_MAX),
        BFloat16(name="bfloat16", stored="<u2", largest=_FLOAT32_MAX),
        Codec(name="uint8", stored="|u1", largest=255, is_float=False),
        Int8(
            name="int8",
            stored="|u1",
            largest=_HALF_MAX,
            is_float=False,
            scales=("step", "low"),
            formula="low[g] + step[g] * code[g]",
        ),
        Float8(
            name="fp8_e4m3",
            stored="|u1",
            largest=_HALF_MAX,
            scales=("scale",),
            formula="scale[g] * float8_e4m3fn(code[g])",
        ),
    )
}


def get_codec(name: str) -> Codec:
    """Return the codec of that name, or raise ``UnknownNameError`` with the nearest ones."""
    try:
        return CODECS[name]
    except KeyError:
        raise nearest_name("codec", name, CODECS) from None


def group_count(item_shape: Shape) -> int:
    """Return how many groups of one row have scales of their own (``EightBits``)."""
    return item_shape[0] if len(item_shape) > 1 else 1


def _extent(values: Float32) -> Extent:
    return float(values.min()) + 0.0, float(values.max()) + 0.0  # zero has no sign


def _float_ends(stored: Stored) -> Stored:
    """Return the ends of floating point numbers along the last axis, by their bits.

    Integers order them too, but the negative ones backwards; and numpy compares integers many
    times faster than 16-bit floats. NaN is then beyond the infinities.
    """
    bits = stored.view(f"u{stored.itemsize}")
    signed = bits.view(f"i{stored.itemsize}")
    bottom, top = bits.max(axis=-1), signed.max(axis=-1)
    low = np.where(bottom.view(signed.dtype) < 0, bottom, bits.min(axis=-1))
    high = np.where(top >= 0, top.view(bits.dtype), signed.min(axis=-1).view(bits.dtype))
    return np.stack([low, high], axis=-1).view(stored.dtype)


def _inverse(full: float, size: Float32) -> Float32:
    """Return ``full / size``, and set sizes that are as good as zero to zero, with inverse zero."""
    size[size < SMALLEST_SPAN] = 0
    return np.divide(np.float32(full), size, out=np.zeros_like(size), where=size != 0)


def _to_float8(values: Float32) -> npt.NDArray[np.uint8]:
    """Round to nearest, ties to even; the magnitudes are at most 448, up to rounding."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    magnitude = bits & 0x7FFFFFFF
    normal = ((magnitude + 0x7FFFF + ((magnitude >> 20) & 1)) >> 20) - (120 << 3)
    # Below 2**-6 the type has even steps of 2**-9: so has float32 from 2**14 on.
    lifted = (np.abs(values) + np.float32(2.0**14)).view(np.uint32)
    subnormal = lifted - np.float32(2.0**14).view(np.uint32)
    code = np.where(magnitude < np.float32(2.0**-6).view(np.uint32), subnormal, normal)
    return np.asarray(code | (bits >> 31 << 7), dtype=np.uint8)


def _float8_values() -> Float32:
    """Return the value of each of the 256 codes."""
    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, code & 7
    normal = (8 + mantissa) * 2.0 ** (exponent - 10)
    magnitude = np.where(exponent == 0, mantissa * 2.0**-9, normal)
    magnitude[(code & 127) == 127] = np.nan
    return np.where(code < 128, magnitude, -magnitude).astype(np.float32)


_FLOAT8_VALUES = _float8_values()
