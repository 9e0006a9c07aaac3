"""COCO 2017, and any source in its layout: stills with objects, categories and captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from downloaders.coco import COCO
from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.coco_dialect import ImagePlace, LookedFor
from pipelines.normalize.coco_json import CategoryRecord, ImageRecord, one_line
from pipelines.normalize.coco_stills import CocoStills
from pipelines.normalize.sources import SourceFiles

_STUFF = "stuff_"


@dataclass(frozen=True)
class Coco2017:
    """See ``Dialect``. The splits ``stuff_*`` are the images of another split, with its stuff."""

    dataset: str = "coco"
    version: str = "coco-1"
    licence: str = COCO.entry.licence
    options: tuple[str, ...] = ("annotations", "images")

    def annotation_files(self, split: str) -> tuple[str, ...]:
        """See ``Dialect.annotation_files``."""
        if split.startswith(_STUFF):
            return (f"{split}.json",)
        return f"instances_{split}.json", f"image_info_{split}.json"

    def captions_file(self, split: str) -> str | None:
        """See ``Dialect.captions_file``."""
        return None if split.startswith(_STUFF) else f"captions_{split}.json"

    def image_folders(self, split: str) -> tuple[str, ...]:
        """See ``Dialect.image_folders``."""
        return (split.removeprefix(_STUFF),)

    def image_place(self, image: ImageRecord, split: str) -> ImagePlace | None:
        """See ``Dialect.image_place``."""
        if image.file_name is None:
            return None
        return ImagePlace(split.removeprefix(_STUFF), image.file_name)

    def phrases(self, category: CategoryRecord) -> tuple[str, ...]:
        """See ``Dialect.phrases``."""
        return (one_line(category.name),)

    def looked_for(
        self, categories: Mapping[int, CategoryRecord]
    ) -> Callable[[ImageRecord], LookedFor]:
        """See ``Dialect.looked_for``."""
        return lambda _image: LookedFor()

    def exhaustive(self, image: ImageRecord, category: int) -> bool | None:
        """See ``Dialect.exhaustive``."""
        return None


def coco(files: SourceFiles, split: str, options: LayoutOptions) -> CocoStills:
    """Return the normalizer of a split of COCO."""
    return CocoStills(files, split, options, Coco2017())
