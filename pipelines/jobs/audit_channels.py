"""What an audit remembers of the rows it has seen: the range of each channel, and their looks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.jobs.compare_rows import by_channel
from pipelines.teachers.base import Float32
from schemas.features import FeatureSpec, get_feature

_VALUES = 1024
_STEP = 2654435761
"""Steps of the golden ratio of 2**32: they meet no size of a map twice in the same way."""
_NEARER = 10
"""How much nearer another row must be to be named: neighbouring frames look alike too."""


class ChannelRanges:
    """The least and the greatest value of each channel, over rows; [C] each."""

    def __init__(self, feature: FeatureSpec) -> None:
        self._feature = feature
        self._values = 0
        self._low: Float32 | None = None
        self._high: Float32 | None = None

    def add(self, row: Float32) -> None:
        """Take a row of finite values into account."""
        row_CV = by_channel(self._feature, row)
        low, high = row_CV.min(axis=1), row_CV.max(axis=1)
        self._values += row_CV.shape[1]
        self._low = low if self._low is None else np.minimum(self._low, low)
        self._high = high if self._high is None else np.maximum(self._high, high)

    @property
    def ends(self) -> tuple[float, float] | None:
        """The least and the greatest value of all; None without rows."""
        if self._low is None or self._high is None:
            return None
        return float(self._low.min()), float(self._high.max())

    @property
    def spans(self) -> Float32:
        """What each channel spans; empty when one value says nothing, or there are no channels."""
        known = self._values > 1 and get_feature(self._feature.name).channels is not None
        if self._low is None or self._high is None or not known:
            return np.zeros(0, dtype=np.float32)
        return self._high - self._low

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(map(abs, self.ends)) if self.ends else 0.0


class Signatures:
    """A few values of each row, by which it is recognized in the place of another one."""

    def __init__(self) -> None:
        self._stored: dict[int, Float32] = {}
        self._computed: dict[int, Float32] = {}

    def add(self, row: int, stored: Float32, computed: Float32) -> None:
        """Remember a row as it is stored and as it should be."""
        self._stored[row], self._computed[row] = _some(stored), _some(computed)

    def found_in(self, row: int) -> int | None:
        """Return which other row is stored in the place of this one, if it is one of those seen."""
        away = {other: self._away(row, other) for other in self._computed}
        nearest = min(away, key=away.__getitem__)
        return nearest if _NEARER * away[nearest] < away[row] else None

    def _away(self, row: int, other: int) -> float:
        return float(np.linalg.norm(self._stored[row] - self._computed[other]))


def _some(row: Float32) -> Float32:
    places = np.arange(min(_VALUES, row.size), dtype=np.int64) * _STEP % row.size
    values: npt.NDArray[np.float32] = row.reshape(-1)[places]
    return values
