"""COCO 2017, and any source in its layout: stills with objects, categories and captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath

from downloaders.coco import COCO
from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.coco_json import (
    AnnotatedImages,
    CaptionsFile,
    ImageRecord,
    InstancesFile,
    ObjectRecord,
    decode_file,
    join,
    one_line,
)
from pipelines.normalize.sources import SourceFiles, find_file, path_below
from schemas.errors import DataError, IncompleteError
from schemas.ids import sample_key
from schemas.samples import Annotation, Group, MediaKind, Sample, Source


@dataclass(frozen=True)
class CocoNormalizer:
    """One split of COCO; see ``Normalizer``."""

    files: SourceFiles
    split: str
    options: LayoutOptions
    dataset: str = "coco"
    media: MediaKind = "image"
    licence: str = COCO.entry.licence

    def __post_init__(self) -> None:
        self.options.allow(self.dataset, "annotations", "images")

    def __reduce__(self) -> tuple[type[CocoNormalizer], tuple[object, ...]]:
        # What was parsed stays behind: each process parses for itself.
        return CocoNormalizer, (self.files, self.split, self.options)

    @property
    def version(self) -> str:
        """See ``Normalizer.version``."""
        return self.options.version("coco-1")

    def sources(self) -> Mapping[str, str]:
        """See ``Normalizer.sources``."""
        annotations = [file for file in (self._instances, self._captions) if file is not None]
        images = [self._members[name] for name in self._found.images if name in self._members]
        return self.files.digests(images, annotations)

    def groups(self) -> Sequence[Group]:
        """See ``Normalizer.groups``."""
        _ = self._members  # a split without images is not there at all, rather than all missing
        return [Group(key=key, rows=1) for key in sorted(self._by_key)]

    def dropped(self) -> Mapping[str, int]:
        """See ``Normalizer.dropped``."""
        return self._found.dropped

    def read(self, group: Group) -> Iterator[Sample]:
        """See ``Normalizer.read``."""
        image = self._by_key[group.key]
        member = self._members.get(image.file_name)
        sample = Sample(
            key=group.key,
            source=member or Source(archive=self._instances.archive, member=image.file_name),
            width=image.width,
            height=image.height,
            encoded=b"" if member is None else self.files.read(member),
            extension=PurePosixPath(image.file_name).suffix[1:].lower(),
        )
        yield self._annotated(sample, image, found=member is not None)

    def _annotated(self, sample: Sample, image: ImageRecord, *, found: bool) -> Sample:
        if not found:
            folder = self.options.images or self.split
            return replace(sample, quarantine=f"missing: {folder}/{image.file_name}")
        try:
            annotations = tuple(
                self._annotation(record, image) for record in self._found.objects.get(image.id, ())
            )
        except DataError as error:
            return replace(sample, quarantine=f"bad-annotation: {error}")
        captions = tuple(self._found.captions.get(image.id, ()))
        return replace(sample, annotations=annotations, captions=captions)

    def _annotation(self, record: ObjectRecord, image: ImageRecord) -> Annotation:
        category = self._found.categories[record.category_id]
        return Annotation(
            object_id=record.id,
            mask=record.mask(image),
            box=record.box,
            category=category,
            phrases=(one_line(category),),
            is_crowd=bool(record.iscrowd),
        )

    @cached_property
    def _instances(self) -> Source:
        patterns = [f"instances_{self.split}.json", f"image_info_{self.split}.json"]
        if self.options.annotations is not None:
            patterns = [self.options.annotations]
        for pattern in patterns:
            if (file := find_file(self.files, pattern)) is not None:
                return file
        raise IncompleteError(
            f"{self.files.where} has no annotation file {' or '.join(patterns)}",
            fix="Name the file by --annotations, or check --split and --from.",
        )

    @cached_property
    def _captions(self) -> Source | None:
        return find_file(self.files, f"captions_{self.split}.json")

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
        for name, image in self._found.images.items():
            key = sample_key(PurePosixPath(name).stem)
            if images.setdefault(key, image) is not image:
                raise DataError(f"{self._instances.member}: two images have the key {key!r}")
        return images

    @cached_property
    def _members(self) -> dict[str, Source]:
        """Images by their file name below the split's folder."""
        folder = self.options.images or self.split
        members: dict[str, Source] = {}
        for source in self.files:
            if (name := path_below(source.member, folder)) is not None:
                members.setdefault(name, source)
        if not members:
            raise IncompleteError(
                f"{self.files.where} has no folder {folder} with images",
                fix="Name the folder by --images, or check --split and --from.",
            )
        return members
