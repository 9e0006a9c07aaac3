"""The memory states of the objects on the frames of a batch. Suffixes: M object-frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pipelines.stream.object_rows import ObjectRows

COLUMNS = ("object_id",)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Memory:
    """One row for each object on each frame of a batch that the teacher has tracked."""

    image: torch.Tensor
    """int64 ``[M]``: which image of the batch, counted through windows, frame by frame."""
    object_id: torch.Tensor
    """int64 ``[M]``."""
    features: dict[str, torch.Tensor]
    """By the caller's names, ``[M, *item]`` as stored."""


def memory_of(rows: ObjectRows) -> Memory:
    """Return the memory states that these rows are."""
    object_id = torch.tensor(rows.names["object_id"], dtype=torch.int64)
    return Memory(image=rows.image, object_id=object_id, features=rows.features)
