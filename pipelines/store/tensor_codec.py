"""The codecs on tensors of any device: the same bytes as ``schemas.codec``, at another speed.

It is apart from the arrays, so that reading tables and manifests does not import torch.
Suffixes: B batch, G groups, V values of a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipelines.store.arrays import require_shape
from schemas.codec import LARGEST_FLOAT8, SMALLEST_SPAN, Part, get_codec, group_count
from schemas.features import FeatureSpec

_PLAIN = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "uint8": torch.uint8,
}
"""Types of the values of the codecs that store each value by itself."""

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
        if name == "int8" and self._on_cpu(values):
            return self._encode_by_numpy(values)
        values_BGV = values.float().reshape(len(values), self._groups, -1)
        quantize = _quantize_int8 if name == "int8" else _quantize_float8
        blocks = [quantize(values_BGV[block]) for block in self._blocks(values_BGV)]
        parts = (torch.cat(part, dim=1) for part in zip(*blocks, strict=True))
        return torch.cat([part.reshape(len(values), -1).view(torch.uint8) for part in parts], dim=1)

    def encode_row(self, values: npt.NDArray[Any] | torch.Tensor, where: str) -> npt.NDArray[Any]:
        """Return one row on the host, of that shape and storable, in its stored form.

        Raises
        ------
        DataError
            It is of another shape, or holds a value that the codec does not take.
        """
        require_shape(self.feature, tuple(values.shape), where)
        if isinstance(values, torch.Tensor):
            row = values
        else:
            row = torch.from_numpy(np.require(values, requirements=["W"]))
        stored: npt.NDArray[Any] = self.encode(row[None])[0].numpy()
        codec = get_codec(self.feature.codec)
        codec.require_storable(codec.extent(stored, self.feature.item_shape), where)
        return stored

    def decode(
        self,
        stored: torch.Tensor,
        dtype: torch.dtype = torch.float16,
        out: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return rows ``[B, *stored_shape]`` as values ``[B, *item_shape]`` of ``dtype``.

        Each value is computed in float32 and rounded once, on the device of ``stored``.

        Parameters
        ----------
        out
            Where to put the values, contiguous, instead of into a new tensor; it decides the type.
        """
        if out is None:
            shape = (len(stored), *self.feature.item_shape)
            out = torch.empty(shape, dtype=dtype, device=stored.device)
        if plain := _PLAIN.get(self.feature.codec):
            return out.copy_(stored.view(plain))
        *scales, codes = (
            _part(stored, part) for part in self._codec.parts(self.feature.item_shape)
        )
        codes_BGV = codes.reshape(len(stored), self._groups, -1)
        out_BGV = out.view(codes_BGV.shape)
        values = _int8_values if self.feature.codec == "int8" else _float8_values
        for block in self._blocks(codes_BGV):
            out_BGV[block] = values(
                codes_BGV[block], *(scale[block][..., None] for scale in scales)
            )
        return out

    def _encode_by_numpy(self, values: torch.Tensor) -> torch.Tensor:
        """Encode row by row: numpy's loop over blocks is twice as fast as torch on a CPU."""
        rows = [self._codec.convert(row) for row in values.float().numpy()]
        return torch.from_numpy(np.stack(rows))

    @staticmethod
    def _on_cpu(values: torch.Tensor) -> bool:
        return values.device.type == "cpu"

    def _blocks(self, rows_BGV: torch.Tensor) -> Iterator[tuple[slice, slice]]:
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
        cut = cut.flatten().clone().view(torch.float32)
    return cut.reshape(len(stored), *part.shape)


def _quantize_int8(values_BGV: torch.Tensor) -> tuple[torch.Tensor, ...]:
    low_BG1 = values_BGV.amin(dim=2, keepdim=True) + 0  # zero has no sign
    span_BG1 = _flush(values_BGV.amax(dim=2, keepdim=True) - low_BG1)
    scaled_BGV = (values_BGV - low_BG1).mul_(_inverse(255, span_BG1)).round_()
    return span_BG1 / 255, low_BG1, scaled_BGV.to(torch.uint8)


def _int8_values(codes: torch.Tensor, step: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    return codes.to(torch.float32).mul_(step).add_(low)


def _quantize_float8(values_BGV: torch.Tensor) -> tuple[torch.Tensor, ...]:
    peak_BG1 = _flush(torch.maximum(-values_BGV.amin(2, True), values_BGV.amax(2, True)))
    scaled_BGV = values_BGV * _inverse(LARGEST_FLOAT8, peak_BG1)
    codes_BGV = scaled_BGV.to(torch.float8_e4m3fn).view(torch.uint8)
    return peak_BG1 / LARGEST_FLOAT8, codes_BGV


def _float8_values(codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Move the bits to where float16 has them: ten times faster than torch converts on a CPU.

    float16 has one exponent bit more, and a bias that is larger by 8.
    """
    bits = codes.view(torch.int8).to(torch.int16).bitwise_left_shift_(7).bitwise_and_(~(1 << 14))
    return bits.view(torch.float16).to(torch.float32).mul_(scale * 2**8)


def _flush(size: torch.Tensor) -> torch.Tensor:
    """Set sizes that are as good as zero to zero."""
    return torch.where(size < SMALLEST_SPAN, 0, size)


def _inverse(full: float, size: torch.Tensor) -> torch.Tensor:
    """Return ``full / size``, and zero for zero."""
    # Not ``full / size``, which torch computes as a product with the reciprocal.
    return torch.where(size == 0, 0, torch.full_like(size, full) / size)
