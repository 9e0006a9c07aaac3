"""Several data sets in one order, in exact proportions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.stream.order import Positions, SampleOrder, mix
from schemas.errors import UsageError

_LONGEST_ROUND = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One data set of a mixture."""

    order: SampleOrder
    first: int
    """Number of its first sample in the whole index."""
    weight: int
    """How many samples of each round are its."""


class Mixture:
    """Rounds of as many positions as the weights' sum; in each, every source has its weight.

    Within a round the sources are spread evenly, and the round is turned by a hash of its number,
    so that no rank meets always the same source. Every source goes through its own samples in its
    own order, epoch after epoch; so the position alone says where each of them is.
    """

    def __init__(self, sources: Sequence[Source], seed: int) -> None:
        self._sources, self._seed = tuple(sources), seed
        weights = [source.weight for source in sources]
        self._round = sum(weights)
        if not weights or min(weights) < 1 or self._round > _LONGEST_ROUND:
            raise UsageError(
                "weights of a mixture",
                expected=f"whole numbers of at least 1, together at most {_LONGEST_ROUND}",
                got=weights,
            )
        places = [
            ((2 * rank + 1) / (2 * weight), number, rank)
            for number, weight in enumerate(weights)
            for rank in range(weight)
        ]
        pattern = np.array([(number, rank) for _, number, rank in sorted(places)], dtype=np.int64)
        self._number, self._rank = pattern[:, 0], pattern[:, 1]

    @property
    def epoch(self) -> int:
        """Positions after which every source has been gone through at least once."""
        rounds = max(-(-source.order.epoch // source.weight) for source in self._sources)
        return rounds * self._round

    def at(self, positions: Positions) -> Positions:
        """See ``SampleOrder.at``."""
        rounds, places = np.divmod(positions, self._round)
        turns = mix(mix(rounds.astype(np.uint64) + np.uint64(1)) + np.uint64(self._seed % 2**64))
        first = (turns % np.uint64(self._round)).astype(np.int64)
        places = (places + first) % self._round
        numbers = self._number[places]
        indices = np.empty_like(positions)
        for number, source in enumerate(self._sources):
            chosen = numbers == number
            # Slots of this source that the turn has moved to the end of the round.
            before = np.searchsorted(np.flatnonzero(self._number == number), first[chosen])
            ranks = (self._rank[places[chosen]] - before) % source.weight
            own = rounds[chosen] * source.weight + ranks
            indices[chosen] = source.first + source.order.at(own)
        return indices
