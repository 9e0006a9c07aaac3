"""An order within a few shards at a time, for disks and buckets where seeking is dear."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipelines.stream.order import Order, Positions, permute, round_keys
from schemas.errors import UsageError

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Epoch:
    """One epoch's sequence of shards, and where its windows end."""

    number: int
    shards: Counts
    ends: Counts
    """Positions in the epoch after each shard of the sequence."""
    window_ends: Counts


@dataclass(slots=True, kw_only=True)
class ShardOrder:
    """Shards in random order, ``window`` of them at a time with their samples mixed.

    A function of seed and epoch, as ``Order`` is; each sample comes exactly once per epoch. The
    plan of an epoch takes milliseconds at 86,000 shards and is kept for as long as it is used.
    """

    counts: Counts
    """Samples of each shard; sample numbers count through them."""
    seed: int
    window: int
    _plan: _Epoch | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.epoch < 1 or self.window < 1:
            raise UsageError(
                "an order by shards",
                expected="at least one sample, and a window of at least one shard",
                got=f"{self.epoch} samples, window {self.window}",
            )

    @property
    def epoch(self) -> int:
        """The number of samples."""
        return int(self.counts.sum())

    def at(self, positions: Positions) -> Positions:
        """See ``SampleOrder.at``."""
        epochs, offsets = np.divmod(positions, self.epoch)
        indices = np.empty_like(offsets)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            indices[chosen] = self._in_epoch(self._planned(int(epoch)), offsets[chosen])
        return indices

    def _in_epoch(self, plan: _Epoch, offsets: Positions) -> Positions:
        windows = np.searchsorted(plan.window_ends, offsets, side="right")
        mixed = np.empty_like(offsets)
        for window in np.unique(windows):
            chosen = windows == window
            first = int(plan.window_ends[window - 1]) if window else 0
            count = int(plan.window_ends[window]) - first
            keys = round_keys(f"window/1/{self.seed}/{plan.number}/{window}")
            mixed[chosen] = first + permute(offsets[chosen] - first, count, keys)
        steps = np.searchsorted(plan.ends, mixed, side="right")
        shards = plan.shards[steps]
        within = mixed - (plan.ends[steps] - self.counts[shards])
        return (np.cumsum(self.counts) - self.counts)[shards] + within

    def _planned(self, number: int) -> _Epoch:
        # Two iterators may ask at once: what is returned is never read back from ``self``.
        plan = self._plan
        if plan is None or plan.number != number:
            order = Order(samples=len(self.counts), seed=self.seed)
            first = number * len(self.counts)
            shards = order.at(np.arange(first, first + len(self.counts), dtype=np.int64))
            ends = np.cumsum(self.counts[shards])
            lasts = np.arange(self.window - 1, len(shards) + self.window - 1, self.window)
            plan = _Epoch(number, shards, ends, ends[np.minimum(lasts, len(shards) - 1)])
            self._plan = plan
        return plan
