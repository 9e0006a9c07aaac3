"""Clips in the layouts of YouTube-VOS, LVOS and MOSE, built anew for each test."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.normalize.base import Normalizer
from schemas.samples import Sample
from tests.normalize.archives import jpeg, objects, palette_png, write_zip

Masks = Mapping[str, Sequence[int]]
"""Ids that a mask shows, by frame name."""


class ClipSource:
    """The members of one archive; tests add clips, then write it."""

    def __init__(self, top: str) -> None:
        self.top = top
        self.members: dict[str, bytes] = {}

    def clip(self, name: str, frames: Sequence[str], masks: Masks) -> None:
        """Add a clip of 24 by 12 pixels."""
        for number, stem in enumerate(frames):
            self.members[f"{self.top}/JPEGImages/{name}/{stem}.jpg"] = jpeg(24, 12, number)
        for stem, ids in masks.items():
            body = palette_png(objects(24, 12, *ids))
            self.members[f"{self.top}/Annotations/{name}/{stem}.png"] = body

    def json(self, member: str, content: object) -> None:
        """Add a JSON file."""
        self.members[member] = json.dumps(content).encode()

    def write_zip(self, path: Path) -> Path:
        """Write the members as a zip."""
        return write_zip(path, self.members)

    def tar_gz(self) -> bytes:
        """Return the members as a gzipped tar."""
        body = io.BytesIO()
        with tarfile.open(fileobj=body, mode="w:gz") as archive:
            for name, content in self.members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return body.getvalue()


def meta(clips: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a meta file of the form that YouTube-VOS, LVOS and MOSE share."""
    return {"videos": {clip: {"objects": dict(known)} for clip, known in clips.items()}}


def read(normalizer: Normalizer, clip: str) -> list[Sample]:
    """Return the frames of one clip."""
    group = next(group for group in normalizer.groups() if group.key == clip)
    return list(normalizer.read(group))


def areas(sample: Sample) -> dict[int, int]:
    """Return the area of each annotated object."""
    return {item.object_id: item.mask.area for item in sample.annotations if item.mask is not None}
