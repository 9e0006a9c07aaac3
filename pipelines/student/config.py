"""What decides the result of a training run, and what does not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from schemas.errors import UsageError
from schemas.features import View

Precision = Literal["fp32", "bf16"]


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that decides the weights after a step, beside the manifest and the teacher.

    It is stored in every checkpoint, and a run goes on only under an equal one.
    """

    student: str = "repvit_m0_9"
    feature: str = "image.trunk"
    views: tuple[View, ...] = ("identity",)
    """Of the images."""
    image_size: int
    """Side of the student's input, in pixels."""
    steps: int = 1000
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 100
    """Steps of linear increase; a cosine decrease to zero follows."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient over all weights."""
    mse_weight: float = 1.0
    cosine_weight: float = 1.0
    precision: Precision = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("image_size", "steps", "batch_size", "learning_rate", "gradient_clip"):
            if getattr(self, name) <= 0:
                raise UsageError(
                    f"training option {name}", expected="more than 0", got=getattr(self, name)
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Where and how a run is done; free to change when it is resumed."""

    folder: Path
    """Holds ``checkpoint.pt`` and ``metrics.jsonl``; a folder of this machine."""
    device: str = "cpu"
    checkpoint_every: int = 200
    """Steps between checkpoints; there is always one after the last, and at an interrupt."""
    checkpoint_seconds: float = 120.0
    """Longest time between checkpoints, up to one step."""
