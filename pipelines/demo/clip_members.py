"""Clips as ``JPEGImages`` and ``Annotations`` folders, which most clip data sets share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from pipelines.demo.archives import Member
from pipelines.demo.clips import Frame
from pipelines.demo.pictures import DAVIS_PALETTE, indexed_png, jpeg_bytes
from pipelines.demo.regions import Labels

NumberedFrames = Mapping[str, Frame]
"""Frames by the stem of their files, in order."""


def number_frames(
    frames: Iterable[Frame], *, first: int = 0, step: int = 1, digits: int = 5
) -> NumberedFrames:
    """Name frames ``first``, ``first + step``, ... with leading zeros."""
    return {f"{first + step * place:0{digits}d}": frame for place, frame in enumerate(frames)}


def frame_members(folder: str, frames: NumberedFrames) -> Iterator[Member]:
    """Yield the pictures as ``folder/<stem>.jpg``."""
    for stem, frame in frames.items():
        yield f"{folder}/{stem}.jpg", jpeg_bytes(frame.picture)


def mask_members(
    folder: str, masks: Mapping[str, Labels], palette: bytes = DAVIS_PALETTE
) -> Iterator[Member]:
    """Yield the masks as ``folder/<stem>.png``, with object numbers as palette indices."""
    for stem, mask in masks.items():
        yield f"{folder}/{stem}.png", indexed_png(mask, palette)


def visible_stems(frames: NumberedFrames) -> dict[int, list[str]]:
    """Return the stems on which each object can be seen; objects in order of their numbers."""
    seen: dict[int, list[str]] = {}
    for stem, frame in frames.items():
        for number in np.unique(frame.objects).tolist():
            if number:
                seen.setdefault(number, []).append(stem)
    return dict(sorted(seen.items()))
