from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Sam3TrackerVideoProcessor, Sam3VideoModel
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoInferenceSession,
)

from pipelines.teachers.base import MEMORY
from pipelines.teachers.observed_tracker import ObservedTracker
from pipelines.teachers.tracking import ClipTracker, point_inputs, prompt_mask
from schemas.features import FEATURES
from schemas.masks import encode_mask
from schemas.prompts import PromptKind, box_corners, central_point
from tests.contracts.teacher_contract import box_prompt

FRAMES = 40
ALL = [name for name in FEATURES if name.startswith("memory.")]


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> Any:
    model = Sam3VideoModel.from_pretrained(tiny_folder, dtype=torch.float32).eval()
    ObservedTracker.observe(model.tracker_model)
    return model


def entries(tracker: ClipTracker) -> int:
    """Everything that the tracker's sessions keep between two frames."""
    return sum(
        len(session.cache._vision_features)
        + sum(map(len, session.frames_tracked_per_obj.values()))
        + sum(map(len, session.mask_inputs_per_obj.values()))
        + sum(map(len, session.point_inputs_per_obj.values()))
        + sum(
            len(output)
            for kinds in session.output_dict_per_obj.values()
            for outputs in kinds.values()
            for output in outputs.values()
        )
        for _, session in tracker._sessions
    )


def test_memory_does_not_grow_with_the_clip(model: Any) -> None:
    prompts = [box_prompt(1, 0), box_prompt(2, 0, left=60), box_prompt(3, 5)]
    tracker = ClipTracker(model, FRAMES, prompts, ALL)
    tokens_1TC = torch.randn((1, 256, 64), generator=torch.Generator().manual_seed(1))
    kept = []
    for frame in range(FRAMES):
        tracker.step(frame, tokens_1TC)
        kept.append(entries(tracker))
    assert kept[10] > kept[5]
    assert len(set(kept[21:])) == 1
    assert all(
        output.keys().isdisjoint(("high_res_masks", "iou", "conditioned"))
        for _, session in tracker._sessions
        for kinds in session.output_dict_per_obj.values()
        for outputs in kinds.values()
        for output in outputs.values()
    )


def test_results_do_not_change_when_the_tracker_goes_on(model: Any) -> None:
    tokens_1TC = torch.randn((1, 256, 64), generator=torch.Generator().manual_seed(1))
    tracker = ClipTracker(model, 3, [box_prompt(1, 0)], MEMORY)
    first = tracker.step(0, tokens_1TC)[0].features
    for values in first.values():
        values.fill(77)
    second = tracker.step(1, tokens_1TC)[0].features["memory.mask_logits"]
    again = ClipTracker(model, 3, [box_prompt(1, 0)], MEMORY)
    again.step(0, tokens_1TC)
    expected = again.step(1, tokens_1TC)[0].features["memory.mask_logits"]
    np.testing.assert_array_equal(second, expected)


@pytest.mark.parametrize("shape", [(90, 160), (224, 224), (500, 300), (3, 1000)])
def test_prompt_mask_is_what_the_video_processor_makes(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(shape) < 0.5
    processor = Sam3TrackerVideoProcessor.__new__(Sam3TrackerVideoProcessor)
    processor.target_size = 224
    session = _Recorder()
    processor.process_new_mask_for_video_frame(session, 0, [1], [mask])
    found = prompt_mask(encode_mask(mask), 224)
    assert found.shape == (1, 1, 224, 224)
    torch.testing.assert_close(found, session.mask, rtol=0, atol=0)


@pytest.mark.parametrize("size", [(90, 160), (1, 1), (999, 17)])
@pytest.mark.parametrize("kind", ["box", "point"])
def test_points_and_boxes_are_given_as_the_video_processor_gives_them(
    kind: PromptKind, size: tuple[int, int]
) -> None:
    mask = np.zeros(size, dtype=bool)
    mask[size[0] // 3 : size[0] // 2 + 1, size[1] // 4 : size[1] // 2 + 1] = True
    found = point_inputs(kind, encode_mask(mask), 224)
    first, *_, last = (
        2 * (box_corners if kind == "box" else central_point)(encode_mask(mask)).points
    )
    processor = Sam3TrackerVideoProcessor.__new__(Sam3TrackerVideoProcessor)
    processor.target_size, processor.point_pad_value = 224, -10
    session = Sam3TrackerVideoInferenceSession(video_height=size[0], video_width=size[1])
    asked: dict[str, Any] = {"input_boxes": [[[*first, *last]]]}
    if kind == "point":
        asked = {"input_points": [[[list(first)]]], "input_labels": [[[1]]]}
    processor.process_new_points_or_boxes_for_video_frame(session, 0, [7], **asked)
    expected = session.point_inputs_per_obj[0][0]
    torch.testing.assert_close(found["point_coords"], expected["point_coords"], rtol=0, atol=0)
    assert found["point_labels"].tolist() == expected["point_labels"].tolist()


class _Recorder:
    """The part of an inference session that a mask prompt touches."""

    inference_device = "cpu"
    mask = torch.empty(0)

    def obj_id_to_idx(self, obj_id: int) -> int:
        return obj_id

    def add_mask_inputs(self, obj_idx: int, frame_idx: int, inputs: torch.Tensor) -> None:
        self.mask = inputs

    def remove_point_inputs(self, obj_idx: int, frame_idx: int) -> None: ...
