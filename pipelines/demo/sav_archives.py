"""The demo's clips as archives of SA-V, in its layout and JSON schema."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from pipelines.demo.archives import Member, tar_bytes, write_file
from pipelines.demo.clip_members import frame_members, number_frames
from pipelines.demo.clips import ASTRONAUT_TILT, ESPRESSO_ZOOM, ROCKET_PAD, Clip, Frame
from pipelines.demo.mask_quality import stability
from pipelines.demo.mp4 import mp4_bytes
from pipelines.demo.pictures import binary_png
from pipelines.demo.signed_links import write_links
from schemas.masks import encode_mask

_RATE = 24
_STEP = 4
"""Annotations are at 6 per second."""
_TRAIN_FRAMES = 49
_VAL_FRAMES = 13
_NAMES = ("sav_000.tar", "sav_val.tar", "sav_md5sum.chk", "sav_sha256sum.chk")
_JUNK = "sav_md5sum.chk.-2545648220858272077"
"""The real list has such rows too; nothing is served for them."""

Track = npt.NDArray[np.bool_]
"""``[annotated frames, height, width]``: one object; all false where it is not seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Video:
    name: str
    clip: Clip
    environment: str
    has_auto: bool
    """Some videos have no automatic annotations."""


_TRAIN = (
    _Video(name="sav_000001", clip=ASTRONAUT_TILT, environment="Indoor", has_auto=True),
    _Video(name="sav_000002", clip=ROCKET_PAD, environment="Outdoor", has_auto=False),
)
_VAL = {"sav_000701": ESPRESSO_ZOOM}


def write_sav_archives(folder: Path) -> list[Path]:
    """Create ``sav_000.tar`` (train), ``sav_val.tar`` and the lists of their checksums."""
    archives = {"sav_000.tar": tar_bytes(_train()), "sav_val.tar": tar_bytes(_val())}
    written = [write_file(folder / name, body) for name, body in archives.items()]
    for algorithm in ("md5", "sha256"):
        lines = [
            f"{hashlib.new(algorithm, body, usedforsecurity=False).hexdigest()}  {name}\n"
            for name, body in archives.items()
        ]
        written.append(write_file(folder / f"sav_{algorithm}sum.chk", "".join(lines).encode()))
    return written


def write_sav_links(folder: Path, base_url: str) -> Path:
    """Write ``sa-v-links.txt`` in ``folder``: the list of links that a person would be given.

    Parameters
    ----------
    base_url
        Where the archives are served from.
    """
    return write_links(folder / "sa-v-links.txt", base_url, (*_NAMES, _JUNK))


def _train() -> Iterator[Member]:
    for video in _TRAIN:
        frames = list(video.clip.frames(_TRAIN_FRAMES))
        place = f"sav_000/{video.name}"
        yield f"{place}.mp4", mp4_bytes([frame.picture for frame in frames], _RATE)
        annotated = np.stack([frame.objects for frame in frames[::_STEP]])
        numbers = range(1, len(video.clip.outlines) + 1)
        objects = [annotated == number for number in numbers]
        yield f"{place}_manual.json", _json(video, objects, _manual_fields)
        if video.has_auto:
            # A model finds what is there at first, parts and the whole: so masks overlap.
            found = [track for track in objects if track[0].any()]
            yield f"{place}_auto.json", _json(video, [*found, annotated > 0], _auto_fields)


def _json(
    video: _Video, tracks: Sequence[Track], more: Callable[[Sequence[Track]], dict[str, Any]]
) -> bytes:
    return msgspec.json.encode(
        {
            **_video_fields(video),
            **_track_fields(tracks),
            **more(tracks),
            "masklet_num": len(tracks),
        }
    )


def _video_fields(video: _Video) -> dict[str, Any]:
    width, height = map(float, video.clip.size)
    return {
        "video_id": video.name,
        "video_duration": _TRAIN_FRAMES / _RATE,
        "video_frame_count": float(_TRAIN_FRAMES),
        "video_height": height,
        "video_width": width,
        "video_resolution": height * width,
        "video_environment": video.environment,
        "video_split": "train",
    }


def _track_fields(tracks: Sequence[Track]) -> dict[str, Any]:
    count, height, width = tracks[0].shape
    # An object counts only where it is seen; each is seen somewhere.
    sizes = [float(track.sum() / track.any(axis=(1, 2)).sum()) for track in tracks]
    return {
        "masklet": [[_rle(track[place]) for track in tracks] for place in range(count)],
        "masklet_id": list(range(len(tracks))),
        "masklet_size_rel": [round(size / (height * width), 10) for size in sizes],
        "masklet_size_abs": [round(size, 10) for size in sizes],
        "masklet_size_bucket": [_bucket(size) for size in sizes],
        "masklet_visibility_changes": [_changes(track) for track in tracks],
        "masklet_frame_count": [count] * len(tracks),
    }


def _manual_fields(tracks: Sequence[Track]) -> dict[str, Any]:
    return {
        "masklet_first_appeared_frame": [float(_first(track)) for track in tracks],
        "masklet_edited_frame_count": [int(track.any(axis=(1, 2)).sum()) for track in tracks],
        "masklet_type": ["manual"] * len(tracks),
        "masklet_stability_score": [None] * len(tracks),
    }


def _auto_fields(tracks: Sequence[Track]) -> dict[str, Any]:
    return {
        "masklet_first_appeared_frame": [_first(track) for track in tracks],
        "masklet_edited_frame_count": [0] * len(tracks),
        "masklet_type": ["auto"] * len(tracks),
        "masklet_stability_score": [
            [stability(mask) for mask in masks] for masks in zip(*tracks, strict=True)
        ],
    }


def _rle(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    rle = encode_mask(mask)
    return {"size": [rle.height, rle.width], "counts": rle.counts.decode("ascii")}


def _bucket(size: float) -> str:
    return "small" if size < 32**2 else "medium" if size < 96**2 else "large"


def _first(track: Track) -> int:
    return int(track.any(axis=(1, 2)).argmax())


def _changes(track: Track) -> int:
    """Return how often the object leaves or returns after it appeared."""
    seen = np.asarray(track.any(axis=(1, 2)))
    return int(np.count_nonzero(np.diff(seen[_first(track) :])))


def _val() -> Iterator[Member]:
    yield "sav_val/sav_val.txt", "".join(f"{name}\n" for name in _VAL).encode()
    for name, clip in _VAL.items():
        frames = number_frames(clip.frames(_VAL_FRAMES))
        yield from frame_members(f"sav_val/JPEGImages_24fps/{name}", frames)
        for number in range(1, len(clip.outlines) + 1):
            folder = f"sav_val/Annotations_6fps/{name}/{number - 1:03d}"
            for stem, frame in list(frames.items())[::_STEP]:
                yield from _binary_mask(f"{folder}/{stem}.png", frame, number)


def _binary_mask(name: str, frame: Frame, number: int) -> Iterator[Member]:
    """Yield the mask of one object, and no file where it is not seen."""
    mask = frame.objects == number
    if mask.any():
        yield name, binary_png(mask)
