"""SA-1B: stills with about a hundred masks each and no categories, one JSON file beside each image.

The published archives are one split. Ours are two: an image is in ``val`` when the hash of its key
says so, whatever archives are there, and in ``train`` otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath

import msgspec
import numpy as np

from downloaders.sa1b import SA_1B
from pipelines.media.images import image_size
from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.coco_json import Side
from pipelines.normalize.sources import SourceFiles
from pipelines.normalize.subset import hash_share
from schemas.errors import DataError, IncompleteError
from schemas.geometry import Box, Point
from schemas.masks import MaskRLE, mask_areas, mask_boxes, masks_from_texts
from schemas.samples import Annotation, Group, MediaKind, Sample, Source

HELD_OUT = 0.001
"""Share of the images that are in ``val``."""

_KEY = re.compile(r"sa_\d+", re.ASCII)
_BOX_TOLERANCE = 1.0
_Numbers4 = tuple[float, float, float, float]


class _ImageRecord(msgspec.Struct, frozen=True, kw_only=True):
    image_id: int
    width: Side
    height: Side
    file_name: str


class _RleRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    size: tuple[int, int]
    counts: str


class _MaskRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    id: int
    segmentation: _RleRecord
    bbox: _Numbers4
    area: int
    predicted_iou: float
    stability_score: float
    crop_box: _Numbers4
    point_coords: list[Point]


class _ImageFile(msgspec.Struct, frozen=True, kw_only=True):
    image: _ImageRecord
    annotations: list[_MaskRecord]


@dataclass(frozen=True, slots=True)
class _Pair:
    """The two files of one image; either may be missing."""

    part: str
    image: Source | None = None
    masks: Source | None = None


@dataclass(frozen=True)
class Sa1b:
    """One split of SA-1B; see ``Normalizer``."""

    files: SourceFiles
    split: str
    options: LayoutOptions
    dataset: str = "sa-1b"
    media: MediaKind = "image"
    licence: str = SA_1B.entry.licence

    def __post_init__(self) -> None:
        self.options.allow(self.dataset)

    def __reduce__(self) -> tuple[type[Sa1b], tuple[object, ...]]:
        return Sa1b, (self.files, self.split, self.options)

    @property
    def version(self) -> str:
        """See ``Normalizer.version``."""
        return self.options.version("sa-1b-1")

    def sources(self) -> Mapping[str, str]:
        """See ``Normalizer.sources``; the JSON files count by name and size, like the images."""
        pairs = self._pairs.values()
        return self.files.digests(
            [file for pair in pairs for file in (pair.image, pair.masks) if file is not None], []
        )

    def groups(self) -> Sequence[Group]:
        """See ``Normalizer.groups``. Each archive is a part of its own."""
        groups = [Group(key=key, rows=1, part=pair.part) for key, pair in self._pairs.items()]
        return sorted(groups, key=lambda group: (group.part, group.key))

    def dropped(self) -> Mapping[str, int]:
        """See ``Normalizer.dropped``."""
        return {}

    def read(self, group: Group) -> Iterator[Sample]:
        """See ``Normalizer.read``."""
        key, pair = group.key, self._pairs[group.key]
        if pair.image is None or pair.masks is None:
            yield self._half(key, pair)
            return
        encoded = self.files.read(pair.image)
        sample = Sample(
            key=key,
            source=pair.image,
            width=0,
            height=0,
            encoded=encoded,
            extension=PurePosixPath(pair.image.member).suffix[1:].lower(),
        )
        try:
            yield _annotated(sample, self.files.read(pair.masks))
        except DataError as error:
            yield _sized(replace(sample, quarantine=f"bad-annotation: {error}"))

    def _half(self, key: str, pair: _Pair) -> Sample:
        source = pair.image or pair.masks
        assert source is not None
        lacking = "jpg" if pair.image is None else "json"
        sample = Sample(
            key=key,
            source=source,
            width=0,
            height=0,
            encoded=b"" if pair.image is None else self.files.read(pair.image),
            quarantine=f"missing: {key}.{lacking}",
        )
        if pair.masks is None:
            return _sized(sample)
        try:
            image = _decode(self.files.read(pair.masks), key).image
        except DataError:
            return sample
        return replace(sample, width=image.width, height=image.height)

    @cached_property
    def _pairs(self) -> dict[str, _Pair]:
        """The files of each image of the split, by key."""
        archives = {archive.name for archive in self.files.archives if archive.top is None}
        pairs: dict[str, _Pair] = {}
        for source in self.files:
            path = PurePosixPath(source.member)
            key, is_image = path.stem, path.suffix == ".jpg"
            known = is_image or path.suffix == ".json"
            if not known or not _KEY.fullmatch(key) or _split_of(key) != self.split:
                continue
            part = source.archive if source.archive in archives else ""
            pair = pairs.setdefault(key, _Pair(part))
            if pair.part != part or (pair.image if is_image else pair.masks) is not None:
                raise DataError(f"{path.name} is in {self.files.where} twice")
            pairs[key] = replace(pair, image=source) if is_image else replace(pair, masks=source)
        if not pairs:
            raise IncompleteError(
                f"{self.files.where} has no images of SA-1B's {self.split}",
                expected="sa_<number>.jpg beside sa_<number>.json",
                fix="Check --split and --from.",
            )
        return pairs


def _split_of(key: str) -> str:
    return "val" if hash_share("sa-1b held out", key) < HELD_OUT else "train"


def _annotated(sample: Sample, body: bytes) -> Sample:
    file = _decode(body, sample.key)
    image, records = file.image, file.annotations
    sample = replace(sample, width=image.width, height=image.height)
    if PurePosixPath(image.file_name).stem != sample.key:
        raise DataError("file_name", expected=sample.key, got=repr(image.file_name))
    if len({record.id for record in records}) < len(records):
        raise DataError("annotations", expected="unique ids")
    masks = _masks(image, records)
    boxes = _corners([record.bbox for record in records], 1, "bbox")
    _check(records, masks, boxes)
    crops = _corners([record.crop_box for record in records], 0, "crop_box")
    return replace(sample, annotations=tuple(map(_annotation, records, masks, boxes, crops)))


def _masks(image: _ImageRecord, records: Sequence[_MaskRecord]) -> list[MaskRLE]:
    names = [_name(record) for record in records]
    for record in records:
        if record.segmentation.size != (image.height, image.width):
            raise DataError(
                f"{_name(record)}: mask size",
                expected=f"{image.height}x{image.width}",
                got=record.segmentation.size,
            )
    texts = [record.segmentation.counts for record in records]
    return masks_from_texts(texts, image.height, image.width, names)


def _check(records: Sequence[_MaskRecord], masks: Sequence[MaskRLE], boxes: Sequence[Box]) -> None:
    """Refuse masks without the area and, but for a pixel, the box that is stated beside them."""
    areas, tight = mask_areas(masks), mask_boxes(masks)
    for record, area in zip(records, areas, strict=True):
        if area != record.area:
            raise DataError(f"{_name(record)}: area", expected=record.area, got=area)
    away = np.abs(np.reshape(boxes, (-1, 4)) - np.reshape(tight, (-1, 4))).max(axis=1)
    for place in np.flatnonzero((away > _BOX_TOLERANCE) & (np.array(areas) > 0)).tolist():
        record = records[place]
        raise DataError(
            f"{_name(record)}: bbox", expected=f"that of its mask, {tight[place]}", got=record.bbox
        )


def _annotation(record: _MaskRecord, mask: MaskRLE, box: Box, crop: Box) -> Annotation:
    return Annotation(
        object_id=record.id,
        mask=mask,
        box=box,
        predicted_iou=record.predicted_iou,
        stability=record.stability_score,
        points=tuple(record.point_coords),
        crop_box=crop,
    )


def _corners(xywh: Sequence[_Numbers4], less: int, name: str) -> list[Box]:
    """Return boxes with exclusive edges, of which the stated widths are ``less`` too small."""
    values = np.array(xywh, dtype=np.float64).reshape(-1, 4)
    if not np.isfinite(values).all() or (values[:, 2:] < 0).any():
        raise DataError(name, expected="finite numbers, width and height >= 0")
    values[:, 2:] += values[:, :2] + less
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in values.tolist()]


def _name(record: _MaskRecord) -> str:
    return f"annotation {record.id}"


def _decode(body: bytes, key: str) -> _ImageFile:
    try:
        return msgspec.json.decode(body, type=_ImageFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as cause:
        raise DataError(f"{key}.json: {cause}") from cause


def _sized(sample: Sample) -> Sample:
    """Return a quarantined sample with the size of its image, as far as the image shows it."""
    try:
        width, height = image_size(sample.encoded, sample.key)
    except DataError:
        return sample
    return replace(sample, width=width, height=height)
