"""How far the student's features are from the teacher's.

Suffixes: B batch, C channels, G side of the feature grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillLoss:
    """The parts of a loss, as scalars that still know their gradient."""

    total: torch.Tensor
    mse: torch.Tensor
    cosine: torch.Tensor
    """One minus the mean cosine between the two vectors of a place: 0 to 2."""


def distill_loss(
    student_BCGG: torch.Tensor,
    teacher_BCGG: torch.Tensor,
    *,
    mse_weight: float,
    cosine_weight: float,
) -> DistillLoss:
    """Return the weighted sum and both parts, computed in float32.

    The squared error sets the scale of the features, the cosine gives places of small magnitude
    the same say as those of large.
    """
    student_BCGG, teacher_BCGG = student_BCGG.float(), teacher_BCGG.float()
    mse = F.mse_loss(student_BCGG, teacher_BCGG)
    cosine = 1 - F.cosine_similarity(student_BCGG, teacher_BCGG, dim=1).mean()
    total = mse_weight * mse + cosine_weight * cosine
    return DistillLoss(total=total, mse=mse, cosine=cosine)
