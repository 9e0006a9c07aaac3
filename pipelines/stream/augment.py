"""Changes of images that leave the teacher's features right, and the refusal of all others.

Cached features belong to the image as it was. What changes colours may be shown to the student
alone: it then learns to see through the change. What moves pixels would need other features: those
of a mirrored image are not the mirrored features (a ViT's position embeddings see to that; cosine
0.87 was measured between the two), so such a change is refused; mirrored images come with features
of their own as a view (``FeatureStream``, ``views``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from schemas.errors import UsageError

_GREY = (0.299, 0.587, 0.114)
_REMEDY = (
    "Features are of the image as it was cached. Change colours only. Mirrored images are a view: "
    "cache --views identity,hflip. For any other change, normalize the changed images as a split "
    "of their own and cache that."
)


class Augment(Protocol):
    """A change of one image that moves no pixel."""

    def __call__(self, image_CHW: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
        """Return the changed uint8 image, of the same shape.

        ``draw`` is a function of the stream's seed and the sample's position, so that a resumed
        run, by any number of workers, changes every image as an unbroken one does.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourJitter:
    """Brightness, contrast and saturation by factors from ``1 - x`` to ``1 + x``."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __call__(self, image_CHW: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
        """See ``Augment.__call__``."""
        amounts = (self.brightness, self.contrast, self.saturation)
        bright, contrast, saturation = (1 + x * float(draw.uniform(-1, 1)) for x in amounts)
        image = image_CHW.to(torch.float32) * bright
        image = image.mean() + (image - image.mean()) * contrast
        grey = _grey(image)
        return (grey + (image - grey) * saturation).round_().clamp_(0, 255).to(torch.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomGrey:
    """Grey in place of colours, with that probability."""

    probability: float

    def __call__(self, image_CHW: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
        """See ``Augment.__call__``."""
        if draw.random() >= self.probability:
            return image_CHW
        grey = _grey(image_CHW.to(torch.float32)).round_().clamp_(0, 255)
        return grey.to(torch.uint8).expand_as(image_CHW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Gaussian noise of that standard deviation, in levels of 0 to 255."""

    deviation: float

    def __call__(self, image_CHW: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
        """See ``Augment.__call__``."""
        noise = torch.from_numpy(draw.standard_normal(image_CHW.shape, dtype=np.float32))
        changed = image_CHW.to(torch.float32) + self.deviation * noise
        return changed.round_().clamp_(0, 255).to(torch.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Photometric:
    """Any other change, by the caller's word that it moves no pixel."""

    change: Augment

    def __call__(self, image_CHW: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
        """See ``Augment.__call__``; another shape or type is refused."""
        changed = self.change(image_CHW, draw)
        if changed.shape != image_CHW.shape or changed.dtype != torch.uint8:
            raise UsageError(
                f"augmentation {self.change!r} moves pixels",
                expected=f"uint8 of shape {tuple(image_CHW.shape)}",
                got=f"{changed.dtype} of shape {tuple(changed.shape)}",
                fix=_REMEDY,
            )
        return changed


@dataclass(frozen=True, slots=True)
class Augments:
    """Several changes, one after the other."""

    steps: tuple[Augment, ...]

    def __call__(self, image_CHW: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
        """See ``Augment.__call__``."""
        for step in self.steps:
            image_CHW = step(image_CHW, draw)
        return image_CHW


_EXACT = (ColourJitter, RandomGrey, Noise, Photometric)


def checked_augments(steps: Sequence[Augment]) -> Augments | None:
    """Return the steps as one, or refuse the first that may move pixels.

    Raises
    ------
    UsageError
        A step is none of this module's: a flip, a crop, a rotation, or a function not known.
    """
    for step in steps:
        if not isinstance(step, _EXACT):
            raise UsageError(
                f"augmentation {type(step).__name__} may move pixels, and cached features would "
                "then be of another image",
                expected=", ".join(kind.__name__ for kind in _EXACT),
                fix=f"{_REMEDY} A change of colours that is not listed goes into Photometric().",
            )
    return Augments(tuple(steps)) if steps else None


def _grey(image_CHW: torch.Tensor) -> torch.Tensor:
    weights = torch.tensor(_GREY).view(3, 1, 1)
    return (image_CHW * weights).sum(dim=0, keepdim=True)
