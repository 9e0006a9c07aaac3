"""One row in the form in which it is stored, with the ends of its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch

from pipelines.store.arrays import FeatureArray
from pipelines.store.tensor_codec import TensorCodec
from schemas.codec import Extent

Values = npt.NDArray[Any] | torch.Tensor

_PLAIN = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""Codecs that are a conversion and nothing else."""


@dataclass(frozen=True, slots=True)
class StoredRow:
    """What goes to the file."""

    stored: npt.NDArray[Any]
    extent: Extent


def device_type(array: FeatureArray) -> torch.dtype:
    """Return the type in which values shall leave the device: as they are stored, if it can be."""
    return _PLAIN.get(array.feature.codec, torch.float32)


def store_row(array: FeatureArray, value: Values, where: str) -> StoredRow:
    """Return a row as it is stored.

    Raises
    ------
    DataError
        A value cannot be stored in this form, or the row has another shape.
    """
    stored = TensorCodec(array.feature).encode_row(value, where)
    return StoredRow(stored, array.extent(stored))
