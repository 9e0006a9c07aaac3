"""Follows objects through one clip with SAM3's tracker, in memory that does not grow.

Suffixes: C channels, G side of the feature grid, H height, W width, T tokens of an image.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from transformers import Sam3VideoModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoInferenceSession,
)

from pipelines.teachers.base import Features, Float32, TrackedObject
from schemas.errors import DataError
from schemas.masks import MaskRLE
from schemas.videos import Prompt


class ClipTracker:
    """Steps through a clip, one frame at a time, from the first frame on.

    Objects that are prompted on the same frame share a session; others never do, because a
    session binarizes the memory of all its objects on a frame where any of them was prompted.
    """

    def __init__(self, model: Sam3VideoModel, frame_count: int, prompts: Sequence[Prompt]) -> None:
        _check_prompts(prompts, frame_count)
        self._model = model
        self._frame_count = frame_count
        self._starting: dict[int, list[Prompt]] = defaultdict(list)
        for prompt in sorted(prompts, key=lambda prompt: prompt.object_id):
            self._starting[prompt.frame].append(prompt)
        self._sessions: list[Sam3TrackerVideoInferenceSession] = []

    def step(self, frame: int, trunk_1TC: torch.Tensor) -> tuple[TrackedObject, ...]:
        """Return the objects on the next frame, by id, given the trunk's tokens for it."""
        if frame in self._starting:
            self._sessions.append(self._open_session(self._starting.pop(frame)))
        if not self._sessions:
            return ()
        # The tracker reads the finest levels and the position encoding of the coarsest one only.
        levels, positions = self._model.get_vision_features_for_tracker(
            BaseModelOutput(last_hidden_state=trunk_1TC)
        )
        vision = {"vision_feats": levels, "vision_pos_embeds": positions[-1:]}
        objects = [
            tracked
            for session in self._sessions
            for tracked in self._step_session(session, frame, vision)
        ]
        return tuple(sorted(objects, key=lambda tracked: tracked.object_id))

    def _open_session(self, prompts: list[Prompt]) -> Sam3TrackerVideoInferenceSession:
        device = self._model.device
        session = Sam3TrackerVideoInferenceSession(
            inference_device=device,
            inference_state_device=device,
            dtype=torch.float32,
            max_vision_features_cache_size=1,
        )
        # The session asks its frames for their number only: the features come from its cache.
        session.processed_frames = range(self._frame_count)
        size = self._model.tracker_model.image_size
        for prompt in prompts:
            index = session.obj_id_to_idx(prompt.object_id)
            session.add_mask_inputs(index, prompt.frame, prompt_mask(prompt.mask, size))
        # Without this the tracker ignores the masks.
        session.obj_with_new_inputs = [prompt.object_id for prompt in prompts]
        return session

    def _step_session(
        self,
        session: Sam3TrackerVideoInferenceSession,
        frame: int,
        vision: dict[str, list[torch.Tensor]],
    ) -> list[TrackedObject]:
        session.cache.cache_vision_features(frame, vision)
        self._model.tracker_model(inference_session=session, frame_idx=frame)
        tracked = [
            TrackedObject(object_id=object_id, features=self._collect(session, index, frame))
            for index, object_id in enumerate(session.obj_ids)
        ]
        self._forget(session, frame)
        return tracked

    def _collect(
        self, session: Sam3TrackerVideoInferenceSession, index: int, frame: int
    ) -> Features:
        outputs = session.output_dict_per_obj[index]
        prompted = frame in outputs["cond_frame_outputs"]
        output = outputs["cond_frame_outputs" if prompted else "non_cond_frame_outputs"][frame]
        # Only the memory encoder of this very frame reads the masks at full size.
        del output["high_res_masks"]
        grid = self._model.tracker_model.prompt_encoder.image_embedding_size
        return {
            "memory.maskmem": to_numpy(output["maskmem_features"][:, 0].T.reshape(-1, *grid)),
            "memory.object_pointer": to_numpy(output["object_pointer"].flatten()),
            "memory.mask_logits": to_numpy(output["pred_masks"][0, 0]),
            "memory.object_score": to_numpy(output["object_score_logits"].reshape(())),
        }

    def _forget(self, session: Sam3TrackerVideoInferenceSession, frame: int) -> None:
        """Drop what no later frame reads: used prompts, and outputs beyond the memory's reach."""
        config = self._model.config.tracker_config
        reach = max(config.num_maskmem, config.max_object_pointers_in_encoder)
        for index, outputs in session.output_dict_per_obj.items():
            session.remove_mask_inputs(index, frame)
            outputs["non_cond_frame_outputs"].pop(frame + 1 - reach, None)
            session.frames_tracked_per_obj[index].pop(frame + 1 - reach, None)


def prompt_mask(mask: MaskRLE, size: int) -> torch.Tensor:
    """Return the mask as the tracker takes it: float32 zeros and ones ``[1, 1, size, size]``."""
    mask_11HW = torch.from_numpy(mask.decode()).float()[None, None]
    if mask_11HW.shape[2:] == (size, size):
        return mask_11HW
    resized = F.interpolate(mask_11HW, (size, size), mode="bilinear", antialias=True)
    return (resized >= 0.5).float()


def to_numpy(tensor: torch.Tensor) -> Float32:
    """Return a float32 copy in the host's memory, which nobody else holds."""
    copied: Float32 = tensor.to("cpu", torch.float32, copy=True).numpy()
    return copied


def _check_prompts(prompts: Sequence[Prompt], frame_count: int) -> None:
    seen: set[int] = set()
    for prompt in prompts:
        if prompt.object_id in seen:
            raise DataError(f"object {prompt.object_id} has two prompts", expected="one per object")
        if not 0 <= prompt.frame < frame_count:
            raise DataError(
                f"prompt of object {prompt.object_id}",
                expected=f"a frame from 0 to {frame_count - 1}",
                got=prompt.frame,
            )
        seen.add(prompt.object_id)
