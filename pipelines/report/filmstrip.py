"""Clips: frames with the annotated masks, below them the teacher's memory of the same objects.

Suffixes: H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from pipelines.media.stored import StoredPictures
from pipelines.report.choice import choose_clips, spread
from pipelines.report.maps import ShownRow, TrunkColours
from pipelines.report.markup import plural, text
from pipelines.report.objects import (
    ShownObject,
    mask_image,
    mask_layer,
    object_colours,
    shown_objects,
)
from pipelines.report.pictures import Region, jpeg_uri, shrink
from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.splits import Split, StoredClip, StoredSample
from pipelines.store.tables import read_table
from schemas.masks import Mask
from schemas.tables import FEATURE_ROWS

_LONGEST, _FRAMES = 400, 6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Film:
    """What all frames of one clip share."""

    split: Split
    shard: int
    clip: StoredClip
    annotations: list[dict[str, Any]]
    memory: MemoryMasks | None
    trunk: TrunkColours | None
    colours: dict[int, int]
    pictures: StoredPictures = field(default_factory=StoredPictures)


class MemoryMasks:
    """The mask logits of one clip, as masks of any size."""

    def __init__(self, array: FeatureArray, shard: int, clip: str) -> None:
        key = layout.rows_key(array.folder, shard)
        self._array, self._first = array, shard * array.record.rows_per_shard
        self._slots = {
            (row["object_id"], row["frame"]): slot
            for slot, row in enumerate(read_table(array.store, key, FEATURE_ROWS).to_pylist())
            if row["clip"] == clip and row["quarantine"] is None
        }

    def masks(self, frame: int, size: tuple[int, int]) -> dict[int, Mask]:
        """Return by object id where the teacher sees it: sigmoid of the logits above one half."""
        return {
            object_id: self._mask(slot, size)
            for (object_id, at), slot in self._slots.items()
            if at == frame
        }

    def _mask(self, slot: int, size: tuple[int, int]) -> Mask:
        logits_HW = self._array.read([self._first + slot])[0]
        resized = Image.fromarray(logits_HW).resize(size, Image.Resampling.BILINEAR)
        return np.asarray(resized) > 0


def film_strips(
    split: Split, memory: FeatureArray | None, trunk: FeatureArray | None, count: int
) -> str:
    """Return the strips of at most ``count`` clips."""
    chosen = [
        (shard, clip, spread(_sound(clip), _FRAMES)) for shard, clip in choose_clips(split, count)
    ]
    places = [
        ShownRow(shard=shard, row=frame.row) for shard, _, frames in chosen for frame in frames
    ]
    colours = TrunkColours(trunk, places) if trunk is not None else None
    strips = []
    for shard, clip, frames in chosen:
        rows = split.annotations_table(shard).to_pylist()
        annotations = [row for row in rows if row["clip"] == clip.clip]
        film = _Film(
            split=split,
            shard=shard,
            clip=clip,
            annotations=annotations,
            memory=MemoryMasks(memory, shard, clip.clip) if memory is not None else None,
            trunk=colours,
            colours=object_colours(row["object_id"] for row in annotations),
        )
        strips.append(_strip(film, frames))
    return "".join(strips)


def _sound(clip: StoredClip) -> list[StoredSample]:
    return [frame for frame in clip.frames if frame.quarantine is None]


def _strip(film: _Film, frames: Sequence[StoredSample]) -> str:
    overlaps: list[float] = []
    columns = "".join(_column(film, frame, overlaps) for frame in frames)
    facts = [
        plural(len(film.clip.frames), "frame"),
        f"{frames[0].width} \N{MULTIPLICATION SIGN} {frames[0].height}" if frames else "",
        plural(len(film.colours), "object"),
        f"memory against annotation: IoU {np.mean(overlaps):.2f}" if overlaps else "",
    ]
    about = "".join(f"<span>{fact}</span>" for fact in facts if fact)
    names = ["annotation"]
    names += ["memory"] if film.memory is not None else []
    names += ["trunk"] if film.trunk is not None else []
    labels = "".join(f"<span>{name}</span>" for name in names)
    return (
        f'<article class="film"><p class="about"><b>{text(film.clip.clip)}</b>{about}</p>'
        f'<div class="strip"><div class="names" aria-hidden="true">{labels}</div>'
        f'<div class="frames" tabindex="0" role="group" aria-label="frames of '
        f'{text(film.clip.clip)}">{columns}</div></div></article>'
    )


def _column(film: _Film, frame: StoredSample, overlaps: list[float]) -> str:
    """Return one frame, once for each row of the strip; note how memory and annotation overlap.

    The photograph is a variable of the column, so that the page holds it once.
    """
    read = partial(film.split.read_image, film.shard, frame)
    image_HWC = film.pictures.decode(frame, read)
    photograph = shrink(image_HWC, _LONGEST)
    rows = [row for row in film.annotations if row["frame"] == frame.frame]
    objects = shown_objects(rows, film.colours)
    cells = [_cell("annotation", mask_layer(objects, photograph.size))]
    if film.memory is not None and frame.frame is not None:
        masks = film.memory.masks(frame.frame, photograph.size)
        overlaps += _overlaps(film, frame.frame, objects, masks)
        regions = [
            Region(colour=film.colours[object_id], mask_HW=mask)
            for object_id, mask in masks.items()
        ]
        cells.append(_cell("memory", mask_image(regions, photograph.size)))
    if film.trunk is not None:
        uri = film.trunk.uri(ShownRow(shard=film.shard, row=frame.row), frame.width, frame.height)
        layer = f'<img class="tokens" alt="" src="{uri}">' if uri else ""
        cells.append(_cell("trunk", layer))
    style = f"--photo:url({jpeg_uri(photograph)});--ratio:{frame.width}/{frame.height}"
    return (
        f'<figure style="{style}">{"".join(cells)}<figcaption>{frame.frame}</figcaption></figure>'
    )


def _cell(name: str, layer: str) -> str:
    return f'<div class="picture photo" role="img" aria-label="{name}">{layer}</div>'


def _overlaps(
    film: _Film, frame: int, objects: Sequence[ShownObject], masks: dict[int, Mask]
) -> list[float]:
    """Return the IoU of memory and annotation, where the memory was not given the answer."""
    prompted = {prompt.object_id: prompt.frame for prompt in film.clip.prompts}
    found = []
    for item in objects:
        if item.mask is None or item.object_id not in masks or prompted[item.object_id] >= frame:
            continue
        seen = masks[item.object_id]
        size = (seen.shape[1], seen.shape[0])
        true = np.asarray(
            Image.fromarray(item.mask.decode()).resize(size, Image.Resampling.NEAREST)
        )
        union = int((seen | true).sum())
        if union:
            found.append(int((seen & true).sum()) / union)
    return found
