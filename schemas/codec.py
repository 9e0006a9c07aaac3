"""How the numbers of a feature are stored: named codecs between float32 and array bytes."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import DataError
from schemas.ids import nearest_name

Float32 = npt.NDArray[np.float32]


class Codec(msgspec.Struct, frozen=True, kw_only=True):
    """One way to store float32 values in a zarr array.

    ``stored`` is the numpy and zarr data type on disk. bfloat16 is stored as uint16, because
    neither zarr v3 nor numpy has it; the codec's name in the array's attributes says so.
    """

    name: str
    stored: str

    @property
    def itemsize(self) -> int:
        """Bytes per value."""
        return np.dtype(self.stored).itemsize

    def encode(self, values: Float32, where: str) -> npt.NDArray[Any]:
        """Return the stored form, C-contiguous.

        Raises
        ------
        DataError
            A value is not finite, before or after the conversion.
        """
        if self.name == "bfloat16":
            stored = _to_bfloat16(values)
            finite = np.isfinite(_from_bfloat16(stored)).all()
        else:
            with np.errstate(over="ignore"):
                stored = np.asarray(values, dtype=self.stored, order="C")
            finite = np.isfinite(stored).all()
        if not finite:
            raise DataError(f"{where}: not finite in {self.name}", got=_describe(values))
        return stored

    def decode(self, stored: npt.NDArray[Any]) -> Float32:
        """Return the values as float32."""
        if self.name == "bfloat16":
            return _from_bfloat16(stored)
        return stored.astype(np.float32)


CODECS: dict[str, Codec] = {
    "float32": Codec(name="float32", stored="<f4"),
    "float16": Codec(name="float16", stored="<f2"),
    "bfloat16": Codec(name="bfloat16", stored="<u2"),
    "uint8": Codec(name="uint8", stored="|u1"),
}


def get_codec(name: str) -> Codec:
    """Return the codec of that name, or raise ``UnknownNameError`` with the nearest ones."""
    try:
        return CODECS[name]
    except KeyError:
        raise nearest_name("codec", name, CODECS) from None


def _to_bfloat16(values: Float32) -> npt.NDArray[np.uint16]:
    """Round to nearest, ties to even, as the hardware does; NaN stays NaN."""
    bits = np.asarray(values, dtype=np.float32, order="C").view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    nan = np.isnan(values)
    return np.where(nan, 0x7FC0, rounded).astype(np.uint16)


def _from_bfloat16(stored: npt.NDArray[Any]) -> Float32:
    return (stored.astype(np.uint32) << 16).view(np.float32)


def _describe(values: Float32) -> str:
    bad = int((~np.isfinite(values)).sum())
    peak = float(np.nanmax(np.abs(values))) if values.size else 0.0
    return f"{bad} non-finite values before encoding, largest magnitude {peak:g}"
