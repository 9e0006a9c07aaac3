"""The codecs on tensors of any device: as ``schemas.codec`` defines them, at another speed.

They give the same bytes, but for ``LowRank``, whose basis no two devices round alike. This is apart
from the arrays, so that reading tables and manifests does not import torch.
Suffixes: B batch, G groups, V values of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from pipelines.store.tensor_steps import (
    Parts,
    of_even_steps,
    of_float8,
    to_even_steps,
    to_float8,
    to_low_rank,
)
from schemas.codec import get_codec
from schemas.codec_base import Part, group_count
from schemas.eight_bits import Int8
from schemas.features import FeatureSpec
from schemas.low_rank import LowRank

_PLAIN = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "uint8": torch.uint8,
}
"""Types of the values of the codecs that store each value by itself."""

_PART_TYPES = {"<f4": torch.float32, "|i1": torch.int8, "|u1": torch.uint8}

Block = tuple[slice, slice]
"""Some groups of all rows."""
_BLOCK_VALUES = 512 << 10
"""Values that a CPU converts at a time: what lies between two steps stays in its cache."""


class TensorCodec:
    """Encodes and decodes rows of one feature. Holds no tensor, and pickles.

    It refuses no value, so that it never waits for a device: on the host, ask the codec for the
    ``extent`` of the stored row, and then whether that is storable.
    """

    def __init__(self, feature: FeatureSpec) -> None:
        self.feature = feature
        self._codec = get_codec(feature.codec)
        self._groups = group_count(feature.item_shape)

    def encode(self, values: torch.Tensor) -> torch.Tensor:
        """Return rows ``[B, *item_shape]`` of any float type as ``[B, *stored_shape]``.

        They stay on the device of ``values``; bfloat16 comes as the uint16 that is stored.
        """
        name = self.feature.codec
        if name == "bfloat16":
            return values.to(torch.bfloat16).contiguous().view(torch.uint16)
        if plain := _PLAIN.get(name):
            return values.to(plain).contiguous()
        if name != "fp8_e4m3" and self._on_cpu(values):
            return self._encode_by_numpy(values)
        values_BGV = values.float().reshape(len(values), self._groups, -1)
        parts = [part.reshape(len(values), -1) for part in self._parts(values_BGV)]
        return torch.cat([part.contiguous().view(torch.uint8) for part in parts], dim=1)

    def decode(
        self,
        stored: torch.Tensor,
        dtype: torch.dtype = torch.float16,
        out: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return rows ``[B, *stored_shape]`` as values ``[B, *item_shape]`` of ``dtype``.

        Each value is computed in float32 and rounded once, on the device of ``stored``. Rows that
        are stored as such values are returned as they are, not copied.

        Parameters
        ----------
        out
            Where to put the values, contiguous, instead of into a new tensor; it decides the type.
        """
        if plain := _PLAIN.get(self.feature.codec):
            values = stored.view(plain)
            return values.to(dtype) if out is None else out.copy_(values)
        if out is None:
            shape = (len(stored), *self.feature.item_shape)
            out = torch.empty(shape, dtype=dtype, device=stored.device)
        if not len(stored):
            return out
        out_BGV = out.view(len(stored), self._groups, -1)
        with torch.autocast(out.device.type, enabled=False):
            decoded = self._decoder(stored)
            for block in self._blocks(out_BGV):
                out_BGV[block] = decoded(block)
        return out

    def _parts(self, values_BGV: torch.Tensor) -> Parts:
        if isinstance(self._codec, LowRank):
            rank = min(self._codec.rank, *values_BGV.shape[1:])
            return to_low_rank(values_BGV, rank)
        convert = to_even_steps if isinstance(self._codec, Int8) else to_float8
        blocks = [convert(values_BGV[block]) for block in self._blocks(values_BGV)]
        return tuple(torch.cat(part, dim=1) for part in zip(*blocks, strict=True))

    def _decoder(self, stored: torch.Tensor) -> Callable[[Block], torch.Tensor]:
        """Return what gives the float32 values of some groups of all rows."""
        parts = [_part(stored, part) for part in self._codec.parts(self.feature.item_shape)]
        if isinstance(self._codec, LowRank):
            mean_BG, step_BR, low_BR, basis_BRG, code = parts
            code_BRV = code.reshape(len(stored), basis_BRG.shape[1], -1)
            weight_BRV = of_even_steps(step_BR[..., None], low_BR[..., None], code_BRV)
            basis_BGR = basis_BRG.float().mT
            return lambda block: torch.baddbmm(
                mean_BG[block][..., None], basis_BGR[block], weight_BRV
            )
        values = of_even_steps if isinstance(self._codec, Int8) else of_float8
        *scales, code = parts
        scaled = [
            *(scale[..., None] for scale in scales),
            code.reshape(len(stored), self._groups, -1),
        ]
        return lambda block: values(*(part[block] for part in scaled))

    def _encode_by_numpy(self, values: torch.Tensor) -> torch.Tensor:
        """Encode row by row: twice as fast as torch on a CPU, and the bytes of the definition."""
        rows = [self._codec.convert(row) for row in values.float().numpy()]
        return torch.from_numpy(np.stack(rows))

    @staticmethod
    def _on_cpu(values: torch.Tensor) -> bool:
        return values.device.type == "cpu"

    def _blocks(self, rows_BGV: torch.Tensor) -> Iterator[Block]:
        """Yield what to do at a time: everything, but on a CPU what its cache holds."""
        if not self._on_cpu(rows_BGV):
            yield slice(None), slice(None)
            return
        groups = max(1, _BLOCK_VALUES // rows_BGV[:, 0].numel())
        for first in range(0, self._groups, groups):
            yield slice(None), slice(first, first + groups)


def _part(stored: torch.Tensor, part: Part) -> torch.Tensor:
    """Return a part of the rows, of its own type; see ``Part.of``."""
    cut = stored[:, part.offset : part.offset + part.bytes]
    if part.data_type == "<f4":
        # A copy, because a view would need rows of whole float32.
        cut = cut.flatten().clone()
    return cut.view(_PART_TYPES[part.data_type]).reshape(len(stored), *part.shape)
