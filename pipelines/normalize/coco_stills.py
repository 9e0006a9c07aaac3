"""Stills whose objects lie in one JSON file in COCO's form: COCO, LVIS, and what imitates them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath

from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.coco_dialect import Dialect, ImagePlace, LookedFor
from pipelines.normalize.coco_json import (
    AnnotatedImages,
    CaptionsFile,
    ImageRecord,
    InstancesFile,
    ObjectRecord,
    decode_file,
    join,
)
from pipelines.normalize.sources import SourceFiles, find_file, path_below
from schemas.categories import Category
from schemas.errors import DataError, IncompleteError
from schemas.ids import sample_key
from schemas.samples import Annotation, Group, MediaKind, Sample, Source


@dataclass(frozen=True)
class CocoStills:
    """One split of such a data set; see ``Normalizer``."""

    files: SourceFiles
    split: str
    options: LayoutOptions
    dialect: Dialect
    media: MediaKind = "image"

    def __post_init__(self) -> None:
        self.options.allow(self.dataset, *self.dialect.options)

    def __reduce__(self) -> tuple[type[CocoStills], tuple[object, ...]]:
        # What was parsed stays behind: each process parses for itself.
        return CocoStills, (self.files, self.split, self.options, self.dialect)

    @property
    def dataset(self) -> str:
        """See ``Normalizer.dataset``."""
        return self.dialect.dataset

    @property
    def licence(self) -> str:
        """See ``Normalizer.licence``."""
        return self.dialect.licence

    @property
    def version(self) -> str:
        """See ``Normalizer.version``."""
        return self.options.version(self.dialect.version)

    def sources(self) -> Mapping[str, str]:
        """See ``Normalizer.sources``."""
        annotations = [file for file in (self._instances, self._captions) if file is not None]
        places = self._places.values()
        images = [self._members[place] for place in places if place in self._members]
        return self.files.digests(images, annotations)

    def groups(self) -> Sequence[Group]:
        """See ``Normalizer.groups``."""
        there = {place.folder for place in self._members}
        if lacking := sorted({place.folder for place in self._places.values()} - there):
            raise self._no_folder(lacking)
        return [Group(key=key, rows=1) for key in sorted(self._by_key)]

    def dropped(self) -> Mapping[str, int]:
        """See ``Normalizer.dropped``."""
        return self._found.dropped

    def categories(self) -> Sequence[Category]:
        """See ``Categorised``."""
        return [
            Category(
                name=record.name,
                id=record.id,
                supercategory=record.supercategory,
                synset=record.synset,
                frequency=record.frequency,
                synonyms=record.synonyms,
                definition=record.definition,
            )
            for record in self._found.categories.values()
        ]

    def read(self, group: Group) -> Iterator[Sample]:
        """See ``Normalizer.read``."""
        image = self._by_key[group.key]
        place = self._places[image.id]
        member = self._members.get(place)
        sample = Sample(
            key=group.key,
            source=member or Source(archive=self._instances.archive, member=place.file),
            width=image.width,
            height=image.height,
            encoded=b"" if member is None else self.files.read(member),
            extension=PurePosixPath(place.file).suffix[1:].lower(),
        )
        if member is None:
            yield replace(sample, quarantine=f"missing: {place.folder}/{place.file}")
        else:
            yield self._annotated(sample, image)

    def _annotated(self, sample: Sample, image: ImageRecord) -> Sample:
        try:
            annotations = tuple(
                self._annotation(record, image) for record in self._found.objects.get(image.id, ())
            )
        except DataError as error:
            return replace(sample, quarantine=f"bad-annotation: {error}")
        looked_for = self._looked_for(image)
        return replace(
            sample,
            annotations=annotations,
            captions=tuple(self._found.captions.get(image.id, ())),
            negatives=looked_for.negatives,
            not_exhaustive=looked_for.not_exhaustive,
        )

    def _annotation(self, record: ObjectRecord, image: ImageRecord) -> Annotation:
        category = self._found.categories[record.category_id]
        return Annotation(
            object_id=record.id,
            mask=record.mask(image),
            box=record.box,
            category=category.name,
            phrases=self._phrases[category.id],
            is_crowd=bool(record.iscrowd),
            exhaustive=self.dialect.exhaustive(image, category.id),
        )

    @cached_property
    def _phrases(self) -> dict[int, tuple[str, ...]]:
        categories = self._found.categories
        return {number: self.dialect.phrases(record) for number, record in categories.items()}

    @cached_property
    def _looked_for(self) -> Callable[[ImageRecord], LookedFor]:
        return self.dialect.looked_for(self._found.categories)

    @cached_property
    def _instances(self) -> Source:
        patterns = self.dialect.annotation_files(self.split)
        if self.options.annotations is not None:
            patterns = (self.options.annotations,)
        for pattern in patterns:
            if (file := find_file(self.files, pattern)) is not None:
                return file
        raise IncompleteError(
            f"{self.files.where} has no annotation file {' or '.join(patterns)}",
            fix="Name the file by --annotations, or check --split and --from.",
        )

    @cached_property
    def _captions(self) -> Source | None:
        name = self.dialect.captions_file(self.split)
        return None if name is None else find_file(self.files, name)

    @cached_property
    def _found(self) -> AnnotatedImages:
        body = self.files.read(self._instances)
        instances = decode_file(body, InstancesFile, self._instances.member)
        captions = None
        if self._captions is not None:
            body = self.files.read(self._captions)
            captions = decode_file(body, CaptionsFile, self._captions.member)
        return join(instances, captions, self._instances.member)

    @cached_property
    def _by_key(self) -> dict[str, ImageRecord]:
        images: dict[str, ImageRecord] = {}
        for image in self._found.images.values():
            key = sample_key(PurePosixPath(self._places[image.id].file).stem)
            if images.setdefault(key, image) is not image:
                raise DataError(f"{self._instances.member}: two images have the key {key!r}")
        return images

    @cached_property
    def _places(self) -> dict[int, ImagePlace]:
        """Where each image of the annotation file should be, by its id."""
        _ = self._members  # without any images there is no need to parse the annotations
        return {number: self._place(image) for number, image in self._found.images.items()}

    def _place(self, image: ImageRecord) -> ImagePlace:
        place = self.dialect.image_place(image, self.split)
        if place is None:
            raise DataError(
                f"{self._instances.member}: image {image.id} does not say which file it is",
                fix=f"Check that it is an annotation file of {self.dataset}.",
            )
        return place if self.options.images is None else place._replace(folder=self._folders[0])

    @cached_property
    def _folders(self) -> tuple[str, ...]:
        if self.options.images is not None:
            return (self.options.images.strip("/"),)
        return self.dialect.image_folders(self.split)

    @cached_property
    def _members(self) -> dict[ImagePlace, Source]:
        """The images that are there, whatever lies above their folders."""
        members: dict[ImagePlace, Source] = {}
        for source in self.files:
            for folder in self._folders:
                if (name := path_below(source.member, folder)) is not None:
                    members.setdefault(ImagePlace(folder, name), source)
        if not members:
            raise self._no_folder(self._folders)
        return members

    def _no_folder(self, folders: Sequence[str]) -> IncompleteError:
        return IncompleteError(
            f"{self.files.where} has no folder {', '.join(folders)} with images",
            fix="Name the folder by --images, or check --split and --from."
            if "images" in self.dialect.options
            else "Check --split and --from.",
        )
