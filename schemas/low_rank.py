"""A codec that keeps the principal components of a row, a few dozen numbers per token.

Suffixes: G groups (channels), V values of a group (places), R components.
"""

from __future__ import annotations

from math import prod

import numpy as np

from schemas.codec_base import (
    Codec,
    Extent,
    Float32,
    Part,
    Shape,
    Stored,
    consecutive,
    extent_of,
    group_count,
)
from schemas.eight_bits import of_even_steps, to_even_steps

PRINCIPAL_ROUNDS = 4


class LowRank(Codec, frozen=True, kw_only=True):
    """The strongest principal components of the groups of one row, each in 256 even steps.

    A row is a matrix of groups (channels) by places. Its own basis lies in the row, so that it
    needs nothing beside it, and fits it better than any basis of many rows.
    """

    rank: int
    """Components; fewer when a row has fewer groups or places."""

    def parts(self, item_shape: Shape) -> tuple[Part, ...]:
        """See ``Codec.parts``."""
        groups = group_count(item_shape)
        places = item_shape[1:] if len(item_shape) > 1 else (prod(item_shape),)
        rank = min(self.rank, groups, prod(places))
        return consecutive(
            ("mean", "<f4", (groups,)),
            ("step", "<f4", (rank,)),
            ("low", "<f4", (rank,)),
            ("basis", "|i1", (rank, groups)),
            ("code", "|u1", (rank, *places)),
        )

    def decode(self, stored: Stored, item_shape: Shape) -> Float32:
        """See ``Codec.decode``."""
        mean, step, low, basis, code = (part.of(stored) for part in self.parts(item_shape))
        code_RV = code.reshape(*basis.shape[:-1], -1)
        weights_RV = of_even_steps(code_RV, step[..., None], low[..., None])
        values_GV = np.matmul(basis.astype(np.float32).swapaxes(-1, -2), weights_RV)
        values_GV += mean[..., None]
        values: Float32 = values_GV.reshape((*stored.shape[:-1], *item_shape))
        return values

    def extent(self, stored: Stored, item_shape: Shape) -> Extent:
        """Return bounds of the values: for their ends, all of them would have to be computed.

        The sums are in a stated order, so that every machine finds the same bounds.
        """
        mean, step, low, basis, code = (part.of(stored) for part in self.parts(item_shape))
        with np.errstate(invalid="ignore", over="ignore"):
            ends_R2 = self._ends(code.reshape(len(code), -1))
            peak_R = np.abs(of_even_steps(ends_R2, step[:, None], low[:, None])).max(axis=1)
            reach = np.zeros_like(mean)
            for vector, peak in zip(basis, peak_R, strict=True):
                reach += np.abs(vector.astype(np.float32)) * peak
            return extent_of(np.stack([mean - reach, mean + reach]))

    def _convert(self, values: Float32) -> Stored:
        stored = np.empty(self.stored_shape(values.shape), dtype=self.stored)
        mean, step, low, basis, code = (part.of(stored) for part in self.parts(values.shape))
        values_GV = np.asarray(values, dtype=np.float32).reshape(len(mean), -1)
        mean[:] = values_GV.mean(axis=1)
        centred_GV = values_GV - mean[:, None]
        axes_GR = _principal_axes(centred_GV @ centred_GV.T, len(basis))
        scale_R = np.abs(axes_GR).max(axis=0) / np.float32(127)
        basis[:] = np.rint(axes_GR / scale_R).T
        (step_R1, low_R1), steps_RV = to_even_steps(axes_GR.T @ centred_GV)
        step[:], low[:] = step_R1[:, 0] * scale_R, low_R1[:, 0] * scale_R
        code.reshape(len(code), -1)[:] = steps_RV
        return stored


def _principal_axes(gram_GG: Float32, count: int) -> Float32:
    """Return about the first principal axes, as orthonormal columns, by subspace iteration.

    Four rounds leave little more of the variance out than a full decomposition would, in a tenth of
    its time (``docs/codecs.md``).
    """
    axes_GR: Float32 = np.random.default_rng(0).standard_normal(
        (len(gram_GG), count), dtype=np.float32
    )
    for _ in range(PRINCIPAL_ROUNDS):
        axes_GR = np.linalg.qr(gram_GG @ axes_GR).Q
    return axes_GR
