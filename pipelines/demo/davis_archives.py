"""The demo's clips as the archive of DAVIS 2017 at 480p, in its layout."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from pipelines.demo.archives import write_zip
from pipelines.demo.clips import TRAIN_CLIPS, VAL_CLIPS, Clip
from pipelines.demo.regions import Labels
from schemas.errors import UsageError

VOID = 255


def write_davis_archives(folder: Path, clips: int = 4, frames: int = 12) -> list[Path]:
    """Create ``DAVIS-2017-trainval-480p.zip`` in ``folder``: ``clips`` in val, two more in train.

    Equal arguments give equal bytes. The folder named ``480p`` holds smaller pictures, which is
    legal: sizes at 480p differ between clips in DAVIS too.
    """
    if not 1 <= clips <= len(VAL_CLIPS):
        raise UsageError("count of demo clips", expected=f"1 to {len(VAL_CLIPS)}", got=clips)
    if frames < 2:
        raise UsageError("count of frames of a demo clip", expected="2 or more", got=frames)
    splits = {"train": TRAIN_CLIPS, "val": VAL_CLIPS[:clips]}
    members: list[tuple[str, bytes]] = []
    for split, chosen in splits.items():
        names = "".join(f"{clip.name}\n" for clip in chosen)
        members.append((f"DAVIS/ImageSets/2017/{split}.txt", names.encode()))
        for clip in chosen:
            members.extend(_members(clip, frames))
    return [write_zip(folder / "DAVIS-2017-trainval-480p.zip", sorted(members))]


def _members(clip: Clip, frames: int) -> Iterator[tuple[str, bytes]]:
    for number, frame in enumerate(clip.frames(frames)):
        place = f"480p/{clip.name}/{number:05d}"
        yield f"DAVIS/JPEGImages/{place}.jpg", _jpeg(frame.picture)
        yield f"DAVIS/Annotations/{place}.png", _palette_png(frame.objects)


def _jpeg(picture: Image.Image) -> bytes:
    body = io.BytesIO()
    picture.save(body, "JPEG", quality=90)
    return body.getvalue()


def _palette_png(objects_HW: Labels) -> bytes:
    """Return the mask with object numbers as palette indices and void along inner edges."""
    edges = find_boundaries(objects_HW, connectivity=1, mode="inner")
    image = Image.fromarray(np.where(edges, np.uint8(VOID), objects_HW))
    image.putpalette(_palette())
    body = io.BytesIO()
    image.save(body, "PNG")
    return body.getvalue()


def _palette() -> bytes:
    """Return the colours of DAVIS: bits 0, 3, 6.. of the index make red, the next green, blue."""
    return bytes(
        sum(((index >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(8))
        for index in range(256)
        for channel in range(3)
    )
