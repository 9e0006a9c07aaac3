"""Clips whose masks are indexed PNGs: what DAVIS, YouTube-VOS, MOSE and LVOS have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.clip_folders import (
    FRAME_SUFFIXES,
    MASK_SUFFIXES,
    ClipTree,
    find_tree,
    frame_order,
)
from pipelines.normalize.clip_frames import read_frame
from pipelines.normalize.clip_layout import ClipLayout
from pipelines.normalize.clip_lists import (
    listed_clips,
    matching_clips,
    read_clip_list,
    refuse_unlisted,
)
from pipelines.normalize.clip_meta import UNNAMED, ClipNames, merge_names, read_clip_meta
from pipelines.normalize.indexed_png import IndexedMasks, empty_mask
from pipelines.normalize.sources import SourceFiles, find_file
from schemas.errors import ArchiveError, DataError, IncompleteError
from schemas.ids import sample_key
from schemas.samples import Annotation, Group, MediaKind, Sample, Source

MasksByStem = Mapping[str, IndexedMasks | DataError]
"""Masks of a clip by frame name; an error where the file cannot be used."""


@dataclass(frozen=True)
class IndexedClips:
    """One split of such a data set; see ``Normalizer``."""

    files: SourceFiles
    split: str
    options: LayoutOptions
    dataset: str
    licence: str
    layout: ClipLayout
    media: MediaKind = "video"

    def __post_init__(self) -> None:
        meta = ("annotations",) if self.layout.meta else ()
        self.options.allow(self.dataset, "frames", "masks", "clips", "resize_masks", *meta)

    def __reduce__(self) -> tuple[type[IndexedClips], tuple[object, ...]]:
        fields = (self.files, self.split, self.options, self.dataset, self.licence, self.layout)
        return IndexedClips, fields

    @property
    def version(self) -> str:
        """See ``Normalizer.version``."""
        return self.options.version(f"{self.dataset}-1")

    def sources(self) -> Mapping[str, str]:
        """See ``Normalizer.sources``."""
        used = [
            source
            for tree in (self._frames, self._masks)
            for clip in self._clips
            for source in tree.clips.get(clip, {}).values()
        ]
        said = [file for file in (self._list, self._meta, self._captions) if file is not None]
        return self.files.digests(used, said)

    def groups(self) -> Sequence[Group]:
        """See ``Normalizer.groups``."""
        return [
            Group(key=sample_key(clip), rows=len(self._frames.clips[clip])) for clip in self._clips
        ]

    def dropped(self) -> Mapping[str, int]:
        """See ``Normalizer.dropped``."""
        masks, frames = self._masks.clips, self._frames.clips
        counts = {
            "masks_without_frame": sum(
                len(masks.get(clip, {}).keys() - frames[clip].keys()) for clip in self._clips
            ),
            "clips_without_masks": sum(clip not in masks for clip in self._clips),
        }
        return {reason: count for reason, count in counts.items() if count}

    def read(self, group: Group) -> Iterator[Sample]:
        """See ``Normalizer.read``.

        A frame without mask file has no annotations. A frame with one has an annotation for every
        object of the clip, with an empty mask where the object is not visible; or only for those
        that are visible, when the split has first masks only and the others are just not told.
        """
        frames = self._frames.clips[group.key]
        masks = self._read_masks(self._masks.clips.get(group.key, {}))
        names = self._names.get(group.key, {})
        sound = [found for found in masks.values() if isinstance(found, IndexedMasks)]
        ids = sorted({number for found in sound for number in found.objects})
        for position, stem in enumerate(frame_order(group.key, frames)):
            sample = read_frame(self.files, group.key, position, frames[stem])
            if stem in masks and sample.quarantine is None:
                sample = self._annotated(sample, masks[stem], ids, names)
            yield sample

    def _read_masks(self, sources: Mapping[str, Source]) -> MasksByStem:
        masks: dict[str, IndexedMasks | DataError] = {}
        for stem, source in sources.items():
            try:
                masks[stem] = self.layout.read_masks(self.files.read(source), source.member)
            except ArchiveError:
                raise
            except DataError as error:
                masks[stem] = error
        return masks

    def _annotated(
        self,
        sample: Sample,
        masks: IndexedMasks | DataError,
        ids: Sequence[int],
        names: ClipNames,
    ) -> Sample:
        if isinstance(masks, DataError):
            return replace(sample, quarantine=f"bad-mask: {masks}")
        if (masks.width, masks.height) != (sample.width, sample.height):
            if not self.options.resize_masks:
                sizes = f"{masks.width}x{masks.height}, frame {sample.width}x{sample.height}"
                return replace(sample, quarantine=f"mask-size: mask {sizes}")
            masks = masks.resized(sample.width, sample.height)
        hidden = empty_mask(sample.width, sample.height)
        told = masks.objects if self.layout.first_masks_only else ids
        annotations = tuple(
            Annotation(
                object_id=number,
                mask=masks.objects.get(number, hidden),
                category=(name := names.get(number, UNNAMED)).category,
                phrases=name.phrases,
            )
            for number in told
        )
        return replace(sample, annotations=annotations, void=masks.void)

    @cached_property
    def _frames(self) -> ClipTree:
        wanted = (self.options.frames,) if self.options.frames else self.layout.frames
        return find_tree(self.files, wanted, FRAME_SUFFIXES, "--frames")

    @cached_property
    def _masks(self) -> ClipTree:
        wanted = (self.options.masks,) if self.options.masks else self.layout.masks
        return find_tree(self.files, wanted, MASK_SUFFIXES, "--masks")

    @cached_property
    def _list(self) -> Source | None:
        lists = self.layout.lists
        return find_file(self.files, lists.replace("*", self.split)) if lists else None

    @cached_property
    def _meta(self) -> Source | None:
        if self.options.annotations is None:
            return self._first_file(self.layout.meta)
        if (found := find_file(self.files, self.options.annotations)) is None:
            raise IncompleteError(
                f"{self.files.where} has no file {self.options.annotations}",
                fix="Check --annotations and --from.",
            )
        return found

    @cached_property
    def _captions(self) -> Source | None:
        return self._first_file(self.layout.captions)

    def _first_file(self, patterns: Iterable[str]) -> Source | None:
        found = (find_file(self.files, pattern) for pattern in patterns)
        return next((file for file in found if file is not None), None)

    @cached_property
    def _listed_names(self) -> Mapping[str, ClipNames]:
        """What the meta file says, by clip."""
        return self._read_names(self._meta)

    @cached_property
    def _names(self) -> Mapping[str, ClipNames]:
        """What all files say, by clip."""
        return merge_names(self._listed_names, self._read_names(self._captions))

    def _read_names(self, file: Source | None) -> Mapping[str, ClipNames]:
        return {} if file is None else read_clip_meta(self.files.read(file), file.member)

    @cached_property
    def _clips(self) -> Sequence[str]:
        """Clips of the split, sorted."""
        if self.options.clips is not None:
            return matching_clips(self._frames, self.options.clips)
        if self._list is not None:
            names = read_clip_list(self.files.read(self._list))
            return listed_clips(self._frames, names, self._list.member)
        if self._meta is not None:
            return listed_clips(self._frames, self._listed_names.keys(), self._meta.member)
        if self.layout.lists:
            refuse_unlisted(self.files, self.split, self.layout.lists)
        return sorted(self._frames.clips)
