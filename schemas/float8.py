"""The 8-bit floating point numbers of 4 exponent and 3 mantissa bits, without infinities.

OCP 8-bit floating point specification, type E4M3; torch calls it ``float8_e4m3fn``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

LARGEST_FLOAT8 = 448.0


def to_float8(values: Float32) -> npt.NDArray[np.uint8]:
    """Round to nearest, ties to even; the magnitudes are at most 448, up to rounding."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    magnitude = bits & 0x7FFFFFFF
    normal = ((magnitude + 0x7FFFF + ((magnitude >> 20) & 1)) >> 20) - (120 << 3)
    # Below 2**-6 the type has even steps of 2**-9: so has float32 from 2**14 on.
    lifted = (np.abs(values) + np.float32(2.0**14)).view(np.uint32)
    subnormal = lifted - np.float32(2.0**14).view(np.uint32)
    code = np.where(magnitude < np.float32(2.0**-6).view(np.uint32), subnormal, normal)
    return np.asarray(code | (bits >> 31 << 7), dtype=np.uint8)


def _values() -> Float32:
    """Return the value of each of the 256 codes."""
    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, code & 7
    normal = (8 + mantissa) * 2.0 ** (exponent - 10)
    magnitude = np.where(exponent == 0, mantissa * 2.0**-9, normal)
    magnitude[(code & 127) == 127] = np.nan
    return np.where(code < 128, magnitude, -magnitude).astype(np.float32)


FLOAT8_VALUES = _values()
"""Of each of the 256 codes."""
