"""Annotation files in COCO's JSON: decoded with types, joined on images, counted.

Segmentations stay encoded until their image is read: decoded, those of COCO train need 10 GB.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, TypeVar

import msgspec

from schemas.errors import DataError
from schemas.geometry import Box, box_from_xywh
from schemas.masks import MaskRLE, mask_from_coco

Side = Annotated[int, msgspec.Meta(gt=0, le=1 << 16)]


class ImageRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entry of ``images``. What only one dialect has is optional here; see ``Dialect``."""

    id: int
    width: Side
    height: Side
    file_name: str | None = None
    coco_url: str | None = None
    neg_category_ids: tuple[int, ...] = ()
    not_exhaustive_category_ids: tuple[int, ...] = ()


class ObjectRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entry of ``annotations`` in an instances file."""

    id: int
    image_id: int
    category_id: int
    segmentation: msgspec.Raw = msgspec.Raw()
    bbox: msgspec.Raw = msgspec.Raw()
    area: float | None = None
    iscrowd: bool | int = 0

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"annotation {self.id}"

    def mask(self, image: ImageRecord) -> MaskRLE | None:
        """Return the mask, or None when only a box is given."""
        if not self.segmentation:
            return None
        value = _decode_value(self.segmentation, f"{self.name}: segmentation")
        return mask_from_coco(value, image.height, image.width, self.name)

    @property
    def box(self) -> Box | None:
        """The published box."""
        if not self.bbox:
            return None
        return box_from_xywh(_decode_value(self.bbox, f"{self.name}: bbox"), self.name)


class CategoryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of ``categories``; LVIS says more of a category than COCO."""

    id: int
    name: str
    supercategory: str | None = None
    synset: str | None = None
    frequency: str | None = None
    synonyms: tuple[str, ...] = ()
    definition: str | None = msgspec.field(name="def", default=None)


class CaptionRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entry of ``annotations`` in a captions file."""

    id: int
    image_id: int
    caption: str


class InstancesFile(msgspec.Struct, frozen=True, kw_only=True):
    """An instances file; without annotations it is what COCO calls image info."""

    images: list[ImageRecord]
    annotations: list[ObjectRecord] = []
    categories: list[CategoryRecord] = []


class CaptionsFile(msgspec.Struct, frozen=True, kw_only=True):
    """A captions file."""

    annotations: list[CaptionRecord]


class _Identified(Protocol):
    @property
    def id(self) -> int: ...


FileT = TypeVar("FileT", InstancesFile, CaptionsFile)
RecordT = TypeVar("RecordT", bound=_Identified)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedImages:
    """The join of an instances file and its captions: outer on images."""

    images: dict[int, ImageRecord]
    """By id."""
    objects: dict[int, list[ObjectRecord]]
    """By image id, in the order of annotation ids."""
    captions: dict[int, list[str]]
    categories: dict[int, CategoryRecord]
    """By id, ascending."""
    dropped: dict[str, int]
    """Records that no image shows, by reason."""


def decode_file(body: bytes, kind: type[FileT], where: str) -> FileT:
    """Decode an annotation file.

    Raises
    ------
    DataError
        It is no JSON, or a record breaks its type; the message names the record by its id.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as cause:
        record = _broken_record(body, kind)
        raise DataError(
            f"{where} is not a COCO annotation file: {cause}{record}",
            fix="If it was unpacked or edited, take it from the published archive again.",
        ) from cause


def join(instances: InstancesFile, captions: CaptionsFile | None, where: str) -> AnnotatedImages:
    """Return the images with what belongs to them.

    Raises
    ------
    DataError
        An id appears twice, or an object's category does not exist.
    """
    images = _unique(instances.images, f"{where}: image")
    categories = _unique(instances.categories, f"{where}: category")
    dropped: Counter[str] = Counter()
    objects: defaultdict[int, list[ObjectRecord]] = defaultdict(list)
    for _, record in sorted(_unique(instances.annotations, f"{where}: annotation").items()):
        if record.category_id not in categories:
            raise DataError(
                f"{where}: {record.name} has the category {record.category_id}",
                expected="an id of `categories`",
            )
        if record.image_id not in images:
            dropped["annotations_without_image"] += 1
        elif record.area is not None and record.area <= 0:
            dropped["zero_area"] += 1
        else:
            objects[record.image_id].append(record)
    return AnnotatedImages(
        images=images,
        objects=objects,
        captions=_captions(captions, images, where, dropped),
        categories=dict(sorted(categories.items())),
        dropped=dict(dropped),
    )


def one_line(text: str) -> str:
    """Return the text without line breaks and repeated spaces, which captions are full of."""
    return " ".join(text.split())


def _captions(
    file: CaptionsFile | None, images: dict[int, ImageRecord], where: str, dropped: Counter[str]
) -> dict[int, list[str]]:
    captions: defaultdict[int, list[str]] = defaultdict(list)
    records = _unique(file.annotations if file else (), f"{where}: caption")
    for _, record in sorted(records.items()):
        text = one_line(record.caption)
        if record.image_id not in images:
            dropped["captions_without_image"] += 1
        elif not text:
            dropped["empty_captions"] += 1
        else:
            captions[record.image_id].append(text)
    return captions


def _unique(records: Iterable[RecordT], what: str) -> dict[int, RecordT]:
    found: dict[int, RecordT] = {}
    for record in records:
        if found.setdefault(record.id, record) is not record:
            raise DataError(f"{what} id {record.id} appears twice", expected="unique ids")
    return found


def _decode_value(raw: msgspec.Raw, where: str) -> object:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as cause:  # what was skipped was not checked
        raise DataError(f"{where}: {cause}") from cause


def _broken_record(body: bytes, kind: type[FileT]) -> str:
    """Return ``" (annotations with id 17)"`` for the first record that breaks its type, if any."""
    try:
        lists = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        for field in msgspec.structs.fields(kind):
            records = msgspec.json.decode(lists.get(field.name, b"[]"), type=list[msgspec.Raw])
            found = _first_broken(records, field.type.__args__[0])
            if found is not None:
                return f" ({field.name} with id {found})"
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    return ""


def _first_broken(records: Sequence[msgspec.Raw], kind: type) -> object:
    for record in records:
        try:
            msgspec.json.decode(record, type=kind)
        except msgspec.ValidationError:
            return msgspec.json.decode(record, type=dict[str, object]).get("id")
    return None
