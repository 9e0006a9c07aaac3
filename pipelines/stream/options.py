"""How a stream was opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipelines.store.objects import ObjectStore
from pipelines.stream.augment import Augment
from pipelines.stream.samples import Windows
from schemas.errors import UsageError
from schemas.features import View

Locality = Literal["none", "shard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """How a stream was opened; see ``FeatureStream``."""

    store: ObjectStore
    manifest: str
    image_size: int | None
    features: Mapping[str, str] | tuple[str, ...]
    teacher: str | None
    splits: tuple[str, ...] | None
    weights: Mapping[str, int] | None
    annotations: bool
    phrases: bool
    windows: Windows | None
    views: tuple[View, ...]
    augment: tuple[Augment, ...]
    batch_size: int
    seed: int
    rank: int
    world_size: int
    epochs: int | None
    drop_last: bool
    locality: Locality
    window: int
    threads: int
    prefetch: int
    verify: bool
    pin_memory: bool


def require_positive(**options: int) -> None:
    """Refuse the first option that is below 1."""
    for name, value in options.items():
        if value < 1:
            raise UsageError(f"option {name} of a stream", expected="at least 1", got=value)


def require_rank(rank: int, world_size: int) -> None:
    """Refuse a rank that the world does not have."""
    if not 0 <= rank < world_size:
        raise UsageError(f"rank {rank} of {world_size}", expected="0 <= rank < world_size")
