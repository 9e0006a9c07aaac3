"""What a training step gets. Suffixes: B items, T frames, C channels, H height, W width."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipelines.store.tensor_codec import TensorCodec
from pipelines.stream.memory import Memory
from pipelines.stream.objects import Objects
from pipelines.stream.phrases import Phrases
from pipelines.stream.prompts import Prompts
from schemas.features import FeatureSpec, View


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Items of one training step: samples, or windows of frames.

    Its tensors are the holder's for as long as they are held. *Images* are the items, or all
    frames of the first window, then of the second, and so on.
    """

    keys: tuple[str, ...]
    """Of each image."""
    views: tuple[View, ...]
    """What is shown of each image; features, boxes, masks and points are of what is shown."""
    indices: npt.NDArray[np.int64]
    """Position of each item in the stream's index."""
    position: int
    """Where the stream is after this batch, over all ranks: its whole state."""
    images_BCHW: torch.Tensor | None = None
    """uint8; ``[B, T, 3, H, W]`` for windows; None when the stream was opened without images."""
    sizes: npt.NDArray[np.int32] | None = None
    """Width and height of each image as stored: what boxes and masks refer to."""
    features: dict[str, torch.Tensor]
    """By the name asked for, ``[B, *stored]`` or ``[B, T, *stored]`` in the stored type."""
    objects: tuple[Objects, ...] | None = None
    """Annotated objects of each image."""
    phrases: Phrases | None = None
    memory: Memory | None = None
    prompts: Prompts | None = None
    specs: dict[str, FeatureSpec]
    """What each feature is, those of phrases, memory and prompts included."""

    def values(self, name: str, dtype: torch.dtype = torch.float16) -> torch.Tensor:
        """Return a feature decoded, on the device where it is: ``[…, *item]`` of ``dtype``.

        What is stored as such values is not copied.
        """
        spec = self.specs[name]
        stored = self._stored(name)
        lead = stored.shape[: stored.ndim - len(spec.stored_shape)]
        rows = stored.reshape(-1, *spec.stored_shape)
        return TensorCodec(spec).decode(rows, dtype).reshape(*lead, *spec.item_shape)

    def to(self, device: str | torch.device, *, non_blocking: bool = True) -> Batch:
        """Return the batch with its tensors on ``device``."""
        return self._with_tensors(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Return the batch in pinned memory; ``DataLoader(pin_memory=True)`` calls this."""
        return self._with_tensors(torch.Tensor.pin_memory)

    def _stored(self, name: str) -> torch.Tensor:
        for group in (self, self.phrases, self.memory, self.prompts):
            if group is not None and name in group.features:
                return group.features[name]
        raise KeyError(name)

    def _with_tensors(self, change: Any) -> Batch:  # noqa: ANN401  tensor to tensor
        images = self.images_BCHW
        return replace(
            self,
            images_BCHW=None if images is None else change(images),
            features={name: change(tensor) for name, tensor in self.features.items()},
            phrases=self.phrases and _changed(self.phrases, change),
            memory=self.memory and _changed(self.memory, change),
            prompts=self.prompts and _changed(self.prompts, change),
        )


def _changed(group: Any, change: Any) -> Any:  # noqa: ANN401  Phrases, Memory or Prompts
    tensors = {
        name: change(value)
        for name in group.__slots__
        if isinstance(value := getattr(group, name), torch.Tensor)
    }
    features = {name: change(tensor) for name, tensor in group.features.items()}
    return replace(group, features=features, **tensors)
