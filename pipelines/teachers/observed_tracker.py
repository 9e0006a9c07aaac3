"""SAM3's tracker with two windows: what it computes on the way and does not hand out."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Sam3TrackerVideoModel


class ObservedTracker(Sam3TrackerVideoModel):  # type: ignore[misc]
    """Adds ``iou`` and ``conditioned`` to the outputs that a session keeps of an object and frame.

    ``iou``, a scalar, is what the mask decoder expects of the mask that was taken, and 1 where the
    mask itself was the prompt. ``conditioned`` [1, C, G, G] is the image's map after it has seen
    the memory, as it enters the mask decoder; there is no memory yet on the frame of the prompt.
    """

    @staticmethod
    def observe(tracker: Sam3TrackerVideoModel) -> None:
        """Turn a tracker into this class; its weights and results stay the same."""
        tracker.__class__ = ObservedTracker

    def _run_single_frame_inference(self, *args: object, **kwargs: object) -> dict[str, Any]:
        output: dict[str, Any] = super()._run_single_frame_inference(*args, **kwargs)
        output["iou"], output["conditioned"] = self._iou, self._conditioned
        return output

    def _single_frame_forward(self, *args: object, **kwargs: object) -> Any:  # noqa: ANN401
        output = super()._single_frame_forward(*args, **kwargs)
        # Of several masks the tracker takes the one of which it expects most.
        self._iou = output.iou_scores.max()
        return output

    def _prepare_memory_conditioned_features(self, *args: object, **kwargs: object) -> Any:  # noqa: ANN401
        self._conditioned = super()._prepare_memory_conditioned_features(*args, **kwargs)
        return self._conditioned

    def _use_mask_as_output(self, backbone_features: torch.Tensor, *args: object) -> Any:  # noqa: ANN401
        output = super()._use_mask_as_output(backbone_features, *args)
        self._iou = output.iou_scores.max()
        # As for prompts of points and boxes; a mask goes past the decoder, and needs none.
        self._conditioned = backbone_features + self.no_memory_embedding.reshape(1, -1, 1, 1)
        return output

    def _encode_new_memory(
        self,
        current_vision_feats: torch.Tensor,
        pred_masks_high_res: torch.Tensor,
        object_score_logits: torch.Tensor,
        *,
        is_mask_from_pts: bool,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        # In float32 under autocast too: later frames build on it, and it is 15 of the 970 GFLOP
        # that an object costs on a frame.
        with torch.autocast(current_vision_feats.device.type, enabled=False):
            memory: tuple[torch.Tensor, list[torch.Tensor]] = super()._encode_new_memory(
                current_vision_feats.float(),
                pred_masks_high_res.float(),
                object_score_logits.float(),
                is_mask_from_pts,
            )
        return memory
