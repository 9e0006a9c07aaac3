"""SA-V in both of its forms, built anew for each test."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from schemas.masks import encode_mask
from tests.media.videos import make_mp4
from tests.normalize.archives import jpeg, objects

WIDTH, HEIGHT = 48, 80


def masklets(
    clip: str, frames: int, shown: list[list[bool | None]], kind: str = "manual"
) -> dict[str, Any]:
    """Return a masklet file; ``shown`` says by annotated frame and object whether it is visible."""
    count = len(shown[0])
    square = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    square[10:20, 10:14] = 1
    masks = {True: encode_mask(square), False: encode_mask(square * 0)}
    scores: list[Any] = [None] * count
    if kind == "auto":
        scores = [[0.5 + 0.1 * number for number in range(count)] for _ in shown]
    return {
        "video_id": clip,
        "video_duration": frames / 24,
        "video_frame_count": float(frames),
        "video_height": float(HEIGHT),
        "video_width": float(WIDTH),
        "video_environment": "Indoor",
        "video_split": "train",
        "masklet": [
            [
                None
                if visible is None
                else {"size": [HEIGHT, WIDTH], "counts": masks[visible].counts.decode()}
                for visible in row
            ]
            for row in shown
        ],
        "masklet_id": list(range(count)),
        "masklet_type": [kind] * count,
        "masklet_stability_score": scores,
        "masklet_num": count,
    }


class SavTrain:
    """Two videos: the second object of the first appears late; the other has no automatic ones."""

    def __init__(self) -> None:
        self.members: dict[str, bytes] = {}
        self.video("sav_000001", 10)
        self.masklets("sav_000001", 10, [[True, False], [None, False], [True, True]])
        self.masklets("sav_000001", 10, [[True], [True], [False]], kind="auto")
        self.video("sav_000002", 4)
        self.masklets("sav_000002", 4, [[True]])

    def video(self, clip: str, frames: int) -> None:
        self.members[f"sav_train/sav_000/{clip}.mp4"] = make_mp4(frames, size=(WIDTH, HEIGHT))

    def masklets(
        self,
        clip: str,
        frames: int,
        shown: list[list[bool | None]],
        kind: str = "manual",
        **changes: object,
    ) -> None:
        file = masklets(clip, frames, shown, kind) | changes
        self.members[f"sav_train/sav_000/{clip}_{kind}.json"] = json.dumps(file).encode()

    def write(self, folder: Path, name: str = "sav_000.tar") -> Path:
        return write_tar(folder / name, self.members)


class SavVal:
    """Two clips of nine frames; object 1 of the first has no PNG on frame 4."""

    def __init__(self, split: str = "val") -> None:
        self.top = f"sav_{split}"
        self.members: dict[str, bytes] = {f"{self.top}/{self.top}.txt": b"sav_000009\nsav_000007\n"}
        for clip in ("sav_000007", "sav_000009", "sav_000011"):
            for number in range(9):
                frame = f"{self.top}/JPEGImages_24fps/{clip}/{number:05d}.jpg"
                self.members[frame] = jpeg(24, 12, number)
        self.mask("sav_000007", 0, 0, binary_png(objects(24, 12, 255)))
        self.mask("sav_000007", 0, 4, binary_png(objects(24, 12, 255)))
        self.mask("sav_000007", 1, 0, binary_png(objects(24, 12)))
        self.mask("sav_000007", 1, 8, binary_png(objects(24, 12, 1)))
        self.mask("sav_000009", 3, 4, binary_png(objects(24, 12, 1)))

    def mask(self, clip: str, number: int, frame: int, png: bytes) -> None:
        name = f"{self.top}/Annotations_6fps/{clip}/{number:03d}/{frame:05d}.png"
        self.members[name] = png

    def write(self, folder: Path) -> Path:
        return write_tar(folder / f"{self.top}.tar", self.members)


def binary_png(mask: Any) -> bytes:
    body = io.BytesIO()
    Image.fromarray(mask).save(body, "PNG")
    return body.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, body in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return path.parent
