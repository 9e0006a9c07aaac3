"""Follows objects through one clip with SAM3's tracker, in memory that does not grow.

Suffixes: C channels, G side of the feature grid, H height, W width, T tokens of an image.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from transformers import Sam3VideoModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoInferenceSession,
)

from pipelines.teachers.base import Features, Float32, TrackedObject
from schemas.errors import DataError
from schemas.features import MEMORY_GROUPS, group_of
from schemas.masks import MaskRLE
from schemas.prompts import PromptKind, box_corners, central_point
from schemas.videos import Prompt


class ClipTracker:
    """Steps through a clip, one frame at a time, from the first frame on.

    Objects that are prompted on the same frame and in the same way share a session; others never
    do, because a session binarizes the memory of all its objects on a frame where any of them was
    prompted.

    Parameters
    ----------
    model
        Its ``tracker_model`` is an ``ObservedTracker``.
    wanted
        Names of ``memory.*`` features; they say in which ways the objects are prompted.
    """

    def __init__(
        self,
        model: Sam3VideoModel,
        frame_count: int,
        prompts: Sequence[Prompt],
        wanted: Collection[str],
    ) -> None:
        _check_prompts(prompts, frame_count)
        self._model = model
        self._frame_count = frame_count
        self._wanted = {
            kind: {name.rpartition(".")[2]: name for name in wanted if group_of(name) == group}
            for kind, group in MEMORY_GROUPS.items()
        }
        self._starting: dict[int, list[Prompt]] = defaultdict(list)
        for prompt in sorted(prompts, key=lambda prompt: prompt.object_id):
            self._starting[prompt.frame].append(prompt)
        self._sessions: list[tuple[PromptKind, Sam3TrackerVideoInferenceSession]] = []

    def step(self, frame: int, trunk_1TC: torch.Tensor) -> tuple[TrackedObject, ...]:
        """Return the objects on the next frame, by id, given the trunk's tokens for it."""
        starting = self._starting.pop(frame, [])
        if starting:
            kinds = [kind for kind, names in self._wanted.items() if names]
            self._sessions += [(kind, self._open_session(kind, starting)) for kind in kinds]
        if not self._sessions:
            return ()
        # The tracker reads the finest levels and the position encoding of the coarsest one only.
        levels, positions = self._model.get_vision_features_for_tracker(
            BaseModelOutput(last_hidden_state=trunk_1TC)
        )
        vision = {"vision_feats": levels, "vision_pos_embeds": positions[-1:]}
        found: dict[int, Features] = defaultdict(dict)
        for kind, session in self._sessions:
            self._step_session(session, frame, vision)
            for index, object_id in enumerate(session.obj_ids):
                found[object_id] |= self._collect(session, index, frame, self._wanted[kind])
            self._forget(session, frame)
        return tuple(
            TrackedObject(object_id=object_id, features=found[object_id])
            for object_id in sorted(found)
        )

    def _open_session(
        self, kind: PromptKind, prompts: list[Prompt]
    ) -> Sam3TrackerVideoInferenceSession:
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
            if kind == "mask":
                session.add_mask_inputs(index, prompt.frame, prompt_mask(prompt.mask, size))
            else:
                inputs = point_inputs(kind, prompt.mask, size)
                session.add_point_inputs(index, prompt.frame, inputs)
        # Without this the tracker ignores the prompts.
        session.obj_with_new_inputs = [prompt.object_id for prompt in prompts]
        return session

    def _step_session(
        self,
        session: Sam3TrackerVideoInferenceSession,
        frame: int,
        vision: dict[str, list[torch.Tensor]],
    ) -> None:
        session.cache.cache_vision_features(frame, vision)
        self._model.tracker_model(inference_session=session, frame_idx=frame)

    def _collect(
        self,
        session: Sam3TrackerVideoInferenceSession,
        index: int,
        frame: int,
        wanted: dict[str, str],
    ) -> Features:
        """Return the wanted features of an object, and drop what no later frame reads."""
        outputs = session.output_dict_per_obj[index]
        prompted = frame in outputs["cond_frame_outputs"]
        output = outputs["cond_frame_outputs" if prompted else "non_cond_frame_outputs"][frame]
        del output["high_res_masks"]
        grid = self._model.tracker_model.prompt_encoder.image_embedding_size
        found = {
            "maskmem": output["maskmem_features"][:, 0].T.reshape(-1, *grid),
            "object_pointer": output["object_pointer"].flatten(),
            "mask_logits": output["pred_masks"][0, 0],
            "object_score": output["object_score_logits"].reshape(()),
            "iou": output.pop("iou"),
            "conditioned": output.pop("conditioned")[0],
        }
        return {name: to_numpy(found[leaf]) for leaf, name in wanted.items()}

    def _forget(self, session: Sam3TrackerVideoInferenceSession, frame: int) -> None:
        """Drop what no later frame reads: used prompts, and outputs beyond the memory's reach."""
        config = self._model.config.tracker_config
        reach = max(config.num_maskmem, config.max_object_pointers_in_encoder)
        for index, outputs in session.output_dict_per_obj.items():
            session.remove_mask_inputs(index, frame)
            session.remove_point_inputs(index, frame)
            outputs["non_cond_frame_outputs"].pop(frame + 1 - reach, None)
            session.frames_tracked_per_obj[index].pop(frame + 1 - reach, None)


def prompt_mask(mask: MaskRLE, size: int) -> torch.Tensor:
    """Return the mask as the tracker takes it: float32 zeros and ones ``[1, 1, size, size]``."""
    mask_11HW = torch.from_numpy(mask.decode()).float()[None, None]
    if mask_11HW.shape[2:] == (size, size):
        return mask_11HW
    resized = F.interpolate(mask_11HW, (size, size), mode="bilinear", antialias=True)
    return (resized >= 0.5).float()


def point_inputs(kind: PromptKind, mask: MaskRLE, size: int) -> dict[str, torch.Tensor]:
    """Return the mask's box or central point as the tracker takes it, on a square of this side."""
    prompt = box_corners(mask) if kind == "box" else central_point(mask)
    return {
        "point_coords": torch.from_numpy(prompt.scaled_to(size))[None, None],
        "point_labels": torch.tensor([[prompt.labels]], dtype=torch.int32),
    }


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
