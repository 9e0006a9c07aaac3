"""Values that try a codec: wide and narrow channels, constants, tiny and huge numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SHAPE = (9, 6, 5)


def golden_values(codec: str) -> npt.NDArray[np.float32]:
    """Return one row ``[9, 6, 5]``; the same bits on every machine and numpy version."""
    # A linear congruential generator: numpy promises its own streams for no version but this one.
    state = np.arange(1, 271, dtype=np.uint64)
    for _ in range(5):
        state = (
            state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        ) >> np.uint64(1)
    values = ((state % np.uint64(20001)).astype(np.float32) - 10000) / np.float32(1024)
    values = values.reshape(SHAPE)
    if codec == "uint8":
        return np.asarray(np.abs(np.trunc(values)), np.float32)
    values[1] *= np.float32(2.0**-12)
    values[2] += np.float32(1000)
    values[3] = 0
    values[4] = np.float32(-2.5)
    values[5, 0, 0] = 60000
    values[6] *= np.float32(2.0**-120)
    values[7] = np.abs(values[7])
    values[8] = np.trunc(values[8])
    return values
