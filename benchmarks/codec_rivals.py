"""What ``pca64`` was chosen over: other ways to spend as few bytes on a row.

The last row is encoded; what needs a calibration learns from the rows before it.
Suffixes: C channels, N tokens, K components, S subspaces of a product quantizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

SUBSPACE, CENTRES = 16, 256
_ROUNDS = 8


def rivals(rows: Sequence[np.ndarray]) -> Iterator[tuple[str, float, np.ndarray]]:
    """Yield a name, the bytes of a row, and the tokens ``[C, N]`` that come back."""
    *others, tokens_CN = (row.reshape(len(row), -1) for row in rows)
    channels, tokens = tokens_CN.shape
    for rank in (64, 128):
        basis = _basis([tokens_CN], rank)
        yield f"own basis, {rank} x int8", rank * (tokens + channels), _project(basis, tokens_CN, 8)
    yield "own basis, 128 x int4", 128 * (tokens / 2 + channels), _project(basis, tokens_CN, 4)
    lines = tokens_CN.reshape(*rows[0].shape)
    yield "int4 by channel", channels * (tokens / 2 + 8), _rounded(tokens_CN, 4)
    size = channels * (tokens / 2 + 4 * rows[0].shape[1])
    yield "int4 by line of a channel", size, _rounded(lines, 4).reshape(tokens_CN.shape)
    if not others:
        return
    basis = _basis(others, 128)
    for rank, bits in ((64, 8), (77, 8), (128, 4)):
        found = _project((basis[0], basis[1][:, :rank]), tokens_CN, bits)
        yield f"basis of other rows, {rank} x int{bits}", rank * tokens * bits / 8, found
    found = _product_quantized(np.concatenate(others, axis=1), tokens_CN)
    yield "product quantizer, 64 x 256", channels / SUBSPACE * tokens, found


def _rounded(values: np.ndarray, bits: int) -> np.ndarray:
    """Round to even steps between the ends of the last axis."""
    low = values.min(axis=-1, keepdims=True)
    step = (values.max(axis=-1, keepdims=True) - low) / (2**bits - 1)
    return low + step * np.rint((values - low) / np.where(step == 0, 1, step))


def _basis(rows: Sequence[np.ndarray], rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and the exact principal axes ``[C, K]`` of all rows."""
    tokens_CN = np.concatenate(rows, axis=1)
    mean_C1 = tokens_CN.mean(axis=1, keepdims=True)
    centred_CN = tokens_CN - mean_C1
    return mean_C1, np.linalg.eigh(centred_CN @ centred_CN.T).eigenvectors[:, ::-1][:, :rank]


def _project(basis: tuple[np.ndarray, np.ndarray], tokens_CN: np.ndarray, bits: int) -> np.ndarray:
    mean_C1, axes_CK = basis
    return mean_C1 + axes_CK @ _rounded(axes_CK.T @ (tokens_CN - mean_C1), bits)


def _product_quantized(learnt_CN: np.ndarray, tokens_CN: np.ndarray) -> np.ndarray:
    """Replace every 16 channels of a token by the nearest of 256 centres (k-means)."""
    rng = np.random.default_rng(0)
    found = np.empty_like(tokens_CN)
    for first in range(0, len(tokens_CN), SUBSPACE):
        part = slice(first, first + SUBSPACE)
        vectors = learnt_CN[part].T
        centres = vectors[rng.choice(len(vectors), CENTRES, replace=False)]
        for _ in range(_ROUNDS):
            nearest = _nearest(vectors, centres)
            sums = np.zeros_like(centres)
            np.add.at(sums, nearest, vectors)
            counts = np.bincount(nearest, minlength=CENTRES)[:, None]
            centres = np.where(counts, sums / np.maximum(counts, 1), centres)
        found[part] = centres[_nearest(tokens_CN[part].T, centres)].T
    return found


def _nearest(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return (np.square(centres).sum(axis=1) - 2 * vectors @ centres.T).argmin(axis=1)
