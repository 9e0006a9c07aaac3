"""The demo's clips as the archives of DAVIS 2017, unsupervised and 2016, all at 480p."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from skimage.segmentation import find_boundaries

from pipelines.demo.archives import Member, write_zip
from pipelines.demo.clip_members import NumberedFrames, frame_members, mask_members, number_frames
from pipelines.demo.clips import TRAIN_CLIPS, VAL_CLIPS
from pipelines.demo.pictures import binary_png
from pipelines.demo.regions import Labels
from schemas.errors import UsageError

VOID = 255
_OTHER_CLIPS = 2
_OTHER_FRAMES = 8

_Splits = Mapping[str, Mapping[str, NumberedFrames]]
"""Frames by split and clip."""


def write_davis_archives(folder: Path, clips: int = 4, frames: int = 12) -> list[Path]:
    """Create ``DAVIS-2017-trainval-480p.zip`` in ``folder``: ``clips`` in val, two more in train.

    Equal arguments give equal bytes. The folder named ``480p`` holds smaller pictures, which is
    legal: sizes at 480p differ between clips in DAVIS too.
    """
    if not 1 <= clips <= len(VAL_CLIPS):
        raise UsageError("count of demo clips", expected=f"1 to {len(VAL_CLIPS)}", got=clips)
    if frames < 2:
        raise UsageError("count of frames of a demo clip", expected="2 or more", got=frames)
    splits = _splits(clips, frames)
    members = [*_lists_2017(splits)]
    for name, numbered in _all_clips(splits):
        masks = {stem: _with_void(frame.objects) for stem, frame in numbered.items()}
        members += frame_members(f"DAVIS/JPEGImages/480p/{name}", numbered)
        members += mask_members(f"DAVIS/Annotations/480p/{name}", masks)
    return [write_zip(folder / "DAVIS-2017-trainval-480p.zip", sorted(members))]


def write_davis_unsupervised_archives(folder: Path) -> list[Path]:
    """Create ``DAVIS-2017-Unsupervised-trainval-480p.zip``: the same clips, objects renumbered."""
    splits = _splits(_OTHER_CLIPS, _OTHER_FRAMES)
    members = [*_lists_2017(splits)]
    for name, numbered in _all_clips(splits):
        masks = {stem: _with_void(_renumbered(frame.objects)) for stem, frame in numbered.items()}
        members += frame_members(f"DAVIS/JPEGImages/480p/{name}", numbered)
        members += mask_members(f"DAVIS/Annotations_unsupervised/480p/{name}", masks)
    archive = folder / "DAVIS-2017-Unsupervised-trainval-480p.zip"
    return [write_zip(archive, sorted(members))]


def write_davis_2016_archives(folder: Path) -> list[Path]:
    """Create ``DAVIS-data.zip``: one object per clip, 255 in masks without a palette."""
    splits = _splits(_OTHER_CLIPS, _OTHER_FRAMES)
    members: list[Member] = []
    for split, clips in splits.items():
        lines = [
            f"/JPEGImages/480p/{name}/{stem}.jpg /Annotations/480p/{name}/{stem}.png\n"
            for name, numbered in clips.items()
            for stem in numbered
        ]
        members.append((f"DAVIS/ImageSets/480p/{split}.txt", "".join(lines).encode()))
    for name, numbered in _all_clips(splits):
        members += frame_members(f"DAVIS/JPEGImages/480p/{name}", numbered)
        members += [
            (f"DAVIS/Annotations/480p/{name}/{stem}.png", binary_png(frame.objects))
            for stem, frame in numbered.items()
        ]
    return [write_zip(folder / "DAVIS-data.zip", sorted(members))]


def _splits(clips: int, frames: int) -> _Splits:
    return {
        split: {clip.name: number_frames(clip.frames(frames)) for clip in chosen}
        for split, chosen in (("train", TRAIN_CLIPS), ("val", VAL_CLIPS[:clips]))
    }


def _all_clips(splits: _Splits) -> Iterator[tuple[str, NumberedFrames]]:
    for clips in splits.values():
        yield from clips.items()


def _lists_2017(splits: _Splits) -> Iterator[Member]:
    for split, clips in splits.items():
        yield f"DAVIS/ImageSets/2017/{split}.txt", "".join(f"{name}\n" for name in clips).encode()


def _renumbered(objects_HW: Labels) -> Labels:
    """Return the objects under other numbers: 1 to 3 become 3 to 1."""
    return np.where(objects_HW == 0, objects_HW, np.uint8(4) - objects_HW)


def _with_void(objects_HW: Labels) -> Labels:
    """Return the mask with void along the inner edges of objects."""
    edges = find_boundaries(objects_HW, connectivity=1, mode="inner")
    return np.where(edges, np.uint8(VOID), objects_HW)
