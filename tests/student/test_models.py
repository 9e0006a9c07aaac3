from __future__ import annotations

import pytest
import torch

from pipelines.student.models import STUDENTS, ImageStudent
from schemas.errors import UnknownNameError, UsageError
from schemas.features import FeatureSpec, PreprocessSpec

PREPROCESS = PreprocessSpec(image_size=64)


def feature(*shape: int) -> FeatureSpec:
    return FeatureSpec(name="image.trunk", rows="sample", item_shape=shape, codec="float16")


def make_student(
    name: str = "repvit_m0_9", preprocess: PreprocessSpec = PREPROCESS
) -> ImageStudent:
    torch.manual_seed(0)
    return ImageStudent(name, feature(8, 5, 5), preprocess).eval()


@pytest.mark.parametrize("name", sorted(STUDENTS))
def test_every_student_gives_the_teachers_shape_and_learns(name: str) -> None:
    student = make_student(name).train()
    estimate = student(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    assert estimate.shape == (2, 8, 5, 5)
    estimate.square().mean().backward()
    without = [key for key, weight in student.named_parameters() if weight.grad is None]
    assert without == []


@pytest.mark.parametrize(("size", "grid"), [(96, 6), (80, 7), (33, 3)])
def test_any_square_image_and_grid(size: int, grid: int) -> None:
    torch.manual_seed(0)
    student = ImageStudent("repvit_m0_9", feature(4, grid, grid), PREPROCESS).eval()
    assert student(torch.zeros(1, 3, size, size, dtype=torch.uint8)).shape == (1, 4, grid, grid)


def test_the_input_is_normalized_as_the_teachers() -> None:
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    seen = []
    student = make_student(preprocess=PreprocessSpec(image_size=64, mean=(0.1, 0.2, 0.3)))
    student.backbone.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    student(images)
    mean = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
    torch.testing.assert_close(seen[0], (images / 255 - mean) / 0.5)


def test_both_stages_reach_the_output() -> None:
    head = make_student().head
    stage_16, stage_32 = torch.randn(1, 192, 4, 4), torch.randn(1, 384, 2, 2)
    both = head(stage_16, stage_32)
    assert not torch.allclose(head(torch.zeros_like(stage_16), stage_32), both)
    assert not torch.allclose(head(stage_16, torch.zeros_like(stage_32)), both)


def test_unknown_student_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean repvit_m0_9"):
        make_student("repvit_m09")


@pytest.mark.parametrize("shape", [(256,), (4, 8, 9)])
def test_features_that_are_no_map_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"cannot learn image\.trunk"):
        ImageStudent("repvit_m0_9", feature(*shape), PREPROCESS)
