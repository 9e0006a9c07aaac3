"""Maps of an image: the trunk, its blocks, and the level of each neck at the trunk's own stride.

Suffixes: B batch, C channels, H height, W width, G side of the feature grid, T tokens of an image.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from transformers import Sam3VideoConfig, Sam3VideoModel, Sam3VisionConfig
from transformers.models.sam3.modeling_sam3 import Sam3VisionNeck

from pipelines.teachers.base import DeviceFeatures
from schemas.errors import DataError
from schemas.features import family_of

_LAYER = "image.layerNN"


class ImageMaps:
    """Computes the wanted maps in one pass of the trunk, and nothing else."""

    def __init__(self, model: Sam3VideoModel) -> None:
        detector, config = model.detector_model.vision_encoder, model.config
        self._backbone = detector.backbone
        self._necks = {
            "image.fpn72.detector": _own_level(
                detector.neck, config.detector_config.vision_config, "detector"
            ),
            "image.fpn72.tracker": _own_level(
                model.tracker_neck, config.tracker_config.vision_config, "tracker"
            ),
        }
        self._grid = _grid(config)

    def compute(self, pixels_BCHW: torch.Tensor, wanted: Collection[str]) -> DeviceFeatures:
        """Return the wanted maps; a trunk of which only blocks are wanted stops at the last one."""
        blocks = _blocks(wanted)
        if blocks and len(blocks) == len(wanted):
            return self._run_blocks(pixels_BCHW, blocks, max(blocks))[1]
        tokens_BTC, maps = self.trunk(pixels_BCHW, wanted)
        return maps | self.of_trunk(tokens_BTC, wanted)

    def trunk(
        self, pixels_BCHW: torch.Tensor, wanted: Collection[str] = ()
    ) -> tuple[torch.Tensor, DeviceFeatures]:
        """Return the trunk's tokens [B, G*G, C], and the maps of those blocks that are wanted."""
        blocks = _blocks(wanted)
        if not blocks:
            return self._backbone(pixels_BCHW).last_hidden_state, {}
        return self._run_blocks(pixels_BCHW, blocks, len(self._backbone.layers))

    def of_trunk(self, tokens_BTC: torch.Tensor, wanted: Collection[str]) -> DeviceFeatures:
        """Return those wanted maps that follow from the trunk's tokens alone."""
        grid = self._grid
        trunk_BCGG = tokens_BTC.transpose(1, 2).reshape(len(tokens_BTC), -1, grid, grid)
        maps = {"image.trunk": trunk_BCGG} if "image.trunk" in wanted else {}
        levels = {name: level for name, level in self._necks.items() if name in wanted}
        return maps | {name: level(trunk_BCGG) for name, level in levels.items()}

    def _run_blocks(
        self, pixels_BCHW: torch.Tensor, blocks: dict[int, str], depth: int
    ) -> tuple[torch.Tensor, DeviceFeatures]:
        """Do what the backbone's own forward does, which would keep all blocks or none."""
        tokens_BTC = self._backbone.embeddings(pixels_BCHW)
        hidden_BGGC = tokens_BTC.view(len(tokens_BTC), self._grid, self._grid, -1)
        hidden_BGGC = self._backbone.layer_norm(hidden_BGGC)
        maps = {}
        for number in range(depth + 1):
            if number > 0:
                hidden_BGGC = self._backbone.layers[number - 1](hidden_BGGC)
            if number in blocks:
                maps[blocks[number]] = hidden_BGGC.permute(0, 3, 1, 2)
        return hidden_BGGC.flatten(1, 2), maps


def map_shapes(config: Sam3VideoConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape [C, G, G] of each map that such a model has."""
    vision, grid = config.detector_config.vision_config, _grid(config)
    trunk = (vision.backbone_config.hidden_size, grid, grid)
    blocks = range(vision.backbone_config.num_hidden_layers + 1)
    return {
        "image.trunk": trunk,
        **{_LAYER.replace("NN", f"{number:02d}"): trunk for number in blocks},
        "image.fpn72.detector": (vision.fpn_hidden_size, grid, grid),
        "image.fpn72.tracker": (config.tracker_config.vision_config.fpn_hidden_size, grid, grid),
    }


def _blocks(wanted: Collection[str]) -> dict[int, str]:
    """Return the wanted maps of blocks by the block's number."""
    return {int(name[-2:]): name for name in wanted if family_of(name) == _LAYER}


def _grid(config: Sam3VideoConfig) -> int:
    trunk = config.detector_config.vision_config.backbone_config
    side: int = trunk.image_size // trunk.patch_size
    return side


def _own_level(neck: Sam3VisionNeck, config: Sam3VisionConfig, part: str) -> torch.nn.Module:
    """Return the part of a neck whose map has the trunk's own size."""
    scales = list(config.scale_factors)
    if 1.0 not in scales:
        raise DataError(f"teacher: scales of its {part}'s neck", expected="1.0 in them", got=scales)
    level: torch.nn.Module = neck.fpn_layers[scales.index(1.0)]
    return level
