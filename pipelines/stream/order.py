"""The order of training samples: a permutation per epoch, computed at any position on its own.

No list is shuffled and nothing is kept: a Feistel network permutes a power of four, and walking its
cycles (apply it again while the result is too large) makes that a permutation of any count. So the
state of a run over any number of machines is one integer, and all machines agree on the order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import blake3
import numpy as np
import numpy.typing as npt

from schemas.errors import UsageError

Positions = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
_ROUNDS = 8


class SampleOrder(Protocol):
    """An endless sequence of samples, known at every position."""

    @property
    def epoch(self) -> int:
        """Positions after which every sample has come at least once."""

    def at(self, positions: Positions) -> Positions:
        """Return the sample at each position; positions may be any, of any epochs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An endless order over ``samples`` indices: each exactly once per epoch.

    Position ``p`` lies in epoch ``p // samples``. A rank of ``world_size`` that starts at position
    ``s`` takes ``s + rank``, ``s + rank + world_size``, …: who takes what may change at any
    position, the order never does.
    """

    samples: int
    seed: int

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UsageError("an order", expected="at least one sample", got=self.samples)

    @property
    def epoch(self) -> int:
        """The number of samples."""
        return self.samples

    def at(self, positions: Positions) -> Positions:
        """See ``SampleOrder.at``."""
        epochs, offsets = np.divmod(positions, self.samples)
        indices = np.empty_like(offsets)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            keys = round_keys(f"order/1/{self.seed}/{epoch}")
            indices[chosen] = permute(offsets[chosen], self.samples, keys)
        return indices


def round_keys(name: str) -> Words:
    """Return one 64-bit key per round; part of the order, so never to be changed."""
    digest = blake3.blake3(name.encode()).digest(length=8 * _ROUNDS)
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


def permute(offsets: Positions, count: int, keys: Words) -> Positions:
    """Return where each of ``offsets``, all below ``count``, goes in the keys' permutation."""
    half_bits = max(1, ((count - 1).bit_length() + 1) // 2)
    values = _feistel(offsets.astype(np.uint64), half_bits, keys)
    # The domain is at most four times the count, so a value needs four rounds on average.
    while (outside := values >= count).any():
        values[outside] = _feistel(values[outside], half_bits, keys)
    return values.astype(np.int64)


def _feistel(values: Words, half_bits: int, keys: Words) -> Words:
    bits, mask = np.uint64(half_bits), np.uint64(2**half_bits - 1)
    left, right = values >> bits, values & mask
    for key in keys:
        left, right = right, left ^ (mix(right + key) & mask)
    return (left << bits) | right


def mix(words: Words) -> Words:
    """Scramble 64 bits, by the finalizer of SplitMix64; products wrap as they do in C."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
