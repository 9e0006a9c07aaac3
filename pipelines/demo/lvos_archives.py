"""The demo's clips as the archives of LVOS v1 and v2, in their layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pipelines.demo.archives import Member, write_file, write_zip
from pipelines.demo.clip_members import (
    NumberedFrames,
    frame_members,
    mask_members,
    number_frames,
    visible_stems,
)
from pipelines.demo.clips import ASTRONAUT_TILT, DAHLIA_DRIFT, ESPRESSO_ZOOM, PAGODA_PAN, Clip

_FRAMES = 8
_STEP = 5

_Clips = Mapping[str, Clip]
"""By the name in LVOS: eight letters and digits, of either case."""

_TRAIN: _Clips = {"R3UJGYwy": PAGODA_PAN}
_VALID: _Clips = {"7K7WVzGG": ASTRONAUT_TILT}
_TEST: _Clips = {"vJ8W2TO5": ESPRESSO_ZOOM}
_VALID_MORE: _Clips = {"d83wYdy0": DAHLIA_DRIFT}
"""The second version holds the clips of the first and more."""


def write_lvos_v1_archives(folder: Path) -> list[Path]:
    """Create a zip per split, and the meta files, which lie in a folder of their own."""
    return _write(folder, {"train": _TRAIN, "valid": _VALID, "test": _TEST}, captions=True)


def write_lvos_v2_archives(folder: Path) -> list[Path]:
    """As ``write_lvos_v1_archives``, with more clips and without captions."""
    return _write(folder, {"train": _TRAIN, "valid": {**_VALID, **_VALID_MORE}, "test": _TEST})


def _write(folder: Path, splits: Mapping[str, _Clips], *, captions: bool = False) -> list[Path]:
    written = []
    for split, clips in splits.items():
        frames = {name: _frames(clip) for name, clip in clips.items()}
        members = sorted(_members(split, frames))
        written.append(write_zip(folder / f"{split}.zip", members))
        meta = {name: _meta(found) for name, found in frames.items()}
        written.append(write_file(folder / f"{split}_meta.json", _videos(meta)))
        if captions:
            for name, clip in clips.items():
                _add_captions(meta[name], clip)
            written.append(write_file(folder / f"{split}_expression_meta.json", _videos(meta)))
    return written


def _frames(clip: Clip) -> NumberedFrames:
    return number_frames(clip.frames(_FRAMES), first=1, step=_STEP, digits=8)


def _members(split: str, clips: Mapping[str, NumberedFrames]) -> Iterator[Member]:
    for name, frames in clips.items():
        annotated = set(frames)
        if split == "test":
            annotated = {stems[0] for stems in visible_stems(frames).values()}
        masks = {stem: frames[stem].objects for stem in sorted(annotated)}
        yield from frame_members(f"{split}/JPEGImages/{name}", frames)
        yield from mask_members(f"{split}/Annotations/{name}", masks)


def _meta(frames: NumberedFrames) -> dict[str, Any]:
    """Return the record of one clip; its numbers are texts, and ``end`` is exclusive."""
    objects = {}
    for number, stems in visible_stems(frames).items():
        frame_range = {
            "start": str(int(stems[0])),
            "end": str(int(stems[-1]) + _STEP),
            "frame_nums": str(len(stems)),
        }
        objects[str(number)] = {"frame_range": frame_range}
    return {"objects": objects}


def _add_captions(meta: dict[str, Any], clip: Clip) -> None:
    for number, record in meta["objects"].items():
        record["caption"] = f"the {clip.outline(int(number)).phrase}"


def _videos(videos: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"videos": videos})
