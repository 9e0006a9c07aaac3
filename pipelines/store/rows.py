"""What each row of a feature array is, according to the split that the array follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.store.splits import Split, StoredClip
from schemas.manifests import ArrayRecord
from schemas.prompts import STILL_PROMPTS
from schemas.videos import object_frames


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRows:
    """A clip, and the row of its shard that each of its object-frames is."""

    clip: StoredClip
    places: dict[tuple[int, int], int]
    """Row by object and frame."""

    @property
    def in_time(self) -> list[int]:
        """The rows in the order in which tracking gives them."""
        by_time = sorted(self.places.items(), key=lambda item: (item[0][1], item[0][0]))
        return [row for _, row in by_time]


def clip_rows(split: Split, shard: int) -> list[ClipRows]:
    """Return the clips of a shard, in order, with the rows that tracking makes of each."""
    found, first = [], 0
    for clip in split.clips(shard):
        rows = object_frames(clip.clip, len(clip.frames), clip.prompts)
        places = {(row.object_id, row.frame): place for place, row in enumerate(rows, first)}
        found.append(ClipRows(clip=clip, places=places))
        first += len(rows)
    return found


def expected_rows(split: Split, record: ArrayRecord, shard: int) -> list[dict[str, Any]]:
    """Return the rows of a shard in order, by the columns of ``FEATURE_ROWS`` that name them."""
    first = shard * record.rows_per_shard
    return [{"row": row, **named} for row, named in enumerate(_names(split, record, shard), first)]


def unusable_rows(split: Split, record: ArrayRecord, shard: int) -> list[str | None]:
    """Return for each row of a shard why the split itself keeps it without features, or None."""
    if record.feature.rows == "phrase":
        return [None] * len(_names(split, record, shard))
    if record.feature.rows == "object_frame":
        return [
            next((frame.quarantine for frame in clip.frames if frame.quarantine), None)
            for clip in split.clips(shard)
            for _ in object_frames(clip.clip, len(clip.frames), clip.prompts)
        ]
    samples = [sample.quarantine for sample in split.samples(shard)]
    if record.feature.rows == "sample":
        return samples
    return [
        samples[item.row] if item.mask and item.mask.area else "the object has no mask"
        for item in split.objects(shard)
        for _ in STILL_PROMPTS
    ]


def _names(split: Split, record: ArrayRecord, shard: int) -> list[dict[str, Any]]:
    if record.feature.rows == "phrase":
        first = shard * record.rows_per_shard
        phrases = split.phrases[first : first + record.rows_per_shard]
        return [{"phrase": phrase} for phrase in phrases]
    if record.feature.rows == "object_frame":
        return _object_frames(split, shard)
    if record.feature.rows == "prompt":
        return _prompts(split, shard)
    return [
        {"key": sample.key, "clip": sample.clip, "frame": sample.frame}
        for sample in split.samples(shard)
    ]


def _prompts(split: Split, shard: int) -> list[dict[str, Any]]:
    return [
        {"key": item.key, "object_id": item.object_id, "prompt": kind}
        for item in split.objects(shard)
        for kind in STILL_PROMPTS
    ]


def _object_frames(split: Split, shard: int) -> list[dict[str, Any]]:
    return [
        {
            "key": clip.frames[row.frame].key,
            "clip": row.clip,
            "frame": row.frame,
            "object_id": row.object_id,
        }
        for clip in split.clips(shard)
        for row in object_frames(clip.clip, len(clip.frames), clip.prompts)
    ]
