"""Small image encoders that learn to give what the teacher's trunk gives.

Suffixes: B batch, C channels, H height, W width, G side of the teacher's feature grid; 16 and 32
are strides.
"""

from __future__ import annotations

import timm
import torch
import torch.nn.functional as F
from torch import nn

from pipelines.media.preprocess import normalize
from schemas.errors import UsageError
from schemas.features import FeatureSpec, PreprocessSpec
from schemas.ids import nearest_name

STUDENTS: dict[str, str] = {
    "repvit_m0_9": "repvit_m0_9",
    "repvit_m1_1": "repvit_m1_1",
    "repvit_m2_3": "repvit_m2_3",
    "tiny_vit_5m": "tiny_vit_5m_224",
    "tiny_vit_11m": "tiny_vit_11m_224",
    "tiny_vit_21m": "tiny_vit_21m_224",
    "efficientvit_b0": "efficientvit_b0",
    "efficientvit_b1": "efficientvit_b1",
    "efficientvit_b2": "efficientvit_b2",
}
"""Name -> timm's name of the backbone. All have stages at strides 4, 8, 16 and 32."""

_STAGES = (2, 3)
_HEAD_CHANNELS = 256


class DistillHead(nn.Module):
    """Maps the last two stages of a backbone to the teacher's channels and grid.

    The stride-16 stage has about the teacher's resolution, the stride-32 stage the wider view; both
    are brought to one width and added before the 3x3 convolution, which is most of the cost.
    """

    def __init__(self, channels_16: int, channels_32: int, out_channels: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.lateral_16 = nn.Conv2d(channels_16, _HEAD_CHANNELS, kernel_size=1, bias=False)
        self.lateral_32 = nn.Conv2d(channels_32, _HEAD_CHANNELS, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(_HEAD_CHANNELS)
        self.out = nn.Conv2d(_HEAD_CHANNELS, out_channels, kernel_size=3, padding=1)

    def forward(self, stage_16: torch.Tensor, stage_32: torch.Tensor) -> torch.Tensor:
        """Return ``[B, out_channels, G, G]``."""
        size = stage_16.shape[-2:]
        wide = F.interpolate(self.lateral_32(stage_32), size, mode="bilinear", align_corners=False)
        mixed = F.gelu(self.norm(self.lateral_16(stage_16) + wide))
        grid = (self.grid, self.grid)
        return F.interpolate(self.out(mixed), grid, mode="bilinear", align_corners=False)


class ImageStudent(nn.Module):
    """A backbone and a head: uint8 images in, an estimate of the teacher's features out.

    Images of any square size from 32 pixels on; they are normalized as the teacher's are.
    """

    def __init__(self, name: str, feature: FeatureSpec, preprocess: PreprocessSpec) -> None:
        super().__init__()
        channels, grid = _grid_shape(feature)
        self.preprocess = preprocess
        self.backbone = timm.create_model(
            timm_name(name), pretrained=False, features_only=True, out_indices=_STAGES
        )
        channels_16, channels_32 = self.backbone.feature_info.channels()
        self.head = DistillHead(channels_16, channels_32, channels, grid)

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        """Return ``[B, C, G, G]``, as the feature's item shape says."""
        stage_16, stage_32 = self.backbone(normalize(images_BCHW, self.preprocess))
        estimate_BCGG: torch.Tensor = self.head(stage_16, stage_32)
        return estimate_BCGG


def timm_name(name: str) -> str:
    """Return the timm model of a student, or raise ``UnknownNameError`` with the nearest ones."""
    try:
        return STUDENTS[name]
    except KeyError:
        raise nearest_name("student", name, STUDENTS) from None


def _grid_shape(feature: FeatureSpec) -> tuple[int, int]:
    shape = feature.item_shape
    if len(shape) != 3 or shape[1] != shape[2]:
        raise UsageError(
            f"an image student cannot learn {feature.name}",
            expected="rows of shape (channels, side, side)",
            got=shape,
        )
    return shape[0], shape[1]
