"""A teacher of SAM3's very architecture, small enough for a laptop, with made-up weights.

It stands in for the gated weights in tests, the demo and dry runs: a folder that loads as the real
one does. Its features follow the image (the trunk is a few random filters, mixed a little), so
that a student has something to learn; they know nothing of objects.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import Sam3VideoConfig, Sam3VideoModel
from transformers.utils import logging as transformers_logging

from pipelines.teachers.base import Float32
from schemas.ids import digest_bytes

VERSION = 1
"""Counts changes of the weights or the configuration; part of the folder's name."""

IMAGE_SIZE = 224
_PATCH = 14
_GRID = IMAGE_SIZE // _PATCH
_WIDTH = 128
"""Width of everything behind the trunk; the tracker splits pointers into tokens of 64."""

_EMBEDDING = re.compile(r"(embed|embedding|token|tokens)\.weight$|(embedding|encoding|pointer)$")
_TRUNK_BRANCH = re.compile(r"\.backbone\.layers\..*(o_proj|fc2)\.weight$")


def tiny_teacher_folder(cache: Path | None = None) -> Path:
    """Return the folder of the tiny teacher, written first if it is not there.

    Its weights are the same bytes in every process and on every machine. Several processes may
    call this at once.
    """
    folder = (cache or default_cache()) / f"tiny-{VERSION}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _write_model(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            # Another process was faster: its folder is complete and holds the same bytes.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def default_cache() -> Path:
    """Return SAMDISTILL_CACHE, or ``samdistill`` in the user's cache folder."""
    if chosen := os.environ.get("SAMDISTILL_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "samdistill"


def _write_model(folder: Path) -> None:
    transformers_logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        model = Sam3VideoModel(_config())
    for name, tensor in model.state_dict().items():
        tensor.copy_(torch.from_numpy(_weights(name, tuple(tensor.shape))))
    model.save_pretrained(folder)
    for file in folder.iterdir():
        with file.open("rb") as written:
            os.fsync(written.fileno())


def _config() -> Sam3VideoConfig:
    part = {
        "hidden_size": _WIDTH,
        "num_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": _WIDTH,
    }
    detector = {
        "model_type": "sam3",
        "vision_config": _vision_config(),
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": 49408,
            "hidden_size": 48,
            "intermediate_size": 96,
            "projection_dim": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 32,
            "hidden_act": "gelu",
        },
        "geometry_encoder_config": part,
        "detr_encoder_config": part,
        "detr_decoder_config": part | {"num_queries": 5},
        "mask_decoder_config": {"hidden_size": _WIDTH, "num_attention_heads": 2},
    }
    return Sam3VideoConfig(
        detector_config=detector, tracker_config=_tracker_config(), low_res_mask_size=4 * _GRID
    )


def _vision_config() -> dict[str, Any]:
    return {
        "model_type": "sam3_vision_model",
        "fpn_hidden_size": _WIDTH,
        "backbone_feature_sizes": [[scale * _GRID, scale * _GRID] for scale in (4, 2, 1)],
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "image_size": IMAGE_SIZE,
            "pretrain_image_size": IMAGE_SIZE // 2,
            "patch_size": _PATCH,
            "window_size": 8,
            "global_attn_indexes": [1, 3],
        },
    }


def _tracker_config() -> dict[str, Any]:
    return {
        "model_type": "sam3_tracker_video",
        # Without it here, at the top, the tracker sets every size back to 1008.
        "image_size": IMAGE_SIZE,
        "vision_config": _vision_config(),
        "prompt_encoder_config": {"hidden_size": _WIDTH, "image_size": IMAGE_SIZE},
        "mask_decoder_config": {
            "hidden_size": _WIDTH,
            "mlp_dim": _WIDTH,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": _WIDTH,
        },
        "memory_attention_hidden_size": _WIDTH,
        "memory_attention_num_layers": 2,
        "memory_attention_feed_forward_hidden_size": _WIDTH,
        "memory_encoder_hidden_size": _WIDTH,
        "mask_downsampler_embed_dim": _WIDTH,
        "memory_fuser_embed_dim": _WIDTH,
        "memory_fuser_intermediate_dim": _WIDTH,
    }


def _weights(name: str, shape: tuple[int, ...]) -> Float32:
    """Return made-up values for a parameter: a function of its name and shape alone."""
    source = np.random.default_rng(int(digest_bytes(name.encode())[:16], 16))
    if name.endswith("patch_embeddings.projection.weight"):
        return _smooth_filters(source, shape)
    if name.endswith("backbone.embeddings.position_embeddings"):
        # One vector for all places: the trunk starts with a LayerNorm, which without an offset
        # would make a bright patch and a brighter one the same.
        offset = source.normal(0.0, 0.5, (1, 1, shape[2]))
        return np.broadcast_to(offset, shape).astype(np.float32)
    if name.endswith(".bias"):
        # Objects are visible by default; an absent one has the same logit on every pixel.
        value = 4.0 if name.endswith("pred_obj_score_head.proj_out.bias") else 0.0
        return np.full(shape, value, dtype=np.float32)
    if len(shape) == 1:
        return np.ones(shape, dtype=np.float32)
    return source.normal(0.0, _deviation(name, shape), shape).astype(np.float32)


def _deviation(name: str, shape: tuple[int, ...]) -> float:
    """Return the deviation that keeps a signal's size from layer to layer."""
    if _EMBEDDING.search(name):
        return 0.5
    transposed = "scale_layers" in name or "upscale_conv" in name
    inputs = shape[0] if transposed else math.prod(shape[1:])
    # Small steps beside the residual stream: the trunk stays close to its filters.
    gain = 0.4 if _TRUNK_BRANCH.search(name) else 1.0
    return gain / math.sqrt(inputs)


def _smooth_filters(source: np.random.Generator, shape: tuple[int, ...]) -> Float32:
    """Return colour filters made of the lowest spatial frequencies of a patch."""
    filters, channels, height, width = shape
    frequencies = 4
    places = (np.arange(height) + 0.5) / height
    waves = np.cos(np.pi * np.arange(frequencies)[:, None] * places)
    order = np.add.outer(np.arange(frequencies), np.arange(frequencies))
    strength = source.normal(size=(filters, channels, frequencies, frequencies)) / (1 + order)
    patterns: npt.NDArray[np.float64] = np.einsum("fcuv,uy,vx->fcyx", strength, waves, waves)
    return (patterns / (height * width)).astype(np.float32)
