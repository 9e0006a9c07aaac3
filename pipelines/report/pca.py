"""Feature maps as colours: the first three principal components of many maps at once.

Suffixes: C channels, H height, W width, N tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Maps = Callable[[], Iterable[Float32]]
"""Yields the same ``[C, H, W]`` maps each time it is called, so that only one is in memory."""

_SHARE_SHOWN = (1.0, 99.0)
"""Percentiles that span the colours: a few outlying tokens must not make all others grey."""

_LIGHTNESS = (0.30, 0.92)
_CHROMA = 0.13


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourBasis:
    """Three directions in feature space and the range that is shown of each."""

    mean_C: Float32
    directions_C3: Float32
    low_3: Float32
    high_3: Float32
    explained: float
    """Share of the variance that lies in the three directions."""

    def colours(self, map_CHW: Float32) -> npt.NDArray[np.uint8]:
        """Return the map as RGB ``[H, W, 3]``."""
        scaled = (self._project(map_CHW) - self.low_3) / (self.high_3 - self.low_3)
        return _oklab_to_rgb(np.clip(scaled, 0.0, 1.0)).reshape(*map_CHW.shape[1:], 3)

    def _project(self, map_CHW: Float32) -> Float32:
        tokens_NC = map_CHW.reshape(len(map_CHW), -1).T
        return np.asarray((tokens_NC - self.mean_C) @ self.directions_C3, dtype=np.float32)


def fit_basis(maps: Maps) -> ColourBasis | None:
    """Return the basis of all maps jointly, so that equal colours mean alike features.

    None when there is no map. The sign of a direction is chosen by its largest entry, because
    a decomposition leaves it open and colours must not depend on it.
    """
    total_C, products_CC, tokens = _moments(maps)
    if total_C is None or products_CC is None:
        return None
    mean_C = total_C / tokens
    covariance = products_CC / tokens - np.outer(mean_C, mean_C)
    values, vectors = np.linalg.eigh(covariance)
    directions_C3 = vectors[:, ::-1][:, :3]
    largest = np.abs(directions_C3).argmax(axis=0)
    directions_C3 = directions_C3 * np.sign(directions_C3[largest, np.arange(3)])
    basis = ColourBasis(
        mean_C=mean_C.astype(np.float32),
        directions_C3=directions_C3.astype(np.float32),
        low_3=np.zeros(3, np.float32),
        high_3=np.ones(3, np.float32),
        explained=float(values[-3:].sum() / max(values.sum(), np.finfo(np.float64).tiny)),
    )
    return _with_range(basis, maps)


def _moments(
    maps: Maps,
) -> tuple[npt.NDArray[np.float64] | None, npt.NDArray[np.float64] | None, int]:
    """Return the sum of the tokens, the sum of their outer products, and their number."""
    total = products = None
    tokens = 0
    for map_CHW in maps():
        tokens_CN = map_CHW.reshape(len(map_CHW), -1).astype(np.float64)
        part, outer = tokens_CN.sum(axis=1), tokens_CN @ tokens_CN.T
        total = part if total is None else total + part
        products = outer if products is None else products + outer
        tokens += tokens_CN.shape[1]
    return total, products, tokens


def _with_range(basis: ColourBasis, maps: Maps) -> ColourBasis:
    projected = np.concatenate([basis._project(map_CHW) for map_CHW in maps()])
    low_3, high_3 = np.percentile(projected, _SHARE_SHOWN, axis=0).astype(np.float32)
    return ColourBasis(
        mean_C=basis.mean_C,
        directions_C3=basis.directions_C3,
        low_3=low_3,
        high_3=np.maximum(high_3, low_3 + np.float32(1e-6)),
        explained=basis.explained,
    )


def _oklab_to_rgb(scaled_N3: Float32) -> npt.NDArray[np.uint8]:
    """Return sRGB for components in 0..1: the first is lightness, the others are hue and chroma.

    In OKLab (Ottosson, 2020) equal steps look equal, so that no component shouts down another,
    as green does when components are taken for red, green and blue.
    """
    dark, light = _LIGHTNESS
    lightness = dark + (light - dark) * scaled_N3[:, 0]
    green_red, blue_yellow = (2 * scaled_N3[:, 1:] - 1).T * _CHROMA
    lab_N3 = np.stack([lightness, green_red, blue_yellow], axis=1)
    linear_N3 = np.clip(((lab_N3 @ _LAB_TO_LMS.T) ** 3) @ _LMS_TO_RGB.T, 0, 1)
    coded = np.where(
        linear_N3 <= 0.0031308, 12.92 * linear_N3, 1.055 * linear_N3 ** (1 / 2.4) - 0.055
    )
    return np.asarray(np.rint(coded * 255), dtype=np.uint8)


_LAB_TO_LMS = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
