"""One row in the form in which it is stored, with the ends of its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipelines.store.arrays import FeatureArray
from pipelines.store.tensor_codec import TensorCodec
from schemas.codec_base import Extent
from schemas.errors import DataError

Values = npt.NDArray[Any] | torch.Tensor


@dataclass(frozen=True, slots=True)
class StoredRow:
    """What goes to the file."""

    stored: npt.NDArray[Any]
    extent: Extent


def as_rows(array: FeatureArray, values: Values) -> torch.Tensor:
    """Return a batch of rows as a tensor, on the device where it is.

    Raises
    ------
    DataError
        The rows have another shape than the array's.
    """
    if not isinstance(values, torch.Tensor):
        values = torch.from_numpy(np.require(values, requirements="W"))
    if values.shape[1:] != array.feature.item_shape:
        raise DataError(
            f"rows of {array.feature.name}",
            expected=f"shape {array.feature.item_shape}",
            got=tuple(values.shape[1:]),
        )
    return values


def check_row(array: FeatureArray, encoded: torch.Tensor, where: str) -> StoredRow:
    """Return a row that the array's codec has encoded, on the host, with its ends.

    Raises
    ------
    DataError
        A value cannot be stored in this form; the message names ``where``.
    """
    stored: npt.NDArray[Any] = encoded.numpy()
    extent = array.extent(stored)
    array.codec.require_storable(extent, where)
    return StoredRow(stored, extent)


def store_row(array: FeatureArray, value: npt.NDArray[Any], where: str) -> StoredRow:
    """Encode and check one row that is on the host."""
    rows = as_rows(array, np.asarray(value)[None])
    return check_row(array, TensorCodec(array.feature).encode(rows)[0], where)
