"""Which rows are worth one request: those that lie side by side in one file, while small."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]

_LARGEST_GAP = 64 << 10
"""Bytes that are read for nothing rather than asked for separately: less than a round trip."""
_LARGEST_RUN = 8 << 20
"""Larger rows travel faster over connections of their own."""
_LONGEST_RUN = 256
"""Rows; the kernel takes 1,024 buffers per call, and a row has two."""


def find_runs(files: Places, offsets: Places, sizes: Places) -> list[Places]:
    """Return the places of rows grouped by request, each group in the order of the file.

    A row that is asked for twice is in two groups.
    """
    order = np.lexsort((offsets, files))
    runs: list[list[int]] = []
    file, first, end = -1, 0, 0
    for place in order.tolist():
        begin, stop = int(offsets[place]), int(offsets[place] + sizes[place])
        near = 0 <= begin - end <= _LARGEST_GAP and stop - first <= _LARGEST_RUN
        if file == files[place] and near and len(runs[-1]) < _LONGEST_RUN:
            runs[-1].append(place)
        else:
            runs.append([place])
            file, first = int(files[place]), begin
        end = stop
    return [np.array(run, dtype=np.int64) for run in runs]
