"""One row in the form in which it is stored, with the range of its values, at the speed of memory.

PyTorch does it several times faster than numpy, which has no fast path for half floats: looking
for values that are not finite and for the range is one pass here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipelines.store.arrays import FeatureArray
from schemas.codec import get_codec

Values = npt.NDArray[Any] | torch.Tensor
Range = tuple[float, float]
"""Smallest and largest stored value of a row."""

_PLAIN = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""Codecs that are a conversion and nothing else."""


@dataclass(frozen=True, slots=True)
class StoredRow:
    """What goes to the file."""

    stored: npt.NDArray[Any]
    range: Range


def device_type(array: FeatureArray) -> torch.dtype:
    """Return the type in which values shall leave the device: as they are stored, if it can be."""
    return _PLAIN.get(array.feature.codec, torch.float32)


def store_row(array: FeatureArray, value: Values, where: str) -> StoredRow:
    """Return a row as it is stored.

    Raises
    ------
    DataError
        A value is not finite in this form, or the row has another shape.
    """
    plain = _PLAIN.get(array.feature.codec)
    if isinstance(value, torch.Tensor) and plain and value.shape == array.feature.item_shape:
        converted = value.to(plain).contiguous()
        low, high = (float(limit) for limit in torch.aminmax(converted))
        if math.isfinite(low) and math.isfinite(high):
            bits = converted.view(torch.uint16) if plain is torch.bfloat16 else converted
            return StoredRow(bits.numpy(), (low + 0.0, high + 0.0))
    if isinstance(value, torch.Tensor):
        value = value.float().numpy()
    stored = array.encode(value, where)
    return StoredRow(stored, stored_range(array, stored))


def stored_range(array: FeatureArray, stored: npt.NDArray[Any]) -> Range:
    """Return smallest and largest value of a row as it is stored; zero has no sign."""
    plain = _PLAIN.get(array.feature.codec)
    if plain is None or not stored.flags.writeable:
        values = get_codec(array.feature.codec).decode(stored)
        return float(values.min()) + 0.0, float(values.max()) + 0.0
    bits = torch.from_numpy(np.ascontiguousarray(stored).reshape(-1))
    low, high = torch.aminmax(bits.view(plain) if plain is torch.bfloat16 else bits)
    return float(low) + 0.0, float(high) + 0.0
