"""SAM3's tracker on a still image: one mask for each point or box.

Suffixes: B batch, C channels, G side of the feature grid, H height, W width, K points of a prompt,
Q prompts, T tokens of an image.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from transformers import Sam3VideoModel
from transformers.modeling_outputs import BaseModelOutput

from pipelines.teachers.base import DeviceFeatures
from schemas.prompts import PointPrompt

_TOGETHER = 32
"""Prompts decoded at once: each takes its own copies of the maps, 60 MB at full size."""


class PromptDecoder:
    """Decodes masks from the trunk's tokens of an image, as the tracker does on a first frame."""

    def __init__(self, model: Sam3VideoModel) -> None:
        self._model, self._tracker = model, model.tracker_model

    def decode(
        self, tokens_BTC: torch.Tensor, prompts: Sequence[Sequence[PointPrompt]]
    ) -> DeviceFeatures:
        """Return mask logits and expected IoU of each prompt of each image, one after the other."""
        decoded = [
            self._decode_image(tokens_BTC[place : place + 1], asked)
            for place, asked in enumerate(prompts)
        ]
        logits, iou = zip(*decoded, strict=True)
        return {"prompts.mask_logits": torch.cat(logits), "prompts.iou": torch.cat(iou)}

    def _decode_image(
        self, tokens_1TC: torch.Tensor, prompts: Sequence[PointPrompt]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mask and expected IoU of each prompt, of the mask that promises most."""
        maps = self._maps(tokens_1TC)
        alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, prompt in enumerate(prompts):
            alike[prompt.labels].append(number)
        side = self._tracker.prompt_encoder.mask_input_size
        logits_QHW = torch.empty((len(prompts), *side), device=tokens_1TC.device)
        iou_Q = torch.empty(len(prompts), device=tokens_1TC.device)
        for numbers in alike.values():
            for first in range(0, len(numbers), _TOGETHER):
                chosen = numbers[first : first + _TOGETHER]
                logits, iou = self._decode(maps, [prompts[number] for number in chosen])
                logits_QHW[chosen], iou_Q[chosen] = logits.float(), iou.float()
        return logits_QHW, iou_Q

    def _maps(self, tokens_1TC: torch.Tensor) -> list[torch.Tensor]:
        """Return the levels of the tracker's neck [1, C, H, W], the coarsest without memory."""
        flat, _ = self._model.get_vision_features_for_tracker(
            BaseModelOutput(last_hidden_state=tokens_1TC)
        )
        flat[-1] = flat[-1] + self._tracker.no_memory_embedding
        sizes = self._tracker.backbone_feature_sizes
        return [
            level.permute(1, 2, 0).view(1, -1, *size)
            for level, size in zip(flat, sizes, strict=True)
        ]

    def _decode(
        self, maps: list[torch.Tensor], prompts: Sequence[PointPrompt]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode prompts of equal labels; all share the image."""
        tracker, device = self._tracker, maps[-1].device
        points_QK2 = np.stack([prompt.scaled_to(tracker.image_size) for prompt in prompts])
        labels_1QK = torch.tensor([[prompt.labels for prompt in prompts]], device=device)
        sparse, dense = tracker.prompt_encoder(
            input_points=torch.from_numpy(points_QK2)[None].to(device),
            input_labels=labels_1QK,
            input_boxes=None,
            input_masks=None,
        )
        masks, iou, _, _ = tracker.mask_decoder(
            image_embeddings=maps[-1],
            image_positional_embeddings=tracker.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            # Several masks for one point, which may mean a part or the whole; one for a box.
            multimask_output=tracker._use_multimask(True, {"point_labels": labels_1QK}),
            high_resolution_features=maps[:-1],
        )
        best_Q = iou[0].argmax(-1)
        rows_Q = torch.arange(len(prompts), device=device)
        return masks[0, rows_Q, best_Q], iou[0, rows_Q, best_Q]
