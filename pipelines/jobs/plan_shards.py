"""Cutting a split into shards: the same groups always give the same shards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.errors import DataError, UsageError
from schemas.samples import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """The groups of one shard, in row order."""

    shard: int
    groups: tuple[Group, ...]

    @property
    def rows(self) -> int:
        """Samples of the shard."""
        return sum(group.rows for group in self.groups)


def shard_capacity(groups: Iterable[Group], requested: int) -> int:
    """Return the rows that a shard must be able to hold: a group longer than asked for raises it.

    A slot that a shard does not use costs 16 bytes, in the index of each feature file.

    Raises
    ------
    UsageError
        ``requested`` is not positive.
    """
    if requested < 1:
        raise UsageError("rows per shard", expected="1 or more", got=requested)
    return max([requested, *(group.rows for group in groups)])


def plan_shards(groups: Sequence[Group], requested: int) -> list[ShardPlan]:
    """Fill shards with whole groups in the given order, each until the next would not fit.

    A shard holds groups of one part only. A group longer than ``requested`` is a shard of its own:
    one long clip makes one large file, not all files large.

    Raises
    ------
    DataError
        There are no groups, two have one key, or one is empty.
    """
    if not groups:
        raise DataError("the split has no samples", fix="Check --split and --from.")
    if len({group.key for group in groups}) < len(groups):
        raise DataError("two groups of the split have the same key", expected="unique keys")
    shards: list[list[Group]] = []
    part, room = groups[0].part, 0
    for group in groups:
        if group.rows < 1:
            raise DataError(f"group {group.key}", expected="1 sample or more", got=group.rows)
        if group.rows > room or group.part != part:
            shards.append([])
            part, room = group.part, requested
        shards[-1].append(group)
        room -= group.rows
    return [ShardPlan(shard=shard, groups=tuple(held)) for shard, held in enumerate(shards)]
