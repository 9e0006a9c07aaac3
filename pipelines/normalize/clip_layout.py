"""Where the clips of one split lie, and how their masks are to be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.normalize.indexed_png import IndexedMasks, read_indexed_masks

MaskReader = Callable[[bytes, str], IndexedMasks]
"""The objects of an encoded mask; the text says which file, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipLayout:
    """What a data set says of one split. Paths may lie below any folder of the source."""

    frames: tuple[str, ...]
    """Folders with a folder per clip; the first that is there counts."""
    masks: tuple[str, ...]
    lists: str = ""
    """Files with one clip per line, ``*`` for the split. A source without any is taken whole."""
    meta: tuple[str, ...] = ()
    """JSON files that name the clips and their objects; the first that is there counts."""
    captions: tuple[str, ...] = ()
    """JSON files of the same form, which only say more of the objects."""
    read_masks: MaskReader = read_indexed_masks
    first_masks_only: bool = False
    """An object has a mask where it appears first, and nothing is said of later frames."""
