"""Which view of its image each item of a stream shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from schemas.features import View

# Keeps these numbers apart from those that augmentations draw from the same seed and position.
_SPAWN_KEY = (1,)


def shown_views(
    views: Sequence[View], seed: int, positions: npt.NDArray[np.int64]
) -> tuple[View, ...]:
    """Return one of ``views`` for each position, all as likely.

    A function of seed and position alone: a resumed run, by any number of ranks and workers, shows
    every item as an unbroken one does; another epoch is another position.
    """
    if len(views) == 1:
        return tuple(views) * len(positions)
    return tuple(views[_number(seed, position) % len(views)] for position in positions.tolist())


def _number(seed: int, position: int) -> int:
    """Return 32 bits; numpy promises these, and not what its generators make of them."""
    sequence = np.random.SeedSequence((seed % 2**64, position), spawn_key=_SPAWN_KEY)
    return int(sequence.generate_state(1)[0])
