"""Masklet files of SA-V: one for the objects that people annotated, one for the automatic ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from schemas.errors import DataError, UsageError
from schemas.ids import parse_json
from schemas.masks import mask_from_coco
from schemas.samples import Annotation

STEP = 4
"""Every how many frames of the video are annotated: 6 of 24 per second."""
AUTOMATIC_IDS = 10_000
"""Added to the ids of automatic masklets: both files of a clip count from 0."""
_FPS = 6


class RunLengths(msgspec.Struct, frozen=True, gc=False):
    """COCO's compressed form, not yet checked."""

    size: tuple[int, int]
    counts: str


class MaskletFile(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that are used of ``*_manual.json`` and ``*_auto.json``."""

    video_id: str
    video_frame_count: float
    video_height: float
    video_width: float
    masklet: list[list[RunLengths | None]]
    """By annotated frame, then by object. None: nothing is known of the object there."""
    masklet_id: list[int]
    masklet_num: int
    masklet_stability_score: list[list[float] | None] = []
    """By annotated frame, then by object; a list of None where people annotated."""
    fps: int | list[int] | None = None
    """Not in the published files; other tools use it for annotations at another rate."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, height and width of the video."""
        return (int(self.video_frame_count), int(self.video_height), int(self.video_width))


@dataclass(frozen=True, slots=True, kw_only=True)
class Masklets:
    """The objects of one file of a clip."""

    where: str
    file: MaskletFile
    first_id: int

    def at(self, frame: int) -> Iterator[Annotation]:
        """Yield the objects of which something is known on a frame of the video.

        Raises
        ------
        DataError
            A mask is not one of the video's size.
        """
        place, between = divmod(frame, STEP)
        if between:
            return
        _, height, width = self.file.shape
        scores = self.file.masklet_stability_score
        for column, lengths in enumerate(self.file.masklet[place]):
            if lengths is None:
                continue
            number = self.file.masklet_id[column]
            rle = {"size": list(lengths.size), "counts": lengths.counts}
            where = f"{self.where}: masklet {number} on frame {frame}"
            row = scores[place] if scores else None
            yield Annotation(
                object_id=self.first_id + number,
                mask=mask_from_coco(rle, height, width, where),
                stability=None if row is None else row[column],
            )


def check_every(every: int) -> None:
    """Refuse a step between samples by which most annotated frames would be no samples."""
    if STEP % every and every % STEP:
        raise UsageError(
            f"--every {every} does not fit masks on every {STEP}th frame",
            expected=f"1, 2, or a multiple of {STEP}",
        )


def read_masklets(body: bytes, where: str, clip: str, first_id: int) -> Masklets:
    """Return the objects of a masklet file.

    Raises
    ------
    DataError
        The file is of another clip, breaks its form, or does not fit its own frame count.
    """
    file = parse_json(body, MaskletFile, where)
    frames, height, width = file.shape
    if min(file.shape) < 1 or (frames, height, width) != (
        file.video_frame_count,
        file.video_height,
        file.video_width,
    ):
        raise DataError(f"{where}: frame count and size", expected="whole numbers above 0")
    if file.video_id != clip:
        raise DataError(f"{where}: video_id", expected=repr(clip), got=repr(file.video_id))
    if file.fps is not None and file.fps not in (_FPS, [_FPS]):
        raise DataError(f"{where}: fps", expected=_FPS, got=file.fps)
    _check_objects(file, where)
    _check_length(file.masklet, file, where, "masklet")
    # People's masklets have one None per object here, automatic ones a row per annotated frame.
    if any(row is not None for row in file.masklet_stability_score):
        _check_length(file.masklet_stability_score, file, where, "masklet_stability_score")
        return Masklets(where=where, file=file, first_id=first_id)
    return Masklets(
        where=where,
        file=msgspec.structs.replace(file, masklet_stability_score=[]),
        first_id=first_id,
    )


def _check_objects(file: MaskletFile, where: str) -> None:
    ids = file.masklet_id
    if len(set(ids)) < len(ids) or not all(0 <= number < AUTOMATIC_IDS for number in ids):
        raise DataError(
            f"{where}: masklet_id", expected=f"different numbers below {AUTOMATIC_IDS}", got=ids[:8]
        )
    if file.masklet_num != len(ids):
        raise DataError(f"{where}: masklet_num", expected=len(ids), got=file.masklet_num)


def _check_length(
    rows: list[list[RunLengths | None]] | list[list[float] | None],
    file: MaskletFile,
    where: str,
    name: str,
) -> None:
    frames, *_ = file.shape
    expected = -(-frames // STEP)
    if len(rows) != expected:
        raise DataError(
            f"{where}: {name} of {frames} frames",
            expected=f"{expected} annotated frames",
            got=len(rows),
        )
    for place, row in enumerate(rows):
        if row is None or len(row) != len(file.masklet_id):
            raise DataError(
                f"{where}: {name} of annotated frame {place}",
                expected=f"{len(file.masklet_id)} objects",
                got=None if row is None else len(row),
            )
