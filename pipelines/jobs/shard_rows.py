"""The tables of one shard: a row per sample, a row per object on it, and the sums of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from schemas.ids import digest_bytes
from schemas.masks import mask_areas
from schemas.samples import Annotation, MediaKind, Sample
from schemas.tables import ANNOTATIONS, SAMPLES, mask_cell, mask_column
from schemas.videos import Prompt, object_frames

Row = dict[str, Any]


class ShardRows:
    """Collects the rows of a shard in sample order."""

    def __init__(self, media: MediaKind) -> None:
        self.samples: list[Row] = []
        self._objects: list[Annotation] = []
        self._rows: list[int] = []
        self._areas: list[int | None] = []
        self.quarantined: Counter[str] = Counter()
        self._media = media
        self._hashed = (b"", "")
        self._counts: Counter[str] = Counter()
        self._distinct: set[tuple[str | None, int]] = set()
        self._clip_frames: Counter[str] = Counter()
        self._prompts: dict[str, dict[int, Prompt]] = {}

    def add(self, sample: Sample, offset: int) -> None:
        """Append one sample, quarantined or not, and its objects."""
        row = len(self.samples)
        self.samples.append(_sample_row(sample, row, offset, self._digest(sample.encoded)))
        if sample.clip is not None:
            self._clip_frames[sample.clip] += 1
        if sample.quarantine is not None:
            self.quarantined[sample.quarantine.partition(":")[0]] += 1
            return
        self._counts["sound"] += 1
        self._counts["captions"] += len(sample.captions)
        self._add_objects(sample, row)

    def samples_table(self) -> pa.Table:
        """Return the rows of the samples."""
        return pa.Table.from_pylist(self.samples, schema=SAMPLES)

    def annotations_table(self) -> pa.Table:
        """Return the rows of the objects, made column by column: SA-1B has 6,400 in a shard."""
        samples, objects = [self.samples[row] for row in self._rows], self._objects
        columns = {
            "row": self._rows,
            "key": [sample["key"] for sample in samples],
            "clip": [sample["clip"] for sample in samples],
            "frame": [sample["frame"] for sample in samples],
            "object_id": [item.object_id for item in objects],
            "category": [item.category for item in objects],
            "phrases": [item.phrases for item in objects],
            "box_xyxy": [item.box for item in objects],
            "mask": mask_column([item.mask for item in objects]),
            "area": self._areas,
            "is_crowd": [item.is_crowd for item in objects],
            "exhaustive": [item.exhaustive for item in objects],
            "predicted_iou": [item.predicted_iou for item in objects],
            "stability": [item.stability for item in objects],
            "points_xy": [item.points for item in objects],
            "crop_box_xyxy": [item.crop_box for item in objects],
        }
        return pa.Table.from_pydict(columns, schema=ANNOTATIONS)

    def counts(self) -> dict[str, int]:
        """Return the sums of a commit record; all names are there for a kind of media, also at 0.

        ``annotations`` are the rows of the table, ``objects`` the distinct ones: those of a clip
        have a row on each annotated frame.
        """
        names = ["annotations", "crowd", "captions"]
        named = {"objects": len(self._distinct)}
        if self._media == "image":
            named["images"] = self._counts["sound"]
            names.append("zero_area")
        else:
            named["frames"] = self._counts["sound"]
            named["clips"] = len(self._clip_frames)
            named["object_frames"] = self._object_frames()
            names.append("empty_masks")
        return named | {name: self._counts[name] for name in names}

    def _digest(self, encoded: bytes) -> str:
        # The frames of a kept video are one object: it is hashed once.
        if encoded is not self._hashed[0]:
            self._hashed = (encoded, digest_bytes(encoded) if encoded else "")
        return self._hashed[1]

    def _add_objects(self, sample: Sample, row: int) -> None:
        measured = list(zip(sample.annotations, _areas(sample.annotations), strict=True))
        if self._media == "image":
            # In a clip an empty mask says that the object is hidden; in a still it says nothing.
            measured = [(item, area) for item, area in measured if area != 0]
        group, areas = sample.clip or sample.key, [area for _, area in measured]
        self._objects += [item for item, _ in measured]
        self._rows += [row] * len(measured)
        self._areas += areas
        self._distinct.update((group, item.object_id) for item, _ in measured)
        self._counts["annotations"] += len(measured)
        self._counts["zero_area"] += len(sample.annotations) - len(measured)
        self._counts["crowd"] += sum(item.is_crowd for item, _ in measured)
        self._counts["empty_masks"] += areas.count(0)
        if sample.clip is not None:
            for item, area in measured:
                if area and not item.is_crowd:
                    self._note_prompt(sample, item)

    def _note_prompt(self, sample: Sample, annotation: Annotation) -> None:
        if sample.clip is None or sample.frame is None or annotation.mask is None:
            return
        prompt = Prompt(object_id=annotation.object_id, frame=sample.frame, mask=annotation.mask)
        self._prompts.setdefault(sample.clip, {}).setdefault(annotation.object_id, prompt)

    def _object_frames(self) -> int:
        return sum(
            len(object_frames(clip, self._clip_frames[clip], tuple(prompts.values())))
            for clip, prompts in self._prompts.items()
        )


def _areas(annotations: Sequence[Annotation]) -> list[int | None]:
    """Return the pixels of each mask; None where there is no mask."""
    areas = iter(mask_areas([item.mask for item in annotations if item.mask is not None]))
    return [None if item.mask is None else next(areas) for item in annotations]


def _sample_row(sample: Sample, row: int, offset: int, digest: str) -> Row:
    return {
        "row": row,
        "key": sample.key,
        "clip": sample.clip,
        "frame": sample.frame,
        "width": sample.width,
        "height": sample.height,
        "offset": offset,
        "size": len(sample.encoded),
        "extension": sample.extension,
        "blake3": digest,
        "captions": list(sample.captions),
        "negatives": list(sample.negatives),
        "not_exhaustive": list(sample.not_exhaustive),
        "void": mask_cell(sample.void),
        "archive": sample.source.archive,
        "member": sample.source.member,
        "quarantine": sample.quarantine,
    }
