"""Teachers of SAM3's architecture with random weights, for benchmarks: a narrow and the full one.

A benchmark needs the shapes and the arithmetic, not the values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import Sam3VideoConfig, Sam3VideoModel
from transformers.utils import logging as transformers_logging

GRID, PATCH = 72, 14
TRUNK_FLOPS = 5.3986e12
"""One image of 1008 pixels through the full trunk, two per multiplication and addition."""


def full_config() -> Sam3VideoConfig:
    """The published size: 860 million parameters, 32 layers of width 1024."""
    return Sam3VideoConfig()


def narrow_config(layers: int = 1, mlp: int = 256, grid: int = GRID) -> Sam3VideoConfig:
    """The full trunk width and little arithmetic; by default records of the full 10.6 MB."""
    vision = {
        "model_type": "sam3_vision_model",
        "fpn_hidden_size": 64,
        "backbone_feature_sizes": [[scale * grid, scale * grid] for scale in (4, 2, 1)],
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "hidden_size": 1024,
            "intermediate_size": mlp,
            "num_hidden_layers": layers,
            "num_attention_heads": 16,
            "image_size": grid * PATCH,
            "patch_size": PATCH,
            "window_size": min(24, grid),
            "global_attn_indexes": [],
        },
    }
    part = {"hidden_size": 64, "num_layers": 1, "num_attention_heads": 1, "intermediate_size": 64}
    detector: dict[str, Any] = {
        "model_type": "sam3",
        "vision_config": vision,
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": 49408,
            "hidden_size": 16,
            "intermediate_size": 16,
            "projection_dim": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "max_position_embeddings": 32,
        },
        "geometry_encoder_config": part,
        "detr_encoder_config": part,
        "detr_decoder_config": part | {"num_queries": 2},
        "mask_decoder_config": {"hidden_size": 64, "num_attention_heads": 1},
    }
    tracker = {
        "model_type": "sam3_tracker_video",
        "image_size": grid * PATCH,
        "vision_config": vision,
        "prompt_encoder_config": {"hidden_size": 64, "image_size": grid * PATCH},
        "mask_decoder_config": {
            "hidden_size": 64,
            "mlp_dim": 64,
            "num_attention_heads": 1,
            "iou_head_hidden_dim": 64,
        },
        "memory_attention_hidden_size": 64,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 64,
        "memory_encoder_hidden_size": 64,
        "mask_downsampler_embed_dim": 64,
        "memory_fuser_embed_dim": 64,
        "memory_fuser_intermediate_dim": 64,
    }
    return Sam3VideoConfig(
        detector_config=detector, tracker_config=tracker, low_res_mask_size=4 * grid
    )


def save_random(config: Sam3VideoConfig, folder: Path, device: str = "cpu") -> Path:
    """Write a model with random weights, as ``Sam3Teacher.load`` takes it; made on ``device``."""
    transformers_logging.disable_progress_bar()
    torch.manual_seed(0)
    with torch.device(device):
        model = Sam3VideoModel(config)
    model.to("cpu").save_pretrained(folder)
    return folder
