"""Values for bench_codec.py: maps whose statistics resemble those of a trained trunk.

Trained weights are gated, so the resemblance is by construction: principal components whose
variance falls as ``1 / i``, the strongest of them smooth over the image; channels of log-normal
size, four of them eight times as large; images that differ in what they show of the components.
"""

from __future__ import annotations

import numpy as np

SHAPE = (1024, 72, 72)


class TrunkLike:
    """Makes maps ``[1024, 72, 72]``, float32, that share one set of components."""

    def __init__(self, power: float = 1.0, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        channels = SHAPE[0]
        axes = np.linalg.qr(self._rng.standard_normal((channels, channels))).Q
        strength = np.arange(1, channels + 1) ** (-power / 2)
        strength *= np.sqrt(channels / np.square(strength).sum())
        self._axes = (axes * strength).astype(np.float32)
        size = np.exp(0.6 * self._rng.standard_normal(channels))
        size[self._rng.choice(channels, 4, replace=False)] *= 8
        self._size = size.astype(np.float32)[:, None, None]
        self._mean = self._size * self._rng.standard_normal((channels, 1, 1), dtype=np.float32)
        smooth = 1 / (1 + np.arange(channels) / 32)
        self._smooth = np.sqrt(smooth).astype(np.float32)[:, None, None]
        self._rough = np.sqrt(1 - smooth).astype(np.float32)[:, None, None]

    def next(self) -> np.ndarray:
        """Return another image's map."""
        noise = self._rng.standard_normal(SHAPE, dtype=np.float32)
        components = self._smooth * _blurred(noise)
        components += self._rough * self._rng.standard_normal(SHAPE, dtype=np.float32)
        components *= np.exp(0.5 * self._rng.standard_normal((SHAPE[0], 1, 1), dtype=np.float32))
        tokens = self._axes @ components.reshape(SHAPE[0], -1)
        return self._size * tokens.reshape(SHAPE) + 0.3 * self._mean


def _blurred(noise: np.ndarray) -> np.ndarray:
    """Return noise of unit variance whose spectrum falls with the frequency."""
    rows, columns = np.fft.fftfreq(SHAPE[1]), np.fft.rfftfreq(SHAPE[2])
    kernel = 1 / (0.02 + np.hypot(rows[:, None], columns))
    blurred = np.fft.irfft2(np.fft.rfft2(noise) * kernel, SHAPE[1:])
    return (blurred / blurred.std(axis=(1, 2), keepdims=True)).astype(np.float32)
