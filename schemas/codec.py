"""How the numbers of a feature are stored: named codecs between float32 and array bytes.

Each codec is defined in numpy; ``pipelines.store.tensor_codec`` does the same on tensors of any
device.
"""

from __future__ import annotations

import numpy as np

from schemas.codec_base import Codec, Float32, Shape, Stored
from schemas.eight_bits import Float8, Int8
from schemas.ids import nearest_name
from schemas.low_rank import LowRank


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


_FLOAT32_MAX = float(np.finfo(np.float32).max)
_HALF_MAX = 65504.0
"""For eight bits too, since what is read back becomes float16."""

CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        Codec(name="float32", stored="<f4", largest=_FLOAT32_MAX),
        Codec(name="float16", stored="<f2", largest=_HALF_MAX),
        BFloat16(
            name="bfloat16",
            stored="<u2",
            largest=_FLOAT32_MAX,
            formula="float32 of the bits stored << 16",
        ),
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
        LowRank(
            name="pca64",
            stored="|u1",
            largest=_HALF_MAX,
            is_float=False,
            mixes=True,
            rank=64,
            formula="mean[g] + sum over k of basis[k, g] * (low[k] + step[k] * code[k])",
        ),
    )
}


def get_codec(name: str) -> Codec:
    """Return the codec of that name, or raise ``UnknownNameError`` with the nearest ones."""
    try:
        return CODECS[name]
    except KeyError:
        raise nearest_name("codec", name, CODECS) from None
