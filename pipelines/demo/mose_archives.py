"""The demo's clips as the archives of MOSE v1 and v2, in their layouts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pipelines.demo.archives import Member, gzip_bytes, tar_bytes, write_file, write_parts
from pipelines.demo.clip_members import frame_members, mask_members, number_frames, visible_stems
from pipelines.demo.clips import (
    ASTRONAUT_TILT,
    CAT_LOOK,
    DAHLIA_DRIFT,
    ESPRESSO_ZOOM,
    MOTORCYCLE_PAN,
    PAGODA_PAN,
    Clip,
)

_FRAMES = 8
_PARTS = 3

_Clips = Mapping[str, tuple[Clip, int]]
"""Clip and number of frames by the name in MOSE: eight hex digits."""

_V1_TRAIN: _Clips = {"1b0c4e7a": (MOTORCYCLE_PAN, _FRAMES), "9eb92f21": (DAHLIA_DRIFT, 1)}
"""Some clips of v1 have a single frame."""
_V1_VALID: _Clips = {"32e5d721": (ESPRESSO_ZOOM, _FRAMES)}
_V2_TRAIN: _Clips = {"0a8e2c55": (PAGODA_PAN, _FRAMES), "6d1f90b3": (ASTRONAUT_TILT, _FRAMES)}
_V2_VALID: _Clips = {"c44a17fe": (CAT_LOOK, _FRAMES)}
"""In valid all objects are there on the first frame."""


def write_mose_v1_archives(folder: Path) -> list[Path]:
    """Create ``train.tar.gz`` and ``valid.tar.gz`` in ``folder``.

    Train has a hidden file, as the real one has; valid has a mask on the first frames only.
    """
    hidden = ("train/JPEGImages/1b0c4e7a/._00000.jpg", b"\x00\x05\x16\x07")
    train = tar_bytes(sorted([hidden, *_members("train", _V1_TRAIN)]))
    valid = tar_bytes(sorted(_members("valid", _V1_VALID)))
    return [
        write_file(folder / "train.tar.gz", gzip_bytes(train)),
        write_file(folder / "valid.tar.gz", gzip_bytes(valid)),
    ]


def write_mose_v2_archives(folder: Path) -> list[Path]:
    """Create ``train.tar.gz.aa`` and on, ``valid.tar.gz`` and a meta file of each in ``folder``."""
    train = tar_bytes(sorted(_members("train", _V2_TRAIN)))
    valid = tar_bytes(sorted(_members("valid", _V2_VALID)))
    return [
        *write_parts(folder / "train.tar.gz", gzip_bytes(train), _PARTS),
        write_file(folder / "valid.tar.gz", gzip_bytes(valid)),
        write_file(folder / "meta_train.json", _meta(_V2_TRAIN)),
        write_file(folder / "meta_valid.json", _meta(_V2_VALID)),
    ]


def _members(split: str, clips: _Clips) -> Iterator[Member]:
    for name, (clip, count) in clips.items():
        frames = number_frames(clip.frames(count))
        annotated = list(frames) if split == "train" else list(frames)[:1]
        masks = {stem: frames[stem].objects for stem in annotated}
        yield from frame_members(f"{split}/JPEGImages/{name}", frames)
        yield from mask_members(f"{split}/Annotations/{name}", masks)


def _meta(clips: _Clips) -> bytes:
    videos: dict[str, Any] = {}
    for name, (clip, count) in clips.items():
        objects = visible_stems(number_frames(clip.frames(count)))
        # Height and width are null for some clips of the real file.
        videos[name] = {
            "length": count,
            "height": None,
            "width": None,
            "objects": {str(number): {} for number in objects},
        }
    return msgspec.json.encode({"videos": videos})
