"""LVIS: COCO's images with 1203 categories, annotated in part (federated).

For a category that has objects on an image: all are annotated, unless the image names it as not
exhaustive. For one that the image names as negative: there is none. For any other: nobody looked.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from downloaders.lvis import LVIS
from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.coco_dialect import ImagePlace, LookedFor
from pipelines.normalize.coco_json import CategoryRecord, ImageRecord, one_line
from pipelines.normalize.coco_stills import CocoStills
from pipelines.normalize.sources import SourceFiles

_SENSE = re.compile(r"\([^)]*\)")
_IMAGES = ("train2017", "val2017")


@dataclass(frozen=True)
class LvisV1:
    """See ``Dialect``. v0.5 is read as well: ``coco_url`` says where an image is in both."""

    dataset: str = "lvis"
    version: str = "lvis-1"
    licence: str = LVIS.entry.licence
    options: tuple[str, ...] = ("annotations",)

    def annotation_files(self, split: str) -> tuple[str, ...]:
        """See ``Dialect.annotation_files``."""
        name = split.replace("-", "_")
        return f"lvis_v1_{name}.json", f"lvis_v1_{name}_*.json", f"lvis_v1_image_info_{name}.json"

    def captions_file(self, split: str) -> str | None:
        """See ``Dialect.captions_file``."""
        return None

    def image_folders(self, split: str) -> tuple[str, ...]:
        """See ``Dialect.image_folders``."""
        return ("test2017",) if split.startswith("test") else _IMAGES

    def image_place(self, image: ImageRecord, split: str) -> ImagePlace | None:
        """See ``Dialect.image_place``; v1 has no file names, and those of v0.5 are of 2014."""
        parts = PurePosixPath(image.coco_url or "").parts
        return ImagePlace(parts[-2], parts[-1]) if len(parts) > 1 else None

    def phrases(self, category: CategoryRecord) -> tuple[str, ...]:
        """See ``Dialect.phrases``: the category's name, then its synonyms."""
        names = (category.name, *category.synonyms)
        return tuple(dict.fromkeys(plain_name(name) for name in names))

    def looked_for(
        self, categories: Mapping[int, CategoryRecord]
    ) -> Callable[[ImageRecord], LookedFor]:
        """See ``Dialect.looked_for``.

        A phrase may name several categories: "bow" the weapon and the ribbon. It is negative when
        nothing that it names is there, and not exhaustive when one of its categories is not.
        """
        phrases = {number: self.phrases(record) for number, record in categories.items()}
        named: defaultdict[str, set[int]] = defaultdict(set)
        for number, texts in phrases.items():
            for text in texts:
                named[text].add(number)

        def of_image(image: ImageRecord) -> LookedFor:
            absent = set(image.neg_category_ids)
            names = {phrases[number][0] for number in absent}
            partial = {text for n in image.not_exhaustive_category_ids for text in phrases[n]}
            return LookedFor(
                negatives=tuple(sorted(text for text in names if named[text] <= absent)),
                not_exhaustive=tuple(sorted(partial)),
            )

        return of_image

    def exhaustive(self, image: ImageRecord, category: int) -> bool | None:
        """See ``Dialect.exhaustive``."""
        return category not in image.not_exhaustive_category_ids


def plain_name(name: str) -> str:
    """Return a category's name as people say it: no underscores, no sense in brackets.

    >>> plain_name("bow_(decorative_ribbons)")
    'bow'
    """
    text = one_line(_SENSE.sub(" ", name).replace("_", " "))
    return text or one_line(name.replace("_", " "))


def lvis(files: SourceFiles, split: str, options: LayoutOptions) -> CocoStills:
    """Return the normalizer of a split of LVIS."""
    return CocoStills(files, split, options, LvisV1())
