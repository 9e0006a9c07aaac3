"""A batch, and how threads fill it. Suffixes: B batch, C channels, H height, W width."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipelines.stream.buffers import BufferPool
from pipelines.stream.sample_reader import SampleReader
from pipelines.stream.samples import SampleIndex
from schemas.codec import get_codec
from schemas.features import FeatureSpec

_BFLOAT16 = "bfloat16"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Samples of one training step. Its tensors are the holder's for as long as they are held."""

    keys: tuple[str, ...]
    indices: npt.NDArray[np.int64]
    """Position of each sample in the stream's index."""
    images_BCHW: torch.Tensor | None
    """uint8; None when the stream was opened without images."""
    features: dict[str, torch.Tensor]
    """By the name asked for, ``[B, *item_shape]`` in the stored type."""


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """A batch that threads are filling."""

    batch: Batch
    work: tuple[Future[None], ...]

    def result(self) -> Batch:
        """Wait until the batch is full, or raise what its first failed sample raised."""
        for future in self.work:
            future.result()
        return self.batch


class BatchReader:
    """Starts batches: one task per sample and image, one per sample and all its features.

    Parameters
    ----------
    keep
        How many batches' memory is kept for use again.
    """

    def __init__(
        self,
        reader: SampleReader,
        index: SampleIndex,
        features: dict[str, FeatureSpec],
        image_size: int | None,
        *,
        batch_size: int,
        keep: int,
        pinned: bool,
    ) -> None:
        self._reader, self._index, self._features = reader, index, features
        shapes = [(batch_size, *spec.item_shape) for spec in features.values()]
        types = [np.dtype(get_codec(spec.codec).stored) for spec in features.values()]
        self._pools = [
            BufferPool(shape, dtype, keep=keep, pinned=pinned)
            for shape, dtype in zip(shapes, types, strict=True)
        ]
        self._image_pool = None
        if image_size is not None:
            shape = (batch_size, 3, image_size, image_size)
            self._image_pool = BufferPool(shape, np.dtype(np.uint8), keep=keep, pinned=pinned)

    def start(self, threads: Executor, samples: npt.NDArray[np.int64]) -> PendingBatch:
        """Let ``threads`` read the samples into a batch of their own."""
        count = len(samples)
        stored = [pool.take()[:count] for pool in self._pools]
        images_BCHW = self._image_pool.take()[:count] if self._image_pool else None
        work = self._submit(threads, samples, stored, images_BCHW)
        batch = Batch(
            keys=tuple(self._index.key(sample) for sample in samples.tolist()),
            indices=samples,
            images_BCHW=images_BCHW,
            features={
                name: _typed(tensor, spec)
                for (name, spec), tensor in zip(self._features.items(), stored, strict=True)
            },
        )
        return PendingBatch(batch, work)

    def _submit(
        self,
        threads: Executor,
        samples: npt.NDArray[np.int64],
        stored: Sequence[torch.Tensor],
        images_BCHW: torch.Tensor | None,
    ) -> tuple[Future[None], ...]:
        arrays = [tensor.numpy() for tensor in stored]
        work = []
        for place, sample in enumerate(samples.tolist()):
            rows = [array[place, ...] for array in arrays]
            work.append(threads.submit(self._reader.read_features, sample, rows))
            if images_BCHW is not None:
                out_CHW = images_BCHW[place]
                work.append(threads.submit(self._reader.read_image, sample, out_CHW))
        return tuple(work)


def _typed(stored: torch.Tensor, spec: FeatureSpec) -> torch.Tensor:
    """Give bfloat16, which is stored as uint16, its type back."""
    return stored.view(torch.bfloat16) if spec.codec == _BFLOAT16 else stored
