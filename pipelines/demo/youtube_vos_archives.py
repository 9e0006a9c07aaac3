"""The demo's clips as the archives of YouTube-VOS 2018 and 2019, in their layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pipelines.demo.archives import Member, write_zip
from pipelines.demo.clip_members import (
    NumberedFrames,
    frame_members,
    mask_members,
    number_frames,
    visible_stems,
)
from pipelines.demo.clips import ASTRONAUT_TILT, CAT_LOOK, MOTORCYCLE_PAN, ROCKET_PAD, Clip
from pipelines.demo.pictures import YOUTUBE_VOS_PALETTE
from pipelines.demo.regions import Labels

_STEP = 5
"""Frames of 30 fps from one annotated frame to the next."""
_ANNOTATED = 8

_Clips = Mapping[str, Clip]
"""By the name in YouTube-VOS; some begin with a hyphen, which commands take for an option."""

_TRAIN: _Clips = {"-9a3f20c1d": MOTORCYCLE_PAN, "003234408d": CAT_LOOK}
_VALID_2018: _Clips = {"0062f687f1": ASTRONAUT_TILT}
_VALID_2019: _Clips = {**_VALID_2018, "00f88c4f0a": ROCKET_PAD}
"""The versions share what they train on, and part of what they validate on."""


def write_youtube_vos_2018_archives(folder: Path) -> list[Path]:
    """Create ``train.zip``, ``valid.zip`` and ``valid_all_frames.zip`` in ``folder``.

    In valid an object has its one mask where it appears first.
    """
    return _write(folder, _VALID_2018)


def write_youtube_vos_2019_archives(folder: Path) -> list[Path]:
    """As ``write_youtube_vos_2018_archives``, with one more clip in valid."""
    return _write(folder, _VALID_2019)


def _write(folder: Path, valid: _Clips) -> list[Path]:
    every = {name: _all_frames(clip) for name, clip in valid.items()}
    everything = [
        member
        for name, frames in every.items()
        for member in frame_members(f"valid_all_frames/JPEGImages/{name}", frames)
    ]
    return [
        write_zip(folder / "train.zip", sorted(_train_members())),
        write_zip(folder / "valid.zip", sorted(_valid_members(valid, every))),
        write_zip(folder / "valid_all_frames.zip", sorted(everything)),
    ]


def _all_frames(clip: Clip) -> NumberedFrames:
    return number_frames(clip.frames((_ANNOTATED - 1) * _STEP + 1))


def _every_fifth(frames: NumberedFrames) -> NumberedFrames:
    return {stem: frame for stem, frame in frames.items() if int(stem) % _STEP == 0}


def _train_members() -> Iterator[Member]:
    videos = {}
    for name, clip in _TRAIN.items():
        frames = _every_fifth(_all_frames(clip))
        masks = {stem: frame.objects for stem, frame in frames.items()}
        yield from frame_members(f"train/JPEGImages/{name}", frames)
        yield from mask_members(f"train/Annotations/{name}", masks, YOUTUBE_VOS_PALETTE)
        videos[name] = _meta(clip, visible_stems(frames))
    yield "train/meta.json", msgspec.json.encode({"videos": videos})


def _valid_members(clips: _Clips, every: Mapping[str, NumberedFrames]) -> Iterator[Member]:
    videos = {}
    for name, clip in clips.items():
        frames = _every_fifth(every[name])
        first = {number: stems[0] for number, stems in visible_stems(frames).items()}
        masks = _first_masks(frames, first)
        yield from frame_members(f"valid/JPEGImages/{name}", frames)
        yield from mask_members(f"valid/Annotations/{name}", masks, YOUTUBE_VOS_PALETTE)
        # From its first mask on, an object is to be segmented on every frame.
        wanted = {
            number: [stem for stem in frames if stem >= start] for number, start in first.items()
        }
        videos[name] = _meta(clip, wanted)
    yield "valid/meta.json", msgspec.json.encode({"videos": videos})


def _first_masks(frames: NumberedFrames, first: Mapping[int, str]) -> dict[str, Labels]:
    """Return the masks where objects appear, with only those objects that appeared by then."""
    masks = {}
    for start in sorted(set(first.values())):
        known = [number for number, stem in first.items() if stem <= start]
        objects = frames[start].objects
        masks[start] = np.where(np.isin(objects, known), objects, np.uint8(0))
    return masks


def _meta(clip: Clip, stems: Mapping[int, list[str]]) -> dict[str, Any]:
    return {
        "objects": {
            str(number): {"category": clip.outline(number).category.replace(" ", "_"), "frames": at}
            for number, at in stems.items()
        }
    }
