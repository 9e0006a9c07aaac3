"""A teacher made of colours and edges: it follows the protocol, needs no weights and is quick.

Suffixes: B batch, C channels, H height, W width, G side of the feature grid.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from pipelines.teachers.base import (
    MEMORY,
    PROMPTED,
    TRUNK,
    DeviceFeatures,
    Features,
    Float32,
    TrackedFrame,
    TrackedObject,
    make_feature,
)
from schemas.features import FeatureSpec, PreprocessSpec, TeacherSpec, TokenizeSpec
from schemas.ids import digest_bytes
from schemas.prompts import PointPrompt
from schemas.videos import Prompt

GRID, CHANNELS, TOKENS, WIDTH = 36, 24, 12, 32
SIZE = 8 * GRID
DEPTH = 4


class ColourTeacher:
    """Features that show what is on the image; an object stays where its prompt was."""

    def __init__(self, seed: int = 0) -> None:
        self._mix = np.random.default_rng(seed).normal(size=(CHANNELS, 9)).astype(np.float32)
        self._seed = seed

    @property
    def spec(self) -> TeacherSpec:
        return TeacherSpec(
            architecture="ColourTeacher",
            config=digest_bytes(b"colours"),
            weights=digest_bytes(self._mix.tobytes()),
            preprocess=PreprocessSpec(image_size=SIZE),
            tokenize=TokenizeSpec(vocabulary=digest_bytes(b"letters"), context=TOKENS, pad_id=0),
            precision="float32",
            attention="none",
            libraries={"torch": ".".join(torch.__version__.split(".")[:2])},
        )

    def feature(self, name: str, codec: str | None = None) -> FeatureSpec:
        shapes = {
            "image.trunk": (CHANNELS, GRID, GRID),
            "text.tokens": (TOKENS, WIDTH),
            "text.mask": (TOKENS,),
            "memory.maskmem": (DEPTH, GRID, GRID),
            "memory.object_pointer": (WIDTH,),
            "memory.mask_logits": (4 * GRID, 4 * GRID),
            "memory.object_score": (),
            "prompts.points": (2,),
            "prompts.boxes": (4,),
            "prompts.mask_logits": (4 * GRID, 4 * GRID),
            "prompts.iou": (),
        }
        return make_feature(name, shapes, codec)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def encode_on_device(
        self, batch_BCHW: torch.Tensor, wanted: Collection[str] = TRUNK
    ) -> DeviceFeatures:
        found = self.encode_images(batch_BCHW, wanted)
        return {name: torch.from_numpy(values) for name, values in found.items()}

    def encode_images(self, batch_BCHW: torch.Tensor, wanted: Collection[str] = TRUNK) -> Features:
        pixels = batch_BCHW.to(torch.float32) / 255
        grey = pixels.mean(1, keepdim=True)
        across = F.pad(grey.diff(dim=3).abs(), (0, 1)) * 4
        down = F.pad(grey.diff(dim=2).abs(), (0, 0, 0, 1)) * 4
        maps = torch.cat([pixels, pixels**2, across, down, grey], dim=1)
        pooled = F.avg_pool2d(maps, SIZE // GRID).numpy()
        return {"image.trunk": np.einsum("cm,bmhw->bchw", self._mix, pooled)}

    def encode_prompts(
        self,
        batch_BCHW: torch.Tensor,
        prompts: Sequence[Sequence[PointPrompt]],
        wanted: Collection[str] = PROMPTED,
    ) -> DeviceFeatures:
        asked = [prompt for of_image in prompts for prompt in of_image]
        known = {
            "prompts.mask_logits": torch.stack([_nearness(prompt) for prompt in asked]),
            "prompts.iou": torch.full((len(asked),), 0.5),
        }
        maps = self.encode_on_device(batch_BCHW)
        return {name: (maps | known)[name] for name in wanted}

    def encode_text(self, phrases: Sequence[str]) -> Features:
        tokens = np.zeros((len(phrases), TOKENS, WIDTH), dtype=np.float32)
        mask = np.zeros((len(phrases), TOKENS), dtype=np.uint8)
        for place, phrase in enumerate(phrases):
            words = phrase.split()[:TOKENS]
            for token, word in enumerate(words):
                seed = int(digest_bytes(word.encode())[:8], 16) + self._seed
                tokens[place, token] = np.random.default_rng(seed).normal(0.3, 1, WIDTH)
            mask[place, : len(words)] = 1
        return {"text.tokens": tokens, "text.mask": mask}

    def track(
        self,
        frames: Iterable[torch.Tensor],
        frame_count: int,
        prompts: Sequence[Prompt],
        wanted: Collection[str] = TRUNK + MEMORY,
    ) -> Iterator[TrackedFrame]:
        for number, frame in enumerate(frames):
            trunk: Float32 = self.encode_images(frame[None])["image.trunk"][0]
            started = [prompt for prompt in prompts if prompt.frame <= number]
            objects = tuple(
                TrackedObject(
                    object_id=prompt.object_id,
                    features=_memory(prompt, trunk, (number - prompt.frame) / frame_count),
                )
                for prompt in sorted(started, key=lambda prompt: prompt.object_id)
            )
            yield TrackedFrame(frame=number, features={"image.trunk": trunk}, objects=objects)


def _nearness(prompt: PointPrompt) -> torch.Tensor:
    """Logits that fall with the distance from the centre of a prompt's points."""
    column, row = prompt.scaled_to(4 * GRID).mean(0)
    places = torch.arange(4 * GRID)
    return 4 - torch.hypot(places[:, None] - float(row), places - float(column)) / GRID


def _memory(prompt: Prompt, trunk_CGG: Float32, age: float) -> Features:
    mask = torch.from_numpy(prompt.mask.decode().astype(np.float32))[None, None]
    logits = F.interpolate(mask, (4 * GRID, 4 * GRID), mode="bilinear", antialias=True)[0, 0]
    small = F.avg_pool2d(logits[None], 4)[0].numpy()
    return {
        "memory.maskmem": trunk_CGG[:DEPTH] * small,
        "memory.object_pointer": np.resize((trunk_CGG * small).mean((1, 2)), WIDTH),
        "memory.mask_logits": (logits.numpy() - 0.5 - 0.2 * age) * 12,
        "memory.object_score": np.float32(6 - 4 * age).reshape(()),
    }
