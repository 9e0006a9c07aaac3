"""Whether an mp4 file is whole: decoders take one that was cut off for one with fewer frames."""

from __future__ import annotations

import io
from typing import BinaryIO

_HEADER = 8
_LONG = 16


def missing_bytes(source: BinaryIO) -> int:
    """Return how many bytes the last box of an mp4 file lacks; 0 for other kinds of files."""
    end = source.seek(0, io.SEEK_END)
    place = 0
    while place < end:
        source.seek(place)
        header = source.read(_LONG)
        if place == 0 and header[4:8] != b"ftyp":
            return 0
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[_HEADER:_LONG], "big")
        if size == 0:  # up to the end of the file, wherever that is
            return 0
        place += max(size, _HEADER)
    return place - end
