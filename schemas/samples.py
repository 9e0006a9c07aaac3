"""A sample is one stored image, a still or a frame of a clip, with what is known about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import msgspec

from schemas.geometry import Box, Point, mirror_box
from schemas.masks import MaskRLE

MediaKind = Literal["image", "video", "text"]
"""``text``: a split of phrases, without images."""
VIDEO = "mp4"
"""Extension of samples that are frames of a kept video; the key ends with the frame's number."""


class Annotation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One object on one image or frame."""

    object_id: int
    """The data set's own id: unique in a still's data set, stable over the frames of a clip."""
    mask: MaskRLE | None = None
    """None when the data set gives only a box; an empty mask says that the object is hidden."""
    box: Box | None = None
    """As published; None when the data set gives none (then use ``mask.box``)."""
    category: str | None = None
    phrases: tuple[str, ...] = ()
    """Noun phrases that name this object, as text prompts."""
    is_crowd: bool = False
    """One region over many objects: never a target for a single instance."""
    exhaustive: bool | None = None
    """Whether all objects of this category on this image are annotated; None when unknown."""
    predicted_iou: float | None = None
    """The annotating model's own estimate of the mask's quality (SA-1B)."""
    stability: float | None = None
    """IoU of the mask with itself under another threshold (SA-1B)."""
    points: tuple[Point, ...] = ()
    """Points that prompted the annotating model, in pixels (SA-1B)."""
    crop_box: Box | None = None
    """Part of the image that the annotating model saw (SA-1B)."""

    def mirrored(self, width: int) -> Annotation:
        """Return the object on its image, ``width`` pixels wide, mirrored left to right.

        What it is called stays, also where a phrase says left or right.
        """
        return msgspec.structs.replace(
            self,
            mask=self.mask and self.mask.mirrored(),
            box=self.box and mirror_box(self.box, width),
            points=tuple((width - x, y) for x, y in self.points),
            crop_box=self.crop_box and mirror_box(self.crop_box, width),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the published bytes of a sample come from."""

    archive: str
    member: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image as published, or the reason why it cannot be used."""

    key: str
    """Unique in its split: ``{image}`` or ``{clip}.{frame}`` (see ``schemas.ids``)."""
    source: Source
    width: int
    height: int
    encoded: bytes = b""
    """The encoded image, byte for byte as published; empty when quarantined.

    Of a kept video (``extension`` is ``VIDEO``) the whole of it, the same bytes for all its frames.
    """
    verified: bool = False
    """The image is known to decode to this size, because it was encoded from such a picture."""
    extension: str = "jpg"
    clip: str | None = None
    frame: int | None = None
    """Position in the clip, from 0."""
    annotations: tuple[Annotation, ...] = ()
    captions: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    """Phrases of which it is known that nothing on this image fits them (LVIS, SA-Co)."""
    not_exhaustive: tuple[str, ...] = ()
    """Phrases of which more objects may be there than are annotated (LVIS)."""
    quarantine: str | None = None
    """Why this sample must not be used, as ``reason: detail``; None when it is sound."""
    void: MaskRLE | None = field(default=None)
    """Pixels that the data set excludes from evaluation (DAVIS index 255)."""

    @property
    def member(self) -> str:
        """Name in the shard's tar; the frames of a kept video have one."""
        stem = self.clip if self.clip is not None and self.extension == VIDEO else self.key
        return f"{stem}.{self.extension}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What is never cut by a shard border: one still, or all frames of one clip."""

    key: str
    rows: int
    """Number of samples: 1 for a still, the frame count for a clip."""
    part: str = ""
    """Groups of another part begin a new shard: parts that are added later move no earlier row."""
