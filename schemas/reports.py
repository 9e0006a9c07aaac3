"""What a normalized split holds, in numbers that describe rather than identify it."""

from __future__ import annotations

from typing import Literal

import msgspec

Size = tuple[int, int]
"""Width and height in pixels."""


class SizeSpread(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The images of least, middle and greatest area."""

    smallest: Size
    median: Size
    largest: Size


class CountSpread(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number per image: least, middle, greatest."""

    minimum: int
    median: int
    maximum: int


class SplitReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``report.json`` of a split with images. An image is a still or a frame of a clip."""

    schema_version: Literal[1] = 1
    dataset: str
    split: str
    images: int
    """Sound ones: those that are not quarantined."""
    without_objects: int
    """Sound images that no object is annotated on."""
    sizes: SizeSpread | None
    """None when no image is sound."""
    objects_per_image: CountSpread | None
    categories: dict[str, int]
    """Annotations of each category."""
    quarantined: dict[str, int]
    """Images that must not be used, by reason."""
