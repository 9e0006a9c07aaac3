"""Which samples, frames and phrases a page shows: spread over all, the same each time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from pipelines.report.maps import ShownRow
from pipelines.store.splits import Split, StoredClip, StoredSample

T = TypeVar("T")


def spread(items: Sequence[T], count: int) -> list[T]:
    """Return at most ``count`` items at even distances, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    places = np.linspace(0, len(items) - 1, count).round().astype(int)
    return [items[place] for place in places]


def choose_samples(
    split: Split, shard_rows: Sequence[int], count: int
) -> list[tuple[ShownRow, StoredSample]]:
    """Return sound samples at even distances over all shards; reads the tables of these only.

    Parameters
    ----------
    shard_rows
        Number of rows of each shard.
    """
    ends = np.cumsum(shard_rows)
    wanted: dict[int, int] = {}
    for place in spread(range(int(ends[-1])), count):
        shard = int(np.searchsorted(ends, place, side="right"))
        wanted[shard] = wanted.get(shard, 0) + 1
    chosen = []
    for shard, number in wanted.items():
        sound = [sample for sample in split.samples(shard) if sample.quarantine is None]
        chosen += [
            (ShownRow(shard=shard, row=sample.row), sample) for sample in spread(sound, number)
        ]
    return chosen


def choose_clips(split: Split, count: int) -> list[tuple[int, StoredClip]]:
    """Return clips of shards at even distances, with the shard's number."""
    shards = spread(range(split.record.shards), count)
    per_shard = -(-count // len(shards))
    found = [(shard, clip) for shard in shards for clip in split.clips(shard)[:per_shard]]
    return found[:count]
