from __future__ import annotations

import pytest
import torch

from pipelines.student.losses import DistillLoss, distill_loss


def loss(student: torch.Tensor, teacher: torch.Tensor) -> DistillLoss:
    return distill_loss(student, teacher, mse_weight=2.0, cosine_weight=3.0)


def test_equal_features_cost_nothing() -> None:
    features = torch.randn(2, 4, 3, 3)
    found = loss(features, features.clone())
    assert found.mse.item() == 0
    assert found.cosine.item() == pytest.approx(0, abs=1e-6)


def test_cosine_ignores_scale_and_the_squared_error_does_not() -> None:
    features = torch.randn(2, 4, 3, 3)
    found = loss(2 * features, features)
    assert found.cosine.item() == pytest.approx(0, abs=1e-6)
    assert found.mse.item() == pytest.approx(features.square().mean().item())


def test_cosine_compares_channels_at_each_place() -> None:
    student, teacher = torch.zeros(1, 2, 1, 2), torch.zeros(1, 2, 1, 2)
    student[0, :, 0, 0], teacher[0, :, 0, 0] = torch.tensor([1.0, 0]), torch.tensor([0, 5.0])
    student[0, :, 0, 1], teacher[0, :, 0, 1] = torch.tensor([1.0, 0]), torch.tensor([-2.0, 0])
    assert loss(student, teacher).cosine.item() == pytest.approx((1 + 2) / 2)


def test_total_is_the_weighted_sum_and_carries_the_gradient() -> None:
    student = torch.randn(1, 4, 2, 2, requires_grad=True)
    found = loss(student, torch.randn(1, 4, 2, 2))
    assert found.total.item() == pytest.approx(2 * found.mse.item() + 3 * found.cosine.item())
    found.total.backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None


def test_half_precision_is_compared_in_float32() -> None:
    """60000 squared is beyond float16."""
    student = torch.full((1, 2, 1, 1), 60000.0, dtype=torch.float16)
    found = loss(student, torch.zeros_like(student))
    assert found.mse.item() == pytest.approx(60000.0**2, rel=1e-2)
