"""Tensors that hold rows of a feature as they are stored."""

from __future__ import annotations

import numpy as np
import torch

from schemas.codec import get_codec
from schemas.features import FeatureSpec

_BFLOAT16 = "bfloat16"


def stored_dtype(spec: FeatureSpec) -> np.dtype[np.generic]:
    """Return numpy's type of a stored value."""
    return np.dtype(get_codec(spec.codec).stored)


def empty_rows(count: int, spec: FeatureSpec) -> torch.Tensor:
    """Return zeros ``[count, *stored_shape]``."""
    return torch.from_numpy(np.zeros((count, *spec.stored_shape), dtype=stored_dtype(spec)))


def typed(stored: torch.Tensor, spec: FeatureSpec) -> torch.Tensor:
    """Give bfloat16, which is stored as uint16, its type back."""
    return stored.view(torch.bfloat16) if spec.codec == _BFLOAT16 else stored
