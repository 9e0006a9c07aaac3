"""How many rows an audit computes again, and how they are spread over the shards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import ceil

import numpy as np

from schemas.errors import UsageError

_AMOUNT = re.compile(r"(\d+|\d+\.\d+(?=%))(%?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Amount:
    """A share of the rows of each split, or a number of them."""

    number: Decimal
    is_share: bool
    """Whether the number is a percentage."""

    @classmethod
    def parse(cls, text: str) -> Amount:
        """Read ``0.1%``, ``1%`` or ``64``."""
        found = _AMOUNT.fullmatch(text)
        amount = cls(Decimal(found[1]), bool(found[2])) if found else None
        if amount is None or amount.number == 0 or (amount.is_share and amount.number > 100):
            raise UsageError(
                f"--recompute {text}", expected="a share of the rows as 0.1%, or a number as 64"
            )
        return amount

    def of(self, rows: int, shards: int) -> int:
        """Return how many of the rows of a split in so many shards, at least one of each shard.

        A number stays what it is: with fewer rows than shards, some shards are left out.
        """
        if self.is_share:
            return min(rows, max(shards, ceil(rows * self.number / 100)))
        return min(rows, int(self.number))


def spread(wanted: int, sizes: Mapping[int, int], generator: np.random.Generator) -> dict[int, int]:
    """Return how many rows to take of each shard: one each, and the rest by size, at even steps.

    Parameters
    ----------
    sizes
        Rows of each shard.
    """
    filled = {shard: size for shard, size in sorted(sizes.items()) if size}
    each = min(wanted, len(filled))
    quotas = dict.fromkeys(_at_even_steps(each, dict.fromkeys(filled, 1), generator), 1)
    left = {shard: filled[shard] - 1 for shard in quotas}
    for shard in _at_even_steps(min(wanted - each, sum(left.values())), left, generator):
        quotas[shard] += 1
    return quotas


def _at_even_steps(
    count: int, sizes: Mapping[int, int], generator: np.random.Generator
) -> list[int]:
    """Return the shards of ``count`` different rows at even steps, from a random start."""
    ends = np.cumsum(list(sizes.values()))
    if not count:
        return []
    rows = ((np.arange(count) + generator.random()) * (ends[-1] / count)).astype(np.int64)
    shards = list(sizes)
    return [shards[place] for place in np.searchsorted(ends, rows, side="right")]
