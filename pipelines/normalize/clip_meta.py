"""JSON files that name the objects of each clip: YouTube-VOS, LVOS and MOSE write them alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from pipelines.normalize.phrases_of import clean_phrase
from schemas.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectNames:
    """What a file says of one object."""

    category: str | None = None
    caption: str | None = None

    @property
    def phrases(self) -> tuple[str, ...]:
        """The noun phrases that name it, with spaces where a category has underscores."""
        named = (self.category and self.category.replace("_", " "), self.caption)
        phrases = (clean_phrase(text) for text in named if text)
        return tuple(dict.fromkeys(phrase for phrase in phrases if phrase))

    def completed(self, other: ObjectNames) -> ObjectNames:
        """Return the names with what only ``other`` knows."""
        return ObjectNames(
            category=self.category or other.category, caption=self.caption or other.caption
        )


ClipNames = Mapping[int, ObjectNames]
"""By object id."""

UNNAMED = ObjectNames()


class _Record(msgspec.Struct, frozen=True):
    category: str | None = None
    caption: str | None = None


class _Clip(msgspec.Struct, frozen=True):
    objects: dict[str, Any] = {}


class _MetaFile(msgspec.Struct, frozen=True):
    videos: dict[str, _Clip]


def read_clip_meta(body: bytes, where: str) -> dict[str, ClipNames]:
    """Return the objects of every clip that the file lists.

    Raises
    ------
    DataError
        It has another form; the message names ``where`` and the field.
    """
    try:
        videos = msgspec.json.decode(body, type=_MetaFile).videos
        return {clip: _names(meta.objects) for clip, meta in videos.items()}
    except ValueError as cause:  # of the decoder, of its text, or of an id that is no number
        raise DataError(
            f"{where} does not name clips and objects: {cause}",
            expected='{"videos": {clip: {"objects": {id: {"category": ...}}}}}',
        ) from cause


def merge_names(
    names: Mapping[str, ClipNames], more: Mapping[str, ClipNames]
) -> dict[str, ClipNames]:
    """Return what either says of each object; where both do, the first counts."""
    merged: dict[str, dict[int, ObjectNames]] = {}
    for said in (names, more):
        for clip, objects in said.items():
            known = merged.setdefault(clip, {})
            for number, name in objects.items():
                known[number] = known.get(number, UNNAMED).completed(name)
    return dict(merged)


def _names(objects: Mapping[str, Any]) -> ClipNames:
    # MOSE v2 lists ids without saying more: the value may be anything.
    return {int(number): _record(value) for number, value in objects.items()}


def _record(value: object) -> ObjectNames:
    record = msgspec.convert(value, _Record) if isinstance(value, dict) else _Record()
    return ObjectNames(category=record.category, caption=record.caption)
