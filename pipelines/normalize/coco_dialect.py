"""What differs between the data sets that share COCO's annotation form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pipelines.normalize.coco_json import CategoryRecord, ImageRecord


class ImagePlace(NamedTuple):
    """A published image by its folder and its path below that."""

    folder: str
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedFor:
    """Phrases that annotators looked for on an image."""

    negatives: tuple[str, ...] = ()
    """Nothing fits them."""
    not_exhaustive: tuple[str, ...] = ()
    """More may be there than is annotated."""


class Dialect(Protocol):
    """How one data set uses COCO's form. Picklable, without state."""

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same files would be read in another way."""
        ...

    @property
    def licence(self) -> str:
        """The terms of the data."""
        ...

    @property
    def options(self) -> tuple[str, ...]:
        """The layout options that mean something."""
        ...

    def annotation_files(self, split: str) -> tuple[str, ...]:
        """Return patterns of the annotation file's name; the first that fits counts."""
        ...

    def captions_file(self, split: str) -> str | None:
        """Return the name of the captions file; None when the data set has no captions."""
        ...

    def image_folders(self, split: str) -> tuple[str, ...]:
        """Return the folders that may hold images of the split."""
        ...

    def image_place(self, image: ImageRecord, split: str) -> ImagePlace | None:
        """Return where an image is published; None when its record lacks what says it."""
        ...

    def phrases(self, category: CategoryRecord) -> tuple[str, ...]:
        """Return what an object of the category may be called, the plainest name first."""
        ...

    def looked_for(
        self, categories: Mapping[int, CategoryRecord]
    ) -> Callable[[ImageRecord], LookedFor]:
        """Return what tells of an image what annotators state beyond its objects."""
        ...

    def exhaustive(self, image: ImageRecord, category: int) -> bool | None:
        """Say whether every object of the category is annotated; None when nobody states it."""
        ...
