"""What a codec is: a named way between float32 and the bytes of an array.

Each codec is defined in numpy. Suffixes: G groups, V values of a group.
"""

from __future__ import annotations

from math import prod
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import DataError

Float32 = npt.NDArray[np.float32]
Stored = npt.NDArray[Any]
Shape = tuple[int, ...]
Extent = tuple[float, float]
"""The least and the greatest value of a row, as it is stored."""


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
            cut = np.ascontiguousarray(cut)
        return cut.view(self.data_type).reshape((*stored.shape[:-1], *self.shape))


def consecutive(*fields: tuple[str, str, Shape]) -> tuple[Part, ...]:
    """Return parts, each ``(name, data_type, shape)``, one behind the other."""
    parts: list[Part] = []
    for name, data_type, shape in fields:
        begin = parts[-1].offset + parts[-1].bytes if parts else 0
        parts.append(Part(name=name, data_type=data_type, shape=shape, offset=begin))
    return tuple(parts)


class Codec(msgspec.Struct, frozen=True, kw_only=True):
    """One way to store float32 values in a zarr array; this class: each value by itself."""

    name: str
    stored: str
    """The numpy and zarr data type on disk."""
    largest: float
    """The largest magnitude that is stored; more is refused."""
    is_float: bool = True
    """Whether the stored type is a floating point one, to us if not to numpy."""
    mixes: bool = False
    """Whether a value is stored together with others: a little noise may then turn its rounding."""
    formula: str = ""
    """How values follow from what is stored, for other tools; empty: they are stored."""

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
            return extent_of(self.decode(self._ends(stored.reshape(-1)), ()))

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


def group_count(item_shape: Shape) -> int:
    """Return how many groups of one row have scales of their own (``EightBits``)."""
    return item_shape[0] if len(item_shape) > 1 else 1


def extent_of(values: Float32) -> Extent:
    """Return the ends of all values."""
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
