from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import Sam3TrackerVideoModel
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoInferenceSession,
)

from pipelines.media.preprocess import normalize
from pipelines.teachers.sam3 import Sam3Teacher
from schemas.prompts import PointPrompt, box_corners, sampled_point
from tests.contracts.teacher_contract import box_prompt, random_frames
from tests.teachers.test_sam3 import SIZE, record_calls

LEFT, RIGHT = box_prompt(1, 0).mask, box_prompt(2, 0, left=80).mask
PROMPTS = [
    [sampled_point(LEFT, "a/1"), box_corners(LEFT), sampled_point(RIGHT, "a/2")],
    [box_corners(RIGHT)],
]


def test_masks_of_stills_are_what_transformers_computes(
    tiny_folder: Path, tiny_teacher: Sam3Teacher
) -> None:
    """The tracker alone, with its own vision encoder, on the first frame of a clip of one."""
    images = random_frames(SIZE, 2)
    found = tiny_teacher.encode_prompts(torch.stack(images), PROMPTS)
    tracker = Sam3TrackerVideoModel.from_pretrained(tiny_folder, dtype=torch.float32).eval()
    expected = [
        direct(tracker, normalize(image[None], tiny_teacher.spec.preprocess), prompt)
        for image, prompts in zip(images, PROMPTS, strict=True)
        for prompt in prompts
    ]
    assert found["prompts.mask_logits"].shape == (4, 64, 64)
    for place, (logits, iou) in enumerate(expected):
        np.testing.assert_allclose(found["prompts.mask_logits"][place], logits, atol=2e-4)
        np.testing.assert_allclose(found["prompts.iou"][place], iou, atol=1e-5)
    first, second, *_ = found["prompts.mask_logits"]
    assert (first - second).abs().max() > 0.1


def test_an_estimate_of_the_trunk_is_decoded_alike_and_gets_a_gradient(
    tiny_teacher: Sam3Teacher,
) -> None:
    images = torch.stack(random_frames(SIZE, 2))
    found = tiny_teacher.encode_prompts(images, PROMPTS, ("image.trunk", "prompts.mask_logits"))
    trunk = found["image.trunk"].clone().requires_grad_()
    decoded = tiny_teacher.decode_prompts(trunk, PROMPTS)["prompts.mask_logits"]
    torch.testing.assert_close(decoded, found["prompts.mask_logits"], atol=1e-4, rtol=0)
    decoded[:3].sum().backward()  # type: ignore[no-untyped-call]
    assert trunk.grad is not None
    assert trunk.grad[0].abs().sum() > 0
    assert trunk.grad[1].abs().sum() == 0


def direct(
    tracker: Sam3TrackerVideoModel, video: torch.Tensor, prompt: PointPrompt
) -> tuple[torch.Tensor, torch.Tensor]:
    session = Sam3TrackerVideoInferenceSession(
        video=video, video_height=90, video_width=160, dtype=torch.float32
    )
    inputs = {
        "point_coords": torch.from_numpy(prompt.scaled_to(SIZE))[None, None],
        "point_labels": torch.tensor([[prompt.labels]], dtype=torch.int32),
    }
    session.add_point_inputs(session.obj_id_to_idx(1), 0, inputs)
    session.obj_with_new_inputs = [1]
    seen = record_calls(tracker)
    (output,) = tracker.propagate_in_video_iterator(session, start_frame_idx=0)
    return output.pred_masks[0, 0], seen["iou"][-1].max()
